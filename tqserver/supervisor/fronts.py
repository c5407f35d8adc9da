"""
The front processes, seen as one: started, restarted, replaced, told the routing, listened to.

A front is bound to a slot, which is a set of listening sockets. A slot has one front that accepts, and perhaps older
ones that leave. What each front still holds of endpoints is kept here, so that an instance is stopped only when no
front has an exchange on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..backoff import backoff_s
from ..plane.link import Link, upward
from ..plane.messages import (
    Applied,
    Downward,
    Drained,
    FrontStopped,
    Load,
    ReopenLogs,
    Retire,
    Routing,
    Started,
    Upward,
    Wanted,
    WorkerSaid,
)
from ..plane.status import FrontStatus
from .front_process import Front, FrontState, IFrontsReactor, start_process
from .interfaces import EndpointTotals, FrontLoad, IFronts, WorkerTotals
from .listening import Listeners
from .replacing import Replacing

_log = Logger()

STABLE_S = 10.0
"""A front that ran so long before it died is started again at once."""

START_S = 30.0
"""A front that has not said that it is there so long after it was started is killed."""

KILL_S = 2.0
"""A front that has not ended so long after the limit of its retirement is killed."""


class Guarding(Protocol):
    """Who sees to it that no process outlives the supervisor."""

    def add(self, pid: int) -> None:
        """Look after a process."""

    def remove(self, pid: int) -> None:
        """It has ended."""


@implementer(IFronts)
class Fronts:
    """All front processes."""

    def __init__(
        self,
        reactor: IFrontsReactor,
        listeners: Listeners,
        guard: Guarding,
        chance: Callable[[], float],
    ) -> None:
        """
        @param listeners: for each front the listening sockets that it inherits; closed at the stop.
        """
        self._reactor = reactor
        self._listeners = listeners
        slots = self._slots = listeners.slots
        self._guard = guard
        self._chance = chance
        self._fronts: list[Front] = []
        self._routing: Routing | None = None
        self._failures = [0] * len(slots)
        self._stopping = False
        self._drain_timeout_s = 30.0
        self._wanted: list[Callable[[str, int, float], None]] = []
        self._loaded: list[Callable[[], None]] = []
        self._said: list[Callable[[str, str, str], None]] = []
        self._draining: dict[str, list[Deferred[None]]] = {}
        self._applying: list[tuple[int, Deferred[None]]] = []
        self._past_endpoints: dict[str, EndpointTotals] = {}
        self._past_workers: dict[str, WorkerTotals] = {}
        self._respawns: set[IDelayedCall] = set()
        self._replacing = Replacing(len(slots), self._replace)

    # Starting.

    def start(self) -> None:
        """Start a front for each slot."""
        for slot in range(len(self._slots)):
            self._spawn(slot)

    def _spawn(self, slot: int) -> Front:
        front = Front(slot, self._reactor.seconds())
        front.link = Link(upward(), lambda message: self._heard(front, message), lambda: self._unlinked(front))
        self._fronts.append(front)
        try:
            start_process(self._reactor, front, self._slots[slot], self.ended)
        except OSError:
            # As if it had died at once.
            front.start_call = self._reactor.callLater(0, self.ended, front, Failure())
            return front
        front.start_call = self._reactor.callLater(START_S, self._not_started, front)
        self._guard.add(front.pid)
        return front

    def _not_started(self, front: Front) -> None:
        _log.error("front {pid} has not started within {seconds:g} s", pid=front.pid, seconds=START_S)
        self._kill(front)

    # Messages.

    def _heard(self, front: Front, message: Upward) -> None:
        if isinstance(message, Load):
            front.load = message
            self._tell_load()
        elif isinstance(message, Wanted):
            for wanted in self._wanted:
                wanted(message.worker, message.waiting, message.oldest_s)
        elif isinstance(message, Drained):
            if message.version > front.holding.get(message.endpoint, 0):
                front.holding.pop(message.endpoint, None)
                self._check_drained([message.endpoint])
        elif isinstance(message, Applied):
            first, front.applied = not front.applied, message.version
            self._check_applied()
            if first:
                front.ready.callback(None)
            self._tell_load()
        elif isinstance(message, WorkerSaid):
            for said in self._said:
                said(message.worker, message.request_id, message.line)
        elif isinstance(message, Started):
            self._started(front)
        elif isinstance(message, FrontStopped) and message.cut:
            _log.warn("front {pid} cut {count} connections at its limit", pid=front.pid, count=message.cut)

    def _started(self, front: Front) -> None:
        if front.state is FrontState.STARTING:
            front.state = FrontState.RUNNING
            if front.start_call is not None:
                front.start_call.cancel()
                front.start_call = None
            if self._routing is not None:
                self._send(front, self._routing)

    def _send(self, front: Front, message: Downward) -> None:
        if isinstance(message, Routing):
            front.sent = message.version
            for worker in message.workers:
                front.holding.update((endpoint.id, message.version) for endpoint in worker.endpoints)
        front.link.send(message)

    def publish(self, routing: Routing) -> None:
        self._routing = routing
        current = {endpoint.id for worker in routing.workers for endpoint in worker.endpoints}
        for endpoint_id in [each for each in self._past_endpoints if each not in current]:
            del self._past_endpoints[endpoint_id]
        for front in self._fronts:
            # One that leaves still has exchanges in hand, which may want to be tried again.
            if front.state in (FrontState.RUNNING, FrontState.LEAVING):
                self._send(front, routing)

    def reopen_logs(self) -> None:
        """Have all fronts open their log files again."""
        for front in self._fronts:
            self._send(front, ReopenLogs())

    # Questions.

    def when_drained(self, endpoint_id: str) -> Deferred[None]:
        if not self._held(endpoint_id):
            return succeed(None)
        waiting = self._draining.setdefault(endpoint_id, [])

        def forget(cancelled: Deferred[None]) -> None:
            if cancelled in waiting:
                waiting.remove(cancelled)

        question: Deferred[None] = Deferred(forget)
        waiting.append(question)
        return question

    def _held(self, endpoint_id: str) -> bool:
        return any(endpoint_id in front.holding for front in self._fronts)

    def _check_drained(self, endpoint_ids: Sequence[str]) -> None:
        for endpoint_id in endpoint_ids:
            if endpoint_id in self._draining and not self._held(endpoint_id):
                for question in self._draining.pop(endpoint_id):
                    question.callback(None)

    def when_applied(self, version: int) -> Deferred[None]:
        question: Deferred[None] = Deferred(
            lambda cancelled: (
                self._applying.remove((version, cancelled)) if (version, cancelled) in self._applying else None
            )
        )
        self._applying.append((version, question))
        self._check_applied()
        return question

    def _check_applied(self) -> None:
        least = min((front.applied for front in self._fronts if front.state is FrontState.RUNNING), default=None)
        for entry in list(self._applying):
            if least is None or entry[0] <= least:
                self._applying.remove(entry)
                entry[1].callback(None)

    def on_wanted(self, callback: Callable[[str, int, float], None]) -> None:
        self._wanted.append(callback)

    def on_load(self, callback: Callable[[], None]) -> None:
        self._loaded.append(callback)

    def on_said(self, callback: Callable[[str, str, str], None]) -> None:
        """Have C{callback(worker, request_id, line)} called for each line that came over the data plane."""
        self._said.append(callback)

    def _tell_load(self) -> None:
        for loaded in self._loaded:
            loaded()

    def load(self) -> FrontLoad:
        endpoints = dict(self._past_endpoints)
        workers = dict(self._past_workers)
        for front in self._fronts:
            if front.load is not None:
                _add(endpoints, workers, front.load, alive=True)
        return FrontLoad(
            endpoints=endpoints,
            workers=workers,
            fronts=tuple(
                FrontStatus(
                    pid=front.pid,
                    state=front.state.value,
                    version=front.applied,
                    connections=front.load.connections if front.load is not None else 0,
                    in_flight=front.load.in_flight if front.load is not None else 0,
                    upgraded=front.load.upgraded if front.load is not None else 0,
                )
                for front in self._fronts
            ),
        )

    # The end of one.

    def _unlinked(self, front: Front) -> None:
        """Its end of the pipe is closed. If it does not end by itself, it is of no use."""
        if front.state is not FrontState.GONE:
            self._kill_later(front, KILL_S)

    def _kill_later(self, front: Front, delay_s: float) -> None:
        if front.kill_call is None:
            front.kill_call = self._reactor.callLater(delay_s, self._kill, front)

    def _kill(self, front: Front) -> None:
        if front.transport is not None:
            try:
                front.transport.signalProcess("KILL")
            except ProcessExitedAlready:
                pass

    def ended(self, front: Front, reason: Failure) -> None:
        """A front's process has ended, as it should or not."""
        leaving = front.state is FrontState.LEAVING
        front.state = FrontState.GONE
        if front.pid:
            self._guard.remove(front.pid)
        front.cancel_calls()
        self._fronts.remove(front)
        if front.load is not None:
            _add(self._past_endpoints, self._past_workers, front.load, alive=False)
        held, front.holding = front.holding, {}
        self._check_drained(sorted(held))
        self._check_applied()
        if not leaving and not self._stopping:
            _log.error("front {pid} ended: {reason}", pid=front.pid, reason=reason.getErrorMessage())
            self._respawn(front)
        self._tell_load()
        if not front.applied:
            front.ready.callback(None)
        front.ended.callback(None)

    def _served(self, slot: int) -> bool:
        """Whether a slot has a front. Of two, as there are while one replaces the other, none is missed."""
        return any(front.slot == slot and front.staying for front in self._fronts)

    def _respawn(self, front: Front) -> None:
        slot = front.slot
        if self._reactor.seconds() - front.started_at >= STABLE_S:
            self._failures[slot] = 0
        self._failures[slot] += 1
        # The first time at once: clients wait in the socket.
        delay_s = 0.0 if self._failures[slot] == 1 else backoff_s(self._failures[slot], 0.1, 5.0, self._chance())

        def spawn() -> None:
            self._respawns.discard(call)
            if not self._stopping and not self._served(slot):
                self._spawn(slot)

        call = self._reactor.callLater(delay_s, spawn)
        self._respawns.add(call)

    # The end of all.

    def _retire(self, front: Front, timeout_s: float, close_listeners: bool) -> Deferred[None]:
        front.state = FrontState.LEAVING
        self._send(front, Retire(timeout_s=timeout_s, close_listeners=close_listeners))
        self._kill_later(front, timeout_s + KILL_S)
        return front.ended

    def stop(self, timeout_s: float) -> Deferred[None]:
        self._stopping = True
        for call in list(self._respawns):
            call.cancel()
        self._respawns.clear()
        # A front keeps its own copy until it has accepted what waits in it.
        self._listeners.refuse_new()
        self._listeners.close()
        gone = [
            front.ended if front.state is FrontState.LEAVING else self._retire(front, timeout_s, True)
            for front in list(self._fronts)
        ]
        return _all(gone)

    def replace(self) -> Deferred[None]:
        return self._replacing.ask()

    def _replace(self, slot: int) -> Deferred[bool]:
        """
        Start a successor on the same sockets; when it accepts, let the old ones go.

        @return: whether the successor has started.
        """
        if self._stopping:
            return succeed(True)
        successor = self._spawn(slot)

        def retire_old(_: None) -> bool:
            if successor.state is not FrontState.RUNNING:
                return self._stopping
            for front in list(self._fronts):
                if front.slot == slot and front.staying and front is not successor:
                    self._retire(front, self._drain_timeout_s, False)
            return True

        return successor.ready.addCallback(retire_old)

    def set_drain_timeout(self, timeout_s: float) -> None:
        """How long a replaced front may go on with what it has in hand, in seconds."""
        self._drain_timeout_s = timeout_s


