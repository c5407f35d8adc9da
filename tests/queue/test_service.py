"""The process of a queue, as its clients and the supervisor see it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.http1.test_server import Wire
from tqserver.errors import ClientFault, ServerFault
from tqserver.http1.exchange import ServerExchange
from tqserver.http1.head import ResponseHead
from tqserver.queue.service import GOODBYE_S, SETTLE_S, STOP_S, Life, QueueService


class Waits:
    """A service that answers when the test says so, or at once with the path that it was given."""

    def __init__(self) -> None:
        self.waiting: list[ServerExchange] = []

    def __call__(self, exchange: ServerExchange, path: bytes, /) -> None:
        if path == b"/wait":
            self.waiting.append(exchange)
        elif path == b"/full":
            raise ServerFault("The queue is full.", retry_after_s=3)
        elif path == b"/bad":
            raise ClientFault("No such thing.", status=409)
        elif path == b"/mistake":
            raise KeyError("mistake")
        else:
            exchange.answer(ResponseHead(200, b"", [], len(path)), path)

    def answer(self) -> None:
        """All who wait are answered."""
        waiting, self.waiting = self.waiting, []
        for exchange in waiting:
            exchange.answer(ResponseHead(200, b"", [], 4), b"late")


class ServiceCase(SynchronousTestCase):
    """A queue with one service, on the worker's address and at a port of its own."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.ended: list[bool] = []
        self.service = QueueService(self.reactor, self.ended.append)
        self.tqs = Waits()
        self.service.mount("tqs", self.tqs)
        self.prepare()
        self.started = self.service.start(self.listen)

    def prepare(self) -> None:
        """What is registered before the start."""

    def listen(self) -> None:
        """Listen, as C{__main__} does."""
        self.service.listen_unix("/run/queue.sock")
        self.service.listen_tcp(8070, "127.0.0.1", "tqs")

    @property
    def door(self) -> Factory:
        """The worker's address."""
        factory: Factory = self.reactor.unixServers[0][1]
        return factory

    @property
    def own_door(self) -> Factory:
        """The service's own port."""
        factory: Factory = self.reactor.tcpServers[0][1]
        return factory

    def connect(self, factory: Factory) -> Wire:
        """A client connects."""
        wire = Wire()
        wire.protocol = factory.buildProtocol(None)  # type: ignore[attr-defined]
        wire.protocol.makeConnection(wire)  # type: ignore[attr-defined]
        return wire

    def ask(self, wire: Wire, path: str, method: str = "GET") -> bytes:
        """A client asks; what it gets."""
        wire.clear()
        wire.protocol.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())  # type: ignore[attr-defined]
        return wire.value()

    def lose(self, wire: Wire) -> None:
        """A client has gone, or its connection has closed."""
        wire.protocol.connectionLost(connectionDone)  # type: ignore[attr-defined]


class RouteTests(ServiceCase):
    """Who serves what."""

    def test_health(self) -> None:
        """The supervisor asks whether it is well."""
        answer = self.ask(self.connect(self.door), "/health")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)

    def test_paths(self) -> None:
        """A service is below its name on the worker's address, and at the root of its own; it sees the same paths."""
        for factory, asked, seen in (
            (self.door, "/tqs/queues/a%2Fb?x=1", b"/queues/a%2Fb"),
            (self.door, "/tqs", b"/"),
            (self.door, "/tqs/", b"/"),
            (self.own_door, "/queues/a%2Fb", b"/queues/a%2Fb"),
            (self.own_door, "/health", b"/health"),
            (self.own_door, "/tqs/x", b"/tqs/x"),
        ):
            answer = self.ask(self.connect(factory), asked)
            self.assertTrue(answer.endswith(b"\r\n\r\n" + seen), (asked, answer))

    def test_nothing_there(self) -> None:
        """What is no service is told so, whatever it is called."""
        for path in ("/", "/zapq/x", "/tqsx", "/%74qs/", "//tqs/", "/%ff"):
            answer = self.ask(self.connect(self.door), path)
            self.assertTrue(answer.startswith(b"HTTP/1.1 404 "), (path, answer))

    def test_faults(self) -> None:
        """What a service refuses is told as JSON, with its status; a mistake of ours is a 500 without internals."""
        wire = self.connect(self.own_door)
        self.assertIn(b'{"error":"No such thing."}', self.ask(wire, "/bad"))
        answer = self.ask(wire, "/full")
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertIn(b"Retry-After: 3\r\n", answer)
        answer = self.ask(wire, "/mistake")
        self.assertTrue(answer.startswith(b"HTTP/1.1 500 "), answer)
        self.assertNotIn(b"KeyError", answer)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.service.in_hand, 0)
        answer = self.ask(self.connect(self.door), "/a b")
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)


