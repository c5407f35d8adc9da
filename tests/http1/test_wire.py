"""Where requests begin and end, in any split of their bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ClientFault
from tqserver.http1.wire import RequestWire

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH = b"POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\r\n\r"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\nT: t\r\n\r\n"
UPGRADE = b"GET /u HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
UPGRADE_BODY = b"GET /b HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\n\r\n"

HEAD_BYTES_MAX = 1024


class Recorded(RequestWire):
    """Keeps what is read: targets, and bodies where there are any."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes | tuple[bytes, bytes]] = []
        self.sizes: list[int] = []
        self._url = b""
        self._body: bytes | None = None
        self._framing: tuple[bytes, bytes] = (b"", b"")

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name in (b"Content-Length", b"Transfer-Encoding"):
            self._framing = (name, value)

    def on_headers_complete(self) -> None:
        url, self._url = self._url, b""
        framing, self._framing = self._framing, (b"", b"")
        self.sizes.append(self._head_bytes)
        if url == b"/stop":
            self._refuse_all(ClientFault("Stop."))
            return
        self.seen.append(url)
        if framing[0] == b"Content-Length":
            self._expect(int(framing[1]))
        elif framing[0]:
            self._expect(None, HEAD_BYTES_MAX)

    def _body_data(self, data: bytes) -> None:
        assert data
        if data == b"no":
            raise ClientFault("No.", status=413)
        self._body = (self._body or b"") + data

    def _body_end(self) -> None:
        url = self.seen.pop()
        assert isinstance(url, bytes)
        self.seen.append((url, self._body or b""))
        self._body = None

    def feed(self, data: bytes, sizes: list[int]) -> None:
        """Give the bytes in segments of these sizes, the last of which is repeated."""
        at = 0
        last = len(data)
        for last in sizes:
            if at < len(data):
                self.take(data[at : at + last])
            at += last
        while at < len(data):
            self.take(data[at : at + last])
            at += last

    def take(self, data: bytes) -> None:
        """Give some bytes in one segment; a fault is raised."""
        self._read(data, HEAD_BYTES_MAX)
        if self._fault is not None:
            raise self._fault


PARTS = [
    (GET, b"/a"),
    (b"\r\n" + GET, b"/a"),
    (LENGTH, (b"/l", b"ab\r\n\r")),
    (CHUNKED, (b"/c", b"\r\n\r\n")),
    (UPGRADE, b"/u"),
    (UPGRADE_BODY, (b"/b", b"\r\n")),
    (b"POST /z HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", (b"/z", b"")),
]


