"""A supervisor with everything around it faked, on a fake clock, and one log of all that happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from tqserver.build import Build, BuildFault, FaultKind
from tqserver.config.model import (
    HealthConfig,
    HTTPConfig,
    PoolConfig,
    ProcessConfig,
    Project,
    RestartConfig,
    RouteConfig,
    ServerConfig,
    WatchConfig,
    WorkerConfig,
)
from tqserver.plane.messages import Routing, WorkerRouting
from tqserver.process.interfaces import IProbe, Stream
from tqserver.process.ports import PortPool
from tqserver.process.spec import Address
from tqserver.process.usage import Usage
from tqserver.supervisor.interfaces import EndpointTotals, FrontLoad, IBuilds, IFronts, IWorkerLogs, WorkerTotals
from tqserver.supervisor.launch import Launcher
from tqserver.supervisor.service import Supervisor
from tqserver.supervisor.worker import Worker
from tqserver.testing import FakePorts, FakeProbe, FakeProcess, FakeSpawner
from tqserver.watch.interfaces import IWatcher, Report, Tree

TURNS_MAX = 1000
"""Turns of the reactor without a pause, before a test calls it a loop that never rests."""

Event = tuple[str, str]


def worker_config(name: str = "api", **changes: object) -> WorkerConfig:
    """A worker of a type that needs nothing special."""
    config = WorkerConfig(
        name=name,
        directory=f"/project/workers/{name}",
        file=f"/project/workers/{name}/config/worker.yaml",
        routes=(RouteConfig(prefix=f"/{name}"),),
        type="command",
        run=("./run", "{port}"),
        health=HealthConfig(interval_s=5.0, timeout_s=0.5, failures=2),
        restart=RestartConfig(backoff_initial_s=0.1, backoff_max_s=1.0, window_s=60.0, deaths_max=3),
        process=ProcessConfig(shutdown_grace_s=0.5),
    )
    return evolve(config, **changes)


def server_config(**changes: object) -> ServerConfig:
    """A server with a small pool of ports."""
    server = ServerConfig(
        file="/project/etc/server.yaml",
        project="/project",
        http=HTTPConfig(stop_timeout_s=5.0),
        workers=PoolConfig(
            directory="/project/workers",
            port_first=9000,
            port_last=9019,
            restart_delay_s=0.1,
            drain_timeout_s=30.0,
            ready_timeout_s=5.0,
        ),
        watch=WatchConfig(enabled=True),
        metrics_enabled=False,
        dashboard=False,
    )
    return evolve(server, **changes)


@implementer(IBuilds)
class FakeBuilds:
    """
    Builds that end when the test says so.

    @ivar waiting: those that run, by worker.
    @ivar started: names of workers, one for each build that was asked for.
    """

    def __init__(self, clock: Clock, log: list[Event]) -> None:
        self.waiting: dict[str, Deferred[Build]] = {}
        self.started: list[str] = []
        self.servers: list[ServerConfig] = []
        self._configs: dict[str, WorkerConfig] = {}
        self._clock = clock
        self._log = log

    def build(self, worker: WorkerConfig) -> Deferred[Build]:
        """See L{IBuilds}."""
        older = self.waiting.pop(worker.name, None)
        self.started.append(worker.name)
        result: Deferred[Build] = Deferred()
        self.waiting[worker.name] = result
        self._configs[worker.name] = worker
        self._log.append(("build", worker.name))
        if older is not None:
            older.errback(BuildFault("superseded", kind="superseded"))
        return result

    def done(self, name: str, fingerprint: str) -> None:
        """A build ends well."""
        config = self._configs[name]
        build = Build(
            worker=name,
            fingerprint=fingerprint,
            argv=config.run,
            directory=config.directory,
            environment=(),
            artefact="",
            seconds=0.1,
            output=(),
            at=self._clock.seconds(),
            reused=False,
        )
        self.waiting.pop(name).callback(build)

    def fail(self, name: str, reason: str = "syntax error", kind: FaultKind = "failed") -> None:
        """A build ends badly."""
        self.waiting.pop(name).errback(
            BuildFault(reason, output=("main.go:3: syntax error",), remedy="mend it", kind=kind)
        )

    def reconfigure(self, server: ServerConfig) -> None:
        """See L{IBuilds}."""
        self.servers.append(server)

    def forget(self, name: str) -> None:
        """See L{IBuilds}."""
        waiting = self.waiting.pop(name, None)
        if waiting is not None:
            waiting.errback(BuildFault("forgotten", kind="superseded"))

    def stop(self) -> Deferred[None]:
        """See L{IBuilds}."""
        waiting, self.waiting = self.waiting, {}
        for build in waiting.values():
            build.errback(BuildFault("stopped", kind="superseded"))
        return succeed(None)


@implementer(IFronts)
class FakeFronts:
    """
    Fronts that do at once what they are told, but drain when the test says so.

    @ivar routing: what was published last.
    @ivar held: endpoints that the fronts were ever given and have not drained.
    @ivar busy: endpoints that do not drain before the test says so.
    """

    def __init__(self, log: list[Event]) -> None:
        self.routing = Routing(version=0)
        self.published: list[Routing] = []
        self.held: set[str] = set()
        self.busy: set[str] = set()
        self.asked: dict[str, list[Deferred[None]]] = {}
        self.stopping: Deferred[None] | None = None
        self.stop_at_once = True
        self._load = FrontLoad()
        self._wanted: list[Callable[[str, int, float], None]] = []
        self._loaded: list[Callable[[], None]] = []
        self._log = log

    @property
    def endpoints(self) -> dict[str, int]:
        """Port by id of all endpoints in the routing."""
        return {one.id: one.port for worker in self.routing.workers for one in worker.endpoints}

    def worker(self, name: str) -> WorkerRouting:
        """One worker of the routing."""
        return next(worker for worker in self.routing.workers if worker.name == name)

    def publish(self, routing: Routing) -> None:
        """See L{IFronts}."""
        assert routing.version > self.routing.version, "versions only grow"
        self.routing = routing
        self.published.append(routing)
        self.held |= set(self.endpoints)
        self._log.append(("publish", ",".join(self.endpoints)))

    def when_drained(self, endpoint_id: str) -> Deferred[None]:
        """See L{IFronts}."""
        assert endpoint_id not in self.endpoints, "asked before it was taken away"
        if endpoint_id not in self.held:
            return succeed(None)
        if endpoint_id not in self.busy:
            self.held.discard(endpoint_id)
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self.asked.setdefault(endpoint_id, []).append(drained)
        return drained

    def drain(self, endpoint_id: str) -> None:
        """The last exchange on an endpoint ends."""
        self.busy.discard(endpoint_id)
        self.held.discard(endpoint_id)
        self._log.append(("drained", endpoint_id))
        for drained in self.asked.pop(endpoint_id, []):
            drained.callback(None)

    def when_applied(self, version: int) -> Deferred[None]:
        """See L{IFronts}."""
        return succeed(None)

    def stop(self, timeout_s: float) -> Deferred[None]:
        """See L{IFronts}."""
        self._log.append(("fronts", "stop"))
        self.stopping = Deferred()
        if self.stop_at_once:
            self.gone()
        return self.stopping

    def gone(self) -> None:
        """The last front has ended."""
        assert self.stopping is not None
        self._log.append(("fronts", "gone"))
        self.routing = Routing(version=self.routing.version)
        for endpoint in list(self.held):
            self.drain(endpoint)
        self.stopping.callback(None)

    def replace(self) -> Deferred[None]:
        """See L{IFronts}."""
        return succeed(None)

    def on_wanted(self, callback: Callable[[str, int, float], None]) -> None:
        """See L{IFronts}."""
        self._wanted.append(callback)

    def on_load(self, callback: Callable[[], None]) -> None:
        """See L{IFronts}."""
        self._loaded.append(callback)

    def load(self) -> FrontLoad:
        """See L{IFronts}."""
        return self._load

    def want(self, name: str, waiting: int = 1, oldest_s: float = 0.0) -> None:
        """Requests wait."""
        for callback in self._wanted:
            callback(name, waiting, oldest_s)

    def tell(
        self, endpoints: dict[str, EndpointTotals] | None = None, workers: dict[str, WorkerTotals] | None = None
    ) -> None:
        """The fronts carry this now."""
        self._load = FrontLoad(
            endpoints={**self._load.endpoints, **(endpoints or {})},
            workers={**self._load.workers, **(workers or {})},
        )
        for callback in self._loaded:
            callback()


@implementer(IWatcher)
class FakeWatcher:
    """A watcher of which the test says what it saw."""

    def __init__(self) -> None:
        self.trees: dict[str, tuple[Tree, Report]] = {}

    def watch(self, tree: Tree, callback: Report) -> None:
        """See L{IWatcher}."""
        self.trees[tree.name] = (tree, callback)

    def unwatch(self, name: str) -> None:
        """See L{IWatcher}."""
        self.trees.pop(name, None)

    def how(self, name: str) -> str:
        """See L{IWatcher}."""
        return "inotify" if name in self.trees else ""

    def stop(self) -> None:
        """See L{IWatcher}."""
        self.trees = {}

    def changed(self, tree: str, *relative: str) -> None:
        """Files of a tree changed."""
        watched, callback = self.trees[tree]
        callback(frozenset(f"{watched.directory}/{path}".rstrip("/") for path in relative))


@implementer(IWorkerLogs)
class FakeLogs:
    """Keeps what workers said."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, bytes]] = []
        self.forgotten: list[str] = []

    def write(self, config: WorkerConfig, instance: str, stream: Stream, lines: Sequence[bytes]) -> None:
        """See L{IWorkerLogs}."""
        self.lines += [(instance, line) for line in lines]

    def forget(self, name: str) -> None:
        """See L{IWorkerLogs}."""
        self.forgotten.append(name)


