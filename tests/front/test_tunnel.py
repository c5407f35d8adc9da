"""The way of an upgrade through the site, and the life of a tunnel from 101 to its end."""

from __future__ import annotations

import gc
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.front.fakes import FakeExchange, request_head
from tests.front.test_site import SiteCase, endpoint
from tests.functional.websockets import CLOSE, PING, TEXT, frame
from tqserver.errors import UpstreamFault
from tqserver.front.frames import Frames
from tqserver.front.tunnel import CLOSE_S, FRAME_S, LINGER_S, Side, Tunnel
from tqserver.front.tunnels import CLOSE_AT_ONCE, CLOSE_BEFORE_S, LOOK_S, closing_time_s
from tqserver.http1.client import HTTPClientConnection
from tqserver.plane.messages import Drained, OutlierRule

SWITCH = b"HTTP/1.1 101 Now\r\nConnection: Upgrade\r\nUpgrade: %b\r\nX-Y: z\r\n\r\n"

GOING_AWAY = b"\x88\x02\x03\xe9"
"""A close frame to a client."""

DRAIN_S = 30.0

TO_CLIENT = frame(TEXT, b"hello", mask=None)
TO_WORKER = frame(TEXT, b"hello")


class Wire(StringTransport):
    """
    A transport that can be half closed, and knows what has not been sent.

    @ivar dataBuffer: as Twisted's own transports have it.
    """

    half_closed = False
    dataBuffer = b""

    def __init__(self) -> None:
        super().__init__(lenient=True)

    def loseWriteConnection(self) -> None:
        """Remember it."""
        self.half_closed = True

    def take(self) -> bytes:
        """What was written since the last look."""
        value = self.value()
        self.clear()
        return value

    @property
    def paused(self) -> bool:
        """Whether it does not read."""
        return self.producerState == "paused"


class TunnelCase(SiteCase):
    """A site, a client that asks for an upgrade, and a worker that has it."""

    def ask_for(self, upgrade: bytes = b"websocket", method: bytes = b"GET") -> FakeExchange:
        """A client asks for an upgrade."""
        exchange = FakeExchange(request_head(method, b"/api/chat", upgrade=upgrade), started=self.reactor.seconds())
        exchange.client = Wire()
        self.site.serve(exchange)
        return exchange

    def connect(self) -> StringTransport:
        """As L{SiteCase.connect}, with a wire that can be half closed."""
        _, port, factory, _, _ = self.reactor.tcpClients[self._connected]
        self._connected += 1
        wire = Wire()
        wire.port = port  # type: ignore[attr-defined]
        wire.protocol = factory.buildProtocol(None)  # type: ignore[attr-defined]
        wire.protocol.makeConnection(wire)  # type: ignore[attr-defined]
        return wire

    def open(self, protocol: bytes = b"websocket", **options: object) -> None:
        """
        Have a tunnel: C{client} and C{worker} are the two wires then.
        """
        self.route(endpoint(1), **options)
        self.exchange = self.ask_for(protocol)
        self.worker = self.connect()
        self.reply(self.worker, SWITCH % protocol)
        self.client = self.exchange.client
        self.worker.clear()

    def hear(self, wire: Wire, data: bytes) -> None:
        """One side says something."""
        wire.protocol.dataReceived(data)

    def end(self, wire: Wire) -> None:
        """One side says no more."""
        half = IHalfCloseableProtocol(wire.protocol, None)
        assert half is not None
        half.readConnectionLost()

    def gone(self, wire: Wire, error: Exception | None = None) -> None:
        """One connection is closed, or has broken."""
        wire.protocol.connectionLost(connectionDone if error is None else Failure(error))

    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.reactor.pump([0.25] * int(seconds / 0.25))

    def take_away(self) -> None:
        """The endpoint leaves the routing."""
        self.route(endpoint(2))

    def over(self) -> None:
        """Check that nothing is left."""
        self.assertTrue(self.exchange.finished)
        self.assertEqual(len(self.site.tunnels), 0)
        load = self.site.load()
        self.assertEqual((load.in_flight, load.upgraded), (0, 0))
        self.assertEqual(sum(each.in_flight for each in load.endpoints), 0)


