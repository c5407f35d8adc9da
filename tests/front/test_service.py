"""A front as the supervisor and the clients see it."""

from __future__ import annotations

import errno
import os
import socket

from twisted.internet.interfaces import IListeningPort, IReactorSocket
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.http1.test_server import Wire
from tqserver.front.accepting import ACCEPTS_TURN_MAX, SCARCE_PAUSE_S
from tqserver.front.admission import DESCRIPTORS_OURS
from tqserver.front.service import IDLE_CLOSED_MAX, IDLE_LEAVE_S, LOAD_PERIOD_S, FrontService
from tqserver.plane.link import Decoder, encode, upward
from tqserver.plane.messages import (
    Applied,
    Downward,
    FrontStopped,
    HTTPSettings,
    Load,
    ReopenLogs,
    Retire,
    Route,
    Routing,
    Started,
    Upward,
    WorkerRouting,
    WorkerSaid,
)

GET = b"GET /alive HTTP/1.1\r\nHost: a\r\n\r\n"
WAITING = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"


class Listening:
    """
    A listening socket.

    @ivar backlog: clients that wait to be accepted.
    @ivar error: what accept(2) says instead.
    """

    family, type, proto = socket.AF_UNIX, socket.SOCK_STREAM, 0

    def __init__(self) -> None:
        self.backlog = 0
        self.error = 0

    def _accept(self) -> tuple[int, None]:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        if not self.backlog:
            raise BlockingIOError
        self.backlog -= 1
        return socket.socket(self.family).detach(), None


@implementer(IListeningPort)
class Port:
    """A listening port."""

    def __init__(self, fd: int, factory: Factory, reactor: Reactor) -> None:
        self.factory = factory
        self.reactor = reactor
        self.reading = True
        self.listening = True
        self.waiting = self.socket = Listening()
        self.numberAccepts = 0

    def startReading(self) -> None:
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False

    def doRead(self) -> None:
        for _ in range(self.numberAccepts):
            try:
                self.socket.accept()
            except BlockingIOError:
                return
            self.reactor.arrive(self)

    def stopListening(self) -> None:
        self.listening = False


@implementer(IReactorSocket)
class Reactor(MemoryReactorClock):
    """Adopts sockets: the link's becomes a string transport, the others L{Port}s."""

    def __init__(self) -> None:
        super().__init__()
        self.link = StringTransport()
        self.listening: list[Port] = []
        self.clients: list[Wire] = []

    def adoptStreamConnection(self, fd: int, family: int, factory: Factory) -> None:
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        self.link.protocol = protocol  # type: ignore[attr-defined]
        protocol.makeConnection(self.link)

    def adoptStreamPort(self, fd: int, family: int, factory: Factory) -> Port:
        port = Port(fd, factory, self)
        self.listening.append(port)
        return port

    def arrive(self, port: Port) -> Wire:
        """A client is accepted."""
        wire = Wire()
        wire.protocol = port.factory.buildProtocol(None)  # type: ignore[attr-defined]
        wire.protocol.makeConnection(wire)  # type: ignore[attr-defined]
        self.clients.append(wire)
        return wire


