"""
What makes a request head valid, beyond what the parser refuses by itself. Pure.

The rules are those of RFC 9112 and RFC 9110; whatever two readers could understand in two ways is refused.
"""

from __future__ import annotations

import re

from ..errors import ClientFault
from .head import Headers, RequestHead
from .hop import connection_options

_AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
"""C{uri-host [ ":" port ]} (RFC 9110 section 7.2)."""

_TARGET = re.compile(rb"[!\"$-~\x80-\xff]+")
"""No control character, no space and no fragment; bytes over 0x7f are tolerated, as everybody does."""

_PATH = re.compile(rb"/[!\"$-~\x80-\xff]*")

_is_path = _PATH.fullmatch

_NOT_SERVED = frozenset([b"CONNECT", b"TRACE"])

_LENGTH = re.compile(rb"[0-9]{1,18}")


_SPECIAL = frozenset([b"host", b"content-length", b"transfer-encoding", b"expect", b"connection", b"upgrade"])
"""Fields that say something to us."""

VALID_REMEMBERED_MAX = 4096
"""Hosts that were found valid already; when there are more, all are forgotten and it begins anew."""

_valid_hosts: set[bytes] = set()


def _check_host(host: bytes) -> None:
    if not _AUTHORITY.fullmatch(host):
        raise ClientFault("The Host header is malformed.", "RFC 9110 section 7.2")
    if len(_valid_hosts) >= VALID_REMEMBERED_MAX:
        _valid_hosts.clear()
    _valid_hosts.add(host)


def _body_length(codings: list[bytes], lengths: list[bytes], version: tuple[int, int]) -> int | None:
    if codings:
        if lengths:
            raise ClientFault("The request has both Content-Length and Transfer-Encoding.", "RFC 9112 section 6.3")
        if version < (1, 1):
            raise ClientFault("Transfer-Encoding in an HTTP/1.0 request.", "RFC 9112 section 6.1")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise ClientFault("Unknown transfer coding.", "RFC 9112 section 6.1", status=501)
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise ClientFault("The Content-Length header is malformed.", "RFC 9110 section 8.6")
    return int(lengths[0])


def _origin_form(method: bytes, url: bytes) -> tuple[bytes, bytes | None]:
    """
    Path-and-query of a request target that is not plainly one, and the authority of an absolute-form one (RFC 9112
    section 3.2).
    """
    if not _TARGET.fullmatch(url):
        raise ClientFault("The request target is malformed.", "RFC 9112 section 3.2")
    if url == b"*" and method == b"OPTIONS":
        return url, None
    scheme, separator, rest = url.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        authority, target = rest[:cut], rest[cut:]
        if not authority or not _AUTHORITY.fullmatch(authority):
            raise ClientFault("The request target is malformed.", "RFC 9112 section 3.2.2")
        return (target if target.startswith(b"/") else b"/" + target), authority
    raise ClientFault("The request target is malformed.", "RFC 9112 section 3.2")


def request_head(
    method: bytes, url: bytes, version: tuple[int, int], headers: Headers, keep_alive: bool
) -> RequestHead:
    """
    Make a valid L{RequestHead}, or say what is wrong.

    @param headers: names in lower case.
    @param keep_alive: what the parser thinks of the connection's persistence.
    @raise ClientFault: 400, 405 (CONNECT and TRACE), 417, 501 or 505.
    """
    if version != (1, 1) and version != (1, 0):
        raise ClientFault("Only HTTP/1.0 and HTTP/1.1 are spoken here.", status=505)
    if method in _NOT_SERVED:
        raise ClientFault(f"{method.decode('ascii')} is not served here.", status=405)
    target, authority = url, None
    if not _is_path(url):
        target, authority = _origin_form(method, url)
    host: bytes | None = None
    upgrade = b""
    special = None
    for name, value in headers:
        if name in _SPECIAL:
            if name == b"host":
                if host is not None:
                    raise ClientFault("The request has more than one Host header.", "RFC 9112 section 3.2")
                host = value
            elif special is None:
                special = {name: [value]}
            else:
                special.setdefault(name, []).append(value)
    if host is not None:
        if host not in _valid_hosts:
            _check_host(host)
    elif version >= (1, 1):
        raise ClientFault("The request has no Host header.", "RFC 9112 section 3.2")
    if authority is not None:
        host = authority
    length: int | None = 0
    expect_continue = False
    if special is not None:
        none: list[bytes] = []
        length = _body_length(special.get(b"transfer-encoding", none), special.get(b"content-length", none), version)
        for value in special.get(b"expect", none) if version >= (1, 1) else none:
            if value.lower() != b"100-continue":
                raise ClientFault("The expectation cannot be met.", "RFC 9110 section 10.1.1", status=417)
            expect_continue = length != 0
        if b"upgrade" in special and b"upgrade" in connection_options(special.get(b"connection", none)):
            upgrade = special[b"upgrade"][-1]
    path, mark, query = target.partition(b"?")
    return RequestHead(
        method,
        target,
        path,
        query if mark else None,
        headers,
        host or b"",
        version,
        length,
        keep_alive,
        expect_continue,
        upgrade,
    )
