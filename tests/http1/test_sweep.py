"""Deadlines of many things by one timer."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.http1.sweep import NEVER, Sweep


class Thing:
    """Has a deadline and notes when it was told."""

    def __init__(self, deadline: float, act: Callable[[Thing], None] = lambda thing: None) -> None:
        self.deadline = deadline
        self.told: list[float] = []
        self._act = act

    def timed_out(self, now: float) -> None:
        self.told.append(now)
        self.deadline = NEVER
        self._act(self)


class SweepTests(SynchronousTestCase):
    """The timer."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock, 0.25)

    def test_told_once(self) -> None:
        """What is late is told, at most a period late; what is not, is not."""
        late, never = Thing(1.1), Thing(NEVER)
        self.sweep.add(late)
        self.sweep.add(never)
        self.clock.pump([0.25] * 20)
        self.assertEqual((late.told, never.told), ([1.25], []))

    def test_put_off(self) -> None:
        """A deadline that is put off costs nothing and fires later."""
        thing = Thing(1.0)
        self.sweep.add(thing)
        self.clock.advance(0.75)
        thing.deadline = 2.0
        self.clock.pump([0.25] * 6)
        self.assertEqual(thing.told, [2.0])

    def test_nothing_to_do(self) -> None:
        """With nothing to look after there is no timer, and it comes back with the next."""
        thing = Thing(1.0)
        self.sweep.add(thing)
        self.sweep.discard(thing)
        self.sweep.discard(thing)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.sweep.add(thing)
        self.clock.pump([0.25] * 5)
        self.assertEqual(len(thing.told), 1)

    def test_one_ends_another(self) -> None:
        """What was let go because of another in the same look is not told any more."""
        things: list[Thing] = []

        def end_others(thing: Thing) -> None:
            for other in things:
                if other is not thing:
                    self.sweep.discard(other)

        things += [Thing(1.0, end_others), Thing(1.0, end_others)]
        for thing in things:
            self.sweep.add(thing)
        self.clock.pump([0.25] * 8)
        self.assertEqual(sum(len(thing.told) for thing in things), 1)

    def test_a_mistake_with_one(self) -> None:
        """A mistake with one is logged, and the others are told all the same, now and later."""

        def fail(thing: Thing) -> None:
            raise RuntimeError("a mistake")

        broken, now, later = Thing(1.0, fail), Thing(1.0), Thing(2.0)
        for thing in (broken, now, later):
            self.sweep.add(thing)
        self.clock.pump([0.25] * 9)
        self.assertEqual((len(now.told), len(later.told)), (1, 1))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