class FrontCase(SynchronousTestCase):
    """A front with one listening socket, whose supervisor is this test."""

    def start(self, fds: list[int]) -> tuple[list[int], list[int], list[int]]:
        """What the front is told of its sockets: the usual ones, those with a PROXY header, the private ones."""
        return fds, [], []

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.finished: list[str] = []
        self.service = FrontService(self.reactor, lambda: self.finished.append("finished"))  # type: ignore[arg-type]
        self.addCleanup(lambda: self.service._accepting.close())
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        listening = socket.socket(socket.AF_INET)
        fds = [listening.detach()]
        self.service.start(theirs.detach(), *self.start(fds))
        self._decoder: Decoder[Upward] = upward()
        self.version = 0

    def says(self) -> list[Upward]:
        """What the front has said since the last look."""
        value = self.reactor.link.value()
        self.reactor.link.clear()
        return self._decoder.feed(value)

    def tell(self, message: Downward) -> None:
        """The supervisor says something."""
        self.reactor.link.protocol.dataReceived(encode(message))  # type: ignore[attr-defined]

    def route(self, **settings: object) -> None:
        """The supervisor publishes a routing: a worker without instances at C{/slow}, so that requests wait there."""
        self.version += 1
        http = HTTPSettings(health_path="/alive", **settings)  # type: ignore[arg-type]
        self.tell(
            Routing(
                version=self.version,
                http=http,
                routes=(Route(prefix="/slow", worker="slow"),),
                workers=(WorkerRouting(name="slow", type="go"),),
            )
        )

    def client(self) -> Wire:
        """A client connects."""
        return self.reactor.arrive(self.reactor.listening[0])

    def ask(self, wire: Wire, request: bytes = GET) -> bytes:
        """A client asks; what it gets."""
        wire.clear()
        wire.protocol.dataReceived(request)  # type: ignore[attr-defined]
        return wire.value()

    def lose(self, wire: Wire) -> None:
        """A client has gone, or its connection has closed."""
        wire.protocol.connectionLost(connectionDone)  # type: ignore[attr-defined]

    def stopped(self) -> list[FrontStopped]:
        """How the front said that it has ended."""
        return [message for message in self.says() if isinstance(message, FrontStopped)]


class ServiceTests(FrontCase):
    """The life of a front."""

    def test_begins_with_the_first_routing(self) -> None:
        """A front says that it is there, and accepts clients when it knows what for; then no port is opened twice."""
        self.assertEqual(self.says(), [Started(pid=os.getpid())])
        self.assertEqual(self.reactor.listening, [])
        self.route()
        self.assertEqual(self.says(), [Applied(version=1)])
        self.assertTrue(self.ask(self.client()).startswith(b"HTTP/1.1 200 OK\r\n"))
        self.route()
        self.assertEqual(len(self.reactor.listening), 1)

    def test_tells_its_load(self) -> None:
        """The load is told while it changes, and not when it does not."""
        self.route()
        self.says()
        self.ask(self.client(), WAITING)
        self.reactor.advance(0.5)
        (load,) = [message for message in self.says() if isinstance(message, Load)]
        self.assertEqual((load.connections, load.requests, load.in_flight, load.workers[0].waiting), (1, 1, 1, 1))
        self.reactor.advance(0.5)
        self.assertEqual([message for message in self.says() if isinstance(message, Load)], [])

    def test_supervisor_gone(self) -> None:
        """Without its supervisor a front ends at once, and only once."""
        self.route()
        self.reactor.link.protocol.connectionLost(connectionDone)  # type: ignore[attr-defined]
        self.assertEqual(self.finished, ["finished"])
        self.tell(Retire(timeout_s=1.0))
        self.reactor.advance(2)
        self.assertEqual(self.finished, ["finished"])

    def test_settings(self) -> None:
        """A new limit holds for connections that are open already."""
        self.route()
        wire = self.client()
        self.ask(wire)
        self.route(header_bytes_max=100)
        reply = self.ask(wire, GET[:-2] + b"X: " + b"a" * 200 + b"\r\n\r\n")
        self.assertTrue(reply.startswith(b"HTTP/1.1 431 "), reply)

    def test_folders_are_watched(self) -> None:
        """A folder of files is watched for as long as the front lives."""
        folder = self.mktemp()
        os.mkdir(folder)
        self.route(public=os.path.abspath(folder))
        (notifier,) = self.reactor.readers
        self.assertIn("inotify", os.readlink(f"/proc/self/fd/{notifier.fileno()}"))
        self.tell(Retire(timeout_s=10))
        self.assertEqual(len(self.stopped()), 1)
        self.assertEqual((self.reactor.readers, notifier.fileno()), (set(), -1))

    def test_complaints_are_dropped_when_nobody_reads(self) -> None:
        """What workers complain of does not pile up while the supervisor does not read; all else is kept."""
        self.route()
        self.says()
        link = self.reactor.link
        link.producer.pauseProducing()
        said = WorkerSaid(worker="slow", request_id="1", line="oh")
        self.service._say(said)
        self.route()
        link.producer.resumeProducing()
        self.service._say(said)
        self.assertEqual(self.says(), [Applied(version=2), said])

    def test_logs(self) -> None:
        """The access log is written, found again after it was moved, and given up when it is switched off."""
        path = self.mktemp()
        self.route(access_log=os.path.abspath(path))
        self.ask(self.client())
        self.reactor.advance(1)
        os.rename(path, path + ".1")
        self.tell(ReopenLogs())
        self.ask(self.client())
        self.reactor.advance(1)
        for name in (path, path + ".1"):
            with open(name) as log:
                self.assertEqual(log.read().count("GET /alive"), 1)
        self.route()
        self.assertIsNone(self.service.site.access_log)


