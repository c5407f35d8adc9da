"""A request for another protocol on a client's connection: what waits, what is handed over, and what becomes of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http1.test_server import GET, ConnectionCase, Recorder, answer
from tqserver.http1.exchange import ServerExchange
from tqserver.http1.handover import AHEAD_BYTES_MAX
from tqserver.http1.head import ResponseHead

UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\nCookie: %b\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n" % (b"x" * 1000)
)

SWITCH = ResponseHead(101, b"Now", [(b"X-Y", b"z")])


class Other:
    """Who speaks the other protocol."""

    def __init__(self) -> None:
        self.data = b""
        self.transport: object = None
        self.was_cut = False

    def makeConnection(self, transport: object) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.data += data

    def connectionLost(self, reason: object) -> None:
        """The test is over."""

    def cut(self) -> None:
        """Remember it."""
        self.was_cut = True


class HandoverTests(ConnectionCase):
    """Upgrades."""

    def switch(self, exchange: ServerExchange) -> Other:
        """The worker has switched."""
        other = Other()
        self.assertTrue(exchange.upgrade(SWITCH, b"websocket", other))
        return other

    def test_handed_over(self) -> None:
        """The client gets the 101 with its fields and ours, and the connection another protocol."""
        self.connection.dataReceived(UPGRADE)
        (exchange,) = self.recorder.exchanges
        self.assertEqual(exchange.head.upgrade, b"websocket")
        exchange.response_headers = [(b"X-Ours", b"1")]
        other = self.switch(exchange)
        self.assertEqual(
            self.sent(),
            b"HTTP/1.1 101 Now\r\nX-Y: z\r\nX-Ours: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        self.assertIs(other.transport, self.wire)
        self.assertIs(self.wire.protocol, other)  # type: ignore[attr-defined]
        self.assertIsNone(self.wire.producer)
        self.assertEqual((exchange.status, exchange.over), (101, False))

    @settings(max_examples=80, derandomize=True, deadline=None)
    @given(st.lists(st.integers(1, 1300), max_size=6))
    def test_sent_ahead(self, cuts: list[int]) -> None:
        """What comes behind the request belongs to the other protocol, however it is split."""
        self.connect()
        stream = GET + UPGRADE + b"GET this is not HTTP\r\n\r\n\0"
        at = 0
        for cut in [*cuts, len(stream)]:
            self.connection.dataReceived(stream[at : at + cut])
            at = min(at + cut, len(stream))
            if at == len(stream):
                break
        answer(self.recorder.exchanges[0])
        self.assertEqual([each.head.path for each in self.recorder.exchanges], [b"/a", b"/chat"])
        other = self.switch(self.recorder.exchanges[1])
        self.assertEqual(other.data, b"GET this is not HTTP\r\n\r\n\0")
        self.assertEqual(self.recorder.faults, [])

    def test_too_much_ahead(self) -> None:
        """A client that goes on sending before it has an answer waits, and loses nothing."""
        self.connection.dataReceived(UPGRADE)
        self.connection.dataReceived(b"x" * (AHEAD_BYTES_MAX - 1))
        self.assertEqual(self.wire.producerState, "producing")
        self.connection.dataReceived(b"x")
        self.assertEqual(self.wire.producerState, "paused")
        other = self.switch(self.recorder.exchanges[0])
        self.assertEqual(len(other.data), AHEAD_BYTES_MAX)
        self.assertEqual(self.wire.producerState, "producing")

    def test_not_switched(self) -> None:
        """When the answer is an ordinary one, what came behind the request is the next request."""
        for split in (False, True):
            self.connect()
            self.connection.dataReceived(UPGRADE + (b"" if split else GET))
            if split:
                self.connection.dataReceived(GET[:10])
                self.connection.dataReceived(GET[10:])
            self.assertEqual(len(self.recorder.exchanges), 1)
            answer(self.recorder.exchanges[0], status=403)
            self.assertEqual([each.head.path for each in self.recorder.exchanges], [b"/chat", b"/a"])
            answer(self.recorder.exchanges[1])
            self.assertEqual(self.sent().count(b"HTTP/1.1 "), 2)
            self.connection.dataReceived(GET)
            self.assertEqual(len(self.recorder.exchanges), 3)

    def test_not_switched_and_no_request(self) -> None:
        """When the answer is an ordinary one and what came behind it is no request, that is refused."""
        self.connection.dataReceived(UPGRADE + b"\x81\x05hello")
        answer(self.recorder.exchanges[0])
        sent = self.sent()
        self.assertTrue(sent.startswith(b"HTTP/1.1 200 "))
        self.assertIn(b"HTTP/1.1 400 ", sent)
        self.assertEqual(len(self.recorder.faults), 1)

    def test_not_switched_and_half_a_request(self) -> None:
        """Likewise, the rest of the next request has as long as any."""
        self.connection.dataReceived(UPGRADE + GET[:10])
        answer(self.recorder.exchanges[0])
        self.clock.pump([0.25] * 4 * 29)
        self.connection.dataReceived(GET[10:])
        answer(self.recorder.exchanges[1])
        self.assertEqual(self.sent().count(b"HTTP/1.1 200 "), 2)

    def test_last_of_its_connection(self) -> None:
        """A client that has something ahead and whose connection closes gets its answer, not a reset."""
        self.connection.leave()
        self.connection.dataReceived(UPGRADE + b"\x81\x05hello")
        answer(self.recorder.exchanges[0])
        self.assertIn(b"Connection: close\r\n", self.sent())
        self.assertTrue(self.wire.half_closed)
        self.assertFalse(self.wire.disconnecting)

    def test_many_that_are_refused(self) -> None:
        """Any number of requests for upgrades may follow each other, and be answered at once."""
        requests = UPGRADE.replace(b"x" * 1000, b"x") * 500

        def refuse(exchange: ServerExchange) -> None:
            Recorder.serve(self.recorder, exchange)
            answer(exchange, status=404)

        self.factory.serve = refuse
        for at in range(0, len(requests), AHEAD_BYTES_MAX):
            self.connection.dataReceived(requests[at : at + AHEAD_BYTES_MAX])
        self.assertEqual(len(self.recorder.exchanges), 500)
        self.assertEqual(self.sent().count(b"HTTP/1.1 404 "), 500)

    def test_stays_counted(self) -> None:
        """It counts as a connection until its exchange is finished, and is cut with the others."""
        counts: list[int] = []
        self.factory.on_count = counts.append
        self.connection.dataReceived(UPGRADE)
        exchange = self.recorder.exchanges[0]
        other = self.switch(exchange)
        self.assertEqual(len(self.factory.connections), 1)
        self.factory.leave()
        (connection,) = self.factory.connections
        self.assertFalse(connection.close_if_idle(1e9))
        connection.cut()
        self.assertTrue(other.was_cut)
        over: list[bool] = []
        exchange.when_over(lambda: over.append(True))
        exchange.finish()
        self.assertEqual((over, counts, len(self.factory.connections)), ([True], [0], 0))

    def test_no_deadline(self) -> None:
        """None of HTTP's timeouts is for it any more."""
        self.connection.dataReceived(UPGRADE)
        other = self.switch(self.recorder.exchanges[0])
        self.clock.pump([0.25] * 4 * 3600)
        self.assertFalse(self.wire.disconnecting or other.was_cut)

    def test_what_is_kept(self) -> None:
        """Of the request no more is kept than the log wants, for it may be days."""
        self.connection.dataReceived(UPGRADE)
        exchange = self.recorder.exchanges[0]
        self.switch(exchange)
        self.assertEqual(exchange.head.headers, [(b"user-agent", b"me")])

    def test_cannot(self) -> None:
        """What was not asked for, is answered already or over cannot be switched, and nothing is done."""
        self.connection.dataReceived(GET)
        self.assertFalse(self.recorder.exchanges[0].upgrade(SWITCH, b"websocket", Other()))
        answer(self.recorder.exchanges[0])
        self.connection.dataReceived(UPGRADE)
        self.recorder.exchanges[1].respond(ResponseHead(200, b"", [], 0), None)
        self.assertFalse(self.recorder.exchanges[1].upgrade(SWITCH, b"websocket", Other()))
        self.recorder.exchanges[1].finish()
        self.connection.dataReceived(UPGRADE)
        self.lose()
        self.assertFalse(self.recorder.exchanges[2].upgrade(SWITCH, b"websocket", Other()))
        self.assertNotIn(b" 101 ", self.sent())

    def test_not_offered(self) -> None:
        """A request that asks for nothing that can be had is an ordinary one, and so is what follows it."""
        for before, after in (
            (b"websocket", b"h2c"),
            (b"keep-alive, Upgrade", b"keep-alive"),
            (b"HTTP/1.1", b"HTTP/1.0"),
            (b"GET", b"POST"),
        ):
            self.connect()
            request = UPGRADE.replace(before, after)
            self.connection.dataReceived(request + GET)
            self.assertEqual(self.recorder.exchanges[0].head.upgrade, b"")
            answer(self.recorder.exchanges[0])
            self.assertEqual(len(self.recorder.exchanges), 2, request)
