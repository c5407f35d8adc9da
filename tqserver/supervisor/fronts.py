"""
The front processes, seen as one: started, restarted, replaced, told the routing, listened to.

A front is bound to a slot, which is a set of listening sockets. A slot has one front that accepts, and perhaps older
ones that leave. What each front still holds of endpoints is kept here, so that an instance is stopped only when no
front has an exchange on it.
"""

from __future__ import annotations

import enum
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    IDelayedCall,
    IProcessTransport,
    IReactorProcess,
    IReactorSocket,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..backoff import backoff_s
from ..plane.link import Link, OneLink, upward
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
from .interfaces import EndpointTotals, FrontLoad, FrontStatus, IFronts, WorkerTotals
from .listening import Listeners

_log = Logger()

STABLE_S = 10.0
"""A front that ran so long before it died is started again at once."""

KILL_S = 2.0
"""A front that has not ended so long after the limit of its retirement is killed."""

CONTROL_FD = 3


class IFrontsReactor(IReactorProcess, IReactorSocket, IReactorTime):
    """What is needed of the reactor."""


class Guarding(Protocol):
    """Who sees to it that no process outlives the supervisor."""

    def add(self, pid: int) -> None:
        """Look after a process."""

    def remove(self, pid: int) -> None:
        """It has ended."""


class _State(enum.Enum):
    """A front's life."""

    STARTING = "starting"
    RUNNING = "running"
    LEAVING = "leaving"
    GONE = "gone"


@define(eq=False)
class _Front:
    """
    One front process.

    @ivar holding: endpoints that it was told of and has not drained, and the last version that it was told them by.
    @ivar sent: the version of the last routing that it was sent.
    @ivar applied: the version that it works by.
    @ivar ready: fires when it has applied its first routing, or has ended without.
    @ivar ended: fires when its process has ended.
    """

    slot: int
    link: Link[Upward]
    started_at: float
    pid: int = 0
    transport: IProcessTransport | None = None
    state: _State = _State.STARTING
    holding: dict[str, int] = field(factory=dict)
    sent: int = 0
    applied: int = 0
    load: Load | None = None
    kill_call: IDelayedCall | None = None
    ready: Deferred[None] = field(factory=Deferred)
    ended: Deferred[None] = field(factory=Deferred)


