"""Fields of requests that were read before: nobody can tell but by the time that it takes."""

from __future__ import annotations

import re

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http1.test_server import ConnectionCase
from tqserver.http1.head import RequestHead, ResponseHead
from tqserver.http1.request_seen import (
    FIELDS,
    FIELDS_BEFORE_BODY,
    FIELDS_BYTES_REMEMBERED_MAX,
    FIELDS_REMEMBERED_MAX,
    RECURRING,
    RECURRING_BEFORE_BODY,
)

OK = ResponseHead(200, b"OK", [(b"Date", b"now")], 2)

LINES = st.builds(
    lambda method, target, version: b"%b %b HTTP/%b" % (method, target, version),
    st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"DELETE", b"CONNECT", b"TRACE", b"BREW", b"PRI", b"LINK"]),
    st.sampled_from(
        [b"/", b"/a?b=c", b"/%41", b"/%zz", b"/a\\b", b'/a?"', b"*", b"http://b.test/x", b"b.test:1", b"a"]
    ),
    st.sampled_from([b"1.1", b"1.1", b"1.0"]),
)

FIELD_LINES = st.sampled_from(
    [
        b"Host: a.test",
        b"host:  a.test \t",
        b"Host: b.test",
        b"Host: a,b",
        b"Host:",
        b"User-Agent: x",
        b"Cookie: a=b; c=d",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: upgrade",
        b"Connection: upgrade, close",
        b"Proxy-Connection: close",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Content-Length: 0",
        b"Content-Length: 1",
        b"Content-Length: 3",
        b"Content-Length: +0",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Range: bytes=0-1",
        b"Bad Name: x",
        b"No-Colon",
        b" folded",
        b"Empty:",
        b"Nul: \x00",
        b"Latin: \xe4",
    ]
)


BEHIND = st.sampled_from([b"", b"", b"a", b"abc", b"abcGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", b"\r\n"])


def described(head: RequestHead) -> tuple[object, ...]:
    """All that a head says, but how it was read."""
    return tuple(getattr(head, name) for name in RequestHead.__slots__ if name not in ("fields", "__weakref__"))


def forget() -> None:
    """Nothing has come before."""
    for fields, recurring in ((FIELDS, RECURRING), (FIELDS_BEFORE_BODY, RECURRING_BEFORE_BODY)):
        fields.clear()
        recurring.forget()


