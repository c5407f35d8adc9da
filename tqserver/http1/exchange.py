"""
One request on a client's connection, and its response.

L{ServerExchange} provides C{tqserver.front.exchange.IExchange}, where its methods are documented. The connection feeds
it the request's body and carries what it writes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol as Shape

from twisted.internet.interfaces import IPushProducer

from ..errors import Fault
from .handover import HandedOver, Taker
from .head import STATUS_LINES, Headers, RequestHead, ResponseHead, status_line

BODY_BUFFER_BYTES = 64 * 1024
"""Of a body that nobody has asked for yet, so much is read; so small bodies are here when they are wanted, and a client
that leaves while it waits is noticed. As much is kept of what was told, so that it can be told again."""


class Carrier(Shape):
    """The connection, as its exchanges see it."""

    client_host: str
    client_port: int
    secure: bool
    leaving: bool
    write_paused: bool

    def send(self, data: bytes) -> None:
        """Write to the client."""

    def send_sequence(self, pieces: tuple[bytes, ...]) -> None:
        """Write several pieces to the client at once."""

    def send_file(self, fd: int, at: int, length: int, told: Callable[[int, bool], None]) -> bool:
        """Have the kernel send a piece of a file, if the transport can have it do that."""

    def cancel_file(self) -> None:
        """Send no more of it."""

    def server_name(self) -> tuple[str, int]:
        """Our own address and port."""

    def date_header(self) -> bytes:
        """A C{Date} field."""

    def reading_changed(self) -> None:
        """What the exchange wants to be read has changed."""

    def exchange_finished(self, exchange: ServerExchange) -> None:
        """The response is whole."""

    def cut(self) -> None:
        """Reset the connection."""

    def hand_over(self, answer: bytes, taker: Taker) -> HandedOver:
        """Send the answer that switches to another protocol, and give the connection to who speaks it."""


_LOGGED = frozenset([b"referer", b"user-agent"])
"""Header fields of a request that are wanted when it is over."""


class Sink(Shape):
    """What L{ServerExchange.receive} takes; the front's C{IBodySink}."""

    def body_data(self, data: bytes) -> None: ...

    def body_end(self) -> None: ...

    def body_failed(self, fault: Fault) -> None: ...


class _Framing(enum.Enum):
    """How the end of a response's body is told."""

    NONE = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    CLOSE = enum.auto()


_LENGTH = _Framing.LENGTH


