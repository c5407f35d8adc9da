"""
Clients that come back to the endpoint that they had before, by a cookie. Pure.

The cookie holds a token of the endpoint: a keyed hash of the names of worker and instance. The key is the server's
secret, which all its fronts have from their L{Routing<tqserver.plane.messages.Routing>}: so they all make the same
tokens, a front that is replaced knows those of the one before, and nobody else can make one, or tell from one how
instances are called. A token of an endpoint that is gone, of another worker, or of a server that has been restarted
since is a token of nobody: its client is placed anew.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable

from ..http1.head import Headers, RequestHead
from ..plane.messages import StickyRule
from .cookies import cookie_path, cookie_values, set_cookie

TOKEN_BYTES = 16
"""Of the hash; enough that nobody guesses one."""


def token(secret: bytes, worker: str, endpoint_id: str) -> bytes:
    """What a cookie calls an endpoint."""
    digest = hmac.digest(secret, f"{worker}\0{endpoint_id}".encode(), "sha256")
    return urlsafe_b64encode(digest[:TOKEN_BYTES]).rstrip(b"=")


class Homes:
    """
    The tokens of one worker's endpoints.

    @ivar rule: of the cookie.
    """

    def __init__(self, rule: StickyRule, secret: bytes, worker: str) -> None:
        """
        @param secret: the server's.
        @param worker: its name.
        """
        self.rule = rule
        self._name = rule.cookie.encode("ascii")
        self._secret = secret
        self._worker = worker
        self._tokens: dict[str, bytes] = {}
        self._ids: dict[bytes, str] = {}

    def update(self, endpoint_ids: Iterable[str]) -> None:
        """These are the worker's endpoints now."""
        known = self._tokens
        self._tokens = {
            endpoint_id: known.get(endpoint_id) or token(self._secret, self._worker, endpoint_id)
            for endpoint_id in endpoint_ids
        }
        self._ids = {made: endpoint_id for endpoint_id, made in self._tokens.items()}

    def home(self, head: RequestHead) -> str:
        """The id of the endpoint that the client had before; empty if it had none that is still there."""
        for value in cookie_values(head, self._name):
            found = self._ids.get(value)
            if found is not None:
                return found
        return ""

    def cookie(self, endpoint_id: str, scheme: bytes, prefix: bytes) -> tuple[bytes, bytes] | None:
        """
        The header field that makes an endpoint the client's home.

        @param scheme: by which the client comes, C{http} or C{https}.
        @param prefix: below which it asks.
        @return: L{None} if the endpoint has been taken away meanwhile.
        """
        made = self._tokens.get(endpoint_id)
        if made is None:
            return None
        secure = scheme == b"https" if self.rule.secure is None else self.rule.secure
        return set_cookie(self._name, made, cookie_path(prefix), secure, self.rule.age_max_s)


def with_cookie(headers: Headers, ours: tuple[bytes, bytes] | None, old: tuple[bytes, bytes] | None) -> Headers:
    """
    The fields that are added to a response, with one cookie of ours in the place of another.

    @param ours: the new one, or L{None} if there is to be none.
    @param old: the one that an earlier attempt added, or L{None}.
    """
    kept = [field for field in headers if field is not old]
    return kept if ours is None else [*kept, ours]
