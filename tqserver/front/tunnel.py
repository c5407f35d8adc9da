"""
One connection of a client and one to a worker that speak another protocol by now (101), joined.

Bytes pass as they are, both ways, at the pace of the slower side; the end of one direction is passed on as well. Of a
WebSocket it is known, besides, where its frames end (L{tqserver.front.frames}), so that it can be closed properly from
here: with a close frame to both sides, and never within a frame.

    open → finishing → parting → leaving → over

Thousands of these may be open for days: there is one small object for each side and one for both, and no timer.
"""

from __future__ import annotations

import enum
import os
from typing import Protocol as Shape

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from ..http1.progress import can_half_close, unsent_bytes
from ..http1.sweep import NEVER
from ..http1.upgrade import WEBSOCKET
from .exchange import IExchange
from .frames import GOING_AWAY, Frames, close_frame

FRAME_S = 1.0
"""A frame that is under way when a WebSocket is closed from here has so long to end."""

CLOSE_S = 1.0
"""Both sides have so long to answer a close frame."""

LINGER_S = 10.0
"""When one side is gone, what it has said last has so long to reach the other, without any progress."""


class Wire(Shape):
    """What is used of a transport."""

    def write(self, data: bytes) -> None: ...

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def loseConnection(self) -> None: ...

    def loseWriteConnection(self) -> None: ...

    def abortConnection(self) -> None: ...


class Owner(Shape):
    """
    Who looks after tunnels.

    @ivar write_timeout_s: how long a client may take nothing of what it is sent.
    """

    write_timeout_s: float

    def now(self) -> float:
        """The reactor's clock, in seconds."""

    def opened(self, tunnel: Tunnel) -> None:
        """It is open."""

    def ended(self, tunnel: Tunnel) -> None:
        """Both of its connections are closed."""

    def watch(self, tunnel: Tunnel) -> None:
        """Look after its deadline."""

    def unwatch(self, tunnel: Tunnel) -> None:
        """It has none any more."""

    def is_leaving(self, endpoint: str) -> bool:
        """Whether an instance is being stopped, or we are."""


class _State(enum.Enum):
    """Where a tunnel is."""

    OPEN = enum.auto()
    FINISHING = enum.auto()
    """It is to be closed; frames that are under way are passed on to their end."""
    PARTING = enum.auto()
    """Everything was said; what was said is still on its way, and may be answered."""
    LEAVING = enum.auto()
    """Both connections are closing."""
    OVER = enum.auto()


class _Flow(enum.Enum):
    """What becomes of what one side says."""

    PASSED = enum.auto()
    FINISHED = enum.auto()
    """Passed on until the end of the frame that is under way."""
    DROPPED = enum.auto()
    ENDED = enum.auto()
    """It has said that it says no more."""


_CLOSING = (_State.PARTING, _State.LEAVING)

