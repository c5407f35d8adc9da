"""Our connection to a worker: what is sent, what is taken for an answer, and when it is used again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import UpstreamFault
from tqserver.http1.client import HTTPClientConnection
from tqserver.http1.head import RequestHead, ResponseHead
from tqserver.http1.idle import IDLE_MAX, IDLE_S, IdleConnections
from tqserver.http1.outbox import Outbox
from tqserver.http1.sweep import Sweep

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello"


class Answer:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.interim: list[ResponseHead] = []
        self.head: ResponseHead | None = None
        self.body = b""
        self.ended = False
        self.fault: UpstreamFault | None = None
        self.untouched: bool | None = None

    def response_interim(self, head: ResponseHead) -> None:
        self.interim.append(head)

    def response_head(self, head: ResponseHead, first: bytes) -> None:
        self.head = head
        self.body += first

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        self.head = head
        self.body += body
        self.ended = True

    def response_data(self, data: bytes) -> None:
        self.body += data

    def response_end(self) -> None:
        self.ended = True

    def response_late(self) -> None:
        raise AssertionError("nobody sets a deadline")

    def response_failed(self, fault: UpstreamFault, untouched: bool) -> None:
        self.fault = fault
        self.untouched = untouched


def request(method: bytes = b"GET", length: int | None = 0) -> RequestHead:
    """A request's head."""
    return RequestHead(method, b"/x", b"/x", None, [], content_length=length)


class ClientCase(SynchronousTestCase):
    """One connection on a fake wire."""

    def setUp(self) -> None:
        self.connect()

    def connect(self) -> None:
        """Open it."""
        self.idle: list[HTTPClientConnection] = []
        self.wire = StringTransport()
        self.connection = HTTPClientConnection(Outbox())
        self.connection.on_idle = self.idle.append
        self.connection.makeConnection(self.wire)

    def ask(self, method: bytes = b"GET", length: int | None = 0) -> Answer:
        """Send a request, and its end if it has no body."""
        answer = Answer()
        fields = [method, b" /x HTTP/1.1\r\n", b"host: a\r\n"]
        if length == 0:
            self.connection.ask(method, fields, answer)
        else:
            self.connection.request(request(method, length), fields, answer)
        return answer

    def sent(self) -> bytes:
        """What the worker got since the last look."""
        value = self.wire.value()
        self.wire.clear()
        return value


