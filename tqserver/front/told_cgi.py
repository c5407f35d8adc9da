"""
What a script is told of a client and its request's header fields: what L{Forwarding} would tell a worker that speaks
HTTP, as FastCGI variables on their way over the wire. Pure.
"""

from __future__ import annotations

from twisted.logger import Logger

from ..fastcgi.cgi import Client, Variable, client_variables, header_variables, variable
from ..fastcgi.usual import LENGTHS, SHORT, length
from .exchange import IExchange
from .forwarded import NAME_BYTES_REMEMBERED_MAX, PERSISTENCE, Forwarding, is_kept

CLIENTS_REMEMBERED_MAX = 4096
"""Combinations of peer, address of ours, scheme, host and prefix whose variables were written already. A client that
invents hosts fills this and then only costs itself."""

NAMES_REMEMBERED_MAX = 1024
"""Header names that were judged already, likewise."""

_Name = tuple[bytes, bytes]
"""A variable's name, and before it that name's length as it goes over the wire."""

_DROPPED: _Name = b"", b""
_CONNECTION: _Name = b"?", b""
"""Not passed on, and names others that are not."""
_TRACED: _Name = b"!", b""
"""Passed on if it is valid."""

_ID = Variable(b"HTTP_X_REQUEST_ID")
_CORRELATION = Variable(b"HTTP_X_CORRELATION_ID")
_TRACE = Variable(b"HTTP_TRACEPARENT")

_log = Logger()


class CGIWords:
    """
    Tells scripts of clients.

    @ivar forwarding: knows whose word is taken for what.
    """

    def __init__(self, forwarding: Forwarding) -> None:
        self.forwarding = forwarding
        self._clients: dict[tuple[str, str, int, bytes, bytes, bytes], bytes] = {}
        self._names: dict[bytes, _Name] = {}

    def variables(self, exchange: IExchange, peer: str, scheme: bytes, prefix: bytes) -> list[bytes]:
        """
        All variables that tell of the client, and all that are header fields, in pieces.

        @param exchange: with the id that L{Forwarding.identify} gave out, and the client's effective address.
        @param peer: address of whoever opened the connection; empty for a UNIX socket.
        @param scheme: C{http} or C{https}, of the peer's connection.
        @param prefix: where the worker is mounted; C{/} at the root.
        """
        head = exchange.head
        key = peer, exchange.server_host, exchange.server_port, scheme, head.host, prefix
        client = self._clients.get(key)
        if client is None:
            client = self._meet(exchange, key)
        if not client:
            return self._rewritten(exchange, peer, scheme, prefix)
        pieces = [client]
        names = self._names
        seen = set()
        for name, value in head.headers:
            known = names.get(name) or self._judge(name)
            if known is _DROPPED:
                continue
            ahead, written = known
            if name in seen or (not written and (known is _TRACED or value not in PERSISTENCE)):
                # Fields that come twice are one variable; and who names fields is listened to.
                return self._rewritten(exchange, peer, scheme, prefix)
            seen.add(name)
            if written:
                size = len(value)
                pieces += (ahead, LENGTHS[size] if size < SHORT else length(size), written, value)
        request_id = exchange.request_id.encode("ascii", "replace")
        size = len(request_id)
        trace = self.forwarding.new_trace()
        pieces += (
            _ID.ahead[size] if size < SHORT else _ID.before(size),
            request_id,
            _CORRELATION.ahead[size] if size < SHORT else _CORRELATION.before(size),
            request_id,
            _TRACE.ahead[len(trace)],
            trace,
        )
        return pieces

    def _rewritten(self, exchange: IExchange, peer: str, scheme: bytes, prefix: bytes) -> list[bytes]:
        """Likewise, for those who have something to say about others, and for what is not usual."""
        headers, _, _ = self.forwarding.rewrite(exchange.head, peer, scheme, prefix, exchange.request_id)
        # Whoever forwards to us has its word replaced by then, or taken.
        secure = (b"x-forwarded-proto", b"https") in headers
        return [client_variables(_client(exchange, secure)), header_variables(headers)]

    def _meet(self, exchange: IExchange, key: tuple[str, str, int, bytes, bytes, bytes]) -> bytes:
        """What is the same for all requests of an untrusted peer; empty for a trusted one."""
        peer, _, _, scheme, host, prefix = key
        own_words = self.forwarding.own_words(peer, scheme, host, prefix)
        told = b""
        if own_words is not None:
            told = client_variables(_client(exchange, scheme == b"https")) + header_variables(own_words)
        if len(self._clients) >= CLIENTS_REMEMBERED_MAX:
            self._clients.clear()
        self._clients[key] = told
        return told

    def _judge(self, name: bytes) -> _Name:
        written = variable(name) if is_kept(name) else None
        known = _DROPPED
        if written is not None:
            known = length(len(written)), written
        elif name == b"connection":
            known = _CONNECTION
        elif name in (b"traceparent", b"tracestate"):
            known = _TRACED
        elif is_kept(name):
            _log.debug("Scripts are not told of header fields called {name}", name=name)
        if len(self._names) < NAMES_REMEMBERED_MAX and len(name) <= NAME_BYTES_REMEMBERED_MAX:
            self._names[name] = known
        return known


def _client(exchange: IExchange, secure: bool) -> Client:
    return Client(
        host=exchange.client_host,
        asked=exchange.head.host,
        server_host=exchange.server_host,
        server_port=exchange.server_port,
        secure=secure,
    )
