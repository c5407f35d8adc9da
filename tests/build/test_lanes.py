"""Tests of L{tqserver.build.lanes}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tqserver.build.lanes import Lanes


class LanesTests(SynchronousTestCase):
    """How many builds run at once."""

    def setUp(self) -> None:
        """Two places and four who want one."""
        self.lanes = Lanes(2)
        self.turns: list[Deferred[None]] = [self.lanes.acquire() for _ in range(4)]

    def admitted(self) -> list[bool]:
        """Who has had a place."""
        return [turn.called for turn in self.turns]

    def test_in_order(self) -> None:
        """As many as there are places come in, the others in order as places are given back."""
        self.assertEqual(self.admitted(), [True, True, False, False])
        self.lanes.release()
        self.assertEqual(self.admitted(), [True, True, True, False])

    def test_leaving_the_line(self) -> None:
        """Who is not interested any more holds up nobody."""
        self.turns[2].cancel()
        self.failureResultOf(self.turns[2], CancelledError)
        self.assertEqual(self.lanes.waiting, 1)
        self.lanes.release()
        self.assertTrue(self.turns[3].called)

    def test_more_and_fewer_places(self) -> None:
        """A new configuration counts at once for who waits, and takes nobody's place away."""
        self.lanes.limit = 3
        self.assertEqual(self.admitted(), [True, True, True, False])
        self.lanes.limit = 1
        self.lanes.release()
        self.lanes.release()
        self.assertFalse(self.turns[3].called)
        self.lanes.release()
        self.assertTrue(self.turns[3].called)
