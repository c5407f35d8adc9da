"""
One exchange on its way to php-fpm: the connection, the request, and its body.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol as Shape

from twisted.logger import Logger
from zope.interface import implementer

from ..errors import Fault, ServerFault, Unreachable
from ..fastcgi.cgi import request_variables
from ..fastcgi.client import FastCGIConnection
from ..fastcgi.pool import FastCGIPool
from ..fastcgi.records import stdin, stdin_end
from ..fastcgi.spool import BodySpool
from ..fastcgi.usual import REQUEST_ID, opening
from ..http1.sweep import Sweep
from ..plane.messages import WorkerRouting
from .exchange import IBodySink, IExchange
from .forward_http import Done
from .retry import IDEMPOTENT

_log = Logger()

Said = Callable[[str, str, str], None]
"""Told each line that came on STDERR: the worker's name, the request's id, the line."""


class Means(Shape):
    """
    What all attempts share.

    @ivar sweep: looks after the timeouts.
    @ivar spool_directory: where request bodies of unknown length are kept; L{None} for the system's choice.
    @ivar said: see L{Said}.
    """

    sweep: Sweep
    spool_directory: str | None
    said: Said


class State(enum.Enum):
    """Where a forwarding is."""

    SPOOLING = enum.auto()
    """The body's length must be known before anything is sent."""
    WAITING = enum.auto()
    """For a connection."""
    REQUESTED = enum.auto()
    """No response head has come."""
    ANSWERING = enum.auto()
    """The exchange has been given the response's head."""
    OVER = enum.auto()


SPOOLING, WAITING, REQUESTED, ANSWERING, OVER = State


