"""
A request's variables (RFC 3875 section 4), as they go over the wire. Pure, but for what is remembered.

What is the same for many requests is one piece, made once: L{client_variables}, L{script_variables}. The rest are
pieces of a few bytes each, which L{usual.opening<tqserver.fastcgi.usual.opening>} puts together.
"""

from __future__ import annotations

import re

from attrs import frozen

from ..http1.head import Headers, RequestHead
from ..http1.hop import HOP_BY_HOP, connection_options
from .scripts import Script
from .usual import SHORT, encode_pairs, length

SERVER_SOFTWARE = b"tqserver"

METHODS_REMEMBERED_MAX = 64
"""Methods, each in its protocol version, whose variables were written already."""

_NAME = re.compile(rb"[A-Za-z0-9-]+")
"""Header names that become variables. An underscore would become the same variable as a hyphen, so that a client could
speak with the voice of a proxy (C{X_Forwarded_For}); nobody uses the other characters of a token."""

_NOT_AS_HEADER = frozenset(
    [
        b"content-length",
        b"expect",
        b"host",
        b"proxy",  # HTTP_PROXY is a setting of many HTTP clients (CVE-2016-5385, "httpoxy").
    ]
)


@frozen(kw_only=True)
class Client:
    """
    Who asks, and whom.

    @ivar host: the client's address, without port; empty for a UNIX socket.
    @ivar asked: what it calls us: the value of C{Host}, or empty.
    @ivar server_host: our own address, or empty.
    @ivar server_port: our own port, or 0.
    @ivar secure: whether the client's connection is encrypted, to us or to whoever forwards to us.
    """

    host: str
    asked: bytes
    server_host: str
    server_port: int
    secure: bool


class Variable:
    """
    A variable that every request has.

    @ivar ahead: what goes before its value, by the value's length, up to L{SHORT}.
    """

    def __init__(self, name: bytes) -> None:
        self._name = name
        self.ahead = tuple(self.before(size) for size in range(SHORT))

    def before(self, size: int) -> bytes:
        """What goes before a value of any length."""
        return length(len(self._name)) + length(size) + self._name


_URI = Variable(b"REQUEST_URI")
_QUERY = Variable(b"QUERY_STRING")
_PORT = Variable(b"REMOTE_PORT")
_LENGTH = Variable(b"CONTENT_LENGTH")


def variable(name: bytes) -> bytes | None:
    """
    The variable of a header field.

    @param name: in lower case.
    @return: such as C{HTTP_ACCEPT_LANGUAGE}, or L{None} if the field is not passed on.
    """
    if name == b"content-type":
        return b"CONTENT_TYPE"
    if name in HOP_BY_HOP or name in _NOT_AS_HEADER or not _NAME.fullmatch(name):
        return None
    return b"HTTP_" + name.upper().replace(b"-", b"_")


def header_variables(headers: Headers) -> bytes:
    """
    All header fields that are passed on, as variables (RFC 3875 section 4.1.18).

    Values of fields that came more than once are joined. But there is only one C{Content-Type}, the first.
    """
    variables: dict[bytes, bytes] = {}
    nominated = connection_options(value for name, value in headers if name == b"connection")
    for name, value in headers:
        key = variable(name)
        if key is None or (nominated and name in nominated):
            continue
        if key not in variables:
            variables[key] = value
        elif key != b"CONTENT_TYPE":
            variables[key] += (b"; " if name == b"cookie" else b", ") + value
    return encode_pairs(list(variables.items()))


def client_variables(client: Client) -> bytes:
    """What all requests of a client have in common."""
    asked = client.asked
    name = asked[: asked.rindex(b":")] if _has_port(asked) else asked
    variables = [
        (b"GATEWAY_INTERFACE", b"CGI/1.1"),
        (b"SERVER_SOFTWARE", SERVER_SOFTWARE),
        (b"SERVER_NAME", name or client.server_host.encode()),
        (b"SERVER_ADDR", client.server_host.encode() or b"127.0.0.1"),
        (b"SERVER_PORT", b"%d" % (client.server_port or (443 if client.secure else 80))),
        # The peer of a UNIX socket is on this machine; frameworks cannot do with no address at all.
        (b"REMOTE_ADDR", client.host.encode() or b"127.0.0.1"),
        (b"REQUEST_SCHEME", b"https" if client.secure else b"http"),
        (b"REDIRECT_STATUS", b"200"),  # php-cgi refuses to run without (cgi.force_redirect).
    ]
    if client.secure:
        variables.append((b"HTTPS", b"on"))
    if asked:
        variables.append((b"HTTP_HOST", asked))
    return encode_pairs(variables)


def _has_port(host: bytes) -> bool:
    colon = host.rfind(b":")
    return colon >= 0 and host.find(b"]", colon) < 0


def script_variables(script: Script, mount: bytes) -> bytes:
    """
    What all requests have in common for which a script was found.

    @param mount: the URL prefix under which the scripts are mounted, such as C{/blog}, or empty.
    """
    name = mount + script.name
    variables = [
        (b"DOCUMENT_ROOT", script.root),
        (b"SCRIPT_FILENAME", script.filename),
        (b"SCRIPT_NAME", name),
        (b"DOCUMENT_URI", name + script.info),
    ]
    if script.info:
        # Never an empty one: php-fpm before 7.3.11 reckoned with its length (CVE-2019-11043).
        variables.append((b"PATH_INFO", script.info))
        variables.append((b"PATH_TRANSLATED", script.root + script.info))
    return encode_pairs(variables)


_methods: dict[tuple[bytes, tuple[int, int]], bytes] = {}


def _method(key: tuple[bytes, tuple[int, int]]) -> bytes:
    method, version = key
    written = encode_pairs([(b"REQUEST_METHOD", method), (b"SERVER_PROTOCOL", b"HTTP/%d.%d" % version)])
    if len(_methods) < METHODS_REMEMBERED_MAX:
        _methods[key] = written
    return written


def request_variables(head: RequestHead, port: int, body_bytes: int) -> list[bytes]:
    """
    What is each request's own, but for its header fields; in pieces.

    @param port: the client's, or 0.
    @param body_bytes: the size of the body, which of a chunked one only who has read it knows.
    """
    target, query = head.target, head.query or b""
    key = head.method, head.version
    target_bytes, query_bytes = len(target), len(query)
    written = b"%d" % port
    pieces = [
        _methods.get(key) or _method(key),
        _URI.ahead[target_bytes] if target_bytes < SHORT else _URI.before(target_bytes),
        target,
        _QUERY.ahead[query_bytes] if query_bytes < SHORT else _QUERY.before(query_bytes),
        query,
        _PORT.ahead[len(written)],
        written,
    ]
    if body_bytes:
        written = b"%d" % body_bytes
        pieces += (_LENGTH.ahead[len(written)], written)
    return pieces
