"""
Client connections on a listener where each begins by telling whose it is.

L{ProxiedFactory} stands before an L{HTTPServerFactory}. Its connections read the header, make an HTTP connection with
what it told, give it the transport, and are gone: nothing of this is in the way of what comes after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from .factory import HTTPServerFactory
from .proxy_protocol import HeaderReader, ProxyFault, Told
from .sweep import NEVER

_log = Logger()

COMPLAIN_PERIOD_S = 60.0
"""Refused connections are told of at most this often: whoever tries must not fill a log."""


class ProxiedConnection(Protocol):
    """
    A connection whose header is still coming. It provides what an L{HTTPServerFactory} asks of its connections.

    @ivar deadline: for the sweep; the whole header has to be here then.
    """

    factory: ProxiedFactory

    def __init__(self, factory: ProxiedFactory, addr: IAddress | None) -> None:
        self.factory = factory
        self.deadline = NEVER
        self.leaving = False
        self._addr = addr
        self._reader = HeaderReader()
        self._over = False

    def connectionMade(self) -> None:
        http = self.factory.http
        self.deadline = http.clock.seconds() + http.settings.read_timeout_s
        http.connected(self)

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        try:
            told = self._reader.feed(data)
        except ProxyFault as fault:
            self.factory.complain(self._addr, "its header", str(fault))
            self.cut()
            return
        if told is not None:
            self._hand_over(told, self._reader.rest)

    def _hand_over(self, told: Told, rest: bytes) -> None:
        """From here on it is a connection like any other."""
        self._over = True
        http, transport = self.factory.http, cast(Any, self.transport)
        connection = http.buildProtocol(self._addr)
        transport.protocol = connection
        connection.makeConnection(transport)  # type: ignore[no-untyped-call]
        # Forgotten after the other is known: a front that leaves ends when it has none.
        http.lost(self)
        if told.source is not None:
            connection.client_host, connection.client_port = told.source.host, told.source.port
        if told.destination is not None:
            connection.own_name = told.destination.host, told.destination.port
        connection.secure = told.secure
        if rest:
            connection.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        self.deadline = NEVER
        self.factory.http.lost(self)

    # What a factory asks of its connections.

    def timed_out(self, now: float) -> None:
        """The header does not come to an end."""
        self.factory.complain(self._addr, "its header", "it did not come in time")
        self.cut()

    def leave(self) -> None:
        """It will be told so when it is a connection."""
        self.leaving = True

    def close_if_idle(self, since: float) -> bool:
        """It is not idle: it has not begun."""
        return False

    def cut(self) -> None:
        """Close at once."""
        self._over = True
        self.deadline = NEVER
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


class ProxiedFactory(ServerFactory):
    """
    Takes connections of those whose word is believed, and of nobody else.

    @ivar http: whose connections they become.
    """

    noisy = False

    def __init__(self, http: HTTPServerFactory, believed: Callable[[str], bool]) -> None:
        """
        @param believed: whether the word of an address is taken; it is empty for a UNIX socket.
        """
        self.http = http
        self._believed = believed
        self._quiet_until: dict[str, float] = {}
        self._refused = 0

    def buildProtocol(self, addr: IAddress | None) -> ProxiedConnection | None:  # type: ignore[override]
        if not self._believed(getattr(addr, "host", "")):
            # Closed before anything is read of it.
            self.complain(addr, "its address", "server.trusted_proxies does not list it")
            return None
        return ProxiedConnection(self, addr)

    def complain(self, addr: IAddress | None, what: str, why: str) -> None:
        """
        Tell the operator that a connection was refused, and how many since the last time that one was told of.

        @param what: is wrong; one of few words.
        """
        self._refused += 1
        now = self.http.clock.seconds()
        if now < self._quiet_until.get(what, 0.0):
            return
        self._quiet_until[what] = now + COMPLAIN_PERIOD_S
        count, self._refused = self._refused, 0
        _log.warn(
            "refused a connection of {peer} to a listener with proxy_protocol for {what}: {why} "
            "({count} since the last of these)",
            peer=getattr(addr, "host", "") or "a UNIX socket",
            what=what,
            why=why,
            count=count,
        )
