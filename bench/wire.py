"""A strict, blocking HTTP/1.1 client: a connection gives a whole, well-formed response, or says what was lost."""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass, field

HEAD_BYTES_MAX = 64 * 1024
"""A longer head is no response of ours."""
BODY_BYTES_MAX = 64 * 1024 * 1024
"""What is asked for here is far smaller; more is a sign of lost framing."""
READ_BYTES = 256 * 1024

Address = tuple[str, int] | str
"""Host and port, or the path of a UNIX socket."""


class Lost(Exception):
    """
    A request that got no whole answer.

    @ivar how: C{refused}, C{reset}, C{cut}, C{timeout}, C{malformed}.
    """

    def __init__(self, how: str, detail: str) -> None:
        super().__init__(f"{how}: {detail}")
        self.how = how
        self.detail = detail


@dataclass(frozen=True)
class Response:
    """A whole response; header names in lower case, the last of several equal ones."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Connection:
    """
    A connection that is opened when needed and kept as long as both sides may keep it.

    @ivar timeout_s: longest silence while something is expected.
    @ivar opened: how often it was opened.
    """

    address: Address
    timeout_s: float = 30.0
    opened: int = 0
    _socket: socket.socket | None = None
    _buffer: bytearray = field(default_factory=bytearray)

    def close(self) -> None:
        """Close what is open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer.clear()

    def ask(self, method: str, path: str, body: bytes | None = None, headers: str = "") -> Response:
        """
        Send one request and read its response.

        @param body: sent with a Content-Length, or in chunks if C{headers} say so.
        @param headers: further lines, each with its CRLF.
        @raise Lost: there is no whole response.
        """
        chunked = "transfer-encoding:" in headers.lower()
        framing = "" if body is None or chunked else f"Content-Length: {len(body)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{framing}{headers}\r\n".encode("latin-1")
        connection = self._connected()
        try:
            connection.sendall(head + (b"" if body is None else _in_chunks(body) if chunked else body))
            return self._response(method)
        except TimeoutError as error:
            self.close()
            raise Lost("timeout", str(error)) from error
        except OSError as error:
            self.close()
            raise Lost("reset", str(error)) from error
        except Lost:
            self.close()
            raise

    def _connected(self) -> socket.socket:
        """The open connection; a new one if the server has closed the old one while nothing was asked."""
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            # Between two requests only an end can come. Bytes would be an answer to nothing.
            try:
                stray = self._socket.recv(READ_BYTES)
            except OSError:
                stray = b""
            self.close()
            if stray:
                raise Lost("malformed", f"bytes that nobody asked for: {stray[:80]!r}")
        if self._socket is None:
            try:
                self._socket = self._open()
            except TimeoutError as error:
                raise Lost("timeout", f"connecting: {error}") from error
            except OSError as error:
                raise Lost("refused", str(error)) from error
            self.opened += 1
        return self._socket

    def _open(self) -> socket.socket:
        if isinstance(self.address, str):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(self.timeout_s)
            try:
                connection.connect(self.address)
            except OSError:
                connection.close()
                raise
            return connection
        connection = socket.create_connection(self.address, self.timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _response(self, method: str) -> Response:
        while True:
            status, version, headers = _parse_head(self._until(b"\r\n\r\n", HEAD_BYTES_MAX, "head"))
            if status >= 200:
                break
        body, framed = self._body(method, status, headers)
        if self._buffer:
            raise Lost("malformed", f"bytes after the response: {bytes(self._buffer[:80])!r}")
        tokens = {token.strip().lower() for token in headers.get("connection", "").split(",")}
        if not framed or "close" in tokens or (version == "HTTP/1.0" and "keep-alive" not in tokens):
            self.close()
        return Response(status, headers, body)

    def _body(self, method: str, status: int, headers: dict[str, str]) -> tuple[bytes, bool]:
        """The body, and whether its end was marked otherwise than by the end of the connection."""
        if method == "HEAD" or status in (204, 304):
            return b"", True
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise Lost("malformed", f"framing: {coding!r} and {length!r}")
            return self._chunks(), True
        if length is not None:
            if not (length.isascii() and length.isdigit()) or int(length) > BODY_BYTES_MAX:
                raise Lost("malformed", f"content-length: {length!r}")
            return self._exactly(int(length)), True
        # HTTP/1.1 allows it, but nobody can tell whether such a response is whole; nothing that we ask for is so.
        raise Lost("malformed", "neither content-length nor chunked")

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            size_text = bytes(self._until(b"\r\n", 1024, "chunk size")).partition(b";")[0].strip()
            try:
                size = int(size_text, 16)
            except ValueError as error:
                raise Lost("malformed", f"chunk size {size_text!r}") from error
            if size == 0:
                while self._until(b"\r\n", HEAD_BYTES_MAX, "trailer"):
                    pass
                return bytes(body)
            if not 0 < size <= BODY_BYTES_MAX - len(body):
                raise Lost("malformed", f"chunk size {size_text!r}")
            body += self._exactly(size)
            if self._exactly(2) != b"\r\n":
                raise Lost("malformed", "no CRLF after a chunk")

    def _until(self, end: bytes, bytes_max: int, what: str) -> bytearray:
        """What comes before C{end}, which is taken away with it."""
        searched = 0
        while (at := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end) + 1)
            if len(self._buffer) > bytes_max:
                raise Lost("malformed", f"{what} longer than {bytes_max} bytes")
            self._more(what)
        found = self._buffer[:at]
        del self._buffer[: at + len(end)]
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more("body")
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found

    def _more(self, what: str) -> None:
        assert self._socket is not None
        data = self._socket.recv(READ_BYTES)
        if not data:
            # Not a byte of an answer is another matter than half an answer.
            nothing = what == "head" and not self._buffer
            raise Lost("reset" if nothing else "cut", f"the connection ended in the {what}")
        self._buffer += data


def _in_chunks(body: bytes) -> bytes:
    half = len(body) // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _parse_head(head: bytes | bytearray) -> tuple[int, str, dict[str, str]]:
    lines = bytes(head).decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    status = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or not (status.isascii() and status.isdigit()) or rest[3:4].strip():
        raise Lost("malformed", f"status line {lines[0]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Lost("malformed", f"header {line!r}")
        name = name.lower()
        if name in ("content-length", "transfer-encoding") and name in headers:
            raise Lost("malformed", f"{name} twice")
        headers[name] = value.strip()
    return int(status), version, headers
