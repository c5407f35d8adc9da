"""
What the site remembers of a worker and of an exchange on its way to one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..errors import ClientFault, Fault
from ..http1.head import Headers
from ..plane.messages import LATENCY_BOUNDS_S, WorkerLoad, WorkerRouting
from .admission import absent, worker_too_busy
from .balance import by_hash, least_in_flight, random_two, round_robin
from .breaker import failure_kind, status_kind
from .cookies import cookie_values
from .endpoints import EndpointSet, EndpointState
from .exchange import IExchange
from .offload import Offload
from .retry import IDEMPOTENT, RetryBudget
from .routes import Match
from .static_places import Places
from .sticky import Homes, with_cookie
from .waiting import WaitingLine

if TYPE_CHECKING:
    from .fastcgi_attempt import FastCGIAttempt
    from .forward_http import Attempt

UNSAFE_TRIAL_S = 5.0
"""So long after an ejection has ended, only requests that could be sent again try the endpoint, if there is another."""


class Worker:
    """One worker of the routing, and its counts."""

    def __init__(
        self,
        clock: IReactorTime,
        routing: WorkerRouting,
        expired: Callable[[Passage], None],
        chance: Callable[[], float],
    ) -> None:
        """
        @param expired: sends away who waited too long.
        @param chance: random numbers from [0, 1).
        """
        self.routing = routing
        self.homes: Homes | None = None
        self.minds_status = False
        """Whether some of the worker's own answers say that an endpoint is not well."""
        self.retries = 0
        self.unretried = 0
        self._clock = clock
        self._chance = chance
        self._budget = RetryBudget(clock.seconds(), routing.retry)
        self.endpoints = EndpointSet()
        self.line: WaitingLine[Passage] = WaitingLine(clock, routing.waiting_max, routing.waiting_timeout_s, expired)
        self.turn = 0
        self.requests = 0
        self.errors = 0
        self.latency = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.wanted_call: IDelayedCall | None = None
        self.wake_call: IDelayedCall | None = None
        self.waking = False
        self.development_headers: Headers = []
        self.special = True
        """Whether more is to be done about a request than to send it to an endpoint by HTTP."""
        self.places: Mapping[str, Places] = {}
        """Where its files may lie, by the prefixes of its routes."""
        self.offload: Offload | None = None
        self.asynchronous = False
        """Whether some of its requests may be answered later."""

    def update(self, routing: WorkerRouting, secret: bytes) -> list[EndpointState]:
        """
        Take over a new routing.

        @param secret: the server's.
        @return: the endpoints that it took away.
        """
        self.routing = routing
        self.line.limit = routing.waiting_max
        self.line.timeout_s = routing.waiting_timeout_s
        self.minds_status = not {"gateway", "5xx"}.isdisjoint(routing.outlier.on)
        removed = self.endpoints.update(routing.endpoints)
        self.endpoints.keep_enough(routing.outlier)
        if routing.sticky is None:
            self.homes = None
        else:
            if self.homes is None or self.homes.rule != routing.sticky:
                self.homes = Homes(routing.sticky, secret, routing.name)
            self.homes.update(endpoint.id for endpoint in routing.endpoints)
        return removed

    def settle(self) -> None:
        """Decide whether the worker is C{special}, when everything about it is known."""
        routing = self.routing
        self.special = bool(
            self.development_headers
            or routing.protocol == "none"
            or routing.in_flight_max
            or routing.balance == "hash"
            or self.homes is not None
            or self.offload is not None
            or self.asynchronous
        )

    def cancel_calls(self) -> None:
        """Nobody waits any more, and nobody will."""
        for call in (self.wake_call, self.wanted_call):
            if call is not None:
                call.cancel()
        self.wake_call = self.wanted_call = None

    def load(self) -> WorkerLoad:
        """The counts, as a message."""
        return WorkerLoad(
            name=self.routing.name,
            waiting=len(self.line),
            requests=self.requests,
            errors=self.errors,
            ejections=self.endpoints.ejections,
            retries=self.retries,
            unretried=self.unretried,
            latency=tuple(self.latency),
        )

    # Which endpoint.

    def choose(self, passage: Passage, now: float) -> EndpointState | None:
        """The endpoint that takes an exchange; L{None} if none can."""
        current = self.endpoints.current
        if len(current) == 1:
            only = current[0]
            limit = only.spec.concurrency_max
            return only if (not limit or only.in_flight < limit) and only.blocked_until <= now else None
        available = [state for state in current if state.free(now)]
        if passage.tries and len(available) > 1:
            # Whoever broke this request is asked last.
            available = [state for state in available if state is not passage.endpoint]
        if not available:
            return None
        if len(available) == 1:
            return available[0]
        if passage.home:
            for state in available:
                if state.spec.id == passage.home:
                    return state
        chosen = self._balanced(available, passage)
        if chosen.breaker is not None and chosen.ejected and passage.exchange.head.method not in IDEMPOTENT:
            others = [state for state in available if not state.ejected]
            if others and now < chosen.blocked_until + UNSAFE_TRIAL_S:
                return self._balanced(others, passage)
        return chosen

    def _balanced(self, available: list[EndpointState], passage: Passage) -> EndpointState:
        self.turn += 1
        balance = self.routing.balance
        if balance == "round_robin":
            return round_robin(available, self.turn)
        if balance == "random_two":
            return random_two(available, self._chance(), self._chance())
        if balance == "hash":
            return by_hash(available, passage.key)
        return least_in_flight(available, self.turn)

    def stick(self, passage: Passage, endpoint: EndpointState, now: float) -> None:
        """
        Have the client come back to the endpoint that its request is given to, unless it has a home that can do no
        more at the moment. Need be told only if there are C{homes}.
        """
        homes, exchange = self.homes, passage.exchange
        cookie = None
        if homes is not None and endpoint.id != passage.home and not self._at_home(passage.home, now):
            cookie = homes.cookie(endpoint.id, *passage.reached)
        if cookie is not None or passage.cookie is not None:
            exchange.response_headers = with_cookie(exchange.response_headers, cookie, passage.cookie)
            passage.cookie = cookie

    def _at_home(self, home: str, now: float) -> bool:
        """Whether an endpoint is there and trusted."""
        return any(state.id == home and state.blocked_until <= now for state in self.endpoints.current)

    # What became of it.

    def went_well(self, endpoint: EndpointState, began: float, status: int) -> None:
        """
        An endpoint answered. Need be told only while it has a C{breaker}, or if the status may mean something
        (C{minds_status}).

        @param began: when it was given the request.
        """
        now, rule = self._clock.seconds(), self.routing.outlier
        kind = status_kind(status, rule)
        if kind is None:
            endpoint.went_well(now, began)
        else:
            self.endpoints.went_wrong(endpoint, now, began, kind, rule, self._chance())

    def switched(self, endpoint_id: str, began: float) -> None:
        """An endpoint answered by switching to another protocol. Its exchange goes on, perhaps for days."""
        endpoint = self.endpoints.find(endpoint_id)
        if endpoint is not None:
            endpoint.answered += 1
            if endpoint.breaker is not None:
                self.went_well(endpoint, began, 101)

    def went_wrong(self, endpoint: EndpointState, began: float, fault: Fault) -> None:
        """
        An endpoint did not answer.

        @param began: when it was given the request.
        """
        kind = failure_kind(fault)
        if kind is not None:
            now, rule = self._clock.seconds(), self.routing.outlier
            self.endpoints.went_wrong(endpoint, now, began, kind, rule, self._chance())

    def may_retry(self, passage: Passage) -> bool:
        """Whether a request that an endpoint broke may be sent again; if so, it is counted."""
        rule = self.routing.retry
        passage.broken += 1
        if passage.broken >= rule.attempts:
            return False
        if not self._budget.take(self._clock.seconds(), self.requests, rule):
            self.unretried += 1
            return False
        self.retries += 1
        return True

    # Who is sent away.

    def too_much(self) -> Fault | None:
        """Why one more request cannot be taken on; L{None} if it can. Need be asked only if there is a limit."""
        endpoints = self.endpoints
        in_hand = len(self.line) + sum(state.in_flight for state in endpoints.current)
        in_hand += sum(state.in_flight for state in endpoints.leaving.values())
        return worker_too_busy() if in_hand >= self.routing.in_flight_max else None

    def no_use_in_waiting(self) -> Fault | None:
        """Why a request need not wait for an endpoint; L{None} if it should."""
        routing = self.routing
        if routing.endpoints:
            return None
        if routing.closed:
            return absent(routing.closed)
        if routing.protocol == "none":
            return ClientFault("There is nothing here.", status=404)
        return None


