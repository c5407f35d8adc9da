"""
All builds of a server: which worker is built, which waits, and what came of it.

A build is a coroutine with a L{_Work} of its own, by which it can be ended at any point. Only when nothing
of it runs any more, neither a tool nor a thread, does the next build of the same worker begin to touch
files, so that two never write into one folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeVar

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..config.model import ServerConfig, WorkerConfig, WorkerType
from ..process.interfaces import ISpawner
from ..watch.ignore import Ignore
from ..watch.kinds import source_patterns
from .bun import BunBuilder
from .command import CommandBuilder, NothingBuilder
from .fingerprint import Fingerprints, digest_of
from .go import GoBuilder
from .lanes import Lanes
from .model import Build, BuildFault, BuildState, Sources, StateName
from .php import PHPBuilder
from .python import PythonBuilder
from .recipe import IBuilder, Job, Recipe, Step
from .run import ToolRun
from .tail import Tail
from .tools import Tools, tool_environment

log = Logger()

_T = TypeVar("_T")

BUILDERS: dict[WorkerType, Callable[[], IBuilder]] = {
    "go": GoBuilder,
    "bun": BunBuilder,
    "php": PHPBuilder,
    "python": PythonBuilder,
    "command": CommandBuilder,
    "static": NothingBuilder,
    "queue": NothingBuilder,
}


class InThread(Protocol):
    """Runs a function that blocks elsewhere than in the reactor's thread."""

    def __call__(self, function: Callable[[], _T]) -> Deferred[_T]:
        """Fires with what the function returns."""


class IBuildingReactor(IReactorTime, IReactorThreads):
    """What builds need of a reactor."""


class _Work:
    """What runs for one build, and how it is ended."""

    def __init__(self) -> None:
        self._running = 0
        self._idle: list[Deferred[None]] = []

    def wait(self, deferred: Deferred[_T], end: Callable[[], None] | None = None) -> Deferred[_T]:
        """
        A Deferred for the result of something that can be left alone, but goes on until C{deferred} fires.

        @param end: called when nobody waits any more; should make C{deferred} fire soon.
        """
        self._running += 1
        outer: Deferred[_T] = Deferred(lambda _: end() if end is not None else None)

        def done(result: _T | Failure) -> None:
            if not outer.called:
                outer.callback(result)
            elif isinstance(result, Failure) and not isinstance(result.value, (BuildFault, CancelledError)):
                log.failure("A build that nobody waits for failed", result)
            self._running -= 1
            self._check()

        deferred.addBoth(done)
        return outer

    def when_idle(self) -> Deferred[None]:
        """Fires when nothing runs any more."""
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        self._check()
        return idle

    def _check(self) -> None:
        """Tell who waits for the end."""
        if self._running == 0:
            idle, self._idle = self._idle, []
            for deferred in idle:
                deferred.callback(None)


@define(eq=False)
class _Attempt:
    """
    One call of L{Builds.build}.

    @ivar before: what still runs of the one before.
    @ivar result: what the caller was given.
    @ivar coroutine: the attempt itself.
    """

    worker: WorkerConfig
    ignore: Ignore
    before: _Work | None
    began_s: float
    result: Deferred[Build]
    work: _Work = field(factory=_Work)
    tail: Tail = field(factory=Tail)
    coroutine: Deferred[Build] | None = None
    waited_s: float = 0.0


@define(eq=False)
class _Place:
    """
    All that is known of one worker.

    @ivar attempt: the latest, if it has not ended.
    @ivar work: the latest attempt's.
    @ivar good: the latest good build.
    """

    attempt: _Attempt | None = None
    work: _Work | None = None
    good: Build | None = None
    state: BuildState = field(factory=BuildState)


