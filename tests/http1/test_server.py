"""A client's connection to us: what is read, what is answered, and when it closes."""

from __future__ import annotations

import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import Fault
from tqserver.http1.exchange import BODY_BUFFER_BYTES, ServerExchange
from tqserver.http1.factory import HTTPServerFactory, ServerSettings
from tqserver.http1.head import ResponseHead
from tqserver.http1.server import LINGER_S, HTTPServerConnection
from tqserver.http1.sweep import Sweep

GET = b"GET /a?b=c HTTP/1.1\r\nHost: example.test\r\n\r\n"


class Wire(StringTransport):
    """A transport that knows of half close and no delay."""

    half_closed = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """As TCP has it."""

    def loseWriteConnection(self) -> None:
        """Remember it."""
        self.half_closed = True


class Body:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False
        self.fault: Fault | None = None

    def body_data(self, data: bytes) -> None:
        self.data += data

    def body_end(self) -> None:
        self.ended = True

    def body_failed(self, fault: Fault) -> None:
        self.fault = fault


class Recorder:
    """Serves nothing by itself: a test does, with the exchanges that are kept here."""

    def __init__(self) -> None:
        self.exchanges: list[ServerExchange] = []
        self.faults: list[Fault] = []

    def serve(self, exchange: ServerExchange) -> None:
        self.exchanges.append(exchange)

    def refuse(self, fault: Fault, connection: HTTPServerConnection) -> tuple[ResponseHead, bytes]:
        self.faults.append(fault)
        return ResponseHead(fault.status, b"", []), b"no"


def answer(exchange: ServerExchange, body: bytes = b"ok", status: int = 200) -> None:
    """Answer with a body of known length."""
    exchange.respond(ResponseHead(status, b"", [], len(body)), None)
    exchange.write(body)
    exchange.finish()


class ConnectionCase(SynchronousTestCase):
    """One connection on a fake wire and clock."""

    def setUp(self) -> None:
        self.connect()

    def connect(self, **limits: float) -> None:
        """Open the connection with some settings."""
        self.clock = Clock()
        self.recorder = Recorder()
        self.factory = HTTPServerFactory(
            self.clock,
            self.recorder,
            ServerSettings(**limits),
            Sweep(self.clock),  # type: ignore[arg-type]
        )
        self.wire = Wire()
        self.connection = self.factory.buildProtocol(None)
        self.connection.makeConnection(self.wire)

    def sent(self) -> bytes:
        """What the client got since the last look."""
        value = self.wire.value()
        self.wire.clear()
        return value

    def lose(self) -> None:
        """The client leaves."""
        from twisted.internet.protocol import connectionDone

        self.connection.connectionLost(connectionDone)