_PASSED = _Flow.PASSED


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Side:
    """
    One of the two connections: the protocol of its transport, and the producer of the other's.

    @ivar wire: its transport; L{None} when it is closed.
    @ivar opposite: the other side.
    @ivar flow: what becomes of what it says.
    @ivar passed_bytes: what it has said that was passed on.
    @ivar told: nothing more is written to it.
    """

    __slots__ = ("flow", "frames", "opposite", "passed_bytes", "told", "tunnel", "wire")

    opposite: Side

    def __init__(self, tunnel: Tunnel, frames: Frames | None) -> None:
        """
        @param frames: those that it sends, if it speaks WebSocket.
        """
        self.tunnel = tunnel
        self.frames = frames
        self.wire: Wire | None = None
        self.flow = _Flow.PASSED
        self.passed_bytes = 0
        self.told = False

    # IProtocol and IHalfCloseableProtocol.

    def makeConnection(self, transport: object) -> None:
        self.wire = transport  # type: ignore[assignment]
        if self.opposite.wire is not None:
            self.tunnel.join()

    def connectionMade(self) -> None:
        """The connection was made long ago."""

    def dataReceived(self, data: bytes) -> None:
        if self.flow is not _PASSED:
            self._hear_out(data)
            return
        self.tunnel.moved = True
        if self.frames is not None:
            self.frames.follow(data)
        self.passed_bytes += len(data)
        self.opposite.wire.write(data)  # type: ignore[union-attr]

    def _hear_out(self, data: bytes) -> None:
        """It still says something while the tunnel closes."""
        frames, wire = self.frames, self.opposite.wire
        if frames is None:
            return
        if self.flow is _Flow.FINISHED and wire is not None:
            size = frames.rest(data)
            self.passed_bytes += size
            wire.write(data[:size])
            if not frames.between and not frames.lost:
                return
            data = data[size:]
            self.conclude()
        frames.follow(data)
        self.tunnel.part_if_answered(self)

    def readConnectionLost(self) -> None:
        self.tunnel.side_ended(self)

    def writeConnectionLost(self) -> None:
        """As we have asked."""

    def connectionLost(self, reason: Failure) -> None:
        self.wire = None
        self.tunnel.side_lost(self, isinstance(reason.value, ConnectionDone))

    # IPushProducer: what the other side's transport says of its pace.

    def pauseProducing(self) -> None:
        if self.wire is not None and self.flow is not _Flow.ENDED:
            self.wire.pauseProducing()
        self.tunnel.paused(self.opposite)

    def resumeProducing(self) -> None:
        self.unpause()
        self.tunnel.resumed(self.opposite)

    def stopProducing(self) -> None:
        """The other connection is closing; its C{connectionLost} tells."""

    def unpause(self) -> None:
        """Read on, if there is anything to come."""
        if self.wire is not None and self.flow is not _Flow.ENDED:
            self.wire.resumeProducing()

    # The end.

    def finish(self) -> None:
        """Say the end to the other side, as soon as this one is not within a frame."""
        if self.flow is _Flow.PASSED:
            if self.frames is None or self.frames.between or self.frames.lost:
                self.conclude()
            else:
                self.flow = _Flow.FINISHED

    def conclude(self) -> None:
        """Nothing more of what this one says is passed on; the other side is told that we go away, if it can be."""
        self.flow = _Flow.DROPPED
        frames, opposite = self.frames, self.opposite
        if opposite.wire is not None and not opposite.told:
            if frames is None or frames.lost:
                opposite.tell_end()
            else:
                if not frames.closed:
                    mask = os.urandom(4) if self is self.tunnel.client else b""
                    opposite.wire.write(close_frame(GOING_AWAY, mask=mask))
                opposite.stop_writing()
        self.unpause()
        self.tunnel.concluded()

    def stop_writing(self) -> None:
        """Write no more to this side."""
        if self.wire is not None and not self.told:
            self.told = True
            self.wire.unregisterProducer()

    def tell_end(self) -> None:
        """Write no more to this side, and have it know."""
        if self.wire is None or self.told:
            return
        self.stop_writing()
        if can_half_close(self.wire):
            self.wire.loseWriteConnection()
        else:
            self.wire.loseConnection()

    def lose(self) -> None:
        """Close, when what was written has been sent."""
        if self.wire is not None:
            self.stop_writing()
            self.wire.loseConnection()

    def cut(self) -> None:
        """Close at once, so that the other end can tell."""
        if self.wire is not None:
            self.wire.abortConnection()


