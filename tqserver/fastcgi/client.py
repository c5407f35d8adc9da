"""
A connection to a FastCGI application: one request at a time, many one after the other.

php-fpm does not multiplex, so a request id says nothing here: it is always 1.
"""

from __future__ import annotations

import enum
from typing import Protocol as Shape
from typing import cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import Fault, UpstreamFault
from ..http1.sweep import NEVER
from .records import (
    Pairs,
    RecordParser,
    RecordType,
    abort_request,
    begin_request,
    check_end,
    params,
    stdin,
    stdin_end,
)

REQUEST_ID = 1

AGE_S = 0.1
"""How long a connection is used again, in seconds. A php-fpm child belongs to whoever has a connection to it:
as long as one is kept, the child serves no other front and no health ping, C{pm} takes it for busy, and
C{request_terminate_timeout} runs. To open ten more UNIX sockets a second costs nothing."""

CLOSE_S = 1.0
"""How long the last bytes of a connection that is being closed may take to leave."""


class Receiver(Shape):
    """Takes what comes of one request. After C{ended} or C{lost} nothing more comes."""

    def output(self, data: bytes) -> None:
        """Some of STDOUT: a CGI response. Never empty."""

    def error_output(self, data: bytes) -> None:
        """Some of STDERR. Never empty."""

    def ended(self) -> None:
        """The response is whole. The connection may have another user now, or be gone."""

    def lost(self, fault: Fault, untouched: bool) -> None:
        """
        The response will never be whole.

        @param untouched: not a single byte of an answer had come.
        """

    def pause_sending(self) -> None:
        """The application does not take the request's body as fast as it comes."""

    def resume_sending(self) -> None:
        """Send on."""


class Owner(Shape):
    """Who keeps connections."""

    def connected(self, connection: FastCGIConnection) -> None:
        """A connection is open."""

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