class ExchangeTests(ClientCase):
    """Good answers."""

    def test_request_on_the_wire(self) -> None:
        """A request is written in one piece, in its parsed form."""
        self.ask()
        self.assertEqual(self.sent(), b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n")

    def test_bodies_on_the_wire(self) -> None:
        """A body of known length is declared, one of unknown length chunked, an empty POST says so."""
        self.ask(b"POST", 2)
        self.connection.body_data(b"ok")
        self.connection.body_end()
        self.assertTrue(self.sent().endswith(b"content-length: 2\r\n\r\nok"))
        self.connect()
        self.ask(b"POST", None)
        self.connection.body_data(b"ok")
        self.connection.body_end()
        self.assertTrue(self.sent().endswith(b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
        self.connect()
        self.ask(b"POST", 0)
        self.assertIn(b"content-length: 0\r\n", self.sent())

    def test_answer(self) -> None:
        """An answer arrives without what frames it, spelled as the worker spelled it, and the connection is kept."""
        answer = self.ask()
        self.connection.dataReceived(OK)
        assert answer.head is not None
        self.assertEqual((answer.head.status, answer.head.headers), (200, [(b"X-Y", b"z")]))
        self.assertEqual((answer.head.content_length, answer.body, answer.ended), (5, b"hello", True))
        self.assertEqual(self.idle, [self.connection])

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(st.lists(st.integers(1, 200), max_size=12))
    def test_split_anywhere(self, cuts: list[int]) -> None:
        """However an answer's bytes are split, it is the same answer."""
        self.connect()
        answer = self.ask()
        stream = (
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
            b"HTTP/1.1 201 Created\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: X-Hop\r\nX-Hop: 1\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        )
        at = 0
        for cut in sorted(set(cuts)) + [len(stream)]:
            if at < cut:
                self.connection.dataReceived(stream[at:cut])
                at = cut
        assert answer.head is not None
        self.assertEqual([head.status for head in answer.interim], [103])
        self.assertEqual(answer.head.headers, [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")])
        self.assertEqual((answer.head.status, answer.body, answer.ended), (201, b"hello world", True))
        self.assertEqual(self.idle, [self.connection])

    def test_head(self) -> None:
        """The answer to a HEAD has a length and no body, and the next answer is read from its beginning."""
        answer = self.ask(b"HEAD")
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        assert answer.head is not None
        self.assertTrue(answer.ended)
        answer = self.ask()
        self.connection.dataReceived(OK)
        self.assertEqual((answer.body, answer.ended), (b"hello", True))

    def test_head_with_a_body(self) -> None:
        """A worker that sends a body with its answer to a HEAD has answered all the same, but is not asked again."""
        answer = self.ask(b"HEAD")
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        self.assertEqual((answer.ended, answer.body, answer.fault), (True, b"", None))
        self.assertTrue(self.wire.disconnected)
        self.assertEqual(self.idle, [])

    def test_garbage_after_an_answer(self) -> None:
        """Nor does garbage behind a whole answer spoil it."""
        answer = self.ask()
        self.connection.dataReceived(OK + b"\0garbage\r\n\r\n")
        self.assertEqual((answer.ended, answer.body, answer.fault), (True, b"hello", None))
        self.assertTrue(self.wire.disconnected)

    def test_until_close(self) -> None:
        """An answer without a length ends with its connection, if that ends well."""
        answer = self.ask()
        self.connection.dataReceived(b"HTTP/1.0 200 OK\r\n\r\nhel")
        self.connection.dataReceived(b"lo")
        self.connection.connectionLost(connectionDone)
        self.assertEqual((answer.body, answer.ended, answer.fault), (b"hello", True, None))
        self.assertEqual(self.idle, [])

    def test_until_reset(self) -> None:
        """A reset is no end: what was read so far is not passed for whole."""
        answer = self.ask()
        self.connection.dataReceived(b"HTTP/1.0 200 OK\r\n\r\nhel")
        self.connection.connectionLost(Failure(ConnectionLost()))
        self.assertFalse(answer.ended)
        self.assertIsNotNone(answer.fault)

    def test_worker_closes(self) -> None:
        """A worker that says it closes is not given another request."""
        answer = self.ask()
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(answer.ended)
        self.assertEqual(self.idle, [])
        self.assertTrue(self.wire.disconnected)

    def test_answer_before_the_request_was_whole(self) -> None:
        """An early refusal of an upload is passed on; the connection is not used again."""
        answer = self.ask(b"POST", 100)
        self.connection.body_data(b"x")
        self.connection.dataReceived(OK)
        self.assertTrue(answer.ended)
        self.assertEqual(self.idle, [])


class FaultTests(ClientCase):
    """Answers that are none."""

    def test_malformed(self) -> None:
        """A malformed answer is a fault, and never an exception of another kind."""
        for reply in [
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 42 No\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        ]:
            self.connect()
            answer = self.ask()
            self.connection.dataReceived(reply)
            self.assertIsNotNone(answer.fault, reply[:60])
            self.assertIs(answer.untouched, False)
            self.assertTrue(self.wire.disconnected)

    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4), st.booleans())
    def test_garbage(self, pieces: list[bytes], after_a_start: bool) -> None:
        """Garbage is a fault or not yet an answer; never a traceback."""
        self.connect()
        answer = self.ask()
        for piece in ([b"HTTP/1.1 200 OK\r\n"] if after_a_start else []) + pieces:
            if not self.wire.disconnected:
                self.connection.dataReceived(piece)
        self.connection.connectionLost(connectionDone)
        self.assertTrue(answer.ended or answer.fault is not None)

    def test_more_than_was_asked(self) -> None:
        """What follows an answer is not taken for the next one (response splitting)."""
        answer = self.ask()
        self.connection.dataReceived(OK + OK)
        self.assertEqual(answer.body, b"hello")
        self.assertTrue(self.wire.disconnected)
        self.assertEqual(self.idle, [])

    def test_unasked(self) -> None:
        """A worker that speaks unasked is not listened to."""
        self.ask()
        self.connection.dataReceived(OK)
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertTrue(self.wire.disconnected)
        self.assertFalse(self.connection.reusable)

    def test_untouched(self) -> None:
        """It is told apart whether anything was answered before the connection broke."""
        answer = self.ask()
        self.connection.connectionLost(connectionDone)
        self.assertIs(answer.untouched, True)
        self.connect()
        answer = self.ask()
        self.connection.dataReceived(b"HTTP/1.1 2")
        self.connection.connectionLost(connectionDone)
        self.assertIs(answer.untouched, False)

    def test_cut_in_the_middle(self) -> None:
        """A worker that dies in the middle of a body has not answered."""
        answer = self.ask()
        self.connection.dataReceived(OK[:-1])
        self.connection.connectionLost(connectionDone)
        self.assertFalse(answer.ended)
        self.assertIsNotNone(answer.fault)


class IdleTests(SynchronousTestCase):
    """Kept connections."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.idle = IdleConnections(self.sweep)

    def make(self) -> HTTPClientConnection:
        """An open connection that the sweep looks after."""
        connection = HTTPClientConnection(Outbox())
        connection.makeConnection(StringTransport())
        connection.on_lost = self.idle.discard
        self.sweep.add(connection)
        return connection

    def test_freshest_first(self) -> None:
        """The connection that was used last is used next."""
        first, second = self.make(), self.make()
        self.idle.put(first)
        self.idle.put(second)
        self.assertIs(self.idle.take(), second)
        self.assertIs(self.idle.take(), first)
        self.assertIsNone(self.idle.take())

    def test_old_ones_close(self) -> None:
        """A connection that nobody wanted is closed before the worker closes it; one that was taken is not."""
        old, taken = self.make(), self.make()
        self.idle.put(old)
        self.idle.put(taken)
        self.idle.take()
        self.clock.pump([0.25] * int(IDLE_S * 4 + 2))
        self.assertIsNone(self.idle.take())
        self.assertFalse(old.reusable)
        self.assertTrue(taken.reusable)

    def test_bounded(self) -> None:
        """No more than the limit is kept."""
        for _ in range(IDLE_MAX + 3):
            self.idle.put(self.make())
        self.assertEqual(len(self.idle), IDLE_MAX)
