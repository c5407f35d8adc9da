"""Tests of L{tqserver.queue.ahead}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.ahead import MEASURE_S, PACE_MAX, PACE_S, TIMES, TIMES_MAX, Ahead


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
        ahead = Ahead(self.clock, 1)
        self.assertEqual(self.measure(ahead, 4000), round(4000 * PACE_S))
        self.assertEqual(self.measure(ahead, 1000), round(1000 * PACE_S))
        self.assertEqual(self.measure(ahead, 10, seconds=1.0), TIMES)

    def test_begins(self) -> None:
        """Some rounds are claimed ahead before the pace is known, and it is measured for a while."""
        ahead = Ahead(self.clock, 2)
        ahead.quick = True
        self.assertEqual(ahead.most(), 2 * TIMES)
        self.assertEqual(self.measure(ahead, 4000, MEASURE_S / 2), 2 * TIMES)
        self.assertEqual(self.measure(ahead, 4000, MEASURE_S / 2), round(4000 * PACE_S))
        self.assertEqual(self.measure(ahead, 0, MEASURE_S / 2), round(4000 * PACE_S))

    def test_slow(self) -> None:
        """A worker that takes its time is given no more than it can do at once."""
        ahead = Ahead(self.clock, 32)
        self.measure(ahead, 4000)
        ahead.quick = False
        self.assertEqual(ahead.most(), 0)

    def test_slow_disk(self) -> None:
        """A worker that waits for the disk is not given less and less because of that."""
        ahead = Ahead(self.clock, 32)
        for _ in range(10):
            self.assertEqual(self.measure(ahead, 100, 0.5), 32 * TIMES)

    def test_limits(self) -> None:
        """However quick a worker is, there is an end to what is claimed for it."""
        self.assertEqual(self.measure(Ahead(self.clock, 2), 1e6), PACE_MAX)
        self.assertEqual(self.measure(Ahead(self.clock, 1000), 100), TIMES_MAX)
