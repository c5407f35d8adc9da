"""
A client's connection to us.

Bytes go into httptools' parser; a request's head comes out as a L{ServerExchange}, which is handed to the factory's
C{serve}. Requests that a client pipelines wait here, unread beyond one segment, until those before them have ended.
"""

from __future__ import annotations

import enum
import fcntl
import struct
import termios
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol as Shape

import httptools
from attrs import frozen
from twisted.internet.interfaces import IAddress, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import ClientFault, Fault
from .exchange import ServerExchange
from .head import Headers, ResponseHead, reason_phrase
from .strict import request_head
from .sweep import NEVER, Sweep

HEADERS_MAX = 128
"""Header fields of one request."""

PIPELINE_MAX = 64
"""Requests read ahead of the one that is served; one segment of a sane client holds fewer."""

LINGER_S = 2.0
"""How long a client may go on sending what we will not read, so that it gets our answer instead of a reset
(RFC 9112 section 9.6)."""

LINGER_BYTES_MAX = 4 * 1024 * 1024


class _State(enum.Enum):
    """Where a connection is."""

    IDLE = enum.auto()
    """Nothing of a request has come yet."""
    HEAD = enum.auto()
    """Some of a head has come."""
    EXCHANGE = enum.auto()
    """A request is being served."""
    LINGERING = enum.auto()
    """We have said our last word and wait for the client to read it."""
    CLOSED = enum.auto()


