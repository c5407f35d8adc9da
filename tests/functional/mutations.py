"""
Requests as a client may mean them, how they look on the wire, and what may go wrong there. For hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st

METHODS = ("GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")

SEGMENTS = ("a", "b.c", "%2F", "%7e", "..", ".", "", "a;b=c", "[0]", "~x", "d%20e", "@:$&")

QUERIES = (None, "", "a=1", "a[]=1&b={x}", "100%", "?", "/..", "q=%C3%A4|^`")

NAMES = ("Accept", "X-A", "x-b", "COOKIE", "Content-Type", "If-None-Match", "X_C", "Via", "!#$%&'*+-.^_`|~1")

VALUES = ("", "a", "b c", "a\tb", '"q, r"', "text/html;q=0.9, */*", "\xe4\xff", "x" * 300, "chunked", "5", ":", "close")

FOR_US = (
    ("Connection", "keep-alive"),
    ("Connection", "x-a, keep-alive"),
    ("Keep-Alive", "timeout=9"),
    ("TE", "trailers"),
    ("Upgrade", "h2c"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade, X-C"),
    ("Proxy", "evil"),
    ("X-Forwarded-For", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6"),
    ("X-Request-ID", "mine"),
    ("Proxy-Authorization", "Basic eA=="),
)
"""Fields that do not go further as they are."""

EXTENSIONS = ("", "", "", ";a", ";a=b", ';a="b \\" c";d')

TRAILERS: tuple[tuple[str, str], ...] = (("X-T", "t"), ("Expires", ""), ("Authorization", "none"))


@dataclass(frozen=True)
class Meant:
    """
    One request, as its client means it.

    @ivar chunks: the sizes of its body's chunks, in order, with their extensions; L{None}: it is not chunked.
    @ivar absolute: the target is in absolute form.
    """

    method: str
    path: str
    query: str | None
    host: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    chunks: tuple[tuple[int, str], ...] | None
    trailers: tuple[tuple[str, str], ...]
    absolute: bool
    spaces: tuple[str, str]
    last: bool

    @property
    def target(self) -> str:
        """Path and query."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    def on_the_wire(self) -> bytes:
        """The request's bytes."""
        before, after = self.spaces
        url = f"http://{self.host}{self.target}" if self.absolute else self.target
        lines = [f"{self.method} {url} HTTP/1.1", f"Host:{before}{self.host}{after}"]
        lines += [f"{name}:{before}{value}{after}" for name, value in self.headers]
        if self.last:
            lines.append("Connection: close")
        payload = self.body
        if self.chunks is not None:
            lines.append(f"Transfer-Encoding:{before}chunked")
            payload = self._in_chunks(self.chunks)
        elif self.body or self.method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length:{before}{len(self.body)}{after}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + payload

    def _in_chunks(self, chunks: tuple[tuple[int, str], ...]) -> bytes:
        pieces = []
        at = 0
        for size, extension in (*chunks, (len(self.body), "")):
            piece = self.body[at : at + size]
            at += size
            if piece:
                pieces.append(b"%x%b\r\n%b\r\n" % (len(piece), extension.encode(), piece))
        trailers = "".join(f"{name}: {value}\r\n" for name, value in self.trailers)
        return b"".join(pieces) + b"0\r\n" + trailers.encode() + b"\r\n"


PATHS = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))

HEADERS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)),
        st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)),
        st.sampled_from(FOR_US),
    ),
    max_size=6,
).map(tuple)

BODIES = st.one_of(
    st.just(b""),
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"0\r\n\r\n",
            b"\r\n\r\n",
            b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            b"x" * 5000,
            b"5\r\nhello\r\n0\r\n\r\n",
        ]
    ),
)

CHUNKS = st.one_of(
    st.none(), st.none(), st.lists(st.tuples(st.integers(1, 60), st.sampled_from(EXTENSIONS)), max_size=4).map(tuple)
)

MEANT = st.builds(
    Meant,
    method=st.sampled_from(METHODS),
    path=PATHS,
    query=st.sampled_from(QUERIES),
    host=st.sampled_from(["a", "a.test:80", "[::1]:8080"]),
    headers=HEADERS,
    body=BODIES,
    chunks=CHUNKS,
    trailers=st.lists(st.sampled_from(TRAILERS), max_size=2).map(tuple),
    absolute=st.sampled_from([False, False, False, True]),
    spaces=st.sampled_from([(" ", ""), (" ", ""), ("", ""), ("\t ", " \t")]),
    last=st.just(False),
)

CONVERSATIONS = st.lists(MEANT, min_size=1, max_size=3)