class RequestTests(ConnectionCase):
    """What a request becomes."""

    def test_get(self) -> None:
        """A plain request arrives with method, target, path and query as sent, and names in lower case."""
        self.connection.dataReceived(GET)
        (exchange,) = self.recorder.exchanges
        head = exchange.head
        self.assertEqual((head.method, head.target, head.path, head.query), (b"GET", b"/a?b=c", b"/a", b"b=c"))
        self.assertEqual(head.headers, [(b"host", b"example.test")])
        answer(exchange)
        reply = self.sent()
        self.assertTrue(reply.startswith(b"HTTP/1.1 200 OK\r\n"), reply)
        self.assertIn(b"Content-Length: 2\r\n", reply)
        self.assertTrue(reply.endswith(b"\r\n\r\nok"), reply)
        self.assertFalse(self.wire.disconnecting)

    def test_absolute_form(self) -> None:
        """A proxy's absolute-form target is its path, and its authority is the host (RFC 9112 section 3.2.2)."""
        self.connection.dataReceived(b"GET http://other.test/x HTTP/1.1\r\nHost: example.test\r\n\r\n")
        head = self.recorder.exchanges[0].head
        self.assertEqual((head.target, head.host), (b"/x", b"other.test"))

    def test_small_body_is_read_before_it_is_wanted(self) -> None:
        """A small body is here when somebody asks for it."""
        self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        self.connection.dataReceived(b"lo")
        body = Body()
        self.recorder.exchanges[0].receive(body)
        self.assertEqual((body.data, body.ended), (b"hello", True))

    def test_large_body_waits_in_the_kernel(self) -> None:
        """Of a body that nobody has asked for, no more than a buffer is read; the rest comes when it is wanted."""
        size = 3 * BODY_BUFFER_BYTES
        self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        self.assertEqual(self.wire.producerState, "producing")
        self.connection.dataReceived(b"x" * BODY_BUFFER_BYTES)
        self.assertEqual(self.wire.producerState, "paused")
        body = Body()
        exchange = self.recorder.exchanges[0]
        exchange.receive(body)
        self.assertEqual(self.wire.producerState, "producing")
        exchange.pause_body()
        self.assertEqual(self.wire.producerState, "paused")
        exchange.resume_body()
        self.connection.dataReceived(b"x" * (size - BODY_BUFFER_BYTES))
        self.assertEqual((len(body.data), body.ended), (size, True))

    def test_chunked_body(self) -> None:
        """A chunked body arrives without its chunks."""
        self.connection.dataReceived(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        )
        exchange = self.recorder.exchanges[0]
        body = Body()
        exchange.receive(body)
        self.assertEqual((exchange.head.content_length, body.data, body.ended), (None, b"abcdefg", True))

    def test_body_can_be_told_again(self) -> None:
        """A small body is told from its beginning to a second reader, until something was answered."""
        self.connection.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        exchange = self.recorder.exchanges[0]
        first, second = Body(), Body()
        exchange.receive(first)
        self.assertTrue(exchange.replayable)
        exchange.receive(second)
        self.connection.dataReceived(b"lo")
        self.assertEqual((first.data, second.data, second.ended), (b"hel", b"hello", True))
        exchange.respond(ResponseHead(200, b"", [], 0), None)
        self.assertFalse(exchange.replayable)

    def test_large_body_cannot_be_told_again(self) -> None:
        """What was passed on of a large body is not kept."""
        self.connection.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
        exchange = self.recorder.exchanges[0]
        exchange.receive(Body())
        self.connection.dataReceived(b"x" * (BODY_BUFFER_BYTES + 1))
        self.assertFalse(exchange.replayable)

    def test_expect_continue_waits_for_the_reader(self) -> None:
        """The client is asked for its body when somebody can take it, not before (RFC 9110 section 10.1.1)."""
        self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        self.assertEqual(self.sent(), b"")
        body = Body()
        self.recorder.exchanges[0].receive(body)
        self.assertEqual(self.sent(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.connection.dataReceived(b"ok")
        self.assertEqual((body.data, body.ended), (b"ok", True))

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(st.lists(st.integers(1, 400), max_size=12))
    def test_split_anywhere(self, cuts: list[int]) -> None:
        """However the bytes of three pipelined requests are split, the same three arrive."""
        self.connect()
        stream = (
            GET
            + b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nX-Y:  z \r\n\r\nhello world"
            + b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: v\r\n\r\n"
        )
        at = 0
        for cut in sorted(set(cuts)) + [len(stream)]:
            if at < cut:
                self.connection.dataReceived(stream[at:cut])
                at = cut
        seen = []
        while self.recorder.exchanges:
            exchange = self.recorder.exchanges.pop(0)
            body = Body()
            exchange.receive(body)
            self.assertTrue(body.ended)
            seen.append((exchange.head.method, exchange.head.target, exchange.head.headers[1:], body.data))
            answer(exchange)
        self.assertEqual(
            seen,
            [
                (b"GET", b"/a?b=c", [], b""),
                (b"POST", b"/p", [(b"content-length", b"11"), (b"x-y", b"z")], b"hello world"),
                (b"POST", b"/c", [(b"transfer-encoding", b"chunked")], b"hello"),
            ],
        )
        self.assertEqual(self.sent().count(b"HTTP/1.1 200 OK"), 3)

    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5), st.booleans())
    def test_garbage(self, pieces: list[bytes], after_a_start: bool) -> None:
        """Whatever a client sends, it is a request, an answer of 4xx or 5xx, or not yet either: never a traceback."""
        self.connect()
        for piece in ([b"GET / HTTP/1.1\r\n"] if after_a_start else []) + pieces:
            self.connection.dataReceived(piece)
        reply = self.sent()
        if reply:
            self.assertRegex(reply, rb"\AHTTP/1\.1 [45]\d\d ")
            self.assertTrue(self.recorder.faults)


