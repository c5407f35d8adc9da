"""Forwards exchanges to workers that speak HTTP/1.1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol as Shape

from twisted.internet.interfaces import IAddress, IConnector, IPushProducer
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from ..errors import Fault, ServerFault, UpstreamFault
from ..http1.client import HTTPClientConnection
from ..http1.connecting import IConnecting, bound_read_ahead, connect, connect_fault
from ..http1.head import RequestHead, ResponseHead
from ..http1.idle import IdleConnections
from ..http1.outbox import Outbox
from ..http1.sweep import NEVER, Sweep
from ..plane.messages import Endpoint, WorkerRouting
from ..turns import BULK_BYTES, Turns
from .exchange import IBodySink, IExchange
from .retry import repeatable
from .tunnels import Tunnels

CONNECT_TIMEOUT_S = 5.0
"""A worker is on this host: it accepts at once or its backlog is full."""


class Done(Shape):
    """How an attempt ended."""

    def __call__(self, fault: Fault | None, again: bool, status: int = 0, /) -> None:
        """
        @param fault: L{None} when the response was handed over whole or the client left. With a fault and nothing
            answered yet, the answer is the caller's to give.
        @param again: whether the request may be tried again.
        @param status: of a response that will be handed over next.
        """


class IReactor(IConnecting):
    """What forwarding needs of a reactor."""


def target_for(head: RequestHead, worker: WorkerRouting, matched_bytes: int) -> bytes:
    """The path and query that the worker shall see."""
    if not worker.strip_prefix:
        return head.target
    rest = head.target[matched_bytes:]
    return rest if rest.startswith(b"/") else b"/" + rest


def _forget(news: object) -> None:
    """For who is not there any more to be told."""


class _Connecting(ClientFactory):
    """Opens one connection, for one attempt."""

    noisy = False

    def __init__(
        self,
        outbox: Outbox,
        connected: Callable[[HTTPClientConnection], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._outbox = outbox
        self._connected = connected
        self._failed = failed

    def buildProtocol(self, addr: IAddress | None) -> HTTPClientConnection:
        connection = HTTPClientConnection(self._outbox)
        connection.on_made = self._connected
        # The transport keeps its factory for as long as it lives, and need not keep the first attempt with it.
        self._connected, self._failed = _forget, _forget
        return connection

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._failed(reason)


class HTTPForwarder:
    """Keeps connections to endpoints, and forwards exchanges over them."""

    def __init__(self, reactor: IReactor, sweep: Sweep, outbox: Outbox, tunnels: Tunnels) -> None:
        """
        @param sweep: looks after the timeouts.
        @param outbox: where what is written to workers waits for the end of the turn.
        @param tunnels: looks after what speaks another protocol in the end.
        """
        self._reactor = reactor
        self.tunnels = tunnels
        self.sweep = sweep
        self.turns: Turns = getattr(reactor, "turns", None) or Turns(partial(reactor.callLater, 0))
        self._outbox = outbox
        self._idle: dict[str, IdleConnections] = {}

    def start(self, attempt: Attempt) -> None:
        """Make an attempt: on a kept connection, or on a new one."""
        endpoint_id = attempt.endpoint.id
        idle = self._idle.get(endpoint_id)
        if idle is None:
            idle = self._idle[endpoint_id] = IdleConnections(self.sweep)
        # A request that may switch protocols is not repeated, so it is not exposed to a kept connection.
        connection = idle.take() if not attempt.exchange.head.upgrade else None
        if connection is not None:
            attempt.begin(connection)
        else:
            self.connect(attempt)

    def connect(self, attempt: Attempt) -> None:
        """Open a connection for C{attempt}."""
        endpoint = attempt.endpoint

        def connected(connection: HTTPClientConnection) -> None:
            self.sweep.add(connection)
            connection.on_made = _forget
            idle = self._idle.get(endpoint.id)
            connection.on_idle = idle.put if idle is not None else HTTPClientConnection.close
            connection.on_lost = lost
            bound_read_ahead(connection.transport)
            attempt.connected(connection)

        def lost(connection: HTTPClientConnection) -> None:
            self.sweep.discard(connection)
            idle = self._idle.get(endpoint.id)
            if idle is not None:
                idle.discard(connection)

        factory = _Connecting(self._outbox, connected, attempt.refused)
        attempt.connecting(connect(self._reactor, endpoint, factory, CONNECT_TIMEOUT_S))

    def drop_idle(self, endpoint_id: str) -> None:
        """Close what is kept to an endpoint: one kept connection was found dead, and the others are as old."""
        idle = self._idle.get(endpoint_id)
        if idle is not None:
            idle.close()

    def spare_descriptors(self) -> None:
        """Close all that is kept: descriptors are short."""
        for idle in self._idle.values():
            idle.close()

    def retire(self, endpoint_id: str) -> None:
        """No more is sent to an endpoint: close kept connections, and those in use as they fall idle."""
        idle = self._idle.pop(endpoint_id, None)
        if idle is not None:
            idle.end()


@implementer(IPushProducer)
class _BodyValve:
    """Pauses the client while the worker reads slowly."""

    __slots__ = ("_attempt", "_exchange")

    def __init__(self, exchange: IExchange, attempt: Attempt) -> None:
        self._exchange = exchange
        self._attempt = attempt

    def pauseProducing(self) -> None:
        self._attempt.worker_slow = True
        self._attempt.wait_for_worker()
        self._exchange.pause_body()

    def resumeProducing(self) -> None:
        self._attempt.worker_slow = False
        self._attempt.wait_for_client()
        if not self._attempt.body_waits_for_turn:
            self._exchange.resume_body()

    def stopProducing(self) -> None:
        """The connection is closing; the attempt hears of that."""


@implementer(IBodySink, IPushProducer)
class Attempt:
    """
    One exchange on one connection.

    @ivar exchange: what is to be answered.
    @ivar endpoint: by whom.
    @ivar worker_slow: the worker does not take more of the body for now.
    @ivar body_waits_for_turn: others send long bodies as well, and it is their turn.
    """

    worker_slow = False
    body_waits_for_turn = False
    _connection: HTTPClientConnection | None = None
    _connector: IConnector | None = None
    _first: list[bytes] | None = None
    """What of the request's body goes with its head."""
    _body_ended = False
    _sent = False
    _responded = False
    _ended = False
    _client_slow = False
    _waits_for_turn = False

    def __init__(
        self,
        forwarder: HTTPForwarder,
        exchange: IExchange,
        worker: WorkerRouting,
        endpoint: Endpoint,
        matched_bytes: int,
        lines: list[bytes],
        done: Done,
    ) -> None:
        """
        @param matched_bytes: how much of the path is the route's prefix.
        @param lines: the header fields as they go over the wire, without any that frame the body.
        @param done: is called exactly once.
        """
        self._forwarder = forwarder
        self.exchange = exchange
        self._worker = worker
        self.endpoint = endpoint
        self._matched_bytes = matched_bytes
        self._lines = lines
        self._done = done

    # The connection.

    def connecting(self, connector: IConnector | None) -> None:
        """A connection is being opened."""
        if not self._ended and self._connection is None:
            self._connector = connector

    def refused(self, reason: Failure) -> None:
        """No connection could be opened."""
        if self._ended:
            return
        self._end(connect_fault(reason), True)

    def connected(self, connection: HTTPClientConnection) -> None:
        """A connection was opened."""
        self._connector = None
        if self._ended or self.exchange.over:
            connection.close()
            self._end(None, False)
        else:
            self.begin(connection)

    def begin(self, connection: HTTPClientConnection) -> None:
        """A connection is there: send the request."""
        self._connection = connection
        exchange = self.exchange
        head = exchange.head
        matched_bytes = self._matched_bytes
        target = head.target if not matched_bytes else target_for(head, self._worker, matched_bytes)
        fields = [head.method, b" ", target, b" HTTP/1.1\r\n", *self._lines]
        if head.upgrade:
            connection.offered = head.upgrade
            connection.reusable = False
            fields += (b"connection: Upgrade\r\nupgrade: ", head.upgrade, b"\r\n")
        if head.content_length == 0:
            self._sent = True
            connection.deadline = self._forwarder.sweep.now + self._worker.request_timeout_s
            connection.ask(head.method, fields, self)
            return
        # What came with the head goes out in the same write.
        first = self._first = []
        exchange.receive(self)
        self._first = None
        if self._ended:
            return
        self._sent = True
        connection.request(head, fields, self, first, self._body_ended)
        if self._connection is None:
            return
        if self._body_ended:
            self.wait_for_worker()
        else:
            connection.set_body_producer(_BodyValve(exchange, self))

    def wait_for_worker(self) -> None:
        """The worker has all there is, or does not take more: what is missing is its answer."""
        if self._connection is not None and not self._responded:
            self._connection.deadline = self._forwarder.sweep.now + self._worker.request_timeout_s

    def wait_for_client(self) -> None:
        """The worker can take more of the body: how long the client may be silent is for its own connection to say."""
        if self._connection is not None and not self._body_ended:
            self._connection.deadline = NEVER

    def response_late(self) -> None:
        self._close()
        detail = f"after {self._worker.request_timeout_s:g} s"
        self._end(UpstreamFault("The worker did not answer in time.", detail, status=504), False)

    # The request's body.

    def body_data(self, data: bytes) -> None:
        if self._first is not None:
            self._first.append(data)
        elif self._connection is not None:
            self._connection.body_data(data)
            if len(data) >= BULK_BYTES:
                self._body_passed(len(data))

    def _body_passed(self, count: int) -> None:
        """As L{_passed}, for what the client sends."""
        turns = self._forwarder.turns
        crowded = turns.crowded
        turns.passed(count)
        if crowded and self._connection is not None and not self.body_waits_for_turn:
            self.body_waits_for_turn = True
            self.exchange.pause_body()
            turns.wait(self._body_turned)

    def _body_turned(self) -> None:
        self.body_waits_for_turn = False
        if self._connection is not None and not self.worker_slow and not self._body_ended:
            self.exchange.resume_body()

    def body_end(self) -> None:
        self._body_ended = True
        if self._first is not None:
            return
        self.wait_for_worker()
        if self._connection is not None:
            self._connection.body_end()

    def body_failed(self, fault: Fault) -> None:
        self._close()
        self._end(fault, False)

    # The response.

    def response_interim(self, head: ResponseHead) -> None:
        # 100 is between the worker and us: the client had ours when the worker could take the body.
        if head.status != 100:
            self.exchange.inform(head)

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        self._connection = None
        if not self._ended:
            self._ended = True
            # Told first, so that the endpoint has room again when the client's next request begins.
            self._done(None, False, head.status)
            self.exchange.answer(head, body)

    def response_head(self, head: ResponseHead, first: bytes) -> None:
        self._responded = True
        self.exchange.respond(head, self, first)
        if self._connection is not None and self.exchange.status:
            # If it has none, the client waits on: a file is sent instead when the worker has come to its end.
            self._connection.deadline = NEVER

    def response_data(self, data: bytes) -> None:
        self.exchange.write(data)
        if len(data) >= BULK_BYTES:
            self._passed(len(data))

    def response_switched(self, head: ResponseHead, protocol: bytes, ahead: bytes) -> None:
        exchange, connection = self.exchange, self._connection
        assert connection is not None
        self._connection = None
        # It may live for days, and will not be sent again.
        self._lines.clear()
        tunnel = self._forwarder.tunnels.make(exchange, protocol, self._worker.name, self.endpoint.id)
        connection.hand_over(tunnel.worker)
        # From here on the attempt ends with the exchange, which ends with the tunnel.
        if not exchange.upgrade(head, protocol, tunnel.client):
            tunnel.cut()
            self._end(ServerFault("Another protocol cannot be spoken here.", status=501), False)
        elif ahead:
            tunnel.worker.dataReceived(ahead)

    def response_end(self) -> None:
        self._connection = None
        if not self._ended:
            self._ended = True
            self._done(None, False)
            self.exchange.finish()

    def response_failed(self, fault: UpstreamFault, untouched: bool) -> None:
        connection, self._connection = self._connection, None
        exchange = self.exchange
        again = not self._responded and repeatable(exchange.head.method, self._sent, untouched, exchange.replayable)
        if exchange.head.upgrade and self._sent:
            again = False
        if untouched and connection is not None and connection.used > 1:
            self._forwarder.drop_idle(self.endpoint.id)
            if again and not self._ended:
                # The worker had closed a kept connection: that says nothing about the worker.
                self._sent = self._body_ended = False
                self._forwarder.connect(self)
                return
        self._end(fault, again)

    # The client's pace, and that of the other long answers.

    def _passed(self, count: int) -> None:
        """Much was passed on at once: where many do that, the next piece has to wait for its turn."""
        turns, connection = self._forwarder.turns, self._connection
        crowded = turns.crowded
        turns.passed(count)
        if crowded and connection is not None and not self._waits_for_turn:
            self._waits_for_turn = True
            connection.pause()
            turns.wait(self._turned)

    def _turned(self) -> None:
        self._waits_for_turn = False
        if self._connection is not None and not self._client_slow:
            self._connection.resume()

    def pauseProducing(self) -> None:
        self._client_slow = True
        if self._connection is not None:
            self._connection.pause()

    def resumeProducing(self) -> None:
        self._client_slow = False
        if self._connection is not None and not self._waits_for_turn:
            self._connection.resume()

    def stopProducing(self) -> None:
        self.exchange_over()

    # The end.

    def exchange_over(self) -> None:
        """The exchange has ended: if not by us, the client has left."""
        if not self._ended:
            # Ended first: to stop connecting is reported as a failure to connect, which this is not.
            self._ended = True
            self._close()
            self._done(None, False)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        elif self._connector is not None:
            connector, self._connector = self._connector, None
            connector.disconnect()

    def _end(self, fault: Fault | None, again: bool) -> None:
        if self._ended:
            return
        self._ended = True
        if fault is not None and self._responded:
            self.exchange.abort()
        self._done(fault, again)
