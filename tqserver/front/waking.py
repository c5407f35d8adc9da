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

WOKEN_MAX = 8
"""
So many are given away in one go. When an instance comes back a thousand may wait for it, and each takes 0.2 ms; all
others are served in between.
"""


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
        if worker.wake_call is not None and worker.wake_call.getTime() <= self._reactor.seconds():
            # There were more than could be woken in one go; their turn comes.
            return
        worker.waking = True
        try:
            for _ in range(WOKEN_MAX):
                if not worker.line.busy or not self._wake_first(worker):
                    return
            if worker.line.busy:
                now = self._reactor.seconds()
                self._look_again(worker, now, now)
        finally:
            worker.waking = False

    def _wake_first(self, worker: Worker) -> bool:
        """
        Give the first in the line to an endpoint, or send it away.

        @return: L{False} if it has to wait on.
        """
        now = self._reactor.seconds()
        passage = worker.line.first()
        endpoint = worker.choose(passage, now)
        if endpoint is not None:
            worker.line.leave(passage)
            if not passage.exchange.over:
                self._attempt(passage, endpoint, now)
            return True
        refusal = worker.no_use_in_waiting()
        if refusal is not None:
            worker.line.leave(passage)
            self._refuse(passage, refusal)
            return True
        self.look_when_trusted(worker, now)
        return False

    def send_away(self, worker: Worker) -> None:
        """The worker was removed: everybody need wait no more."""
        refusal = worker.no_use_in_waiting()
        while refusal is not None and (passage := worker.line.next()) is not None:
            self._refuse(passage, refusal)

    def look_when_trusted(self, worker: Worker, now: float) -> None:
        """Look again when a suspect endpoint may be asked again."""
        due = worker.endpoints.next_change(now)
        if due is not None:
            self._look_again(worker, due, now)

    def _look_again(self, worker: Worker, due: float, now: float) -> None:
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
