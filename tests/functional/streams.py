"""A client that sends and reads piece by piece, at its own pace, and looks at what the server keeps in memory."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from types import TracebackType

from twisted.trial.unittest import SkipTest

from bench.project import missing_tools
from bench.wire import Lost
from tests.functional.running import LIMIT_S, Running

RECEIVE_BYTES = 256 * 1024

MIB = 1024 * 1024


def needs(kind: str) -> None:
    """Skip the test where the tools of a kind of worker are not installed, but never in CI."""
    missing = missing_tools((kind,))
    if missing and not os.environ.get("CI"):
        raise SkipTest(f"needs {missing[kind]}")


def memory_bytes(pid: int) -> tuple[int, int]:
    """
    What a process has and had at most resident (proc(5)).

    @return: now, and the most.
    """
    text = Path(f"/proc/{pid}/status").read_text()
    now, most = (re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE) for name in ("VmRSS", "VmHWM"))
    assert now is not None and most is not None
    return int(now.group(1)) * 1024, int(most.group(1)) * 1024


class Stream:
    """
    One connection.

    @ivar socket: for what is not provided here.
    """

    def __init__(
        self, running: Running, receive_buffer_bytes: int = 0, address: str = "", timeout_s: float = LIMIT_S
    ) -> None:
        """
        @param receive_buffer_bytes: how much the kernel takes for us, so that a slow reader is felt soon.
        @param address: the path of a UNIX socket instead of the server's port.
        """
        self.socket = socket.socket(socket.AF_UNIX if address else socket.AF_INET)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(timeout_s)
        self.socket.connect(address or ("127.0.0.1", running.port))
        self._buffer = b""

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send some bytes, all of them."""
        self.socket.sendall(data)

    def request(self, method: str, path: str, headers: str = "", host: str = "localhost") -> None:
        """Send a request's head."""
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())

    def chunk(self, data: bytes) -> None:
        """Send some of a body of unknown length; the last is empty."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def _more(self) -> None:
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise Lost("cut", f"the end came after {self._buffer[-200:]!r}")
        self._buffer += data

    def until(self, end: bytes) -> bytes:
        """What comes before C{end}."""
        while end not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def head(self) -> tuple[int, dict[str, str]]:
        """The next head of a response, perhaps an interim one: its status, and its fields by lower-case names."""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in fields.items()}

    def some(self) -> bytes:
        """What there is, at least a byte."""
        if not self._buffer:
            self._more()
        found, self._buffer = self._buffer, b""
        return found

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        while len(self._buffer) < count:
            self._more()
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def chunked(self) -> bytes:
        """One chunk of a body; empty for the last."""
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def body(self, fields: dict[str, str]) -> bytes:
        """The body that follows a head."""
        if "content-length" in fields:
            return self.exactly(int(fields["content-length"]))
        pieces = []
        while piece := self.chunked():
            pieces.append(piece)
        return b"".join(pieces)

    def at_end(self) -> bool:
        """Whether the server has nothing more to say and closes in order."""
        return not self._buffer and self.socket.recv(1) == b""