@implementer(IPushProducer)
class HTTPServerConnection(Protocol):
    """One client's connection."""

    factory: HTTPServerFactory

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._state = _State.IDLE
        self._exchange: ServerExchange | None = None
        """The one that is served."""
        self._reading: ServerExchange | None = None
        """The one whose body is being read; the same, or the last that was pipelined."""
        self._waiting: deque[ServerExchange] = deque()
        self._url = b""
        self._headers: Headers = []
        self._head_bytes = 0
        self._body_bytes = 0
        self._fault: Fault | None = None
        self._reading_paused = False
        self.write_paused = False
        self._unsent = -1
        self._lingered_bytes = 0
        self._idle_since = 0.0
        self.leaving = False
        self.deadline = NEVER
        self.served = 0
        self.client_host = self.server_host = ""
        self.client_port = self.server_port = 0

    # Twisted's side.

    def connectionMade(self) -> None:
        transport = self.transport
        assert transport is not None
        peer, host = transport.getPeer(), transport.getHost()
        self.client_host = getattr(peer, "host", "")
        self.client_port = getattr(peer, "port", 0)
        self.server_host = getattr(host, "host", "")
        self.server_port = getattr(host, "port", 0)
        if self.client_port:
            transport.setTcpNoDelay(True)  # type: ignore[attr-defined]
        transport.registerProducer(self, True)  # type: ignore[attr-defined]
        self._idle_since = self.factory.clock.seconds()
        self.deadline = self._idle_since + self.factory.settings.read_timeout_s
        self.factory.connected(self)

    def dataReceived(self, data: bytes) -> None:
        state = self._state
        if state is _State.LINGERING:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES_MAX:
                self.cut()
            return
        if state is _State.CLOSED or self._fault is not None:
            return
        if state is _State.IDLE:
            self._state = _State.HEAD
            self.deadline = self.factory.clock.seconds() + self.factory.settings.read_timeout_s
        elif state is _State.EXCHANGE and self._reading is not None:
            self.deadline = self.factory.clock.seconds() + self.factory.settings.read_timeout_s
        if self._reading is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # We did not ask for another protocol to begin here: what follows is the next request.
            self._parser = httptools.HttpRequestParser(self)
            rest = data[upgrade.args[0] :]
            if rest:
                self.dataReceived(rest)
                return
        except httptools.HttpParserError as error:
            if self._fault is None:
                self._fault = ClientFault("The request is malformed.", str(error))
        if (
            self._fault is None
            and self._reading is None
            and self._head_bytes > self.factory.settings.header_bytes_max
        ):
            self._fault = self._head_too_large(self._url)
        if self._fault is not None:
            self._misread()
        if self._exchange is None:
            self._next()
        else:
            self.reading_changed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _State.CLOSED
        self.deadline = NEVER
        self.factory.lost(self)
        waiting, self._waiting = self._waiting, deque()
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.end()
        for exchange in waiting:
            exchange.end()
        # The parser refers to us and we to it.
        del self._parser

    def pauseProducing(self) -> None:
        self.write_paused = True
        self._unsent = -1
        if self._state is _State.EXCHANGE:
            self.deadline = self.factory.clock.seconds() + self.factory.settings.write_timeout_s
        if self._exchange is not None:
            self._exchange.pause_producer()

    def resumeProducing(self) -> None:
        self.write_paused = False
        if self._state is _State.EXCHANGE:
            self._expect_body()
        if self._exchange is not None:
            self._exchange.resume_producer()

    def stopProducing(self) -> None:
        """The transport is closing; C{connectionLost} tells everybody."""

    # The parser's side.

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        headers.append((name.lower(), value.rstrip(b" \t")))
        if len(headers) > HEADERS_MAX and self._fault is None:
            self._fault = ClientFault("The request has too many header fields.", status=431)

    def _head_too_large(self, url: bytes) -> Fault:
        if len(url) > self.factory.settings.header_bytes_max // 2:
            return ClientFault("The request target is too long.", status=414)
        return ClientFault("The request's header is too large.", status=431)

    def on_headers_complete(self) -> None:
        if self._fault is not None:
            return
        parser = self._parser
        headers, self._headers = self._headers, []
        url, self._url = self._url, b""
        size = len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
        settings = self.factory.settings
        major, _, minor = parser.get_http_version().partition(".")
        try:
            if size > settings.header_bytes_max:
                raise self._head_too_large(url)
            head = request_head(
                parser.get_method(),
                url,
                (int(major), int(minor or 0)),
                headers,
                bool(parser.should_keep_alive()),
            )
            limit = settings.body_bytes_max
            if limit and (head.content_length or 0) > limit:
                raise ClientFault("The request's body is too large.", f"more than {limit} bytes", status=413)
            if len(self._waiting) >= PIPELINE_MAX:
                raise ClientFault("Too many requests were sent ahead.", status=400)
        except Fault as fault:
            self._fault = fault
            return
        self._head_bytes = 0
        self._body_bytes = 0
        exchange = ServerExchange(self, head, self.factory.clock.seconds())
        if head.content_length == 0:
            exchange.body_end()
        else:
            self._reading = exchange
        # Served when the parser has let go of the segment, so that nothing calls into it from within.
        self._waiting.append(exchange)

    def on_body(self, data: bytes) -> None:
        exchange = self._reading
        if exchange is None or self._fault is not None:
            return
        limit = self.factory.settings.body_bytes_max
        if limit and exchange.head.content_length is None:
            self._body_bytes += len(data)
            if self._body_bytes > limit:
                self._fault = ClientFault(
                    "The request's body is too large.", f"more than {limit} bytes", status=413
                )
                return
        exchange.body_data(data)

    def on_message_complete(self) -> None:
        exchange, self._reading = self._reading, None
        if exchange is None or self._fault is not None:
            return
        exchange.body_end()

    # Ours.

    def _begin(self, exchange: ServerExchange) -> None:
        self._state = _State.EXCHANGE
        self._exchange = exchange
        self._expect_body()
        self.served += 1
        self.factory.observer.serve(exchange)

    def _expect_body(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange is self._reading and exchange.wants_body:
            self.deadline = self.factory.clock.seconds() + self.factory.settings.read_timeout_s
        else:
            self.deadline = NEVER

    def exchange_finished(self, exchange: ServerExchange) -> None:
        """A response is whole; go on with the next request, or close."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        if not exchange.head.keep_alive or exchange is self._reading:
            # What we promised with the head holds, even if we have begun to leave since: the client may have sent its
            # next request already. Or the rest of a body that nobody wants stands between us and the next request.
            self.close(unread=exchange is self._reading or self._fault is not None)
        else:
            self._next()

    def _next(self) -> None:
        if self._state in (_State.LINGERING, _State.CLOSED):
            return
        if self._waiting:
            self._begin(self._waiting.popleft())
            self.reading_changed()
            return
        if self._fault is not None:
            self._refuse(self._fault)
            return
        settings = self.factory.settings
        now = self.factory.clock.seconds()
        if not self._head_bytes:
            self._state = _State.IDLE
            self._idle_since = now
            self.deadline = now + (settings.idle_timeout_s if self.served else settings.read_timeout_s)
        elif self._state is not _State.HEAD:
            self._state = _State.HEAD
            self.deadline = now + settings.read_timeout_s
        self.reading_changed()

    def _misread(self) -> None:
        """What came cannot be understood, and nothing after it can: read no more, tell whom it concerns."""
        assert self._fault is not None
        self._pause_reading()
        reading, self._reading = self._reading, None
        if reading is not None:
            # The body went wrong: the answer is given by whoever takes care of the request.
            reading.head.keep_alive = False
            reading.body_failed(self._fault)

    def _refuse(self, fault: Fault) -> None:
        """Answer what is no request."""
        head, body = self.factory.observer.refuse(fault, self)
        lines = [b"HTTP/1.1 %d %s\r\n" % (head.status, head.reason or reason_phrase(head.status))]
        lines.extend(name + b": " + value + b"\r\n" for name, value in head.headers)
        lines.append(self.date_header())
        lines.append(b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
        self.send(b"".join(lines) + body)
        self.close(unread=True)

    def reading_changed(self) -> None:
        """Read on, or stop reading, as the exchange in hand wants."""
        if self._fault is not None:
            return
        if self._state is _State.EXCHANGE:
            reading = self._reading
            if reading is None:
                wants = not self._waiting
            else:
                wants = reading.wants_body
            if reading is not None and reading is self._exchange and not self.write_paused:
                self._expect_body()
        else:
            wants = True
        if wants == self._reading_paused:
            if wants:
                self._reading_paused = False
                if self.transport is not None and self._state is not _State.CLOSED:
                    self.transport.resumeProducing()  # type: ignore[attr-defined]
            else:
                self._pause_reading()

    def _pause_reading(self) -> None:
        self._reading_paused = True
        if self.transport is not None and self._state is not _State.CLOSED:
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    def send(self, data: bytes) -> None:
        """Write to the client."""
        if self.transport is not None:
            self.transport.write(data)

    def send_sequence(self, pieces: tuple[bytes, ...]) -> None:
        """Write several pieces to the client at once."""
        if self.transport is not None:
            self.transport.writeSequence(pieces)

    def date_header(self) -> bytes:
        """A C{Date} field, made once a second."""
        return self.factory.date_header()

    def leave(self) -> None:
        """Serve what has begun, tell the client to go elsewhere with the next request."""
        self.leaving = True

    def close_if_idle(self, since: float) -> bool:
        """
        Close, if nothing of a request has come since a moment by the reactor's clock.

        @return: whether it was closed.
        """
        if self._state is _State.IDLE and self._idle_since <= since:
            self.close()
            return True
        return False

    def close(self, unread: bool = False) -> None:
        """
        Close, when everything was written and the client has had time to read it.

        @param unread: something of the client's was not read and perhaps still comes. To close then would be a
            reset, which can destroy our answer before the client has read it (RFC 9112 section 9.6).
        """
        if self._state in (_State.LINGERING, _State.CLOSED) or self.transport is None:
            return
        transport = self.transport
        transport.unregisterProducer()  # type: ignore[attr-defined]
        if not unread:
            self._state = _State.LINGERING
            self.deadline = self.factory.clock.seconds() + self.factory.settings.write_timeout_s
            transport.loseConnection()
            return
        self._state = _State.LINGERING
        self._reading = None
        self.deadline = self.factory.clock.seconds() + LINGER_S
        if can_half_close(transport):
            transport.loseWriteConnection()  # type: ignore[attr-defined]
            self._reading_paused = False
            transport.resumeProducing()  # type: ignore[attr-defined]
        else:
            transport.loseConnection()

    def cut(self) -> None:
        """Close at once, so that the client can tell."""
        if self._state is not _State.CLOSED and self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def timed_out(self, now: float) -> None:
        """A deadline has passed; what it meant depends on the state."""
        state = self._state
        if state is _State.IDLE and self.served:
            self.close()
        elif state in (_State.IDLE, _State.HEAD):
            if state is _State.IDLE:
                self.close()
            elif self._fault is None:
                self._fault = ClientFault("The request took too long to arrive.", status=408)
                self._refuse(self._fault)
        elif state is _State.EXCHANGE:
            if self.write_paused:
                self._check_progress(now)
            elif self._reading is not None:
                self._fault = ClientFault("The request's body took too long to arrive.", status=408)
                self.deadline = NEVER
                self._misread()
        else:
            self.cut()
            self.deadline = NEVER

    def _check_progress(self, now: float) -> None:
        """A client that reads slowly is borne; one that does not read at all is cut."""
        unsent = unsent_bytes(self.transport)
        if unsent == self._unsent:
            self.cut()
            self.deadline = NEVER
        else:
            self._unsent = unsent
            self.deadline = now + self.factory.settings.write_timeout_s


def can_half_close(transport: object) -> bool:
    """Whether a transport can be closed for writing alone."""
    return ITCPTransport.providedBy(transport) or hasattr(transport, "loseWriteConnection")


def unsent_bytes(transport: object) -> int:
    """
    Bytes that the peer has not taken yet, in our buffer and the kernel's (tcp(7), SIOCOUTQ).

    @return: a number that changes whenever there is progress.
    """
    waiting = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    waiting += getattr(transport, "_tempDataLen", 0)
    try:
        fileno: int = transport.fileno()  # type: ignore[attr-defined]
        queued: int = struct.unpack("i", fcntl.ioctl(fileno, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    except (OSError, AttributeError, TypeError):
        queued = 0
    return waiting + queued
