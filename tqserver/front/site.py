"""
Takes every exchange from its route to its end: static file, endpoint or waiting line, attempt, answer, count.

The site knows only what the latest L{Routing<tqserver.plane.messages.Routing>} says. Each exchange is a
L{Passage} here: what must be remembered of it between being accepted and being over.
"""

from __future__ import annotations

import os
import random
from bisect import bisect_right
from collections.abc import Callable
from functools import partial

from twisted.logger import Logger

from ..errors import ClientFault, Fault, ScarceFault, ServerFault, Unreachable, UpstreamFault
from ..http1.head import ResponseHead
from ..http1.outbox import Outbox
from ..http1.sweep import Sweep
from ..plane.messages import (
    LATENCY_BOUNDS_S,
    Applied,
    Drained,
    Load,
    Routing,
    Upward,
    WorkerSaid,
)
from .admission import line_full, retry_after_s, too_busy
from .asynchronous import Asynchronous
from .destinations import Destinations
from .endpoints import EndpointState
from .exchange import AccessLogging, IExchange
from .forward_fastcgi import FastCGIForwarder
from .forward_http import Attempt, HTTPForwarder, IReactor
from .forwarded import Forwarding
from .offload import offload_of
from .pages import error_response
from .static import ALLOW, StaticFiles
from .static_places import Places
from .static_roots import MakeNotifier
from .sticky import with_cookie
from .told_cgi import CGIWords
from .tunnels import Tunnels
from .waking import Waking
from .worker import Passage, Worker, development_headers, hash_key, without_worker

_log = Logger()

CLIENT_LEFT = 499
"""What the log shows for a client that left before it was answered."""

SECOND_RETRY_S = 0.1
"""
What broke one request twice in a row may be about to end altogether (the children of a php-fpm that was killed die one
by one), so that the last try is not made at once.
"""

_NOT_COUNTED = frozenset([101, CLIENT_LEFT])
"""Statuses of exchanges whose end says nothing of their worker. What was switched was counted when it was."""

_STATIC_METHODS = frozenset([b"GET", b"HEAD"])