class UpgradeTests(TunnelCase):
    """From the request to the 101."""

    def test_upgraded(self) -> None:
        """
        The worker is asked in our words, on a connection of its own; its 101 reaches the client, and what either side
        has sent ahead is not lost.
        """
        self.route(endpoint(1))
        self.ask()
        kept = self.connect()
        self.reply(kept)
        exchange = self.ask_for(b"h3, websocket")
        worker = self.connect()
        sent = worker.value()
        self.assertTrue(sent.startswith(b"GET /chat HTTP/1.1\r\n"), sent)
        self.assertTrue(sent.endswith(b"\r\nconnection: Upgrade\r\nupgrade: h3, websocket\r\n\r\n"), sent)
        worker.clear()
        self.reply(worker, SWITCH % b"websocket" + TO_CLIENT)
        assert exchange.response is not None
        self.assertEqual((exchange.status, exchange.protocol), (101, b"websocket"))
        self.assertEqual(exchange.response.headers, [(b"X-Y", b"z")])
        self.assertEqual(exchange.client.take(), TO_CLIENT)
        self.hear(exchange.client, TO_WORKER)
        self.hear(worker, TO_CLIENT)  # type: ignore[arg-type]
        self.assertEqual((worker.value(), exchange.client.value()), (TO_WORKER, TO_CLIENT))
        load = self.site.load()
        self.assertEqual((load.in_flight, load.upgraded, load.endpoints[0].in_flight), (1, 1, 1))
        self.assertEqual(load.endpoints[0].answered, 2)
        self.assertEqual(self.logged.lines, [(200, "api", "api.1.1")])

    def test_counted_when_over(self) -> None:
        """A tunnel is in flight until both sides have closed; then it is logged, but no latency of its worker's."""
        self.open()
        self.hear(self.worker, TO_CLIENT)
        before = self.site.load().workers[0].latency
        self.pass_time(60)
        self.gone(self.client)
        self.assertEqual(self.site.load().in_flight, 1)
        self.gone(self.worker)
        self.over()
        self.assertEqual(self.logged.lines, [(101, "api", "api.1.1")])
        self.assertEqual(self.exchange.sent_bytes, len(TO_CLIENT))
        load = self.site.load()
        self.assertEqual((load.endpoints[0].answered, load.endpoints[0].failed), (1, 0))
        self.assertEqual(load.workers[0].latency, before)

    def test_worker_that_may_name_files(self) -> None:
        """A worker whose answers may name files can switch as well: its tunnels end, and are logged whole."""
        self.open(x_sendfile=("/nowhere",))
        self.hear(self.worker, TO_CLIENT)
        self.assertEqual(self.client.take(), TO_CLIENT)
        self.gone(self.client)
        self.gone(self.worker)
        self.over()
        self.assertEqual(self.logged.lines, [(101, "api", "api.1.1")])
        self.assertEqual(self.exchange.sent_bytes, len(TO_CLIENT))

    def test_ejected_endpoint_that_switches(self) -> None:
        """An endpoint that was left alone for its failures is trusted again when it switches, not when that ends."""
        self.route(endpoint(1), endpoint(2))
        state = self.site._workers["api"].endpoints.current[0]
        for _ in range(OutlierRule().failures):
            self.site._workers["api"].went_wrong(state, self.reactor.seconds(), UpstreamFault("It broke."))
        self.assertTrue(state.ejected)
        self.pass_time(5)
        exchanges = [self.ask_for(), self.ask_for()]
        for _ in exchanges:
            self.reply(self.connect(), SWITCH % b"websocket")
        self.assertEqual([exchange.status for exchange in exchanges], [101, 101])
        self.assertFalse(state.ejected)

    def test_holds_a_place(self) -> None:
        """A tunnel counts as one of the requests that an instance has at once."""
        self.route(endpoint(1, concurrency_max=1))
        exchange = self.ask_for()
        worker = self.connect()
        self.reply(worker, SWITCH % b"websocket")
        other = self.ask()
        self.assertEqual(self.opening, 0)
        self.gone(exchange.client)
        self.gone(worker)  # type: ignore[arg-type]
        self.reply(self.connect())
        self.assertEqual(other.status, 200)

    def test_refused(self) -> None:
        """Any other answer is an ordinary one, and the connection is not used again."""
        self.route(endpoint(1))
        exchange = self.ask_for()
        worker = self.connect()
        self.reply(worker)
        self.assertEqual((exchange.status, exchange.body, exchange.finished), (200, b"ok", True))
        self.assertTrue(worker.disconnected)

    def test_upgrade_required(self) -> None:
        """A 426 says what to upgrade to (RFC 9110 section 15.5.22)."""
        answer = b"HTTP/1.1 426 No\r\nConnection: upgrade\r\nupgrade: a/1\r\nContent-Length: 0\r\n\r\n"
        self.route(endpoint(1))
        exchange = self.ask()
        self.reply(self.connect(), answer)
        assert exchange.response is not None
        self.assertEqual(exchange.response.headers, [(b"Upgrade", b"a/1"), (b"Connection", b"Upgrade")])

    def test_not_offered(self) -> None:
        """A worker that switches without being asked, or to something else, or that gives the 101 a body, is 502."""
        for offered, answer in (
            (b"", SWITCH % b"websocket"),
            (b"websocket", SWITCH % b"h2c"),
            (b"websocket", SWITCH % b"websocket, h2c"),
            (b"websocket", b"HTTP/1.1 101 Now\r\n\r\n"),
            (b"websocket", b"HTTP/1.1 101 Now\r\nUpgrade: websocket\r\n\r\n"),
            (b"websocket", b"HTTP/1.1 101 Now\r\nConnection: upgrade\r\n\r\n"),
            (b"websocket", (SWITCH % b"websocket").replace(b"X-Y: z", b"Content-Length: 5") + b"12345"),
            (b"websocket", (SWITCH % b"websocket").replace(b"X-Y: z", b"Transfer-Encoding: chunked")),
            (b"websocket", (SWITCH % b"websocket").replace(b"X-Y: z", b"X-Y: " + b"z\r\nX: " * 300)),
        ):
            self.route(endpoint(1))
            exchange = self.ask_for(offered)
            worker = self.connect()
            self.reply(worker, answer)
            self.assertEqual(exchange.status, 502, answer)
            self.assertTrue(worker.disconnected)
            self.assertEqual(exchange.client.value(), b"")

    def test_interim_before(self) -> None:
        """A worker may have something to say before it switches; an empty body is no body."""
        self.route(endpoint(1))
        exchange = self.ask_for()
        answer = (SWITCH % b"websocket").replace(b"X-Y: z", b"Content-Length: 0")
        self.reply(self.connect(), b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + answer)
        self.assertEqual(([head.status for head in exchange.interim], exchange.status), ([103], 101))

    def test_sent_once(self) -> None:
        """Where nobody accepts another endpoint is tried; what was sent and got no answer is not sent again."""
        self.route(endpoint(1), endpoint(2))
        exchange = self.ask_for()
        self.refuse()
        worker = self.connect()
        self.lose(worker)
        self.assertEqual((exchange.status, self.opening), (502, 0))

    def test_waits(self) -> None:
        """Without an endpoint an upgrade waits, as any request does."""
        self.route()
        exchange = self.ask_for()
        self.pass_time(5)
        self.route(endpoint(1))
        self.reply(self.connect(), SWITCH % b"websocket")
        self.assertEqual(exchange.status, 101)

    def test_worker_that_does_not_answer(self) -> None:
        """A worker has as long to switch as it has for any answer."""
        self.route(endpoint(1), request_timeout_s=2.0)
        exchange = self.ask_for()
        self.connect()
        self.pass_time(3)
        self.assertEqual(exchange.status, 504)

    def test_client_that_left(self) -> None:
        """If the client has gone before the 101, that is the end."""
        self.route(endpoint(1))
        self.exchange = self.ask_for()
        worker = self.connect()
        self.exchange.client_leaves()
        self.assertTrue(worker.disconnected)
        self.reply(worker, SWITCH % b"websocket" + TO_CLIENT)
        self.assertEqual((len(self.site.tunnels), self.site.load().in_flight), (0, 0))

    def test_carrier_that_cannot(self) -> None:
        """A carrier of exchanges that cannot give its connection away answers 501, should it ever come to that."""
        self.route(endpoint(1))
        exchange = self.ask_for()
        exchange.client = None
        worker = self.connect()
        self.reply(worker, SWITCH % b"websocket" + TO_CLIENT)
        self.assertEqual(exchange.status, 501)
        self.assertTrue(worker.disconnected)
        self.gone(worker)  # type: ignore[arg-type]
        self.assertEqual((len(self.site.tunnels), self.site.load().in_flight), (0, 0))

    def test_nothing_is_left(self) -> None:
        """Nothing of a tunnel that is over, or of how it began, waits for the garbage collector."""
        kinds = (Tunnel, Side, Frames, FakeExchange, HTTPClientConnection)

        def there() -> list[object]:
            return [each for each in gc.get_objects() if isinstance(each, kinds)]

        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        # Other tests keep theirs.
        before = set(map(id, there()))
        for end in ("in order", "broken", "drained"):
            self.open()
            if end == "drained":
                self.take_away()
                self.pass_time(DRAIN_S)
            self.gone(self.client, ConnectionLost() if end == "broken" else None)
            self.gone(self.worker, ConnectionLost() if end == "broken" else None)
            self.over()
            for wire in (self.client, self.worker):
                wire.protocol = wire.producer = None
            del wire, self.exchange, self.client, self.worker
            self.reactor.tcpClients.clear()
            self.reactor.connectors.clear()
            self._connected = 0
            self.assertEqual([each for each in there() if id(each) not in before], [], end)