class Passage:
    """
    One exchange on its way through the site.

    @ivar lines: the header fields as they go over the wire to the worker, in pieces.
    @ivar endpoint: who was asked last.
    @ivar attempting: somebody is being asked.
    @ivar attempt: who is to be told if the exchange is over meanwhile, or L{None}.
    @ivar tries: how often somebody was.
    @ivar broken: how many of these broke after the request was sent.
    @ivar waiting_since: by the reactor's clock; 0 if it never had to wait.
    @ivar began: when the last attempt began, and
    @ivar upstream_s: how long it took.
    @ivar key: what C{balance: hash} goes by.
    @ivar home: the endpoint that the client shall come back to, or empty.
    @ivar reached: the scheme and the prefix by which it comes, if that matters.
    @ivar cookie: the header field that tells the client of its home, or L{None}.
    """

    lines: list[bytes] = []
    endpoint: EndpointState | None = None
    attempting = False
    attempt: Attempt | FastCGIAttempt | None = None
    tries = 0
    broken = 0
    waiting_since = 0.0
    began = 0.0
    upstream_s = 0.0
    key = b""
    home = ""
    reached = (b"", b"")
    cookie: tuple[bytes, bytes] | None = None

    def __init__(self, exchange: IExchange, worker: Worker | None, match: Match | None) -> None:
        self.exchange = exchange
        self.worker = worker
        self.match = match


def without_worker(routing: WorkerRouting) -> WorkerRouting:
    """The routing of a worker that was removed."""
    return WorkerRouting(name=routing.name, type=routing.type, closed="This service was removed.")


def development_headers(routing: WorkerRouting) -> Headers:
    """Which worker answers, for the developer; an exchange adds the path and the instance."""
    return [
        (b"X-TQServer-Worker-Name", routing.name.encode()),
        (b"X-TQServer-Worker-Type", routing.type.encode()),
    ]


def hash_key(hash_on: str, exchange: IExchange) -> bytes:
    """What C{balance: hash} goes by; the client's address where the header or cookie is missing."""
    kind, _, name = hash_on.partition(":")
    head = exchange.head
    value = None
    if kind == "header":
        value = head.get(name.lower().encode())
    elif kind == "cookie":
        value = next(cookie_values(head, name.encode()), None)
    return value or exchange.client_host.encode()
