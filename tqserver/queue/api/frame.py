"""
A service as whatever carries exchanges sees it: everything that is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...errors import ClientFault, Fault, ServerFault
from ...http1.exchange import ServerExchange
from ...http1.head import Headers, RequestHead
from .answer import Answer, Shape, refusal
from .call import Call, too_large
from .routes import Route, Routes, Row

_log = Logger()

T = TypeVar("T")

Admit = Callable[[ServerExchange, bytes], None]
"""
Is asked before anything else, with the path. It may add to the headers of the response.

@raise Fault: the client may not.
"""


class Api:
    """
    A service.

    @ivar faults: how many requests were answered with 500 because of a mistake of ours.
    @ivar held_bytes: of bodies that are being gathered.
    """

    def __init__(self, name: str, rows: Iterable[Row], shape: Shape, admit: Admit | None = None) -> None:
        """
        @param name: for the log.
        @param shape: of its errors.
        """
        self.name = name
        self.faults = 0
        self.held_bytes = 0
        self._routes = Routes(rows)
        self._shape = shape
        self._admit = admit

    def __call__(self, exchange: ServerExchange, path: bytes) -> None:
        """
        Serve a request.

        @param path: below the root of the service, as it was sent.
        """
        head = exchange.head
        try:
            if self._admit is not None:
                self._admit(exchange, path)
            found = self._routes.find(path)
            if found is None:
                raise ClientFault("There is nothing here.", status=404)
            place, arguments = found
            route = place.methods.get(head.method)
            if route is None:
                fault = ClientFault("That cannot be done here.", status=405)
                _read_no_more(head)
                self.refuse(exchange, fault, [(b"Allow", place.allow)])
                return
        except Fault as fault:
            _read_no_more(head)
            self.refuse(exchange, fault)
            return
        except Exception:
            self._mistake(exchange)
            return
        self.serve(exchange, route, arguments)

    def serve(self, exchange: ServerExchange, route: Route, arguments: tuple[str, ...] = ()) -> None:
        """Have a request answered by a route, when all of its body is here."""
        call = Call(self, exchange, route, arguments)
        head = exchange.head
        length = head.content_length
        if length != 0:
            if not route.body_bytes_max:
                _read_no_more(head)
            elif length is None or length <= route.body_bytes_max:
                exchange.receive(call)
                return
            else:
                _read_no_more(head)
                self.refuse(exchange, too_large(route.body_bytes_max))
                return
        self.run(call, route)

    def run(self, call: Call, route: Route) -> None:
        """Answer a request that is all here."""
        exchange = call.exchange
        try:
            answer = route.act(call)
        except Fault as fault:
            self.refuse(exchange, fault)
            return
        except Exception:
            self._mistake(exchange)
            return
        if type(answer) is tuple:
            exchange.answer(*answer)
            return
        if answer is None:
            return
        assert isinstance(answer, Deferred)
        answer.addCallbacks(self._answered, self.failed, (exchange,), errbackArgs=(exchange,))
        if not answer.called or answer.paused:
            exchange.when_over(answer.cancel)

    def refuse(self, exchange: ServerExchange, fault: Fault, headers: Headers | None = None) -> None:
        """Answer a request with a fault."""
        if not exchange.over and not exchange.status:
            exchange.answer(*refusal(self._shape, fault, headers))

    def refusal(self, fault: Fault) -> Answer:
        """The answer to what is no request."""
        return refusal(self._shape, fault)

    def answer_with(
        self,
        done: Deferred[T],
        exchange: ServerExchange,
        make: Callable[[T], Answer],
        left: Callable[[T], None] | None = None,
    ) -> None:
        """See L{Call.answer_with}."""
        done.addCallbacks(self._done, self.failed, (exchange, make, left), errbackArgs=(exchange,))

    def _done(
        self, result: T, exchange: ServerExchange, make: Callable[[T], Answer], left: Callable[[T], None] | None
    ) -> None:
        if left is not None and exchange.over:
            left(result)
        else:
            self.made(exchange, make, result)

    def made(self, exchange: ServerExchange, make: Callable[..., Answer], *results: object) -> None:
        """See L{Call.answer}."""
        try:
            exchange.answer(*make(*results))
        except Fault as fault:
            self.refuse(exchange, fault)
        except Exception:
            self._mistake(exchange)

    def _answered(self, answer: Answer, exchange: ServerExchange) -> None:
        exchange.answer(*answer)

    def failed(self, failure: Failure, exchange: ServerExchange) -> None:
        """See L{Call.fail}."""
        if isinstance(failure.value, Fault):
            self.refuse(exchange, failure.value)
        elif not failure.check(CancelledError):
            self._mistake(exchange, failure)

    def _mistake(self, exchange: ServerExchange, failure: Failure | None = None) -> None:
        """Something of ours has gone wrong."""
        self.faults += 1
        head = exchange.head
        _log.failure(
            "{api}: {method!r} {path!r}", failure or Failure(), api=self.name, method=head.method, path=head.path
        )
        self.refuse(exchange, ServerFault("Something went wrong on our side.", status=500))


def _read_no_more(head: RequestHead) -> None:
    """A request's body is of no interest; if there is one, no request can follow it, and the client shall know that."""
    if head.content_length != 0:
        head.keep_alive = False