class Tunnel:
    """
    The two together.

    @ivar worker: the worker's side, to be given its connection first.
    @ivar client: the client's side.
    @ivar name: of the worker.
    @ivar endpoint: the endpoint's id.
    @ivar moved: set by every byte; whoever looks resets it.
    @ivar silent_since: for whoever looks: when it was last found to have moved.
    @ivar deadline: for the sweep: what it means depends on the state.
    """

    __slots__ = (
        "_exchange",
        "_limit_s",
        "_owner",
        "_state",
        "_unsent",
        "client",
        "deadline",
        "endpoint",
        "moved",
        "name",
        "silent_since",
        "worker",
    )

    def __init__(self, owner: Owner, exchange: IExchange, protocol: bytes, name: str, endpoint: str) -> None:
        """
        @param exchange: is finished when both connections are closed.
        @param protocol: what is spoken: the value of C{Upgrade}.
        """
        framed = protocol.lower() == WEBSOCKET
        self._owner = owner
        self._exchange = exchange
        self._state = _State.OPEN
        self._limit_s = 0.0
        self._unsent = -1
        self.name = name
        self.endpoint = endpoint
        self.client = Side(self, Frames() if framed else None)
        self.worker = Side(self, Frames() if framed else None)
        self.client.opposite, self.worker.opposite = self.worker, self.client
        self.moved = True
        self.silent_since = 0.0
        self.deadline = NEVER

    @property
    def asked_at(self) -> float:
        """When it was asked for, by the reactor's clock."""
        return self._exchange.started

    def join(self) -> None:
        """Both connections are here."""
        client, worker = self.client, self.worker
        assert client.wire is not None and worker.wire is not None
        client.wire.registerProducer(worker, True)
        worker.wire.registerProducer(client, True)
        self._owner.opened(self)

    # Closed from here.

    def go_away(self) -> None:
        """Have both sides know that we go away, and close."""
        if self._state is _State.OPEN:
            self._state = _State.FINISHING
            self._expect(FRAME_S)
            self.worker.finish()
            self.client.finish()

    def concluded(self) -> None:
        """One direction has ended. If it was the last, what was said has to be sent and may be answered."""
        if self._state is _State.FINISHING and not any(
            side.flow in (_Flow.PASSED, _Flow.FINISHED) for side in (self.client, self.worker)
        ):
            self._state = _State.PARTING
            self._expect(CLOSE_S)
            for side in (self.client, self.worker):
                self.part_if_answered(side)

    def part_if_answered(self, side: Side) -> None:
        """Close one side if it was told of the end and has said the same."""
        if self._state in _CLOSING and side.told:
            frames = side.frames
            if side.flow is _Flow.ENDED or (frames is not None and frames.closed and frames.between):
                side.lose()

    def cut(self) -> None:
        """Close at once, so that both sides can tell."""
        self.client.cut()
        self.worker.cut()

    # What the sides do.

    def side_ended(self, side: Side) -> None:
        """One side says no more: pass that on."""
        cut_short = side is self.worker and side.flow is _Flow.PASSED and self._ends_for_the_worker()
        if cut_short:
            side.conclude()
        side.flow = _Flow.ENDED
        opposite = side.opposite
        if not cut_short:
            opposite.tell_end()
        if self._state is _State.OPEN:
            if side is self.worker and side.frames is not None and opposite.flow is _Flow.PASSED:
                # Whatever the client may still say, nobody listens.
                opposite.flow = _Flow.DROPPED
                opposite.unpause()
                side.tell_end()
            if opposite.flow is not _Flow.PASSED:
                self._part(LINGER_S)
        self.concluded()
        self.part_if_answered(side)
        self.part_if_answered(opposite)

    def _ends_for_the_worker(self) -> bool:
        """Whether the worker ends because it is being stopped, without a word that its client would understand."""
        frames = self.worker.frames
        return frames is not None and frames.between and not frames.closed and self._owner.is_leaving(self.endpoint)

    def side_lost(self, side: Side, in_order: bool) -> None:
        """One connection is closed: that is the end of the other one."""
        opposite = side.opposite
        if opposite.wire is None:
            self._end()
            return
        if side is self.worker and side.flow is _Flow.PASSED and self._ends_for_the_worker():
            side.conclude()
            in_order = True
        side.flow = _Flow.ENDED
        if opposite.flow is not _Flow.ENDED:
            opposite.flow = _Flow.DROPPED
        if not in_order and not opposite.told:
            opposite.cut()
            return
        opposite.tell_end()
        opposite.unpause()
        if self._state not in _CLOSING:
            self._part(LINGER_S)
        self.part_if_answered(opposite)

    def _part(self, limit_s: float) -> None:
        self._state = _State.PARTING
        self._expect(limit_s)

    def _end(self) -> None:
        if self._state is _State.OVER:
            return
        self._state = _State.OVER
        self.deadline = NEVER
        self._owner.ended(self)
        exchange = self._exchange
        exchange.sent_bytes = self.worker.passed_bytes
        # We all refer to each other.
        del self._exchange
        for side in (self.client, self.worker):
            del side.opposite, side.tunnel
        exchange.finish()

    # Deadlines.

    def _expect(self, limit_s: float, unsent: int | None = None) -> None:
        self._limit_s = limit_s
        self._unsent = self._unsent_bytes() if unsent is None else unsent
        self.deadline = self._owner.now() + limit_s
        self._owner.watch(self)

    def paused(self, side: Side) -> None:
        """One side does not take what is written. A client has so long to take some of it."""
        if side is self.client and self._state is _State.OPEN:
            self._expect(self._owner.write_timeout_s, -1)

    def resumed(self, side: Side) -> None:
        """It has taken everything."""
        if side is self.client and self._state is _State.OPEN:
            self.deadline = NEVER
            self._owner.unwatch(self)

    def timed_out(self, now: float) -> None:
        """The deadline has passed."""
        if self._state is _State.FINISHING:
            # Whoever waits for the rest of a frame will not get it.
            for side in (self.client, self.worker):
                if side.flow is _Flow.FINISHED:
                    side.flow = _Flow.DROPPED
                    side.opposite.told = True
                    side.opposite.cut()
            self.concluded()
            return
        before, self._unsent = self._unsent, self._unsent_bytes()
        if self._unsent != before and (self._unsent or self._state is _State.OPEN):
            # A client that is slow is borne.
            self.deadline = now + self._limit_s
        elif self._state is _State.PARTING:
            self._state = _State.LEAVING
            self._expect(CLOSE_S)
            self.client.lose()
            self.worker.lose()
        else:
            self.deadline = NEVER
            self.cut()

    def _unsent_bytes(self) -> int:
        return 0 if self.client.wire is None else unsent_bytes(self.client.wire)
