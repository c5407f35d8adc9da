"""
Connections of the server's own processes: a queue that delivers its tasks to workers.

They come over a UNIX socket that only the server's user may open. What they say of their requests is taken for true,
and nobody else can be taken for one of them: L{PEER} is no address.
"""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory

from ..http1.factory import HTTPServerFactory
from ..http1.server import HTTPServerConnection
from .forwarded import PEER


class PrivateConnection(HTTPServerConnection):
    """One of them."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.client_host = PEER


class PrivateFactory(ServerFactory):
    """
    Makes them.

    @ivar http: whose connections they are.
    """

    noisy = False

    def __init__(self, http: HTTPServerFactory) -> None:
        self.http = http

    def buildProtocol(self, addr: IAddress | None) -> PrivateConnection:  # type: ignore[override]
        connection = PrivateConnection()
        connection.factory = self.http
        return connection
