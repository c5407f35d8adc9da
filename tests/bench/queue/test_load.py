"""Tests for L{bench.queue.load} and L{bench.queue.raw}."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.project import Unmet
from bench.queue.load import parse
from bench.queue.raw import cycles

SAID = '{"puts":3,"gets":2,"dones":1,"seconds":1.5,"p50_us":250,"p99_us":4000,"trouble":""}\n'


class ParseTests(SynchronousTestCase):
    """What the clients say at their end."""

    def test_counts(self) -> None:
        """Counts as they are, latencies in milliseconds."""
        found = parse(SAID)
        self.assertEqual((found.puts, found.gets, found.dones, found.seconds), (3, 2, 1, 1.5))
        self.assertEqual((found.p50_ms, found.p99_ms, found.trouble), (0.25, 4.0, ""))

    def test_nothing(self) -> None:
        """Clients that died have not counted."""
        for text in ("", "panic", SAID.replace("gets", "got")):
            self.assertRaises(Unmet, parse, text)


class RawTests(SynchronousTestCase):
    """SQLite alone."""

    def test_whole_cycles(self) -> None:
        """What was put was leased and deleted, in whole batches."""
        with tempfile.TemporaryDirectory() as folder:
            found = cycles(Path(folder), 0.01)
        self.assertEqual(found["trouble"], "")
        self.assertEqual(int(found["done"]) % 100, 0)
        self.assertGreater(found["done"], 0)