class Site:
    """
    The data plane behind the exchange.

    @ivar reactor: where connections to workers are made.
    @ivar tunnels: what has begun as an exchange and speaks another protocol by now.
    @ivar spare_descriptors: closes connections to workers that wait for their next request.
    """

    def __init__(
        self,
        reactor: IReactor,
        *,
        notify: Callable[[Upward], None] = lambda message: None,
        access_log: AccessLogging | None = None,
        sweep: Sweep | None = None,
        outbox: Outbox | None = None,
        make_notifier: MakeNotifier | None = None,
        chance: Callable[[], float] = random.random,
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        @param notify: is told what the supervisor wants to know.
        @param access_log: may be replaced later.
        @param outbox: where what is written to workers waits for the end of the turn.
        @param make_notifier: makes who tells of changes in folders of static files; without, they are asked each time.
        @param chance: random numbers from [0, 1).
        @param make_room: frees file descriptors when there are none left; tells whether it could.
        """
        self.reactor = reactor
        self.access_log = access_log
        self.routing = Routing(version=0)
        self.in_flight = 0
        self.requests = 0
        self._notify = notify
        self._chance = chance
        self._make_room = make_room
        self._sweep = sweep or Sweep(reactor)
        self._waking = Waking(reactor, notify, self._attempt, self._answer_fault)
        self._static = StaticFiles(reactor, make_notifier=make_notifier)
        self._workers: dict[str, Worker] = {}
        self.tunnels = Tunnels(reactor, self._sweep, self._workers)
        self._http = HTTPForwarder(reactor, self._sweep, outbox or Outbox(), self.tunnels)
        self.spare_descriptors = self._http.spare_descriptors
        self._fastcgi = FastCGIForwarder(reactor, self._sweep, self._said, outbox=outbox)
        self._forwarding = Forwarding((), os.urandom)
        self._cgi = CGIWords(self._forwarding)
        self._asynchronous = Asynchronous(self.routing)
        self._destinations = Destinations(self._workers, self._static.catalogue)
        self._health_path: bytes | None = None
        self._in_flight_max = 0

    # The supervisor's side.

    def apply(self, routing: Routing) -> None:
        """Work by this routing from now on, and say so; then give what waits to endpoints that came."""
        old, self.routing = self.routing, routing
        if routing.http.trusted_proxies != old.http.trusted_proxies:
            self._forwarding = Forwarding(routing.http.trusted_proxies, os.urandom)
            self._cgi = CGIWords(self._forwarding)
        self._destinations.update(routing.routes)
        self._asynchronous = Asynchronous(routing)
        self._health_path = routing.http.health_path.encode() or None
        self._in_flight_max = routing.http.in_flight_max
        self._static.catalogue.update(routing)
        self._fastcgi.spool_directory = routing.http.spool_directory or None
        removed: list[EndpointState] = []
        named = {worker.name: worker for worker in routing.workers}
        for name, state in list(self._workers.items()):
            if name not in named:
                removed += state.update(without_worker(state.routing), routing.secret)
                self._waking.send_away(state)
                self._sweep.discard(state.line)
                state.cancel_calls()
                self._forget_if_empty(name, state)
        for name, worker_routing in named.items():
            known = self._workers.get(name)
            if known is None:
                known = self._workers[name] = Worker(self.reactor, worker_routing, self.waited_too_long, self._chance)
            self._sweep.add(known.line)
            removed += known.update(worker_routing, routing.secret)
            known.places = self._static.catalogue.of_worker(name)
            known.offload = offload_of(worker_routing, self._static)
            known.asynchronous = name in self._asynchronous.workers
            known.development_headers = development_headers(worker_routing) if routing.http.development else []
            known.settle()
        self._destinations.known.clear()  # Somebody may have asked while others were sent away.
        self.tunnels.settle(routing, removed)
        self._notify(Applied(version=routing.version))
        for endpoint in removed:
            self._http.retire(endpoint.id)
            if not endpoint.in_flight:
                self._drained(endpoint)
        for state in list(self._workers.values()):
            self._waking.wake(state)

    def close(self) -> None:
        """Nothing is served any more."""
        self._static.close()

    def load(self, connections: int = 0) -> Load:
        """The counts, as a message."""
        endpoints = [
            state.load()
            for worker in self._workers.values()
            for state in [*worker.endpoints.current, *worker.endpoints.leaving.values()]
        ]
        return Load(
            connections=connections,
            requests=self.requests,
            in_flight=self.in_flight,
            upgraded=len(self.tunnels),
            endpoints=tuple(endpoints),
            workers=tuple(worker.load() for worker in self._workers.values()),
        )

    def _drained(self, endpoint: EndpointState) -> None:
        self._fastcgi.release(endpoint.id)
        self.tunnels.restore(endpoint.id)
        for name, worker in list(self._workers.items()):
            if worker.endpoints.leaving.pop(endpoint.id, None) is not None:
                self._forget_if_empty(name, worker)
        self._notify(Drained(endpoint=endpoint.id, version=self.routing.version))

    def _forget_if_empty(self, name: str, worker: Worker) -> None:
        gone = all(named.name != name for named in self.routing.workers)
        if gone and not worker.endpoints.leaving and self._workers.get(name) is worker:
            del self._workers[name]

    def _said(self, worker: str, request_id: str, line: str) -> None:
        self._notify(WorkerSaid(worker=worker, request_id=request_id, line=line))

    # The client's side.

    def trusts(self, peer: str) -> bool:
        """Whether the word of an address is taken about who the client is."""
        return self._forwarding.is_trusted(peer)

    def serve(self, exchange: IExchange) -> None:
        """Take care of an exchange until it is over."""
        head = exchange.head
        destinations = self._destinations
        match, worker, places = destinations.known.get(head.path) or destinations.find(head)
        peer = exchange.client_host
        exchange.request_id, exchange.client_host = self._forwarding.identify(head, peer)
        passage = Passage(exchange, worker, match)
        self.requests += 1
        self.in_flight += 1
        exchange.when_over(partial(self._over, passage))
        try:
            self._route(passage, peer, places)
        except Fault as fault:
            if isinstance(fault, ScarceFault):
                self._make_room()
            self._answer_fault(passage, fault)
        except Exception:
            _log.failure("serving {target!r}", target=head.target)
            self._answer_fault(passage, ServerFault("Something went wrong on our side.", status=500))

    def _route(self, passage: Passage, peer: str, places: Places) -> None:
        exchange, worker, match = passage.exchange, passage.worker, passage.match
        head = exchange.head
        if exchange.body_fault is not None:
            raise exchange.body_fault
        if head.path == self._health_path:
            exchange.answer(ResponseHead(200, b"", [(b"Content-Type", b"text/plain")], 3), b"ok\n")
            return
        if 0 < self._in_flight_max < self.in_flight and (worker is None or worker.routing.type != "metrics"):
            raise too_busy()
        if (
            places.may_hold(head.path)
            and head.method in _STATIC_METHODS
            and self._static.answer(exchange, places, match.matched_bytes if match is not None else 0)
        ):
            return
        if worker is None or match is None:
            raise ClientFault("There is nothing here.", status=404)
        worker.requests += 1
        scheme = b"https" if exchange.secure else b"http"
        prefix = match.told_prefix
        if exchange.mount:
            prefix = exchange.mount + prefix.rstrip(b"/")
        keeper = self._prepare(passage, worker, peer, scheme, prefix) if worker.special else None
        if keeper is not None:
            worker = keeper
        elif worker.routing.protocol == "http":
            passage.lines = self._forwarding.lines(head, peer, scheme, prefix, exchange.request_id)
        else:
            passage.lines = self._cgi.variables(exchange, peer, scheme, prefix)
        if not worker.line.busy:  # Those who came before go before.
            endpoint = worker.choose(passage, exchange.started)
            if endpoint is not None:
                self._attempt(passage, endpoint, exchange.started)
                return
        self._wait(passage, self.reactor.seconds())

    def _prepare(self, passage: Passage, worker: Worker, peer: str, scheme: bytes, prefix: bytes) -> Worker | None:
        """What is to be done before an endpoint is chosen; gives the queue, if that gets the request instead."""
        exchange, match, routing = passage.exchange, passage.match, worker.routing
        head = exchange.head
        assert match is not None
        if worker.development_headers:
            exchange.response_headers = [
                *worker.development_headers,
                (b"X-TQServer-Worker-Path", match.told_prefix),
            ]
        if routing.protocol == "none":
            if head.method not in _STATIC_METHODS:
                exchange.response_headers = [*exchange.response_headers, ALLOW]
                raise ClientFault("Files can only be read.", status=405)
            raise ClientFault("There is nothing here.", status=404)
        keep = self._asynchronous.keep
        if worker.asynchronous and keep(passage, self._workers, self._forwarding, peer, scheme):
            return passage.worker
        if routing.in_flight_max and (refusal := worker.too_much()) is not None:
            raise refusal
        if routing.balance == "hash":
            passage.key = hash_key(routing.hash_on, exchange)
        if worker.homes is not None:
            passage.home = worker.homes.home(head)
            passage.reached = self._forwarding.reached(head, peer, scheme, prefix)
        return None

    def _place(self, passage: Passage) -> None:
        """Give an exchange that was in hand before to an endpoint, or have it wait for one."""
        worker = passage.worker
        assert worker is not None
        now = self.reactor.seconds()
        endpoint = worker.choose(passage, now)
        if endpoint is not None:
            self._attempt(passage, endpoint, now)
        else:
            self._wait(passage, now)

    def _wait(self, passage: Passage, now: float) -> None:
        worker = passage.worker
        assert worker is not None
        routing = worker.routing
        refusal = worker.no_use_in_waiting()
        if refusal is not None:
            raise refusal
        if worker.line.full:
            raise line_full()
        since = passage.waiting_since or now
        if now - since >= routing.waiting_timeout_s:
            raise UpstreamFault("The service did not become available in time.", status=504)
        passage.waiting_since = since
        worker.line.join(passage, since, returned=passage.tries > 0)
        self._waking.want(worker)
        self._waking.look_when_trusted(worker, now)

    def _attempt(self, passage: Passage, endpoint: EndpointState, now: float) -> None:
        worker, match = passage.worker, passage.match
        assert worker is not None and match is not None
        passage.endpoint = endpoint
        passage.tries += 1
        passage.attempting = True
        passage.began = now
        endpoint.in_flight += 1
        if endpoint.blocked_until:
            endpoint.begun(now)
        routing = worker.routing
        done = partial(self._attempted, passage)
        exchange = passage.exchange
        if worker.special:
            exchange = self._dress(passage, worker, endpoint, now)
        try:
            if routing.protocol == "fastcgi":
                fastcgi = self._fastcgi.attempt(exchange, routing, endpoint.spec, match.prefix, passage.lines, done)
                if fastcgi is not None:
                    passage.attempt = fastcgi
                    fastcgi.start()
            else:
                http = self._http
                attempt = passage.attempt = Attempt(
                    http, exchange, routing, endpoint.spec, match.matched_bytes, passage.lines, done
                )
                http.start(attempt)
        except Exception:
            # A mistake of ours with one request: it must still give the endpoint back and be answered.
            _log.failure("forwarding {target!r}", target=passage.exchange.head.target)
            done(ServerFault("Something went wrong on our side.", status=500), False)

    def _dress(self, passage: Passage, worker: Worker, endpoint: EndpointState, now: float) -> IExchange:
        """What is to be done about the requests of some workers when an endpoint was chosen."""
        exchange = passage.exchange
        if worker.development_headers:
            exchange.response_headers = [
                *exchange.response_headers[: len(worker.development_headers) + 1],
                (b"X-TQServer-Worker-ID", endpoint.id.encode()),
                (b"X-TQServer-Worker-Port", b"%d" % endpoint.spec.port),
            ]
        if worker.homes is not None:
            worker.stick(passage, endpoint, now)
        if worker.offload is not None:
            return worker.offload.wrap(exchange, partial(self._answer_fault, passage))
        return exchange

    def _attempted(self, passage: Passage, fault: Fault | None, again: bool, status: int = 0) -> None:
        """
        An attempt has ended.

        @param status: of the answer, if the exchange does not have it yet.
        """
        worker, exchange, endpoint = passage.worker, passage.exchange, passage.endpoint
        if not passage.attempting:
            # It broke as it began and was ended then, and has come to its own end now.
            return
        assert worker is not None and endpoint is not None
        now = self.reactor.seconds()
        passage.attempting = False
        passage.attempt = None
        passage.upstream_s = now - passage.began
        endpoint.in_flight -= 1
        if fault is None:
            if exchange.status not in _NOT_COUNTED and (exchange.status or not exchange.over):
                endpoint.answered += 1
                worker.latency[bisect_right(LATENCY_BOUNDS_S, passage.upstream_s)] += 1
                if endpoint.breaker is not None or worker.minds_status:
                    worker.went_well(endpoint, passage.began, status or exchange.status)
        elif not isinstance(fault, ClientFault):
            if not isinstance(fault, ScarceFault):
                endpoint.failed += 1
                worker.errors += 1
                worker.went_wrong(endpoint, passage.began, fault)
            elif not self._make_room():
                self.spare_descriptors()
                endpoint.rest(now)
        if endpoint.retired and not endpoint.in_flight:
            self._drained(endpoint)
        if fault is not None and not exchange.over:
            if again and not exchange.status:
                self._again(passage, fault)
            else:
                self._answer_fault(passage, fault)
        if worker.line.busy:
            self._waking.wake(worker)

    def _again(self, passage: Passage, fault: Fault) -> None:
        """Try another endpoint, or wait until there is one."""
        worker = passage.worker
        assert worker is not None
        if not isinstance(fault, Unreachable) and not worker.may_retry(passage):
            self._answer_fault(passage, fault)
            return
        passage.waiting_since = passage.waiting_since or self.reactor.seconds()
        if passage.broken > 1:
            self.reactor.callLater(SECOND_RETRY_S, self._place_again, passage)
        else:
            self._place_again(passage)

    def _place_again(self, passage: Passage) -> None:
        if passage.exchange.over:
            return
        try:
            self._place(passage)
        except Fault as refusal:
            self._answer_fault(passage, refusal)

    def waited_too_long(self, passage: Passage) -> None:
        """The waiting line sends somebody away."""
        self._answer_fault(passage, UpstreamFault("The service did not become available in time.", status=504))

    # The end.

    def _answer_fault(self, passage: Passage, fault: Fault) -> None:
        exchange = passage.exchange
        if exchange.over:
            return
        if exchange.status:
            exchange.abort()
            return
        routing = passage.worker.routing if passage.worker is not None else None
        if passage.cookie is not None:
            # There is no home to come back to.
            exchange.response_headers = with_cookie(exchange.response_headers, None, passage.cookie)
        head, body = error_response(
            exchange.head,
            fault,
            exchange.request_id,
            self.routing.http.development,
            worker=routing.name if routing is not None else "",
            remedy=routing.remedy if routing is not None and routing.closed else "",
            output=routing.output if routing is not None and routing.closed else "",
            retry_after_s=retry_after_s(fault, self._chance()),
        )
        exchange.answer(head, body)

    def _over(self, passage: Passage) -> None:
        """An exchange has ended, however."""
        exchange, worker = passage.exchange, passage.worker
        self.in_flight -= 1
        if passage.waiting_since and worker is not None:
            worker.line.leave(passage)
        if self.access_log is not None:
            if not exchange.status:
                exchange.status = CLIENT_LEFT
            self.access_log.log(
                exchange,
                worker.routing.name if worker is not None else "",
                passage.endpoint.spec.id if passage.endpoint is not None else "",
                self.reactor.seconds() - passage.began if passage.attempting else passage.upstream_s,
            )
        if passage.attempting and passage.attempt is not None:
            passage.attempt.exchange_over()

    def refusal(self, fault: Fault) -> tuple[ResponseHead, bytes]:
        """The answer to what is no request."""
        self.requests += 1
        return error_response(None, fault, "", self.routing.http.development)
