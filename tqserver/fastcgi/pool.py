"""
The connections to one FastCGI endpoint: so many at once, some kept, and a waiting line.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol as Shape
from typing import cast

from twisted.internet.interfaces import IAddress, IConnector, IProtocol
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from ..errors import Fault, ServerFault, Unreachable, UpstreamFault
from ..http1.connecting import IConnecting, connect, connect_fault
from ..http1.outbox import Outbox
from ..http1.sweep import NEVER, Sweep
from ..plane.messages import Endpoint
from .client import FastCGIConnection

CONNECT_S = 5
"""Limit of making a connection, in seconds; on one machine it takes microseconds or fails at once."""

CONNECTIONS_MAX = 64
"""For an endpoint that names no limit of its own."""

IDLE_S = 0.1
"""How long a connection is kept that nobody uses, in seconds. A php-fpm child belongs to whoever has a connection to
it."""

IDLE_S_MAX = 0.35
"""In the end: the sweep looks four times a second."""

AGE_S = 0.1
"""How long a connection is used, in seconds, while there are more than this front may have for good: so that others,
and the health ping, get a child in their turn."""


class Waiter(Shape):
    """Who wants a connection, and may have to wait for it."""

    def connected(self, connection: FastCGIConnection) -> None:
        """Here it is, to begin one request on."""

    def refused(self, fault: Fault) -> None:
        """There will be none: L{Unreachable}, or of status 503 (the line is full) or 504 (it was too slow)."""


class _Direct(Shape):
    """What L{tqserver.uv} can do beyond other reactors."""

    def connect_unix_now(self, path: str, protocol: IProtocol) -> object: ...


class _Place:
    """
    Someone's place in the line.

    @ivar deadline: for the sweep.
    """

    def __init__(self, pool: FastCGIPool, waiter: Waiter, fresh: bool, deadline: float) -> None:
        self.deadline = deadline
        self.waiter = waiter
        self.fresh = fresh
        self._pool = pool

    def timed_out(self, now: float) -> None:
        """The line was too slow."""
        self._pool.leave(self.waiter)
        self.waiter.refused(
            UpstreamFault("The application is busy for too long.", "the waiting line of php-fpm", status=504)
        )


class _Connecting(ClientFactory):
    """
    A connection that is being made.

    @ivar waiter: for whom; L{None} if nobody wants it any more.
    """

    noisy = False

    def __init__(self, pool: FastCGIPool, waiter: Waiter) -> None:
        self._pool = pool
        self.waiter: Waiter | None = waiter

    def buildProtocol(self, addr: IAddress | None) -> FastCGIConnection:
        connection = self._pool.new_connection()
        connection.on_made = self._made
        return connection

    def _made(self, connection: FastCGIConnection) -> None:
        waiter, self.waiter = self.waiter, None
        self._pool.made(connection, waiter)

    def clientConnectionFailed(self, connector: IConnector | None, reason: Failure) -> None:
        waiter, self.waiter = self.waiter, None
        self._pool.unmade(waiter, connect_fault(reason))


class FastCGIPool:
    """
    Connections to one endpoint.

    At most C{endpoint.concurrency_max} are open at once. That is this front's share of C{pool.max_workers}: what all
    fronts open together should not be more than php-fpm has children, since a connection beyond them waits unseen in
    the kernel. Up to C{endpoint.lasting_max} are kept for as long as they are used; these are so few that all fronts'
    together leave a child to others. Those beyond are used for L{AGE_S}.

    @ivar endpoint: may be replaced by one with other limits.
    """

    def __init__(self, reactor: IConnecting, sweep: Sweep, outbox: Outbox, endpoint: Endpoint) -> None:
        """
        @param outbox: where what is written waits for the end of the turn.
        """
        self.endpoint = endpoint
        self._reactor = reactor
        direct = endpoint.path and hasattr(reactor, "connect_unix_now")
        self._direct = cast(_Direct, reactor) if direct else None
        self._sweep = sweep
        self._outbox = outbox
        self._connecting: dict[Waiter, _Connecting] = {}
        self._pending = 0
        self._open: set[FastCGIConnection] = set()
        self._idle: list[FastCGIConnection] = []
        """The freshest last."""
        self._line: OrderedDict[Waiter, _Place] = OrderedDict()
        self._closed = False

    @property
    def open(self) -> int:
        """Connections that are open or being made."""
        return len(self._open) + self._pending

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return len(self._line)

    # Taking one.

    def take_now(self, fresh: bool) -> FastCGIConnection | None:
        """
        A connection to begin one request on.

        @param fresh: one that was never used, so that nobody can have closed it in the meantime.
        @return: L{None} if it takes time: see L{take}.
        @raise Unreachable: there is nobody to connect to.
        """
        if not fresh and self._idle:
            connection = self._idle.pop()
            connection.deadline = NEVER
            return connection
        if self._direct is None or self._line or self._closed or not self._make_room():
            return None
        return self._connect_now()

    def take(self, waiter: Waiter, *, fresh: bool, waiting_max: int, timeout_s: float, first: bool = False) -> None:
        """
        Wait for a connection. The waiter is told how it went, at once or later, unless it has left by then.

        @param fresh: as for L{take_now}, which must have had none.
        @param waiting_max: how many may be in the line.
        @param timeout_s: how long to stay in the line, in seconds.
        @param first: go to the head of the line, however long: for a request that was in it before.
        """
        if self._closed:
            waiter.refused(self._going())
        elif self._make_room() and (first or not self._line):
            self._connect(waiter)
        elif len(self._line) >= waiting_max and not first:
            waiter.refused(ServerFault("The application is busy.", "the waiting line is full", retry_after_s=1))
        else:
            place = self._line[waiter] = _Place(self, waiter, fresh, self._reactor.seconds() + timeout_s)
            if first:
                self._line.move_to_end(waiter, last=False)
            self._sweep.add(place)

    def leave(self, waiter: Waiter) -> None:
        """Somebody does not want a connection any more."""
        place = self._line.pop(waiter, None)
        if place is not None:
            self._sweep.discard(place)
            return
        connecting = self._connecting.pop(waiter, None)
        if connecting is not None:
            connecting.waiter = None

    def close(self) -> None:
        """
        The endpoint has left the routing: idle connections close now, busy ones when their response ends.
        Those in the line are refused.
        """
        self._closed = True
        for connection in list(self._idle):
            connection.close()
        for waiter in list(self._line):
            self.leave(waiter)
            waiter.refused(self._going())

    def _going(self) -> Unreachable:
        return Unreachable("The application is going away.", f"endpoint {self.endpoint.id}", status=503)

    # Called by connections.

    def idle(self, connection: FastCGIConnection) -> None:
        """A connection is done with its request."""
        now = self._reactor.seconds()
        if self._closed or (
            now - connection.opened >= AGE_S and len(self._open) + self._pending > self.endpoint.lasting_max
        ):
            connection.close()
            return
        connection.deadline = now + IDLE_S
        self._idle.append(connection)
        if self._line:
            self._next()

    def gone(self, connection: FastCGIConnection) -> None:
        """A connection was lost, or is being closed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._line:
            self._next()

    def closed(self, connection: FastCGIConnection) -> None:
        """A connection exists no longer."""
        self._sweep.discard(connection)

    def _next(self) -> None:
        """Give those at the head of the line what there is for them."""
        while self._line and not self._closed:
            waiter, place = next(iter(self._line.items()))
            if self._idle and not place.fresh:
                connection = self._idle.pop()
                connection.deadline = NEVER
                self.leave(waiter)
                waiter.connected(connection)
            elif self._make_room():
                if waiter not in self._line:
                    continue  # To make room has given it a connection.
                self.leave(waiter)
                self._connect(waiter)
            else:
                return

    # Making one.

    def _make_room(self) -> bool:
        """Whether one more connection may be made; if need be, an idle one gives way to it."""
        limit = self.endpoint.concurrency_max or CONNECTIONS_MAX
        if len(self._open) + self._pending >= limit and self._idle:
            self._idle[0].close()
        return len(self._open) + self._pending < limit

    def new_connection(self) -> FastCGIConnection:
        """One that is not connected yet."""
        return FastCGIConnection(self._reactor, self, self._outbox)

    def _connect_now(self) -> FastCGIConnection | None:
        if self._direct is None:
            return None
        connection = self.new_connection()
        try:
            self._direct.connect_unix_now(self.endpoint.path, connection)
        except BlockingIOError:
            # As many as can wait for php-fpm do already (listen.backlog).
            return None
        except OSError as error:
            raise connect_fault(Failure(error))
        self._open.add(connection)
        self._sweep.add(connection)
        return connection

    def _connect(self, waiter: Waiter) -> None:
        try:
            connection = self._connect_now()
        except Unreachable as fault:
            waiter.refused(fault)
            return
        if connection is not None:
            waiter.connected(connection)
            return
        self._pending += 1
        connecting = self._connecting[waiter] = _Connecting(self, waiter)
        connect(self._reactor, self.endpoint, connecting, CONNECT_S)

    def made(self, connection: FastCGIConnection, waiter: Waiter | None) -> None:
        """A connection was made."""
        self._pending -= 1
        self._open.add(connection)
        self._sweep.add(connection)
        if waiter is None:
            self.idle(connection)
        else:
            del self._connecting[waiter]
            waiter.connected(connection)

    def unmade(self, waiter: Waiter | None, fault: Fault) -> None:
        """A connection could not be made."""
        self._pending -= 1
        if waiter is not None:
            del self._connecting[waiter]
            waiter.refused(fault)
        self._next()
