"""A world for tests of deliveries: a store in memory, a clock, and fronts that the test plays."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.deliveries import Deliveries
from tqserver.queue.delivery import Delivery, Rule
from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import LOCAL, Backoff, NewTask, QueueName, State, Task
from tqserver.queue.requests import Manner, ToWorker
from tqserver.queue.store import StoreFault
from tqserver.queue.waiting import Waiting

JOBS = QueueName(LOCAL, "jobs")

NOW_MS = 1_760_000_000_000
"""When the tests begin."""


class FaultyStore(MemoryStore):
    """
    A store that can be made to fail.

    @ivar failing: names of operations that cannot be done now.
    """

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.failing: set[str] = set()
        self.asked: list[str] = []

    def _may(self, name: str) -> Deferred[object] | None:
        self.asked.append(name)
        return fail(StoreFault("The disk is full.")) if name in self.failing else None

    def claim(self, claim: object) -> Deferred[object]:  # type: ignore[override]
        return self._may("claim") or super().claim(claim)  # type: ignore[arg-type, return-value]

    def finish(self, finishes: object) -> Deferred[object]:  # type: ignore[override]
        return self._may("finish") or super().finish(finishes)  # type: ignore[arg-type, return-value]

    def release(self, releases: object) -> Deferred[object]:  # type: ignore[override]
        return self._may("release") or super().release(releases)  # type: ignore[arg-type, return-value]

    def extend(self, extends: object) -> Deferred[object]:  # type: ignore[override]
        return self._may("extend") or super().extend(extends)  # type: ignore[arg-type, return-value]

    def create(self, *args: object, **options: object) -> Deferred[object]:  # type: ignore[override]
        return self._may("create") or super().create(*args, **options)  # type: ignore[arg-type, return-value]


class DeliveringCase(SynchronousTestCase):
    """
    A queue C{jobs} that is delivered.

    @ivar wires: connections that fronts have accepted, by age.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.store = FaultyStore(self.now)
        self.told: list[Task] = []
        self.begin()

    def begin(self) -> None:
        """A process begins."""
        self.waiting = Waiting(self.store, self.reactor, self.now)
        self.deliveries = Deliveries(
            self.store,
            self.waiting,
            self.reactor,
            self.now,
            "/run/front.sock",
            chance=lambda: 0.0,
            ended=self.told.append,
        )
        self.wires: list[StringTransport] = []
        self._connected = len(self.reactor.unixClients)

    def now(self) -> int:
        return NOW_MS + int(self.reactor.seconds() * 1000)

    def deliver(self, manner: Manner | None = None, **rule: object) -> Delivery:
        """Begin to deliver."""
        options: dict[str, object] = {
            "queue": JOBS,
            "to": "/mailer/jobs",
            "concurrency": 2,
            "timeout_s": 60.0,
            "attempts_max": 3,
            "backoff": Backoff("exponential", 1000, 60_000),
            "keep_ms": 100_000,
        }
        options.update(rule)
        made = Rule(**options)  # type: ignore[arg-type]
        delivery = self.deliveries.add(made, manner or ToWorker(made.queue.name, made.to))
        self.successResultOf(self.deliveries.start())
        self.turn()
        return delivery

    def put(self, *payloads: bytes, **options: object) -> list[str]:
        """Somebody puts tasks; their ids."""
        options.setdefault("queue", JOBS)
        made = self.successResultOf(
            self.store.create([NewTask(payload=each, **options) for each in payloads], define=True)  # type: ignore[arg-type]
        )
        self.turn()
        return [each.task.id for each in made]  # type: ignore[attr-defined]

    def turn(self, times: int = 3) -> None:
        """Turns of the reactor, in which no time passes."""
        for _ in range(times):
            self.reactor.advance(0)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        whole = int(seconds / 0.25)
        for _ in range(whole):
            self.reactor.advance(0.25)
        self.reactor.advance(seconds - whole * 0.25)
        self.turn()

    def accept(self) -> StringTransport:
        """A front accepts the oldest connection that is being opened."""
        _, factory, _, _ = self.reactor.unixClients[self._connected]
        self._connected += 1
        wire = StringTransport()
        wire.abortConnection = lambda: self.lose(wire)  # type: ignore[method-assign]
        wire.protocol = factory.buildProtocol(None)  # type: ignore[attr-defined]
        wire.protocol.makeConnection(wire)  # type: ignore[attr-defined]
        self.wires.append(wire)
        return wire

    def refuse(self) -> None:
        """The oldest connection that is being opened is refused."""
        factory = self.reactor.unixClients[self._connected][1]
        self._connected += 1
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.turn()

    @property
    def opening(self) -> int:
        """How many connections are being opened."""
        return len(self.reactor.unixClients) - self._connected

    def asked(self, wire: StringTransport) -> bytes:
        """What has come over a connection since this was asked last."""
        data = wire.value()
        wire.clear()
        return data

    def reply(self, wire: StringTransport, status: str = "200 OK", body: bytes = b"", *fields: str) -> None:
        """A front answers."""
        lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]
        wire.protocol.dataReceived("\r\n".join(lines).encode() + body)  # type: ignore[attr-defined]
        self.turn()

    def lose(self, wire: StringTransport) -> None:
        """A front closes a connection."""
        if wire in self.wires:
            self.wires.remove(wire)
            wire.protocol.connectionLost(connectionDone)  # type: ignore[attr-defined]
            self.turn()

    def task(self, id: str, tenant: str = LOCAL) -> Task:
        """A task as it is stored."""
        [task] = self.successResultOf(self.store.get(tenant, [id]))
        assert task is not None
        return task

    def state(self, id: str) -> tuple[State, int, str]:
        """A task's state, tries and reason."""
        task = self.task(id)
        return task.state, task.attempts, task.error