class ProxiedTests(FrontCase):
    """A listener where connections tell whose they are."""

    def start(self, fds: list[int]) -> tuple[list[int], list[int], list[int]]:
        return [], fds, []

    def test_told(self) -> None:
        """The client is who a trusted proxy says; the log has it."""
        path = os.path.abspath(self.mktemp())
        self.route(access_log=path, access_log_format="{client}", trusted_proxies=("unix",))
        wire = self.client()
        self.assertEqual(self.ask(wire, b"PROXY TCP4 192.0.2.7 198.51.100.1 5 443\r\n"), b"")
        self.assertTrue(self.ask(wire).startswith(b"HTTP/1.1 200 "))
        self.reactor.advance(1)
        with open(path) as log:
            self.assertEqual(log.read(), "192.0.2.7\n")

    def test_not_believed(self) -> None:
        """Who is not trusted is refused, and as soon as it is, let in."""
        self.route()
        self.assertIsNone(self.reactor.listening[0].factory.buildProtocol(None))
        self.route(trusted_proxies=("unix",))
        self.assertIsNotNone(self.reactor.listening[0].factory.buildProtocol(None))


class LimitTests(FrontCase):
    """No more connections than there may be."""

    def test_paused_and_resumed(self) -> None:
        """At the limit no more is accepted; it goes on when a client has gone."""
        self.route(connections_max=2)
        port = self.reactor.listening[0]
        first = self.client()
        self.assertTrue(port.reading)
        self.client()
        self.assertFalse(port.reading)
        self.lose(first)
        self.assertTrue(port.reading)

    def test_few_descriptors(self) -> None:
        """Nobody is accepted for whom there would be no file descriptor."""
        self.service._descriptors_max = DESCRIPTORS_OURS + 2
        self.route(connections_max=100)
        port = self.reactor.listening[0]
        first = self.client()
        self.assertFalse(port.reading)
        self.lose(first)
        self.assertTrue(port.reading)

    def test_descriptors_given_back(self) -> None:
        """When requests have ended whose clients stay, others are accepted in their place."""
        self.service._descriptors_max = DESCRIPTORS_OURS + 8
        self.route(connections_max=100)
        port = self.reactor.listening[0]
        self.service.site.in_flight = 6
        self.client()
        self.assertFalse(port.reading)
        self.service.site.in_flight = 0
        self.reactor.advance(LOAD_PERIOD_S)
        self.assertTrue(port.reading)

    def test_several_at_once(self) -> None:
        """A port accepts no more in one go than there may be."""
        self.route(connections_max=3)
        port = self.reactor.listening[0]
        port.numberAccepts = 100
        port.waiting.backlog = 5
        port.doRead()
        self.assertEqual((len(self.reactor.clients), port.reading), (3, False))
        port.doRead()
        self.assertEqual((len(self.reactor.clients), port.waiting.backlog), (3, 2))
        self.lose(self.reactor.clients[0])
        port.doRead()
        self.assertEqual((len(self.reactor.clients), port.waiting.backlog), (4, 1))

    def test_out_of_descriptors(self) -> None:
        """Without descriptors clients wait in the kernel; now and then it is tried whether they can be accepted."""
        self.route()
        port = self.reactor.listening[0]
        port.waiting.backlog = 3
        for error in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            port.waiting.error = error
            self.assertTrue(port.reading)
            port.numberAccepts = 10
            port.doRead()
            self.assertEqual((port.reading, len(self.reactor.clients)), (False, 0))
            self.reactor.advance(SCARCE_PAUSE_S)
        port.waiting.error = 0
        self.assertTrue(port.reading)
        port.doRead()
        self.assertEqual(len(self.reactor.clients), 3)

    def test_out_of_descriptors_at_the_limit(self) -> None:
        """Both reasons to wait have to be gone before somebody is accepted."""
        self.route(connections_max=1)
        port = self.reactor.listening[0]
        port.waiting.error = errno.EMFILE
        port.numberAccepts = 1
        port.doRead()
        first = self.client()
        self.reactor.advance(SCARCE_PAUSE_S)
        self.assertFalse(port.reading)
        self.lose(first)
        self.assertTrue(port.reading)
        port.doRead()
        self.lose(self.client())
        self.assertFalse(port.reading)
        self.reactor.advance(SCARCE_PAUSE_S)
        self.assertTrue(port.reading)

    def test_other_errors(self) -> None:
        """Everything else that accept(2) says is the port's own affair."""
        self.route()
        port = self.reactor.listening[0]
        port.waiting.error = errno.ECONNABORTED
        port.numberAccepts = 1
        self.assertRaises(ConnectionAbortedError, port.doRead)
        self.assertTrue(port.reading)

    def test_no_flood(self) -> None:
        """However many wait, and however much room there is, a port accepts only so many in one go."""
        self.route(connections_max=10_000)
        port = self.reactor.listening[0]
        port.numberAccepts = 100
        port.waiting.backlog = 2 * ACCEPTS_TURN_MAX + 1
        for accepted in (ACCEPTS_TURN_MAX, 2 * ACCEPTS_TURN_MAX, 2 * ACCEPTS_TURN_MAX + 1):
            port.doRead()
            self.assertEqual(len(self.reactor.clients), accepted)

    def test_limit_changes(self) -> None:
        """A raised limit is felt at once, and so is a lowered one."""
        self.route(connections_max=1)
        port = self.reactor.listening[0]
        self.client()
        self.assertFalse(port.reading)
        self.route(connections_max=5)
        self.assertTrue(port.reading)
        self.route(connections_max=1)
        self.assertFalse(port.reading)