class ReaderTests(SynchronousTestCase):
    """One client's bytes."""

    def refused(self, status: int, data: bytes, before: int = 0) -> None:
        """Check that bytes are refused, however they come, after so many good requests."""
        for sizes in ([len(data)], [1], [2], [3], [7], [max(len(data) - 1, 1)], [len(data) // 2 + 1]):
            recorded = Recorded()
            with self.assertRaises(ClientFault) as caught:
                recorded.feed(data, sizes)
                self.fail(f"{data!r} by {sizes}")
            self.assertEqual((caught.exception.status, len(recorded.seen)), (status, before), (data, sizes))
            recorded._read(GET, HEAD_BYTES_MAX)
            self.assertEqual(len(recorded.seen), before, "something is read after a fault")

    def test_every_cut(self) -> None:
        """Requests with and without bodies, cut in two at every byte."""
        data = b"".join(part for part, _ in PARTS if not part.endswith(b"0\r\n\r\n") or part is CHUNKED)
        expected = [seen for part, seen in PARTS if not part.endswith(b"0\r\n\r\n") or part is CHUNKED]
        for at in range(1, len(data)):
            recorded = Recorded()
            recorded.feed(data, [at, len(data)])
            self.assertEqual(recorded.seen, expected, at)
            self.assertFalse(recorded._head_begun)

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(
        st.lists(st.sampled_from([part for part in PARTS if part[1] != (b"/z", b"")]), min_size=1, max_size=6),
        st.lists(st.integers(1, 90), min_size=1, max_size=30),
    )
    def test_any_split(self, parts: list[tuple[bytes, bytes | tuple[bytes, bytes]]], sizes: list[int]) -> None:
        """Any requests in any segments."""
        recorded = Recorded()
        recorded.feed(b"".join(part for part, _ in parts), sizes)
        self.assertEqual(recorded.seen, [seen for _, seen in parts])

    def test_begun(self) -> None:
        """Whether some of a head has come is known at every byte."""
        recorded = Recorded()
        self.assertFalse(recorded._head_begun)
        size = LENGTH.index(b"\r\n\r\n") + 4
        for _ in range(2):
            for at in range(len(LENGTH)):
                recorded.take(LENGTH[at : at + 1])
                self.assertEqual(recorded._head_begun, at + 1 < size, at)
            recorded.take(b"\r\n")
            self.assertFalse(recorded._head_begun, "an empty line is nothing")

    def test_request_lines(self) -> None:
        """One space between method, target and version, and nothing else (RFC 9112 section 3)."""
        fields = b"\r\nHost: a\r\n\r\n"
        for line in (
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b" GET / HTTP/1.1",
            b"GET\t/ HTTP/1.1",
            b"GET / a HTTP/1.1",
            b"GET /\x00 HTTP/1.1",
            b"GET /\xc3 HTTP/1.1",
            b"GET / RTSP/1.0",
            b"SOURCE / ICE/1.0",
            b"GET / http/1.1",
            b"GET / HTTP/1,1",
            b"GET / HTTP/1",
            b"GET / HTTP/1.10",
            b"GET / HTTP/11.1",
            b"GET /",
            b"GET",
            b"G(T / HTTP/1.1",
            b"\x16\x03\x01\x02\x00\x01",
        ):
            self.refused(400, line + fields)
            self.refused(400, GET + line + fields, 1)
            self.refused(400, LENGTH + line + fields, 1)
            self.refused(400, CHUNKED + line + fields, 1)
            self.refused(400, UPGRADE + line + fields, 1)
        for line in (b"GET / HTTP/2.0", b"GET / HTTP/1.2", b"GET / HTTP/0.9", b"PRI * HTTP/2.0", b"X / HTTP/3.0"):
            self.refused(505, line + fields)
        for line in (b"get / HTTP/1.1", b"BREW / HTTP/1.1", b"DESCRIBE / HTTP/1.1", b"X" * 33 + b" / HTTP/1.1"):
            self.refused(501, line + fields)

    def test_line_ends(self) -> None:
        """One empty line may come before a request; no other end of a line but CRLF is one."""
        for data in (
            b"\r\n\r\n" + GET,
            b"\n" + GET,
            b"\r" + GET,
            b"\n\r" + GET,
            b"\r\r\n" + GET,
            GET.replace(b"\r\n", b"\n"),
            GET.replace(b"\r\n", b"\r"),
            GET.replace(b"\r\n", b"\n\r"),
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\nX",
            b"GET / HTTP/1.1\r\nHost: a\r\n\rX",
        ):
            self.refused(400, data)

    def test_hopeless(self) -> None:
        """What will never be a request is refused before its line has an end."""
        for status, data in (
            (400, b"\x16\x03"),
            (400, b"GET / HTTP/1.1\nHost"),
            (400, b"GET /\x00"),
            (400, b" "),
            (501, b"A" * 33),
            (414, b"GET /" + b"a" * HEAD_BYTES_MAX),
        ):
            self.refused(status, data)

    def test_sizes(self) -> None:
        """A head has a limit, and half of it is that of the request line; no matter what else has come."""
        line = b"GET /" + b"a" * 600 + b" HTTP/1.1\r\n"
        self.refused(414, line + b"Host: a\r\n\r\n")
        for before, count in ((b"", 0), (GET, 1), (CHUNKED, 1)):
            self.refused(431, before + b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", count)
            self.refused(431, before + b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * HEAD_BYTES_MAX, count)
        recorded = Recorded()
        large = b"GET / HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES_MAX - 23) + b"\r\n\r\n"
        recorded.feed(large + GET + large, [100])
        self.assertEqual(recorded.seen, [b"/", b"/a", b"/"])
        self.assertEqual(recorded.sizes, [HEAD_BYTES_MAX, len(GET), HEAD_BYTES_MAX])

    def test_stopped(self) -> None:
        """When a head was refused by whoever takes it, or a body, nothing more is read."""
        for bad, seen in (
            (b"GET /stop HTTP/1.1\r\nHost: a\r\n\r\n", [b"/a"]),
            (b"PUT /no HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nno", [b"/a", b"/no"]),
        ):
            recorded = Recorded()
            recorded._read(GET + bad + GET, HEAD_BYTES_MAX)
            recorded._read(GET, HEAD_BYTES_MAX)
            self.assertEqual(recorded.seen, seen)
            self.assertIsNotNone(recorded._fault)

    def test_our_mistake(self) -> None:
        """What goes wrong on our side is not called the client's fault, and is logged."""
        for data in (GET, GET + GET, LENGTH):
            recorded = Recorded()
            recorded.sizes = None  # type: ignore[assignment]
            recorded._read(data, HEAD_BYTES_MAX)
            assert recorded._fault is not None
            self.assertEqual(recorded._fault.status, 500)
            (failure,) = self.flushLoggedErrors(AttributeError)
            self.assertIn("append", failure.getErrorMessage())

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.sampled_from([GET, LENGTH, CHUNKED, b"\r", b"\n", b"\r\n", b" ", b"GET /", b"\x00", b"0"])))
    def test_garbage_in_any_split(self, pieces: list[bytes]) -> None:
        """However garbage comes, the requests before it are the same, and it is refused or waited for."""
        data = b"".join(pieces)
        outcomes = []
        for size in (1, 3, 1 << 20):
            recorded = Recorded()
            status = 0
            try:
                recorded.feed(data, [size])
            except ClientFault as fault:
                status = fault.status
            outcomes.append((recorded.seen, status))
        self.assertEqual(outcomes, [outcomes[0]] * 3)
