"""
One exchange on its way to php-fpm and back.
"""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from ..errors import Fault, UpstreamFault
from ..fastcgi.answer_head import ResponseHeadParser, read_head
from ..fastcgi.stderr import ErrorLines
from ..http1.head import ResponseHead, has_body
from ..http1.sweep import NEVER
from .fastcgi_request import ANSWERING, OVER, REQUESTED, FastCGIRequest
from .offload import OffloadedExchange


@implementer(IPushProducer)
class FastCGIAttempt(FastCGIRequest):
    """
    One exchange and its FastCGI request. This half is the receiver of what the connection reads, and the producer of
    the response's body.
    """

    _head_parser: ResponseHeadParser | None = None
    _has_body = True
    _remaining: int | None = None
    _complaints: ErrorLines | None = None

    # The response, from the connection.

    def output(self, data: bytes) -> None:
        """STDOUT: a CGI response."""
        if self._state is not REQUESTED:
            if self._state is ANSWERING:
                data = self._kept(data)
                if data:
                    self._exchange.write(data)
            return
        try:
            found = self._read_head(data)
        except Fault as fault:
            self._fail(fault)
            return
        if found is not None:
            self._state = ANSWERING
            head, body = found
            self._remaining = self._promised(head)
            self._has_body = has_body(head.status, self._exchange.head.method)
            self._exchange.respond(head, self, self._kept(body))
            if self._connection is not None and self._exchange.status:
                # If it has none, the client waits on: a file is sent instead when the script has come to its end.
                self._connection.deadline = NEVER

    def _read_head(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """The head and the beginning of the body, once the head is whole."""
        parser = self._head_parser
        if parser is None:
            found = read_head(data)
            if found is not None:
                return found
            parser = self._head_parser = ResponseHeadParser()
        head = parser.feed(data)
        return None if head is None else (head, parser.rest)

    def _promised(self, head: ResponseHead) -> int | None:
        """How long the body has to be, if that is said of it."""
        exchange = self._exchange
        if not has_body(head.status, exchange.head.method):
            return None
        if isinstance(exchange, OffloadedExchange) and exchange.names_file(head):
            # Frameworks tell the length of the file, and send nothing.
            return None
        return head.content_length

    def _kept(self, data: bytes) -> bytes:
        """What of some more of the body is passed on."""
        if not self._has_body:
            return b""
        if self._remaining is not None:
            # More than was promised would be taken for the next response.
            data = data[: self._remaining]
            self._remaining -= len(data)
        return data

    def error_output(self, data: bytes) -> None:
        """STDERR."""
        if self._complaints is None:
            self._complaints = ErrorLines(self._complain)
        self._complaints.add(data)

    def _complain(self, line: str) -> None:
        self._means.said(self._worker.name, self._exchange.request_id, line)

    def ended(self, data: bytes) -> None:
        """The application has said all."""
        self._connection = None
        if self._state is REQUESTED:
            self._answer(data)
            return
        data = self._kept(data)
        if data:
            self._exchange.write(data)
        if self._has_body and self._remaining:
            self._fail(UpstreamFault("The application broke off.", f"{self._remaining} bytes are missing"))
        elif self._state is ANSWERING:
            self._end()
            self._done(None, False)
            self._exchange.finish()

    def _answer(self, data: bytes) -> None:
        """All of the response has come at once."""
        exchange = self._exchange
        try:
            found = read_head(data) if self._head_parser is None else self._read_head(data)
            if found is None:
                raise UpstreamFault("The application broke off.", "its answer has no header")
            head, body = found
            if head.content_length is not None:
                length = self._promised(head)
                if length is not None and length > len(body):
                    raise UpstreamFault("The application broke off.", f"{length - len(body)} bytes are missing")
                body = body[:length]
        except Fault as fault:
            self._fail(fault)
            return
        self._end()
        # Told first, so that the endpoint has room again when the client's next request begins.
        self._done(None, False, head.status)
        exchange.answer(head, body)

    def lost(self, fault: Fault, untouched: bool) -> None:
        """The connection is gone."""
        connection, self._connection = self._connection, None
        reused = connection is not None and connection.served > 0
        if untouched and reused and not self._retried and self._repeatable:
            self._retried = True
            self._connect(fresh=True)
        else:
            replayable = self._spool is None or self._exchange.replayable
            self._fail(fault, retryable=untouched and self._repeatable and replayable)

    def late(self) -> None:
        """No response head in time."""
        self._fail(
            UpstreamFault(
                "The application took too long to answer.",
                f"no response head within {self._worker.request_timeout_s:g} s",
                status=504,
            )
        )

    # IPushProducer: the response's body, paused while the client is slow.

    def pauseProducing(self) -> None:
        if self._connection is not None:
            self._connection.pause_reading()

    def resumeProducing(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading()

    def stopProducing(self) -> None:
        """Never asked; C{exchange_over} tells."""

    # The end.

    def exchange_over(self) -> None:
        """The exchange has ended: if not by us, the client has left."""
        if self._state is not OVER:
            self._end()
            self._done(None, False)

    def _fail(self, fault: Fault, retryable: bool = False) -> None:
        answering = self._state is ANSWERING
        self._end()
        if answering:
            self._exchange.abort()
        self._done(fault, retryable)

    def _end(self) -> None:
        """Let go of everything."""
        self._state = OVER
        if self._complaints is not None:
            self._complaints.end()
        if self._taking:
            self._taking = False
            self._pool.leave(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        if self._spool is not None:
            self._spool.close()