class RetireTests(FrontCase):
    """A front that leaves."""

    def setUp(self) -> None:
        super().setUp()
        self.route()
        self.says()

    def test_successor_accepts(self) -> None:
        """With a successor, a front stops to listen at once and ends when its last exchange has."""
        wire = self.client()
        self.ask(wire, WAITING)
        self.tell(Retire(timeout_s=10.0))
        self.assertFalse(self.reactor.listening[0].listening)
        self.reactor.pump([0.1] * 20)
        self.assertEqual(self.finished, [])
        self.tell(Routing(version=5))
        self.assertTrue(wire.value().startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"Connection: close\r\n", wire.value())
        self.lose(wire)
        self.assertEqual(self.finished, ["finished"])
        self.assertEqual(self.stopped(), [FrontStopped(cut=0)])

    def test_who_waits_is_the_successors(self) -> None:
        """With a successor, a front accepts nobody any more: who waits is served from the same socket."""
        port = self.reactor.listening[0]
        port.waiting.backlog = 2
        wire = self.client()
        self.tell(Retire(timeout_s=10.0))
        self.assertEqual((port.listening, self.reactor.clients), (False, [wire]))

    def test_nothing_to_do(self) -> None:
        """A front without clients ends at once."""
        self.tell(Retire(timeout_s=10.0))
        self.assertEqual(self.finished, ["finished"])

    def test_last_front(self) -> None:
        """At a stop, what was accepted by the kernel meanwhile is served, and told that it was the last."""
        port = self.reactor.listening[0]
        self.tell(Retire(timeout_s=10.0, close_listeners=True))
        self.assertTrue(port.listening)
        port.waiting.backlog = 2
        self.reactor.advance(IDLE_LEAVE_S)
        self.assertFalse(port.listening)
        self.assertEqual((len(self.reactor.clients), self.finished), (2, []))
        for wire in self.reactor.clients:
            self.assertIn(b"Connection: close\r\n", self.ask(wire))
            self.lose(wire)
        self.assertEqual(self.finished, ["finished"])

    def test_last_front_without_descriptors(self) -> None:
        """At a stop, who cannot be accepted for want of descriptors is accepted when others have gone, not reset."""
        wire = self.client()
        port = self.reactor.listening[0]
        self.tell(Retire(timeout_s=10.0, close_listeners=True))
        port.waiting.backlog, port.waiting.error = 1, errno.EMFILE
        self.reactor.advance(IDLE_LEAVE_S)
        self.reactor.pump([SCARCE_PAUSE_S] * 5)
        self.assertTrue(port.listening)
        self.lose(wire)
        self.assertEqual(self.finished, [])
        port.waiting.error = 0
        self.reactor.pump([SCARCE_PAUSE_S] * 2)
        self.assertEqual((port.listening, len(self.reactor.clients)), (False, 2))
        self.lose(self.reactor.clients[1])
        self.assertEqual(self.finished, ["finished"])

    def test_accepted_at_the_limit(self) -> None:
        """What waits in a socket that was not read because of the limit is served before a stop."""
        self.route(connections_max=1)
        wire = self.client()
        port = self.reactor.listening[0]
        self.assertFalse(port.reading)
        port.waiting.backlog = 1
        self.tell(Retire(timeout_s=10.0, close_listeners=True))
        self.reactor.advance(IDLE_LEAVE_S)
        self.assertEqual(len(self.reactor.clients), 2)
        self.lose(wire)
        self.assertEqual(self.finished, [])

    def test_idle_clients_are_sent_away(self) -> None:
        """Idle clients are closed after a moment; one that is in the middle of a request is not."""
        idle, asking = self.client(), self.client()
        self.ask(idle)
        self.ask(asking)
        self.ask(asking, GET[:10])
        self.tell(Retire(timeout_s=10.0))
        self.reactor.pump([0.1] * 8)
        self.assertEqual((idle.half_closed, asking.half_closed), (True, False))

    def test_very_many_idle_clients(self) -> None:
        """Very many idle clients are sent away little by little, and all of them soon."""
        clients = [self.client() for _ in range(IDLE_CLOSED_MAX + 10)]
        self.tell(Retire(timeout_s=10.0))
        self.reactor.pump([0.1] * 8)
        self.assertEqual(sum(wire.half_closed for wire in clients), IDLE_CLOSED_MAX)
        self.reactor.advance(0.1)
        self.assertEqual(sum(wire.half_closed for wire in clients), len(clients))

    def test_cut_at_the_limit(self) -> None:
        """Whatever is still there at the limit is cut and counted."""
        wire = self.client()
        self.ask(wire, WAITING)
        self.tell(Retire(timeout_s=1.0))
        self.tell(Retire(timeout_s=0.1))
        self.reactor.pump([0.1] * 9)
        self.assertFalse(wire.disconnected)
        self.reactor.pump([0.1] * 2)
        self.assertTrue(wire.disconnected)
        self.assertEqual((self.finished, self.stopped()), (["finished"], [FrontStopped(cut=1)]))


