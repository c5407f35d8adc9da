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
from .head import Headers, RequestHead, ResponseHead, has_body, reason_phrase

BODY_BUFFER_BYTES = 64 * 1024
"""Of a body that nobody has asked for yet, so much is read; so small bodies are here when they are wanted, and a client
that leaves while it waits is noticed. As much is kept of what was told, so that it can be told again."""


class Carrier(Shape):
    """The connection, as its exchanges see it."""

    client_host: str
    client_port: int
    server_host: str
    server_port: int
    leaving: bool
    write_paused: bool

    def send(self, data: bytes) -> None:
        """Write to the client."""

    def send_sequence(self, pieces: tuple[bytes, ...]) -> None:
        """Write several pieces to the client at once."""

    def date_header(self) -> bytes:
        """A C{Date} field."""

    def reading_changed(self) -> None:
        """What the exchange wants to be read has changed."""

    def exchange_finished(self, exchange: ServerExchange) -> None:
        """The response is whole."""

    def cut(self) -> None:
        """Reset the connection."""


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


class ServerExchange:
    """
    The exchange. What belongs to C{IExchange} is documented there.
    """

    __slots__ = (
        "_body",
        "_body_buffered",
        "_body_end_told",
        "_body_ended",
        "_body_paused",
        "_callbacks",
        "_connection",
        "_framing",
        "_kept",
        "_kept_bytes",
        "_producer",
        "_remaining",
        "_sink",
        "body_fault",
        "client_host",
        "client_port",
        "head",
        "mount",
        "over",
        "request_id",
        "response_headers",
        "secure",
        "sent_bytes",
        "server_host",
        "server_port",
        "started",
        "status",
    )

    def __init__(self, connection: Carrier, head: RequestHead, started: float) -> None:
        self._connection = connection
        self.head = head
        self.mount = b""
        self.started = started
        self.request_id = ""
        self.response_headers: Headers = []
        self.client_host = connection.client_host
        self.client_port = connection.client_port
        self.server_host = connection.server_host
        self.server_port = connection.server_port
        self.secure = False
        self.status = 0
        self.sent_bytes = 0
        self.over = False
        self._sink: Sink | None = None
        self._body: list[bytes] = []
        self._body_buffered = 0
        self._body_ended = False
        self._body_end_told = False
        self.body_fault: Fault | None = None
        self._body_paused = False
        self._kept: list[bytes] | None = []
        self._kept_bytes = 0
        self._producer: IPushProducer | None = None
        self._framing = _Framing.NONE
        self._remaining = 0
        self._callbacks: list[Callable[[], None]] = []

    # The request's body. The connection calls body_data, body_end and body_failed; whoever cares, the rest.

    def body_data(self, data: bytes) -> None:
        """The connection read some of the body."""
        if self._sink is not None and not self._body_paused:
            self._keep(data)
            self._sink.body_data(data)
        elif not self.over:
            self._body.append(data)
            self._body_buffered += len(data)

    def body_end(self) -> None:
        """The connection read the last of the body."""
        self._body_ended = True
        self._deliver()

    def body_failed(self, fault: Fault) -> None:
        """The connection will not get the rest of the body."""
        self.body_fault = fault
        if self._sink is not None:
            self._sink.body_failed(fault)

    @property
    def body_whole(self) -> bool:
        """Whether all of the body was read from the connection."""
        return self._body_ended

    @property
    def wants_body(self) -> bool:
        """Whether the connection should read on."""
        if self._body_ended:
            return False
        if self._sink is None:
            return self._body_buffered < BODY_BUFFER_BYTES and not (self.head.expect_continue)
        return not self._body_paused

    def _keep(self, data: bytes) -> None:
        """Remember the beginning of the body, so that it can be sent again."""
        if self._kept is not None:
            self._kept_bytes += len(data)
            if self._kept_bytes > BODY_BUFFER_BYTES:
                self._kept = None
            else:
                self._kept.append(data)

    @property
    def replayable(self) -> bool:
        return self._kept is not None and not self.status

    def receive(self, sink: Sink) -> None:
        self._sink = sink
        self._body_paused = self._body_end_told = False
        if self.over:
            return
        if self._kept:
            self._body[:0] = self._kept
            self._body_buffered += self._kept_bytes
            self._kept, self._kept_bytes = [], 0
        if self.head.expect_continue:
            # Once, however often the body is told.
            self.head.expect_continue = False
            if not self._body_ended and not self._body_buffered and not self.status:
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
            data = b"".join(self._body)
            self._body.clear()
            self._body_buffered = 0
            self._keep(data)
            sink.body_data(data)
        if self._body_ended and not self._body and not self._body_paused and not self._body_end_told and not self.over:
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

    def respond(self, head: ResponseHead, producer: IPushProducer | None) -> None:
        if self.over:
            return
        self.status = status = head.status
        self._producer = producer
        self._kept = None
        request = self.head
        connection = self._connection
        keep_alive = request.keep_alive and not connection.leaving
        parts = [
            b"HTTP/1.1 %d %s\r\n" % (status, head.reason or reason_phrase(status)),
        ]
        dated = False
        for name, value in head.headers:
            parts.append(name + b": " + value + b"\r\n")
            if len(name) == 4 and name.lower() == b"date":
                dated = True
        for name, value in self.response_headers:
            parts.append(name + b": " + value + b"\r\n")
        if not dated:
            parts.append(connection.date_header())
        length = head.content_length
        if not has_body(status, request.method):
            self._framing = _Framing.NONE
            if length is not None and status >= 200 and status != 204:
                parts.append(b"Content-Length: %d\r\n" % length)
        elif length is not None:
            self._framing = _Framing.LENGTH
            self._remaining = length
            parts.append(b"Content-Length: %d\r\n" % length)
        elif request.version >= (1, 1):
            self._framing = _Framing.CHUNKED
            parts.append(b"Transfer-Encoding: chunked\r\n")
        else:
            self._framing = _Framing.CLOSE
            keep_alive = False
        if not self._body_ended and request.expect_continue and self._sink is None:
            # The client still holds its body back and may or may not send it now: nobody can tell what comes next.
            keep_alive = False
        request.keep_alive = keep_alive
        if not keep_alive:
            parts.append(b"Connection: close\r\n")
        elif request.version < (1, 1):
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        connection.send(b"".join(parts))
        if producer is not None and connection.write_paused:
            producer.pauseProducing()

    def inform(self, head: ResponseHead) -> None:
        if self.over or self.status or self.head.version < (1, 1):
            return
        lines = [b"HTTP/1.1 %d %s\r\n" % (head.status, head.reason)]
        lines.extend(name + b": " + value + b"\r\n" for name, value in head.headers)
        lines.append(b"\r\n")
        self._connection.send(b"".join(lines))

    def write(self, data: bytes) -> None:
        if self.over or not data:
            return
        framing = self._framing
        if framing is _Framing.LENGTH:
            self._remaining -= len(data)
            if self._remaining < 0:
                # More than was promised would be taken for the next response.
                self.abort()
                return
            self._connection.send(data)
        elif framing is _Framing.CHUNKED:
            self._connection.send_sequence((b"%x\r\n" % len(data), data, b"\r\n"))
        elif framing is _Framing.CLOSE:
            self._connection.send(data)
        else:
            return
        self.sent_bytes += len(data)

    def finish(self) -> None:
        if self.over:
            return
        if self._framing is _Framing.LENGTH and self._remaining:
            self.abort()
            return
        if self._framing is _Framing.CHUNKED:
            self._connection.send(b"0\r\n\r\n")
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
        else:
            self._callbacks.append(callback)

    def end(self) -> None:
        """The connection or the response has ended: tell those who wait for it, once."""
        if self.over:
            return
        self.over = True
        self._body.clear()
        self._producer = None
        self._sink = None
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def pause_producer(self) -> None:
        """The client is slow."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_producer(self) -> None:
        """The client has caught up."""
        if self._producer is not None:
            self._producer.resumeProducing()