class ServerExchange:
    """
    The exchange. What belongs to C{IExchange} is documented there.

    Most of what may have to be remembered of an exchange is remembered of few; what is never set costs nothing.
    """

    mount = b""
    request_id = ""
    response_headers: Headers = []
    """Never changed in place."""
    started = 0.0
    status = 0
    sent_bytes = 0
    over = False
    body_fault: Fault | None = None
    body_whole = False
    """All of the body was read from the connection."""

    _sink: Sink | None = None
    _body: list[bytes] | None = None
    _body_buffered = 0
    _body_end_told = False
    _body_paused = False
    _kept: list[bytes] | None = None
    _kept_bytes = 0
    """More than L{BODY_BUFFER_BYTES} when the beginning was not kept."""
    _producer: IPushProducer | None = None
    _framing = _Framing.NONE
    _remaining = 0
    _callback: Callable[[], None] | None = None
    _more_callbacks: tuple[Callable[[], None], ...] = ()

    def __init__(self, connection: Carrier, head: RequestHead) -> None:
        self._connection = connection
        self.head = head
        self.client_host = connection.client_host

    @property
    def secure(self) -> bool:
        return self._connection.secure

    @property
    def client_port(self) -> int:
        return self._connection.client_port

    @property
    def server_host(self) -> str:
        return self._connection.server_name()[0]

    @property
    def server_port(self) -> int:
        return self._connection.server_name()[1]

    # The request's body. The connection calls body_data, body_end and body_failed; whoever cares, the rest.

    def body_data(self, data: bytes) -> None:
        """The connection read some of the body."""
        if self._sink is not None and not self._body_paused:
            self._keep(data)
            self._sink.body_data(data)
        elif not self.over:
            if self._body is None:
                self._body = []
            self._body.append(data)
            self._body_buffered += len(data)

    def body_end(self) -> None:
        """The connection read the last of the body."""
        self.body_whole = True
        if self._sink is not None:
            self._deliver()

    def body_failed(self, fault: Fault) -> None:
        """The connection will not get the rest of the body."""
        self.body_fault = fault
        if self._sink is not None:
            self._sink.body_failed(fault)

    @property
    def wants_body(self) -> bool:
        """Whether the connection should read on."""
        if self.body_whole:
            return False
        if self._sink is None:
            return self._body_buffered < BODY_BUFFER_BYTES and not (self.head.expect_continue)
        return not self._body_paused

    def _keep(self, data: bytes) -> None:
        """Remember the beginning of the body, so that it can be sent again."""
        self._kept_bytes += len(data)
        if self._kept_bytes > BODY_BUFFER_BYTES:
            self._kept = None
        elif self._kept is None:
            self._kept = [data]
        else:
            self._kept.append(data)

    @property
    def replayable(self) -> bool:
        return self._kept_bytes <= BODY_BUFFER_BYTES and not self.status

    def receive(self, sink: Sink) -> None:
        self._sink = sink
        self._body_paused = self._body_end_told = False
        if self.over:
            return
        if self._kept:
            self._body = self._kept if self._body is None else self._kept + self._body
            self._body_buffered += self._kept_bytes
            self._kept, self._kept_bytes = None, 0
        if self.head.expect_continue:
            # Once, however often the body is told.
            self.head.expect_continue = False
            if not self.body_whole and not self._body_buffered and not self.status:
                self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.body_fault is not None:
            sink.body_failed(self.body_fault)
            return
        self._deliver()
        self._connection.reading_changed()

    def _deliver(self) -> None:
        sink = self._sink
        if sink is None:
            return
        while self._body and not self._body_paused and not self.over:
            body, self._body = self._body, None
            self._body_buffered = 0
            data = body[0] if len(body) == 1 else b"".join(body)
            self._keep(data)
            sink.body_data(data)
        if self.body_whole and not self._body and not self._body_paused and not self._body_end_told and not self.over:
            self._body_end_told = True
            sink.body_end()

    def pause_body(self) -> None:
        self._body_paused = True
        self._connection.reading_changed()

    def resume_body(self) -> None:
        if self._body_paused:
            self._body_paused = False
            self._deliver()
            self._connection.reading_changed()

    # The response.

    def respond(self, head: ResponseHead, producer: IPushProducer | None, first: bytes = b"") -> None:
        if self.over:
            return
        self._producer = producer
        connection = self._connection
        parts = self._head_parts(head)
        if first:
            parts += self._framed(first)
        connection.send(b"".join(parts))
        if self._remaining < 0:
            self.abort()
        elif producer is not None and connection.write_paused:
            producer.pauseProducing()

    def answer(self, head: ResponseHead, body: bytes) -> None:
        if self.over:
            return
        connection = self._connection
        length = len(body)
        if (
            head.written
            and (head.content_length is None or head.content_length == length)
            and not self.response_headers
            and self.head.method != b"HEAD"
        ):
            self.status = head.status
            self.sent_bytes = length
            parts = [head.written, b"" if head.dated else connection.date_header()]
            if head.content_length is None:
                parts.append(b"Content-Length: %d\r\n" % length)
            parts += (self._last_line(), body)
        else:
            parts = self._head_parts(head, length)
            if self._framing is _LENGTH:
                self._remaining = 0
                self.sent_bytes = length
                parts.append(body)
        connection.send(b"".join(parts))
        try:
            self.end()
        finally:
            connection.exchange_finished(self)

    def _head_parts(self, head: ResponseHead, whole_bytes: int = -1) -> list[bytes]:
        """
        Decide how the end of the body is told, and write the head.

        @param whole_bytes: length of the body if all of it is here.
        """
        self.status = status = head.status
        self._kept = None
        request = self.head
        connection = self._connection
        parts = [STATUS_LINES.get((status, head.reason)) or status_line(status, head.reason)]
        dated = False
        for name, value in head.headers:
            parts += (name, b": ", value, b"\r\n")
            if len(name) == 4 and name.lower() == b"date":
                dated = True
        for name, value in self.response_headers:
            parts += (name, b": ", value, b"\r\n")
        if not dated:
            parts.append(connection.date_header())
        length = head.content_length
        if status < 200 or status == 204 or status == 304 or request.method == b"HEAD":
            if length is not None and status >= 200 and status != 204:
                parts.append(b"Content-Length: %d\r\n" % length)
        elif whole_bytes >= 0 or length is not None:
            self._framing = _LENGTH
            self._remaining = length = whole_bytes if whole_bytes >= 0 else length or 0
            parts.append(b"Content-Length: %d\r\n" % length)
        elif request.version >= (1, 1):
            self._framing = _Framing.CHUNKED
            parts.append(b"Transfer-Encoding: chunked\r\n")
        else:
            self._framing = _Framing.CLOSE
            request.keep_alive = False
        parts.append(self._last_line())
        return parts

    def _last_line(self) -> bytes:
        """Decide whether the connection persists: the last that is to be said in the head, with the empty line."""
        request = self.head
        if self._connection.leaving or (request.expect_continue and not self.body_whole and self._sink is None):
            # Or the client still holds its body back and may or may not send it now: nobody can tell what comes next.
            request.keep_alive = False
        if not request.keep_alive:
            return b"Connection: close\r\n\r\n"
        return b"\r\n" if request.version != (1, 0) else b"Connection: keep-alive\r\n\r\n"

    def _framed(self, data: bytes) -> tuple[bytes, ...]:
        """Some of the body as it goes over the wire; C{_remaining} is below 0 after more than was promised."""
        framing = self._framing
        if framing is _Framing.NONE:
            return ()
        if framing is _LENGTH:
            self._remaining -= len(data)
            if self._remaining < 0:
                # It would be taken for the next response.
                return ()
        self.sent_bytes += len(data)
        if framing is _Framing.CHUNKED:
            return (b"%x\r\n" % len(data), data, b"\r\n")
        return (data,)

    def inform(self, head: ResponseHead) -> None:
        if self.over or self.status or self.head.version < (1, 1):
            return
        lines = [b"HTTP/1.1 %d %s\r\n" % (head.status, head.reason)]
        lines.extend(name + b": " + value + b"\r\n" for name, value in head.headers)
        lines.append(b"\r\n")
        self._connection.send(b"".join(lines))

    def upgrade(self, head: ResponseHead, protocol: bytes, taker: Taker) -> bool:
        request = self.head
        if self.over or self.status or not request.upgrade:
            return False
        self.status = head.status
        lines = [status_line(head.status, head.reason)]
        lines.extend(b"%b: %b\r\n" % field for field in (*head.headers, *self.response_headers))
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol)
        # It may live for days: keep what the log wants.
        request.headers = [field for field in request.headers if field[0] in _LOGGED]
        self.response_headers = []
        self._sink = None
        # Nothing else is asked of it from now on but to be cut and to hear of the end.
        self._connection = self._connection.hand_over(b"".join(lines), taker)  # type: ignore[assignment]
        return True

    def write(self, data: bytes) -> None:
        if self.over or not data:
            return
        pieces = self._framed(data)
        if self._remaining < 0:
            self.abort()
        elif len(pieces) == 1:
            self._connection.send(data)
        elif pieces:
            self._connection.send_sequence(pieces)

    def send_file(self, fd: int, at: int, length: int, ended: Callable[[bool], None]) -> bool:
        if self.over or self._framing is not _LENGTH or length > self._remaining:
            return False
        end = self._remaining - length

        def told(sent: int, last: bool) -> None:
            self._remaining -= sent
            self.sent_bytes += sent
            if last:
                ended(self._remaining == end)

        # Whoever ends the exchange closes the file.
        self.when_over(self._connection.cancel_file)
        return self._connection.send_file(fd, at, length, told)

    def finish(self) -> None:
        if self.over:
            return
        if self._framing is _LENGTH and self._remaining:
            self.abort()
            return
        if self._framing is _Framing.CHUNKED:
            self._connection.send(b"0\r\n\r\n")
        self._finished()

    def _finished(self) -> None:
        try:
            # Told before the next request begins, so that what this one held is free by then.
            self.end()
        finally:
            self._connection.exchange_finished(self)

    def abort(self) -> None:
        if not self.over:
            self._connection.cut()

    def when_over(self, callback: Callable[[], None]) -> None:
        if self.over:
            callback()
        elif self._callback is None:
            self._callback = callback
        else:
            self._more_callbacks += (callback,)

    def end(self) -> None:
        """The connection or the response has ended: tell those who wait for it, once."""
        if self.over:
            return
        self.over = True
        self._body = self._kept = self._producer = self._sink = None
        callback, self._callback = self._callback, None
        more, self._more_callbacks = self._more_callbacks, ()
        if callback is not None:
            callback()
            for callback in more:
                callback()

    def pause_producer(self) -> None:
        """The client is slow."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_producer(self) -> None:
        """The client has caught up."""
        if self._producer is not None:
            self._producer.resumeProducing()
