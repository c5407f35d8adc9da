"""
The process of a queue: its services behind their listening sockets, and a graceful end.

What makes it a queue is put together elsewhere and registered here: services by L{QueueService.mount}, what has to be
open before anybody is served by L{QueueService.on_start}, what is to be done when nobody shall wait any more by
L{QueueService.on_hush}, and what has to be closed by L{QueueService.on_stop}.
"""

from __future__ import annotations

import enum
import os
import socket
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..config.queue_model import ApiName
from ..errors import ClientFault, Fault, ServerFault
from ..http1.adopted import adopt_unix_port
from ..http1.exchange import ServerExchange
from ..http1.factory import HTTPServerFactory, ServerSettings
from ..http1.head import ResponseHead
from ..http1.outbox import Outbox
from ..http1.server import HTTPServerConnection
from ..http1.sweep import Sweep
from ..plane.task_fields import TASK_ASYNC
from .api.answer import json_error, refusal

_log = Logger("tqserver.queue")

HEALTH = b"/health"

SETTLE_S = 0.05
"""
What fronts have sent is here when they say that they send no more; so long after that it has been read as well, however
much else there was to do.
"""

GOODBYE_S = 0.5
"""So long clients have, when nothing is in hand any more, to take the last of our answers and to close."""

STOP_S = 9.0
"""After this whatever is still in hand is cut: a second before the supervisor kills us, so that stores are closed."""

BACKLOG = 4096


class Serve(Protocol):
    """Takes care of one exchange of a service. What it raises as a L{Fault} is answered for it."""

    def __call__(self, exchange: ServerExchange, path: bytes, /) -> None:
        """
        @param path: of the request, below the root of the service; begins with a slash and is encoded as it was sent.
        """


class Life(enum.Enum):
    """Where the process stands."""

    STARTING = enum.auto()
    """Stores are being opened."""
    RUNNING = enum.auto()
    SETTLING = enum.auto()
    """It was told to end, and reads what was sent before that."""
    ENDING = enum.auto()
    """It ends what it has in hand."""
    LEAVING = enum.auto()
    """Nothing is in hand; clients take the last answers."""
    CLOSING = enum.auto()
    """Stores are being closed."""


def _refusal(fault: Fault) -> tuple[ResponseHead, bytes]:
    """The answer for a fault where no service is meant."""
    return refusal(json_error, fault)


@define(eq=False)
class _Door:
    """
    Who serves what comes in at one listening socket.

    @ivar api: the service that is at the root there; empty for all of them, each below its name.
    """

    service: QueueService
    api: str = ""

    def serve(self, exchange: ServerExchange) -> None:
        """A request has come."""
        self.service.serve(exchange, self.api)

    def refuse(self, fault: Fault, connection: HTTPServerConnection) -> tuple[ResponseHead, bytes]:
        """Something has come that is no request. A service that has a shape of its own for errors says it in that."""
        shaped: Callable[[Fault], tuple[ResponseHead, bytes]] = getattr(
            self.service.apis.get(self.api), "refusal", _refusal
        )
        return shaped(fault)


