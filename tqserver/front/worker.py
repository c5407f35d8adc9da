"""
What the site remembers of a worker and of an exchange on its way to one.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..errors import ClientFault, Fault, ServerFault
from ..http1.head import Headers
from ..plane.messages import LATENCY_BOUNDS_S, WorkerLoad, WorkerRouting
from .balance import by_hash, least_in_flight, random_two, round_robin
from .endpoints import EndpointSet, EndpointState
from .exchange import IExchange
from .routes import Match
from .waiting import WaitingLine


class Worker:
    """One worker of the routing, and its counts."""

    def __init__(self, clock: IReactorTime, routing: WorkerRouting, expired: Callable[[Passage], None]) -> None:
        """
        @param expired: sends away who waited too long.
        """
        self.routing = routing
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

    def update(self, routing: WorkerRouting) -> list[EndpointState]:
        """Take over a new routing; what was taken away is returned."""
        self.routing = routing
        self.line.limit = routing.waiting_max
        self.line.timeout_s = routing.waiting_timeout_s
        return self.endpoints.update(routing.endpoints)

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
            latency=tuple(self.latency),
        )

    def choose(self, passage: Passage, now: float, chance: Callable[[], float]) -> EndpointState | None:
        """
        The endpoint that takes an exchange; L{None} if none can.

        @param chance: random numbers from [0, 1).
        """
        current = self.endpoints.current
        if len(current) == 1:
            only = current[0]
            limit = only.spec.concurrency_max
            return only if (not limit or only.in_flight < limit) and only.suspect_until <= now else None
        available = [state for state in current if state.free(now)]
        if passage.tries and len(available) > 1:
            # Whoever broke this request is asked last.
            available = [state for state in available if state is not passage.endpoint]
        if not available:
            return None
        if len(available) == 1:
            return available[0]
        self.turn += 1
        balance = self.routing.balance
        if balance == "round_robin":
            return round_robin(available, self.turn)
        if balance == "random_two":
            return random_two(available, chance(), chance())
        if balance == "hash":
            return by_hash(available, passage.key)
        return least_in_flight(available, self.turn)

    def no_use_in_waiting(self) -> Fault | None:
        """Why a request need not wait for an endpoint; L{None} if it should."""
        routing = self.routing
        if routing.endpoints:
            return None
        if routing.closed:
            # Why, is for the developer and the operator alone.
            return ServerFault("This service is not available now.", routing.closed, retry_after_s=5)
        if routing.protocol == "none":
            return ClientFault("There is nothing here.", status=404)
        return None


class Passage:
    """
    One exchange on its way through the site.

    @ivar lines: the header fields as the worker gets them, if it speaks HTTP.
    @ivar endpoint: who was asked last.
    @ivar attempting: somebody is being asked.
    @ivar tries: how often somebody was.
    @ivar broken: how many of these broke after the request was sent.
    @ivar waiting_since: by the reactor's clock; 0 if it never had to wait.
    @ivar began: when the last attempt began, and
    @ivar upstream_s: how long it took.
    @ivar key: what C{balance: hash} goes by.
    """

    lines: list[bytes] = []
    endpoint: EndpointState | None = None
    attempting = False
    tries = 0
    broken = 0
    waiting_since = 0.0
    began = 0.0
    upstream_s = 0.0
    key = b""

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
    wanted = name.lower().encode()
    head = exchange.head
    if kind == "header":
        value = head.get(wanted)
        if value:
            return value
    elif kind == "cookie":
        for cookies in head.get_all(b"cookie"):
            for cookie in cookies.split(b";"):
                key, _, value = cookie.strip().partition(b"=")
                if key.lower() == wanted:
                    return value
    return exchange.client_host.encode()
