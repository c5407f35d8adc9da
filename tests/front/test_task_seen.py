"""Tests of L{tqserver.front.task_seen}, and of connections that read by it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.http1.test_server import Wire
from tqserver.errors import Fault
from tqserver.front import task_seen
from tqserver.front.forwarded import PEER, Forwarding
from tqserver.front.private import PrivateFactory
from tqserver.front.task_seen import BEGINNINGS_REMEMBERED_MAX, TaskHead
from tqserver.http1.exchange import ServerExchange
from tqserver.http1.factory import HTTPServerFactory, ServerSettings
from tqserver.http1.head import RequestHead, ResponseHead
from tqserver.http1.server import HTTPServerConnection
from tqserver.http1.sweep import Sweep

BEGINNING = b"POST /w/jobs?x=1 HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\nx-task-queue: jobs\r\n"

OK = ResponseHead(200, b"", [], 2)


def task(
    name: bytes = b"t1",
    body: bytes = b"hello",
    beginning: bytes = BEGINNING,
    attempt: int = 1,
    size: int | None = None,
    rest: bytes = b"",
) -> bytes:
    """A task as a queue sends it."""
    told = b"x-task-id: %b\r\nx-request-id: %b\r\nx-task-attempt: %d\r\n" % (name, name, attempt)
    framing = b"content-length: %d\r\n\r\n" % (len(body) if size is None else size)
    return beginning + told + rest + framing + body


class Observer:
    """Answers everything, and remembers it."""

    def __init__(self) -> None:
        self.exchanges: list[ServerExchange] = []
        self.bodies: list[bytes] = []

    def body_data(self, data: bytes) -> None:
        self.bodies[-1] += data

    def body_end(self) -> None:
        self.exchanges[-1].answer(OK, b"ok")

    def body_failed(self, fault: Fault) -> None:
        self.exchanges[-1].answer(ResponseHead(413, b"", [], 0), b"")

    def serve(self, exchange: ServerExchange) -> None:
        self.exchanges.append(exchange)
        self.bodies.append(b"")
        exchange.receive(self)

    def refuse(self, fault: Fault, connection: HTTPServerConnection) -> tuple[ResponseHead, bytes]:
        return ResponseHead(400, b"", [], 0), b""


FIELDS = ("method", "target", "path", "query", "headers", "host", "version", "content_length", "keep_alive", "upgrade")


def meaning(head: RequestHead) -> list[object]:
    """What a head says."""
    return [getattr(head, name) for name in (*FIELDS, "expect_continue")]


def told(head: RequestHead, prefix: bytes = b"/w") -> tuple[str, str, list[bytes]]:
    """What a worker is told, but for the trace, and who the client is said to be."""
    made = Forwarding((), lambda size: b"\1" * size)
    request_id, client = made.identify(head, PEER)
    for _ in range(2):
        lines = b"".join(made.lines(head, PEER, b"http", prefix, request_id)).split(b"\r\n")
    return request_id, client, sorted(lines)


class Line:
    """A connection of a queue to a front."""

    def __init__(self, body_bytes_max: int = 0, header_bytes_max: int = 16384) -> None:
        self.observer = Observer()
        clock = Clock()
        settings = ServerSettings(body_bytes_max=body_bytes_max, header_bytes_max=header_bytes_max)
        http = HTTPServerFactory(clock, self.observer, settings, Sweep(clock))
        self.connection: HTTPServerConnection = self.make(http)
        self.wire = Wire()
        self.connection.makeConnection(self.wire)

    def make(self, http: HTTPServerFactory) -> HTTPServerConnection:
        return PrivateFactory(http).buildProtocol(None)

    def send(self, *pieces: bytes) -> bytes:
        """Send something; what is answered."""
        self.wire.clear()
        for data in pieces:
            self.connection.dataReceived(data)
        return self.wire.value()

    @property
    def heads(self) -> list[RequestHead]:
        """Of all requests."""
        return [exchange.head for exchange in self.observer.exchanges]

    @property
    def seen(self) -> list[bool]:
        """Which of them were read in the short way."""
        return [type(head) is TaskHead for head in self.heads]


class Plain(Line):
    """The same, by somebody who remembers nothing."""

    def make(self, http: HTTPServerFactory) -> HTTPServerConnection:
        connection = HTTPServerConnection()
        connection.factory = http
        return connection


class SeenTests(SynchronousTestCase):
    """Tasks that come one after the other."""

    def setUp(self) -> None:
        task_seen._beginnings.clear()
        self.addCleanup(task_seen._beginnings.clear)

    def same(self, *pieces: bytes, **limits: int) -> Line:
        """Have somebody who remembers and somebody who does not read the same; they must agree."""
        task_seen._beginnings.clear()
        line, plain = Line(**limits), Plain(**limits)
        self.assertEqual(line.send(*pieces), plain.send(*pieces))
        self.assertEqual([meaning(head) for head in line.heads], [meaning(head) for head in plain.heads])
        self.assertEqual(line.observer.bodies, plain.observer.bodies)
        for one, other in zip(line.heads, plain.heads, strict=True):
            self.assertEqual(told(one), told(other))
        return line

    def test_same(self) -> None:
        """The second task is read in a shorter way, with and without a body, and nothing about it is different."""
        line = self.same(task(), task(b"t2", b"other"), task(b"t3", b"", attempt=3), task(b"t4", b"x" * 70_000))
        self.assertEqual(line.seen, [False, True, True, True])
        self.assertEqual(line.observer.bodies[1:3], [b"other", b""])
        self.assertEqual(told(line.heads[2])[:2], ("t3", ""))

    def test_told_by_prefix(self) -> None:
        """A worker that is mounted elsewhere is told so."""
        line, plain = Line(), Plain()
        for each in (line, plain):
            each.send(task(), task(b"t2"))
        made = Forwarding((), lambda size: b"\1" * size)
        for prefix in (b"/w", b"/v", b"/w"):
            lines = b"".join(made.lines(line.heads[1], PEER, b"http", prefix, "t2"))
            self.assertEqual(sorted(lines.split(b"\r\n")), told(plain.heads[1], prefix)[2])

    def test_pieces(self) -> None:
        """What does not come in one piece is put together as ever."""
        whole = task(b"t2", b"body")
        for cut in range(1, len(whole)):
            line = self.same(task(), whole[:cut], whole[cut:], task(b"t3"))
            self.assertEqual(line.seen, [False, False, True], cut)

    def test_ahead(self) -> None:
        """Two in one piece are two."""
        self.same(task(), task(b"t2") + task(b"t3"), task(b"t4"))

    def test_longer_and_shorter(self) -> None:
        """What is more or less than the body that was announced is not taken for it."""
        for size in (0, 3, 7, 999_999_999, 9_999_999_999):
            self.same(task(), task(b"t2", b"hello", size=size))

    def test_limits(self) -> None:
        """Limits hold for tasks that begin like others."""
        line = self.same(task(), task(b"t2", b"x" * 11), body_bytes_max=10)
        self.assertIn(b"HTTP/1.1 413 ", line.wire.value())
        self.same(task(), task(b"n" * 128), header_bytes_max=400)

    def test_not_usual(self) -> None:
        """What says more than usual tasks do is read to the end, each time."""
        for field in (
            b"x-forwarded-for: 192.0.2.7\r\n",
            b"x-correlation-id: c\r\n",
            b"connection: keep-alive, x-task-queue\r\n",
            b"x-task-id: t0\r\n",
            b"content-length: 5\r\n",
        ):
            line = self.same(task(beginning=BEGINNING + field), task(b"t2", beginning=BEGINNING + field))
            self.assertNotIn(True, line.seen, field)
            line = self.same(task(), task(rest=field), task(rest=field))
            self.assertNotIn(True, line.seen, field)

    def test_trace(self) -> None:
        """A trace goes on."""
        parent = b"00-%b-%b-01" % (b"1" * 32, b"2" * 16)
        begun = BEGINNING + b"traceparent: " + parent + b"\r\n"
        line = self.same(task(beginning=begun), task(b"t2", beginning=begun))
        self.assertIn(b"traceparent: " + parent, told(line.heads[1])[2])

    def test_mark_in_the_body(self) -> None:
        """What looks like a task within a body is none, whoever wrote it there."""
        begun = b"POST /w HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n\r\n"
        body = task(beginning=b"")
        data = begun.replace(b"9999", b"%d" % (len(body) + 2)) + b"\r\n" + body
        line = self.same(data, data, task())
        self.assertEqual(line.seen, [False] * 3)

    def test_few_are_remembered(self) -> None:
        """Many queues fill what is remembered, and no more."""
        line = Line()
        for number in range(BEGINNINGS_REMEMBERED_MAX + 5):
            line.send(task(beginning=BEGINNING + b"x-n: %d\r\n" % number))
        self.assertLessEqual(len(task_seen._beginnings), BEGINNINGS_REMEMBERED_MAX)
        task_seen._beginnings.clear()
        line.send(task(beginning=BEGINNING + b"x-n: %b\r\n" % (b"n" * 3000)))
        self.assertEqual(task_seen._beginnings, {})

    @given(
        st.integers(0, len(task())),
        st.sampled_from([b"", b"\r\n", b" ", b"\0", b"x", b"1", b"\r\n\r\n", b"x-task-id: t9\r\n", b":"]),
        st.integers(0, 4),
    )
    def test_anything(self, at: int, inserted: bytes, removed: int) -> None:
        """Whatever is wrong with a task, it is wrong for who remembers others, too."""
        data = task(b"t2")
        self.same(task(), data[:at] + inserted + data[at + removed :])
