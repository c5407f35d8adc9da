"""
A strict reader of HTTP/1.1 requests that shares nothing with the server: what RFC 9112 does not plainly allow, it does
not read.

It says what a client's bytes mean, and, inside the worker of L{tests.functional.strict}, what the server has written to
a worker. Slow and simple: a whole request is looked for in all the bytes there are, again and again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

REQUEST_LINE = re.compile(rf"({TOKEN}) ([!-~]+) HTTP/1\.([01])")

FIELD = re.compile(rf"({TOKEN}):[ \t]*((?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*")

PCHAR = r"[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}"

PATH = re.compile(rf"/(?:{PCHAR}|[/\[\]|^])*")
"""RFC 3986 section 3.3, and four characters more, which browsers send as they are."""

QUERY = re.compile(rf"(?:{PCHAR}|[/?\[\]|^\\`{{}}%])*")
"""RFC 3986 section 3.4, and what browsers send as it is; a percent sign may stand alone."""

HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?")
"""RFC 9110 section 7.2; without the comma, which would make it a list. Empty where there is no host to be told."""

ABSOLUTE = re.compile(r"https?://([^/?#]*)([^#]*)", re.IGNORECASE)

CHUNK = re.compile(rf"([0-9A-Fa-f]+)(?:;{TOKEN}(?:=(?:{TOKEN}|\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\"))?)*")


class Refused(Exception):
    """These bytes are no request."""


@dataclass
class Request:
    """
    A whole request.

    @ivar host: what it asks for: the authority of its target if it has one, else its C{Host}.
    @ivar headers: names in lower case, in order.
    @ivar head: all bytes of its head, without the empty line.
    @ivar last: the connection ends after it.
    """

    method: str
    target: str
    version: int
    host: str
    headers: list[tuple[str, str]]
    head: bytes
    body: bytes = b""
    last: bool = False
    chunked: bool = False
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for key, value in self.headers if key == name]


def read(data: bytes) -> tuple[list[Request], int, str]:
    """
    Read as many requests as there are.

    @return: the requests, where the first unfinished one begins, and why what begins there is none, or nothing.
    """
    requests: list[Request] = []
    at = 0
    while at < len(data) and not (requests and requests[-1].last):
        try:
            found = read_one(data, at)
        except Refused as refused:
            return requests, at, str(refused)
        if found is None:
            break
        request, at = found
        requests.append(request)
    return requests, at, ""


def read_one(data: bytes, at: int) -> tuple[Request, int] | None:
    """
    Read a request.

    @return: it, and where the next begins; or L{None}, if more has to come.
    @raise Refused: it is none.
    """
    if data.startswith(b"\r\n", at):
        at += 2  # Section 2.2.
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    request = read_head(data[at:end])
    length = framing(request)
    at = end + 4
    if length is None:
        return read_chunks(request, data, at)
    if len(data) < at + length:
        return None
    request.body = data[at : at + length]
    return request, at + length


def read_head(head: bytes) -> Request:
    """Read a head (sections 3 and 5)."""
    first, *lines = head.decode("latin-1").split("\r\n")
    line = REQUEST_LINE.fullmatch(first)
    if line is None:
        raise Refused(f"request line {first!r}")
    method, url = line[1], line[2]
    headers = read_fields(lines)
    hosts = [value for name, value in headers if name == "host"]
    if len(hosts) > 1 or (not hosts and line[3] == "1"):
        raise Refused(f"{len(hosts)} Host fields")
    host = hosts[0] if hosts else ""
    if not HOST.fullmatch(host):
        raise Refused(f"Host {host!r}")
    target, authority = read_target(method, url)
    options = {
        option.strip(" \t").lower() for name, value in headers if name == "connection" for option in value.split(",")
    }
    last = "close" in options or (line[3] == "0" and "keep-alive" not in options)
    return Request(method, target, int(line[3]), authority or host, headers, head, last=last)


def read_fields(lines: list[str]) -> list[tuple[str, str]]:
    """Read fields, each on a line of its own."""
    headers = []
    for text in lines:
        match = FIELD.fullmatch(text)
        if match is None:
            raise Refused(f"field {text!r}")
        headers.append((match[1].lower(), match[2]))
    return headers


def read_target(method: str, url: str) -> tuple[str, str]:
    """Read a target (section 3.2): path and query, and the authority of an absolute form."""
    authority = ""
    target = url
    absolute = ABSOLUTE.fullmatch(url)
    if absolute is not None:
        authority, target = absolute[1], absolute[2]
        if not authority or not HOST.fullmatch(authority):
            raise Refused(f"authority {authority!r}")
        if not target and method == "OPTIONS":
            return "*", authority
        if not target.startswith("/"):
            target = "/" + target
    elif url == "*" and method == "OPTIONS":
        return url, ""
    path, _, query = target.partition("?")
    if not PATH.fullmatch(path) or not QUERY.fullmatch(query):
        raise Refused(f"target {url!r}")
    return target, authority


def framing(request: Request) -> int | None:
    """How long the body is (section 6.3); L{None}: chunked."""
    codings, lengths = request.all("transfer-encoding"), request.all("content-length")
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != "chunked" or request.version == 0:
            raise Refused(f"Transfer-Encoding {codings} with Content-Length {lengths} in HTTP/1.{request.version}")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise Refused(f"Content-Length {lengths}")
    return int(lengths[0])


def read_chunks(request: Request, data: bytes, at: int) -> tuple[Request, int] | None:
    """Read a chunked body and its trailer (section 7.1)."""
    request.chunked = True
    found = read_coded(data, at, CHUNK)
    if found is None:
        return None
    request.body, request.trailers, at = found
    if {name for name, _ in request.trailers} & {"content-length", "transfer-encoding", "host"}:
        raise Refused(f"trailer {request.trailers}")
    return request, at


def read_coded(data: bytes, at: int, chunk: re.Pattern[str]) -> tuple[bytes, list[tuple[str, str]], int] | None:
    """Read a body, whose chunks begin with lines of this form, and its trailer."""
    body = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        size = chunk.fullmatch(data[at:end].decode("latin-1"))
        if size is None:
            raise Refused(f"chunk {data[at:end]!r}")
        at, length = end + 2, int(size[1], 16)
        if not length:
            break
        body.append(data[at : at + length])
        at += length
        if not b"\r\n".startswith(data[at : at + 2]):
            raise Refused(f"{data[at : at + 2]!r} behind a chunk")
        if len(data) < at + 2:
            return None
        at += 2
    lines = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        if end == at:
            break
        lines.append(data[at:end].decode("latin-1"))
        at = end + 2
    return b"".join(body), read_fields(lines), at + 2
