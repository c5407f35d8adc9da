"""Tests for the pure parts of L{bench.proxy.machine}, L{bench.proxy.idle} and L{bench.proxy.profile}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.proxy.idle import affordable
from bench.proxy.machine import cpu_model, divide, first_version
from bench.proxy.profile import Share, block, parse_report, shares

REPORT = """\
# Samples: 7K of event 'cpu-clock:ppp'
#
# Overhead  Shared Object         Symbol                        IPC   [IPC Coverage]
# ........  ....................  ............................  ....................
#
    28.94%  libpython3.11.so.1.0  [.] _PyEval_EvalFrameDefault  -      -
     5.30%  [kernel.kallsyms]     [k] _raw_spin_unlock          -      -


# (Tip: ...)
"""


class CoresTests(SynchronousTestCase):
    """Who gets which core."""

    def test_two(self) -> None:
        """One for the proxy, one for the rest."""
        cores = divide({0, 1})
        self.assertEqual((cores.proxy, cores.load, cores.pinned), ({1}, {0}, True))

    def test_many(self) -> None:
        """The load gets all but the last."""
        cores = divide({4, 5, 6, 7})
        self.assertEqual((cores.proxy, cores.load), ({7}, {4, 5, 6}))

    def test_one(self) -> None:
        """All share the only one, and nothing is pinned."""
        cores = divide({3})
        self.assertEqual((cores.proxy, cores.load, cores.pinned), ({3}, {3}, False))


class WordsTests(SynchronousTestCase):
    """What the machine says of itself."""

    def test_cpu(self) -> None:
        """The first processor's name."""
        self.assertEqual(cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz")

    def test_cpu_without_a_name(self) -> None:
        """Other architectures have none."""
        self.assertTrue(cpu_model("BogoMIPS: 48\n"))

    def test_versions(self) -> None:
        """As the programs write them."""
        for text, version in (
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("go version go1.26.8 linux/amd64\n", "1.26.8"),
            ("PHP 8.2.36 (fpm-fcgi) (built: Jun 1 2026)\n", "8.2.36"),
            ("wrk debian/4.1.0-3+b2 [epoll]\n", "4.1.0"),
            ("nothing\n", ""),
        ):
            self.assertEqual(first_version(text), version)


class AffordableTests(SynchronousTestCase):
    """How many connections can be held."""

    def test_enough(self) -> None:
        """With a high limit all that are wanted."""
        self.assertEqual(affordable(10_000, 65_536), 10_000)

    def test_too_few(self) -> None:
        """With a low one three quarters of it, less what else is open."""
        self.assertEqual(affordable(10_000, 20_000), 10_000)
        self.assertEqual(affordable(10_000, 4_096), 2_572)


class ProfileTests(SynchronousTestCase):
    """The profile's tables."""

    def test_report(self) -> None:
        """perf's lines without comments and empty columns."""
        self.assertEqual(
            parse_report(REPORT),
            [
                Share(28.94, "libpython3.11.so.1.0 [.] _PyEval_EvalFrameDefault"),
                Share(5.3, "[kernel.kallsyms] [k] _raw_spin_unlock"),
            ],
        )

    def test_shares(self) -> None:
        """The largest first."""
        self.assertEqual(shares({"b": 1, "a": 3}, 4), [Share(75.0, "a"), Share(25.0, "b")])
        self.assertEqual(shares({}, 0), [])

    def test_block(self) -> None:
        """No more lines than asked for."""
        self.assertEqual(block("by name", [Share(75.0, "a"), Share(25.0, "b")], most=1), "by name\n   75.0 %  a\n")
