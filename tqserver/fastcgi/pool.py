"""
The connections to one FastCGI endpoint: so many at once, some kept for a moment, and a waiting line.
"""

from __future__ import annotations

from collections import OrderedDict

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from ..errors import ServerFault, Unreachable, UpstreamFault
from ..http1.connecting import IConnecting, connect, connect_fault
from ..http1.sweep import NEVER, Sweep
from ..plane.messages import Endpoint
from .client import AGE_S, FastCGIConnection

CONNECT_S = 5
"""Limit of making a connection, in seconds; on one machine it takes microseconds or fails at once."""

CONNECTIONS_MAX = 64
"""For an endpoint that names no limit of its own."""


class _Waiter:
    """Someone in the line; the sweep watches the deadline."""

    def __init__(self, pool: FastCGIPool, fresh: bool, deadline: float) -> None:
        self.deadline = deadline
        self.fresh = fresh
        self.deferred: Deferred[FastCGIConnection] = Deferred(self._cancelled)
        self._pool = pool

    def _cancelled(self, deferred: Deferred[FastCGIConnection]) -> None:
        self._pool.forget(self)

    def timed_out(self, now: float) -> None:
        """The line was too slow."""
        self.deadline = NEVER
        self._pool.forget(self)
        self.deferred.errback(
            UpstreamFault("The application is busy for too long.", "the waiting line of php-fpm", status=504)
        )


class _Factory(ClientFactory):
    """Makes one connection, for one waiter."""

    noisy = False

    def __init__(self, pool: FastCGIPool, waiter: _Waiter) -> None:
        self._pool = pool
        self.waiter: _Waiter | None = waiter

    def buildProtocol(self, addr: IAddress | None) -> FastCGIConnection:
        return FastCGIConnection(self._pool.clock, self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        waiter, self.waiter = self.waiter, None
        assert waiter is not None
        self._pool.refused(waiter, reason)

    # client.Owner

    def connected(self, connection: FastCGIConnection) -> None:
        waiter, self.waiter = self.waiter, None
        assert waiter is not None
        self._pool.connected(connection, waiter)

    def idle(self, connection: FastCGIConnection) -> None:
        self._pool.idle(connection)

    def gone(self, connection: FastCGIConnection) -> None:
        self._pool.gone(connection)

    def closed(self, connection: FastCGIConnection) -> None:
        self._pool.closed(connection)


class FastCGIPool:
    """
    Connections to one endpoint.

    At most C{endpoint.concurrency_max} are open at once. That is this front's share of C{pool.max_workers}:
    what all fronts open together should not be more than php-fpm has children, since a connection beyond them
    waits unseen in the kernel.

    @ivar clock: the reactor.
    """

    def __init__(self, reactor: IConnecting, sweep: Sweep, endpoint: Endpoint) -> None:
        self.clock = reactor
        self._reactor = reactor
        self._sweep = sweep
        self._endpoint = endpoint
        self._max = endpoint.concurrency_max or CONNECTIONS_MAX
        self._connecting = 0
        self._open: set[FastCGIConnection] = set()
        self._idle: dict[FastCGIConnection, None] = {}
        self._line: OrderedDict[_Waiter, None] = OrderedDict()
        self._closed = False

    @property
    def open(self) -> int:
        """Connections that are open or being made."""
        return len(self._open) + self._connecting

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return len(self._line)

    def take(
        self, *, fresh: bool, waiting_max: int, timeout_s: float, first: bool = False
    ) -> Deferred[FastCGIConnection]:
        """
        A connection to begin one request on.

        @param fresh: one that was never used, so that nobody can have closed it in the meantime.
        @param waiting_max: how many may be in the line.
        @param timeout_s: how long to stay in the line, in seconds.
        @param first: go to the head of the line, however long: for a request that was in it before.
        @return: fires at once or later; fails with L{Unreachable}, or with a fault of status 503 (the line is
            full) or 504 (it was too slow). To cancel it is to leave the line.
        """
        if self._closed:
            return fail(Unreachable("The application is going away.", f"endpoint {self._endpoint.id}", status=503))
        if self._idle and not fresh:
            connection, _ = self._idle.popitem()
            connection.deadline = NEVER
            return succeed(connection)
        if self._idle and self.open >= self._max:
            self._close_oldest()
        waiter = _Waiter(self, fresh, self.clock.seconds() + timeout_s)
        if self.open < self._max:
            self._connect(waiter)
            return waiter.deferred
        if len(self._line) >= waiting_max and not first:
            return fail(ServerFault("The application is busy.", "the waiting line is full", retry_after_s=1))
        self._line[waiter] = None
        if first:
            self._line.move_to_end(waiter, last=False)
        self._sweep.add(waiter)
        return waiter.deferred

    def close(self) -> None:
        """
        The endpoint has left the routing: idle connections close now, busy ones when their response ends.
        Those in the line fail.
        """
        self._closed = True
        for connection in list(self._idle):
            connection.close()
        for waiter in list(self._line):
            self.forget(waiter)
            waiter.deferred.errback(
                Unreachable("The application is going away.", f"endpoint {self._endpoint.id}", status=503)
            )

    # Called by connections and waiters.

    def forget(self, waiter: _Waiter) -> None:
        """Somebody leaves the line."""
        self._line.pop(waiter, None)
        self._sweep.discard(waiter)

    def refused(self, waiter: _Waiter, reason: Failure) -> None:
        """A connection could not be made."""
        self._connecting -= 1
        if not waiter.deferred.called:
            waiter.deferred.errback(connect_fault(reason))
        self._next()

    def connected(self, connection: FastCGIConnection, waiter: _Waiter) -> None:
        """A connection was made."""
        self._connecting -= 1
        self._open.add(connection)
        self._sweep.add(connection)
        if waiter.deferred.called:  # It was cancelled.
            connection.deadline = connection.opened + AGE_S
            self.idle(connection)
        else:
            waiter.deferred.callback(connection)

    def idle(self, connection: FastCGIConnection) -> None:
        """A connection is done with its request."""
        if self._closed or connection.aged:
            connection.close()
            return
        self._idle[connection] = None
        self._next()

    def gone(self, connection: FastCGIConnection) -> None:
        """A connection was lost, or is being closed."""
        self._open.discard(connection)
        self._idle.pop(connection, None)
        self._next()

    def closed(self, connection: FastCGIConnection) -> None:
        """A connection exists no longer."""
        self._sweep.discard(connection)

    def _next(self) -> None:
        """Give those at the head of the line what there is for them."""
        while self._line and not self._closed:
            waiter = next(iter(self._line))
            if self._idle and not waiter.fresh:
                connection, _ = self._idle.popitem()
                connection.deadline = NEVER
                self.forget(waiter)
                waiter.deferred.callback(connection)
            elif self.open < self._max:
                self.forget(waiter)
                self._connect(waiter)
            elif self._idle:
                self._close_oldest()
                return  # Its going has called us.
            else:
                return

    def _close_oldest(self) -> None:
        next(iter(self._idle)).close()

    def _connect(self, waiter: _Waiter) -> None:
        waiter.deadline = NEVER
        self._connecting += 1
        factory = _Factory(self, waiter)
        connect(self._reactor, self._endpoint, factory, CONNECT_S)
