"""
A C{twisted.web} request as an exchange: the response is streamed with backpressure, the body is what
C{twisted.web} has spooled.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import BinaryIO, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES
from twisted.web.http_headers import Headers as WebHeaders
from zope.interface import implementer

from ..errors import Fault, ServerFault
from ..http1.head import Headers, RequestHead, ResponseHead, has_body
from .exchange import IBodySink, IExchange

CHUNK_BYTES = 64 * 1024
"""Of a spooled body, read at once: what a transport buffers before it asks us to pause."""


class Cuttable(Protocol):
    """What can be closed so that the other side notices."""

    def abortConnection(self) -> None:
        """Close at once."""


class WebRequest(Protocol):
    """What we use of L{twisted.web.server.Request}, whose own annotations do not say it all."""

    method: bytes
    uri: bytes
    clientproto: bytes
    prepath: list[bytes]
    postpath: list[bytes]
    content: BinaryIO
    cookies: list[bytes]
    requestHeaders: WebHeaders
    responseHeaders: WebHeaders
    defaultContentType: bytes | None
    transport: Cuttable | None
    """L{None} for HTTP/2, where the channel is the stream."""
    channel: Cuttable

    def getClientAddress(self) -> IAddress: ...

    def getHost(self) -> IAddress: ...

    def isSecure(self) -> bool: ...

    def notifyFinish(self) -> Deferred[None]: ...

    def setResponseCode(self, code: int, message: bytes) -> None: ...

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def write(self, data: bytes) -> None: ...

    def finish(self) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


class _Body(enum.Enum):
    """How far the request's body has been told."""

    UNASKED = enum.auto()
    FLOWING = enum.auto()
    PAUSED = enum.auto()
    WHOLE = enum.auto()


