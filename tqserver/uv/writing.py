"""
The writing side of a stream: buffers, producers, half close.

C{write} is not one method. It is uvloop's own as long as nothing is to be observed, and another one in each of the
cases where something is: before there is an uvloop transport, while the buffer is full, on behalf of a pull producer,
and when there is nobody any more to write to.
"""

from __future__ import annotations

import socket
from asyncio import AbstractEventLoop, Handle, Transport
from collections.abc import Iterable
from typing import Any, Protocol, cast
from weakref import WeakSet

from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPullProducer,
    IPushProducer,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..turns import Turns
from .files import FileTransfer, Told

_log = Logger()

BUFFER_BYTES_HIGH = 64 * 1024
"""A streaming producer is paused when more than this waits to be written: uvloop's default, and Twisted's."""

BUFFER_BYTES_LOW = 16
"""And resumed when no more than this is left: uvloop's default, and next to the nothing at which Twisted does it."""


class StreamReactor(Protocol):
    """
    What a stream needs of its reactor.

    @ivar event_loop: uvloop's loop.
    @ivar streams: every stream that is connected. It is not what keeps them alive.
    @ivar turns: of those that have much to write.
    """

    event_loop: AbstractEventLoop
    streams: WeakSet[Any]
    turns: Turns


@implementer(IConsumer)
class Outgoing:
    """
    What is written to a stream.

    @ivar connected: as long as the protocol has not been told that the connection is lost.
    @ivar disconnecting: C{loseConnection} was called.
    @ivar disconnected: the opposite of C{connected}.
    @ivar producer: who writes to us at our pace, if anybody.
    @ivar socket: the socket, which uvloop owns: for options and names, not for reading, writing or closing.
    @ivar TLS: C{startTLS} was called.
    @ivar plain_write: C{write} as it is below TLS, once C{startTLS} was called.
    @ivar plain_write_sequence: C{writeSequence}, likewise.
    """

    connected = True
    disconnecting = False
    disconnected = False
    TLS = False

    producer: IProducer | None = None
    producerPaused = False
    streamingProducer = False

    _uv: Transport | None = None
    _reason: Failure | None = None
    _early_bytes = 0
    _full = False
    _write_ending = False
    _write_ended = False
    _pull_call: Handle | None = None
    _transfer: FileTransfer | None = None

    reactor: StreamReactor
    socket: socket.socket
    _protocol: IProtocol
    _early: list[bytes]

    def _fail(self, reason: Failure) -> None:
        raise NotImplementedError

    def loseConnection(self) -> None:
        """See L{ITransport<twisted.internet.interfaces.ITransport>}."""
        raise NotImplementedError

    def fileno(self) -> int:
        """@return: the socket's descriptor, or -1 if it is closed."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """
        Send bytes, in order. This is the write of a stream whose uvloop transport is not there yet, or no more, or
        while a file is being sent; L{_settle} puts another one in its place.

        @raise TypeError: if they are not bytes.
        """
        if not isinstance(data, bytes):
            raise TypeError("Data must be bytes")
        if not data or self._mute:
            return
        self._early.append(data)
        self._early_bytes += len(data)
        if self._early_bytes > BUFFER_BYTES_HIGH:
            self._pause_producer()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send pieces of bytes in order, in one system call where possible."""
        for data in iovec:
            self.plain_write(data)

    plain_write = write
    plain_write_sequence = writeSequence

    @property
    def _mute(self) -> bool:
        """Whether what is written goes nowhere."""
        return self.disconnected or self._reason is not None or self._write_ended

    def _settle(self) -> None:
        """Choose what C{write} and C{writeSequence} are from now on: uvloop's own where nothing is to be observed."""
        names = ("plain_write", "plain_write_sequence") if self.TLS else ("write", "writeSequence")
        uv = self._uv
        chosen: tuple[object, object]
        if uv is None or self._mute or self._transfer is not None:
            # Those of the class. Never a bound method of our own for long: it would make us a cycle.
            for name in names:
                try:
                    delattr(self, name)
                except AttributeError:
                    pass
            return
        if self._full or (self.producer is not None and not self.streamingProducer):
            chosen = (self._write_watched, self._write_sequence_watched)
        else:
            chosen = (uv.write, uv.writelines)
        setattr(self, names[0], chosen[0])
        setattr(self, names[1], chosen[1])

    def _write_watched(self, data: bytes) -> None:
        """Write while the buffer is full, or on behalf of a pull producer."""
        if self._uv is not None:
            self._uv.write(data)
            self._after_watched_write()

    def _write_sequence_watched(self, iovec: Iterable[bytes]) -> None:
        if self._uv is not None:
            self._uv.writelines(iovec)
            self._after_watched_write()

    def _after_watched_write(self) -> None:
        if self.producer is None:
            return
        if self._full:
            self._pause_producer()
        elif not self.streamingProducer:
            self._pull_soon()

    def _pause_producer(self) -> None:
        if self.producer is not None and self.streamingProducer:
            self.producerPaused = True
            cast(IPushProducer, self.producer).pauseProducing()

    def _pull_soon(self) -> None:
        if self._pull_call is None:
            self._pull_call = self.reactor.event_loop.call_soon(self._pull)

    def _pull(self) -> None:
        """What a pull producer wrote is gone: let it write more."""
        self._pull_call = None
        if self.producer is None or self.streamingProducer or self._full:
            return
        try:
            cast(IPullProducer, self.producer).resumeProducing()
        except Exception:
            self._fail(Failure())

    # Files.

    def send_file(self, fd: int, at: int, length: int, told: Told) -> bool:
        """
        Have the kernel send a piece of a file after what was written before, and before what is written from now on.
        A streaming producer is paused and resumed by the pace of the peer, as if it had written the piece.

        @param fd: the file's descriptor, open for reading until the piece has gone or L{cancel_file} was called.
        @param at: where the piece begins.
        @param length: bytes, at least one.
        @param told: how it goes on, perhaps before this returns. If it ends with less than C{length}, the file became
            shorter or cannot be read, or the connection is about to be lost.
        @return: L{False} if it cannot be done: write, then.
        """
        uv = self._uv
        if uv is None or self.TLS or self._mute or self._transfer is not None:
            return False
        if self.producer is not None and not self.streamingProducer:
            return False
        transfer = self._transfer = FileTransfer(self, uv, fd, at, length, told)
        self._settle()
        # We are to be told when there is nothing left.
        cast(Any, uv).set_write_buffer_limits(0, 0)
        transfer.go_on()
        return True

    def cancel_file(self) -> None:
        """Send no more of the file, if one is being sent."""
        if self._transfer is not None:
            self._transfer.drop()
            self.transfer_ended()

    def transfer_ended(self) -> None:
        """The file is sent, as far as it will be: go on with what was written meanwhile."""
        self._transfer = None
        uv = self._uv
        if uv is None or self._reason is not None:
            return
        cast(Any, uv).set_write_buffer_limits(BUFFER_BYTES_HIGH, BUFFER_BYTES_LOW)
        early, self._early = self._early, []
        self._early_bytes = 0
        if early:
            uv.writelines(early)
        self._settle()
        if self.producer is None:
            self._end_if_asked()

    def _drop_transfer(self) -> None:
        """The connection ends."""
        if self._transfer is not None:
            self._transfer.drop()
            self._transfer = None

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        See L{IConsumer.registerProducer}.

        @raise RuntimeError: if there is one already.
        """
        if self.producer is not None:
            raise RuntimeError(f"Cannot register producer {producer}: {self.producer} was never unregistered")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = streaming
        self.producerPaused = False
        if not streaming:
            if self._uv is not None:
                # We are to be told when there is nothing left.
                cast(Any, self._uv).set_write_buffer_limits(0, 0)
                if not self._full:
                    # For what was written before.
                    self._pull_soon()
            self._settle()
            cast(IPullProducer, producer).resumeProducing()

    def unregisterProducer(self) -> None:
        """See L{IConsumer.unregisterProducer}. What waited for the producer to finish is done now."""
        pulled = self.producer is not None and not self.streamingProducer
        self.producer = None
        self.producerPaused = False
        if not self.connected:
            return
        if pulled and self._uv is not None and self._reason is None:
            cast(Any, self._uv).set_write_buffer_limits(BUFFER_BYTES_HIGH, BUFFER_BYTES_LOW)
            self._settle()
        self._end_if_asked()

    def stopConsuming(self) -> None:
        """The producer has lost what it produced from: end, when what it wrote is written."""
        self.unregisterProducer()
        self.loseConnection()

    # What uvloop tells us about its buffer.

    def pause_writing(self) -> None:
        """More than enough waits to be written."""
        self._full = True
        self._settle()
        self._pause_producer()

    def resume_writing(self) -> None:
        """What was written is on its way."""
        self._full = False
        self._settle()
        if self._write_ended:
            self._tell_write_ended()
            return
        try:
            if self.producer is None:
                return
            if not self.streamingProducer:
                self._pull_soon()
            elif self.producerPaused:
                self.producerPaused = False
                cast(IPushProducer, self.producer).resumeProducing()
        except Exception:
            self._fail(Failure())
        finally:
            if self._transfer is not None:
                self._transfer.go_on()

    # The end.

    def loseWriteConnection(self) -> None:
        """
        Write no more, when everything is written and the producer, if there is one, has finished. The protocol, if it
        provides L{IHalfCloseableProtocol}, is told when that is.
        """
        if not self.connected or self._write_ending:
            return
        self._write_ending = True
        if self.producer is None:
            self._end_if_asked()

    def _end_if_asked(self) -> None:
        """Close, or half close, if that was asked for and nobody is writing any more."""
        uv = self._uv
        if uv is None or self._reason is not None or self._transfer is not None:
            return
        if self.disconnecting:
            uv.close()
        elif self._write_ending and not self._write_ended:
            self._write_ended = True
            uv.write_eof()
            self._settle()
            if uv.get_write_buffer_size():
                # Then resume_writing is called when there is nothing left.
                cast(Any, uv).set_write_buffer_limits(0, 0)
            else:
                self.reactor.event_loop.call_soon(self._tell_write_ended)

    def _tell_write_ended(self) -> None:
        if self.disconnected:
            return
        half = IHalfCloseableProtocol(self._protocol, None)
        if half is not None:
            try:
                half.writeConnectionLost()
            except Exception:
                self._fail(Failure())