@implementer(IBodySink)
class FastCGIRequest:
    """
    The request of one exchange. It waits for the connection, and is the sink of the body.
    """

    _state = WAITING
    _connection: FastCGIConnection | None = None
    _taking = False
    """The pool looks for a connection."""
    _spool: BodySpool | None = None
    _first: list[bytes] | None = None
    """What of the request's body goes with its variables."""
    _first_whole = False
    _sending_paused = False
    _retried = False
    _bodiless = False
    _opening = b""
    """The request up to its body, kept for a second time."""

    def __init__(
        self,
        means: Means,
        pool: FastCGIPool,
        exchange: IExchange,
        worker: WorkerRouting,
        variables: list[bytes],
        done: Done,
    ) -> None:
        """
        @param variables: those that do not depend on the body.
        """
        self._means = means
        self._pool = pool
        self._exchange = exchange
        self._worker = worker
        self._variables = variables
        self._done = done

    def start(self) -> None:
        """Begin."""
        exchange = self._exchange
        body_bytes = exchange.head.content_length
        if body_bytes is not None:
            self._take(body_bytes)
            return
        self._state = SPOOLING
        try:
            self._spool = BodySpool(self._means.spool_directory)
        except OSError as error:
            self._fail(ServerFault("The request's body could not be kept.", str(error), status=500))
            return
        exchange.receive(self)

    @property
    def _repeatable(self) -> bool:
        """Whether the request may be, and can be, sent a second time."""
        head = self._exchange.head
        return head.method in IDEMPOTENT and (self._spool is not None or head.content_length == 0)

    # What becomes of it, is the other half's affair.

    def _fail(self, fault: Fault, retryable: bool = False) -> None:
        """
        It did not work.

        @param retryable: it may be tried elsewhere.
        """
        raise NotImplementedError

    # A connection: we are the waiter.

    def _take(self, body_bytes: int) -> None:
        exchange = self._exchange
        variables = self._variables
        variables += request_variables(exchange.head, exchange.client_port, body_bytes)
        bodiless = self._bodiless = not body_bytes
        try:
            self._opening = opening(variables, bodiless)
        except Fault as fault:
            self._fail(fault)
            return
        # A kept connection may be closing at this very moment: php-fpm does so after pm.max_requests. A
        # request that cannot be repeated is never exposed to that.
        self._connect(not (bodiless or self._spool is not None) or exchange.head.method not in IDEMPOTENT)

    def _connect(self, fresh: bool) -> None:
        self._state = WAITING
        try:
            connection = self._pool.take_now(fresh)
        except Unreachable as fault:
            self.refused(fault)
            return
        if connection is not None:
            self.connected(connection)
            return
        worker = self._worker
        self._taking = True
        self._pool.take(
            self, fresh=fresh, waiting_max=worker.waiting_max, timeout_s=worker.waiting_timeout_s, first=self._retried
        )

    def refused(self, fault: Fault) -> None:
        """There is no connection for us."""
        self._taking = False
        self._fail(
            fault, retryable=isinstance(fault, Unreachable) and (self._spool is None or self._exchange.replayable)
        )

    def connected(self, connection: FastCGIConnection) -> None:
        """Here is one."""
        self._taking = False
        self._connection = connection
        self._state = REQUESTED
        connection.deadline = self._means.sweep.now + self._worker.request_timeout_s
        try:
            if self._bodiless:
                connection.begin(self, self._opening, True)  # type: ignore[arg-type]  # See below.
            else:
                self._begin_with_body(connection)
        except Exception:
            # A mistake of ours, which would otherwise leave the exchange without an end.
            _log.failure("beginning a FastCGI request")
            if self._state is not OVER:
                self._fail(ServerFault("Something went wrong on our side.", status=500))

    # The request's body.

    def _begin_with_body(self, connection: FastCGIConnection) -> None:
        try:
            body, whole = self._first_of_body()
        except Fault as fault:
            self._fail(fault)
        if self._connection is None:
            # It has failed, and nothing was sent.
            connection.close()
            return
        request = self._opening + stdin(REQUEST_ID, body)
        if whole:
            request += stdin_end(REQUEST_ID)
        connection.begin(self, request, whole)  # type: ignore[arg-type]  # With its other half it is a receiver.
        if not whole and self._spool is not None:
            self._pump()

    def _first_of_body(self) -> tuple[bytes, bool]:
        """
        What there is of the body, to go out with the variables in one write.

        @return: it, and whether that is all.
        @raise Fault: it cannot be read.
        """
        self._sending_paused = False
        if self._spool is not None:
            self._spool.rewind()
            body = self._spool.read()
            return body, len(body) == self._spool.size
        first = self._first = []
        self._exchange.receive(self)
        self._first = None
        return b"".join(first), self._first_whole

    def _pump(self) -> None:
        """Send the body that is kept for as long as it is taken."""
        spool, connection = self._spool, self._connection
        assert spool is not None and connection is not None
        while not self._sending_paused and self._connection is connection:
            try:
                data = spool.read()
            except Fault as fault:
                self._fail(fault)
                return
            if not data:
                connection.end_body()
                return
            connection.send(data)
            self._progress()

    def _progress(self) -> None:
        """Every bit of the body that goes out puts the deadline off, so that a long upload has time."""
        if self._state is REQUESTED and self._connection is not None:
            self._connection.deadline = self._means.sweep.now + self._worker.request_timeout_s

    def body_data(self, data: bytes) -> None:
        if self._state is SPOOLING:
            assert self._spool is not None
            try:
                self._spool.write(data)
            except Fault as fault:
                self._fail(fault)
        elif self._first is not None:
            self._first.append(data)
        elif self._connection is not None:
            self._connection.send(data)
            self._progress()

    def body_end(self) -> None:
        if self._state is SPOOLING:
            assert self._spool is not None
            self._take(self._spool.size)
        elif self._first is not None:
            self._first_whole = True
        elif self._connection is not None:
            self._connection.end_body()
            self._progress()

    def body_failed(self, fault: Fault) -> None:
        if self._state is not OVER:
            self._fail(fault)

    def pause_sending(self) -> None:
        """The application does not read the body as fast as it comes."""
        self._sending_paused = True
        if self._spool is None:
            self._exchange.pause_body()

    def resume_sending(self) -> None:
        """It does again."""
        self._sending_paused = False
        if self._spool is None:
            self._exchange.resume_body()
        else:
            self._pump()
