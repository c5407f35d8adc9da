"""
HTTP heads as CGI/1.1 has them (RFC 3875): a request's variables, and the head of a script's answer. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import frozen

from ..errors import ClientFault, UpstreamFault
from ..http1.head import Headers, RequestHead, ResponseHead
from ..http1.hop import HOP_BY_HOP, connection_options
from .records import PARAMS_BYTES
from .scripts import Script

SERVER_SOFTWARE = b"tqserver"

HEAD_BYTES_MAX = 64 * 1024
"""A script's response head; frameworks with many cookies stay far below."""

FIELDS_MAX = 512
"""Header fields of one response."""

_NAME = re.compile(rb"[A-Za-z0-9-]+")
"""Header names that become variables. An underscore would become the same variable as a hyphen, so that a
client could speak with the voice of a proxy (C{X_Forwarded_For}); nobody uses the other characters of a
token."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_STATUS = re.compile(rb"([2-5][0-9]{2})(?:[ \t]+(.*))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_NOT_AS_HEADER = frozenset(
    [
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"proxy",  # HTTP_PROXY is a setting of many HTTP clients (CVE-2016-5385, "httpoxy").
    ]
)


@frozen(kw_only=True)
class Client:
    """
    The ends of a client's connection.

    @ivar host: the client's address, without port; empty for a UNIX socket.
    @ivar server_host: our own address, or empty.
    @ivar secure: whether the connection is encrypted.
    """

    host: str
    port: int
    server_host: str
    server_port: int
    secure: bool


@lru_cache(maxsize=1024)
def variable(name: bytes) -> bytes | None:
    """
    The variable of a header field.

    @param name: in lower case.
    @return: such as C{HTTP_ACCEPT_LANGUAGE}, or L{None} if the field is not passed on.
    """
    if name in HOP_BY_HOP or name in _NOT_AS_HEADER or not _NAME.fullmatch(name):
        return None
    return b"HTTP_" + name.upper().replace(b"-", b"_")


def aliases(headers: Headers) -> list[bytes]:
    """The names of those fields that are dropped because their variables could be taken for others'."""
    return [name for name, _ in headers if not _NAME.fullmatch(name)]


def header_variables(headers: Headers) -> dict[bytes, bytes]:
    """
    All header fields that are passed on, as variables (RFC 3875 section 4.1.18).

    @return: values of fields that came more than once are joined.
    """
    variables: dict[bytes, bytes] = {}
    nominated = connection_options(value for name, value in headers if name == b"connection")
    for name, value in headers:
        key = variable(name)
        if key is None or (nominated and name in nominated):
            continue
        if key in variables:
            separator = b"; " if name == b"cookie" else b", "
            variables[key] += separator + value
        else:
            variables[key] = value
    return variables


def environment(
    head: RequestHead, body_bytes: int, script: Script, mount: bytes, client: Client
) -> list[tuple[bytes, bytes]]:
    """
    A request's variables.

    C{X-Forwarded-Proto} is believed: whoever forwards has already replaced what untrusted clients say.

    @param body_bytes: the size of the body, which of a chunked one only who has read it knows.
    @param mount: the URL prefix under which the scripts are mounted, such as C{/blog}, or empty.
    @raise ClientFault: (431) a header field is larger than php-fpm can be told.
    """
    secure = client.secure or head.get(b"x-forwarded-proto") == b"https"
    host = head.host
    server_name = host[: host.rindex(b":")] if _has_port(host) else host
    script_name = mount + script.name
    variables = header_variables(head.headers)
    variables.update(
        {
            b"GATEWAY_INTERFACE": b"CGI/1.1",
            b"SERVER_SOFTWARE": SERVER_SOFTWARE,
            b"SERVER_PROTOCOL": b"HTTP/%d.%d" % head.version,
            b"SERVER_NAME": server_name or client.server_host.encode(),
            b"SERVER_ADDR": client.server_host.encode() or b"127.0.0.1",
            b"SERVER_PORT": b"%d" % (client.server_port or (443 if secure else 80)),
            # The peer of a UNIX socket is on this machine; frameworks cannot do with no address at all.
            b"REMOTE_ADDR": client.host.encode() or b"127.0.0.1",
            b"REMOTE_PORT": b"%d" % client.port,
            b"REQUEST_METHOD": head.method,
            b"REQUEST_SCHEME": b"https" if secure else b"http",
            b"REQUEST_URI": head.target,
            b"QUERY_STRING": head.query or b"",
            b"DOCUMENT_URI": script_name + script.info,
            b"DOCUMENT_ROOT": script.root,
            b"SCRIPT_NAME": script_name,
            b"SCRIPT_FILENAME": script.filename,
            b"REDIRECT_STATUS": b"200",  # php-cgi refuses to run without (cgi.force_redirect).
        }
    )
    if host:
        variables[b"HTTP_HOST"] = host
    if secure:
        variables[b"HTTPS"] = b"on"
    if script.info:
        # Never an empty one: php-fpm before 7.3.11 reckoned with its length (CVE-2019-11043).
        variables[b"PATH_INFO"] = script.info
        variables[b"PATH_TRANSLATED"] = script.root + script.info
    content_type = head.get(b"content-type")
    if content_type is not None:
        variables[b"CONTENT_TYPE"] = content_type
    if body_bytes or head.get(b"content-length") is not None:
        variables[b"CONTENT_LENGTH"] = b"%d" % body_bytes
    for name, value in variables.items():
        if len(name) + len(value) + 8 > PARAMS_BYTES:
            raise ClientFault("A header field is too large.", f"{name.decode()}: {len(value)} bytes", status=431)
    return list(variables.items())


