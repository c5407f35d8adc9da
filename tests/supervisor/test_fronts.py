"""The front processes, seen as one: on a fake reactor, with the test speaking for the fronts."""

from __future__ import annotations

import errno
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tqserver.plane.link import downward, encode
from tqserver.plane.messages import (
    Applied,
    Drained,
    Endpoint,
    EndpointLoad,
    FrontStopped,
    Load,
    Message,
    Retire,
    Routing,
    Started,
    Wanted,
    WorkerLoad,
    WorkerRouting,
)
from tqserver.supervisor.fronts import KILL_S, Fronts
from tqserver.supervisor.interfaces import EndpointTotals


class FakeProcess:
    """A front's process."""

    def __init__(self, pid: int, protocol: object) -> None:
        self.pid = pid
        self.protocol = protocol
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)


class FakeReactor(Clock):
    """
    A clock that spawns nothing and adopts anything.

    @ivar scarce: so many times no process can be made.
    """

    scarce = 0

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.wires: list[StringTransport] = []

    def adoptStreamConnection(self, fd: int, family: int, factory: Callable[[], IProtocol]) -> None:
        wire = StringTransport()
        protocol = factory.buildProtocol(None)  # type: ignore[attr-defined]
        wire.protocol = protocol  # type: ignore[attr-defined]
        wire.decoder = downward()  # type: ignore[attr-defined]
        protocol.makeConnection(wire)
        self.wires.append(wire)

    def spawnProcess(self, protocol: object, *args: object, **kwargs: object) -> FakeProcess:
        if self.scarce:
            self.scarce -= 1
            self.wires.pop()  # Nobody is at its other end.
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        process = FakeProcess(1000 + len(self.processes), protocol)
        self.processes.append(process)
        return process


class FakeListeners:
    """Listeners without sockets."""

    def __init__(self, count: int) -> None:
        self.slots: list[list[object]] = [[] for _ in range(count)]
        self.closed = self.refusing = False

    def refuse_new(self) -> None:
        self.refusing = True

    def close(self) -> None:
        self.closed = self.refusing


class FakeGuard:
    """Knows whom it guards."""

    def __init__(self) -> None:
        self.pids: set[int] = set()

    def add(self, pid: int) -> None:
        self.pids.add(pid)

    def remove(self, pid: int) -> None:
        self.pids.remove(pid)


def routing(version: int, *endpoints: str) -> Routing:
    """A routing with one worker."""
    return Routing(
        version=version,
        workers=(WorkerRouting(name="api", type="go", endpoints=tuple(Endpoint(id=each) for each in endpoints)),),
    )


class FrontsCase(SynchronousTestCase):
    """Two fronts."""

    count = 2

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.guard = FakeGuard()
        self.listeners = FakeListeners(self.count)
        self.fronts = Fronts(self.reactor, self.listeners, self.guard, lambda: 0.5)  # type: ignore[arg-type]
        self.fronts.start()

    def says(self, number: int, *messages: Message) -> None:
        """A front says something."""
        for message in messages:
            self.reactor.wires[number].protocol.dataReceived(encode(message))  # type: ignore[attr-defined]

    def hears(self, number: int) -> list[Message]:
        """What a front was told since the last look."""
        wire = self.reactor.wires[number]
        value = wire.value()
        wire.clear()
        return wire.decoder.feed(value)  # type: ignore[attr-defined, no-any-return]

    def start(self) -> None:
        """All fronts have started."""
        for number in range(self.count):
            self.says(number, Started(pid=1000 + number))

    def work(self, number: int) -> None:
        """A front has started and has applied what it was told."""
        self.says(number, Started(pid=1000 + number), Applied(version=1))

    def retired(self, number: int) -> bool:
        """Whether a front was asked to leave since the last look."""
        return any(isinstance(message, Retire) for message in self.hears(number))

    def die(self, number: int, well: bool = False) -> None:
        """A front's process ends."""
        self.reactor.wires[number].protocol.connectionLost(connectionDone)  # type: ignore[attr-defined]
        reason = Failure(ProcessDone(0) if well else ProcessTerminated(signal=9))
        self.reactor.processes[number].protocol.processEnded(reason)  # type: ignore[attr-defined]