class SeenTests(ConnectionCase):
    """The second request with the same fields."""

    def outcome(self, data: bytes) -> tuple[object, ...]:
        """What becomes of a request on a new connection, and of its answer."""
        self.connect()
        self.connection.dataReceived(data)
        heads = [
            (described(exchange.head), exchange._body, exchange.body_whole) for exchange in self.recorder.exchanges
        ]
        for exchange in self.recorder.exchanges:
            exchange.answer(OK, b"ok")
        faults = [(fault.status, str(fault)) for fault in self.recorder.faults]
        sent = re.sub(rb"Date: [^\r]*", b"", self.sent())
        return heads, faults, sent, self.wire.disconnecting, self.wire.half_closed

    @given(LINES, LINES, st.lists(FIELD_LINES, max_size=5), BEHIND)
    @settings(deadline=None, max_examples=400)
    def test_no_difference(self, first: bytes, second: bytes, fields: list[bytes], behind: bytes) -> None:
        """
        Whatever a request says and is followed by, it is taken as it would be if nothing with its fields had come
        before.
        """
        rest = b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + behind
        forget()
        expected = self.outcome(second + rest)
        forget()
        for line in 2 * [first, b"GET / HTTP/1.1", b"GET / HTTP/1.0"]:
            self.outcome(line + rest)
        self.assertEqual(self.outcome(second + rest), expected)

    @given(st.lists(st.tuples(LINES, st.lists(FIELD_LINES, max_size=3)), min_size=2, max_size=4), st.booleans())
    @settings(deadline=None, max_examples=300)
    def test_no_difference_for_the_next(self, requests: list[tuple[bytes, list[bytes]]], at_once: bool) -> None:
        """Nor is what comes after it on the same connection taken differently."""
        host = b"Host: a.test\r\n"
        heads = [
            line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n" for line, fields in requests
        ]
        pieces = [b"".join(heads)] if at_once else heads
        forget()
        expected = self.outcomes(pieces)
        forget()
        for head in heads:
            for _ in range(2):
                self.outcome(head)
        self.assertEqual(self.outcomes(pieces), expected)

    def outcomes(self, pieces: list[bytes]) -> tuple[object, ...]:
        """What becomes of what comes on one connection, each request answered before the next."""
        self.connect()
        heads = []
        for piece in pieces:
            self.connection.dataReceived(piece)
            while self.recorder.exchanges:
                exchange = self.recorder.exchanges.pop(0)
                heads.append(described(exchange.head))
                if not exchange.over:
                    exchange.answer(OK, b"ok")
        faults = [(fault.status, str(fault)) for fault in self.recorder.faults]
        sent = re.sub(rb"Date: [^\r]*", b"", self.sent())
        return heads, faults, sent, self.wire.disconnecting, self.wire.half_closed

    def test_used(self) -> None:
        """The same fields are one object, whose meaning is one object, too, for requests of any line."""
        forget()
        rest = b" HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\n\r\n"
        for line in (b"GET /", b"GET /a", b"HEAD /b?c", b"DELETE /d"):
            self.connection.dataReceived(line + rest)
            self.recorder.exchanges[-1].answer(OK, b"ok")
        _, first, second, third = (exchange.head for exchange in self.recorder.exchanges)
        self.assertEqual((first.fields, second.path, second.query, third.method), (b"", b"/b", b"c", b"DELETE"))
        self.assertIs(second.fields, third.fields)
        self.assertIs(second.headers, first.headers)

    def test_a_parser_only_if_needed(self) -> None:
        """A connection whose fields are all known never has a parser."""
        for _ in range(3):
            self.connect()
            self.connection.dataReceived(b"GET / HTTP/1.1\r\nHost: parser.test\r\n\r\n")
        self.assertIsNone(self.connection._parser)
        self.recorder.exchanges[-1].answer(OK, b"ok")
        for _ in range(2):
            self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: parser.test\r\nContent-Length: 2\r\n\r\nhi")
            self.recorder.exchanges[-1].answer(OK, b"ok")
            self.assertEqual(self.recorder.exchanges[-1].head.content_length, 2)
        self.assertIsNotNone(self.connection._parser)
        self.connect()
        for piece in (b"POST / HTTP/1.1\r\nHost: parser.test\r\nContent-Length: 2\r\n\r\nh", b"i"):
            self.connection.dataReceived(piece)
        self.assertIsNone(self.connection._parser)
        self.assertEqual(self.recorder.exchanges[-1]._body, [b"h", b"i"])

    def test_too_large_by_now(self) -> None:
        """The fields of a body are known, but it is larger than a body may be at this listener: it is refused."""
        request = b"POST / HTTP/1.1\r\nHost: limit.test\r\nContent-Length: 2\r\n\r\nhi"
        for _ in range(3):
            self.connection.dataReceived(request)
            self.recorder.exchanges[-1].answer(OK, b"ok")
        self.factory.settings = evolve(self.factory.settings, body_bytes_max=1)
        self.connection.dataReceived(request)
        fault = self.recorder.exchanges[-1].body_fault
        self.assertEqual(fault and fault.status, 413)

    def test_pipelined(self) -> None:
        """Requests that come together, or while another is served, wait for their turn."""
        request = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
        self.connection.dataReceived(request)
        self.connection.dataReceived(request)
        self.connection.dataReceived(request * 2)
        for count in (1, 2, 3, 4):
            self.assertEqual(len(self.recorder.exchanges), count)
            self.recorder.exchanges[-1].answer(OK, b"ok")

    def test_bounded(self) -> None:
        """However many different fields come, and however long they are, memory does not grow."""
        forget()
        for number in range(2 * FIELDS_REMEMBERED_MAX + 6):
            self.connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a.test\r\nX: %d\r\n\r\n" % (number // 2))
            self.recorder.exchanges.pop().answer(OK, b"ok")
        self.assertEqual(len(FIELDS), 3)
        long = FIELDS_BYTES_REMEMBERED_MAX * b"x"
        for _ in range(2):
            self.connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a.test\r\nX: %b\r\n\r\n" % long)
            self.recorder.exchanges.pop().answer(OK, b"ok")
        self.assertEqual(len(FIELDS), 3)

    def test_about_one_request(self) -> None:
        """What is said of one request alone is not kept for others."""
        forget()
        for field in 2 * [b"traceparent: 00-1-1-01", b"If-None-Match: a", b"X-Request-ID: 1", b"Content-Length: 0"]:
            self.connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a.test\r\n%b\r\n\r\n" % field)
            self.recorder.exchanges.pop().answer(OK, b"ok")
        self.assertEqual(FIELDS, {})
