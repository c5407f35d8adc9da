"""
The clients' connections together: their settings, who serves them, those that are open.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol as Shape

from attrs import frozen
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from ..errors import Fault
from .exchange import ServerExchange
from .head import ResponseHead
from .outbox import Outbox
from .server import HTTPServerConnection
from .sweep import Sweep


@frozen(kw_only=True)
class ServerSettings:
    """Limits of client connections; seconds and bytes."""

    read_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    idle_timeout_s: float = 120.0
    header_bytes_max: int = 16 * 1024
    body_bytes_max: int = 0
    read_bytes_min_per_s: int = 0


class Observer(Shape):
    """What a connection tells its factory's owner."""

    def serve(self, exchange: ServerExchange) -> None:
        """Take care of a request."""

    def refuse(self, fault: Fault, connection: HTTPServerConnection) -> tuple[ResponseHead, bytes]:
        """The answer to what is no request, and the occasion to log it."""


class Client(Shape):
    """A client's connection, as far as its factory and the owner of that are concerned."""

    leaving: bool

    @property
    def deadline(self) -> float:
        """For the sweep."""

    def timed_out(self, now: float) -> None:
        """For the sweep."""

    def leave(self) -> None:
        """Serve what has begun, tell the client to go elsewhere with the next request."""

    def close_if_idle(self, since: float) -> bool:
        """Close, if nothing of a request has come since a moment; say whether it was."""

    def cut(self) -> None:
        """Close at once."""


class HTTPServerFactory(ServerFactory):
    """
    Makes client connections and knows those that are open.

    @ivar settings: may be replaced; connections look it up as they need it.
    @ivar connections: all that are open, those that speak another protocol by now among them.
    @ivar serve: the observer's, at hand for every request.
    @ivar seconds: the clock's, likewise.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        observer: Observer,
        settings: ServerSettings,
        sweep: Sweep,
        outbox: Outbox | None = None,
    ) -> None:
        """
        @param outbox: where what is written to clients waits for the end of the turn.
        """
        self.clock = clock
        self.seconds = clock.seconds
        self.observer = observer
        self.serve = observer.serve
        self.settings = settings
        self.sweep = sweep
        self.outbox = outbox or Outbox()
        self.connections: set[Client] = set()
        self.leaving = False
        self.on_count: Callable[[int], None] = lambda count: None
        self._date = b""
        self._date_at = -1.0

    def buildProtocol(self, addr: IAddress | None) -> HTTPServerConnection:  # type: ignore[override]
        connection = HTTPServerConnection()
        connection.factory = self
        return connection

    def connected(self, connection: Client) -> None:
        """A client has come."""
        connection.leaving = self.leaving
        self.connections.add(connection)
        self.sweep.add(connection)
        self.on_count(len(self.connections))

    def handed_over(self, connection: Client, handed_over: Client) -> None:
        """A client's connection speaks another protocol from now on."""
        self.connections.discard(connection)
        self.sweep.discard(connection)
        self.connections.add(handed_over)

    def lost(self, connection: Client) -> None:
        """A client has gone."""
        self.connections.discard(connection)
        self.sweep.discard(connection)
        self.on_count(len(self.connections))

    def leave(self) -> None:
        """Have every client go elsewhere after its present request."""
        self.leaving = True
        for connection in self.connections:
            connection.leave()

    def date_header(self) -> bytes:
        """C{Date: …\\r\\n} (RFC 9110 section 6.6.1), made once a second."""
        now = self.clock.seconds()
        if not 0 <= now - self._date_at < 1.0:
            self._date_at = now
            self._date = b"Date: " + formatdate(usegmt=True).encode("ascii") + b"\r\n"
        return self._date