class RefusalTests(ConnectionCase):
    """What is no request."""

    def refused(self, request: bytes, status: int) -> None:
        """Check that a request is answered with a status and the connection closed, and that nobody saw it."""
        self.connect()
        self.connection.dataReceived(request)
        reply = self.sent()
        self.assertTrue(reply.startswith(b"HTTP/1.1 %d " % status), (request[:80], reply[:80]))
        self.assertIn(b"Connection: close\r\n", reply)
        self.assertEqual(self.recorder.exchanges, [])
        self.assertTrue(self.wire.half_closed or self.wire.disconnecting)

    def test_refusals(self) -> None:
        """Malformed requests are refused with the right status and a close (RFC 9112 sections 3, 5 and 6)."""
        host = b"Host: a\r\n"
        for request, status in [
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
            (b"GET nonsense HTTP/1.1\r\n" + host + b"\r\n", 400),
            (b"GET /#f HTTP/1.1\r\n" + host + b"\r\n", 400),
            (b"CONNECT a:443 HTTP/1.1\r\n" + host + b"\r\n", 405),
            (b"TRACE / HTTP/1.1\r\n" + host + b"\r\n", 405),
            (b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\n" + host + b"Content-Length: +1\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 1, 1\r\n\r\n", 400),
            (b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
            (b"POST / HTTP/1.0\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n" + host + b"Expect: tea\r\n\r\n", 417),
            (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        ]:
            self.refused(request, status)

    def test_header_limits(self) -> None:
        """Too long a target is 414, too large a header or too many fields 431, whether or not they ever end."""
        self.refused(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414)
        self.refused(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20000 + b"\r\n\r\n", 431)
        self.refused(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431)
        self.connect()
        self.connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(40):
            self.connection.dataReceived(b"a" * 1000)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 431 "))

    def test_declared_body_too_large(self) -> None:
        """
        A body that is declared larger than the limit is a fault from the beginning, so that the request is answered
        as what it is, and nothing of the body is read (RFC 9110 section 15.5.14).
        """
        self.connect(body_bytes_max=10)
        self.connection.dataReceived(b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n12345")
        (exchange,) = self.recorder.exchanges
        assert exchange.body_fault is not None
        self.assertEqual((exchange.head.target, exchange.body_fault.status), (b"/form", 413))
        answer(exchange, status=413)
        self.assertIn(b"Connection: close", self.sent())
        self.assertTrue(self.wire.half_closed)

    def test_chunked_body_too_large(self) -> None:
        """A chunked body that grows beyond the limit fails where it is read, and the connection closes."""
        self.connect(body_bytes_max=10)
        self.connection.dataReceived(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n"
        )
        body = Body()
        exchange = self.recorder.exchanges[0]
        exchange.receive(body)
        self.connection.dataReceived(b"8\r\n12345678\r\n")
        assert body.fault is not None
        self.assertEqual(body.fault.status, 413)
        answer(exchange, status=413)
        self.assertIn(b"Connection: close", self.sent())
        self.assertTrue(self.wire.half_closed)

    def test_small_chunked_body_too_large(self) -> None:
        """So does one that is there as a whole, with its end, before anybody asks for it; it is answered once."""
        self.connect(body_bytes_max=10)
        self.connection.dataReceived(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n"
        )
        (exchange,) = self.recorder.exchanges
        assert exchange.body_fault is not None
        self.assertEqual(exchange.body_fault.status, 413)
        answer(exchange, status=413)
        self.assertEqual(self.sent().count(b"HTTP/1.1 "), 1)
        self.assertTrue(self.wire.half_closed)

    def test_good_request_before_garbage(self) -> None:
        """A good request that was pipelined before garbage is answered; then the garbage is refused."""
        self.connection.dataReceived(GET + b"\x00\x01\x02\r\n\r\n")
        answer(self.recorder.exchanges[0])
        replies = self.sent()
        self.assertEqual(replies.count(b"HTTP/1.1 "), 2)
        self.assertIn(b"HTTP/1.1 400 ", replies)

    def test_rest_is_read_so_that_the_answer_arrives(self) -> None:
        """After a refusal the client's bytes are still read for a while, so that closing does not become a reset."""
        self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        self.connection.dataReceived(b"more" * 1000)
        self.assertFalse(self.wire.disconnected)
        self.clock.pump([0.25] * int(LINGER_S * 4 + 2))
        self.assertTrue(self.wire.disconnecting)


class ResponseTests(ConnectionCase):
    """What the client gets."""

    def begin(self, request: bytes = GET) -> ServerExchange:
        """Send a request and take its exchange."""
        self.connection.dataReceived(request)
        return self.recorder.exchanges[-1]

    def test_chunked(self) -> None:
        """A body of unknown length is chunked for HTTP/1.1."""
        exchange = self.begin()
        exchange.respond(ResponseHead(200, b"Fine", [(b"X-Y", b"z")]), None)
        exchange.write(b"hello")
        exchange.write(b"")
        exchange.finish()
        reply = self.sent()
        self.assertTrue(reply.startswith(b"HTTP/1.1 200 Fine\r\nX-Y: z\r\n"))
        self.assertTrue(reply.endswith(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), reply)

    def test_http_1_0(self) -> None:
        """For HTTP/1.0 the end of the connection ends a body of unknown length."""
        exchange = self.begin(b"GET / HTTP/1.0\r\n\r\n")
        exchange.respond(ResponseHead(200, b"", []), None)
        exchange.write(b"hello")
        exchange.finish()
        reply = self.sent()
        self.assertNotIn(b"chunked", reply)
        self.assertTrue(reply.endswith(b"\r\n\r\nhello"))
        self.assertTrue(self.wire.disconnecting)

    def test_http_1_0_keep_alive(self) -> None:
        """An HTTP/1.0 client that asks for it may keep its connection."""
        exchange = self.begin(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer(exchange)
        self.assertIn(b"Connection: keep-alive\r\n", self.sent())
        self.assertFalse(self.wire.disconnecting)

    def test_head_and_204(self) -> None:
        """A HEAD keeps its Content-Length and has no body; a 204 has neither (RFC 9110 section 8.6)."""
        answer(self.begin(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), b"hello")
        reply = self.sent()
        self.assertIn(b"Content-Length: 5\r\n", reply)
        self.assertTrue(reply.endswith(b"\r\n\r\n"))
        exchange = self.begin()
        exchange.respond(ResponseHead(204, b"", []), None)
        exchange.finish()
        reply = self.sent()
        self.assertNotIn(b"Content-Length", reply)
        self.assertNotIn(b"chunked", reply)

    def test_client_asks_to_close(self) -> None:
        """A client that asks for it gets its connection closed after the answer."""
        answer(self.begin(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
        self.assertIn(b"Connection: close\r\n", self.sent())
        self.assertTrue(self.wire.disconnecting)

    def test_short_answer_is_cut(self) -> None:
        """An answer that ends before its declared length is reset, never passed for whole."""
        exchange = self.begin()
        exchange.respond(ResponseHead(200, b"", [], 10), None)
        exchange.write(b"short")
        exchange.finish()
        self.assertTrue(self.wire.disconnected)

    def test_long_answer_is_cut(self) -> None:
        """An answer longer than it declared cannot become the next answer."""
        exchange = self.begin()
        exchange.respond(ResponseHead(200, b"", [], 2), None)
        exchange.write(b"okHTTP/1.1 200 OK\r\n\r\n")
        self.assertNotIn(b"okHTTP", self.sent())
        self.assertTrue(self.wire.disconnected)

    def test_answer_before_the_body_was_read(self) -> None:
        """An early answer to an upload closes the connection: the rest of the body stands before the next request."""
        exchange = self.begin(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
        answer(exchange, status=403)
        self.assertTrue(self.wire.half_closed)

    def test_interim(self) -> None:
        """Early hints are passed on to HTTP/1.1 clients (RFC 8297)."""
        exchange = self.begin()
        exchange.inform(ResponseHead(103, b"Early Hints", [(b"Link", b"</a.css>")]))
        self.assertEqual(self.sent(), b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")

    def test_slow_client_pauses_the_producer(self) -> None:
        """While the client is slow its producer stands still."""
        events = []

        class Producer:
            """Remembers what it is told."""

            def pauseProducing(self) -> None:
                events.append("pause")

            def resumeProducing(self) -> None:
                events.append("resume")

        exchange = self.begin()
        exchange.respond(ResponseHead(200, b"", []), Producer())  # type: ignore[arg-type]
        self.connection.pauseProducing()
        self.connection.resumeProducing()
        self.assertEqual(events, ["pause", "resume"])

    def test_client_leaves(self) -> None:
        """Everybody who waits for the end of an exchange hears of it once."""
        exchange = self.begin(GET + GET)
        over: list[str] = []
        exchange.when_over(lambda: over.append("over"))
        self.lose()
        exchange.write(b"to nobody")
        exchange.finish()
        exchange.when_over(lambda: over.append("late"))
        self.assertEqual(over, ["over", "late"])
        self.assertEqual(len(self.recorder.exchanges), 1)

    def test_leaving_after_a_promise(self) -> None:
        """A client that was told that its connection is kept may use it once more, though we began to leave since."""
        exchange = self.begin()
        exchange.respond(ResponseHead(200, b"", [], 2), None)
        self.factory.leave()
        exchange.write(b"ok")
        exchange.finish()
        self.assertFalse(self.wire.disconnecting)
        self.sent()
        answer(self.begin())
        self.assertIn(b"Connection: close\r\n", self.sent())

    def test_leaving(self) -> None:
        """A front that leaves tells its clients with the present answer, and closes those that are idle."""
        exchange = self.begin()
        self.factory.leave()
        self.assertFalse(self.connection.close_if_idle(self.clock.seconds()))
        answer(exchange)
        self.assertIn(b"Connection: close\r\n", self.sent())
        self.connect()
        self.factory.leave()
        self.clock.advance(3)
        self.assertFalse(self.connection.close_if_idle(-1))
        self.assertTrue(self.connection.close_if_idle(2))


class TimeoutTests(ConnectionCase):
    """How long we wait."""

    def test_slow_head(self) -> None:
        """A head that dribbles in is 408 after the limit, however often a byte of it comes (slow loris)."""
        for _ in range(31):
            self.connection.dataReceived(b"G" if not self.wire.value() else b"x")
            self.clock.advance(1)
            if self.wire.value():
                break
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 4"))

    def test_silent_body(self) -> None:
        """A body that stops coming is 408; one that comes slowly is not."""
        self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        body = Body()
        self.recorder.exchanges[0].receive(body)
        for _ in range(3):
            self.clock.pump([0.25] * 80)
            self.connection.dataReceived(b"x")
        self.assertIsNone(body.fault)
        self.clock.pump([0.25] * 121)
        assert body.fault is not None
        self.assertEqual(body.fault.status, 408)

    def test_waiting_is_not_the_clients_fault(self) -> None:
        """While the request waits for its answer, no limit of the client's runs."""
        self.connection.dataReceived(GET)
        self.clock.pump([1] * 500)
        self.assertFalse(self.wire.disconnecting)

    def test_idle(self) -> None:
        """A kept connection closes when it was idle for too long."""
        self.connection.dataReceived(GET)
        answer(self.recorder.exchanges[0])
        self.clock.pump([1] * 119)
        self.assertFalse(self.wire.disconnecting)
        self.clock.pump([0.25] * 6)
        self.assertEqual((self.wire.half_closed, self.wire.disconnecting), (True, False))
        self.connection.dataReceived(GET)
        self.assertEqual((len(self.recorder.exchanges), self.sent().count(b"HTTP/1.1")), (1, 1))
        self.clock.pump([1] * int(LINGER_S + 2))
        self.assertTrue(self.wire.disconnecting)

    def test_request_that_has_come(self) -> None:
        """A kept connection on which a request waits to be read is not idle, whatever the clock says."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.wire.fileno = ours.fileno  # type: ignore[attr-defined]
        theirs.send(b"x")
        self.clock.pump([1] * 300)
        self.assertFalse(self.connection.close_if_idle(200))
        self.assertEqual((self.wire.half_closed, self.wire.disconnecting), (False, False))
        ours.recv(1)
        self.clock.pump([1] * 3)
        self.assertTrue(self.wire.half_closed)

    def test_client_that_reads_nothing(self) -> None:
        """A client that takes nothing of its answer is cut; each sign of progress gives it another term."""
        self.connection.dataReceived(GET)
        self.recorder.exchanges[0].respond(ResponseHead(200, b"", []), None)
        self.connection.pauseProducing()
        self.wire.dataBuffer = b"x" * 100  # type: ignore[attr-defined]
        self.clock.pump([1] * 32)
        self.wire.dataBuffer = b"x" * 50  # type: ignore[attr-defined]
        self.clock.pump([1] * 32)
        self.assertFalse(self.wire.disconnected)
        self.clock.pump([1] * 32)
        self.assertTrue(self.wire.disconnected)
