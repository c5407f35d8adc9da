"""
The head of a script's answer (RFC 3875 section 6), and the HTTP head that it means. Pure, but for what it remembers.
"""

from __future__ import annotations

import enum
import re

from ..errors import UpstreamFault
from ..http1.head import Headers, ResponseHead
from ..http1.hop import HOP_BY_HOP, connection_options

HEAD_BYTES_MAX = 64 * 1024
"""A script's response head; frameworks with many cookies stay far below."""

FIELDS_MAX = 512
"""Header fields of one response."""

LINES_REMEMBERED_MAX = 1024
"""Lines that were judged already; scripts write mostly the same. When there are more, all are forgotten and it begins
anew."""

LINE_REMEMBERED_BYTES_MAX = 256
"""Longer ones are not remembered."""

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\r?")
_STATUS = re.compile(rb"([2-5][0-9]{2})(?:[ \t]+(.*))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_SECRET = frozenset([b"set-cookie"])
"""Never remembered: nobody else has the same, and nobody else need have it."""


class _Kind(enum.Enum):
    """What a field is to us."""

    KEEP = enum.auto()
    """Passed on as it is."""
    LOCATION = enum.auto()
    """Passed on, and a redirection if nothing else is said."""
    STATUS = enum.auto()
    LENGTH = enum.auto()
    CONNECTION = enum.auto()
    """Names others that go no further."""
    DROP = enum.auto()
    """Between the script and us."""


_KEEP = _Kind.KEEP

_KINDS = {
    b"location": _Kind.LOCATION,
    b"status": _Kind.STATUS,
    b"content-length": _Kind.LENGTH,
    **dict.fromkeys(HOP_BY_HOP, _Kind.DROP),
    b"connection": _Kind.CONNECTION,
}

_Judged = tuple[_Kind, tuple[bytes, bytes]]

_LINES: dict[bytes, _Judged] = {}
"""By the line as the script wrote it, without its line feed."""


def _malformed(detail: str) -> UpstreamFault:
    return UpstreamFault("The application's answer cannot be understood.", f"CGI response head: {detail}")


def _too_large(bytes_max: int) -> UpstreamFault:
    return _malformed(f"more than {bytes_max} bytes")


def _judge(line: bytes) -> _Judged:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _malformed(f"not a header field: {line[:80]!r}")
    name = match[1]
    lowered = name.lower()
    judged = _KINDS.get(lowered, _KEEP), (name, match[2].rstrip(b" \t"))
    if len(line) <= LINE_REMEMBERED_BYTES_MAX and lowered not in _SECRET:
        if len(_LINES) >= LINES_REMEMBERED_MAX:
            _LINES.clear()
        _LINES[line] = judged
    return judged


def _end(data: bytes | bytearray, start: int) -> tuple[int, int]:
    """
    Find the first empty line, in either way of ending lines.

    @param start: where to look, for there is none before.
    @return: where the head ends and where the body begins; (-1, -1) if there is no empty line yet.
    """
    if data.startswith((b"\n", b"\r\n")):
        return 0, data.index(b"\n") + 1
    end = data.find(b"\n\r\n", start)
    bare = data.find(b"\n\n", start, end + 1) if end >= 0 else data.find(b"\n\n", start)
    if bare >= 0:
        return bare, bare + 2
    return (end, end + 3) if end >= 0 else (-1, -1)


def read_head(data: bytes) -> tuple[ResponseHead, bytes] | None:
    """
    The head that some bytes begin with.

    @return: the head and what follows it; L{None} if the head is not whole.
    @raise UpstreamFault: it is malformed or too large.
    """
    end, body = _end(data, 0)
    if end < 0:
        return None
    if end > HEAD_BYTES_MAX:
        raise _too_large(HEAD_BYTES_MAX)
    return response_head(data[:end].split(b"\n") if end else []), data[body:]


def response_head(lines: list[bytes]) -> ResponseHead:
    """
    The HTTP head that a script's header fields mean.

    C{Location} without C{Status} is a redirection, also when it is a path: RFC 3875 section 6.2.2 would have
    the server answer that path itself, but what PHP programmers mean and other servers do is 302.

    @param lines: all of the head, without line feeds.
    @raise UpstreamFault: it is malformed.
    """
    if len(lines) > FIELDS_MAX:
        raise _malformed(f"more than {FIELDS_MAX} header fields")
    headers: Headers = []
    others: list[_Judged] = []
    known = _LINES.get
    for line in lines:
        judged = known(line) or _judge(line)
        if judged[0] is _KEEP:
            headers.append(judged[1])
        else:
            if judged[0] is _Kind.LOCATION:
                headers.append(judged[1])
            others.append(judged)
    if not others:
        return ResponseHead(200, b"OK", headers)
    return _meant(headers, others)


def _meant(headers: Headers, others: list[_Judged]) -> ResponseHead:
    """What the fields mean that are more than passed on."""

    def said(kind: _Kind) -> list[bytes]:
        return [field[1] for each, field in others if each is kind]

    nominated = connection_options(said(_Kind.CONNECTION))
    if nominated:
        headers = [field for field in headers if field[0].lower() not in nominated]
    located = bool(said(_Kind.LOCATION)) and b"location" not in nominated
    status, reason = (302, b"Found") if located else (200, b"OK")
    line = _one(said(_Kind.STATUS), "Status")
    if line is not None:
        match = _STATUS.fullmatch(line)
        if match is None:
            raise _malformed(f"Status: {line[:80]!r}")
        status, reason = int(match[1]), match[2] or b""
    length = _one(said(_Kind.LENGTH), "Content-Length")
    if length is not None and not _LENGTH.fullmatch(length):
        raise _malformed(f"Content-Length: {length[:80]!r}")
    return ResponseHead(status, reason, headers, None if length is None else int(length))


def _one(values: list[bytes], name: str) -> bytes | None:
    if not values:
        return None
    if any(value != values[0] for value in values):
        raise _malformed(f"{name} more than once, and not the same")
    return values[0]


class ResponseHeadParser:
    """
    Reads a head that comes in pieces.

    @ivar rest: once there is a head, what followed it in the last bytes fed: the beginning of the body.
    """

    def __init__(self, bytes_max: int = HEAD_BYTES_MAX) -> None:
        self.rest = b""
        self._bytes_max = bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> ResponseHead | None:
        """
        Take the next bytes.

        @return: the head once it is whole; then feed no more.
        @raise UpstreamFault: it is malformed or too large.
        """
        buffer = self._buffer
        # An empty line that ends in these bytes has begun at most two bytes before them.
        start = max(0, len(buffer) - 2)
        buffer += data
        end, body = _end(buffer, start)
        if end > self._bytes_max or (end < 0 and len(buffer) > self._bytes_max):
            raise _too_large(self._bytes_max)
        if end < 0:
            return None
        head = response_head(bytes(buffer[:end]).split(b"\n") if end else [])
        self.rest = bytes(buffer[body:])
        buffer.clear()
        return head