class PassageTests(TunnelCase):
    """While it is open."""

    def test_backpressure(self) -> None:
        """Who is slow pauses the other side, in either direction, and nothing else."""
        self.open()
        for slow, fast in ((self.client, self.worker), (self.worker, self.client)):
            slow.producer.pauseProducing()
            self.assertEqual((fast.paused, slow.paused), (True, False))
            slow.producer.resumeProducing()
            self.assertEqual((fast.paused, slow.paused), (False, False))

    def test_client_that_takes_nothing(self) -> None:
        """A client that takes something now and then is borne; one that takes nothing is cut."""
        self.open()
        self.client.dataBuffer = b"x" * 100
        self.client.producer.pauseProducing()
        for left in range(99, 90, -1):
            self.pass_time(29)
            self.client.dataBuffer = b"x" * left
        self.assertFalse(self.client.disconnected)
        self.pass_time(61)
        self.assertTrue(self.client.disconnected and self.worker.disconnected)

    def test_client_that_was_slow(self) -> None:
        """Who was slow and has caught up has as long as anybody."""
        self.open()
        self.client.producer.pauseProducing()
        self.pass_time(10)
        self.client.producer.resumeProducing()
        self.pass_time(600)
        self.assertFalse(self.client.disconnected)

    def test_worker_that_takes_nothing(self) -> None:
        """How long a worker thinks is its own affair, within the limit for idleness."""
        self.open(upgrade_idle_timeout_s=0.0)
        self.worker.producer.pauseProducing()
        self.pass_time(600)
        self.assertFalse(self.worker.disconnected or self.client.disconnected)

    def test_half_close(self) -> None:
        """The end of one direction is passed on, and the other goes on, until it ends as well."""
        for first in ("client", "worker"):
            self.open(b"lines")
            one, other = (self.client, self.worker) if first == "client" else (self.worker, self.client)
            self.hear(one, b"my last words")
            self.end(one)
            self.assertEqual((other.take(), other.half_closed, other.disconnecting), (b"my last words", True, False))
            self.pass_time(60)
            self.hear(other, b"mine")
            self.assertEqual((one.take(), one.half_closed), (b"mine", False))
            self.end(other)
            self.assertTrue(one.half_closed)
            self.assertTrue(one.disconnecting and other.disconnecting)
            self.assertFalse(one.disconnected or other.disconnected)
            self.gone(one)
            self.gone(other)
            self.over()

    def test_paused_when_it_ends(self) -> None:
        """A side that was paused is not read again when it has said its last."""
        self.open(b"lines")
        self.worker.producer.pauseProducing()
        self.assertTrue(self.client.paused)
        self.end(self.client)
        self.client.producerState = "whatever"
        self.client.protocol.resumeProducing()
        self.assertEqual(self.client.producerState, "whatever")

    def test_broken(self) -> None:
        """When one connection breaks, the other is cut, so that its end can tell."""
        for which in ("client", "worker"):
            self.open(b"lines")
            one, other = (self.client, self.worker) if which == "client" else (self.worker, self.client)
            self.gone(one, ConnectionLost())
            self.assertTrue(other.disconnected)
            self.hear(other, b"still here")
            self.gone(other, ConnectionLost())
            self.over()

    def test_websocket_that_closes(self) -> None:
        """
        When both have said that they close and the worker has closed, the client is closed at once, without another
        close frame.
        """
        self.open()
        self.hear(self.client, frame(CLOSE, b"\x03\xe8"))
        self.hear(self.worker, frame(CLOSE, b"\x03\xe8", mask=None))
        self.end(self.worker)
        self.assertEqual(self.client.take(), frame(CLOSE, b"\x03\xe8", mask=None))
        self.assertTrue(self.client.half_closed and self.client.disconnecting)
        self.assertTrue(self.worker.disconnecting)
        self.gone(self.client)
        self.gone(self.worker)
        self.over()

    def test_vanished_client(self) -> None:
        """When the worker has given up on a client, the client's connection does not stay for ever."""
        self.open()
        self.client.dataBuffer = b"never acknowledged"
        self.end(self.worker)
        self.assertTrue(self.client.half_closed)
        self.pass_time(LINGER_S + 0.5)
        self.assertTrue(self.client.disconnecting)
        self.assertFalse(self.client.disconnected)
        self.pass_time(CLOSE_S + 1)
        self.assertTrue(self.client.disconnected)

    def test_slow_client_gets_the_rest(self) -> None:
        """When the worker has gone, a slow client has all the time that it needs for what it was sent before."""
        self.open(b"lines")
        self.hear(self.worker, b"a long story")
        self.client.dataBuffer = b"x" * 20
        self.gone(self.worker)
        for left in range(19, -1, -1):
            self.pass_time(LINGER_S - 2)
            self.assertFalse(self.client.disconnected)
            self.client.dataBuffer = b"x" * left
        self.pass_time(2 * LINGER_S)
        self.assertTrue(self.client.disconnecting)

    def test_idle(self) -> None:
        """What is silent in both directions for too long is closed; a byte in either is enough to stay."""
        self.open(upgrade_idle_timeout_s=60.0)
        for _ in range(4):
            self.pass_time(58)
            self.hear(self.client, b"\x89\x80")
            self.pass_time(58)
            self.hear(self.worker, frame(PING, mask=None))
        self.hear(self.client, b"1234")
        self.pass_time(58)
        self.client.clear()
        self.pass_time(2 + 2 * LOOK_S)
        self.assertEqual(self.client.take(), GOING_AWAY)

    def test_idle_limit_changes(self) -> None:
        """A new limit holds for the tunnels that are open; none is none."""
        self.open(upgrade_idle_timeout_s=0.0)
        self.pass_time(86_400)
        self.assertEqual(self.client.take(), b"")
        self.route(endpoint(1), upgrade_idle_timeout_s=3600.0)
        self.pass_time(2 * LOOK_S)
        self.assertEqual(self.client.take(), GOING_AWAY)


