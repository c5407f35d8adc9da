"""
How one exchange becomes one line of the access log. A format is compiled once, to a function.

What a client sent is written in printable ASCII without bare quotes and backslashes: whatever it says stays
within its field, and a terminal that shows the log obeys nobody.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from difflib import get_close_matches
from string import Formatter

import msgspec

from ..http1.head import RequestHead
from .exchange import IExchange

FIELD_BYTES_MAX = 4096
"""Of one thing that a client sent; the rest is left out, so that one line is never a batch by itself."""

_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")
_UNPRINTABLE = re.compile(rb"[^ -~]")
_USUAL = frozenset([b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])
"""Methods that need no closer look."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not C{%b}, which follows the locale."""


_VERSIONS = {(1, 1): b' HTTP/1.1" ', (1, 0): b' HTTP/1.0" '}
_STATUSES = [b"%03d " % status for status in range(1000)]

SAID_REMEMBERED_MAX = 512
"""Fields whose C{Referer} and C{User-Agent} were quoted already."""

_said: dict[bytes, bytes] = {}


class Entry:
    """
    What a line is made of. There is one, which is filled again for each line.

    @ivar exchange: the exchange that has ended.
    @ivar worker: the worker it was for, or empty.
    @ivar endpoint: the endpoint that answered, or empty.
    @ivar upstream_s: of these, the worker's.
    @ivar now: seconds since the epoch; L{set_second} was told the whole ones of them.
    """

    __slots__ = (
        "apache_time",
        "endpoint",
        "exchange",
        "iso_time",
        "now",
        "seconds",
        "upstream_s",
        "utc_time",
        "worker",
    )

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        @param seconds: the clock by which exchanges start.
        """
        self.seconds = seconds
        self.exchange: IExchange | None = None
        self.worker = ""
        self.endpoint = ""
        self.upstream_s = 0.0
        self.now = 0.0
        self.apache_time = b""
        self.iso_time = self.utc_time = ""

    @property
    def duration_s(self) -> float:
        """How long the exchange took, to this moment."""
        assert self.exchange is not None
        return self.seconds() - self.exchange.started

    def set_second(self, second: int) -> time.struct_time:
        """
        Write the time in all the ways it is wanted, once a second.

        @param second: since the epoch.
        @return: the local time.
        """
        local = time.localtime(second)
        offset_minutes = local.tm_gmtoff // 60
        zone = f"{'-' if offset_minutes < 0 else '+'}{abs(offset_minutes) // 60:02d}"
        minutes = f"{abs(offset_minutes) % 60:02d}"
        clock = f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d}"
        month = _MONTHS[local.tm_mon - 1]
        self.apache_time = f"{local.tm_mday:02d}/{month}/{local.tm_year}:{clock} {zone}{minutes}".encode("ascii")
        self.iso_time = f"{local.tm_year:04d}-{local.tm_mon:02d}-{local.tm_mday:02d}T{clock}{zone}:{minutes}"
        self.utc_time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return local


Format = Callable[[Entry], bytes]


def compile_format(format: str) -> Format:
    """
    Make a function that writes lines.

    @param format: C{combined} (Apache's, to the letter), C{json} (an object a line), or a template with
        placeholders in braces: L{PLACEHOLDERS}.
    @raise ValueError: a placeholder is unknown, or a brace alone; says which, and what may have been meant.
    """
    if format == "combined":
        return _combined
    if format == "json":
        return _json
    return _template(format)


def quoted(value: bytes | None) -> bytes:
    """What a client sent, to stand between quotes: the rest of a word that is too long is left out, nothing is C{-}."""
    if not value:
        return b"-"
    if len(value) > FIELD_BYTES_MAX:
        value = value[:FIELD_BYTES_MAX]
    if _UNSAFE.search(value):
        value = _UNSAFE.sub(_escape, value)
    return value


def escaped(value: bytes | None) -> str:
    """The same as text."""
    return quoted(value).decode("ascii")


def _escape(match: re.Match[bytes]) -> bytes:
    character = match.group()
    return b"\\" + character if character in b'"\\' else b"\\x%02x" % character[0]


def _plain(value: bytes | None) -> str:
    """What a client sent, as text for JSON, which does its own quoting: printable ASCII, all else as
    C{\\xNN}."""
    if not value:
        return ""
    if len(value) > FIELD_BYTES_MAX:
        value = value[:FIELD_BYTES_MAX]
    if _UNPRINTABLE.search(value):
        value = _UNPRINTABLE.sub(lambda match: b"\\x%02x" % match.group()[0], value)
    return value.decode("ascii")


def _protocol(exchange: IExchange) -> str:
    major, minor = exchange.head.version
    return f"HTTP/{major}.{minor}"


def _combined(entry: Entry) -> bytes:
    """C{%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"} (Apache's mod_log_config)."""
    exchange = entry.exchange
    assert exchange is not None
    head = exchange.head
    size = exchange.sent_bytes
    return b"".join(
        (
            exchange.client_host.encode("ascii", "backslashreplace") or b"-",
            b" - - [",
            entry.apache_time,
            b'] "',
            head.method if head.method in _USUAL else quoted(head.method),
            b" ",
            quoted(head.target),
            _VERSIONS.get(head.version) or b' HTTP/%d.%d" ' % head.version,
            _STATUSES[exchange.status],
            b"%d " % size if size else b"- ",
            _said.get(head.fields) or _say(head),
        )
    )


def _say(head: RequestHead) -> bytes:
    """What a client says of itself, to the end of the line; remembered by fields that were read before."""
    referer: bytes | None = None
    agent: bytes | None = None
    for name, value in head.headers:
        if name == b"user-agent":
            agent = agent or value
        elif name == b"referer":
            referer = referer or value
    said = b'"%b" "%b"\n' % (quoted(referer), quoted(agent))
    if head.fields:
        if len(_said) >= SAID_REMEMBERED_MAX:
            _said.clear()
        _said[head.fields] = said
    return said


class _Line(msgspec.Struct):
    """One object of the JSON format."""

    time: str
    client: str
    method: str
    target: str
    status: int
    bytes: int
    duration_ms: float
    upstream_ms: float
    worker: str
    endpoint: str
    request_id: str
    referer: str
    user_agent: str
    host: str
    proto: str


_encode = msgspec.json.Encoder().encode


def _json(entry: Entry) -> bytes:
    exchange = entry.exchange
    assert exchange is not None
    head = exchange.head
    line = _Line(
        f"{entry.utc_time}.{int(entry.now % 1 * 1000):03d}Z",
        exchange.client_host,
        _plain(head.method),
        _plain(head.target),
        exchange.status,
        exchange.sent_bytes,
        round(entry.duration_s * 1000, 3),
        round(entry.upstream_s * 1000, 3),
        entry.worker,
        entry.endpoint,
        exchange.request_id,
        _plain(head.get(b"referer")),
        _plain(head.get(b"user-agent")),
        _plain(head.host),
        _protocol(exchange),
    )
    return _encode(line) + b"\n"


_Word = Callable[[IExchange, Entry], object]

PLACEHOLDERS: dict[str, _Word] = {
    "client": lambda exchange, entry: exchange.client_host or "-",
    "time": lambda exchange, entry: entry.iso_time,
    "method": lambda exchange, entry: escaped(exchange.head.method),
    "target": lambda exchange, entry: escaped(exchange.head.target),
    "protocol": lambda exchange, entry: _protocol(exchange),
    "status": lambda exchange, entry: exchange.status,
    "bytes": lambda exchange, entry: exchange.sent_bytes,
    "duration_ms": lambda exchange, entry: f"{entry.duration_s * 1000:.3f}",
    "upstream_ms": lambda exchange, entry: f"{entry.upstream_s * 1000:.3f}",
    "worker": lambda exchange, entry: entry.worker or "-",
    "endpoint": lambda exchange, entry: entry.endpoint or "-",
    "request_id": lambda exchange, entry: exchange.request_id or "-",
    "host": lambda exchange, entry: escaped(exchange.head.host),
    "referer": lambda exchange, entry: escaped(exchange.head.get(b"referer")),
    "user_agent": lambda exchange, entry: escaped(exchange.head.get(b"user-agent")),
}
"""What a template may hold."""


def _template(format: str) -> Format:
    if "\n" in format or "\r" in format:
        raise ValueError("a log format is one line")
    pattern = ""
    words: list[_Word] = []
    for text, name, specification, conversion in Formatter().parse(format):
        pattern += text.replace("%", "%%")
        if name is None:
            continue
        if name not in PLACEHOLDERS:
            near = get_close_matches(name, PLACEHOLDERS, 1)
            hint = f"did you mean {{{near[0]}}}?" if near else f"there are {', '.join(PLACEHOLDERS)}"
            raise ValueError(f"unknown placeholder {{{name}}} in the log format: {hint}")
        if specification or conversion:
            raise ValueError(f"{{{name}}} takes nothing after its name")
        pattern += "%s"
        words.append(PLACEHOLDERS[name])
    pattern += "\n"

    def line(entry: Entry) -> bytes:
        exchange = entry.exchange
        assert exchange is not None
        return (pattern % tuple([word(exchange, entry) for word in words])).encode("ascii", "backslashreplace")

    return line