class World:
    """
    A supervisor and its surroundings.

    @ivar log: what happened, in order.
    @ivar project: what the files on disk say; L{World.load} can be made to fail with C{fault}.
    @ivar memory: resident bytes by process id.
    """

    def __init__(self, *workers: WorkerConfig, server: ServerConfig | None = None) -> None:
        self.log: list[Event] = []
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.spawner = FakeSpawner(self.clock, obeys={"TERM"})
        self.spawner.on_spawn = lambda process: self.log.append(("spawn", str(process.pid)))
        self.bind = FakePorts()
        server = server or server_config()
        self.ports = PortPool(server.workers.port_first, server.workers.port_last, self.clock, self.bind)
        self.probes: dict[str, FakeProbe] = {}
        self.builds = FakeBuilds(self.clock, self.log)
        self.fronts = FakeFronts(self.log)
        self.watcher = FakeWatcher()
        self.logs = FakeLogs()
        self.memory: dict[int, int] = {}
        self.project = Project(server, tuple(workers), ())
        self.fault: Exception | None = None
        self.chance = 0.5
        self.launcher = Launcher(server, self.spawner, self.ports, self._probe, {"PATH": "/bin"}, privileged=False)
        self.supervisor = Supervisor(
            self.clock,
            self.project,
            self.load,
            self.launcher,
            self.builds,
            self.watcher,
            self.fronts,
            self.logs,
            lambda pids: succeed({pid: Usage(memory_bytes=self.memory.get(pid, 0)) for pid in pids}),
            lambda: self.chance,
            self.clock.seconds,
        )

    def load(self) -> Project:
        """Read the files."""
        if self.fault is not None:
            raise self.fault
        return self.project

    def _probe(self, config: WorkerConfig, address: Address) -> IProbe | None:
        """A probe of an address; the one before it at the same address is forgotten."""
        if config.health.type in ("none", "notify"):
            return None
        probe = FakeProbe()
        self.probes[str(address)] = probe
        return probe

    # Short ways of saying what happens.

    def start(self) -> None:
        """The server starts."""
        self.supervisor.startService()
        self.settle()

    def settle(self) -> None:
        """Let the reactor turn until nothing is to be done now."""
        for _ in range(TURNS_MAX):
            if not any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
                return
            self.clock.advance(0)
        raise AssertionError("the supervisor never rests")

    def pass_time(self, seconds: float, answer: str | None = None) -> None:
        """
        Time passes, at most 10 ms at once.

        @param answer: how all checks are answered meanwhile: empty for well; L{None}: not at all.
        """
        end = self.clock.seconds() + seconds
        self.settle()
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(min(0.01, end - self.clock.seconds()))
            self.settle()
            if answer is not None:
                self.answer(answer)

    def leap(self, seconds: float) -> None:
        """Time passes, from one timer to the next."""
        end = self.clock.seconds() + seconds
        self.settle()
        while True:
            due = [call.getTime() for call in self.clock.getDelayedCalls()]
            next_s = min([*due, end])
            self.clock.advance(max(next_s - self.clock.seconds(), 0.0))
            self.settle()
            if next_s >= end:
                return

    def answer(self, reason: str = "") -> None:
        """All probes that wait are answered."""
        for probe in self.probes.values():
            while probe.waiting:
                probe.answer(reason)
        self.settle()

    def come_up(self) -> None:
        """Everything that starts becomes ready."""
        self.pass_time(0.12, answer="")

    def built(self, name: str = "api", fingerprint: str = "f1") -> None:
        """The build of a worker ends well."""
        self.builds.done(name, fingerprint)
        self.settle()

    def up(self, name: str = "api", fingerprint: str = "f1") -> None:
        """From nothing to a worker that serves."""
        self.start()
        self.built(name, fingerprint)
        self.come_up()

    def save(self, name: str = "api", path: str = "main.x") -> None:
        """Somebody saves a file of a worker."""
        self.watcher.changed(f"worker:{name}", path)
        self.settle()

    def configure(self, *workers: WorkerConfig) -> None:
        """Somebody saves configuration files."""
        self.project = evolve(self.project, workers=tuple(workers))
        self.watcher.changed("server", "server.yaml")
        self.settle()

    def worker(self, name: str = "api") -> Worker:
        """What the supervisor knows of a worker."""
        return self.supervisor.workers[name]

    def process(self, index: int = -1) -> FakeProcess:
        """A process, in the order of their start."""
        return self.spawner.processes[index]

    @property
    def serving(self) -> list[str]:
        """Ids of the endpoints that the fronts have."""
        return sorted(self.fronts.endpoints)
