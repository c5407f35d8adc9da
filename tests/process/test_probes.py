"""Asking instances whether they are well."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IReactorUNIX
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tqserver.config.model import HealthConfig
from tqserver.process.interfaces import IProbe, ProbeFault
from tqserver.process.probes import BODY_BYTES_MAX, ConnectProbe, FastCGIProbe, HTTPProbe, make_probe
from tqserver.process.spec import Address

ADDRESS = Address("127.0.0.1", 9001)


class End:
    """One end of a connection, as an address."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __eq__(self, other: object) -> bool:
        return isinstance(other, End) and other.port == self.port


@implementer(IReactorUNIX)
class Reactor(MemoryReactorClock):
    """In memory; it connects to sockets as well."""


class ProbeCase(SynchronousTestCase):
    """A reactor in memory."""

    def setUp(self) -> None:
        self.reactor = Reactor()

    def accept(self) -> StringTransportWithDisconnection:
        """Somebody accepts the connection that was asked for."""
        clients = self.reactor.tcpClients or self.reactor.unixClients
        factory = clients[-1][2] if self.reactor.tcpClients else clients[-1][1]
        protocol = factory.buildProtocol(None)
        transport = StringTransportWithDisconnection(peerAddress=End(9001), hostAddress=End(40000))
        transport.protocol = protocol
        transport.abortConnection = transport.loseConnection
        protocol.makeConnection(transport)
        return transport

    def refuse(self) -> None:
        """Nobody does."""
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(Refused()))

    def fault(self, check: Deferred[None]) -> str:
        """The reason of a check that has failed."""
        return self.failureResultOf(check, ProbeFault).value.reason


