"""
Those who wait for an endpoint: they are woken when there is one, and the supervisor is told of them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ..errors import Fault
from ..plane.messages import Upward, Wanted
from .endpoints import EndpointState
from .worker import Passage, Worker

WANTED_PERIOD_MIN_S = 0.01
"""The supervisor is not told of waiting requests more often than this, whatever is configured."""


class Waking:
    """Gives those who wait in the workers' lines to endpoints."""

    def __init__(
        self,
        reactor: IReactorTime,
        notify: Callable[[Upward], None],
        attempt: Callable[[Passage, EndpointState, float], None],
        refuse: Callable[[Passage, Fault], None],
    ) -> None:
        """
        @param notify: tells the supervisor.
        @param attempt: gives an exchange to an endpoint, at a time.
        @param refuse: answers who waits in vain.
        """
        self._reactor = reactor
        self._notify = notify
        self._attempt = attempt
        self._refuse = refuse

    def wake(self, worker: Worker) -> None:
        """Give those who wait to the endpoints that can take them."""
        if worker.waking:
            # An attempt has ended as it began, and whoever began it goes on with the others.
            return
        worker.waking = True
        try:
            while worker.line.busy:
                now = self._reactor.seconds()
                passage = worker.line.first()
                endpoint = worker.choose(passage, now)
                if endpoint is None:
                    refusal = worker.no_use_in_waiting()
                    if refusal is not None:
                        self._send_away(worker, refusal)
                    else:
                        self.look_when_trusted(worker, now)
                    return
                worker.line.leave(passage)
                if not passage.exchange.over:
                    self._attempt(passage, endpoint, now)
        finally:
            worker.waking = False

    def _send_away(self, worker: Worker, refusal: Fault) -> None:
        while (passage := worker.line.next()) is not None:
            self._refuse(passage, refusal)

    def look_when_trusted(self, worker: Worker, now: float) -> None:
        """Look again when a suspect endpoint may be asked again."""
        due = worker.endpoints.next_change(now)
        if due is None:
            return
        if worker.wake_call is not None:
            if due < worker.wake_call.getTime():
                worker.wake_call.reset(due - now)
            return

        def wake() -> None:
            worker.wake_call = None
            self.wake(worker)

        worker.wake_call = self._reactor.callLater(due - now, wake)

    def want(self, worker: Worker) -> None:
        """Tell the supervisor of those who wait: at once if there is no endpoint, and again while they wait on."""
        if worker.wanted_call is not None:
            return
        if len(worker.line) == 1 and not worker.endpoints.current:
            self._notify(Wanted(worker=worker.routing.name, waiting=1))

        def look() -> None:
            worker.wanted_call = None
            routing, waiting = worker.routing, len(worker.line)
            if not waiting:
                return
            oldest_s = worker.line.oldest_s()
            if waiting > routing.queue_threshold or oldest_s >= routing.wait_max_s:
                self._notify(Wanted(worker=routing.name, waiting=waiting, oldest_s=oldest_s))
            worker.wanted_call = self._reactor.callLater(max(routing.wait_max_s, WANTED_PERIOD_MIN_S), look)

        worker.wanted_call = self._reactor.callLater(max(worker.routing.wait_max_s, WANTED_PERIOD_MIN_S), look)