class RoutingTests(FrontsCase):
    """What the fronts are told."""

    def test_routing_for_all(self) -> None:
        """A routing goes to every front, and to one that starts later when it has started."""
        self.fronts.publish(routing(1))
        self.assertEqual(self.hears(0), [])
        self.start()
        self.assertEqual((self.hears(0), self.hears(1)), ([routing(1)], [routing(1)]))
        self.fronts.publish(routing(2))
        self.assertEqual(self.hears(1), [routing(2)])

    def test_applied_by_all(self) -> None:
        """A version is applied when the last front says so."""
        self.start()
        self.fronts.publish(routing(1))
        self.fronts.publish(routing(2))
        applied = self.fronts.when_applied(2)
        self.says(0, Applied(version=1), Applied(version=2))
        self.says(1, Applied(version=1))
        self.assertNoResult(applied)
        self.says(1, Applied(version=2))
        self.successResultOf(applied)

    def test_drained_by_all(self) -> None:
        """An endpoint is drained when every front that was ever told of it has said so."""
        self.start()
        self.fronts.publish(routing(1, "a"))
        self.fronts.publish(routing(2))
        drained = self.fronts.when_drained("a")
        self.says(0, Drained(endpoint="a", version=2))
        self.assertNoResult(drained)
        self.says(1, Drained(endpoint="a", version=2))
        self.successResultOf(drained)
        self.successResultOf(self.fronts.when_drained("a"))
        self.successResultOf(self.fronts.when_drained("never known"))

    def test_drained_by_death(self) -> None:
        """A front that died holds nothing any more; its successor was never told of the endpoint."""
        self.start()
        self.fronts.publish(routing(1, "a"))
        self.fronts.publish(routing(2))
        drained = self.fronts.when_drained("a")
        self.says(0, Drained(endpoint="a", version=2))
        self.die(1)
        self.successResultOf(drained)

    def test_taken_away_and_given_back(self) -> None:
        """What a front says of an endpoint's first departure says nothing of its second."""
        self.start()
        self.fronts.publish(routing(1, "a"))
        self.fronts.publish(routing(2))
        self.fronts.publish(routing(3, "a"))
        for number in range(2):
            self.says(number, Drained(endpoint="a", version=2))
        self.fronts.publish(routing(4))
        drained = self.fronts.when_drained("a")
        self.says(0, Drained(endpoint="a", version=4))
        self.assertNoResult(drained)
        self.says(1, Drained(endpoint="a", version=4))
        self.successResultOf(drained)

    def test_question_withdrawn(self) -> None:
        """Who no longer wants to know is not told."""
        self.start()
        self.fronts.publish(routing(1, "a"))
        question = self.fronts.when_drained("a")
        question.addErrback(lambda _: None)
        question.cancel()
        for number in range(2):
            self.says(number, Drained(endpoint="a", version=2))


class DeathTests(FrontsCase):
    """Fronts that die."""

    def test_replaced_at_once(self) -> None:
        """A front that dies is started again at once, gets the present routing, and the guard knows of it."""
        self.start()
        self.fronts.publish(routing(5))
        self.die(0)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.processes), 3)
        self.assertEqual(self.guard.pids, {1001, 1002})
        self.says(2, Started(pid=1002))
        self.assertEqual(self.hears(2), [routing(5)])

    def test_crash_loop(self) -> None:
        """Fronts that die again and again are started ever more slowly."""
        started = []
        for number in range(6):
            if number:
                self.die(len(self.reactor.processes) - 1)
            before = len(self.reactor.processes)
            waited = 0.0
            while number and len(self.reactor.processes) == before:
                self.reactor.advance(0.01)
                waited += 0.01
            started.append(waited)
        self.assertLess(started[1], 0.02)
        self.assertGreater(started[5], 4 * started[2])

    def test_counters_survive(self) -> None:
        """What a dead front has counted still counts; what it had in hand does not."""
        self.start()
        self.fronts.publish(routing(1, "a"))
        load = Load(
            endpoints=(EndpointLoad(id="a", in_flight=2, answered=7, failed=1, ejected=True),),
            workers=(
                WorkerLoad(name="api", waiting=3, requests=9, ejections=4, retries=5, unretried=6, latency=(1, 2)),
            ),
        )
        self.says(0, load)
        self.says(1, load)
        self.assertEqual(
            self.fronts.load().endpoints["a"], EndpointTotals(in_flight=4, answered=14, failed=2, ejected=2)
        )
        self.die(0)
        totals = self.fronts.load()
        self.assertEqual(totals.endpoints["a"], EndpointTotals(in_flight=2, answered=14, failed=2, ejected=1))
        api = totals.workers["api"]
        self.assertEqual((api.ejections, api.retries, api.unretried), (8, 10, 12))
        self.assertEqual((totals.workers["api"].waiting, totals.workers["api"].latency), (3, (2, 4)))
        self.fronts.publish(routing(2))
        self.assertNotIn("a", {each for each in self.fronts.load().endpoints if each not in ("a",)})

    def test_wanted(self) -> None:
        """What a front wants is told on."""
        wanted: list[tuple[str, int, float]] = []
        self.fronts.on_wanted(lambda *told: wanted.append(told))
        self.start()
        self.says(1, Wanted(worker="api", waiting=2, oldest_s=0.5))
        self.assertEqual(wanted, [("api", 2, 0.5)])


