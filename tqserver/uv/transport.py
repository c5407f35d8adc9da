"""
One connected stream: Twisted's transport above uvloop's.

The object that a Twisted protocol knows as its transport is at the same time the asyncio protocol of uvloop's
transport, and where it can it is not there at all: C{data_received}, which uvloop looks up once, is the bound
C{dataReceived} of the Twisted protocol, and C{write} is the bound C{write} of uvloop's transport. A read is one call
of C into Python, a write one call of Python into C.

uvloop makes its transport in a later turn of the loop than Twisted makes its connection. What is written, paused or
closed in between is kept, and done as soon as there is something to do it to.
"""

from __future__ import annotations

import socket
import struct
from asyncio import Future, Transport
from collections.abc import Callable, Coroutine
from functools import partial
from typing import cast

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    ILoggingContext,
    IProtocol,
    IPushProducer,
    ISystemHandle,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .writing import Outgoing, StreamReactor

_log = Logger()

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""C{struct linger} of socket(7): close(2) throws away what was not sent and resets the connection."""

SHADOWED_BY_TLS = (
    "write",
    "writeSequence",
    "loseConnection",
    "registerProducer",
    "unregisterProducer",
    "getHandle",
    "getPeerCertificate",
)
"""Attributes of a stream that are those of its TLS protocol once C{startTLS} was called."""

_GONE = TwistedProtocol()
"""The protocol of streams that have none any more, so that they do not keep the one alive that they had."""

_DONE = Failure(ConnectionDone())
_LOST = Failure(ConnectionLost())


def _set_up(coroutine: Coroutine[Future[bool], None, object], waiter: Future[bool]) -> None:
    """Let uvloop's coroutine end, now that what it waited for is there."""
    if waiter.cancelled() or waiter.exception() is not None:
        coroutine.close()
        return
    try:
        coroutine.send(None)
    except StopIteration:
        pass