class _FrontProcess(ProcessProtocol):
    """The reactor's view of a front."""

    def __init__(self, fronts: Fronts, front: _Front) -> None:
        self._fronts = fronts
        self._front = front
        self._tail = b""

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        lines = (self._tail + data).split(b"\n")
        self._tail = lines.pop()[-4096:]
        for line in lines:
            _log.info("front {pid}: {line}", pid=self._front.pid, line=line.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:
        self._fronts.ended(self._front, reason)


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
        self._fronts: list[_Front] = []
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

    # Starting.

    def start(self) -> None:
        """Start a front for each slot."""
        for slot in range(len(self._slots)):
            self._spawn(slot)

    def _spawn(self, slot: int) -> _Front:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        front: _Front
        link: Link[Upward] = Link(upward(), lambda message: self._heard(front, message), lambda: self._unlinked(front))
        front = _Front(slot, link, self._reactor.seconds())
        self._fronts.append(front)
        self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, OneLink(link))
        ours.close()
        child_fds: dict[int, int | str] = {1: "r", 2: "r", CONTROL_FD: theirs.fileno()}
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        child_fds[0] = null
        arguments = []
        for number, listening in enumerate(self._slots[slot], CONTROL_FD + 1):
            child_fds[number] = listening.socket.fileno()
            arguments += ["--listen-proxied" if listening.proxy_protocol else "--listen", str(number)]
        command = [
            *("setsid", "setpriv", "--pdeathsig", "KILL", "--"),
            *(sys.executable, "-m", "tqserver.front", "--control", str(CONTROL_FD), *arguments),
        ]
        try:
            transport = self._reactor.spawnProcess(
                _FrontProcess(self, front), command[0], command, _environment(), childFDs=child_fds
            )
        finally:
            theirs.close()
            os.close(null)
        front.transport = transport
        front.pid = transport.pid or 0
        self._guard.add(front.pid)
        return front

    # Messages.

    def _heard(self, front: _Front, message: Upward) -> None:
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
        elif isinstance(message, WorkerSaid):
            for said in self._said:
                said(message.worker, message.request_id, message.line)
        elif isinstance(message, Started):
            self._started(front)
        elif isinstance(message, FrontStopped) and message.cut:
            _log.warn("front {pid} cut {count} connections at its limit", pid=front.pid, count=message.cut)

    def _started(self, front: _Front) -> None:
        if front.state is _State.STARTING:
            front.state = _State.RUNNING
            if self._routing is not None:
                self._send(front, self._routing)

    def _send(self, front: _Front, message: Downward) -> None:
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
            if front.state in (_State.RUNNING, _State.LEAVING):
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
        least = min((front.applied for front in self._fronts if front.state is _State.RUNNING), default=None)
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
                )
                for front in self._fronts
            ),
        )

    # The end of one.

    def _unlinked(self, front: _Front) -> None:
        """Its end of the pipe is closed. If it does not end by itself, it is of no use."""
        if front.state is not _State.GONE:
            self._kill_later(front, KILL_S)

    def _kill_later(self, front: _Front, delay_s: float) -> None:
        if front.kill_call is None:
            front.kill_call = self._reactor.callLater(delay_s, self._kill, front)

    def _kill(self, front: _Front) -> None:
        front.kill_call = None
        if front.transport is not None:
            try:
                front.transport.signalProcess("KILL")
            except ProcessExitedAlready:
                pass

    def ended(self, front: _Front, reason: Failure) -> None:
        """A front's process has ended, as it should or not."""
        leaving = front.state is _State.LEAVING
        front.state = _State.GONE
        self._guard.remove(front.pid)
        if front.kill_call is not None:
            front.kill_call.cancel()
            front.kill_call = None
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

    def _respawn(self, front: _Front) -> None:
        slot = front.slot
        if self._reactor.seconds() - front.started_at >= STABLE_S:
            self._failures[slot] = 0
        self._failures[slot] += 1
        # The first time at once: clients wait in the socket.
        delay_s = 0.0 if self._failures[slot] == 1 else backoff_s(self._failures[slot], 0.1, 5.0, self._chance())

        def spawn() -> None:
            self._respawns.discard(call)
            if not self._stopping:
                self._spawn(slot)

        call = self._reactor.callLater(delay_s, spawn)
        self._respawns.add(call)

    # The end of all.

    def _retire(self, front: _Front, timeout_s: float, close_listeners: bool) -> Deferred[None]:
        front.state = _State.LEAVING
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
            front.ended if front.state is _State.LEAVING else self._retire(front, timeout_s, True)
            for front in list(self._fronts)
        ]
        return _all(gone)

    def replace(self) -> Deferred[None]:
        _log.info("replacing the fronts one by one")
        done: Deferred[None] = succeed(None)
        for slot in range(len(self._failures)):
            done.addCallback(self._replace, slot)
        return done

    def _replace(self, _: None, slot: int) -> Deferred[None]:
        """Start a successor on the same sockets; when it accepts, let the old ones go."""
        if self._stopping:
            return succeed(None)
        old = [front for front in self._fronts if front.slot == slot and front.state is not _State.LEAVING]
        successor = self._spawn(slot)

        def retire_old(_: None) -> None:
            if successor.state is _State.RUNNING:
                for front in old:
                    if front.state is not _State.GONE:
                        self._retire(front, self._drain_timeout_s, False)

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


def _environment() -> dict[str, str]:
    """The server's own, with this very package first to be found."""
    environment = dict(os.environ)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
    return environment


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
