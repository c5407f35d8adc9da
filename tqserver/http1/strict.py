"""
What makes a request head valid, beyond what the parser refuses by itself. Pure.

The rules are those of RFC 9112, RFC 9110 and RFC 3986; whatever two readers could understand in two ways is refused.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from ..errors import ClientFault
from .head import Headers, RequestHead
from .hop import connection_options
from .upgrade import offer

METHOD_BYTES_MAX = 32
"""Of a method's name; the longest that is registered with IANA (C{UPDATEREDIRECTREF}) has 17."""

FIELDS_MAX = 128
"""Header fields of one request."""

PORT_MAX = 65535

HOST_BYTES_MAX = 255
"""Of a host without its port: no name in the DNS is longer, and none should be (RFC 3986 section 3.2.2). What is
remembered of hosts, here and elsewhere, is bounded by this."""

HOSTS_REMEMBERED_MAX = 4096
"""Hosts that were found valid already; when there are more, all are forgotten and it begins anew."""

_valid_hosts: set[bytes | None] = set()

request_line = re.compile(rb"([A-Z-]{1,32}) ([!-~]+) HTTP/1\.([01])\r\n").match
"""
The request line that stands here, with one space where RFC 9112 section 3 has one, as method, target and minor version;
takes bytes and an offset. Only the method's name and the target are still to be judged. Runs once per request.
"""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")

_CONTROL = re.compile(rb"[\x00-\x1f\x7f-\xff]")

_LINE_SO_FAR = re.compile(rb"[!-~][ -~]*\r?")
"""The beginning of a request line whose end has not come yet."""

_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?::([0-9]{0,5}))?")
"""
C{uri-host [ ":" port ]} (RFC 9110 section 7.2) without the comma: no host has one in its name, and where C{Host}
becomes C{X-Forwarded-Host} it would be read as a list.
"""

origin_form = re.compile(
    rb"/[!$&-;=@-\[\]^_a-z|~]*(?:%(?!00)[0-9A-Fa-f]{2}[!$&-;=@-\[\]^_a-z|~]*)*"  # C{absolute-path}
    rb"(?:\?[!$-;=?-~]*)?"  # C{"?" query}
).fullmatch
"""
C{origin-form} (RFC 9112 section 3.2.1).

In the path, an encoding is one, and never that of a NUL; C{[}, C{]}, C{^} and C{|} are tolerated, which browsers send
as they are, but not the backslash, which they take for a slash. Nobody routes by the query: there, everything that
browsers send as it is may stand, also a lone C{%}.
"""

_PLAIN = b"!$&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_abcdefghijklmnopqrstuvwxyz|~"
"""What may stand anywhere in it: most targets hold nothing else and need no closer look."""

_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)

_LENGTH = re.compile(rb"[0-9]{1,18}")
"""Of a body; 18 digits are below any integer's overflow."""

_NOT_SERVED = frozenset([b"CONNECT", b"TRACE"])

_SPECIAL = frozenset([b"host", b"content-length", b"transfer-encoding", b"expect", b"connection", b"upgrade"])
"""Fields that say something about the message itself."""

_PERSISTENCE = {b"keep-alive": True, b"Keep-Alive": True, b"close": False, b"Close": False}
"""What nearly every C{Connection} says, and what that means for the connection."""


def line_fault(line: bytes) -> ClientFault:
    """
    What is wrong with a request line that is not of the usual form, or whose method the parser does not know.

    @param line: without its CRLF.
    @return: 400, 501 or 505.
    """
    if _CONTROL.search(line):
        return ClientFault("The request line is malformed.", "control characters; RFC 9112 section 3")
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if not _TOKEN.fullmatch(method):
        return ClientFault("The request line is malformed.", "not a method; RFC 9112 section 3.1")
    if len(method) > METHOD_BYTES_MAX:
        return ClientFault("The request's method is not known here.", "RFC 9110 section 15.6.2", status=501)
    if not target or b" " in target or not _VERSION.fullmatch(version):
        return ClientFault("The request line is malformed.", "RFC 9112 section 3")
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        return _version_fault()
    return ClientFault("The request's method is not known here.", "RFC 9110 section 15.6.2", status=501)


def line_so_far(line: bytes, bytes_max: int) -> None:
    """
    Look at the beginning of a request line, so that what will never be one is not waited for.

    @param bytes_max: of a whole line.
    @raise ClientFault: 400, 414 or 501.
    """
    if not _LINE_SO_FAR.fullmatch(line):
        raise ClientFault("The request line is malformed.", "RFC 9112 section 3")
    if len(line) > METHOD_BYTES_MAX and b" " not in line:
        raise line_fault(line.rstrip(b"\r"))
    check_line_size(len(line), bytes_max)


def check_line_size(size: int, bytes_max: int) -> None:
    """
    Bound the request line.

    @raise ClientFault: 414.
    """
    if size > bytes_max:
        raise ClientFault("The request target is too long.", f"more than {bytes_max} bytes", status=414)


def check_fields(headers: Headers, head_bytes: int, bytes_max: int) -> None:
    """
    Bound the header fields.

    @param head_bytes: the size of the whole head.
    @param bytes_max: of a head; one field may have half of it.
    @raise ClientFault: 431.
    """
    if len(headers) > FIELDS_MAX:
        raise ClientFault("The request has too many header fields.", f"more than {FIELDS_MAX}", status=431)
    if head_bytes > bytes_max // 2 and any(len(name) + len(value) > bytes_max // 2 for name, value in headers):
        raise ClientFault("A header field is too large.", f"more than {bytes_max // 2} bytes", status=431)


