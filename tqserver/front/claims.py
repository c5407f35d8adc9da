"""
What a peer says of the client on whose behalf it asks: C{X-Forwarded-*}, C{Forwarded}, C{X-Real-IP}, C{X-Request-ID}.
Pure. Whether it is to be believed is for others to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import frozen

from ..http1.head import Headers

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_SCHEME = re.compile(rb"https?")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]-]{1,255}")
_PREFIX = re.compile(rb"/[!-+\x2d-~]{0,1023}")
"""One path without a comma, which would make it a list."""

_FORWARDED_PAIR = re.compile(rb'\s*([A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*)\s*(;|,|$)')
"""One C{name=value} of C{Forwarded} and what follows it (RFC 7239 section 4)."""

Address = IPv4Address | IPv6Address

_NAMES = frozenset([b"forwarded", b"x-real-ip", b"x-request-id", b"x-correlation-id"])
"""Besides everything that begins with C{x-forwarded}."""


@frozen
class Claims:
    """What a trusted peer says of the client; empty where it says nothing that can be believed."""

    chain: tuple[bytes, ...] = ()
    """Addresses from the client to the peer before this one, as written."""
    scheme: bytes = b""
    host: bytes = b""
    prefix: bytes = b""
    request_id: bytes = b""


def is_claim(name: bytes) -> bool:
    """Whether fields of this name (in lower case) say who the client is."""
    return name in _NAMES or name.startswith(b"x-forwarded")


def address_of(text: str) -> Address | None:
    """An address, perhaps with brackets and port, as proxies write it; L{None} for anything else."""
    text = text.strip(' \t"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _last(value: bytes) -> bytes:
    """The last member of a list: what the neighbour itself added."""
    return value.rpartition(b",")[2].strip(b" \t")


def claims_of(headers: Headers) -> Claims:
    """What a trusted peer's fields say. C{Forwarded} counts only when there is no C{X-Forwarded-For}."""
    said: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if is_claim(name):
            said.setdefault(name, []).append(value)
    if not said:
        return Claims()
    chain = _members(said.get(b"x-forwarded-for", ()))
    scheme, host = (_last(said.get(name, [b""])[-1]) for name in (b"x-forwarded-proto", b"x-forwarded-host"))
    if not chain and b"forwarded" in said:
        chain, scheme, host = _forwarded(b",".join(said[b"forwarded"]), scheme, host)
    if not chain and b"x-real-ip" in said:
        chain = (said[b"x-real-ip"][-1],)
    scheme = scheme.lower()
    prefix = said.get(b"x-forwarded-prefix", [b""])[-1]
    request_id = said.get(b"x-request-id", [b""])[0]
    return Claims(
        chain,
        scheme if _SCHEME.fullmatch(scheme) else b"",
        host if _HOST.fullmatch(host) else b"",
        prefix if _PREFIX.fullmatch(prefix) else b"",
        request_id if _REQUEST_ID.fullmatch(request_id) else b"",
    )


def _members(values: Iterable[bytes]) -> tuple[bytes, ...]:
    """The members of a list that may be spread over several fields."""
    return tuple(part for value in values for part in (item.strip(b" \t") for item in value.split(b",")) if part)


def _forwarded(value: bytes, scheme: bytes, host: bytes) -> tuple[tuple[bytes, ...], bytes, bytes]:
    """
    What C{Forwarded} (RFC 7239) says, in the words of C{X-Forwarded-*}: the addresses, and scheme and host
    as the nearest proxy saw them. A malformed field says nothing.

    @param scheme: what stands if the field does not tell.
    @param host: likewise.
    """
    chain: list[bytes] = []
    at = 0
    while at < len(value):
        pair = _FORWARDED_PAIR.match(value, at)
        if pair is None:
            return (), scheme, host
        name, said = pair.group(1).lower(), pair.group(2)
        if said.startswith(b'"'):
            said = re.sub(rb"\\(.)", rb"\1", said[1:-1])
        if name == b"for":
            address = address_of(said.decode("ascii", "replace"))
            chain.append(said if address is None else str(address).encode("ascii"))
        elif name == b"proto":
            scheme = said
        elif name == b"host":
            host = said
        at = pair.end()
    return tuple(chain), scheme, host


def mounted(claims: Claims, prefix: bytes) -> bytes:
    """Where a worker is mounted: below what the proxy before us has taken away."""
    return claims.prefix.rstrip(b"/") + (prefix if prefix != b"/" else b"") or b"/"
