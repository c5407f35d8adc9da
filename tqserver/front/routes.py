"""
Which worker a request is for: the longest prefix on a segment boundary, those of the request's own host first. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import frozen

from ..plane.messages import Route

_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
"""Characters that mean the same percent-encoded (RFC 3986 section 6.2.2.2)."""


def _normal(escape: re.Match[bytes]) -> bytes:
    """An escape as prefixes are written: none for what needs none, else in upper case (RFC 3986 section 6.2.2.1)."""
    character = int(escape[0][1:], 16)
    return bytes((character,)) if character in _UNRESERVED else escape[0].upper()


@frozen
class Match:
    """
    A route that takes a request.

    @ivar prefix: the route's prefix.
    @ivar told_prefix: the same, as the worker is told.
    @ivar matched_bytes: how much of the path as it was sent is the prefix; 0 for the prefix C{/}.
    """

    worker: str
    prefix: str
    matched_bytes: int
    told_prefix: bytes


class RouteTable:
    """An immutable set of routes; a new L{Routing<tqserver.plane.messages.Routing>} makes a new table."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._hosts: dict[bytes, dict[bytes, tuple[str, str]]] = {}
        for route in routes:
            host = route.host.lower().encode("ascii", "replace")
            key = route.prefix.rstrip("/").encode("utf-8")
            self._hosts.setdefault(host, {})[key] = (route.worker, route.prefix)
        self._any = self._hosts.pop(b"", {})
        self._depth = max((key.count(b"/") for table in [self._any, *self._hosts.values()] for key in table), default=0)

    def match(self, host: bytes, path: bytes) -> Match | None:
        """
        Find the route of a request.

        @param host: the C{Host} field, perhaps with a port.
        @param path: the path as it was sent.
        """
        if self._hosts:
            table = self._hosts.get(_name(host))
            if table is not None:
                found = self._longest(table, path)
                if found is not None:
                    return found
        return self._longest(self._any, path)

    @property
    def by_host(self) -> bool:
        """Whether it matters which host a request is for."""
        return bool(self._hosts)

    def _longest(self, table: dict[bytes, tuple[str, str]], path: bytes) -> Match | None:
        if not table:
            return None
        for end in self._boundaries(path):
            key = path[:end]
            if b"%" in key:
                key = _ESCAPE.sub(_normal, key)
            target = table.get(key)
            if target is not None:
                return Match(target[0], target[1], end, target[1].encode())
        return None

    def _boundaries(self, path: bytes) -> list[int]:
        """Where the first C{depth} segments of a path end, the longest first, down to 0."""
        ends = [0]
        if not path.startswith(b"/"):
            return ends
        at = 0
        for _ in range(self._depth):
            at = path.find(b"/", at + 1)
            if at < 0:
                ends.append(len(path))
                break
            ends.append(at)
        ends.reverse()
        return ends


def _name(host: bytes) -> bytes:
    """A host without port and the dot of the root, in lower case."""
    if host.startswith(b"["):
        return host[: host.find(b"]") + 1].lower()
    return host.partition(b":")[0].lower().removesuffix(b".")
