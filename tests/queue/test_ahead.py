"""Tests of L{tqserver.queue.ahead}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.ahead import AHEAD_MAX, AHEAD_S, AHEAD_TIMES_MAX, MEASURE_S, Ahead


class AheadTests(SynchronousTestCase):
    """How many tasks are claimed before it is their turn."""

    def setUp(self) -> None:
        self.clock = Clock()

    def measure(self, ahead: Ahead, per_s: float, seconds: float = MEASURE_S) -> int:
        """A worker answers for a while; how many may be claimed ahead then."""
        ahead.quick = True
        ahead.answers += round(per_s * seconds)
        self.clock.advance(seconds)
        return ahead.most()

    def test_pace(self) -> None:
        """So many as end in a moment: nobody who is more important waits for longer than that."""
        ahead = Ahead(self.clock, 32)
        self.assertEqual(self.measure(ahead, 4000), round(4000 * AHEAD_S))
        self.assertEqual(self.measure(ahead, 1000), round(1000 * AHEAD_S))
        self.assertEqual(self.measure(ahead, 10, seconds=1.0), 0)

    def test_begins(self) -> None:
        """Nothing is claimed ahead before the pace is known, and it is measured for a while."""
        ahead = Ahead(self.clock, 32)
        ahead.quick = True
        self.assertEqual(ahead.most(), 0)
        self.assertEqual(self.measure(ahead, 4000, MEASURE_S / 2), 0)
        self.assertEqual(self.measure(ahead, 4000, MEASURE_S / 2), round(4000 * AHEAD_S))
        self.assertEqual(self.measure(ahead, 0, MEASURE_S / 2), round(4000 * AHEAD_S))

    def test_slow(self) -> None:
        """A worker that takes its time is given no more than it can do at once."""
        ahead = Ahead(self.clock, 32)
        self.measure(ahead, 4000)
        ahead.quick = False
        self.assertEqual(ahead.most(), 0)

    def test_limits(self) -> None:
        """However quick a worker is, there is an end to what is claimed for it."""
        self.assertEqual(self.measure(Ahead(self.clock, 64), 1e6), AHEAD_MAX)
        self.assertEqual(self.measure(Ahead(self.clock, 2), 1e6), 2 * AHEAD_TIMES_MAX)
