"""A file, or some parts of it, on its way to a client."""

from __future__ import annotations

import os
from collections.abc import Sequence

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from ..http1.head import ResponseHead
from .exchange import IExchange
from .static_ranges import Span

CHUNK_BYTES = 64 * 1024
"""Read and written at once: what a transport buffers before it asks us to pause. What is not longer is not worth asking
the kernel to send it."""


def read_pieces(fd: int, pieces: Sequence[bytes | Span]) -> bytes:
    """
    All pieces at once.

    @return: less than there should be if the file has become shorter.
    @raise OSError: it cannot be read.
    """
    return b"".join(os.pread(fd, piece.length, piece.at) if isinstance(piece, Span) else piece for piece in pieces)


@implementer(IPushProducer)
class Sending:
    """
    Pieces of a file, and what stands between them, on their way to a client.

    What is long is sent by the kernel where the exchange can have it do that; else one chunk a turn is read and
    written, while the client keeps up. Files are read on the reactor's thread: the page cache answers faster than a
    thread.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, exchange: IExchange, fd: int, pieces: Sequence[bytes | Span]) -> None:
        self._reactor = reactor
        self._exchange = exchange
        self._fd = fd
        self._pieces = list(reversed(pieces))
        self._paused = False
        self._refused = False
        """The kernel cannot send here."""
        self._span: Span | None = None
        """What the kernel is sending."""
        self._turn: IDelayedCall | None = None

    def begin(self, response: ResponseHead) -> None:
        """Answer, and send what goes in the first turn. The descriptor is ours from here on."""
        exchange = self._exchange
        exchange.when_over(self._over)
        exchange.respond(response, self)
        self._go_on()

    def _go_on(self) -> None:
        """Send what comes next: as much as goes in one turn."""
        exchange = self._exchange
        if exchange.over:
            return
        top = self._pieces[-1]
        if isinstance(top, Span) and top.length > CHUNK_BYTES and not self._refused:
            del self._pieces[-1]
            self._span = top
            if exchange.send_file(self._fd, top.at, top.length, self._sent):
                return
            self._span = None
            self._refused = True
            self._pieces.append(top)
        try:
            chunk = self._read(CHUNK_BYTES)
        except OSError as error:
            self._log.warn("A file could not be read to its end: {error}", error=error)
            chunk = b""
        if not chunk:
            # The file became shorter: what we promised does not exist any more.
            exchange.abort()
            return
        exchange.write(chunk)
        self._next()

    def _next(self) -> None:
        if not self._pieces:
            self._exchange.finish()
        elif not self._paused and self._turn is None and not self._exchange.over:
            self._turn = self._reactor.callLater(0, self._turned)

    def _turned(self) -> None:
        self._turn = None
        self._go_on()

    def _sent(self, whole: bool) -> None:
        """The kernel has sent what it was to send, or could not."""
        self._span = None
        if not whole:
            self._exchange.abort()
        else:
            self._next()

    def _read(self, limit: int) -> bytes:
        """
        Take so much of the pieces; less if the kernel could send what follows, or the file ends.

        @raise OSError: the file cannot be read.
        """
        taken: list[bytes] = []
        while self._pieces and limit:
            piece = self._pieces.pop()
            if isinstance(piece, bytes):
                taken.append(piece)
                limit -= min(limit, len(piece))
                continue
            if piece.length > CHUNK_BYTES and not self._refused and taken:
                self._pieces.append(piece)
                break
            data = os.pread(self._fd, min(piece.length, limit), piece.at)
            if not data:
                self._pieces.append(piece)
                break
            taken.append(data)
            limit -= len(data)
            if len(data) < piece.length:
                self._pieces.append(Span(piece.at + len(data), piece.length - len(data)))
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _over(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def pauseProducing(self) -> None:
        self._paused = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def resumeProducing(self) -> None:
        self._paused = False
        if self._span is None and self._pieces:
            self._next()

    def stopProducing(self) -> None:
        """The exchange tells when it is over."""