BYTES = (
    *(bytes([value]) for value in b'\r\n \t\0:;,01x\x0b\x7f\xff#"\\%=+-'),
    b"\r\n",
    b"\n\r",
    b"\r\n ",
    b"\r\n\r\n",
)

LINE_ENDS = (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\r\n", b" \r\n", b"", b"\0")

VERSIONS = (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"RTSP/1.0", b"")

DIGITS = (b"0", b"9", b"a", b"00", b"-1", b"0x1", b"1 ")

LINES = (
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length : 5",
    b"content-length: +5",
    b"Content-Length: 5, 5",
    b"Content_Length: 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding : chunked",
    b"transfer-encoding:\tchunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer_Encoding: chunked",
    b"Host: b",
    b"Host:",
    b" folded",
    b"Connection: close",
    b"Connection: host, content-length",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"X: y",
    b": z",
    b"0",
    b"5",
    b"GET /smuggled HTTP/1.1",
    b"",
)

WHERE = st.integers(0, 1 << 16)
"""A place, counted round and round."""

STEPS = st.one_of(
    st.tuples(st.just("insert"), WHERE, st.sampled_from(BYTES)),
    st.tuples(st.just("replace"), WHERE, st.sampled_from(BYTES)),
    st.tuples(st.just("delete"), WHERE, st.integers(1, 4)),
    st.tuples(st.just("double"), WHERE, st.integers(1, 30)),
    st.tuples(st.just("case"), WHERE, st.integers(1, 10)),
    st.tuples(st.just("line"), WHERE, st.sampled_from(LINES)),
    st.tuples(st.just("line"), WHERE, st.sampled_from(LINES)),
    st.tuples(st.just("repeat line"), WHERE, st.none()),
    st.tuples(st.just("drop line"), WHERE, st.none()),
    st.tuples(st.just("swap lines"), WHERE, st.none()),
    st.tuples(st.just("line end"), WHERE, st.sampled_from(LINE_ENDS)),
    st.tuples(st.just("version"), WHERE, st.sampled_from(VERSIONS)),
    st.tuples(st.just("digit"), WHERE, st.sampled_from(DIGITS)),
    st.tuples(st.just("cut"), WHERE, st.none()),
)

MUTATIONS = st.lists(STEPS, min_size=1, max_size=4)

CUTS = st.lists(st.integers(1, 1 << 16), max_size=5)
"""Where a stream is cut into segments, counted round and round."""


def mutated(data: bytes, steps: list[tuple[str, int, object]]) -> bytes:
    """What becomes of some bytes."""
    for step, where, what in steps:
        data = _step(data, step, where, what)
    return data


def _step(data: bytes, step: str, where: int, what: object) -> bytes:
    if not data:
        return data
    at = where % len(data)
    if step == "cut":
        return data[:at]
    if step in ("delete", "double", "case"):
        assert isinstance(what, int)
        piece = data[at : at + what]
        changed = {"delete": b"", "double": piece + piece, "case": piece.swapcase()}[step]
        return data[:at] + changed + data[at + what :]
    if step in ("repeat line", "drop line", "swap lines", "line"):
        return _change_lines(data, step, where, what)
    new = what if isinstance(what, bytes) else b""
    if step == "insert":
        return data[:at] + new + data[at:]
    if step == "replace":
        return data[:at] + new + data[at + 1 :]
    old = {"line end": [b"\r\n"], "version": [b"HTTP/1.1"], "digit": [b"%d" % digit for digit in range(10)]}[step]
    places = [(place, piece) for piece in old for place in _places(data, piece)]
    if not places:
        return data
    place, piece = places[where % len(places)]
    return data[:place] + new + data[place + len(piece) :]


def _change_lines(data: bytes, step: str, where: int, what: object) -> bytes:
    lines = data.split(b"\r\n")
    number = where % len(lines)
    if step == "line" and isinstance(what, bytes):
        lines.insert(number, what)
    elif step == "repeat line":
        lines.insert(number, lines[number])
    elif step == "drop line":
        del lines[number]
    elif step == "swap lines" and number:
        lines[number - 1], lines[number] = lines[number], lines[number - 1]
    return b"\r\n".join(lines)


def _places(data: bytes, piece: bytes) -> list[int]:
    return [at for at in range(len(data)) if data.startswith(piece, at)]


def segments(data: bytes, cuts: list[int]) -> list[bytes]:
    """Some bytes in several pieces."""
    if not data:
        return []
    places = sorted({0, *(cut % len(data) for cut in cuts), len(data)})
    return [data[start:end] for start, end in pairwise(places)]
