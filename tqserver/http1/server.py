"""
A client's connection to us.

Bytes go into httptools' parser; a request's head comes out as a L{ServerExchange}, which is handed to the factory's
C{serve}. Requests that a client pipelines wait here, unread beyond one segment, until those before them have ended.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING

import httptools
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import ClientFault, Fault
from .exchange import ServerExchange
from .head import Headers, last_response
from .progress import can_half_close, unsent_bytes
from .strict import request_head
from .sweep import NEVER

if TYPE_CHECKING:
    from .factory import HTTPServerFactory

HEADERS_MAX = 128
"""Header fields of one request."""

PIPELINE_MAX = 64
"""Requests read ahead of the one that is served; one segment of a sane client holds fewer."""

LINGER_S = 2.0
"""How long a client may go on sending what we will not read, so that it gets our answer instead of a reset
(RFC 9112 section 9.6)."""

LINGER_BYTES_MAX = 4 * 1024 * 1024


class _State(enum.Enum):
    """Where a client's connection is."""

    IDLE = enum.auto()
    """Nothing of a request has come yet."""
    HEAD = enum.auto()
    """Some of a head has come."""
    EXCHANGE = enum.auto()
    """A request is being served."""
    FLUSHING = enum.auto()
    """The client has not taken the answers so far; what it asks next waits until it has."""
    LINGERING = enum.auto()
    """We have said our last word and wait for the client to read it."""
    CLOSED = enum.auto()


