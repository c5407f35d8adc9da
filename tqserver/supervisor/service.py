"""
The supervisor: one loop that any news wakes.

    observe → plan → carry out → publish

What is started here returns as news: a build ends, an instance comes up, a front has drained an endpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import __version__
from ..build import Build, BuildFault
from ..config.diff import carry_over, compare, restart_keys
from ..config.model import Project, ServerConfig, WorkerConfig
from ..errors import ConfigFault, Problem
from ..plane.messages import Routing
from ..process.usage import Usage
from ..watch import IWatcher, Kind
from .changes import Change, RetireSlot, SetCount, StartBuild, StartSlot, StopSlot
from .discovery import Discovery, News
from .interfaces import IBuilds, IFronts, ILauncher, IWorkerLogs
from .plan import Desired, Observed, plan
from .routing import routing
from .status import ConfigStatus, ServerStatus
from .survey import broken_status, worker_status
from .worker import Surroundings, Worker

TICK_S = 1.0
"""How often the plan is made without any news, for what only time brings: age, idleness."""

MEASURE_S = 5.0
"""How often the memory of instances is measured."""

STOP_SPARE_S = 10.0
"""
Beyond the longest grace, how long a stop waits for the last process. A killed process that is still there after that hangs in
the kernel, and the server must not hang with it.
"""

Measure = Callable[[list[int]], Deferred[dict[int, Usage]]]
"""Measures process groups, by the ids of their leaders, without blocking."""

_log = Logger("tqserver.supervisor")


class CommandFault(Exception):
    """A command that cannot be obeyed: the message says why."""


class Supervisor(Service):
    """
    The control plane.

    @ivar project: the configuration in force.
    @ivar workers: by name; one that was removed stays until nothing of it is left.
    @ivar routing: what was published last.
    """

    name = "supervisor"

    def __init__(
        self,
        reactor: IReactorTime,
        project: Project,
        load: Callable[[], Project],
        launcher: ILauncher,
        builds: IBuilds,
        watcher: IWatcher,
        fronts: IFronts,
        logs: IWorkerLogs,
        measure: Measure,
        chance: Callable[[], float],
        wall_clock: Callable[[], float],
        on_server: Callable[[ServerConfig], None] = lambda server: None,
    ) -> None:
        """
        @param project: the configuration to begin with.
        @param load: reads it again; raises L{ConfigFault}.
        @param chance: gives random numbers from [0, 1).
        @param wall_clock: gives seconds since the epoch.
        @param on_server: told each new server configuration, for those who are not told here (launcher, ports, logs).
        """
        self.project = project
        self.workers: dict[str, Worker] = {}
        self.routing = Routing(version=0)
        self._reactor = reactor
        self._load = load
        self._builds = builds
        self._fronts = fronts
        self._measure = measure
        self._wall_clock = wall_clock
        self._on_server = on_server
        self._started_with = project.server
        self._started_at = reactor.seconds()
        self._applied_at = 0.0
        self._problems: tuple[Problem, ...] = ()
        self._restart: tuple[str, ...] = ()
        self._pending: IDelayedCall | None = None
        self._leaving: list[tuple[str, Deferred[None]]] = []
        self._page_callbacks: list[Callable[[News], None]] = []
        self._swap_callbacks: list[Callable[[str, int], None]] = []
        self._empty: list[Deferred[None]] = []
        self._stopping = False
        self._stopped: Deferred[None] | None = None
        self._discovery = Discovery(watcher, self._take_news)
        self._around = Surroundings(
            clock=reactor,
            wall_clock=wall_clock,
            chance=chance,
            launcher=launcher,
            logs=logs,
            leave_routing=self._leave_routing,
            load=fronts.load,
            wake=self.wake,
        )
        self._logs = logs
        self._tick = LoopingCall(self.wake)
        self._measuring = LoopingCall(self._measure_all)
        self._tick.clock = self._measuring.clock = reactor

    # Life

    def startService(self) -> None:
        """Begin: build, start and route to everything that is configured."""
        super().startService()
        self._fronts.on_wanted(self._take_wanted)
        self._fronts.on_load(self.wake)
        self._apply(self.project)
        for loop, interval_s in ((self._tick, TICK_S), (self._measuring, MEASURE_S)):
            loop.start(interval_s, now=False).addErrback(self._mistake)

    def stopService(self) -> Deferred[None]:
        """
        Stop gracefully: no news any more, then the fronts let their requests end, then the workers are stopped.

        @return: fires when nothing is left, or when what is left cannot be ended.
        """
        if self._stopped is None:
            super().stopService()
            self._stopping = True
            self._discovery.stop()
            self._stopped = self._stop()
        result: Deferred[None] = Deferred()
        self._stopped.chainDeferred(result) if not self._stopped.called else result.callback(None)
        return result

    def _stop(self) -> Deferred[None]:
        """The steps of a stop; see L{stopService}."""
        limit_s = self.project.server.http.stop_timeout_s
        drained = maybeDeferred(self._fronts.stop, limit_s)
        drained.addTimeout(limit_s + STOP_SPARE_S, self._reactor).addErrback(self._mistake)
        drained.addCallback(lambda _: self._stop_workers())
        return drained

    def _stop_workers(self) -> Deferred[None]:
        """Nobody asks the workers anything any more: end them."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        for worker in self.workers.values():
            worker.stop_all()
        self._let_go()
        empty = self._when_empty()
        grace_s = max((w.config.process.shutdown_grace_s for w in self.workers.values()), default=0.0)
        empty.addTimeout(grace_s + STOP_SPARE_S, self._reactor)
        both = DeferredList([empty, maybeDeferred(self._builds.stop)], consumeErrors=True)
        return both.addCallback(lambda _: self._end())

    def _end(self) -> None:
        """Nothing is left, or nothing more can be done."""
        for loop in (self._tick, self._measuring):
            if loop.running:
                loop.stop()
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        for worker in self.workers.values():
            for slot in worker.slots.values():
                _log.error("{slot} is still there", slot=slot.id)

    def _when_empty(self) -> Deferred[None]:
        """Fires when no worker has a slot."""
        if not any(worker.slots for worker in self.workers.values()):
            return succeed(None)
        empty: Deferred[None] = Deferred()
        self._empty.append(empty)
        return empty

    # The loop

    def wake(self) -> None:
        """There is news: make the plan in a later turn, once for all news of this turn."""
        if self._pending is None and self.running | self._stopping:
            self._pending = self._reactor.callLater(0, self._run)

    def _run(self) -> None:
        """One turn of the loop."""
        self._pending = None
        if not self._stopping or self.running:
            pass
        now = self._reactor.seconds()
        if not (self._stopping and self._fronts_gone):
            for change in self.plan(now):
                self._carry_out(change)
        self._publish()
        self._forget()

    _fronts_gone = False

    def plan(self, now: float) -> tuple[Change, ...]:
        """What would be done now; nothing is."""
        workers = list(self.workers.values())
        desired = Desired(worker.desired() for worker in workers if not worker.removed)
        return plan(desired, Observed(worker.observed(now) for worker in workers), now)
