"""
A client's connection to us.

What the client sends comes out of the L{RequestReader} as L{ServerExchange}s, which are handed to the factory's
C{serve} one at a time. Requests that a client pipelines wait here, unread beyond one segment, until those before them
have ended.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import ClientFault, Fault
from .exchange import ServerExchange
from .handover import AHEAD_BYTES_MAX, HandedOver, Taker, give
from .head import last_response
from .pace import Pace
from .progress import can_half_close, unread_bytes, unsent_bytes
from .reading import RequestReader
from .sweep import NEVER

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


_IDLE, _HEAD, _EXCHANGE = _State.IDLE, _State.HEAD, _State.EXCHANGE

_LAST = (_State.LINGERING, _State.CLOSED)
"""In these nothing begins any more."""


@implementer(IPushProducer)
class HTTPServerConnection(RequestReader, Protocol):
    """One client's connection."""

    # What is set for few connections, or late, is of the class until then: most connections are idle.

    _state = _IDLE
    _exchange: ServerExchange | None = None
    """The one that is served."""
    _beginning = False
    _reading_paused = False
    _unsent = -1
    _lingered_bytes = 0
    _idle_since = 0.0
    deadline = NEVER
    served = 0

    # Twisted's side.

    def connectionMade(self) -> None:
        transport = self.transport
        assert transport is not None
        peer = transport.getPeer()
        self.client_host = getattr(peer, "host", "")
        self.client_port = getattr(peer, "port", 0)
        if self.client_port:
            transport.setTcpNoDelay(True)  # type: ignore[attr-defined]
        transport.registerProducer(self, True)  # type: ignore[attr-defined]
        factory = self.factory
        factory.connected(self)
        self._idle_since = now = factory.sweep.now
        self.deadline = now + factory.settings.read_timeout_s

    def dataReceived(self, data: bytes) -> None:
        if self._state in _LAST or self._fault is not None:
            self._linger(len(data))
            return
        self._read(data, self.factory.settings.header_bytes_max)
        if self._fault is not None:
            self._misread()
        if self._exchange is None:
            if len(self._waiting) == 1 and not self.write_paused and not self._reading_paused:
                self._begin(self._waiting.pop())
            else:
                self._next()
        elif self._waiting or self._reading is not None or self._reading_paused or self._holding:
            self.reading_changed()

    def _linger(self, size: int) -> None:
        """Something came that will not be read."""
        if self._state is _State.LINGERING:
            self._lingered_bytes += size
            if self._lingered_bytes > LINGER_BYTES_MAX:
                self.cut()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _State.CLOSED
        self.deadline = NEVER
        self.factory.lost(self)
        waiting, self._waiting = self._waiting, []
        self._reading = None
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.end()
        for exchange in waiting:
            exchange.end()
        # The parser refers to us and we to it.
        self._parser = None

    def pauseProducing(self) -> None:
        self.write_paused = True
        if self._state is _EXCHANGE:
            self._expect_progress()
        if self._exchange is not None:
            self._exchange.pause_producer()

    def resumeProducing(self) -> None:
        self.write_paused = False
        if self._state is _State.FLUSHING:
            self._next()
            return
        if self._state is _EXCHANGE:
            self._expect_body()
        if self._exchange is not None:
            self._exchange.resume_producer()

    def stopProducing(self) -> None:
        """The transport is closing; C{connectionLost} tells everybody."""

    # Ours.

    def _begin(self, exchange: ServerExchange) -> None:
        self._state = _EXCHANGE
        self._exchange = exchange
        exchange.started = self.factory.seconds()
        if exchange is self._reading:
            self._expect_body()
        else:
            self.deadline = NEVER
        self.served += 1
        self.factory.serve(exchange)

    def _expect_body(self) -> None:
        """The client has so long to send some more of the body, if it is the client whom we wait for."""
        exchange = self._exchange
        if exchange is not None and exchange is self._reading and exchange.wants_body:
            now, settings = self.factory.clock.seconds(), self.factory.settings
            self.deadline = now + settings.read_timeout_s
            if settings.read_bytes_min_per_s:
                if self._pace is None:
                    self._pace = Pace()
                self.deadline = min(self.deadline, self._pace.go(now))
        else:
            self.deadline = NEVER
            if self._pace is not None:
                self._pace.stop()

    def _body_read(self, exchange: ServerExchange) -> None:
        super()._body_read(exchange)
        if exchange is self._exchange and not self.write_paused:
            # From now on it is not the client whom we wait for.
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
        if exchange.head.keep_alive and not (
            self._waiting
            or self._head_begun
            or self._reading is not None
            or self._holding
            or self._fault is not None
            or self.write_paused
            or self._reading_paused
            or self._state is not _EXCHANGE
        ):
            # All that came was answered, and all that we answered was taken.
            self._state = _IDLE
            factory = self.factory
            self._idle_since = now = factory.sweep.now
            self.deadline = now + factory.settings.idle_timeout_s
        elif not exchange.head.keep_alive or exchange is self._reading:
            # What we promised with the head holds, even if we have begun to leave since: the client may have sent its
            # next request already. Or the rest of a body that nobody wants stands between us and the next request.
            unread = exchange is self._reading or self._fault is not None or bool(self._waiting or self._held)
            self.close(unread=unread)
        else:
            if exchange.head.upgrade:
                self._not_switched()
            self._next()

    def _not_switched(self) -> None:
        """A request for another protocol was answered in HTTP: what has come behind it is the next request."""
        held = self._take_held()
        if held:
            self._read(held, self.factory.settings.header_bytes_max)
            if self._fault is not None:
                self._misread()

    def hand_over(self, answer: bytes, taker: Taker) -> HandedOver:
        """Send the answer that switches to another protocol, and give the connection to who speaks it."""
        transport = self.transport
        assert transport is not None
        self.factory.outbox.flush()
        transport.write(answer)
        transport.unregisterProducer()  # type: ignore[attr-defined]
        self._state = _State.CLOSED
        self.deadline = NEVER
        self._exchange = None
        # The parser refers to us and we to it.
        self._parser = None
        handed_over = HandedOver(self.factory, taker)
        self.factory.handed_over(self, handed_over)
        give(transport, taker, self._reading_paused, self._take_held())
        return handed_over

    def _next(self) -> None:
        """Nothing is being served: serve what waits; else wait for the client, whatever it is that it owes us."""
        if self._beginning:
            # An exchange has ended while it began. The loop below goes on; a call from here would go ever deeper.
            return
        self._beginning = True
        try:
            waiting = self._waiting
            while waiting and self._may_begin():
                self._begin(waiting.pop(0))
        finally:
            self._beginning = False
        if self._exchange is not None:
            self.reading_changed()
        elif self._may_begin():
            self._await_request()
        elif self._state in (_EXCHANGE, _IDLE, _HEAD):
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
        if not self._head_begun:
            self._state = _IDLE
            self._idle_since = now
            self.deadline = now + (settings.idle_timeout_s if self.served else settings.read_timeout_s)
        elif self._state is not _HEAD:
            self._state = _HEAD
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
        answer = last_response(head, body, self.date_header())
        if self._refused_bodiless:
            answer = answer[: len(answer) - len(body)]
        self.send(answer)
        self.close(unread=True)

    def reading_changed(self) -> None:
        """Read on, or stop reading, as the exchange in hand wants."""
        if self._fault is not None or self._state in _LAST:
            return
        if self._state is _EXCHANGE:
            reading = self._reading
            if reading is None:
                wants = not self._waiting and (not self._holding or len(self._held) < AHEAD_BYTES_MAX)
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
            self.factory.outbox.write(self.transport, data)

    def send_sequence(self, pieces: tuple[bytes, ...]) -> None:
        """Write several pieces to the client at once."""
        if self.transport is not None:
            self.factory.outbox.write_sequence(self.transport, pieces)

    def send_file(self, fd: int, at: int, length: int, told: Callable[[int, bool], None]) -> bool:
        """Have the kernel send a piece of a file to the client, if the transport can have it do that."""
        send_file: Callable[..., bool] | None = getattr(self.transport, "send_file", None)
        if send_file is None:
            return False
        # The head is before it.
        self.factory.outbox.flush()
        return send_file(fd, at, length, told)

    def cancel_file(self) -> None:
        """Send no more of it."""
        cancel_file: Callable[[], None] | None = getattr(self.transport, "cancel_file", None)
        if cancel_file is not None:
            cancel_file()

    def server_name(self) -> tuple[str, int]:
        """Our own address and port, for the few who ask; an empty one for a UNIX socket, or when it is too late."""
        if self.own_name is None:
            try:
                host = self.transport.getHost()  # type: ignore[union-attr]
            except (OSError, AttributeError):
                return "", 0
            self.own_name = getattr(host, "host", ""), getattr(host, "port", 0)
        return self.own_name

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
        return self._state is _IDLE and self._idle_since <= since and self._close_idle()

    def _close_idle(self) -> bool:
        """
        Close between two requests, unless the next has come and was only not read yet.

        One may be on its way all the same. It is met by our end of the connection, and not by a reset, so that the
        client can tell that nobody has read it (RFC 9112 section 9.5).
        """
        if unread_bytes(self.transport):
            return False
        self.close(unread=True)
        return True

    def close(self, unread: bool = False) -> None:
        """
        Close, when everything was written and the client has had time to read it.

        @param unread: something of the client's was not read and perhaps still comes. To close then would be a
            reset, which can destroy our answer before the client has read it (RFC 9112 section 9.6).
        """
        if self._state in _LAST or self.transport is None:
            return
        transport = self.transport
        self.factory.outbox.flush()
        transport.unregisterProducer()  # type: ignore[attr-defined]
        self._state = _State.LINGERING
        # The end may come while a body is being read to its end: what is behind it is nobody's.
        self._stop()
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
            self._stop()
            self.deadline = NEVER
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def timed_out(self, now: float) -> None:
        """A deadline has passed; what it meant depends on the state."""
        state = self._state
        if state is _IDLE:
            self._close_idle()
        elif state is _HEAD:
            self._fault = ClientFault("The request took too long to arrive.", status=408)
            self._refuse(self._fault)
        elif state is _EXCHANGE and not self.write_paused:
            if self._pace is not None and self._pace.kept(now, self.factory.settings.read_bytes_min_per_s):
                self._expect_body()
                return
            self._fault = ClientFault("The request's body took too long to arrive.", status=408)
            self.deadline = NEVER
            self._misread()
        else:
            self._check_progress(now)

    def _check_progress(self, now: float) -> None:
        """A client that reads slowly is borne; one that does not read at all is cut. One that has read all is left."""
        unsent = unsent_bytes(self.transport)
        if unsent == self._unsent:
            self.cut()
            return
        self._unsent = unsent
        self.deadline = now + self.factory.settings.write_timeout_s
        if self._state is _State.LINGERING and not unsent:
            self.transport.loseConnection()  # type: ignore[union-attr]
