"""
What a client sends becomes requests.

L{RequestReader} turns the heads and bodies that L{RequestWire} finds into L{ServerExchange}s, with all limits: requests
that came are in C{_waiting}. It is the reading half of a connection, L{tqserver.http1.server} the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import ClientFault, Fault
from .exchange import ServerExchange
from .head import Headers
from .pace import Pace
from .request_seen import FIELDS, FIELDS_BEFORE_BODY, head_seen, remember
from .strict import FIELDS_MAX, check_fields, request_head
from .wire import RequestWire

if TYPE_CHECKING:
    from .factory import HTTPServerFactory

PIPELINE_MAX = 64
"""Requests read ahead of the one that is served; one segment of a sane client holds fewer."""

_VERSIONS = {b"1": (1, 1), b"0": (1, 0)}
"""By the minor version."""


class RequestReader(RequestWire):
    """
    Bytes in, exchanges out.

    What is set for few connections, or late, is of the class until then: most connections are idle.
    """

    factory: HTTPServerFactory

    client_host = ""
    client_port = 0
    own_name: tuple[str, int] | None = None
    """Our own address and port, if somebody asked, or a proxy told."""
    secure = False
    leaving = False
    write_paused = False

    _reading: ServerExchange | None = None
    """The one whose body is being read; that which is served, or the last that was pipelined."""
    _refused_bodiless = False
    """What was refused is a HEAD, whose answer has no body."""
    _body_bytes = 0
    _pace: Pace | None = None
    """Of the body that is being read, if there is a least pace."""

    def __init__(self) -> None:
        self._headers: Headers = []
        self._waiting: list[ServerExchange] = []
        """Those that are whole, or whose body is being read, and are not served yet."""

    # The parser's side.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        headers, self._headers = self._headers, []
        line, self._line = self._line, None
        assert line is not None
        method, url, minor = line.groups()
        settings = self.factory.settings
        try:
            if len(headers) > FIELDS_MAX or self._head_bytes:
                check_fields(headers, self._head_bytes, settings.header_bytes_max)
            head = request_head(method, url, _VERSIONS[minor], headers)
            if len(self._waiting) >= PIPELINE_MAX:
                raise ClientFault("Too many requests were sent ahead.", status=400)
        except Fault as fault:
            self._refused_bodiless = method == b"HEAD"
            self._refuse_all(fault)
            return
        if head.keep_alive and self._parser is not None and not self._parser.should_keep_alive():
            # It takes Proxy-Connection for Connection, and would read nothing more.
            self._spent = True
        exchange = ServerExchange(self, head)  # type: ignore[arg-type]  # The whole connection is a carrier.
        length = head.content_length
        limit = settings.body_bytes_max
        if length == 0:
            exchange.body_whole = True
            if head.upgrade:
                self._hold()
        elif limit and (length or 0) > limit:
            # It is understood, so it is answered like any request; but nothing of its body is read.
            too_large = self._too_large(limit)
            self._refuse_all(too_large)
            head.keep_alive = False
            exchange.body_failed(too_large)
        else:
            self._body_bytes = 0
            self._reading = exchange
            self._expect(length, settings.header_bytes_max)
        # Served when the parser has let go of the segment, so that nothing calls into it from within.
        self._waiting.append(exchange)

    @staticmethod
    def _too_large(limit: int) -> ClientFault:
        return ClientFault("The request's body is too large.", f"more than {limit} bytes", status=413)

    # The wire's side.

    def _read_before(self, line: re.Match[bytes], fields: bytes) -> bool:
        seen = FIELDS.get(fields)
        if seen is None or len(self._waiting) >= PIPELINE_MAX:
            return False
        head = head_seen(line, seen)
        if head is None:
            return False
        exchange = ServerExchange(self, head)  # type: ignore[arg-type]  # See above.
        exchange.body_whole = True
        self._waiting.append(exchange)
        return True

    def _read_before_body(self, line: re.Match[bytes], fields: bytes) -> int:
        seen = FIELDS_BEFORE_BODY.get(fields)
        if (
            seen is None
            or len(self._waiting) >= PIPELINE_MAX
            or 0 < self.factory.settings.body_bytes_max < seen.body_bytes
        ):
            return 0
        head = head_seen(line, seen)
        if head is None:
            return 0
        self._body_bytes = 0
        self._reading = exchange = ServerExchange(self, head)  # type: ignore[arg-type]  # See above.
        self._waiting.append(exchange)
        return seen.body_bytes

    def _read_first(self, line: re.Match[bytes], fields: bytes) -> None:
        if self._waiting:
            remember(line, fields, self._waiting[-1].head)

    def _body_data(self, data: bytes) -> None:
        exchange = self._reading
        if exchange is None:
            return
        if self._pace is not None:
            self._pace.took += len(data)
        limit = self.factory.settings.body_bytes_max
        if limit and exchange.head.content_length is None:
            self._body_bytes += len(data)
            if self._body_bytes > limit:
                raise self._too_large(limit)
        exchange.body_data(data)

    def _body_end(self) -> None:
        exchange, self._reading = self._reading, None
        if exchange is not None:
            self._body_read(exchange)
            exchange.body_end()

    def _body_read(self, exchange: ServerExchange) -> None:
        """The last of a body has been read."""
        self._pace = None
