"""The line of requests that wait."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.http1.test_sweep import TurnClock
from tqserver.front.waiting import WaitingLine
from tqserver.http1.sweep import TOLD_MAX, Sweep


class WaitingTests(SynchronousTestCase):
    """First come, first served, left at any time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent_away: list[str] = []
        self.line: WaitingLine[str] = WaitingLine(self.clock, 3, 10.0, self.sent_away.append)

    def test_order(self) -> None:
        """Who came first is served first; who left is not served."""
        for name in "abc":
            self.line.join(name, self.clock.seconds())
        self.assertTrue(self.line.full)
        self.line.leave("b")
        self.line.leave("b")
        self.assertEqual([self.line.next(), self.line.next(), self.line.next()], ["a", "c", None])

    def test_too_long(self) -> None:
        """Who waited too long is sent away, those who came later are not."""
        sweep = Sweep(self.clock)
        sweep.add(self.line)
        self.line.join("early", self.clock.seconds())
        self.clock.advance(5)
        self.line.join("late", self.clock.seconds())
        self.assertEqual(self.line.oldest_s(), 5)
        self.clock.pump([0.25] * 22)
        self.assertEqual((self.sent_away, len(self.line)), (["early"], 1))

    def test_many_too_long(self) -> None:
        """Of many who waited too long some are sent away in one go, and all of them at once all the same."""
        clock = TurnClock()
        line: WaitingLine[str] = WaitingLine(clock, 100, 10.0, self.sent_away.append)
        Sweep(clock).add(line)
        many = 2 * TOLD_MAX + 1
        for number in range(many):
            line.join(str(number), clock.seconds() + 0.1 + number / 1e6)
        clock.pump([0.25] * 41)
        self.assertEqual(len(self.sent_away), TOLD_MAX)
        clock.pump([0] * 2)
        self.assertEqual((self.sent_away, line.busy), ([str(number) for number in range(many)], False))
