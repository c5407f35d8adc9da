"""
A request to a service, with all of its body.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from ...errors import ClientFault, Fault, ServerFault

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from ...http1.exchange import ServerExchange
    from .answer import Answer
    from .frame import Api
    from .routes import Route

T = TypeVar("T")

PARAMETERS_MAX = 100
"""Of one query."""

HELD_BYTES_MAX = 256 * 1024 * 1024
"""Of the bodies of all requests to one service that are not answered yet, but for the first piece of each."""

SHOWN_CHARS_MAX = 200
"""Of what a decoder has to say about the client's JSON."""

_MISCODED = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Call:
    """
    A request.

    It takes the body itself, as the connection's sink.

    @ivar exchange: for what is asked of the request less often: C{head}, C{client_host}, C{response_headers}.
    @ivar arguments: the variable segments of the path, decoded.
    @ivar body: all of it; empty if the route does not take one.
    """

    __slots__ = ("_api", "_bytes", "_held_bytes", "_pieces", "_route", "arguments", "body", "exchange")

    def __init__(self, api: Api, exchange: ServerExchange, route: Route, arguments: tuple[str, ...]) -> None:
        self.exchange = exchange
        self.arguments = arguments
        self.body = b""
        self._api = api
        self._route = route
        self._pieces: list[bytes] | None = None
        self._bytes = 0
        self._held_bytes = 0

    # The body; see IBodySink.

    def body_data(self, data: bytes) -> None:
        """Some of the body has come."""
        self._bytes += len(data)
        if self._bytes > self._route.body_bytes_max:
            self._pieces = None
            self.exchange.head.keep_alive = False  # Nothing can follow what is not read.
            self._api.refuse(self.exchange, too_large(self._route.body_bytes_max))
        elif self._pieces is None:
            self._pieces = [data]
        elif self._hold(len(data)):
            self._pieces.append(data)

    def _hold(self, size: int) -> bool:
        """
        Count what is gathered of bodies that come in several pieces.

        @return: whether this one may go on.
        """
        if not self._held_bytes:
            self.exchange.when_over(self._let_go)
        self._held_bytes += size
        self._api.held_bytes += size
        if self._api.held_bytes <= HELD_BYTES_MAX:
            return True
        self._pieces = None
        self.exchange.head.keep_alive = False
        self._api.refuse(self.exchange, ServerFault("Too much is being sent at once."))
        return False

    def _let_go(self) -> None:
        self._api.held_bytes -= self._held_bytes

    def body_end(self) -> None:
        """All of it has come."""
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            self.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._api.run(self, self._route)

    def body_failed(self, fault: Fault) -> None:
        """The rest will not come."""
        self._pieces = None
        self._api.refuse(self.exchange, fault)

    # The answer, if it is not there yet.

    def answer_with(
        self, done: Deferred[T], make: Callable[[T], Answer], left: Callable[[T], None] | None = None
    ) -> None:
        """
        Answer when something is done that is done whether or not the client stays: a change in a store.

        @param make: makes the answer of what that gives; it may raise L{Fault}.
        @param left: called in place of it if the client has left.
        """
        self._api.answer_with(done, self.exchange, make, left)

    def answer(self, make: Callable[..., Answer], *results: object) -> None:
        """
        Answer now that something is done.

        @param make: makes the answer of what that gave; it may raise L{Fault}.
        """
        self._api.made(self.exchange, make, *results)

    def fail(self, failure: Failure) -> None:
        """Answer now that something could not be done."""
        self._api.failed(failure, self.exchange)

    # What is in it.

    def query(self) -> dict[str, str]:
        """
        The parameters of the query.

        @raise ClientFault: it is malformed, or says something twice.
        """
        raw = self.exchange.head.query
        return parse_query(raw) if raw else {}

    def json(self, decoder: msgspec.json.Decoder[T]) -> T:
        """
        The body as JSON.

        @param decoder: knows what it has to look like.
        @raise ClientFault: it does not.
        """
        return decode(decoder, self.body)


def too_large(bytes_max: int) -> ClientFault:
    """A body is larger than it may be."""
    return ClientFault(f"The body is larger than {bytes_max} bytes.", status=413)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """
    Read JSON.

    @raise ClientFault: it is malformed, nested too deeply, or not what was expected.
    """
    try:
        if not body.isascii():
            body.decode()  # What the decoder skips, it does not look at.
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ClientFault(f"The body is not as it has to be: {str(error)[:SHOWN_CHARS_MAX]}")
    except ValueError as error:
        raise ClientFault(f"The body is not valid JSON: {str(error)[:SHOWN_CHARS_MAX]}")
    except RecursionError:
        raise ClientFault("The body is nested too deeply.")


def parse_query(raw: bytes) -> dict[str, str]:
    """
    Read a query (C{application/x-www-form-urlencoded}, as the WHATWG URL standard has it, but strictly).

    @raise ClientFault: it is malformed, or says something twice.
    """
    found: dict[str, str] = {}
    pairs = raw.split(b"&")
    if len(pairs) > PARAMETERS_MAX:
        raise ClientFault(f"The query has more than {PARAMETERS_MAX} parameters.")
    for pair in pairs:
        if not pair:
            continue
        name, _, value = pair.partition(b"=")
        key = _unquoted(name)
        if key in found:
            raise ClientFault("The query gives a parameter twice.")
        found[key] = _unquoted(value)
    return found


def _unquoted(data: bytes) -> str:
    try:
        if b"%" not in data and b"+" not in data:
            return data.decode()
        if _MISCODED.search(data):
            raise ClientFault("The query has a % that encodes nothing.")
        return unquote_to_bytes(data.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise ClientFault("The query is not UTF-8.")