class HTTP(ProbeCase):
    """Health pages."""

    def ask(self, address: Address = ADDRESS) -> tuple[Deferred[None], StringTransportWithDisconnection]:
        """Ask, and be connected."""
        check = HTTPProbe(address, "/health?deep=1", 0.5, self.reactor).check()
        return check, self.accept()

    def answer(self, data: bytes) -> Deferred[None]:
        """Ask, and be answered."""
        check, transport = self.ask()
        transport.protocol.dataReceived(data)
        return check

    def test_request(self) -> None:
        """The instance gets a simple GET on a connection of its own."""
        _, transport = self.ask()
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("127.0.0.1", 9001))
        head, *fields = transport.value().split(b"\r\n")
        self.assertEqual(head, b"GET /health?deep=1 HTTP/1.1")
        self.assertIn(b"connection: close", [field.lower() for field in fields])
        self.assertIn(b"host: 127.0.0.1:9001", [field.lower() for field in fields])

    def test_unix(self) -> None:
        """It is the same over a UNIX socket."""
        check, transport = self.ask(Address(path="/run/api.sock"))
        self.assertEqual(self.reactor.unixClients[-1][0], "/run/api.sock")
        transport.protocol.dataReceived(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertIsNone(self.successResultOf(check))

    def test_well(self) -> None:
        """Any 2xx is well, with any body in any framing; cookies and all."""
        for data in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nok",
            b"HTTP/1.1 299 Fine\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
        ):
            self.assertIsNone(self.successResultOf(self.answer(data)))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_body_until_close(self) -> None:
        """An old-fashioned answer that ends with the connection is well."""
        check, transport = self.ask()
        transport.protocol.dataReceived(b"HTTP/1.0 200 OK\r\n\r\nok")
        self.assertNoResult(check)
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertIsNone(self.successResultOf(check))

    def test_not_well(self) -> None:
        """Any other status is not; a redirect is not followed."""
        for status in (b"302 Found\r\nLocation: /other", b"404 Not Found", b"500 Oops", b"503 Later"):
            check = self.answer(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual(self.fault(check), f"GET /health?deep=1 was answered with {status[:3].decode()}")
        self.assertEqual(len(self.reactor.tcpClients), 4)

    def test_refused(self) -> None:
        """Nobody listens."""
        check = HTTPProbe(ADDRESS, "/", 0.5, self.reactor).check()
        self.refuse()
        self.assertIn("no connection", self.fault(check))

    def test_silence(self) -> None:
        """No answer in time is a fault, and the connection is given up."""
        check, transport = self.ask()
        self.reactor.advance(0.4)
        self.assertNoResult(check)
        self.reactor.advance(0.2)
        self.assertEqual(self.fault(check), "no answer within 500 ms")
        self.assertFalse(transport.connected)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_silence_within_the_body(self) -> None:
        """Nor is an answer that does not end in time."""
        check, transport = self.ask()
        transport.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
        self.reactor.advance(0.5)
        self.assertEqual(self.fault(check), "no answer within 500 ms")
        self.assertFalse(transport.connected)

    def test_cut(self) -> None:
        """An answer cut short is a fault."""
        for data in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"):
            check, transport = self.ask()
            transport.protocol.dataReceived(data)
            transport.protocol.connectionLost(Failure(ConnectionLost()))
            self.assertIn("no valid answer", self.fault(check))

    def test_nonsense(self) -> None:
        """Something that does not speak HTTP is a fault."""
        check, transport = self.ask()
        transport.protocol.dataReceived(b"220 mail.example ESMTP\r\n\r\n")
        if transport.connected:
            transport.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertIn("no valid answer", self.fault(check))

    def test_endless_body(self) -> None:
        """Of an endless body only so much is read; the status counts."""
        check, transport = self.ask()
        transport.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        transport.protocol.dataReceived(b"x" * (BODY_BYTES_MAX + 1))
        self.assertFalse(transport.connected)
        self.assertIsNone(self.successResultOf(check))

    def test_cancel(self) -> None:
        """A question that nobody cares about any more is dropped."""
        check, transport = self.ask()
        check.cancel()
        self.failureResultOf(check, CancelledError)
        self.assertFalse(transport.connected)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class Connecting(ProbeCase):
    """Instances of which we only want to know whether they accept."""

    def test_well(self) -> None:
        """Whoever accepts is well, and is left at once."""
        check = ConnectProbe(ADDRESS, 0.5, self.reactor).check()
        transport = self.accept()
        self.assertIsNone(self.successResultOf(check))
        self.assertFalse(transport.connected)

    def test_refused(self) -> None:
        """Nobody listens."""
        check = ConnectProbe(ADDRESS, 0.5, self.reactor).check()
        self.refuse()
        self.assertIn("no connection", self.fault(check))

    def test_silence(self) -> None:
        """A full backlog is not well."""
        check = ConnectProbe(ADDRESS, 0.5, self.reactor).check()
        self.reactor.advance(0.5)
        self.assertIn("500 ms", self.fault(check))

    def test_ourselves(self) -> None:
        """A connection that met itself is not somebody who accepts."""
        check = ConnectProbe(ADDRESS, 0.5, self.reactor).check()
        protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        transport = StringTransportWithDisconnection(peerAddress=End(9001), hostAddress=End(9001))
        transport.protocol = protocol
        protocol.makeConnection(transport)
        self.assertIn("nobody listens", self.fault(check))


class FastCGI(ProbeCase):
    """php-fpm's own ping."""

    def setUp(self) -> None:
        super().setUp()
        self.pings: list[Deferred[None]] = []
        self.check = FastCGIProbe(self.ping, 0.5, self.reactor).check()

    def ping(self) -> Deferred[None]:
        self.pings.append(Deferred())
        return self.pings[-1]

    def test_well(self) -> None:
        """It answers."""
        self.pings[0].callback(None)
        self.assertIsNone(self.successResultOf(self.check))

    def test_fault(self) -> None:
        """It answers with an error of whatever kind."""
        self.pings[0].errback(Failure(ValueError("not FastCGI")))
        self.assertEqual(self.fault(self.check), "no valid answer: not FastCGI")

    def test_silence(self) -> None:
        """It does not answer."""
        self.reactor.advance(0.5)
        self.assertEqual(self.fault(self.check), "no answer within 500 ms")


class Choosing(ProbeCase):
    """My worker.yaml says how it is asked."""

    def test_kinds(self) -> None:
        """Each type of health has its probe; two have none."""
        for type, expected in (("http", HTTPProbe), ("tcp", ConnectProbe), ("fastcgi", FastCGIProbe)):
            probe = make_probe(HealthConfig(type=type), ADDRESS, self.reactor, Deferred)
            self.assertIsInstance(probe, expected)
            verifyObject(IProbe, probe)
        for type in ("notify", "none"):
            self.assertIsNone(make_probe(HealthConfig(type=type), ADDRESS, self.reactor))
        self.assertRaises(ValueError, make_probe, HealthConfig(type="fastcgi"), ADDRESS, self.reactor)