class ClosingTests(TunnelCase):
    """When it is closed from here."""

    def masked_goodbye(self, data: bytes) -> None:
        """Check that a worker was told 1001, masked and with nothing else."""
        self.assertEqual((data[:2], len(data)), (b"\x88\x82", 8))
        self.assertEqual(bytes(byte ^ key for byte, key in zip(data[6:], data[2:], strict=False)), b"\x03\xe9")

    def test_drain_ends(self) -> None:
        """
        A little before an instance is stopped, both sides are told that we go away; when both have answered and
        closed, the instance is drained.
        """
        self.open()
        self.hear(self.worker, TO_CLIENT)
        self.take_away()
        self.pass_time(closing_time_s(DRAIN_S) - 0.5)
        self.assertEqual((self.client.take(), self.worker.take()), (TO_CLIENT, b""))
        self.pass_time(0.5)
        self.assertEqual(self.client.take(), GOING_AWAY)
        self.masked_goodbye(self.worker.take())
        self.assertFalse(self.client.disconnecting or self.worker.disconnecting)
        self.hear(self.client, TO_WORKER)
        self.hear(self.client, frame(CLOSE, b"\x03\xe9"))
        self.hear(self.worker, TO_CLIENT + frame(CLOSE, b"\x03\xe9", mask=None))
        self.assertEqual((self.client.take(), self.worker.take()), (b"", b""))
        self.assertTrue(self.client.disconnecting and self.worker.disconnecting)
        self.assertFalse(self.client.disconnected or self.worker.disconnected)
        self.assertNotIn(Drained(endpoint="api.1.1", version=self.version), self.said)
        self.gone(self.client)
        self.gone(self.worker)
        self.over()
        self.assertIn(Drained(endpoint="api.1.1", version=self.version), self.said)

    def test_nobody_answers(self) -> None:
        """Sides that do not answer are closed, and if that takes too long cut."""
        self.open()
        self.take_away()
        self.pass_time(closing_time_s(DRAIN_S))
        self.pass_time(CLOSE_S + 0.5)
        self.assertTrue(self.client.disconnecting and self.worker.disconnecting)
        self.assertFalse(self.client.disconnected or self.worker.disconnected)
        self.pass_time(CLOSE_S + 0.5)
        self.assertTrue(self.client.disconnected and self.worker.disconnected)

    def test_within_frames(self) -> None:
        """Frames that are under way are passed on to their end, and the close frame comes between two."""
        self.open()
        self.hear(self.worker, TO_CLIENT[:3])
        self.hear(self.client, TO_WORKER[:1])
        self.take_away()
        self.pass_time(closing_time_s(DRAIN_S))
        self.assertEqual((self.client.take(), self.worker.take()), (TO_CLIENT[:3], TO_WORKER[:1]))
        self.hear(self.worker, TO_CLIENT[3:5])
        self.assertEqual(self.client.take(), TO_CLIENT[3:5])
        self.hear(self.worker, TO_CLIENT[5:] + TO_CLIENT)
        self.assertEqual(self.client.take(), TO_CLIENT[5:] + GOING_AWAY)
        # The client answers in the middle of its own frame's sequence: first that one has to end.
        self.hear(self.client, TO_WORKER[1:] + frame(CLOSE, b"\x03\xe9"))
        sent = self.worker.take()
        self.assertTrue(sent.startswith(TO_WORKER[1:]))
        self.masked_goodbye(sent[len(TO_WORKER) - 1 :])
        self.assertTrue(self.client.disconnecting)

    def test_frames_that_do_not_end(self) -> None:
        """Who waits for the rest of a frame that does not come is cut; the other side is closed properly."""
        self.open()
        self.hear(self.worker, TO_CLIENT[:3])
        self.take_away()
        self.pass_time(closing_time_s(DRAIN_S))
        self.masked_goodbye(self.worker.take())
        self.pass_time(FRAME_S + 0.5)
        self.assertEqual(self.client.take(), TO_CLIENT[:3])
        self.assertTrue(self.client.disconnected)
        self.assertFalse(self.worker.disconnected)
        self.gone(self.client, ConnectionLost())
        self.hear(self.worker, TO_CLIENT[3:] + frame(CLOSE, b"\x03\xe9", mask=None))
        self.assertTrue(self.worker.disconnecting)
        self.assertFalse(self.worker.disconnected)
        self.gone(self.worker)
        self.over()

    def test_slow_client(self) -> None:
        """A client that does not read is closed with the others, and the worker is read for its answer."""
        self.open()
        self.client.dataBuffer = b"x" * 100
        self.client.producer.pauseProducing()
        self.take_away()
        self.pass_time(closing_time_s(DRAIN_S))
        self.assertFalse(self.worker.paused)
        self.hear(self.worker, frame(CLOSE, b"\x03\xe9", mask=None))
        self.assertTrue(self.worker.disconnecting)
        self.gone(self.worker)
        self.pass_time(2 * CLOSE_S + 1)
        self.assertTrue(self.client.disconnected)

    def test_closing_already(self) -> None:
        """A side that has been told to close by the other one is not told again."""
        self.open()
        self.hear(self.client, frame(CLOSE, b"\x03\xe8"))
        self.worker.clear()
        self.take_away()
        self.pass_time(closing_time_s(DRAIN_S))
        self.assertEqual((self.client.take(), self.worker.take()), (GOING_AWAY, b""))
        self.assertTrue(self.client.disconnecting)

    def test_other_protocol(self) -> None:
        """What is no WebSocket is just closed: both directions end, and then both connections."""
        self.open(b"lines")
        self.take_away()
        self.pass_time(closing_time_s(DRAIN_S))
        self.assertEqual((self.client.take(), self.worker.take()), (b"", b""))
        self.assertTrue(self.client.half_closed and self.worker.half_closed)
        self.hear(self.worker, b"too late")
        self.assertEqual(self.client.take(), b"")
        self.end(self.client)
        self.assertTrue(self.client.disconnecting)
        self.assertFalse(self.worker.disconnecting)
        self.pass_time(CLOSE_S + 0.5)
        self.assertTrue(self.worker.disconnecting)

    def test_lost_count(self) -> None:
        """After a frame of an impossible length no close frame can be placed: such a side is just closed."""
        self.open()
        self.hear(self.worker, b"\x82\x7f" + b"\xff" * 8)
        self.client.clear()
        self.take_away()
        self.pass_time(closing_time_s(DRAIN_S))
        self.assertEqual((self.client.take(), self.client.half_closed), (b"", True))
        self.masked_goodbye(self.worker.take())

    def test_worker_is_stopped_first(self) -> None:
        """If the instance ends before we close, its clients are told all the same."""
        for abrupt in (False, True):
            self.open()
            self.take_away()
            self.pass_time(1)
            if abrupt:
                self.gone(self.worker, ConnectionLost())
            else:
                self.end(self.worker)
            self.assertEqual((self.client.take(), self.client.disconnected), (GOING_AWAY, False))
            self.hear(self.client, frame(CLOSE, b"\x03\xe9"))
            self.assertTrue(self.client.disconnecting)
            self.gone(self.client)
            if not abrupt:
                self.gone(self.worker)
            self.over()

    def test_endpoint_returns(self) -> None:
        """An endpoint that was away for a while and is back keeps its tunnels."""
        self.open()
        self.take_away()
        self.pass_time(20)
        self.route(endpoint(1))
        self.pass_time(60)
        self.assertEqual(self.client.take(), b"")
        self.take_away()
        self.pass_time(closing_time_s(DRAIN_S) - 0.25)
        self.assertEqual(self.client.take(), b"")
        self.pass_time(0.25)
        self.assertEqual(self.client.take(), GOING_AWAY)

    def test_another_endpoint(self) -> None:
        """Tunnels to other endpoints stay."""
        self.route(endpoint(1), endpoint(2))
        wires = []
        for _ in range(2):
            exchange = self.ask_for()
            worker = self.connect()
            self.reply(worker, SWITCH % b"websocket")
            wires.append((worker.port, exchange.client))  # type: ignore[attr-defined]
        self.route(endpoint(2))
        self.pass_time(60)
        self.assertEqual({port: client.take() for port, client in wires}, {9001: GOING_AWAY, 9002: b""})

    def test_front_leaves(self) -> None:
        """When the front is to end, all tunnels are closed before, those that come late at once."""
        self.open()
        self.site.tunnels.leave(10.0)
        late = self.ask_for()
        worker = self.connect()
        self.pass_time(closing_time_s(10.0) - 0.25)
        self.assertEqual(self.client.take(), b"")
        self.pass_time(0.25)
        self.assertEqual(self.client.take(), GOING_AWAY)
        self.reply(worker, SWITCH % b"websocket")
        self.reactor.advance(0)
        self.assertEqual(late.client.take(), GOING_AWAY)

    def test_cut(self) -> None:
        """What the front cuts in the end is cut on both sides."""
        self.open()
        self.client.protocol.cut()
        self.assertTrue(self.client.disconnected)
        self.gone(self.client, ConnectionAborted())
        self.assertTrue(self.worker.disconnected)
        self.gone(self.worker, ConnectionAborted())
        self.over()

    def test_many(self) -> None:
        """Thousands are not closed in one go, so that others are served in between."""
        self.route(endpoint(1))
        clients = []
        for _ in range(2 * CLOSE_AT_ONCE + 1):
            exchange = self.ask_for()
            self.reply(self.connect(), SWITCH % b"websocket")
            clients.append(exchange.client)
        self.take_away()
        later: list[Callable[[], None]] = []
        call_later = self.reactor.callLater

        def put_off(delay: float, call: Callable[..., None], *arguments: object) -> object:
            return call_later(delay, call, *arguments) if delay else later.append(lambda: call(*arguments))

        self.patch(self.reactor, "callLater", put_off)
        self.reactor.advance(closing_time_s(DRAIN_S))
        told = []
        while later:
            told.append(sum(client.value() == GOING_AWAY for client in clients))
            later.pop()()
        told.append(sum(client.value() == GOING_AWAY for client in clients))
        self.assertEqual(told, [CLOSE_AT_ONCE, 2 * CLOSE_AT_ONCE, 2 * CLOSE_AT_ONCE + 1])

    def test_when(self) -> None:
        """Tunnels have what is needed to close, of a short time a quarter."""
        self.assertEqual(closing_time_s(30.0), 30.0 - CLOSE_BEFORE_S)
        self.assertEqual(closing_time_s(2.0), 1.5)
        self.assertEqual(closing_time_s(0.0), 0.0)


