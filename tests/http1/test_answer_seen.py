"""Heads of answers that were read before: nobody can tell but by the time that it takes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http1.test_client import ClientCase
from tests.http1.test_server import ConnectionCase
from tqserver.http1.answer_seen import HEAD_BYTES_REMEMBERED_MAX, HEADS, HEADS_REMEMBERED_MAX, RECURRING
from tqserver.http1.head import Headers, ResponseHead, has_body

LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 ",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 426 Upgrade Required",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.1 103 Early Hints",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1  200 OK",
        b"HTTP/2.0 200 OK",
    ]
)

FIELD_LINES = st.sampled_from(
    [
        b"Content-Length: 2",
        b"content-length: 2 ",
        b"Content-Length: 0",
        b"Content-Length: 3",
        b"Content-Length: -2",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: x-secret",
        b"X-Secret: y",
        b"Keep-Alive: timeout=5",
        b"Upgrade: websocket",
        b"Date: Wed, 25 Nov 2026 01:00:00 GMT",
        b"Set-Cookie: a=b",
        b" folded",
        b"Bad Name: x",
    ]
)

BODIES = st.sampled_from([b"", b"ok", b"okHTTP/1.1 200 OK\r\n\r\n", b"\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n", b"ok!"])


def forget() -> None:
    """Nothing has come before."""
    HEADS.clear()
    RECURRING.forget()


class SeenTests(ClientCase):
    """The second answer with the same head."""

    def outcome(self, method: bytes, data: bytes, size: int) -> tuple[object, ...]:
        """What becomes of an answer on a new connection."""
        self.connect()
        answer = self.ask(method)
        for piece in (data[:size], data[size:]):
            if piece:
                self.connection.dataReceived(piece)
        head = answer.head and (answer.head.status, answer.head.reason, answer.head.headers, answer.head.content_length)
        fault = answer.fault and (str(answer.fault), answer.fault.detail)
        told = head, answer.body, answer.ended, fault, answer.untouched, len(answer.interim)
        return (*told, len(self.idle), self.connection.reusable, self.wire.disconnected)

    @given(
        LINES,
        st.lists(FIELD_LINES, max_size=4),
        BODIES,
        st.sampled_from([b"GET", b"HEAD", b"POST"]),
        st.integers(0, 100),
    )
    @settings(deadline=None, max_examples=400)
    def test_no_difference(self, line: bytes, fields: list[bytes], body: bytes, method: bytes, size: int) -> None:
        """Whatever a worker answers, it is taken as it would be if nothing with this head had come before."""
        head = line + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"
        forget()
        expected = self.outcome(method, head + body, size)
        forget()
        for warmth in 2 * [b"", b"ok", b"xyz", body]:
            self.outcome(b"GET", head + warmth, len(head + warmth))
        self.assertEqual(self.outcome(method, head + body, size), expected)

    def test_used(self) -> None:
        """The same head is one object, and the connection is used again."""
        forget()
        answers = []
        for body in (b"an", b"ok", b"no", b"so"):
            answers.append(self.ask())
            self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Y: z\r\n\r\n" + body)
        _, first, second, third = (answer.head for answer in answers)
        self.assertIs(first, second)
        self.assertIs(second, third)
        self.assertEqual([answer.body for answer in answers], [b"an", b"ok", b"no", b"so"])
        self.assertEqual((len(self.idle), self.connection.reusable), (4, True))
        assert first is not None
        self.assertEqual(first.written, b"HTTP/1.1 200 OK\r\nX-Y: z\r\nContent-Length: 2\r\n")

    def test_more_than_the_answer(self) -> None:
        """What follows a whole answer ends the connection, known or not."""
        for _ in range(3):
            self.connect()
            answer = self.ask()
            self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!")
            self.assertEqual((answer.body, self.connection.reusable), (b"ok", False))

    def test_bounded(self) -> None:
        """However many different heads come, and however long they are, memory does not grow."""
        forget()
        for number in range(2 * HEADS_REMEMBERED_MAX + 6):
            self.ask()
            self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: %d\r\n\r\nok" % (number // 2))
        self.assertEqual(len(HEADS), 3)
        long = HEAD_BYTES_REMEMBERED_MAX * b"x"
        for _ in range(2):
            self.ask()
            self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: %b\r\n\r\nok" % long)
        self.assertEqual(len(HEADS), 3)


class WrittenTests(ConnectionCase):
    """An answer whose head is written already."""

    def answered(self, head: ResponseHead, request: bytes, added: Headers, leaving: bool) -> tuple[object, ...]:
        """What a client gets, line by line, and whether its connection stays."""
        self.connect()
        self.connection.leaving = leaving
        self.connection.dataReceived(request)
        exchange = self.recorder.exchanges[-1]
        exchange.response_headers = added
        exchange.answer(head, b"ok")
        lines, _, body = self.sent().partition(b"\r\n\r\n")
        # Our own date is another one when a second has passed.
        first, *fields = (b"Date" if line.startswith(b"Date: ") else line for line in lines.split(b"\r\n"))
        return first, sorted(fields), body, exchange.status, exchange.sent_bytes, self.wire.disconnecting

    @given(
        st.sampled_from([b"GET", b"HEAD", b"POST"]),
        st.sampled_from([b"1.1", b"1.0"]),
        st.sampled_from([b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n"]),
        st.sampled_from([b"", b"Expect: 100-continue\r\nContent-Length: 1\r\n"]),
        st.sampled_from([[], [(b"date", b"today")], [(b"X-Y", b"z"), (b"X-Y", b"")]]),
        st.sampled_from([[], [(b"Set-Cookie", b"a=b")]]),
        st.sampled_from([200, 204, 304, 404, 599]),
        st.booleans(),
    )
    @settings(deadline=None, max_examples=200)
    def test_no_difference(
        self,
        method: bytes,
        version: bytes,
        connection: bytes,
        expect: bytes,
        headers: Headers,
        added: Headers,
        status: int,
        leaving: bool,
    ) -> None:
        """Clients get the same, in whatever order of fields."""
        request = b"%b / HTTP/%b\r\nHost: a.test\r\n%b%b\r\n" % (method, version, connection, expect)
        length = 2 if has_body(status, b"GET") else None
        plain, written = (ResponseHead(status, b"", headers, length) for _ in range(2))
        if length is not None:
            written.write()
        expected = self.answered(plain, request, added, leaving)
        self.assertEqual(self.answered(written, request, added, leaving), expected)
