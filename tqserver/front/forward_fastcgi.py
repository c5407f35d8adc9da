"""
The forwarder that speaks FastCGI: an exchange goes to a php-fpm pool.

L{FastCGIForwarder} keeps the connections, L{_Forwarding} carries one exchange through.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import ClientFault, Fault, ServerFault, Unreachable, UpstreamFault
from ..fastcgi.cgi import Client, ResponseHeadParser, aliases, environment
from ..fastcgi.client import FastCGIConnection
from ..fastcgi.pool import FastCGIPool
from ..fastcgi.scripts import (
    DiskFiles,
    Files,
    MissingSlash,
    Script,
    below,
    decode_path,
    find_script,
    names_file,
)
from ..fastcgi.spool import BodySpool
from ..fastcgi.stderr import ErrorLines
from ..http1.head import ResponseHead, has_body
from ..http1.sweep import NEVER, Sweep
from ..plane.messages import Endpoint, WorkerRouting
from .exchange import IBodySink, IExchange
from .forward_http import Done, IReactor
from .retry import IDEMPOTENT

Said = Callable[[str, str, str], None]
"""Told each line that came on STDERR: the worker's name, the request's id, the line."""

_log = Logger()


class FastCGIForwarder:
    """Takes exchanges to php-fpm pools."""

    def __init__(
        self,
        reactor: IReactor,
        sweep: Sweep,
        said: Said,
        spool_directory: str | None = None,
        files: Files | None = None,
    ) -> None:
        """
        @param sweep: looks after the timeouts.
        @param said: see L{Said}.
        @param spool_directory: where request bodies of unknown length are kept; L{None} for the system's
            choice.
        @param files: looks for scripts.
        """
        self.reactor = reactor
        self.sweep = sweep
        self.said = said
        self.spool_directory = spool_directory
        self._files = DiskFiles() if files is None else files
        self._pools: dict[str, FastCGIPool] = {}

    def start(self, exchange: IExchange, worker: WorkerRouting, endpoint: Endpoint, prefix: str, done: Done) -> None:
        """
        Make one attempt to have C{exchange} answered by C{endpoint}.

        @param prefix: the mount prefix of the route, such as C{/blog}, or C{/}.
        @param done: called exactly once, perhaps before this returns.
        """
        path = exchange.head.path
        mount = prefix.rstrip("/").encode() if worker.strip_prefix else b""
        try:
            if worker.fastcgi is None:
                raise ServerFault("The application is not complete.", "no FastCGI target", status=500)
            decoded = decode_path(path)
            found = find_script(worker.fastcgi, below(mount, decoded), names_file(path, decoded), self._files)
        except Fault as fault:
            done(fault, False)
            return
        if isinstance(found, MissingSlash):
            _add_slash(exchange)
            done(None, False)
            return
        _Forwarding(self, self.pool(endpoint), exchange, worker, found, mount, done).start()

    def pool(self, endpoint: Endpoint) -> FastCGIPool:
        """The connections to an endpoint."""
        pool = self._pools.get(endpoint.id)
        if pool is None:
            pool = self._pools[endpoint.id] = FastCGIPool(self.reactor, self.sweep, endpoint)
        return pool

    def release(self, endpoint_id: str) -> None:
        """
        An endpoint has left the routing: its connections close, now or with the exchanges that use them.
        """
        pool = self._pools.pop(endpoint_id, None)
        if pool is not None:
            pool.close()

    def close(self) -> None:
        """Release all."""
        for endpoint_id in list(self._pools):
            self.release(endpoint_id)


def _add_slash(exchange: IExchange) -> None:
    """
    Redirect to the same path with a slash. Slashes in front are made one, lest C{//host} become a link to a
    host.
    """
    head = exchange.head
    location = b"/" + head.path.strip(b"/") + b"/"
    if head.query is not None:
        location += b"?" + head.query
    status, reason = (301, b"Moved Permanently") if head.method in (b"GET", b"HEAD") else (308, b"Permanent Redirect")
    exchange.respond(ResponseHead(status, reason, [(b"Location", location)], 0), None)
    exchange.finish()


class _State(enum.Enum):
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


@implementer(IBodySink, IPushProducer)
class _Forwarding:
    """
    One exchange and its FastCGI request. It is the sink of the request's body, the producer of the
    response's, and the receiver of what the connection reads.

    @ivar deadline: for the sweep: when the response head is late. Every bit of the request's body that goes
        out puts it off, so that a long upload has time.
    """

    def __init__(
        self,
        forwarder: FastCGIForwarder,
        pool: FastCGIPool,
        exchange: IExchange,
        worker: WorkerRouting,
        script: Script,
        mount: bytes,
        done: Done,
    ) -> None:
        self.deadline = NEVER
        self._forwarder = forwarder
        self._pool = pool
        self._exchange = exchange
        self._worker = worker
        self._script = script
        self._mount = mount
        self._done = done
        self._state = _State.WAITING
        self._connection: FastCGIConnection | None = None
        self._taking: Deferred[FastCGIConnection] | None = None
        self._spool: BodySpool | None = None
        self._first: list[bytes] | None = None
        self._first_whole = False
        self._sending_paused = False
        self._retried = False
        self._pairs: list[tuple[bytes, bytes]] = []
        self._head_parser = ResponseHeadParser()
        self._has_body = True
        self._remaining: int | None = None
        self._complaints = ErrorLines(lambda line: forwarder.said(worker.name, exchange.request_id, line))

    def start(self) -> None:
        """Begin."""
        exchange = self._exchange
        exchange.when_over(self._client_left)
        if self._state is _State.OVER:
            return
        dropped = aliases(exchange.head.headers)
        if dropped:
            _log.debug("{id}: header fields not passed on: {names}", id=exchange.request_id, names=dropped)
        if exchange.head.content_length is None:
            self._state = _State.SPOOLING
            try:
                self._spool = BodySpool(self._forwarder.spool_directory)
            except OSError as error:
                self._fail(ServerFault("The request's body could not be kept.", str(error), status=500))
                return
            exchange.receive(self)
        else:
            self._take(exchange.head.content_length)

    @property
    def _repeatable(self) -> bool:
        """Whether the request may be, and can be, sent a second time."""
        head = self._exchange.head
        return head.method in IDEMPOTENT and (self._spool is not None or head.content_length == 0)

    # A connection.

    def _take(self, body_bytes: int) -> None:
        exchange = self._exchange
        client = Client(
            host=exchange.client_host,
            port=exchange.client_port,
            server_host=exchange.server_host,
            server_port=exchange.server_port,
            secure=exchange.secure,
        )
        try:
            self._pairs = environment(exchange.head, body_bytes, self._script, self._mount, client)
        except ClientFault as fault:
            self._fail(fault)
            return
        self._state = _State.WAITING
        # A kept connection may be closing at this very moment: php-fpm does so after pm.max_requests. A
        # request that cannot be repeated is never exposed to that.
        self._connect(fresh=not self._repeatable)

    def _connect(self, fresh: bool) -> None:
        worker = self._worker
        taking = self._taking = self._pool.take(
            fresh=fresh,
            waiting_max=worker.waiting_max,
            timeout_s=worker.waiting_timeout_s,
            first=self._retried,
        )
        taking.addCallbacks(self._connected, self._not_connected)
        taking.addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        """A mistake of ours, which would otherwise leave the exchange without an end."""
        _log.failure("beginning a FastCGI request", failure)
        if self._state is not _State.OVER:
            self._fail(ServerFault("Something went wrong on our side.", repr(failure.value), status=500))

    def _not_connected(self, failure: Failure) -> None:
        self._taking = None
        if isinstance(failure.value, CancelledError):
            return
        fault = failure.value
        if not isinstance(fault, Fault):
            _log.failure("taking a FastCGI connection", failure)
            fault = ServerFault("Something went wrong.", repr(failure.value), status=500)
        self._fail(
            fault, retryable=isinstance(fault, Unreachable) and (self._spool is None or self._exchange.replayable)
        )

    def _connected(self, connection: FastCGIConnection) -> None:
        self._taking = None
        self._connection = connection
        self._state = _State.REQUESTED
        self._progress()
        self._forwarder.sweep.add(self)
        spool = self._spool
        if spool is not None:
            try:
                spool.rewind()
                body = spool.read()
            except Fault as fault:
                connection.close()
                self._fail(fault)
                return
            self._sending_paused = False
            whole = len(body) == spool.size
            connection.begin(self, self._pairs, body, whole)
            if not whole:
                self._pump()
        elif self._exchange.head.content_length == 0:
            connection.begin(self, self._pairs, b"", True)
        else:
            # What came with the head goes out in the same write.
            first = self._first = []
            self._exchange.receive(self)
            self._first = None
            if self._state is _State.OVER:
                connection.close()
            else:
                connection.begin(self, self._pairs, b"".join(first), self._first_whole)

    def _progress(self) -> None:
        if self._state is _State.REQUESTED:
            self.deadline = self._forwarder.reactor.seconds() + self._worker.request_timeout_s

    def _pump(self) -> None:
        """Send the spooled body for as long as it is taken."""
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

    # IBodySink: the request's body.

    def body_data(self, data: bytes) -> None:
        if self._state is _State.SPOOLING:
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
        if self._state is _State.SPOOLING:
            assert self._spool is not None
            self._take(self._spool.size)
        elif self._first is not None:
            self._first_whole = True
        elif self._connection is not None:
            self._connection.end_body()
            self._progress()

    def body_failed(self, fault: Fault) -> None:
        if self._state is not _State.OVER:
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

    # The response, from the connection.

    def output(self, data: bytes) -> None:
        """STDOUT: a CGI response."""
        if self._state is _State.REQUESTED:
            try:
                head = self._head_parser.feed(data)
            except Fault as fault:
                self._fail(fault)
                return
            if head is None:
                return
            self._state = _State.ANSWERING
            self.deadline = NEVER
            self._has_body = has_body(head.status, self._exchange.head.method)
            self._remaining = head.content_length
            self._exchange.respond(head, self)
            data = self._head_parser.rest
        if self._has_body and data and self._state is _State.ANSWERING:
            if self._remaining is not None:
                # More than was promised would be taken for the next response.
                data = data[: self._remaining]
                self._remaining -= len(data)
            if data:
                self._exchange.write(data)

    def error_output(self, data: bytes) -> None:
        """STDERR."""
        self._complaints.add(data)

    def ended(self) -> None:
        """The application has said all."""
        self._connection = None
        if self._state is _State.REQUESTED:
            self._fail(UpstreamFault("The application broke off.", "its answer has no header"))
        elif self._has_body and self._remaining:
            self._fail(UpstreamFault("The application broke off.", f"{self._remaining} bytes are missing"))
        else:
            self._end()
            self._exchange.finish()
            self._done(None, False)

    def lost(self, fault: Fault, untouched: bool) -> None:
        """The connection is gone."""
        connection, self._connection = self._connection, None
        reused = connection is not None and connection.served > 0
        if untouched and reused and not self._retried and self._repeatable:
            self._retried = True
            self._state = _State.WAITING
            self.deadline = NEVER
            self._connect(fresh=True)
        else:
            replayable = self._spool is None or self._exchange.replayable
            self._fail(fault, retryable=untouched and self._repeatable and replayable)

    # IPushProducer: the response's body, paused while the client is slow.

    def pauseProducing(self) -> None:
        if self._connection is not None:
            self._connection.pause_reading()

    def resumeProducing(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading()

    def stopProducing(self) -> None:
        """Never asked; C{when_over} tells."""

    # The end.

    def timed_out(self, now: float) -> None:
        """The sweep: no response head in time."""
        self._fail(
            UpstreamFault(
                "The application took too long to answer.",
                f"no response head within {self._worker.request_timeout_s:g} s",
                status=504,
            )
        )

    def _client_left(self) -> None:
        if self._state is not _State.OVER:
            self._end()
            self._done(None, False)

    def _fail(self, fault: Fault, retryable: bool = False) -> None:
        answering = self._state is _State.ANSWERING
        self._end()
        if answering:
            self._exchange.abort()
        self._done(fault, retryable)

    def _end(self) -> None:
        """Let go of everything."""
        self._state = _State.OVER
        self.deadline = NEVER
        self._forwarder.sweep.discard(self)
        self._complaints.end()
        taking, self._taking = self._taking, None
        if taking is not None:
            taking.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        if self._spool is not None:
            self._spool.close()