@implementer(IPushProducer, ISystemHandle, ILoggingContext)
class Stream(Outgoing):
    """
    A connected stream socket.

    C{dataReceived} of the protocol is looked up when the connection is made and when C{protocol} is set, not for each
    read: who changes the attribute of a protocol in between says so by setting C{transport.protocol} again.

    @ivar data_received: what uvloop calls with what was read.
    """

    _stale = False
    _paused = False
    _ended = False
    _held: list[bytes] | None = None

    data_received: Callable[[bytes], None]

    def __init__(self, skt: socket.socket, protocol: IProtocol, is_client: bool, reactor: StreamReactor) -> None:
        """
        Give a connected socket to uvloop. C{protocol.makeConnection} is the caller's to call, now.

        @param skt: a connected stream socket; it is ours from here on.
        @param is_client: we asked for this connection, so that we are the client of a TLS on top of it.
        """
        self.reactor = reactor
        self.socket = skt
        self.is_client = is_client
        self._protocol = protocol
        self._early: list[bytes] = []
        self.data_received = protocol.dataReceived
        reactor.streams.add(self)
        # Run by hand: up to the only thing that it waits for the coroutine has made uvloop's transport, and a task
        # would need a turn of the loop to begin, and another to end.
        coroutine = cast(
            "Coroutine[Future[bool], None, object]",
            reactor.event_loop.connect_accepted_socket(lambda: self, skt),
        )
        coroutine.send(None).add_done_callback(partial(_set_up, coroutine))

    def __repr__(self) -> str:
        state = "connected" if self.connected else "disconnected"
        return f"<{type(self).__name__} {type(self._protocol).__name__} {state} at {id(self):#x}>"

    # What uvloop tells us: the methods of an asyncio protocol.

    def connection_made(self, transport: Transport) -> None:
        """uvloop's transport is there: catch up with what was asked of us before."""
        if self.disconnected:
            transport.abort()
            return
        self._uv = transport
        if self._paused or self.disconnecting:
            # uvloop begins to read after this call whatever we do in it.
            self._held = []
        if self._held is not None or self._stale or self.data_received != self._protocol.dataReceived:
            self._bind()
        early, self._early = self._early, []
        if early:
            transport.writelines(early)
        self._settle()
        if self._reason is not None:
            transport.abort()
        elif self.producer is None:
            self._end_if_asked()
        elif not self._full and (self.producerPaused or (not self.streamingProducer and early)):
            self.resume_writing()

    def eof_received(self) -> bool:
        """
        The peer writes no more.

        @return: whether the connection stays open.
        """
        self._ended = True
        if self._held is not None and (self._paused or self.disconnecting):
            return True
        half = IHalfCloseableProtocol(self._protocol, None)
        if half is None:
            # As Twisted's own transports do, drop what has not been written.
            self._reason = self._reason or _DONE
            if self._uv is not None:
                self._uv.abort()
            return False
        try:
            half.readConnectionLost()
        except Exception:
            self._fail(Failure())
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """
        The connection is over.

        @param exc: what the kernel said, what the protocol raised, or L{None} if one side closed.
        """
        reason = self._reason
        if reason is None:
            if exc is None:
                reason = _DONE
            elif isinstance(exc, OSError) and exc.__traceback__ is None:
                # Made by uvloop out of an error number, not raised by anybody.
                reason = _LOST
            else:
                reason = Failure(exc)
                if isinstance(exc, OSError):
                    # uvloop takes it for one of the kernel's and reports all others.
                    _log.failure("A protocol failed", reason)
        self.connectionLost(reason)

    # Reading: IPushProducer, and the names that Twisted's own transports have for it.

    def pauseProducing(self) -> None:
        """Read no more, for now."""
        self._paused = True
        if self._uv is not None:
            self._uv.pause_reading()

    def resumeProducing(self) -> None:
        """Read on."""
        if not self.connected or self.disconnecting:
            return
        self._paused = False
        if self._held is not None:
            self.reactor.event_loop.call_soon(self._release)
        elif self._uv is not None and not self._ended:
            self._uv.resume_reading()

    def stopProducing(self) -> None:
        """See L{IProducer.stopProducing}."""
        self.loseConnection()

    stopReading = pauseProducing
    startReading = resumeProducing

    def _hold(self, data: bytes) -> None:
        """Keep what uvloop read although the protocol had paused before there was an uvloop transport."""
        if not self._paused and not self.disconnecting:
            self._release()
            self.data_received(data)
            return
        if self._held is not None and self._uv is not None:
            self._held.append(data)
            self._uv.pause_reading()

    def _release(self) -> None:
        """Give the protocol what was kept while it was paused from the beginning."""
        held = self._held
        if held is None or self._paused or self.disconnected or self._uv is None:
            return
        self._held = None
        self._bind()
        try:
            for data in held:
                self._protocol.dataReceived(data)
        except Exception:
            self._fail(Failure())
            return
        if self._ended:
            if not self.disconnecting:
                self.eof_received()
        elif not self._paused and not self.disconnecting:
            self._uv.resume_reading()

    @property
    def reading(self) -> bool:
        """Whether data would be read if some came."""
        if self._uv is None or self._held is not None:
            return self.connected and not self._paused and not self.disconnecting
        return self._uv.is_reading()

    @property
    def writing(self) -> bool:
        """Whether something that was written waits for the peer."""
        if self._uv is None:
            return self.connected and bool(self._early)
        return self._transfer is not None or bool(self._uv.get_write_buffer_size())

    @property
    def unsent_bytes(self) -> int:
        """How much of what was written is not in the kernel yet."""
        return self._early_bytes if self._uv is None else self._uv.get_write_buffer_size()

    @property
    def protocol(self) -> IProtocol:
        """Who gets what is read. It may be exchanged at any time."""
        return self._protocol

    @protocol.setter
    def protocol(self, protocol: IProtocol) -> None:
        self._protocol = protocol
        self._bind()

    def _bind(self) -> None:
        """Have uvloop look up C{data_received} again."""
        self.data_received = self._hold if self._held is not None else self._protocol.dataReceived
        if self._uv is None:
            self._stale = True
        elif not self.disconnected:
            self._uv.set_protocol(self)  # type: ignore[arg-type]

    # The end: ITransport.loseConnection and its like.

    def loseConnection(self) -> None:
        """Read no more; close when everything is written and the producer, if there is one, has finished."""
        if not self.connected or self.disconnecting:
            return
        self.disconnecting = True
        if self._uv is not None:
            self._uv.pause_reading()
        if self.producer is None:
            self._end_if_asked()

    def abortConnection(self) -> None:
        """Close now, and throw away what was not written. The protocol is told in a later turn."""
        if self.disconnected or (self._reason is not None and self._reason.check(ConnectionAborted)):
            return
        self._reason = Failure(ConnectionAborted())
        self._drop_transfer()
        self._settle()
        if self.socket.family != socket.AF_UNIX and self.socket.fileno() != -1:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        if self._uv is not None:
            self._uv.abort()

    def _fail(self, reason: Failure) -> None:
        """The protocol, or its producer, raised."""
        _log.failure("A protocol or its producer failed", reason)
        self._reason = self._reason or reason
        self._drop_transfer()
        self._settle()
        if self._uv is not None:
            self._uv.abort()

    def connectionLost(self, reason: Failure) -> None:
        """
        Tell everybody that the connection is lost. The reactor calls this of all streams when it stops.

        @param reason: why.
        """
        if self.disconnected:
            return
        self.connected = False
        self.disconnected = True
        self._drop_transfer()
        self._settle()
        self.reactor.streams.discard(self)
        uv, self._uv = self._uv, None
        producer, self.producer = self.producer, None
        try:
            if producer is not None:
                producer.stopProducing()
        except Exception:
            _log.failure("A producer failed to stop")
        if uv is not None:
            # Does nothing if it was uvloop who told us.
            uv.abort()
        protocol, self._protocol = self._protocol, _GONE
        self.data_received = _GONE.dataReceived
        try:
            protocol.connectionLost(reason)
        finally:
            for name in SHADOWED_BY_TLS if self.TLS else ():
                delattr(self, name)

    # The socket: ISystemHandle and ILoggingContext.

    def getHandle(self) -> object:
        """The socket, or after C{startTLS} the TLS connection."""
        return self.socket

    def fileno(self) -> int:
        """@return: the socket's descriptor, or -1 if it is closed."""
        return self.socket.fileno()

    def getTcpKeepAlive(self) -> bool:
        """@return: whether the kernel looks after silent peers (socket(7))."""
        return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Have the kernel look after silent peers, or not (socket(7))."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    @property
    def logstr(self) -> str:
        """What Twisted's own transports call their log prefix."""
        return self.logPrefix()

    def logPrefix(self) -> str:
        """@return: what log lines about us begin with."""
        return f"{self._protocol_prefix()},{'client' if self.is_client else 'server'}"

    def _protocol_prefix(self) -> str:
        protocol = self._protocol
        return str(protocol.logPrefix()) if ILoggingContext.providedBy(protocol) else type(protocol).__name__
