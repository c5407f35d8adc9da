"""
All tunnels of a front: which of them are idle for too long, and which have to close because an instance, or the front
itself, goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..http1.sweep import NEVER, Sweep
from ..plane.messages import Routing
from .endpoints import EndpointState
from .exchange import IExchange
from .tunnel import CLOSE_S, FRAME_S, Tunnel
from .worker import Worker

LOOK_S = 1.0
"""How often idleness is looked at. A silent tunnel is closed up to two looks later than it might be."""

CLOSE_BEFORE_S = FRAME_S + CLOSE_S + 0.5
"""Before an instance or the front is stopped, its tunnels get so much time to close, but not more than a quarter of
what they had. The sweep is a little late in either step."""

CLOSE_AT_ONCE = 200
"""In one turn of the reactor no more than so many are closed, so that nobody else waits for that."""


def closing_time_s(limit_s: float) -> float:
    """
    When to close tunnels of what is stopped after a while.

    @param limit_s: after so many seconds.
    @return: after so many seconds.
    """
    return max(0.0, limit_s - min(CLOSE_BEFORE_S, limit_s / 4))


class Tunnels:
    """
    Looks after tunnels.

    @ivar deadline: of the next look, for the sweep.
    @ivar write_timeout_s: how long a client may take nothing of what it is sent.
    """

    def __init__(self, reactor: IReactorTime, sweep: Sweep, workers: Mapping[str, Worker]) -> None:
        """
        @param workers: by name; they are told what opens.
        """
        self._reactor = reactor
        self._sweep = sweep
        self._workers = workers
        self._open: dict[Tunnel, None] = {}
        self._idle_timeouts_s: dict[str, float] = {}
        self._leaving: dict[str, IDelayedCall] = {}
        self._all_leave = False
        self.deadline = NEVER
        self.write_timeout_s = 30.0

    def __len__(self) -> int:
        return len(self._open)

    def make(self, exchange: IExchange, protocol: bytes, worker: str, endpoint: str) -> Tunnel:
        """
        Make a tunnel, which wants to be given two connections.

        @param protocol: what is spoken: the value of C{Upgrade}.
        """
        return Tunnel(self, exchange, protocol, worker, endpoint)

    def settle(self, routing: Routing, removed: Sequence[EndpointState]) -> None:
        """
        Go by a routing from now on, with those that are open as well.

        @param removed: endpoints that it took away: their instances are stopped after a while, whatever they have in
            hand. Those that are in it are not, any more.
        """
        self.write_timeout_s = routing.http.write_timeout_s
        self._idle_timeouts_s = {worker.name: worker.upgrade_idle_timeout_s for worker in routing.workers}
        for endpoint in removed:
            if endpoint.in_flight:
                self._retire(endpoint.id, routing.drain_timeout_s)
        if self._leaving:
            for worker in routing.workers:
                for spec in worker.endpoints:
                    self.restore(spec.id)

    # Endpoints that go.

    def _retire(self, endpoint: str, limit_s: float) -> None:
        self.restore(endpoint)
        self._leaving[endpoint] = self._reactor.callLater(closing_time_s(limit_s), self._close, endpoint)

    def restore(self, endpoint: str) -> None:
        """It is there again, or nothing is in its hands any more."""
        call = self._leaving.pop(endpoint, None)
        if call is not None and call.active():
            call.cancel()

    def _close(self, endpoint: str) -> None:
        self._close_some([tunnel for tunnel in self._open if tunnel.endpoint == endpoint])

    def leave(self, limit_s: float) -> None:
        """
        This front is to end.

        @param limit_s: after so many seconds everything that is left is cut.
        """
        self._reactor.callLater(closing_time_s(limit_s), self._close_all)

    def _close_all(self) -> None:
        self._all_leave = True
        self._close_some(list(self._open))

    def _close_some(self, tunnels: list[Tunnel]) -> None:
        for tunnel in tunnels[:CLOSE_AT_ONCE]:
            tunnel.go_away()
        if len(tunnels) > CLOSE_AT_ONCE:
            self._reactor.callLater(0, self._close_some, tunnels[CLOSE_AT_ONCE:])

    # Idleness.

    def timed_out(self, now: float) -> None:
        """The sweep: look who is idle."""
        self.deadline = now + LOOK_S
        self._close_some([*self._idle(now)])

    def _idle(self, now: float) -> Iterable[Tunnel]:
        for tunnel in self._open:
            if tunnel.moved:
                tunnel.moved = False
                tunnel.silent_since = now
            else:
                timeout_s = self._idle_timeouts_s.get(tunnel.name, 0.0)
                if timeout_s and now - tunnel.silent_since >= timeout_s:
                    yield tunnel

    # What tunnels say.

    def now(self) -> float:
        """The reactor's clock, in seconds."""
        return self._reactor.seconds()

    def opened(self, tunnel: Tunnel) -> None:
        """One more."""
        if not self._open:
            self.deadline = self.now() + LOOK_S
            self._sweep.add(self)
        self._open[tunnel] = None
        worker = self._workers.get(tunnel.name)
        if worker is not None:
            worker.switched(tunnel.endpoint, tunnel.asked_at)
        if self._all_leave:
            # It asked before, and was answered only now.
            self._reactor.callLater(0, tunnel.go_away)

    def ended(self, tunnel: Tunnel) -> None:
        """One less."""
        self._sweep.discard(tunnel)
        self._open.pop(tunnel, None)
        if not self._open:
            self._sweep.discard(self)

    def watch(self, tunnel: Tunnel) -> None:
        """Look after a deadline."""
        self._sweep.add(tunnel)

    def unwatch(self, tunnel: Tunnel) -> None:
        """There is none any more."""
        self._sweep.discard(tunnel)

    def is_leaving(self, endpoint: str) -> bool:
        """Whether an endpoint was taken away, or we are to end."""
        return endpoint in self._leaving or self._all_leave
