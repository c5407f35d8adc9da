"""
Trace ids: kept or made, echoed, and a line for each request, written many at once.
"""

from __future__ import annotations

import os
import re
import secrets
import select
from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from ...http1.exchange import ServerExchange

FIELD = b"x-trace-id"
_HEADER = b"X-Trace-Id"

ID_BYTES_MAX = 128

FLUSH_S = 0.2
"""A line waits so long for others, in seconds."""

LINES_MAX = 512
"""So many lines are written without waiting for more."""

_GOOD = re.compile(rb"[!-~]{1,%d}" % ID_BYTES_MAX)
_UNPRINTABLE = re.compile(rb"[^!-~]")

Write = Callable[[bytes], object]


def to_stderr(data: bytes, fd: int = 2) -> None:
    """
    Write lines where the log goes.

    Whoever reads there may be slow. What cannot be written at once is lost, rather than that all clients wait. (The
    descriptor is shared with others, who would not expect it to be set to C{O_NONBLOCK}; but a pipe that is ready takes
    C{PIPE_BUF} bytes, see pipe(7).)
    """
    at = 0
    try:
        while at < len(data) and select.select([], [fd], [], 0)[1]:
            end = data.rfind(b"\n", at, at + select.PIPE_BUF) + 1 or at + select.PIPE_BUF
            os.write(fd, data[at:end])
            at = end
    except OSError:
        pass


class Trace:
    """The trace of one service."""

    def __init__(self, reactor: Any, write: Write = to_stderr) -> None:
        """
        @param reactor: has C{callLater} and C{seconds}.
        @param write: takes lines.
        """
        self._reactor = reactor
        self._write = write
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = count(1)
        self._lines: list[bytes] = []
        self._call: IDelayedCall | None = None
        self._lines_max = LINES_MAX

    def begin(self, exchange: ServerExchange, path: bytes) -> None:
        """A request has come: name it, tell the client, and write it down when it is over."""
        id = exchange.head.get(FIELD)
        if id is None or not _GOOD.fullmatch(id):
            id = b"%b%08x" % (self._prefix, next(self._numbers))
        field = (_HEADER, id)
        exchange.response_headers = [*exchange.response_headers, field] if exchange.response_headers else [field]
        exchange.when_over(lambda: self._over(exchange, id))

    def _over(self, exchange: ServerExchange, id: bytes) -> None:
        head = exchange.head
        took_us = (self._reactor.seconds() - exchange.started) * 1e6
        self._lines.append(
            b"trace_id=%b method=%b target=%b status=%d bytes=%d us=%d\n"
            % (id, head.method, _UNPRINTABLE.sub(b"?", head.target), exchange.status, exchange.sent_bytes, took_us)
        )
        if len(self._lines) >= self._lines_max:
            self.flush()
        elif self._call is None:
            self._call = self._reactor.callLater(FLUSH_S, self._late)

    def _late(self) -> None:
        self._call = None
        self.flush()

    def flush(self) -> None:
        """Write what there is, now."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._write(b"".join(lines))

    def close(self) -> None:
        """Write what there is, and what follows at once."""
        self._lines_max = 1
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.flush()