def _has_port(host: bytes) -> bool:
    colon = host.rfind(b":")
    return colon >= 0 and host.find(b"]", colon) < 0


def _malformed(detail: str) -> UpstreamFault:
    return UpstreamFault("The application's answer cannot be understood.", f"CGI response head: {detail}")


class ResponseHeadParser:
    """
    Reads the head of a script's response (RFC 3875 section 6), in any split.

    @ivar rest: once there is a head, what followed it in the last bytes fed: the beginning of the body.
    """

    def __init__(self, bytes_max: int = HEAD_BYTES_MAX) -> None:
        self.rest = b""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._buffer = bytearray()
        self._scanned = 0
        self._fields: Headers = []

    def feed(self, data: bytes) -> ResponseHead | None:
        """
        Take the next bytes.

        @return: the head once it is whole; then feed no more.
        @raise UpstreamFault: it is malformed or too large.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        while True:
            end = buffer.find(b"\n", self._scanned)
            if end < 0:
                break
            line = bytes(buffer[start:end])
            start = self._scanned = end + 1
            if self._bytes + start > self._bytes_max:
                raise _malformed(f"more than {self._bytes_max} bytes")
            if line.endswith(b"\r"):
                line = line[:-1]
            if not line:
                self.rest = bytes(buffer[start:])
                buffer.clear()
                return response_head(self._fields)
            self._field(line)
        if start:
            del buffer[:start]
            self._bytes += start
        self._scanned = len(buffer)
        if self._bytes + len(buffer) > self._bytes_max:
            raise _malformed(f"more than {self._bytes_max} bytes")
        return None

    def _field(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        if not colon or not _TOKEN.fullmatch(name) or _BAD_VALUE.search(value):
            raise _malformed(f"not a header field: {line[:80]!r}")
        if len(self._fields) >= FIELDS_MAX:
            raise _malformed(f"more than {FIELDS_MAX} header fields")
        self._fields.append((name, value))


def _one(values: list[bytes], name: str) -> bytes | None:
    if not values:
        return None
    if any(value != values[0] for value in values):
        raise _malformed(f"{name} more than once, and not the same")
    return values[0]


def response_head(fields: Headers) -> ResponseHead:
    """
    The HTTP head that a script's header fields mean.

    C{Location} without C{Status} is a redirection, also when it is a path: RFC 3875 section 6.2.2 would have
    the server answer that path itself, but what PHP programmers mean and other servers do is 302.

    @param fields: all fields as the script gave them.
    @raise UpstreamFault: C{Status} or C{Content-Length} make no sense.
    """
    statuses: list[bytes] = []
    lengths: list[bytes] = []
    located = False
    nominated = connection_options(value for name, value in fields if name.lower() == b"connection")
    headers: Headers = []
    for name, value in fields:
        lower = name.lower()
        if lower == b"status":
            statuses.append(value)
        elif lower == b"content-length":
            lengths.append(value)
        elif lower not in HOP_BY_HOP and lower not in nominated:
            located = located or lower == b"location"
            headers.append((name, value))
    status, reason = (302, b"Found") if located else (200, b"OK")
    line = _one(statuses, "Status")
    if line is not None:
        match = _STATUS.fullmatch(line)
        if match is None:
            raise _malformed(f"Status: {line[:80]!r}")
        status, reason = int(match[1]), match[2] or b""
    length = _one(lengths, "Content-Length")
    if length is not None and not _LENGTH.fullmatch(length):
        raise _malformed(f"Content-Length: {length[:80]!r}")
    return ResponseHead(status, reason, headers, None if length is None else int(length))
