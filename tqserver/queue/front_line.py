"""
Requests through the fronts: over their private UNIX socket, by connections that are kept.

So a task is balanced, waits during a reload and starts a worker on demand like any request. The socket is the
supervisor's, so that it is there while fronts are replaced; if it is not, somebody looks, at growing intervals, until
it is back.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.interfaces import IAddress, IConnector, IDelayedCall
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..http1.client import HTTPClientConnection
from ..http1.connecting import IConnecting, connect, connect_fault
from ..http1.idle import IdleConnections
from ..http1.outbox import Outbox
from ..http1.sweep import Sweep
from .call import Call, Step

CONNECT_TIMEOUT_S = 5.0
"""Fronts are on this host: they accept soon, or their backlog is full."""

AWAY_S = 0.1
"""The first pause, in seconds, before somebody looks whether the socket is back; it doubles."""

AWAY_S_MAX = 5.0

_log = Logger()


@frozen
class _Place:
    """Where fronts listen; see L{tqserver.http1.connecting.Where}."""

    path: str
    host: str = ""
    port: int = 0


class _Connecting(ClientFactory):
    """Opens one connection."""

    noisy = False

    def __init__(
        self,
        outbox: Outbox,
        made: Callable[[HTTPClientConnection], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._outbox = outbox
        self._made = made
        self._failed = failed

    def buildProtocol(self, addr: IAddress | None) -> HTTPClientConnection:
        connection = HTTPClientConnection(self._outbox)
        connection.on_made = self._made
        return connection

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._failed(reason)


def _nothing(connection: HTTPClientConnection) -> None:
    """For who was told already."""


class FrontLine:
    """
    The connections.

    @ivar away: whether nobody can be reached at the moment. Somebody looks.
    """

    def __init__(self, reactor: IConnecting, path: str, sweep: Sweep, outbox: Outbox, back: Callable[[], None]) -> None:
        """
        @param path: of the socket.
        @param sweep: looks after the deadlines.
        @param back: called when somebody can be reached again.
        """
        self.away = False
        self.sweep = sweep
        self._reactor = reactor
        self._place = _Place(path)
        self._outbox = outbox
        self._back = back
        self._idle = IdleConnections(sweep)
        self._pause_s = AWAY_S
        self._probe: IDelayedCall | None = None
        self._closed = False

    def start(self, call: Call) -> None:
        """Have a request sent: on a kept connection, or on a new one."""
        connection = self._idle.take()
        if connection is not None:
            call.begin(connection)
        else:
            self.connect(call)

    def connect(self, call: Call) -> None:
        """Have a request sent on a new connection."""

        def made(connection: HTTPClientConnection) -> None:
            self._made(connection)
            call.connected(connection)

        def failed(reason: Failure) -> None:
            if call.step is Step.SENDING:  # It was not given up by ourselves.
                self._lose(reason)
            call.refused(connect_fault(reason))

        call.connector = connect(self._reactor, self._place, _Connecting(self._outbox, made, failed), CONNECT_TIMEOUT_S)

    def drop_idle(self) -> None:
        """One kept connection was found dead, and the others are as old."""
        self._idle.close()

    def close(self) -> None:
        """Nothing is sent any more."""
        self._closed = True
        self._idle.end()
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def _made(self, connection: HTTPClientConnection) -> None:
        self.sweep.add(connection)
        connection.on_made = _nothing
        connection.on_idle = self._idle.put
        connection.on_lost = self._lost
        self._pause_s = AWAY_S
        if self.away:
            self.away = False
            if self._probe is not None:
                self._probe.cancel()
                self._probe = None
            _log.info("the fronts are there again")
            self._reactor.callLater(0, self._back)

    def _lost(self, connection: HTTPClientConnection) -> None:
        self.sweep.discard(connection)
        self._idle.discard(connection)

    # Nobody is there.

    def _lose(self, reason: Failure) -> None:
        if not self.away:
            self.away = True
            _log.warn("the fronts cannot be reached: {error}", error=reason.value)
        if self._probe is None and not self._closed:
            self._probe = self._reactor.callLater(self._pause_s, self._look)
            self._pause_s = min(2 * self._pause_s, AWAY_S_MAX)

    def _look(self) -> None:
        self._probe = None

        def made(connection: HTTPClientConnection) -> None:
            self._made(connection)
            self._idle.put(connection)

        connect(self._reactor, self._place, _Connecting(self._outbox, made, self._lose), CONNECT_TIMEOUT_S)