@implementer(IExchange, IPushProducer)
class RequestExchange:
    """
    One C{twisted.web} request as an exchange.

    @ivar mount: the part of the request's path that leads to the resource; empty at the root.
    """

    def __init__(self, reactor: IReactorTime, request: WebRequest, head: RequestHead, mount: bytes) -> None:
        self.head = head
        self.mount = mount
        self.request_id = ""
        self.response_headers: Headers = []
        client, server = request.getClientAddress(), request.getHost()
        self.client_host: str = getattr(client, "host", None) or ""
        self.client_port: int = getattr(client, "port", None) or 0
        self.server_host: str = getattr(server, "host", None) or ""
        self.server_port: int = getattr(server, "port", None) or 0
        self.secure = bool(request.isSecure())
        self.started = reactor.seconds()
        self.status = 0
        self.sent_bytes = 0
        self.over = False
        self.body_fault: Fault | None = None
        self._reactor = reactor
        self._request = request
        self._remaining: int | None = None
        self._producer: IPushProducer | None = None
        self._sink: IBodySink | None = None
        self._body = _Body.UNASKED
        self._turn: IDelayedCall | None = None
        self._callbacks: list[Callable[[], None]] = []
        request.notifyFinish().addBoth(self._finished)

    # The request's body, which is all there.

    @property
    def replayable(self) -> bool:
        """Until something is answered: the body is spooled."""
        return not self.over and not self.status

    def receive(self, sink: object) -> None:
        if self.over:
            return
        self._sink = IBodySink(sink)
        self._body = _Body.FLOWING
        self._request.content.seek(0)
        self._tell()

    def pause_body(self) -> None:
        if self._body is _Body.FLOWING:
            self._body = _Body.PAUSED

    def resume_body(self) -> None:
        if self._body is _Body.PAUSED:
            self._body = _Body.FLOWING
            self._schedule()

    def _schedule(self) -> None:
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        """Tell the sink the next chunk, and that it was the last if it was."""
        self._turn = None
        sink = self._sink
        if sink is None or self._body is not _Body.FLOWING or self.over:
            return
        try:
            data = self._request.content.read(CHUNK_BYTES)
        except OSError as error:
            self._body = _Body.WHOLE
            sink.body_failed(ServerFault("The request's body was lost.", str(error), status=500))
            return
        if data:
            sink.body_data(data)
        if len(data) == CHUNK_BYTES:
            if self._body is _Body.FLOWING and not self.over:
                self._schedule()
        elif self._sink is sink and not self.over:
            self._end_body(sink)

    def _end_body(self, sink: IBodySink) -> None:
        if self._body is _Body.FLOWING:
            self._body = _Body.WHOLE
            sink.body_end()

    # The response.

    def answer(self, head: ResponseHead, body: bytes) -> None:
        if has_body(head.status, self.head.method):
            head = evolve(head, content_length=len(body))
        self.respond(head, None)
        self.write(body)
        self.finish()

    def respond(self, head: ResponseHead, producer: IPushProducer | None, first: bytes = b"") -> None:
        if self.over:
            return
        request = self._request
        self.status = head.status
        request.setResponseCode(head.status, head.reason or RESPONSES.get(head.status, b""))
        request.defaultContentType = None
        set_headers(request, [*head.headers, *self.response_headers])
        length = head.content_length
        if length is not None and head.status != 204:
            request.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % length])
        else:
            request.responseHeaders.removeHeader(b"Content-Length")
        if has_body(head.status, self.head.method):
            self._remaining = length
        if producer is not None:
            self._producer = producer
            request.registerProducer(self, True)
            if getattr(request.channel, "_waitingForTransport", False):
                # An earlier response on this connection is still being read. Whoever registers late is not
                # told.
                producer.pauseProducing()
        if first:
            self.write(first)
        else:
            request.write(b"")

    def upgrade(self, head: ResponseHead, protocol: bytes, taker: object) -> bool:
        """Never: C{twisted.web} keeps the connection to itself. Nothing is offered to a worker in the first place."""
        return False

    def inform(self, head: ResponseHead) -> None:
        """Nothing: C{twisted.web} has no interim responses."""

    def write(self, data: bytes) -> None:
        if self.over or not data or not has_body(self.status, self.head.method):
            return
        if self._remaining is not None:
            self._remaining -= len(data)
            if self._remaining < 0:
                # More than was promised would be taken for the next response.
                self.abort()
                return
        self.sent_bytes += len(data)
        self._request.write(data)

    def send_file(self, fd: int, at: int, length: int, ended: Callable[[bool], None]) -> bool:
        """C{twisted.web} writes."""
        return False

    def finish(self) -> None:
        if self.over:
            return
        if self._remaining:
            self.abort()
            return
        self._unregister()
        self._request.finish()
        self._end()

    def abort(self) -> None:
        if self.over:
            return
        self._unregister()
        request = self._request
        if request.transport is not None:
            request.transport.abortConnection()
        else:
            _reset_stream(request)
        self._end()

    def when_over(self, callback: Callable[[], None]) -> None:
        if self.over:
            callback()
        else:
            self._callbacks.append(callback)

    def _finished(self, result: Failure | None) -> None:
        """C{twisted.web} says that the request is over, well or not."""
        self._end()

    def _unregister(self) -> None:
        if self._producer is not None:
            self._producer = None
            self._request.unregisterProducer()

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        self._producer = None
        self._sink = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    # The channel's producer: it stands before the real one, which is never asked to stop.

    def pauseProducing(self) -> None:
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is lost; C{notifyFinish} tells."""


def set_headers(request: WebRequest, headers: Headers) -> None:
    """Put a response's header fields in the place of those that C{twisted.web} or a resource above us had
    set."""
    seen: set[bytes] = set()
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"set-cookie":
            # Those of the request itself (a session's, say) would replace them otherwise.
            request.cookies.append(value)
        elif lowered in seen:
            request.responseHeaders.addRawHeader(name, value)
        else:
            seen.add(lowered)
            request.responseHeaders.setRawHeaders(name, [value])


def _reset_stream(request: WebRequest) -> None:
    """
    Cut an HTTP/2 stream so that the client can tell. C{abortConnection} says NO_ERROR, which some clients
    take for an ordinary end, so it is only for a C{twisted.web} that is not as we know it.
    """
    stream = request.channel
    connection = getattr(stream, "_conn", None)
    stream_id = getattr(stream, "streamID", 0)
    if connection is None or not hasattr(connection, "_tryToWriteControlData"):
        stream.abortConnection()
    else:
        from h2.errors import ErrorCodes

        connection.conn.reset_stream(stream_id, error_code=ErrorCodes.INTERNAL_ERROR)
        if connection._tryToWriteControlData():
            connection._requestDone(stream_id)
    request.connectionLost(Failure(ConnectionAborted()))
