"""
The supervisor: one loop that any news wakes.

    observe → plan → carry out → publish

What is started here returns as news: a build ends, an instance comes up, a front has drained an endpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from .. import __version__
from ..build import Build, BuildFault
from ..config.model import Project, ServerConfig, WorkerConfig
from ..plane.messages import Routing
from ..plane.status import ServerStatus
from ..process.usage import Usage
from ..watch import IWatcher, Kind
from .audience import Audience
from .changes import Change, RetireSlot, SetCount, StartBuild, StartSlot
from .commands import Commands
from .configuration import Configuration
from .discovery import Discovery, News
from .interfaces import IBuilds, IFronts, ILauncher, IWorkerLogs
from .plan import Desired, Observed, plan
from .routing import routing
from .survey import broken_status, worker_status
from .worker import Surroundings, Worker

TICK_S = 1.0
"""How often the plan is made without any news, for what only time brings: age, idleness."""

MEASURE_S = 5.0
"""How often the memory of instances is measured."""

STOP_SPARE_S = 10.0
"""
Beyond the longest grace, how long a stop waits for the last process. A killed process that is still there after that
hangs in the kernel, and the server must not hang with it.
"""

Measure = Callable[[list[int]], Deferred[dict[int, Usage]]]
"""Measures process groups, by the ids of their leaders, without blocking."""

_log = Logger("tqserver.supervisor")


class Life(Enum):
    """Where the supervisor stands."""

    NEW = "new"
    RUNNING = "running"
    DRAINING = "draining"
    """The fronts let their requests end; workers are looked after as ever, but nothing new is begun."""
    ENDING = "ending"
    """There are no fronts; the workers are being stopped."""
    ENDED = "ended"


class Supervisor(Service):
    """
    The control plane.

    @ivar configuration: what it goes by.
    @ivar workers: by name; one that was removed stays until nothing of it is left.
    @ivar commands: what an operator can ask.
    @ivar audience: who is told what happens.
    @ivar routing: what was published last.
    @ivar life: where it stands itself.
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
        secret: bytes = b"",
    ) -> None:
        """
        @param project: the configuration to begin with.
        @param load: reads it again; raises L{ConfigFault}.
        @param chance: gives random numbers from [0, 1).
        @param wall_clock: gives seconds since the epoch.
        @param on_server: told each new server configuration, for those who are not told here (launcher, ports, logs).
        @param secret: what all fronts shall know and nobody else.
        """
        self.configuration = Configuration(project, load, wall_clock)
        self.workers: dict[str, Worker] = {}
        self.commands = Commands(self.workers)
        self.audience = Audience()
        self.routing = Routing(version=0)
        self.life = Life.NEW
        self._reactor = reactor
        self._builds = builds
        self._fronts = fronts
        self._measure = measure
        self._secret = secret
        self._on_server = on_server
        self._started_at = reactor.seconds()
        self._pending: IDelayedCall | None = None
        self._leaving: list[tuple[Callable[[], Deferred[None]], Deferred[None]]] = []
        self._empty: list[Deferred[None]] = []
        self._stopped: list[Deferred[None]] = []
        self._discovery = Discovery(watcher, self._take_news)
        self._around = Surroundings(
            clock=reactor,
            wall_clock=wall_clock,
            chance=chance,
            launcher=launcher,
            logs=logs,
            leave_routing=self._leave_routing,
            stop_giving=self._stop_giving,
            load=fronts.load,
            wake=self.wake,
        )
        self._launcher = launcher
        self._logs = logs
        self._tick = LoopingCall(self.wake)
        self._measuring = LoopingCall(self._measure_all)
        self._tick.clock = self._measuring.clock = reactor

    @property
    def project(self) -> Project:
        """The configuration in force."""
        return self.configuration.project

    # Life

    def startService(self) -> None:
        """Begin: build, start and route to everything that is configured."""
        super().startService()  # type: ignore[no-untyped-call]
        self.life = Life.RUNNING
        self._fronts.on_wanted(self._take_wanted)
        self._fronts.on_load(self.wake)
        self._apply()
        for loop, interval_s in ((self._tick, TICK_S), (self._measuring, MEASURE_S)):
            loop.start(interval_s, now=False).addErrback(self._mistake)

    def stopService(self) -> Deferred[None]:
        """
        Stop gracefully: no news any more, then the fronts let their requests end, then the workers are stopped.

        @return: fires when nothing is left, or when what is left cannot be ended.
        """
        if self.life is Life.ENDED:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        if self.life is Life.NEW:
            self._end(None)
        elif self.life is Life.RUNNING:
            super().stopService()  # type: ignore[no-untyped-call]
            self.life = Life.DRAINING
            self._discovery.stop()
            self._stop()
        return stopped

    def _stop(self) -> None:
        """The steps of a stop; see L{stopService}."""
        for worker in self.workers.values():
            worker.hush()
        limit_s = self.project.server.http.stop_timeout_s + STOP_SPARE_S
        fronts = maybeDeferred(self._fronts.stop, self.project.server.http.stop_timeout_s)
        self._bound(fronts, limit_s, "the fronts")
        fronts.addCallback(self._stop_workers).addErrback(self._mistake).addCallback(self._end)

    def _stop_workers(self, _: object) -> Deferred[None]:
        """Nobody asks the workers anything any more: end them, and the builds."""
        self.life = Life.ENDING
        for worker in self.workers.values():
            worker.stop_all()
        graces = [
            slot.instance.grace_s
            for worker in self.workers.values()
            for slot in worker.slots.values()
            if slot.instance is not None
        ]
        empty = self._when_empty()
        self._bound(empty, max(graces, default=0.0) + STOP_SPARE_S, "the workers")
        builds = maybeDeferred(self._builds.stop)
        self._bound(builds, STOP_SPARE_S, "the builds")
        return gatherResults([empty, builds]).addCallback(lambda _: None)

    def _bound(self, ending: Deferred[None], limit_s: float, what: str) -> None:
        """Wait for an end, but not for ever; in either case the stop goes on."""

        def failed(failure: Failure) -> None:
            if isinstance(failure.value, TimeoutError):
                _log.error("{what} did not end within {limit_s:g} s", what=what, limit_s=limit_s)
            else:
                self._mistake(failure)

        ending.addTimeout(limit_s, self._reactor).addErrback(failed)

    def _end(self, _: object) -> None:
        """Nothing is left, or nothing more can be done."""
        self.life = Life.ENDED
        for loop in (self._tick, self._measuring):
            if loop.running:
                loop.stop()
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        for worker in self.workers.values():
            for slot in worker.slots.values():
                _log.error("{slot} is still there after the stop", slot=slot.id)
        waiting, self._stopped = self._stopped, []
        for stopped in waiting:
            stopped.callback(None)

    def _when_empty(self) -> Deferred[None]:
        """Fires when no worker has a slot."""
        empty: Deferred[None] = Deferred()
        self._empty.append(empty)
        self.wake()
        return empty

    # The loop

    def wake(self) -> None:
        """There is news: make the plan in a later turn, once for all news of this turn."""
        if self._pending is None and self.life not in (Life.NEW, Life.ENDED):
            self._pending = self._reactor.callLater(0, self._run)

    def plan(self, now: float) -> tuple[Change, ...]:
        """What is to be done now; nothing is done."""
        workers = list(self.workers.values())
        desired = Desired(tuple(worker.desired() for worker in workers if not worker.removed))
        return plan(desired, Observed(tuple(worker.observed(now) for worker in workers)), now)

    def _run(self) -> None:
        """One turn of the loop."""
        self._pending = None
        if self.life is not Life.ENDING:
            for change in self.plan(self._reactor.seconds()):
                self._carry_out(change)
        self._publish()
        self._forget()
        self.audience.tell_status(self.status)

    def _carry_out(self, change: Change) -> None:
        """Take one step."""
        if isinstance(change, StartBuild):
            self._build(self.workers[change.worker], change.source)
        elif isinstance(change, SetCount):
            self.workers[change.worker].set_count(change.count)
        elif isinstance(change, StartSlot):
            self.workers[change.generation.worker].start_slot(change.generation)
        elif isinstance(change, RetireSlot):
            self._owner(change.slot).retire_slot(change.slot, change.reason)
        else:
            self._owner(change.slot).stop_slot(change.slot)

    def _owner(self, slot: str) -> Worker:
        """The worker of a slot."""
        return self.workers[slot.rpartition("#")[0]]

    def _publish(self) -> None:
        """Hand the fronts the picture if it has changed, and then ask for what has left it."""
        pictures = {name: worker.picture() for name, worker in self.workers.items() if not worker.removed}
        new = routing(self.routing.version, self.project, pictures, self._secret)
        if new != self.routing and self.life is not Life.ENDING:
            self.routing = msgspec.structs.replace(new, version=new.version + 1)
            self._fronts.publish(self.routing)
        leaving, self._leaving = self._leaving, []
        for ask, left in leaving:
            if not left.called:
                self._ask_fronts(ask, left)

    def _leave_routing(self, endpoint: str) -> Deferred[None]:
        """Fires when no front holds an endpoint any more."""
        return self._once_published(lambda: self._fronts.when_drained(endpoint))

    def _stop_giving(self, endpoint: str) -> Deferred[None]:
        """Fires when no front gives an endpoint anything new."""
        return self._once_published(lambda: self._fronts.when_applied(self.routing.version))

    def _once_published(self, ask: Callable[[], Deferred[None]]) -> Deferred[None]:
        """The answer to a question that is asked after the next publication, which takes an endpoint away."""
        left: Deferred[None] = Deferred()
        self._leaving.append((ask, left))
        self.wake()
        return left

    def _ask_fronts(self, ask: Callable[[], Deferred[None]], left: Deferred[None]) -> None:
        """Pass the answer of the fronts on, unless nobody waits for it any more."""
        answer = maybeDeferred(ask).addErrback(self._mistake)
        answer.addCallback(lambda _: None if left.called else left.callback(None))

    def _forget(self) -> None:
        """Let go of workers of which nothing is left, and of what is kept for those that are off."""
        for name, worker in self.workers.items():
            if worker.off and not worker.slots:
                self._launcher.forget(name)
        for name in [name for name, worker in self.workers.items() if worker.removed and not worker.slots]:
            del self.workers[name]
            self._logs.forget(name)
            self._builds.forget(name)
        if not any(worker.slots for worker in self.workers.values()):
            waiting, self._empty = self._empty, []
            for empty in waiting:
                if not empty.called:
                    empty.callback(None)

    def _build(self, worker: Worker, source: int) -> None:
        """Build a worker; how it went returns as news."""
        if self.life is not Life.RUNNING:
            return
        config = worker.build_started(source)

        def failed(failure: Failure) -> None:
            if isinstance(failure.value, BuildFault):
                worker.build_failed(source, failure.value)
            else:
                self._mistake(failure)
                worker.build_failed(source, BuildFault(f"the build broke: {failure.value}"))

        def ended(build: Build) -> None:
            worker.build_ended(source, config, build)

        maybeDeferred(self._builds.build, config).addCallbacks(ended, failed).addErrback(self._mistake)

    def _mistake(self, failure: Failure) -> None:
        """Something went wrong that nobody is responsible for: say so, and go on."""
        _log.failure("in the supervisor", failure)

    # News

    def _take_news(self, news: News) -> None:
        """Files have changed."""
        if self.life is not Life.RUNNING:
            return
        _log.debug("{worker}: {kind}: {paths}", worker=news.worker, kind=news.kind.value, paths=news.paths)
        worker = self.workers.get(news.worker)
        read_once = news.kind is Kind.PAGE and not self.project.server.development
        if (news.kind in (Kind.SOURCE, Kind.SETTINGS) or read_once) and worker is not None:
            worker.ask_build()
        elif news.kind is Kind.CONFIG:
            self.reload_config()
            worker = self.workers.get(news.worker)
            if worker is not None and worker.config.directory in news.paths:
                worker.ask_build()  # the watcher has lost sight of what changed
        self.audience.tell_news(news)

    def _take_wanted(self, name: str, waiting: int, oldest_s: float) -> None:
        """Requests wait for a worker."""
        worker = self.workers.get(name)
        if worker is not None:
            worker.wanted(waiting, oldest_s)
            self.wake()

    def _measure_all(self) -> None:
        """Measure the memory of all instances, beside the reactor."""
        instances = {
            slot.instance.launched.process.pid: slot.instance
            for worker in self.workers.values()
            for slot in worker.slots.values()
            if slot.instance is not None and slot.instance.launched is not None
        }

        def measured(usages: dict[int, Usage]) -> None:
            for pid, usage in usages.items():
                instances[pid].memory_bytes = usage.memory_bytes
            self.wake()

        if instances:
            maybeDeferred(self._measure, list(instances)).addCallback(measured).addErrback(self._mistake)

    # Configuration

    def reload(self) -> None:
        """
        HUP: read all configuration again, rebuild and swap whatever has changed, and try again what was given up.
        """
        if self.life is not Life.RUNNING:
            return
        _log.info("looking for what has changed")
        self.reload_config()
        for worker in self.workers.values():
            worker.ask_build()
            worker.release()

    def reload_config(self) -> bool:
        """
        Read all configuration again, and go by it if it can be used.

        @return: whether it could.
        """
        changed = self.configuration.read()
        if changed:
            self._apply()
        return changed is not None

    def _apply(self) -> None:
        """Go by the configuration from now on. Only what changed is touched."""
        project = self.project
        _log.info("{count} workers are configured", count=len(project.workers))
        self._on_server(project.server)
        self._builds.reconfigure(project.server)
        configured = {worker.name: worker for worker in project.workers}
        for name, worker in self.workers.items():
            if name not in configured:
                worker.remove()
        for name, config in configured.items():
            self._configure(name, config)
        for broken in project.broken:
            _log.error("{problems}", problems="\n".join(str(problem) for problem in broken.problems))
            if broken.name in self.workers:
                self.workers[broken.name].problems = tuple(str(problem) for problem in broken.problems)
        self._discovery.follow(project)
        self.wake()

    def _configure(self, name: str, config: WorkerConfig) -> None:
        """Go by a worker's configuration."""
        worker = self.workers.get(name)
        if worker is None:
            self.workers[name] = Worker(config=config, server=self.project.server, around=self._around)
        else:
            worker.reconfigure(config, self.project.server)

    # Status

    def artefacts_in_use(self, name: str) -> frozenset[str]:
        """What of a worker's builds must not be removed; for L{tqserver.build.Builds}, on any thread."""
        worker = self.workers.get(name)
        return worker.artefacts_in_use() if worker is not None else frozenset()

    def status(self) -> ServerStatus:
        """Everything, as outsiders see it."""
        load = self._fronts.load()
        shown = [worker_status(worker, self._discovery.watched(name)) for name, worker in self.workers.items()]
        shown += [
            broken_status(broken.name, tuple(str(problem) for problem in broken.problems), broken.directory)
            for broken in self.project.broken
            if broken.name not in self.workers
        ]
        return ServerStatus(
            version=__version__,
            mode=self.project.server.mode,
            pid=os.getpid(),
            uptime_s=self._reactor.seconds() - self._started_at,
            stopping=self.life is not Life.RUNNING,
            routing_version=self.routing.version,
            config=self.configuration.status(),
            fronts=load.fronts,
            workers=tuple(sorted(shown, key=lambda worker: worker.name)),
        )
