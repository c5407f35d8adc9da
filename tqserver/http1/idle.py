"""Connections to one worker that wait for their next request."""

from __future__ import annotations

from .client import HTTPClientConnection
from .sweep import NEVER, Sweep

IDLE_S = 3.0
"""Shorter than any common server keeps an idle connection (Node and uvicorn 5 s, Bun 10 s), so that we close first:
a request that meets a closing connection is our race to avoid."""

IDLE_MAX = 128
"""Kept connections per endpoint; a peak's connections beyond are closed as they fall idle."""


class IdleConnections:
    """The last in is the first out: it is the freshest, and those below it grow old and close."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._closed = False
        self._connections: dict[HTTPClientConnection, None] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def put(self, connection: HTTPClientConnection) -> None:
        """Keep a connection that is done with its request."""
        if self._closed or len(self._connections) >= IDLE_MAX:
            connection.close()
            return
        connection.deadline = self._sweep.now + IDLE_S
        self._connections[connection] = None

    def take(self) -> HTTPClientConnection | None:
        """The freshest connection, or L{None}."""
        while self._connections:
            connection, _ = self._connections.popitem()
            connection.deadline = NEVER
            if connection.reusable:
                return connection
            # It is being closed; that it is lost comes in a later turn.
        return None

    def discard(self, connection: HTTPClientConnection) -> None:
        """A connection was lost."""
        self._connections.pop(connection, None)

    def end(self) -> None:
        """Close all, and keep none any more."""
        self._closed = True
        self.close()

    def close(self) -> None:
        """Close all."""
        connections, self._connections = self._connections, {}
        for connection in connections:
            connection.close()
