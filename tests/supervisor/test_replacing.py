"""Fronts that are replaced, while others die, or the same is asked again, or there can be no process."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.supervisor.test_fronts import FrontsCase, routing
from tqserver.supervisor.fronts import START_S


class ReplaceTests(FrontsCase):
    """Fronts that are replaced while something else goes on."""

    def setUp(self) -> None:
        super().setUp()
        self.fronts.publish(routing(1))
        for number in range(2):
            self.work(number)
            self.hears(number)

    def alive(self) -> list[str]:
        """The states of all fronts that there are."""
        return sorted(front.state for front in self.fronts.load().fronts)

    def test_twice(self) -> None:
        """Who asks again meanwhile gets fronts that are newer than the question; who asks a third time, the same."""
        asked = [self.fronts.replace() for _ in range(4)]
        self.assertEqual(len(self.reactor.processes), 3)
        self.work(2)
        self.work(3)
        self.successResultOf(asked[0])
        self.assertNoResult(asked[1])
        self.assertEqual((self.retired(0), self.retired(1)), (True, True))
        self.work(4)
        self.work(5)
        for question in asked[1:]:
            self.successResultOf(question)
        self.assertEqual((self.retired(2), self.retired(3)), (True, True))
        self.assertEqual((len(self.reactor.processes), self.alive()), (6, ["leaving"] * 4 + ["running"] * 2))
        self.fronts.replace()
        self.assertEqual(len(self.reactor.processes), 7)

    def test_successor_dies(self) -> None:
        """If a new front does not live, the older ones stay, all of them, and nothing else is started."""
        replaced = self.fronts.replace()
        self.die(2)
        self.successResultOf(replaced)
        self.reactor.advance(60)
        self.assertEqual((len(self.reactor.processes), self.alive()), (3, ["running"] * 2))
        self.assertFalse(self.retired(0))
        self.assertFalse(self.retired(1))

    def test_successor_hangs(self) -> None:
        """A new front that does not say that it is there is killed, and the older ones stay."""
        replaced = self.fronts.replace()
        self.reactor.advance(START_S)
        self.assertEqual(self.reactor.processes[2].signals, ["KILL"])
        self.die(2)
        self.successResultOf(replaced)
        self.assertEqual(self.alive(), ["running"] * 2)

    def test_old_one_dies_first(self) -> None:
        """A front that dies while its successor starts needs no other."""
        replaced = self.fronts.replace()
        self.die(0)
        self.reactor.advance(1)
        self.work(2)
        self.work(3)
        self.successResultOf(replaced)
        self.reactor.advance(60)
        self.assertEqual((len(self.reactor.processes), self.alive()), (4, ["leaving", "running", "running"]))

    def test_both_die(self) -> None:
        """When a front and its successor die, one is started in their place."""
        self.fronts.replace()
        self.die(0)
        self.die(2)
        self.reactor.advance(60)
        self.assertEqual((len(self.reactor.processes), self.alive()), (4, ["running", "starting"]))

    def test_dead_one_and_its_successor(self) -> None:
        """A front that was just to be started again is not, when a successor of the dead one was started meanwhile."""
        for number in (0, 2):
            self.die(number)
            self.reactor.advance(0)
        self.assertEqual(len(self.reactor.processes), 3)
        self.fronts.replace()
        self.reactor.advance(20)
        self.assertEqual((len(self.reactor.processes), self.alive()), (4, ["running", "starting"]))

    def test_leaving_one_dies(self) -> None:
        """A front that dies as it leaves is not missed."""
        self.fronts.replace()
        self.work(2)
        self.work(3)
        self.die(0)
        self.die(1)
        self.reactor.advance(60)
        self.assertEqual((len(self.reactor.processes), self.alive()), (4, ["running"] * 2))

    def test_stop_meanwhile(self) -> None:
        """A stop while fronts are replaced ends all of them, and starts none."""
        replaced = self.fronts.replace()
        stopped = self.fronts.stop(3.0)
        for number in range(3):
            self.assertTrue(self.retired(number))
            self.die(number, well=True)
        self.successResultOf(replaced)
        self.successResultOf(stopped)
        self.reactor.advance(60)
        self.assertEqual((len(self.reactor.processes), self.guard.pids), (3, set()))


class AnyOrderTests(SynchronousTestCase):
    """Whatever happens in whatever order."""

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.lists(st.tuples(st.sampled_from(["replace", "work", "die", "wait", "scarce"]), st.integers(0, 5))))
    def test_one_each(self, events: list[tuple[str, int]]) -> None:
        """When all is quiet again every slot has one front, and what was to be replaced has been asked to leave."""
        case = FrontsCase()
        case.setUp()
        case.fronts.publish(routing(1))
        for number in range(2):
            case.work(number)
        asked = []
        for what, which in events:
            there = [process for process in case.reactor.processes if process.pid in case.guard.pids]
            number = there[which % len(there)].pid - 1000 if there else -1
            if what == "replace":
                asked.append(case.fronts.replace())
            elif what == "work" and there:
                case.work(number)
            elif what == "die" and there:
                case.die(number)
            elif what == "wait":
                case.reactor.advance(which)
            elif what == "scarce":
                case.reactor.scarce = which
        for _ in range(40):
            case.reactor.advance(1)
            for process in case.reactor.processes:
                if process.pid in case.guard.pids:
                    case.work(process.pid - 1000)
        for question in asked:
            self.assertEqual(question.called, True)
        staying = [front for front in case.fronts._fronts if front.staying]
        self.assertEqual(sorted((front.slot, front.state.value) for front in staying), [(0, "running"), (1, "running")])
        self.assertEqual({front.pid for front in case.fronts._fronts}, case.guard.pids)


class ScarceTests(FrontsCase):
    """No process can be made."""

    def test_tried_again(self) -> None:
        """A front that cannot be started is tried again, and meanwhile a stop does not wait for it."""
        self.start()
        self.reactor.scarce = 2
        self.die(0)
        self.reactor.pump([0.0, 0.0, 0.0])
        self.assertEqual(len(self.reactor.processes), 2)
        self.reactor.pump([0.5] * 20)
        self.assertEqual((len(self.reactor.processes), self.guard.pids), (3, {1001, 1002}))

    def test_stop(self) -> None:
        """A stop does not wait for a front that could not be started."""
        self.start()
        self.reactor.scarce = 1
        self.die(0)
        self.reactor.callLater(0, lambda: stopped.append(self.fronts.stop(1.0)))
        stopped: list[Deferred[None]] = []
        self.reactor.advance(0)
        self.die(1, well=True)
        self.reactor.advance(0)
        self.successResultOf(stopped[0])