_LAST = (_State.LINGERING, _State.CLOSED)
"""In these nothing begins any more."""


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
        self._framing_bytes = 0
        self._body_follows: ServerExchange | None = None
        self._primed = False
        self._beginning = False
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
        self._feed(data)
        if self._fault is None:
            self._check_sizes()
        if self._fault is not None:
            self._misread()
        if self._exchange is None:
            self._next()
        else:
            self.reading_changed()

    def _feed(self, data: bytes) -> None:
        """Have a segment parsed."""
        while data and self._fault is None:
            if self._reading is not None:
                self._framing_bytes += len(data)
            elif self._head_bytes:
                self._head_bytes += len(data)
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # We did not ask for another protocol to begin here: what follows is the request's body, if it has
                # one, which the parser does not look for, and then the next request.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                if self._body_follows is not None:
                    self._prime(self._body_follows)
            except httptools.HttpParserError as error:
                if self._fault is None:
                    self._fault = ClientFault("The request is malformed.", str(error))
            else:
                return

    def _prime(self, exchange: ServerExchange) -> None:
        """Bring a new parser to where the body of a request begins."""
        self._body_follows = None
        self._primed = True
        length = exchange.head.content_length
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
        self._primed = False
        self._head_bytes = 0
        self._framing_bytes = 0
        self._reading = exchange

    def _check_sizes(self) -> None:
        """Bound what is neither a whole head nor a body."""
        limit = self.factory.settings.header_bytes_max
        if self._reading is None:
            if self._head_bytes > limit:
                self._fault = self._head_too_large(self._url)
        elif self._framing_bytes > limit:
            # Endless chunk extensions or trailers.
            self._fault = ClientFault("The request's trailer is too large.", status=431)

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
        if self._state is _State.EXCHANGE:
            self._expect_progress()
        if self._exchange is not None:
            self._exchange.pause_producer()

    def resumeProducing(self) -> None:
        self.write_paused = False
        if self._state is _State.FLUSHING:
            self._next()
            return
        if self._state is _State.EXCHANGE:
            self._expect_body()
        if self._exchange is not None:
            self._exchange.resume_producer()

    def stopProducing(self) -> None:
        """The transport is closing; C{connectionLost} tells everybody."""

    # The parser's side.

    def on_message_begin(self) -> None:
        # How much of the segment is this head, nobody can tell before it is whole; those that follow are counted.
        self._head_bytes = 1

    def on_url(self, url: bytes) -> None:
        if not self._primed:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._primed:
            return
        headers = self._headers
        headers.append((name.lower(), value.rstrip(b" \t")))
        if len(headers) > HEADERS_MAX and self._fault is None:
            self._fault = ClientFault("The request has too many header fields.", status=431)

    def _head_too_large(self, url: bytes) -> Fault:
        if len(url) > self.factory.settings.header_bytes_max // 2:
            return ClientFault("The request target is too long.", status=414)
        return ClientFault("The request's header is too large.", status=431)

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._framing_bytes = 0
        if self._fault is not None or self._primed:
            return
        parser = self._parser
        headers, self._headers = self._headers, []
        url, self._url = self._url, b""
        size = len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
        settings = self.factory.settings
        major, _, minor = parser.get_http_version().partition(".")
        version = (int(major), int(minor or 0))
        limit = settings.body_bytes_max
        try:
            if size > settings.header_bytes_max:
                raise self._head_too_large(url)
            head = request_head(parser.get_method(), url, version, headers, bool(parser.should_keep_alive()))
            if len(self._waiting) >= PIPELINE_MAX:
                raise ClientFault("Too many requests were sent ahead.", status=400)
        except Fault as fault:
            self._fault = fault
            return
        self._body_bytes = 0
        exchange = ServerExchange(self, head, self.factory.clock.seconds())
        if limit and (head.content_length or 0) > limit:
            # It is understood, so it is answered like any request; but nothing of its body is read.
            self._fault = ClientFault("The request's body is too large.", f"more than {limit} bytes", status=413)
            head.keep_alive = False
            exchange.body_failed(self._fault)
        elif head.content_length == 0:
            exchange.body_end()
        elif parser.should_upgrade():
            self._body_follows = exchange
        else:
            self._reading = exchange
        # Served when the parser has let go of the segment, so that nothing calls into it from within.
        self._waiting.append(exchange)

    def on_body(self, data: bytes) -> None:
        exchange = self._reading
        if exchange is None or self._fault is not None:
            return
        self._framing_bytes = 0
        limit = self.factory.settings.body_bytes_max
        if limit and exchange.head.content_length is None:
            self._body_bytes += len(data)
            if self._body_bytes > limit:
                self._fault = ClientFault("The request's body is too large.", f"more than {limit} bytes", status=413)
                return
        exchange.body_data(data)

    def on_message_complete(self) -> None:
        if self._fault is not None:
            return
        exchange, self._reading = self._reading, None
        if exchange is None:
            return
        if self._headers:
            # Trailers are nobody's, least of all the next request's (RFC 9110 section 6.5.1).
            self._headers = []
        exchange.body_end()

    # Ours.

    def _begin(self, exchange: ServerExchange) -> None:
        self._state = _State.EXCHANGE
        self._exchange = exchange
        self._expect_body()
        self.served += 1
        self.factory.observer.serve(exchange)

    def _expect_body(self) -> None:
        """The client has so long to send some more of the body, if it is the client whom we wait for."""
        exchange = self._exchange
        if exchange is not None and exchange is self._reading and exchange.wants_body:
            self.deadline = self.factory.clock.seconds() + self.factory.settings.read_timeout_s
        else:
            self.deadline = NEVER

    def _expect_progress(self) -> None:
        """The client has so long to take some more of what we wrote."""
        self._unsent = -1
        self.deadline = self.factory.clock.seconds() + self.factory.settings.write_timeout_s

    def exchange_finished(self, exchange: ServerExchange) -> None:
        """A response is whole; go on with the next request, or close."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        if not exchange.head.keep_alive or exchange is self._reading:
            # What we promised with the head holds, even if we have begun to leave since: the client may have sent its
            # next request already. Or the rest of a body that nobody wants stands between us and the next request.
            unread = exchange is self._reading or self._fault is not None or bool(self._waiting)
            self.close(unread=unread)
        else:
            self._next()

    def _next(self) -> None:
        """Nothing is being served: serve what waits; else wait for the client, whatever it is that it owes us."""
        if self._beginning:
            # An exchange has ended while it began. The loop below goes on; a call from here would go ever deeper.
            return
        self._beginning = True
        try:
            while self._waiting and self._may_begin():
                self._begin(self._waiting.popleft())
        finally:
            self._beginning = False
        if self._exchange is not None:
            self.reading_changed()
        elif self._may_begin():
            self._await_request()
        elif self._state in (_State.EXCHANGE, _State.IDLE, _State.HEAD):
            self._state = _State.FLUSHING
            self._expect_progress()
            self.reading_changed()

    def _may_begin(self) -> bool:
        """Whether a request may be served now. Answers to a client that does not take them would pile up."""
        return self._exchange is None and not self.write_paused and self._state not in _LAST

    def _await_request(self) -> None:
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
        self.send(last_response(head, body, self.date_header()))
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
                if reading is self._exchange and not self.write_paused:
                    self._expect_body()
        else:
            wants = self._state is not _State.FLUSHING
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
        if self._state in _LAST or self.transport is None:
            return
        transport = self.transport
        transport.unregisterProducer()  # type: ignore[attr-defined]
        self._state = _State.LINGERING
        self._expect_progress()
        if not unread:
            transport.loseConnection()
            return
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
            # The end of the connection comes in a later turn: nothing begins until then.
            self._state = _State.LINGERING
            self.deadline = NEVER
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def timed_out(self, now: float) -> None:
        """A deadline has passed; what it meant depends on the state."""
        state = self._state
        if state is _State.IDLE:
            self.close()
        elif state is _State.HEAD:
            self._fault = ClientFault("The request took too long to arrive.", status=408)
            self._refuse(self._fault)
        elif state is _State.EXCHANGE and not self.write_paused:
            self._fault = ClientFault("The request's body took too long to arrive.", status=408)
            self.deadline = NEVER
            self._misread()
        else:
            self._check_progress(now)

    def _check_progress(self, now: float) -> None:
        """A client that reads slowly is borne; one that does not read at all is cut, or has read all."""
        unsent = unsent_bytes(self.transport)
        if unsent == self._unsent or (self._state is _State.LINGERING and not unsent):
            self.cut()
        else:
            self._unsent = unsent
            self.deadline = now + self.factory.settings.write_timeout_s
