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

    def pick(self, available: list[EndpointState], key: bytes, chance: Callable[[], float]) -> EndpointState:
        """
        Which endpoint takes the next request.

        @param available: at least one.
        @param key: what C{balance: hash} goes by.
        @param chance: random numbers from [0, 1).
        """
        if len(available) == 1:
            return available[0]
        self.turn += 1
        balance = self.routing.balance
        if balance == "round_robin":
            return round_robin(available, self.turn)
        if balance == "random_two":
            return random_two(available, chance(), chance())
        if balance == "hash":
            return by_hash(available, key)
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
    """One exchange on its way through the site."""

    __slots__ = ("began", "broken", "endpoint", "exchange", "key", "match", "tries", "waiting_since", "worker")

    def __init__(self, exchange: IExchange, worker: Worker | None, match: Match | None) -> None:
        self.exchange = exchange
        self.worker = worker
        self.match = match
        self.endpoint: EndpointState | None = None
        self.tries = 0
        self.broken = 0
        self.waiting_since = 0.0
        self.began = 0.0
        self.key = b""


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