class EndTests(ServiceCase):
    """How it ends."""

    def prepare(self) -> None:
        self.stores: list[str] = []
        self.closed: Deferred[None] = Deferred()
        self.service.on_hush(self.tqs.answer)
        self.service.on_stop(lambda: self.stores.append("store"))
        self.service.on_stop(lambda: self.stores.append("api"))

    def test_nobody_there(self) -> None:
        """It ends soon after it was told to, and closes its stores, the last that was opened first."""
        self.service.stop()
        self.service.stop()
        self.reactor.advance(SETTLE_S)
        self.assertEqual((self.ended, self.stores), ([True], ["api", "store"]))

    def test_waiting_clients(self) -> None:
        """Who waits for a message is answered at once, and told to go elsewhere with the next request."""
        wire = self.connect(self.door)
        self.ask(wire, "/tqs/wait")
        self.service.stop()
        self.assertIn(b"Connection: close\r\n", wire.value())
        self.assertTrue(wire.value().endswith(b"late"))
        self.lose(wire)
        self.reactor.advance(SETTLE_S)
        self.assertEqual(self.ended, [True])

    def test_hushed(self) -> None:
        """Before the server stops nobody waits any more, but everybody is served on."""
        wire = self.connect(self.door)
        self.ask(wire, "/tqs/wait")
        self.service.hush()
        self.assertTrue(wire.value().endswith(b"late"))
        self.assertTrue(self.ask(wire, "/health").startswith(b"HTTP/1.1 200 "))
        self.assertIs(self.service.life, Life.RUNNING)

    def test_sent_before(self) -> None:
        """What a front had sent before it knew that we end is served."""
        wire = self.connect(self.door)
        self.service.stop()
        self.assertTrue(self.ask(wire, "/tqs/x").startswith(b"HTTP/1.1 200 "))
        self.lose(wire)
        self.reactor.advance(SETTLE_S)
        self.assertEqual(self.ended, [True])

    def test_in_hand(self) -> None:
        """What is in hand ends; the stores are open until then."""
        wire = self.connect(self.own_door)
        self.service._hush.clear()  # this one waits for the disk
        self.ask(wire, "/wait")
        self.service.stop()
        self.reactor.advance(1)
        self.assertEqual((self.ended, self.stores), ([], []))
        self.tqs.answer()
        self.assertTrue(wire.value().endswith(b"late"))
        self.lose(wire)
        self.assertEqual(self.ended, [True])

    def test_idle_clients(self) -> None:
        """Clients with nothing under way are sent away; one that does not go is not waited for."""
        wire = self.connect(self.own_door)
        self.ask(wire, "/x")
        self.service.stop()
        self.reactor.advance(SETTLE_S)
        self.assertTrue(wire.half_closed or wire.disconnecting)
        self.assertEqual(self.ended, [])
        self.reactor.advance(GOODBYE_S)
        self.assertEqual(self.ended, [True])
        self.assertTrue(wire.disconnecting)

    def test_cut(self) -> None:
        """Whatever does not end in time is cut, so that the stores are closed before somebody kills us."""
        wire = self.connect(self.door)
        self.service._hush.clear()
        self.ask(wire, "/tqs/wait")
        self.service.stop()
        self.reactor.advance(STOP_S - 0.1)
        self.assertEqual(self.ended, [])
        self.reactor.advance(0.1)
        self.assertEqual((self.ended, self.stores), ([True], ["api", "store"]))

    def test_slow_store(self) -> None:
        """The end waits for a store that is being closed; one that fails is told of, and does not keep it."""
        failing: Deferred[None] = Deferred()
        self.service.on_stop(lambda: self.closed)
        self.service.on_stop(lambda: failing)
        self.service.stop()
        self.reactor.advance(SETTLE_S)
        self.assertEqual(self.ended, [])
        failing.errback(RuntimeError("cannot close"))
        self.closed.callback(None)
        self.assertEqual(self.ended, [True])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class StartTests(ServiceCase):
    """How it begins."""

    def prepare(self) -> None:
        self.opened: Deferred[None] = Deferred()
        self.service.on_start(lambda: self.opened)

    def test_waits_for_its_store(self) -> None:
        """Nobody is served before the store is open."""
        self.assertEqual(self.reactor.unixServers, [])
        self.opened.callback(None)
        self.assertEqual(len(self.reactor.unixServers), 1)
        self.successResultOf(self.started)

    def test_cannot_open(self) -> None:
        """A store that cannot be opened ends the process with a line that says why."""
        self.opened.errback(ServerFault("The folder data is used by process 7."))
        self.assertEqual((self.ended, self.reactor.unixServers), ([False], []))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_mistake(self) -> None:
        """So does a mistake of ours."""
        self.opened.errback(RuntimeError("mistake"))
        self.assertEqual(self.ended, [False])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_told_to_end_meanwhile(self) -> None:
        """Told to end while it starts, it does, and serves nobody."""
        self.service.stop()
        self.opened.callback(None)
        self.reactor.advance(SETTLE_S)
        self.assertEqual((self.ended, self.reactor.unixServers), ([True], []))
