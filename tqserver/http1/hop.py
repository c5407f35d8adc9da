"""What stays between two neighbours: hop-by-hop header fields (RFC 9110 section 7.6.1). Pure."""

from __future__ import annotations

from collections.abc import Iterable

HOP_BY_HOP = frozenset(
    [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ]
)
"""Names, in lower case, that are never passed on."""


def connection_options(values: Iterable[bytes]) -> frozenset[bytes]:
    """
    The options that C{Connection} fields list, in lower case.

    @param values: the values of all C{Connection} fields of one message.
    """
    return frozenset(
        option for value in values for option in (part.strip(b" \t").lower() for part in value.split(b",")) if option
    )
