"""
Our connection to a worker: one request at a time, many one after the other.

The worker's answer is held to the same rules as a client's request: what is malformed is an L{UpstreamFault}, never
passed on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import httptools
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import UpstreamFault
from .answer_field import FATES, Field, judge
from .answer_seen import HEADS, remember
from .answer_start import (
    HEAD_BYTES_MAX,
    HEADERS_MAX,
    INTERIMS_MAX,
    PLAIN_STARTS,
    USUAL_REASONS,
    interim_bytes,
    no_reason,
    too_large,
)
from .asking import Asking
from .head import Headers, ResponseHead, fields_bytes, has_body
from .hop import connection_options
from .outbox import Outbox
from .receiver import Receiver
from .sweep import NEVER
from .switching import TELL_UPGRADES, Switching


class _State(enum.Enum):
    """Where a connection is."""

    IDLE = enum.auto()
    REQUESTED = enum.auto()
    """A request was begun; no final head has come."""
    ANSWERING = enum.auto()
    """The final head has come."""
    CLOSED = enum.auto()


_IDLE, _REQUESTED, _ANSWERING = _State.IDLE, _State.REQUESTED, _State.ANSWERING

_KEEP, _DROP, _LENGTH = Field.KEEP, Field.DROP, Field.LENGTH

_END = b"\r\n\r\n"


@implementer(IPushProducer)
class HTTPClientConnection(Asking, Switching, Protocol):
    """
    One connection to a worker.

    @ivar deadline: for the sweep; the idle pool and the forwarder set it.
    @ivar reusable: whether another request may be sent, once the connection is idle.
    @ivar used: requests that were sent on it.
    """

    def __init__(self, outbox: Outbox) -> None:
        """
        @param outbox: where what is written waits for the end of the turn.
        """
        self._outbox = outbox
        self._parser = httptools.HttpResponseParser(self)
        self._state = _IDLE
        self._receiver: Receiver | None = None
        self._method = b""
        self._headers: Headers = []
        self._options: list[bytes] = []
        """Values of C{Connection}."""
        self._reason = b""
        self._head_bytes = 0
        self._length: int | None = None
        self._answer_chunked = False
        self._head: ResponseHead | None = None
        """The final head, until the receiver is told."""
        self._pieces: list[bytes] = []
        """Of the body, until the receiver is told."""
        self._fault: UpstreamFault | None = None
        self._touched = False
        self._paused = False
        self._complete = False
        self._bodiless = False
        self._held = b""
        """What is too little to be told an answer."""
        self._interims = 0
        self._silent_bytes = 0
        """Of chunk extensions and trailers, since the last of the body."""
        self.reusable = True
        self.used = 0
        self.deadline = NEVER
        self.on_made: Callable[[HTTPClientConnection], None] = lambda connection: None
        self.on_idle: Callable[[HTTPClientConnection], None] = lambda connection: None
        self.on_lost: Callable[[HTTPClientConnection], None] = lambda connection: None

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

    def _begin(self, method: bytes, receiver: Receiver) -> None:
        self._state = _REQUESTED
        self._receiver = receiver
        self._method = method
        self._touched = self._complete = False
        self._interims = self._silent_bytes = 0
        self.used += 1

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
        if self._state is _IDLE:
            # Nobody asked; whatever it is, it would be taken for the answer to the next request.
            self.reusable = False
            self.close()
            return
        begins = self._state is _REQUESTED and not self._head_bytes
        start = b""
        if begins and not self._held:
            end = data.find(_END) + 4
            start = data[:end]
            head = HEADS.get(start)
            if head is not None and head.content_length == len(data) - end and self._method != b"HEAD":
                if not head.written:
                    head.write()
                self._free(head, data[end:])
                return
        self._touched = True
        try:
            if self._state is _REQUESTED:
                if begins and (self._held or not data.startswith(PLAIN_STARTS)):
                    data = self._begun(data)
                    start = b""
                self._head_bytes += len(data)
            self._parser.feed_data(data)
        except UpstreamFault as fault:
            self._fault = self._fault or fault.bare()
        except httptools.HttpParserUpgrade as upgrade:
            if self._switched is not None:
                self._switch(self._switched, data[upgrade.args[0] :])
                return
            self._fault = self._fault or UpstreamFault("The worker switched protocols without being asked.")
        except httptools.HttpParserError as error:
            if self._fault is None:
                self._fault = UpstreamFault("The worker's answer is malformed.", str(error))
        if self._complete:
            if self._fault is not None:
                # What follows a whole answer is nobody's, whatever it is.
                self._fault = None
                self.reusable = False
            elif start:
                self._remember(start, len(data) - len(start))
            self._answered()
        elif self._fault is not None:
            self._fail(self._fault)
        elif self._state is _REQUESTED:
            if self._head_bytes > HEAD_BYTES_MAX:
                self._fail(too_large())
        elif len(self._headers) > HEADERS_MAX:
            self._fail(UpstreamFault("The worker's answer has too many trailers."))
        elif self._receiver is not None:
            head, self._head = self._head, None
            if head is not None:
                self._receiver.response_head(head, self._body())
            elif self._pieces:
                self._silent_bytes = 0
                self._receiver.response_data(self._body())
            else:
                self._silent_bytes += len(data)
                if self._silent_bytes > HEAD_BYTES_MAX:
                    self._fail(UpstreamFault("The worker's answer has endless chunk extensions or trailers."))

    def _begun(self, data: bytes) -> bytes:
        """
        Read interim answers.

        @return: the beginning of what follows them, as far as it can be told from one.
        """
        data, self._held = self._held + data, b""
        while data:
            size = interim_bytes(data)
            if size < 0:
                self._held = data
                return b""
            if not size:
                break
            self._interims += 1
            if self._interims > INTERIMS_MAX:
                raise UpstreamFault("The worker gives no end of interim answers.")
            self._parser.feed_data(data[:size])
            if self._fault is not None:
                return b""
            data = data[size:]
        return data

    def _body(self) -> bytes:
        """What has come of the body since the receiver was told last."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        state, self._state = self._state, _State.CLOSED
        self.reusable = False
        receiver, self._receiver = self._receiver, None
        until_close = state is _ANSWERING and self._length is None and not self._answer_chunked
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
        self._request_ended = True
        self.on_lost(self)
        del self._parser

    def timed_out(self, now: float) -> None:
        """The deadline has passed."""
        self.deadline = NEVER
        if self._receiver is not None:
            self._receiver.response_late()
        else:
            self.close()

    # The parser's side.

    def on_status(self, reason: bytes) -> None:
        if reason not in USUAL_REASONS and no_reason(reason):
            self._fault = UpstreamFault("The worker's answer is malformed.", "control characters in its first line")
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        field = FATES.get(name) or judge(name)
        if field is _KEEP:
            self._headers.append((name, value))
        elif (
            field is _LENGTH
            and self._length is None
            and self._state is _REQUESTED
            and value.isdigit()
            and len(value) <= 18
        ):
            self._length = int(value)
        elif field is not _DROP:
            self._framing_field(field, value)

    def _framing_field(self, field: Field, value: bytes) -> None:
        """What tells how long the answer is, and what else ends here."""
        if self._state is not _REQUESTED or self._fault is not None:
            # A trailer: nobody's.
            return
        if field is _LENGTH:
            value = value.rstrip(b" \t")
            if not value.isdigit() or len(value) > 18 or self._length not in (None, int(value)):
                self._fault = UpstreamFault("The worker's answer has a malformed Content-Length.")
            else:
                self._length = int(value)
        elif field is Field.CODING:
            if value.rstrip(b" \t").lower() != b"chunked" or self._answer_chunked:
                self._fault = UpstreamFault("The worker's answer has an unknown transfer coding.")
            self._answer_chunked = True
        elif field is Field.UPGRADE:
            if self._parser.get_status_code() in TELL_UPGRADES:
                self._upgrades += (value.rstrip(b" \t"),)
        else:
            self._options.append(value)

    def on_headers_complete(self) -> None:
        if self._complete:
            # Another answer would be taken for that to the next request.
            self.reusable = False
            return
        headers, self._headers = self._headers, []
        length = self._length
        if self._options or self._head_bytes > HEAD_BYTES_MAX or len(headers) > HEADERS_MAX or self._answer_chunked:
            headers = self._checked(headers)
        if self._fault is not None or self._receiver is None:
            return
        parser = self._parser
        status: int = parser.get_status_code()
        head = ResponseHead(status, self._reason, headers, length)
        self._reason = b""
        self._head_bytes = 0
        if status < 200:
            self._interim(head)
            return
        self._state = _ANSWERING
        if status == 204 or status == 304 or self._method == b"HEAD":
            self._length = 0
            self._bodiless = self._complete = self._method == b"HEAD"
        elif length is None and not self._answer_chunked:
            self.reusable = False
        if not parser.should_keep_alive():
            self.reusable = False
        self._head = head

    def _checked(self, headers: Headers) -> Headers:
        """What is not so with most heads: a fault, or the fields without those that C{Connection} names."""
        if self._answer_chunked and (self._length is not None or self._parser.get_http_version() != "1.1"):
            # RFC 9112 sections 6.1 and 6.3.
            self._fault = UpstreamFault("Nobody can tell where the worker's answer ends.")
        elif len(headers) > HEADERS_MAX:
            self._fault = UpstreamFault("The worker's answer has too many header fields.")
        elif self._head_bytes > HEAD_BYTES_MAX and fields_bytes(headers) > HEAD_BYTES_MAX:
            self._fault = too_large()
        elif self._options:
            self._named, self._options = connection_options(self._options), []
            return [field for field in headers if field[0].lower() not in self._named] + self._told_upgrades()
        return headers

    def _interim(self, head: ResponseHead) -> None:
        has_body = bool(self._length) or self._answer_chunked
        self._length = None
        self._answer_chunked = False
        if head.status == 101:
            self._fault = self._choose(head, has_body)
        elif self._receiver is not None:
            self._receiver.response_interim(head)

    def on_body(self, data: bytes) -> None:
        if self._complete:
            # The body of an answer to HEAD, say: the answer is whole without it.
            self.reusable = False
        else:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        if self._state is _ANSWERING and self._fault is None:
            # What follows from that waits until the parser has let go of the segment.
            self._complete = True

    # Ours.

    def _remember(self, start: bytes, rest_bytes: int) -> None:
        """
        Remember the head of an answer, if that is plain.

        @param start: the answer to the end of its head, if that is what the parser, too, has taken for it.
        @param rest_bytes: the length of the rest.
        """
        head = self._head
        if (
            head is not None
            and head.content_length == rest_bytes
            and self.reusable
            and has_body(head.status, self._method)
        ):
            remember(start, head)

    def _answered(self) -> None:
        """The answer is whole."""
        if self._bodiless:
            # The parser cannot know that the answer to a HEAD has no body, whatever its fields say.
            self._bodiless = False
            self._parser = httptools.HttpResponseParser(self)
        head, self._head = self._head, None
        self._length = None
        self._answer_chunked = False
        if self._headers or self._reason:
            self._headers = []
            self._reason = b""
        body = self._body()
        if head is None and body and self._receiver is not None:
            self._receiver.response_data(body)
        self._free(head, body)

    def _free(self, head: ResponseHead | None, body: bytes) -> None:
        """
        The connection is done with its request; tell the receiver, too.

        @param head: of the answer, and
        @param body: all of it, if the receiver has not got the head before.
        """
        if not self._request_ended or self._write_paused:
            # An answer before the request was whole (a refusal, say), or before the worker has even read what was
            # written: whether it reads the rest, we cannot tell, so nothing more goes to this connection.
            self.reusable = False
            self._request_ended = True
        receiver, self._receiver = self._receiver, None
        # Free before the receiver is told: its next request may come here.
        self._state = _IDLE
        self.deadline = NEVER
        if self._body_producer is not None or self._paused:
            self._body_producer = None
            self.resume()
        if self.reusable:
            self.on_idle(self)
        else:
            self.close()
        if receiver is None:
            return
        if head is not None:
            receiver.response_whole(head, body)
        else:
            receiver.response_end()

    def _fail(self, fault: UpstreamFault) -> None:
        receiver, self._receiver = self._receiver, None
        self.close()
        if receiver is not None:
            receiver.response_failed(fault, False)
