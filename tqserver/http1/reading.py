"""
What a client sends becomes requests.

L{RequestReader} feeds httptools' parser and turns what that finds into L{ServerExchange}s, with all limits. It is the
reading half of a connection, L{tqserver.http1.server} the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from ..errors import ClientFault, Fault
from .exchange import ServerExchange
from .head import Headers
from .pace import Pace
from .strict import request_head

if TYPE_CHECKING:
    from .factory import HTTPServerFactory

HEADERS_MAX = 128
"""Header fields of one request."""

PIPELINE_MAX = 64
"""Requests read ahead of the one that is served; one segment of a sane client holds fewer."""

_VERSIONS = {"1.1": (1, 1), "1.0": (1, 0)}
_UNSPOKEN = (0, 0)
"""For all other versions."""


class RequestReader:
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
    _fault: Fault | None = None
    """Why nothing more is read."""
    _url = b""
    _head_bytes = 0
    """Of an unfinished head; of the segment that it began in, only 1 is counted."""
    _head_bytes_most = 0
    """Likewise, with all of that segment."""
    _segment_bytes = 0
    _body_bytes = 0
    _framing_bytes = 0
    _body_follows: ServerExchange | None = None
    _primed = False
    _pace: Pace | None = None
    """Of the body that is being read, if there is a least pace."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._headers: Headers = []
        self._waiting: list[ServerExchange] = []
        """Those that are whole, or whose body is being read, and are not served yet."""

    def _read(self, data: bytes) -> None:
        """
        Take the next bytes. Requests that came are in C{_waiting}, and what is wrong is in C{_fault}.
        """
        size = self._segment_bytes = len(data)
        if self._reading is not None:
            self._framing_bytes += size
        elif self._head_bytes:
            self._head_bytes += size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_after(data, upgrade)
        except httptools.HttpParserError as error:
            self._malformed(error)
        if self._head_bytes:
            self._head_bytes_most += size
            self._check_sizes()
        elif self._reading is not None:
            self._check_sizes()

    def _malformed(self, error: httptools.HttpParserError) -> None:
        if self._fault is None:
            self._fault = ClientFault("The request is malformed.", str(error))

    def _go_on_after(self, data: bytes, upgrade: httptools.HttpParserUpgrade) -> None:
        """
        We did not ask for another protocol to begin here: what follows is the request's body, if it has one, which the
        parser does not look for, and then the next request.
        """
        while self._fault is None:
            data = data[upgrade.args[0] :]
            self._parser = httptools.HttpRequestParser(self)
            try:
                if self._body_follows is not None:
                    self._prime(self._body_follows)
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as another:
                upgrade = another
            except httptools.HttpParserError as error:
                self._malformed(error)
            else:
                return

    def _prime(self, exchange: ServerExchange) -> None:
        """Bring a new parser to where the body of a request begins."""
        self._body_follows = None
        self._primed = True
        length = exchange.head.content_length
        framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
        self._primed = False
        self._framing_bytes = 0
        self._reading = exchange

    def _check_sizes(self) -> None:
        """Bound what is neither a whole head nor a body."""
        limit = self.factory.settings.header_bytes_max
        if self._reading is None:
            if self._head_bytes > limit:
                self._fault = self._head_too_large(self._url)
        elif self._framing_bytes > limit:
            # Endless chunk extensions or trailers.
            self._fault = ClientFault("The request's trailer is too large.", status=431)

    # The parser's side.

    def on_message_begin(self) -> None:
        # How much of the segment is this head, nobody can tell before it is whole; those that follow are counted.
        self._head_bytes = 1

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def _head_too_large(self, url: bytes) -> Fault:
        if len(url) > self.factory.settings.header_bytes_max // 2:
            return ClientFault("The request target is too long.", status=414)
        return ClientFault("The request's header is too large.", status=431)

    def on_headers_complete(self) -> None:
        most = self._head_bytes_most + self._segment_bytes
        self._head_bytes = self._head_bytes_most = 0
        headers, self._headers = self._headers, []
        url, self._url = self._url, b""
        if self._fault is not None or self._primed:
            return
        parser = self._parser
        settings = self.factory.settings
        try:
            if most > settings.header_bytes_max:
                size = len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
                if size > settings.header_bytes_max:
                    raise self._head_too_large(url)
            if len(headers) > HEADERS_MAX:
                raise ClientFault("The request has too many header fields.", status=431)
            version = _VERSIONS.get(parser.get_http_version(), _UNSPOKEN)
            head = request_head(parser.get_method(), url, version, headers, parser.should_keep_alive())
            if len(self._waiting) >= PIPELINE_MAX:
                raise ClientFault("Too many requests were sent ahead.", status=400)
        except Fault as fault:
            self._fault = fault
            return
        limit = settings.body_bytes_max
        self._framing_bytes = 0
        self._body_bytes = 0
        exchange = ServerExchange(self, head)  # type: ignore[arg-type]  # The whole connection is a carrier.
        if limit and (head.content_length or 0) > limit:
            # It is understood, so it is answered like any request; but nothing of its body is read.
            self._fault = ClientFault("The request's body is too large.", f"more than {limit} bytes", status=413)
            head.keep_alive = False
            exchange.body_failed(self._fault)
        elif head.content_length == 0:
            exchange.body_whole = True
        elif parser.should_upgrade():
            self._body_follows = exchange
        else:
            self._reading = exchange
        # Served when the parser has let go of the segment, so that nothing calls into it from within.
        self._waiting.append(exchange)

    def on_body(self, data: bytes) -> None:
        exchange = self._reading
        if exchange is None or self._fault is not None:
            return
        self._framing_bytes = 0
        if self._pace is not None:
            self._pace.took += len(data)
        limit = self.factory.settings.body_bytes_max
        if limit and exchange.head.content_length is None:
            self._body_bytes += len(data)
            if self._body_bytes > limit:
                self._fault = ClientFault("The request's body is too large.", f"more than {limit} bytes", status=413)
                return
        exchange.body_data(data)

    def on_message_complete(self) -> None:
        if self._fault is not None:
            return
        exchange, self._reading = self._reading, None
        if exchange is None:
            return
        if self._headers:
            # Trailers are nobody's, least of all the next request's (RFC 9110 section 6.5.1).
            self._headers = []
        self._body_read(exchange)
        exchange.body_end()

    def _body_read(self, exchange: ServerExchange) -> None:
        """The last of a body has been read."""
        self._pace = None