def _add(endpoints: dict[str, EndpointTotals], workers: dict[str, WorkerTotals], load: Load, alive: bool) -> None:
    """
    Add one front's counters.

    @param alive: the front is there; of one that has gone only what never decreases counts.
    """
    none, nothing = EndpointTotals(), WorkerTotals()
    for endpoint in load.endpoints:
        before = endpoints.get(endpoint.id, none)
        endpoints[endpoint.id] = EndpointTotals(
            in_flight=before.in_flight + (endpoint.in_flight if alive else 0),
            answered=before.answered + endpoint.answered,
            failed=before.failed + endpoint.failed,
            ejected=before.ejected + (endpoint.ejected if alive else 0),
        )
    for worker in load.workers:
        known = workers.get(worker.name, nothing)
        workers[worker.name] = WorkerTotals(
            waiting=known.waiting + (worker.waiting if alive else 0),
            requests=known.requests + worker.requests,
            errors=known.errors + worker.errors,
            ejections=known.ejections + worker.ejections,
            retries=known.retries + worker.retries,
            unretried=known.unretried + worker.unretried,
            latency=tuple(map(sum, zip(known.latency, worker.latency, strict=False)))
            if known.latency
            else worker.latency,
        )


def _all(deferreds: Sequence[Deferred[None]]) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    DeferredList([_copy(each) for each in deferreds]).addCallback(lambda _: done.callback(None))
    return done


def _copy(deferred: Deferred[None]) -> Deferred[None]:
    """A second one that fires when the first does, so that each asker has its own."""
    copy: Deferred[None] = Deferred()

    def passed(result: None) -> None:
        copy.callback(None)

    deferred.addCallback(passed)
    return copy