class Builds:
    """Builds workers."""

    def __init__(
        self,
        reactor: IBuildingReactor,
        spawner: ISpawner,
        server: ServerConfig,
        *,
        environ: Mapping[str, str] | None = None,
        in_thread: InThread | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        in_use: Callable[[str], Collection[str]] = lambda name: (),
        builders: Mapping[WorkerType, IBuilder] | None = None,
    ) -> None:
        """
        @param environ: the server's environment; L{None}: that of this process.
        @param in_thread: how blocking functions are run; L{None}: in the reactor's thread pool.
        @param wall_ns: nanoseconds since the epoch.
        @param in_use: asked, in a thread, with a worker's name for the L{artefacts<Build.artefact>} that
            instances run from; those are not removed. The latest three never are.
        @param builders: who builds which type; L{None}: those of this package.
        """
        self._reactor = reactor
        self._spawner = spawner
        self._server = server
        self._environ = dict(os.environ if environ is None else environ)
        self._in_thread = in_thread if in_thread is not None else self._in_pool
        self._wall_ns = wall_ns
        self._in_use = in_use
        self._builders = builders if builders is not None else {type: make() for type, make in BUILDERS.items()}
        self._fingerprints = Fingerprints(wall_ns)
        self._lanes = Lanes(server.workers.build_parallel)
        self._places: dict[str, _Place] = {}
        self._leaving: dict[str, _Work] = {}
        """What still runs for workers that are no more, but may come again."""

    def build(self, worker: WorkerConfig, ignore: Ignore | None = None) -> Deferred[Build]:
        """
        Build a worker, or find that there is nothing to do. An earlier build of the same worker that has
        not ended is superseded.

        @param ignore: files that do not count; L{None}: as the configuration of the server and of the
            worker say.
        @return: fires with a L{Build}, or fails with a L{BuildFault}. Cancelling it ends the build, which
            then fails as superseded.
        """
        if ignore is None:
            ignore = Ignore((*self._server.watch.ignore, *source_patterns(worker)))
        place = self._places.get(worker.name)
        if place is None:
            place = self._places[worker.name] = _Place(work=self._leaving.pop(worker.name, None))
        self._end(place, "a newer build took its place")
        attempt = _Attempt(
            worker=worker,
            ignore=ignore,
            before=place.work,
            began_s=self._reactor.seconds(),
            result=Deferred(lambda _: self._end(place, "it is not wanted any more", attempt)),
        )
        place.attempt, place.work = attempt, attempt.work
        place.state = evolve(place.state, state="queued")
        attempt.coroutine = Deferred.fromCoroutine(self._build(place, attempt))
        attempt.coroutine.addCallbacks(
            self._succeeded,
            self._failed,
            callbackArgs=(place, attempt),
            errbackArgs=(place, attempt),
        )
        attempt.coroutine.addErrback(lambda failure: log.failure("A build's end failed", failure))
        return attempt.result

    def states(self) -> dict[str, BuildState]:
        """The latest build of each worker by name."""
        now = self._reactor.seconds()
        states = {}
        for name, place in self._places.items():
            state = place.state
            if place.attempt is not None and state.state == "building":
                state = evolve(state, seconds=now - place.attempt.began_s - place.attempt.waited_s)
            states[name] = state
        return states

    def reconfigure(self, server: ServerConfig) -> None:
        """Go by a new server configuration. What runs is not touched."""
        self._server = server
        self._lanes.limit = server.workers.build_parallel

    def forget(self, name: str) -> None:
        """
        A worker is no more: its build is ended, and it has no state any longer. What was built stays on
        disk.
        """
        place = self._places.pop(name, None)
        if place is not None:
            self._end(place, "the worker is no more")
            if place.work is not None:
                self._leave(name, place.work)
        self._fingerprints.forget(name)

    def stop(self) -> Deferred[None]:
        """End all builds. Fires when nothing of them runs any more."""
        works = list(self._leaving.values())
        for place in list(self._places.values()):
            self._end(place, "the server stops")
            if place.work is not None:
                works.append(place.work)
        return DeferredList([work.when_idle() for work in works]).addCallback(lambda _: None)

    def _leave(self, name: str, work: _Work) -> None:
        """Remember what runs for a worker that is no more until it ends."""
        self._leaving[name] = work

        def left(result: None) -> None:
            if self._leaving.get(name) is work:
                del self._leaving[name]

        work.when_idle().addCallback(left)

    # One build.

    async def _build(self, place: _Place, attempt: _Attempt) -> Build:
        """From the sources to a build."""
        worker, work = attempt.worker, attempt.work
        builder = self._builders[worker.type]
        if attempt.before is not None:
            await work.wait(attempt.before.when_idle())
            # What it had to wait for was the end of another build, which is not its own time.
            attempt.waited_s = self._reactor.seconds() - attempt.began_s
            attempt.before = None
        job, recipe = await work.wait(self._in_thread(lambda: self._prepare(place, attempt, builder)))
        if recipe.steps:
            await self._run(place, attempt, builder, recipe)
        elif recipe.finish is not None:
            await work.wait(self._in_thread(recipe.finish))
        return Build(
            worker=worker.name,
            fingerprint=digest_of(recipe.key, job.sources.settings),
            argv=recipe.argv,
            directory=recipe.directory,
            environment=recipe.environment,
            artefact=recipe.artefact,
            seconds=self._reactor.seconds() - attempt.began_s - attempt.waited_s,
            output=attempt.tail.lines(),
            at=self._wall_ns() / 1e9,
            reused=not recipe.steps,
            key=recipe.key,
        )

    def _prepare(self, place: _Place, attempt: _Attempt, builder: IBuilder) -> tuple[Job, Recipe]:
        """Look at the sources and decide what is to be done. Blocks."""
        worker, server = attempt.worker, self._server
        began_s = self._wall_ns() / 1e9
        sources: Sources = self._fingerprints.take(
            worker, attempt.ignore, builder.beyond(worker, server), pages=not server.development
        )
        if not sources.exact:
            log.warn(
                "{worker} has so many or so large files that only their sizes and times are looked at; "
                "should a folder be in file_watcher.ignore?",
                worker=worker.name,
            )
        job = Job(
            worker=worker,
            server=server,
            sources=sources,
            tools=Tools.of(self._environ, server.project),
            environment=tool_environment(self._environ, server.var),
            previous_key=place.good.key if place.good is not None else "",
            in_use=frozenset(self._in_use(worker.name)),
            began_s=began_s,
        )
        return job, builder.recipe(job)

    async def _run(self, place: _Place, attempt: _Attempt, builder: IBuilder, recipe: Recipe) -> None:
        """Run the tools, once there is a place among the builds at once."""
        work = attempt.work
        queued_s = self._reactor.seconds()
        await self._lanes.acquire()
        try:
            started_s = self._reactor.seconds()
            attempt.waited_s += started_s - queued_s
            place.state = evolve(place.state, state="building")
            deadline_s = started_s + self._server.workers.build_timeout_s
            for step in recipe.steps:
                await self._step(attempt, builder, step, deadline_s)
            if recipe.finish is not None:
                await work.wait(self._in_thread(recipe.finish))
        finally:
            # The place is given back when nothing runs any more, which may be later than now.
            work.when_idle().addCallback(lambda _: self._lanes.release())

    async def _step(self, attempt: _Attempt, builder: IBuilder, step: Step, deadline_s: float) -> None:
        """Run one tool."""
        run = ToolRun(self._reactor, step, attempt.tail)
        timeout_s = max(0.0, deadline_s - self._reactor.seconds())
        try:
            await attempt.work.wait(run.start(self._spawner, timeout_s), run.end)
        except BuildFault as fault:
            if not fault.remedy:
                fault.remedy = builder.explain(fault.output)
            raise

    # Ends.

    def _end(self, place: _Place, reason: str, only: _Attempt | None = None) -> None:
        """End the latest attempt, if it has not ended (and, if C{only} is given, if it is that one)."""
        attempt = place.attempt
        if attempt is None or (only is not None and attempt is not only):
            return
        place.attempt = None
        place.state = evolve(place.state, state=_settled(place))
        if attempt.coroutine is not None:
            attempt.coroutine.cancel()
        if not attempt.result.called:
            attempt.result.errback(BuildFault(reason, kind="superseded"))

    def _succeeded(self, build: Build, place: _Place, attempt: _Attempt) -> None:
        """An attempt ended well."""
        if place.attempt is not attempt:
            return
        place.attempt = None
        output = build.output
        if build.reused and place.good is not None and place.good.key == build.key:
            # What the tools said when they last ran for this is still worth knowing.
            output = place.good.output
        place.good = evolve(build, output=output)
        place.state = BuildState(
            state="ok",
            seconds=build.seconds,
            output=output,
            at=build.at,
            fingerprint=build.fingerprint,
            path=build.artefact,
        )
        attempt.result.callback(place.good)

    def _failed(self, failure: Failure, place: _Place, attempt: _Attempt) -> None:
        """An attempt ended, but not well."""
        if place.attempt is not attempt:
            if not isinstance(failure.value, (CancelledError, BuildFault)):
                log.failure("A build that nobody waits for failed", failure)
            return
        place.attempt = None
        fault = self._fault(failure, attempt)
        place.state = evolve(
            place.state,
            state="failed",
            seconds=self._reactor.seconds() - attempt.began_s - attempt.waited_s,
            output=fault.output,
            at=self._wall_ns() / 1e9,
            reason=fault.reason,
            remedy=fault.remedy,
        )
        attempt.result.errback(fault)

    def _fault(self, failure: Failure, attempt: _Attempt) -> BuildFault:
        """Any failure as one that can be told."""
        error = failure.value
        if isinstance(error, BuildFault):
            return error
        if isinstance(error, OSError):
            return BuildFault(str(error), attempt.tail.lines())
        log.failure("Building {worker} met a mistake of our own", failure, worker=attempt.worker.name)
        return BuildFault("by a mistake of the server", attempt.tail.lines(), "see its log")

    def _in_pool(self, function: Callable[[], _T]) -> Deferred[_T]:
        """Run a blocking function in the reactor's thread pool."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)


def _settled(place: _Place) -> StateName:
    """The state of a worker without the attempt that was just ended."""
    if place.state.reason:
        return "failed"
    return "ok" if place.good is not None else "idle"
