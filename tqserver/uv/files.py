"""
A piece of a file that the kernel sends: sendfile(2) on a stream's socket, between what uvloop writes.

uvloop owns the socket and alone knows when it can be written to. So when the socket takes no more, the next few
bytes of the file are read and given to uvloop like any others: it tells when they are on their way, by the calls that
every writer gets, and then the kernel goes on. Nothing is duplicated or watched a second time, and a peer that does not
read costs these few bytes.
"""

from __future__ import annotations

import os
from asyncio import Transport
from collections.abc import Callable
from typing import Any, Protocol

from ..turns import Turns

SLICE_BYTES = 256 * 1024
"""
Sent in one go, some tens of microseconds of work; then it is others' turn (L{tqserver.turns}). Half of it costs a third
more.
"""

STEP_BYTES = 4096
"""What uvloop is given when the socket is full: a page."""

Told = Callable[[int, bool], None]
"""How a transfer goes on: bytes that have gone since the last call, and whether it has ended, whole or not."""


class TransferStream(Protocol):
    """What a transfer needs of its stream."""

    reactor: Any

    def fileno(self) -> int:
        """The socket's descriptor."""

    def transfer_ended(self) -> None:
        """Go on with what was written meanwhile."""


class FileTransfer:
    """One piece of a file on its way. Neither the file nor the socket is ours."""

    __slots__ = ("_at", "_fd", "_left", "_stream", "_told", "_turns", "_uv", "_waits")

    def __init__(self, stream: TransferStream, uv: Transport, fd: int, at: int, length: int, told: Told) -> None:
        """
        @param uv: the stream's uvloop transport, whose limits are (0, 0) until we have ended: it tells when its buffer
            is empty.
        """
        self._stream = stream
        self._uv: Transport | None = uv
        self._fd = fd
        self._at = at
        self._left = length
        self._told = told
        self._turns: Turns = stream.reactor.turns
        self._waits = False

    def go_on(self) -> None:
        """The buffer is empty: send a slice, unless there are many to do so."""
        if self._waits:
            return
        if self._turns.crowded:
            self._wait()
        else:
            self._send()

    def _wait(self) -> None:
        self._waits = True
        self._turns.wait(self._turned)

    def _turned(self) -> None:
        self._waits = False
        self._send()

    def _send(self) -> None:
        uv = self._uv
        if uv is None or uv.get_write_buffer_size():
            return
        wanted = min(SLICE_BYTES, self._left)
        sent, full = 0, False
        try:
            sent = os.sendfile(self._stream.fileno(), self._fd, self._at, wanted)
        except (BlockingIOError, InterruptedError):
            full = True
        except OSError:
            self._end(0)
            return
        if not sent and not full:
            # The file became shorter.
            self._end(0)
            return
        self._turns.passed(sent)
        self._at += sent
        self._left -= sent
        if not self._left:
            self._end(sent)
            return
        if sent < wanted:
            try:
                step = os.pread(self._fd, min(STEP_BYTES, self._left), self._at)
            except OSError:
                step = b""
            if not step:
                self._end(sent)
                return
            self._at += len(step)
            self._left -= len(step)
            sent += len(step)
            # What does not go at once has our stream, and so us, told when it has gone.
            uv.write(step)
            if not self._left and self._uv is not None:
                self._end(sent)
                return
        if self._uv is None:
            return
        if not uv.get_write_buffer_size():
            self._wait()
        self._told(sent, False)

    def _end(self, sent: int) -> None:
        self.drop()
        self._stream.transfer_ended()
        self._told(sent, True)

    def drop(self) -> None:
        """Send no more of it. Nobody is told."""
        self._uv = None