@implementer(IPushProducer)
class FastCGIConnection(Protocol):
    """
    A connection.

    @ivar served: requests that were answered whole on this connection.
    @ivar opened: when it was, by the reactor's clock in seconds.
    @ivar deadline: for L{tqserver.http1.sweep.Sweep}.
    """

    def __init__(self, clock: Clock, owner: Owner) -> None:
        self.served = 0
        self.opened = clock.seconds()
        self.deadline = NEVER
        self._clock = clock
        self._owner = owner
        self._state = _State.CONNECTING
        self._parser = RecordParser()
        self._receiver: Receiver | None = None
        self._untouched = True
        self._body_whole = True
        self._sending_paused = False
        self._reading_paused = False
        self._wire: Wire

    def connectionMade(self) -> None:
        self._wire = cast(Wire, self.transport)
        self._state = _State.IDLE
        self._owner.connected(self)

    @property
    def usable(self) -> bool:
        """Whether a request can be begun."""
        return self._state is _State.IDLE

    @property
    def aged(self) -> bool:
        """Whether the connection was used long enough."""
        return self._clock.seconds() - self.opened >= AGE_S

    # One request.

    def begin(self, receiver: Receiver, pairs: Pairs, body: bytes, whole: bool) -> None:
        """
        Begin a request, in a single write.

        @param body: what there is of the body.
        @param whole: whether that is all of it. If not, C{send} and C{end_body} give the rest.
        """
        assert self._state is _State.IDLE, self._state
        self._state = _State.BUSY
        self.deadline = NEVER
        self._receiver = receiver
        self._untouched = True
        self._body_whole = whole
        pieces = [begin_request(REQUEST_ID, True), params(REQUEST_ID, pairs), stdin(REQUEST_ID, body)]
        if whole:
            pieces.append(stdin_end(REQUEST_ID))
        self._wire.write(b"".join(pieces))
        if not whole:
            self._sending_paused = False
            self._wire.registerProducer(self, True)

    def send(self, data: bytes) -> None:
        """Some more of the body."""
        if self._state is _State.BUSY:
            self._wire.write(stdin(REQUEST_ID, data))

    def end_body(self) -> None:
        """The body is whole."""
        if self._state is _State.BUSY and not self._body_whole:
            self._body_whole = True
            self._wire.write(stdin_end(REQUEST_ID))
            self._wire.unregisterProducer()

    def pause_reading(self) -> None:
        """The client is slow: read no more of the response."""
        if self._state is _State.BUSY and not self._reading_paused:
            self._reading_paused = True
            self._wire.pauseProducing()

    def resume_reading(self) -> None:
        """Read on."""
        if self._reading_paused:
            self._reading_paused = False
            if self._state in (_State.IDLE, _State.BUSY):
                self._wire.resumeProducing()

    def abandon(self) -> None:
        """
        Give the request up and close; the receiver is told nothing more.

        php-fpm reads C{ABORT_REQUEST} only when it wants more of the body; otherwise a script ends when it
        writes to the closed connection.
        """
        if self._state is not _State.BUSY:
            return
        self._receiver = None
        if self._body_whole:
            self._wire.write(abort_request(REQUEST_ID))
            self.close()
        else:
            self._leave()
            self._wire.abortConnection()

    def close(self) -> None:
        """Close the connection."""
        if self._state in (_State.IDLE, _State.BUSY):
            self._leave()
            self._wire.loseConnection()

    def _leave(self) -> None:
        """Be nobody's any more, but for the sweep."""
        self._state = _State.CLOSING
        self.deadline = self._clock.seconds() + CLOSE_S
        if not self._body_whole:
            self._body_whole = True
            self._wire.unregisterProducer()
        self._owner.gone(self)

    def timed_out(self, now: float) -> None:
        """The sweep found the deadline passed."""
        if self._state is _State.IDLE:
            self.close()
        else:
            self.deadline = NEVER
            self._wire.abortConnection()

    # The application's side.

    def dataReceived(self, data: bytes) -> None:
        try:
            records = self._parser.feed(data)
            for index, record in enumerate(records):
                receiver = self._receiver
                if self._state is not _State.BUSY or receiver is None:
                    if self._state is _State.IDLE:
                        self.close()
                    return
                kind = record.type
                if record.request_id != REQUEST_ID:
                    raise UpstreamFault(
                        "The application's answer cannot be understood.",
                        f"FastCGI: a record of request {record.request_id}",
                    )
                if kind is RecordType.STDOUT:
                    if record.content:
                        self._untouched = False
                        receiver.output(record.content)
                elif kind is RecordType.STDERR:
                    if record.content:
                        self._untouched = False
                        receiver.error_output(record.content)
                elif kind is RecordType.END_REQUEST:
                    self._untouched = False
                    check_end(record.content)
                    clean = index == len(records) - 1 and self._parser.between_records
                    self._end(receiver, clean)
                    return
                else:
                    raise UpstreamFault(
                        "The application's answer cannot be understood.", f"FastCGI: a {kind.name} record"
                    )
        except Fault as fault:
            self._fail(fault)

    def _end(self, receiver: Receiver, clean: bool) -> None:
        self._receiver = None
        self.served += 1
        if clean and self._body_whole:
            self._state = _State.IDLE
            self.resume_reading()
            self.deadline = self.opened + AGE_S
            self._owner.idle(self)
        else:
            # Whatever of the body php-fpm has not read it would take for the next request.
            self.close()
        receiver.ended()

    def _fail(self, fault: Fault) -> None:
        receiver, self._receiver = self._receiver, None
        if self._state in (_State.IDLE, _State.BUSY):
            self._leave()
            self._wire.abortConnection()
        if receiver is not None:
            receiver.lost(fault, False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        state, self._state = self._state, _State.CLOSED
        self.deadline = NEVER
        receiver, self._receiver = self._receiver, None
        if state in (_State.IDLE, _State.BUSY):
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
