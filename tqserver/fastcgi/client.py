"""
A connection to a FastCGI application: one request at a time, many one after the other.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol as Shape
from typing import cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import Fault, UpstreamFault
from ..http1.outbox import Outbox
from ..http1.sweep import NEVER
from .records import RecordParser, RecordType, abort_request, check_end, stdin, stdin_end
from .usual import REQUEST_ID, usual_output

CLOSE_S = 1.0
"""How long the last bytes of a connection that is being closed may take to leave."""


class Receiver(Shape):
    """Takes what comes of one request. After C{ended}, C{lost} or C{late} nothing more comes."""

    def output(self, data: bytes) -> None:
        """Some of STDOUT: a CGI response. Never empty."""

    def error_output(self, data: bytes) -> None:
        """Some of STDERR. Never empty."""

    def ended(self, data: bytes) -> None:
        """
        The response is whole. The connection may have another user now, or be gone.

        @param data: the last of STDOUT, or all of it if there was no C{output} before; may be empty.
        """

    def lost(self, fault: Fault, untouched: bool) -> None:
        """
        The response will never be whole.

        @param untouched: not a single byte of an answer had come.
        """

    def late(self) -> None:
        """The C{deadline} of the connection has passed."""

    def pause_sending(self) -> None:
        """The application does not take the request's body as fast as it comes."""

    def resume_sending(self) -> None:
        """Send on."""


class Owner(Shape):
    """Who keeps connections."""

    def idle(self, connection: FastCGIConnection) -> None:
        """A connection is done with its request and can have another."""

    def gone(self, connection: FastCGIConnection) -> None:
        """A connection cannot be used any more. Said once, before C{closed}."""

    def closed(self, connection: FastCGIConnection) -> None:
        """A connection exists no longer; the sweep need not look after it."""


class Clock(Shape):
    """What tells the time."""

    def seconds(self) -> float:
        """Monotonic, in seconds."""


class Wire(Shape):
    """What we ask of a transport, TCP or UNIX."""

    def write(self, data: bytes) -> None: ...
    def writeSequence(self, pieces: object) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...


class _State(enum.Enum):
    """Where a connection is."""

    CONNECTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    CLOSING = enum.auto()
    CLOSED = enum.auto()


_IDLE, _BUSY = _State.IDLE, _State.BUSY