class EndTests(FrontsCase):
    """Stopping and replacing."""

    def test_stop(self) -> None:
        """At a stop every front is asked to leave with its listeners, and none is started again."""
        self.start()
        stopped = self.fronts.stop(3.0)
        self.assertTrue(self.listeners.closed)
        self.assertEqual(self.hears(0), [Retire(timeout_s=3.0, close_listeners=True)])
        self.says(0, FrontStopped())
        self.die(0, well=True)
        self.assertNoResult(stopped)
        self.die(1, well=True)
        self.successResultOf(stopped)
        self.reactor.advance(60)
        self.assertEqual((len(self.reactor.processes), self.guard.pids), (2, set()))

    def test_stop_of_one_that_hangs(self) -> None:
        """A front that does not end is killed after the limit."""
        self.start()
        self.fronts.stop(3.0)
        self.reactor.advance(3.0 + KILL_S - 0.1)
        self.assertEqual(self.reactor.processes[0].signals, [])
        self.reactor.advance(0.2)
        self.assertEqual(self.reactor.processes[0].signals, ["KILL"])

    def test_stop_while_one_is_being_restarted(self) -> None:
        """A stop between a death and the new start starts nothing."""
        self.start()
        self.die(0)
        stopped = self.fronts.stop(1.0)
        self.die(1, well=True)
        self.successResultOf(stopped)
        self.reactor.advance(60)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_replace(self) -> None:
        """Fronts are replaced one by one: when the new one works the old one leaves, and then the next is replaced."""
        self.start()
        self.fronts.publish(routing(4))
        for number in range(2):
            self.hears(number)
            self.says(number, Applied(version=4))
        replaced: Deferred[None] = self.fronts.replace()
        self.assertEqual(len(self.reactor.processes), 3)
        self.says(2, Started(pid=1002))
        self.assertEqual(self.hears(0), [])
        self.says(2, Applied(version=4))
        (retire,) = self.hears(0)
        self.assertEqual((type(retire), getattr(retire, "close_listeners", None)), (Retire, False))
        self.assertEqual(len(self.reactor.processes), 4)
        self.says(3, Started(pid=1003), Applied(version=4))
        self.successResultOf(replaced)
        self.die(0, well=True)
        self.die(1, well=True)
        self.reactor.advance(10)
        self.assertEqual(len(self.reactor.processes), 4)

    def test_leaving_front_still_counts(self) -> None:
        """An endpoint is not drained while a front that leaves has an exchange on it."""
        self.start()
        self.fronts.publish(routing(1, "a"))
        for number in range(2):
            self.says(number, Applied(version=1))
        self.fronts.replace()
        self.says(2, Started(pid=1002), Applied(version=1))
        self.fronts.publish(routing(2))
        drained = self.fronts.when_drained("a")
        for number in (1, 2, 3):
            self.says(number, Started(pid=1000 + number), Drained(endpoint="a", version=2))
        self.assertNoResult(drained)
        self.says(0, Drained(endpoint="a", version=2))
        self.successResultOf(drained)
