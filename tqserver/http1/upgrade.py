"""
Which other protocol a connection may be switched to (RFC 9110 section 7.8). Pure.

What a client offers is passed to the worker only as far as it can be tunnelled, which is as far as it concerns the
bytes behind the switch alone. A switch to HTTP itself (C{h2c}) would have the worker read requests that nobody here
has looked at, and a switch to TLS is not the worker's to make: both are left out of the offer, so that the request is
answered as if they had not been in it, which any server may do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WEBSOCKET = b"websocket"

_PROTOCOL = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?")
"""C{protocol-name [ "/" protocol-version ]}, both tokens."""

_OURS = frozenset([b"h2c", b"h2", b"http", b"http2", b"h3", b"tls"])
"""Names, in lower case and without a version, of what is not the worker's to speak."""


def members(values: Iterable[bytes]) -> list[bytes]:
    """The protocols that C{Upgrade} fields list; what is malformed is none."""
    listed = (part.strip(b" \t") for value in values for part in value.split(b","))
    return [protocol for protocol in listed if _PROTOCOL.fullmatch(protocol)]


def offer(method: bytes, version: tuple[int, int], content_length: int | None, values: Iterable[bytes]) -> bytes:
    """
    What of a request's C{Upgrade} a worker is offered. A request with a body is answered in HTTP: its sender could not
    switch before the body was whole.

    @param values: the request's C{Upgrade} fields, which its C{Connection} names.
    @return: the value of one C{Upgrade} field, or empty for no offer.
    """
    if version < (1, 1) or content_length != 0:
        return b""
    offered: list[bytes] = []
    for protocol in members(values):
        name = protocol.partition(b"/")[0].lower()
        if name in _OURS or (name == WEBSOCKET and method != b"GET"):
            continue
        offered.append(protocol)
    return b", ".join(offered)


def choice(offered: bytes, values: Iterable[bytes], connection_options: frozenset[bytes]) -> bytes:
    """
    What a worker that answers 101 has chosen.

    @param offered: what it was offered.
    @param values: the answer's C{Upgrade} fields.
    @param connection_options: of its C{Connection}, in lower case.
    @return: the value of one C{Upgrade} field, or empty if it is not a choice among what it was offered.
    """
    if b"upgrade" not in connection_options:
        return b""
    chosen = members(values)
    among = {protocol.lower() for protocol in members([offered])}
    if not all(protocol.lower() in among for protocol in chosen):
        return b""
    return b", ".join(chosen)