class QueueService:
    """
    The process.

    @ivar life: where it stands.
    @ivar in_hand: exchanges that have begun and not ended.
    @ivar apis: the services, by name.
    @ivar keep: takes requests that fronts hand over to be answered later, see L{tqserver.queue.asynchronous}; or
        L{None}.
    @ivar sweep: looks after deadlines.
    @ivar soon: has something called at the end of this turn of the reactor; L{None} if the reactor cannot.
    @ivar outbox: where what is written waits for the end of the turn.
    """

    keep: Callable[[ServerExchange], None] | None = None

    def __init__(self, reactor: Any, finished: Callable[[bool], None]) -> None:
        """
        @param finished: called once when there is nothing left to do, with whether all went well.
        """
        self.life = Life.STARTING
        self.in_hand = 0
        self._reactor = reactor
        self._finished = finished
        self.apis: dict[str, Serve] = {}
        self._start: list[Callable[[], object]] = []
        self._hush: list[Callable[[], None]] = []
        self._stop: list[Callable[[], object]] = []
        self._ports: list[Any] = []
        self._factories: list[HTTPServerFactory] = []
        self.sweep = Sweep(reactor)
        loop = getattr(reactor, "event_loop", None)
        self.soon: Callable[[Callable[[], None]], object] | None = loop.call_soon if loop is not None else None
        self.outbox = Outbox(self.soon)
        self._calls: list[IDelayedCall] = []
        self._well = True

    # What it is made of.

    def mount(self, api: str, serve: Serve) -> None:
        """Offer a service: at the root of its own listeners, and below its name on the worker's address."""
        self.apis[api] = serve

    def on_start(self, callback: Callable[[], object]) -> None:
        """
        Have C{callback} called at the start, after those that were registered before it have ended; if it returns a
        Deferred, the next one waits for that. If one fails, the process ends, and says why.
        """
        self._start.append(callback)

    def on_hush(self, callback: Callable[[], None]) -> None:
        """
        Have C{callback} called, perhaps more than once, when from now on no request shall wait for a task: those that
        do are answered as if their time were over.
        """
        self._hush.append(callback)

    def on_stop(self, callback: Callable[[], object]) -> None:
        """
        Have C{callback} called when nothing is in hand any more, after those that were registered later have ended; if
        it returns a Deferred, it has ended when that fires.
        """
        self._stop.append(callback)

    # Where it listens.

    def start(self, listen: Callable[[], None]) -> Deferred[None]:
        """
        Begin.

        @param listen: called when all is there that is needed to serve; it calls the methods below.
        @return: fires when that was done, or when the process ends because it cannot be.
        """
        return Deferred.fromCoroutine(self._begin(listen)).addErrback(self._failed)

    async def _begin(self, listen: Callable[[], None]) -> None:
        for callback in self._start:
            await maybeDeferred(callback)
        if self.life is Life.STARTING:
            self.life = Life.RUNNING
            listen()

    def _failed(self, failure: Failure) -> None:
        """It cannot begin. What an operator can mend is told in one line."""
        if failure.check(Fault, OSError, CannotListenError):
            _log.critical("cannot start: {reason}", reason=failure.getErrorMessage())
        else:
            _log.failure("cannot start", failure)
        self._well = False
        self._close()

    def listen_unix(self, path: str, api: str = "") -> None:
        """
        Listen at a UNIX socket.

        @param api: the one service that is there, at the root; empty for the worker's address.
        """
        self._ports.append(self._reactor.listenUNIX(path, self._factory(api), backlog=BACKLOG, mode=0o600))

    def listen_tcp(self, port: int, host: str, api: str = "", wrap: Callable[[Any], Any] | None = None) -> int:
        """
        Listen at a port.

        @param api: the one service that is there, at the root; empty for the worker's address.
        @param wrap: puts something around the factory of connections, such as TLS.
        @return: the port, if it was to be any.
        """
        factory: Any = self._factory(api)
        if wrap is not None:
            factory = wrap(factory)
        self._ports.append(self._reactor.listenTCP(port, factory, backlog=BACKLOG, interface=host))
        return int(self._ports[-1].getHost().port)

    def adopt(self, fd: int, api: ApiName) -> None:
        """
        Accept from a socket that the supervisor has open, too.

        @param fd: its descriptor; it is ours from now on.
        """
        with socket.socket(fileno=os.dup(fd)) as listening:
            family = listening.family
        factory = self._factory(api)
        if family == socket.AF_UNIX:
            self._ports.append(adopt_unix_port(self._reactor, fd, factory))
        else:
            self._ports.append(self._reactor.adoptStreamPort(fd, family, factory))
        os.close(fd)

    def _factory(self, api: str = "") -> HTTPServerFactory:
        factory = HTTPServerFactory(self._reactor, _Door(self, api), ServerSettings(), self.sweep, self.outbox)
        factory.on_count = lambda count: self._look()
        self._factories.append(factory)
        return factory

    # Requests.

    def serve(self, exchange: ServerExchange, api: str) -> None:
        """Take care of an exchange."""
        self.in_hand += 1
        exchange.when_over(self._over)
        try:
            serve = self.apis.get(api)
            if serve is not None:
                serve(exchange, exchange.head.path)
            else:
                self._route(exchange, api)
        except Fault as fault:
            self._refuse(exchange, fault)
        except Exception:
            _log.failure("serving {target!r}", target=exchange.head.target)
            self._refuse(exchange, ServerFault("Something went wrong on our side.", status=500))

    @staticmethod
    def _refuse(exchange: ServerExchange, fault: Fault) -> None:
        if not exchange.over and not exchange.status:
            exchange.answer(*_refusal(fault))

    def _route(self, exchange: ServerExchange, api: str) -> None:
        """Find who is meant: nobody has a listener of his own here."""
        path = exchange.head.path
        if not api:
            if path == HEALTH:
                exchange.answer(ResponseHead(200, b"", [(b"Content-Type", b"text/plain")], 3), b"ok\n")
                return
            headers = exchange.head.headers
            if self.keep is not None and headers and headers[0][0] == TASK_ASYNC and not exchange.client_host:
                self.keep(exchange)
                return
            name, slash, rest = path[1:].partition(b"/")
            api, path = name.decode("ascii", "replace"), slash + rest or b"/"
        serve = self.apis.get(api)
        if serve is None:
            raise ClientFault("There is nothing here.", status=404)
        serve(exchange, path)

    def _over(self) -> None:
        self.in_hand -= 1
        if self.life is not Life.RUNNING:
            self._look()

    # The end.

    def hush(self) -> None:
        """Let nobody wait for tasks from now on; everything else goes on."""
        for callback in self._hush:
            callback()

    def stop(self) -> None:
        """End, when what is in hand has ended. Others hold the services' sockets open, and clients wait there."""
        if self.life not in (Life.STARTING, Life.RUNNING):
            return
        self.life = Life.SETTLING
        ports, self._ports = self._ports, []
        for port in ports:
            maybeDeferred(port.stopListening).addErrback(self._mistake)
        for factory in self._factories:
            factory.leave()
        self.hush()
        self._later(SETTLE_S, self._settled)
        self._later(STOP_S, self._cut)

    def _settled(self) -> None:
        self.life = Life.ENDING
        self._look()

    def _look(self) -> None:
        """Go on with the end, if that can be."""
        if self.life is Life.ENDING and not self.in_hand:
            self.life = Life.LEAVING
            now = self._reactor.seconds()
            for factory in self._factories:
                for connection in list(factory.connections):
                    connection.close_if_idle(now)
            self._later(GOODBYE_S, self._cut)
        if self.life is Life.LEAVING and not any(factory.connections for factory in self._factories):
            self._close()

    def _cut(self) -> None:
        """Wait no longer for clients."""
        if self.life is Life.CLOSING:
            return
        if self.in_hand:
            _log.warn("{count} requests were cut at the end", count=self.in_hand)
        self.life = Life.LEAVING
        for factory in self._factories:
            for connection in list(factory.connections):
                connection.cut()
        self._close()

    def _close(self) -> None:
        if self.life is Life.CLOSING:
            return
        self.life = Life.CLOSING
        for call in self._calls:
            if call.active():
                call.cancel()
        Deferred.fromCoroutine(self._close_all()).addErrback(self._mistake)

    async def _close_all(self) -> None:
        for callback in reversed(self._stop):
            await maybeDeferred(callback).addErrback(self._mistake)
        self._finished(self._well)

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._calls.append(self._reactor.callLater(delay_s, call))

    def _mistake(self, failure: Failure) -> None:
        """Something went wrong at the end: say so, and go on."""
        _log.failure("while ending", failure)