class EarlyTests(FrontCase):
    """A front that is sent away before it knew anything."""

    def test_retired_before_the_first_routing(self) -> None:
        """A front that is to leave before its first routing never begins to listen."""
        self.tell(Retire(timeout_s=5.0, close_listeners=True))
        self.route()
        self.assertEqual(self.reactor.listening, [])
        self.reactor.pump([0.1] * 6)
        self.assertEqual(self.finished, ["finished"])


class PrivateTests(FrontCase):
    """A socket where only the server's own processes connect."""

    def start(self, fds: list[int]) -> tuple[list[int], list[int], list[int]]:
        return [], [], fds

    def test_served(self) -> None:
        """They are served like everybody, and it is known who they are."""
        self.route()
        wire = self.client()
        self.assertEqual(wire.protocol.client_host, "(server)")  # type: ignore[attr-defined]
        self.assertTrue(self.ask(wire).startswith(b"HTTP/1.1 200 OK\r\n"))

    def test_leaves(self) -> None:
        """A front that leaves lets them end like everybody."""
        self.route()
        wire = self.client()
        self.ask(wire, WAITING)
        self.tell(Retire(timeout_s=10))
        self.assertEqual(self.finished, [])
        self.lose(wire)
        self.assertEqual(self.finished, ["finished"])
