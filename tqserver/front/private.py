"""
Connections of the server's own processes: a queue that delivers its tasks to workers.

They come over a UNIX socket that only the server's user may open. What they say of their requests is taken for true,
and nobody else can be taken for one of them: L{PEER} is no address.
"""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory

from ..http1.exchange import ServerExchange
from ..http1.factory import HTTPServerFactory
from ..http1.server import HTTPServerConnection
from .forwarded import PEER
from .task_seen import remember, task_seen


class PrivateConnection(HTTPServerConnection):
    """One of them."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.client_host = PEER

    def _read(self, data: bytes, head_bytes_max: int) -> None:
        # Whoever sends a task waits for its answer, so that it comes alone, and as a rule in one piece.
        alone = self.between_requests and not self._waiting
        if alone:
            seen = task_seen(data, head_bytes_max // 2, self.factory.settings.body_bytes_max)
            if seen is not None:
                head, body = seen
                exchange = ServerExchange(self, head)
                if body:
                    exchange.body_data(body)
                exchange.body_whole = True
                self._waiting.append(exchange)
                return
        super()._read(data, head_bytes_max)
        if alone and len(self._waiting) == 1 and self._fault is None:
            remember(data, self._waiting[0].head)


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
