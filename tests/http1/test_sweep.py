"""Deadlines of many things by one timer."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.http1.sweep import NEVER, TOLD_MAX, Sweep


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


class TurnClock(Clock):
    """As with a reactor, what is called for while calls are made is called in a later turn."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        for call in [call for call in self.calls if call.getTime() <= self.rightNow]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


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


class ThoroughTests(SynchronousTestCase):
    """Many that are all looked at only now and then."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock, 0.25, thorough=4)

    def test_as_punctual(self) -> None:
        """What is due in some time is told no later for it, whenever it is due."""
        things = [Thing(3.0 + number / 16) for number in range(20)]
        for thing in things:
            self.sweep.add(thing)
        self.clock.pump([0.25] * 20)
        for thing in things:
            ((told, due),) = [(told, 3.0 + things.index(thing) / 16) for told in thing.told]
            self.assertTrue(due <= told < due + 0.25, f"{due} was told at {told}")

    def test_put_off(self) -> None:
        """What seemed near and was put off is not told."""
        thing = Thing(1.6)
        self.sweep.add(thing)
        self.clock.pump([0.25] * 6)
        thing.deadline = 3.1
        self.clock.pump([0.25] * 10)
        self.assertEqual(thing.told, [3.25])

    def test_suddenly_near(self) -> None:
        """What was far away and is due soon is told when all are looked at."""
        thing = Thing(100.0)
        self.sweep.add(thing)
        self.clock.pump([0.25] * 6)
        thing.deadline = 1.6
        self.clock.pump([0.25] * 10)
        self.assertEqual(thing.told, [2.25])


class CrowdTests(SynchronousTestCase):
    """Many that are late together."""

    def setUp(self) -> None:
        self.clock = TurnClock()
        self.sweep = Sweep(self.clock, 0.25)

    def test_many_at_once(self) -> None:
        """Of many that are late together some are told in one go and the others right afterwards, each once."""
        things = [Thing(1.0) for _ in range(3 * TOLD_MAX + 5)]
        for thing in things:
            self.sweep.add(thing)
        self.clock.pump([0.25] * 4)
        self.assertEqual(sum(len(thing.told) for thing in things), TOLD_MAX)
        self.clock.pump([0] * 3)
        self.assertEqual([len(thing.told) for thing in things], [1] * len(things))

    def test_told_again_at_once(self) -> None:
        """Whoever has more that is late is told again in the next turn; whoever does nothing, at the next look only."""

        def another(thing: Thing) -> None:
            thing.deadline = 0.5 + len(thing.told) / 10

        def nothing(thing: Thing) -> None:
            thing.deadline = 0.5

        several, idle = Thing(0.5, another), Thing(0.5, nothing)
        for thing in (several, idle):
            self.sweep.add(thing)
        self.clock.pump([0.25] * 3)
        self.assertEqual((len(several.told), len(idle.told)), (2, 2))
        self.clock.pump([0] * 5)
        self.assertEqual((len(several.told), len(idle.told)), (3, 2))

    def test_gone_before_its_turn(self) -> None:
        """Who is let go, or put off, while many others are told first is not told."""
        things = [Thing(1.0) for _ in range(2 * TOLD_MAX)]
        for thing in things:
            self.sweep.add(thing)
        self.clock.pump([0.25] * 4)
        waiting = [thing for thing in things if not thing.told]
        self.sweep.discard(waiting[0])
        waiting[1].deadline = 5.0
        self.clock.advance(0)
        self.assertEqual([len(thing.told) for thing in waiting], [0, 0] + [1] * (TOLD_MAX - 2))
