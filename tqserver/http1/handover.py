"""
Connections that are handed over to another protocol when both sides have agreed on it (101).

What HTTP needed of such a connection (the parser, the state between requests, the deadlines) is let go of: it may stay
open for days, and there may be thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Protocol as Shape

from twisted.internet.interfaces import ITransport
from twisted.python.failure import Failure

from .sweep import NEVER

if TYPE_CHECKING:
    from .exchange import ServerExchange
    from .factory import HTTPServerFactory

AHEAD_BYTES_MAX = 16 * 1024
"""What a client sends behind a request that asks for another protocol is kept unread until the answer says what it is.
So much is; then it waits in the kernel."""


class Taker(Shape):
    """Who speaks the other protocol: a Twisted protocol, and what a front needs of it besides."""

    def makeConnection(self, transport: ITransport) -> None:
        """The connection is yours."""

    def dataReceived(self, data: bytes) -> None:
        """The peer has sent something, perhaps before the connection was handed over."""

    def connectionLost(self, reason: Failure) -> None:
        """The connection is over. Of a client's connection, the exchange has to be finished as well."""

    def cut(self) -> None:
        """Close at once, so that the client can tell."""


class HandedOver:
    """
    What stays of a client's connection in its factory, so that it is counted, and cut when everything is. Its exchange
    is told to finish when the other protocol has ended on both sides.
    """

    __slots__ = ("_factory", "_taker", "leaving")

    deadline = NEVER

    def __init__(self, factory: HTTPServerFactory, taker: Taker) -> None:
        self.leaving = False
        self._factory = factory
        self._taker = taker

    def timed_out(self, now: float) -> None:
        """Nothing of ours can be late."""

    def leave(self) -> None:
        """Nothing: there is no next request that could go elsewhere. The other protocol has until the limit."""

    def close_if_idle(self, since: float) -> bool:
        """Not for us to tell."""
        return False

    def cut(self) -> None:
        """Close at once, so that the client can tell."""
        self._taker.cut()

    def exchange_finished(self, exchange: ServerExchange) -> None:
        """The other protocol has ended."""
        self._factory.lost(self)


def give(transport: object, taker: Taker, paused: bool, ahead: bytes) -> None:
    """
    Give a connection to another protocol.

    @param transport: nobody's producer is registered with it any more.
    @param paused: whether it does not read at present.
    @param ahead: what it has read that is the other protocol's already.
    """
    transport.protocol = taker  # type: ignore[attr-defined]
    taker.makeConnection(transport)  # type: ignore[arg-type]
    if paused:
        transport.resumeProducing()  # type: ignore[attr-defined]
    if ahead:
        taker.dataReceived(ahead)