def _version_fault() -> ClientFault:
    return ClientFault("Only HTTP/1.0 and HTTP/1.1 are spoken here.", "RFC 9110 section 15.6.6", status=505)


def _is_authority(value: bytes) -> bool:
    """Whether this is a host, perhaps with a port."""
    if value in _valid_hosts:
        return True
    match = _AUTHORITY.fullmatch(value)
    if match is None or len(match[1]) > HOST_BYTES_MAX or (match[2] and int(match[2]) > PORT_MAX):
        return False
    if value.startswith(b"["):
        try:
            IPv6Address(match[1][1:-1].decode("ascii"))
        except ValueError:
            return False
    if len(_valid_hosts) >= HOSTS_REMEMBERED_MAX:
        _valid_hosts.clear()
    _valid_hosts.add(value)
    return True


def _body_length(codings: list[bytes], lengths: list[bytes], version: tuple[int, int]) -> int | None:
    """
    How long the body is (RFC 9112 section 6.3): bytes, or L{None} if it is chunked.

    @raise ClientFault: 400 or 501.
    """
    if not codings:
        if not lengths:
            return 0
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            raise ClientFault("The Content-Length header is malformed.", "RFC 9110 section 8.6")
        return int(lengths[0])
    if lengths:
        raise ClientFault("The request has both Content-Length and Transfer-Encoding.", "RFC 9112 section 6.3")
    if version < (1, 1):
        raise ClientFault("Transfer-Encoding in an HTTP/1.0 request.", "RFC 9112 section 6.1")
    if len(codings) == 1 and codings[0].lower() == b"chunked":
        return None
    names = [name.strip(b" \t").lower() for coding in codings for name in coding.split(b",")]
    if names[-1] != b"chunked" or names.count(b"chunked") > 1 or not all(names):
        raise ClientFault("Nobody can tell where the request's body ends.", "RFC 9112 section 6.3")
    raise ClientFault("The request's transfer coding is not known here.", "RFC 9112 section 6.1", status=501)


def _target(method: bytes, url: bytes) -> tuple[bytes, bytes | None]:
    """
    Path and query of a request target, and the authority of an absolute-form one (RFC 9112 section 3.2).

    @raise ClientFault: 400.
    """
    if origin_form(url) or (url == b"*" and method == b"OPTIONS"):
        return url, None
    absolute = _ABSOLUTE.fullmatch(url)
    if absolute is not None:
        authority, target = absolute[1], absolute[2]
        if not target and method == b"OPTIONS":
            target = b"*"
        elif not target.startswith(b"/"):
            target = b"/" + target
        if _is_authority(authority) and (target == b"*" or origin_form(target)):
            return target, authority
    raise ClientFault("The request target is malformed.", "RFC 9112 section 3.2")


def request_head(
    method: bytes, url: bytes, version: tuple[int, int], headers: Headers, keep_alive: bool = True
) -> RequestHead:
    """
    Make a valid L{RequestHead}, or say what is wrong.

    @param headers: names in lower case, values without whitespace around them.
    @param keep_alive: whether the connection may persist, if the client lets it.
    @raise ClientFault: 400, 405 (CONNECT and TRACE), 417, 501 or 505.
    """
    if version != (1, 1):
        if version != (1, 0):
            raise _version_fault()
        keep_alive_asked = False
    else:
        keep_alive_asked = keep_alive
    if method in _NOT_SERVED:
        raise ClientFault(f"{method.decode('ascii')} is not served here.", "RFC 9110 section 9.3", status=405)
    target, authority = url, None
    if url[:1] != b"/" or url.translate(None, _PLAIN):
        target, authority = _target(method, url)
    host: bytes | None = None
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
    if host not in _valid_hosts:
        _check_host(host, version)
    length: int | None = 0
    expect_continue = False
    upgrade = b""
    if special is not None:
        none: list[bytes] = []
        if b"content-length" in special or b"transfer-encoding" in special:
            length = _body_length(
                special.get(b"transfer-encoding", none), special.get(b"content-length", none), version
            )
        if b"connection" in special:
            connections = special[b"connection"]
            if len(connections) == 1 and connections[0] in _PERSISTENCE:
                keep_alive_asked = keep_alive and _PERSISTENCE[connections[0]]
            else:
                options = connection_options(connections)
                keep_alive_asked = (
                    keep_alive and b"close" not in options and (keep_alive_asked or b"keep-alive" in options)
                )
                if b"upgrade" in options and b"upgrade" in special and version == (1, 1):
                    upgrade = offer(method, version, length, special[b"upgrade"])
        if b"expect" in special and version == (1, 1):
            if any(value.lower() != b"100-continue" for value in special[b"expect"]):
                raise ClientFault("The expectation cannot be met.", "RFC 9110 section 10.1.1", status=417)
            expect_continue = length != 0
    path, mark, query = target.partition(b"?")
    return RequestHead(
        method,
        target,
        path,
        query if mark else None,
        headers,
        (host or b"") if authority is None else authority,
        version,
        length,
        keep_alive_asked,
        expect_continue,
        upgrade,
    )


def _check_host(host: bytes | None, version: tuple[int, int]) -> None:
    """
    Whether a host is one, and there where it must be (RFC 9112 section 3.2).

    @raise ClientFault: 400.
    """
    if not host and version < (1, 1):
        return
    if host is None:
        raise ClientFault("The request has no Host header.", "RFC 9112 section 3.2")
    if not _is_authority(host):
        raise ClientFault("The Host header is malformed.", "RFC 9110 section 7.2")
