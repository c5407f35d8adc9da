"""Tests for L{bench.proxy.table}."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from bench.project import Unmet
from bench.proxy.rows import GO, NGINX, OURS, Outcome, Row, Verdict
from bench.proxy.table import BEGIN, END, as_rst, as_text, with_table

RATE = Row("rps", "requests", "rps", "1/s", 3.0, at_most=False, peer=GO, digits=0)
MEMORY = Row("idle", "memory", "kib", "KiB", 6.0)
OUTCOMES = [
    Outcome(RATE, {OURS: 30000.4, NGINX: 45000.0, GO: 9000.0, "Go proxy, 64 kept": 18000.0}, 3.333, Verdict.MET),
    Outcome(MEMORY, {OURS: None, NGINX: 0.5}, None, Verdict.INVALID, ("tqserver: 3 were closed",)),
]
MACHINE = ["1 May 2026, some processor", "Python 3"]


class TextTests(SynchronousTestCase):
    """For a terminal."""

    def test_lines(self) -> None:
        """The machine, a line for each row, and below it who has no column and what was wrong."""
        lines = as_text(OUTCOMES, MACHINE).splitlines()
        self.assertEqual(lines[:2], MACHINE)
        self.assertEqual(
            lines[4].split(),
            ["requests,", "1/s", "30,000", "45,000", "9,000", "3.33", ">=", "3", "x", "Go", "proxy", "met"],
        )
        self.assertEqual(lines[5].split(), ["memory,", "KiB", "0.5", "<=", "6", "KiB", "invalid"])
        self.assertEqual(lines[7:], ["requests: Go proxy, 64 kept 18,000 1/s", "memory: tqserver: 3 were closed"])

    def test_columns(self) -> None:
        """Figures stand below each other, to the right."""
        lines = as_text(OUTCOMES, MACHINE).splitlines()
        self.assertEqual(lines[3].index(NGINX) + len(NGINX), lines[4].index("45,000") + len("45,000"))


class RstTests(SynchronousTestCase):
    """For a page."""

    def test_simple_table(self) -> None:
        """Every line fits its rule, and no first cell is empty, which would continue the line above."""
        lines = as_rst(OUTCOMES, MACHINE).splitlines()
        self.assertEqual(lines[0], "1 May 2026, some processor; Python 3.")
        rules = [number for number, line in enumerate(lines) if line.startswith("=")]
        self.assertEqual(len({lines[number] for number in rules}), 1)
        self.assertEqual([number - rules[0] for number in rules], [0, 2, 5])
        for line in lines[rules[0] : rules[-1]]:
            self.assertTrue(line[0].strip(), line)
            self.assertLessEqual(len(line), len(lines[rules[0]]))
        self.assertEqual(lines[-1], "- memory: tqserver: 3 were closed")

    def test_column_boundaries(self) -> None:
        """No cell reaches into the space between two columns."""
        lines = as_rst(OUTCOMES, MACHINE).splitlines()
        rule = next(line for line in lines if line.startswith("="))
        for line in lines[3:7]:
            for at, character in enumerate(rule):
                if character == " ":
                    self.assertEqual(line[at : at + 1].strip(), "", line)


class PageTests(SynchronousTestCase):
    """A page with the table in it."""

    page = f"Before.\n\n{BEGIN}\n\nold\n\n{END}\n\nAfter.\n"

    def test_replaced(self) -> None:
        """Only what is between the marks changes, and a second time changes nothing."""
        once = with_table(self.page, "new\n")
        self.assertEqual(once, f"Before.\n\n{BEGIN}\n\nnew\n\n{END}\n\nAfter.\n")
        self.assertEqual(with_table(once, "new\n"), once)

    def test_no_place(self) -> None:
        """A page without marks is left alone."""
        for page in ("nothing", BEGIN, END, f"{END} {BEGIN}"):
            with self.assertRaises(Unmet):
                with_table(page, "new\n")

    def test_unknown_verdict_fits(self) -> None:
        """The longest verdict widens its column."""
        text = as_rst([replace(OUTCOMES[0], verdict=Verdict.NOT_AVAILABLE)], MACHINE)
        self.assertIn("=" * len("not available"), text)
