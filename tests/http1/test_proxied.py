"""Connections that begin by telling whose they are."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.http1.test_proxy_protocol import FOUR, LINE, binary, record
from tests.http1.test_server import GET, Recorder, Wire, answer
from tqserver.http1.factory import HTTPServerFactory, ServerSettings
from tqserver.http1.proxied import COMPLAIN_PERIOD_S, ProxiedFactory
from tqserver.http1.server import HTTPServerConnection
from tqserver.http1.sweep import Sweep

PROXY = IPv4Address("TCP", "10.0.0.1", 40000)
STRANGER = IPv4Address("TCP", "192.0.2.99", 40000)


class NamedWire(Wire):
    """A transport that knows its ends, and gives what it reads to its protocol."""

    def __init__(self, peer: IAddress) -> None:
        super().__init__(peerAddress=peer, hostAddress=IPv4Address("TCP", "10.0.0.9", 8080))
        self.protocol: object = None


class ProxiedCase(SynchronousTestCase):
    """A listener that believes one proxy, and a UNIX socket."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.recorder = Recorder()
        self.http = HTTPServerFactory(
            self.clock,
            self.recorder,
            ServerSettings(read_timeout_s=5.0),
            Sweep(self.clock),  # type: ignore[arg-type]
        )
        self.factory = ProxiedFactory(self.http, lambda host: host in ("10.0.0.1", ""))
        self.said: list[LogEvent] = []
        globalLogPublisher.addObserver(self.said.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.said.append)

    def connect(self, peer: IAddress = PROXY) -> NamedWire:
        """Somebody connects and is let in."""
        wire = NamedWire(peer)
        protocol = self.factory.buildProtocol(peer)
        assert protocol is not None
        wire.protocol = protocol
        protocol.makeConnection(wire)  # type: ignore[no-untyped-call]
        return wire

    def send(self, wire: NamedWire, data: bytes) -> None:
        """Whoever is at the other end sends."""
        wire.protocol.dataReceived(data)  # type: ignore[attr-defined]

    def lose(self, wire: NamedWire) -> None:
        """The connection is lost."""
        wire.protocol.connectionLost(connectionDone)  # type: ignore[attr-defined]

    @property
    def complaints(self) -> list[str]:
        """What the operator was told."""
        return [str(event["why"]) for event in self.said if "why" in event]


class HeaderTests(ProxiedCase):
    """Connections with a header."""

    def test_client(self) -> None:
        """The client is who the header says, and it was asked for what the header says."""
        for header in (LINE, binary(FOUR)):
            wire = self.connect()
            self.send(wire, header + GET)
            exchange = self.recorder.exchanges.pop()
            self.assertEqual((exchange.client_host, exchange.client_port), ("192.0.2.7", 56324))
            self.assertEqual((exchange.server_host, exchange.server_port), ("198.51.100.1", 443))
            self.assertFalse(exchange.secure)
            answer(exchange)
            self.assertTrue(wire.value().startswith(b"HTTP/1.1 200 OK\r\n"))

    def test_out_of_the_way(self) -> None:
        """After the header it is a connection like any other, and the transport's own."""
        wire = self.connect()
        self.send(wire, LINE)
        self.assertIs(type(wire.protocol), HTTPServerConnection)
        self.assertEqual(self.http.connections, {wire.protocol})
        for _ in range(2):
            self.send(wire, GET)
            exchange = self.recorder.exchanges.pop()
            self.assertEqual(exchange.client_host, "192.0.2.7")
            answer(exchange)
        self.lose(wire)
        self.assertEqual(self.http.connections, set())

    def test_byte_by_byte(self) -> None:
        """However it comes, nothing is lost of what follows."""
        wire = self.connect()
        for byte in LINE + GET:
            self.send(wire, bytes([byte]))
        self.assertEqual(self.recorder.exchanges[0].client_host, "192.0.2.7")

    def test_nobody(self) -> None:
        """If the header tells nobody, the client is who connected."""
        for header in (b"PROXY UNKNOWN\r\n", binary(command=0x20, family=0)):
            self.send(self.connect(), header + GET)
            exchange = self.recorder.exchanges.pop()
            self.assertEqual((exchange.client_host, exchange.server_host), ("10.0.0.1", "10.0.0.9"))

    def test_unix(self) -> None:
        """Over a UNIX socket a client may be told, too."""
        self.send(self.connect(UNIXAddress(None)), LINE + GET)
        self.assertEqual(self.recorder.exchanges[0].client_host, "192.0.2.7")

    def test_secure(self) -> None:
        """The proxy may say that the client's own connection is encrypted."""
        self.send(self.connect(), binary(FOUR + record(0x20, b"\1\0\0\0\0")) + GET)
        self.assertTrue(self.recorder.exchanges[0].secure)


class RefusalTests(ProxiedCase):
    """Connections that are refused."""

    def test_stranger(self) -> None:
        """Who is not believed is not let in: with a header it could be anybody, and without one it is not known who."""
        self.assertIsNone(self.factory.buildProtocol(STRANGER))
        self.assertEqual(self.complaints, ["server.trusted_proxies does not list it"])

    def test_no_header(self) -> None:
        """Who sends no header, or none that can be understood, is cut, and nothing of it is served."""
        for data in (GET, b"PROXY TCP4 x\r\n" + GET, binary(FOUR, command=0x22)):
            wire = self.connect()
            self.send(wire, data)
            self.assertTrue(wire.disconnected, data)
            self.send(wire, LINE + GET)
            self.lose(wire)
        self.assertEqual((self.recorder.exchanges, self.http.connections, wire.value()), ([], set(), b""))

    def test_too_slow(self) -> None:
        """The whole header has to be there in time, however often something of it comes."""
        wire = self.connect()
        for byte in LINE[:5]:
            self.clock.advance(1.0)
            self.send(wire, bytes([byte]))
        self.clock.advance(0.5)
        self.assertTrue(wire.disconnected)
        self.assertEqual(self.complaints, ["it did not come in time"])

    def test_complaints_are_few(self) -> None:
        """However many are refused, the log is told now and then."""
        for _ in range(1000):
            self.factory.buildProtocol(STRANGER)
        self.clock.advance(COMPLAIN_PERIOD_S)
        self.factory.buildProtocol(STRANGER)
        self.assertEqual([event["count"] for event in self.said if "count" in event], [1, 1000])


class OwnerTests(ProxiedCase):
    """What the owner of the connections sees."""

    def test_counted(self) -> None:
        """A connection counts from its first moment, once."""
        counts: list[int] = []
        self.http.on_count = counts.append
        wire = self.connect()
        self.assertEqual(counts, [1])
        self.send(wire, LINE)
        self.assertEqual(counts[-1], 1)
        self.assertNotIn(0, counts, "an owner that leaves would take its leave")
        self.lose(wire)
        self.assertEqual(counts[-1], 0)

    def test_lost_before(self) -> None:
        """One that is lost before its header was whole is forgotten."""
        wire = self.connect()
        self.lose(wire)
        self.assertEqual(self.http.connections, set())

    def test_leaving(self) -> None:
        """A front that leaves serves who was just connecting, and tells it that this was the last."""
        wire = self.connect()
        self.http.leave()
        self.assertFalse(any(each.close_if_idle(0.0) for each in self.http.connections))
        self.send(wire, LINE + GET)
        answer(self.recorder.exchanges[0])
        self.assertIn(b"Connection: close\r\n", wire.value())

    def test_cut(self) -> None:
        """One can be cut."""
        wire = self.connect()
        for connection in list(self.http.connections):
            connection.cut()
        self.assertTrue(wire.disconnected)
