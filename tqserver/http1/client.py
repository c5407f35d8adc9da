"""
Our connection to a worker: one request at a time, many one after the other.

The worker's answer is held to the same rules as a client's request: what is malformed is an L{UpstreamFault}, never
passed on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol as Shape

import httptools
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import UpstreamFault
from .head import Headers, RequestHead, ResponseHead, has_body
from .hop import HOP_BY_HOP, connection_options
from .sweep import NEVER

HEAD_BYTES_MAX = 64 * 1024
"""A response's head; frameworks with many cookies stay far below."""

HEADERS_MAX = 256

_FORBIDDEN = (b"\r", b"\n", b"\0")


class Receiver(Shape):
    """Takes a response."""

    def response_interim(self, head: ResponseHead) -> None:
        """An interim response (1xx)."""

    def response_head(self, head: ResponseHead) -> None:
        """The head of the final response."""

    def response_data(self, data: bytes) -> None:
        """Some of the response's body."""

    def response_end(self) -> None:
        """The response is whole. The connection may have another user now, or be gone."""

    def response_failed(self, fault: UpstreamFault, untouched: bool) -> None:
        """
        The response will never be whole.

        @param untouched: not a single byte of an answer had come.
        """


class _State(enum.Enum):
    """Where a connection is."""

    IDLE = enum.auto()
    REQUESTED = enum.auto()
    """A request was begun; no final head has come."""
    ANSWERING = enum.auto()
    """The final head has come."""
    CLOSED = enum.auto()


def serialise(head: RequestHead, target: bytes, headers: Headers, chunked: bool) -> bytes:
    """
    A request's head as it goes to a worker, made from the parsed form alone.

    @param target: path and query that the worker shall see.
    @param headers: end-to-end fields, without any that frame the body.
    @param chunked: the length of the body is not known.
    """
    parts = [head.method, b" ", target, b" HTTP/1.1\r\n"]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    if chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    elif head.content_length or head.method in (b"POST", b"PUT", b"PATCH"):
        parts.append(b"content-length: %d\r\n" % (head.content_length or 0))
    parts.append(b"\r\n")
    return b"".join(parts)