@implementer(IPushProducer)
class FastCGIConnection(Protocol):
    """
    A connection.

    @ivar served: requests that were answered whole on this connection.
    @ivar opened: when it was, by the owner's clock in seconds.
    @ivar deadline: for L{tqserver.http1.sweep.Sweep}. While a request is under way it is the receiver's to set, and
        until then the owner's.
    @ivar on_made: is told, once, that the connection is open.
    """

    served = 0
    deadline = NEVER
    on_made: Callable[[FastCGIConnection], None] | None = None

    _state = _State.CONNECTING
    _receiver: Receiver | None = None
    """There is one while the connection is busy, but for a request that was abandoned."""
    _untouched = True
    _body_whole = True
    _sending_paused = False
    _reading_paused = False
    _wire: Wire

    def __init__(self, clock: Clock, owner: Owner, outbox: Outbox) -> None:
        """
        @param outbox: where what is written waits for the end of the turn.
        """
        self.opened = clock.seconds()
        self._clock = clock
        self._owner = owner
        self._outbox = outbox
        self._parser = RecordParser()

    def connectionMade(self) -> None:
        self._wire = cast(Wire, self.transport)
        self._state = _IDLE
        on_made, self.on_made = self.on_made, None
        if on_made is not None:
            on_made(self)

    # One request.

    def begin(self, receiver: Receiver, request: bytes, whole: bool) -> None:
        """
        Begin a request, in a single write.

        @param request: the records of it, as far as they are here.
        @param whole: whether that is all of it. If not, C{send} and C{end_body} give the rest of the body.
        """
        assert self._state is _IDLE, self._state
        self._state = _BUSY
        self._receiver = receiver
        self._untouched = True
        self._outbox.write(self._wire, request)
        if not whole:
            self._body_whole = False
            self._sending_paused = False
            self._wire.registerProducer(self, True)

    def send(self, data: bytes) -> None:
        """Some more of the body."""
        if self._state is _BUSY:
            self._outbox.write(self._wire, stdin(REQUEST_ID, data))

    def end_body(self) -> None:
        """The body is whole."""
        if self._state is _BUSY and not self._body_whole:
            self._body_whole = True
            self._outbox.write(self._wire, stdin_end(REQUEST_ID))
            self._wire.unregisterProducer()

    def pause_reading(self) -> None:
        """The client is slow: read no more of the response."""
        if self._state is _BUSY and not self._reading_paused:
            self._reading_paused = True
            self._wire.pauseProducing()

    def resume_reading(self) -> None:
        """Read on."""
        if self._reading_paused:
            self._reading_paused = False
            if self._state in (_IDLE, _BUSY):
                self._wire.resumeProducing()

    def abandon(self) -> None:
        """
        Give the request up and close; the receiver is told nothing more.

        php-fpm reads C{ABORT_REQUEST} only when it wants more of the body; otherwise a script ends when it
        writes to the closed connection.
        """
        if self._state is not _BUSY:
            return
        self._receiver = None
        if self._body_whole:
            self._outbox.write(self._wire, abort_request(REQUEST_ID))
            self.close()
        else:
            self._leave()
            self._wire.abortConnection()

    def close(self) -> None:
        """Close the connection."""
        if self._state in (_IDLE, _BUSY):
            self._leave()
            self._wire.loseConnection()

    def _leave(self) -> None:
        """Be nobody's any more, but for the sweep."""
        self._state = _State.CLOSING
        self.deadline = self._clock.seconds() + CLOSE_S
        # Whoever is closed loses what is not written by then.
        self._outbox.flush()
        if not self._body_whole:
            self._body_whole = True
            self._wire.unregisterProducer()
        self._owner.gone(self)

    def timed_out(self, now: float) -> None:
        """The sweep found the deadline passed."""
        self.deadline = NEVER
        if self._receiver is not None:
            self._receiver.late()
        elif self._state is _IDLE:
            self.close()
        else:
            self._wire.abortConnection()

    # The application's side.

    def dataReceived(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is not None and not self._parser.pending:
            output = usual_output(data)
            if output is not None:
                self._end(receiver, True)
                receiver.ended(output)
                return
        try:
            self._read(data)
        except Fault as fault:
            self._fail(fault)

    def _read(self, data: bytes) -> None:
        records = self._parser.feed(data)
        receiver = self._receiver
        if self._state is not _BUSY or receiver is None:
            if self._state is _IDLE:
                # Nobody asked.
                self.close()
            return
        output: list[bytes] = []
        for index, record in enumerate(records):
            if record.request_id != REQUEST_ID:
                raise _garbage(f"a record of request {record.request_id}")
            kind = record.type
            if kind is RecordType.STDOUT:
                if record.content:
                    output.append(record.content)
            elif kind is RecordType.STDERR:
                if record.content:
                    self._untouched = False
                    receiver.error_output(record.content)
            elif kind is RecordType.END_REQUEST:
                check_end(record.content)
                self._end(receiver, index == len(records) - 1 and not self._parser.pending)
                receiver.ended(b"".join(output))
                return
            else:
                raise _garbage(f"a {kind.name} record")
        if output:
            self._untouched = False
            receiver.output(output[0] if len(output) == 1 else b"".join(output))

    def _end(self, receiver: Receiver, clean: bool) -> None:
        """
        A response is whole.

        @param clean: nothing has come after it.
        """
        self._receiver = None
        self.served += 1
        if clean and self._body_whole:
            self._state = _IDLE
            if self._reading_paused:
                self.resume_reading()
            self._owner.idle(self)
        else:
            # Whatever of the body php-fpm has not read it would take for the next request.
            self.close()

    def _fail(self, fault: Fault) -> None:
        receiver, self._receiver = self._receiver, None
        if self._state in (_IDLE, _BUSY):
            self._leave()
            self._wire.abortConnection()
        if receiver is not None:
            receiver.lost(fault, False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        state, self._state = self._state, _State.CLOSED
        self.deadline = NEVER
        receiver, self._receiver = self._receiver, None
        if state in (_IDLE, _BUSY):
            self._owner.gone(self)
        self._owner.closed(self)
        if receiver is not None:
            detail = "" if isinstance(reason.value, ConnectionDone) else f": {reason.getErrorMessage()}"
            receiver.lost(
                UpstreamFault("The application broke off.", f"the FastCGI connection was closed{detail}"),
                self._untouched,
            )

    # IPushProducer, for the transport: the request's body.

    def pauseProducing(self) -> None:
        if self._receiver is not None:
            self._sending_paused = True
            self._receiver.pause_sending()

    def resumeProducing(self) -> None:
        if self._receiver is not None and self._sending_paused:
            self._sending_paused = False
            self._receiver.resume_sending()

    def stopProducing(self) -> None:
        """The connection is being lost; C{connectionLost} says so in a moment."""


def _garbage(detail: str) -> UpstreamFault:
    return UpstreamFault("The application's answer cannot be understood.", f"FastCGI: {detail}")