class AnythingTests(TunnelCase):
    """Whatever happens, in whatever order."""

    @settings(max_examples=400, derandomize=True, deadline=None)
    @given(st.data())
    def test_anything(self, data: st.DataObject) -> None:
        """
        Each side gets what the other has sent, in order and without a gap, and after it nothing or one close frame,
        never within another frame; when both connections are closed, nothing is left; and once it is to be closed,
        that does not take for ever.
        """
        self.setUp()
        protocol = data.draw(st.sampled_from([b"websocket", b"lines"]))
        self.open(protocol)
        said = {id(self.client): b"", id(self.worker): b""}
        ended: set[int] = set()
        lost: set[int] = set()
        sides = (self.client, self.worker)

        def alive(wire: Wire) -> bool:
            return id(wire) not in lost

        for _ in range(data.draw(st.integers(1, 14))):
            wire = data.draw(st.sampled_from(sides))
            event = data.draw(
                st.sampled_from(
                    ["hear", "hear", "hear", "close", "end", "gone", "break", "pause", "resume", "time", "take"]
                )
            )
            able = alive(wire) and not wire.disconnecting
            if event in ("hear", "close") and able and id(wire) not in ended and not wire.paused:
                mask = b"abcd" if wire is self.client else None
                piece = frame(TEXT, b"\x88\x02" * data.draw(st.integers(0, 70)), mask=mask)
                if event == "close":
                    piece = frame(CLOSE, b"\x03\xe8", mask=mask)
                piece = piece[: data.draw(st.integers(1, len(piece)))] if data.draw(st.booleans()) else piece
                said[id(wire)] += piece
                self.hear(wire, piece)
            elif event == "end" and able and id(wire) not in ended:
                ended.add(id(wire))
                self.end(wire)
            elif event in ("gone", "break") and alive(wire):
                lost.add(id(wire))
                self.gone(wire, ConnectionLost() if event == "break" else None)
            elif event == "pause" and able and wire.producer is not None:
                wire.producer.pauseProducing()
            elif event == "resume" and able and wire.producer is not None:
                wire.producer.resumeProducing()
            elif event == "time":
                self.pass_time(data.draw(st.sampled_from([0.25, 1.0, 5.0])))
            elif event == "take":
                self.take_away()
        self.take_away()
        self.pass_time(DRAIN_S + 3 * LINGER_S)
        for wire in sides:
            self.assertTrue(not alive(wire) or wire.disconnecting)
            if alive(wire):
                self.gone(wire)
        self.over()
        self.assertEqual(self.exchange.events.count("finish"), 1)
        self.assertFalse(any(getattr(each, "client", None) for each in self.site._sweep._watched))
        for wire, other in (sides, sides[::-1]):
            got, sent = wire.value(), said[id(other)]
            if not sent.startswith(got):
                # The last is ours.
                at = len(got) - (4 if wire is self.client else 8)
                self.assertTrue(sent.startswith(got[:at]))
                before, ours = Frames(), Frames()
                before.follow(got[:at])
                ours.follow(got[at:])
                self.assertTrue(before.between and not before.closed and ours.between and ours.closed)
                self.assertEqual(protocol, b"websocket")