@implementer(IPushProducer)
class HTTPClientConnection(Protocol):
    """
    One connection to a worker.

    @ivar deadline: for the sweep; the idle pool and the forwarder set it.
    @ivar reusable: whether another request may be sent, once the connection is idle.
    @ivar used: requests that were sent on it.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._state = _State.IDLE
        self._receiver: Receiver | None = None
        self._body_producer: IPushProducer | None = None
        self._method = b""
        self._chunked = False
        self._headers: Headers = []
        self._reason = b""
        self._head_bytes = 0
        self._length: int | None = None
        self._fault: UpstreamFault | None = None
        self._touched = False
        self._paused = False
        self._complete = False
        self._bodiless = False
        self._answer_chunked = False
        self._request_ended = True
        self._unsent_bytes = 0
        self._write_paused = False
        self.reusable = True
        self.used = 0
        self.deadline = NEVER
        self.on_made: Callable[[HTTPClientConnection], None] = lambda connection: None
        self.on_idle: Callable[[HTTPClientConnection], None] = lambda connection: None
        self.on_lost: Callable[[HTTPClientConnection], None] = lambda connection: None
        self.on_timeout: Callable[[HTTPClientConnection], None] = lambda connection: connection.close()

    def connectionMade(self) -> None:
        transport = self.transport
        assert transport is not None
        if hasattr(transport, "setTcpNoDelay"):
            try:
                transport.setTcpNoDelay(True)
            except OSError:
                # A UNIX socket knows no such option.
                pass
        transport.registerProducer(self, True)  # type: ignore[attr-defined]
        self.on_made(self)

    # The request.

    def request(self, head: RequestHead, target: bytes, headers: Headers, chunked: bool, receiver: Receiver) -> None:
        """
        Send a request's head. Its body follows by L{body_data} and L{body_end}, which is called for an empty one
        too.
        """
        self._state = _State.REQUESTED
        self._receiver = receiver
        self._method = head.method
        self._chunked = chunked
        self._touched = False
        self._complete = False
        self._request_ended = False
        self._unsent_bytes = 0 if chunked else head.content_length or 0
        self.used += 1
        assert self.transport is not None
        self.transport.write(serialise(head, target, headers, chunked))

    def body_data(self, data: bytes) -> None:
        """Send some of the request's body."""
        if self.transport is None or self._state is _State.CLOSED or self._request_ended:
            return
        if self._chunked:
            self.transport.writeSequence((b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self._unsent_bytes -= len(data)
            if self._unsent_bytes < 0:
                # More than was declared would be taken for the next request.
                self._fail(UpstreamFault("The request's body is longer than it said."))
                return
            self.transport.write(data)

    def body_end(self) -> None:
        """The request's body is whole."""
        if self._request_ended:
            return
        if self._unsent_bytes:
            # The worker would take the next request for the rest of this one.
            self._fail(UpstreamFault("The request's body is shorter than it said."))
            return
        self._request_ended = True
        if self._chunked and self.transport is not None and self._state is not _State.CLOSED:
            self.transport.write(b"0\r\n\r\n")
        if self._complete:
            self._finished()

    def set_body_producer(self, producer: IPushProducer | None) -> None:
        """Who is paused while the worker reads slowly."""
        self._body_producer = producer

    # The response.

    def pause(self) -> None:
        """Read no more until L{resume}."""
        if not self._paused and self.transport is not None and self._state is not _State.CLOSED:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Read on."""
        if self._paused and self.transport is not None and self._state is not _State.CLOSED:
            self._paused = False
            self.transport.resumeProducing()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Give the connection up, at once and without a word to the receiver."""
        self._receiver = None
        self.reusable = False
        if self.transport is not None and self._state is not _State.CLOSED:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    # Twisted's side.

    def dataReceived(self, data: bytes) -> None:
        if self._state is _State.IDLE:
            # Nobody asked; whatever it is, it would be taken for the answer to the next request.
            self.reusable = False
            self.close()
            return
        self._touched = True
        if self._state is _State.REQUESTED:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fault = UpstreamFault("The worker answered with an upgrade that was not asked for.")
        except httptools.HttpParserError as error:
            if self._fault is None:
                self._fault = UpstreamFault("The worker's answer is malformed.", str(error))
        if self._complete:
            if self._fault is not None:
                # What follows a whole answer is nobody's, whatever it is.
                self._fault = None
                self.reusable = False
            self._answered()
            return
        if self._fault is None and self._state is _State.REQUESTED and self._head_bytes > HEAD_BYTES_MAX:
            self._fault = UpstreamFault("The worker's answer has too large a header.")
        if self._fault is not None:
            self._fail(self._fault)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        state, self._state = self._state, _State.CLOSED
        self.reusable = False
        receiver, self._receiver = self._receiver, None
        until_close = state is _State.ANSWERING and self._length is None and not self._answer_chunked
        if receiver is None:
            pass
        elif until_close and isinstance(reason.value, ConnectionDone):
            # The end of the connection is the end of this body (RFC 9112 section 6.3 item 8); a reset is not.
            receiver.response_end()
        else:
            receiver.response_failed(
                UpstreamFault(
                    "The worker closed the connection before its answer was whole.", reason.getErrorMessage()
                ),
                not self._touched,
            )
        self._body_producer = None
        self.on_lost(self)
        del self._parser

    def pauseProducing(self) -> None:
        self._write_paused = True
        if self._body_producer is not None:
            self._body_producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._write_paused = False
        if self._body_producer is not None:
            self._body_producer.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is closing; C{connectionLost} tells everybody."""

    def timed_out(self, now: float) -> None:
        """The deadline has passed."""
        self.deadline = NEVER
        self.on_timeout(self)

    # The parser's side.

    def on_message_begin(self) -> None:
        if self._complete:
            # It would be taken for the answer to the next request.
            self.reusable = False
            return
        self._headers = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        if len(self._headers) > HEADERS_MAX and self._fault is None:
            self._fault = UpstreamFault("The worker's answer has too many header fields.")

    def on_headers_complete(self) -> None:
        if self._fault is not None or self._receiver is None or self._complete:
            return
        status = self._parser.get_status_code()
        try:
            head = self._head(status)
        except UpstreamFault as fault:
            self._fault = fault
            return
        if status < 200:
            self._head_bytes = 0
            if status == 101:
                self._fault = UpstreamFault("The worker answered with an upgrade that was not asked for.")
            else:
                self._receiver.response_interim(head)
            return
        self._head_bytes = 0
        self._state = _State.ANSWERING
        if not self._parser.should_keep_alive():
            self.reusable = False
        self._bodiless = self._complete = self._method == b"HEAD"
        self._receiver.response_head(head)

    def _head(self, status: int) -> ResponseHead:
        """The head without what is between the worker and us."""
        length: int | None = None
        chunked = False
        options: frozenset[bytes] = frozenset()
        lowered = [(name.lower(), name, value) for name, value in self._headers]
        for name, _, value in lowered:
            for forbidden in _FORBIDDEN:
                if forbidden in value:
                    raise UpstreamFault("The worker's answer has a malformed header.")
            if name == b"content-length":
                if not value.isdigit() or len(value) > 18 or (length is not None and length != int(value)):
                    raise UpstreamFault("The worker's answer has a malformed Content-Length.")
                length = int(value)
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked" or chunked:
                    raise UpstreamFault("The worker's answer has an unknown transfer coding.")
                chunked = True
            elif name == b"connection":
                options |= connection_options((value,))
        if chunked and length is not None:
            raise UpstreamFault("The worker's answer has both Content-Length and Transfer-Encoding.")
        headers = [
            (spelled, value)
            for name, spelled, value in lowered
            if name != b"content-length" and name not in HOP_BY_HOP and name not in options
        ]
        self._answer_chunked = chunked
        self._length = length
        if status >= 200 and not has_body(status, self._method):
            self._length = 0
        elif status >= 200 and length is None and not chunked:
            self.reusable = False
        return ResponseHead(status, self._reason, headers, length)

    def on_body(self, data: bytes) -> None:
        if self._receiver is not None and self._fault is None:
            if self._complete:
                # The body of an answer to HEAD, say: the answer is whole without it.
                self.reusable = False
                return
            self._receiver.response_data(data)

    def on_message_complete(self) -> None:
        if self._state is _State.ANSWERING and self._fault is None:
            # What follows from that waits until the parser has let go of the segment.
            self._complete = True

    # Ours.

    def _answered(self) -> None:
        """The answer is whole."""
        if self._bodiless:
            # The parser cannot know that the answer to a HEAD has no body, whatever its fields say.
            self._bodiless = False
            self._parser = httptools.HttpResponseParser(self)
        if not self._request_ended:
            # An answer before the request was whole (a refusal, say): whether the worker reads the rest, we cannot
            # tell, so nothing more goes to this connection.
            self.reusable = False
            self._request_ended = True
        elif self._write_paused:
            # It has not even read all that was written, and perhaps never will.
            self.reusable = False
        self._finished()

    def _finished(self) -> None:
        receiver, self._receiver = self._receiver, None
        self._body_producer = None
        self._state = _State.IDLE
        self.deadline = NEVER
        if self._paused:
            self.resume()
        if self.reusable:
            self.on_idle(self)
        else:
            self.close()
        if receiver is not None:
            receiver.response_end()

    def _fail(self, fault: UpstreamFault) -> None:
        receiver, self._receiver = self._receiver, None
        self.close()
        if receiver is not None:
            receiver.response_failed(fault, False)
