"""
Who may use a service: whoever knows its token.
"""

from __future__ import annotations

import hmac

from ...errors import ClientFault
from ...http1.exchange import ServerExchange

_SCHEMES = (b"token", b"bearer")
_FIELDS = (b"authorization", b"authentication")
"""Header fields with a token. The second is what the first clients of TQS sent."""


class Token:
    """An L{Admit<tqserver.queue.api.frame.Admit>}."""

    def __init__(self, token: str, free: frozenset[bytes] = frozenset()) -> None:
        """
        @param token: what clients have to know; compared in constant time.
        @param free: paths that anybody may see.
        """
        self._token = token.encode()
        self._free = free

    def __call__(self, exchange: ServerExchange, path: bytes) -> None:
        """
        Let a client in, or not.

        @raise ClientFault: it does not know the token.
        """
        if path in self._free:
            return
        for name, value in exchange.head.headers:
            if name in _FIELDS:
                scheme, _, token = value.partition(b" ")
                if scheme.lower() in _SCHEMES and hmac.compare_digest(token.strip(), self._token):
                    return
        exchange.response_headers = [*exchange.response_headers, (b"WWW-Authenticate", b"Bearer")]
        raise ClientFault("The token is missing or wrong.", status=401)
