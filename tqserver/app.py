"""
The composition root: the only place that knows all parts of the supervisor process, and puts them together.

A start is: lock, guard, listeners, fronts, supervisor, admin socket. A stop is the same the other way round, and each
step waits for the one before.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.web.server import Site
from zope.interface import classImplements

from .admin.api import Api
from .admin.dashboard import dashboard_site
from .admin.interfaces import IControl
from .admin.log_reading import Logs
from .admin.metrics import Sample, WorkerSample, render
from .admin.site import admin_site, listen_admin, metrics_site
from .build import Builds
from .config.load import load_project
from .config.model import Project, ServerConfig, WorkerConfig
from .control import Control
from .fastcgi.ping import ping
from .logs.files import LogFile
from .logs.workers import WorkerLogs
from .plane.messages import LATENCY_BOUNDS_S
from .process.guard import Guard
from .process.interfaces import IProbe
from .process.lock import REFRESH_S, Locked, ProjectLock
from .process.ports import PortPool
from .process.probes import make_probe
from .process.spawn import Spawner
from .process.spec import Address
from .process.usage import Usage, measure
from .supervisor.fronts import Fronts
from .supervisor.interfaces import IBuilds, IWorkerLogs, WorkerTotals
from .supervisor.launch import Launcher
from .supervisor.listening import Listeners, ListenFault
from .supervisor.routing import DASHBOARD_PREFIX, dashboard_endpoint, metrics_endpoint
from .supervisor.service import Supervisor
from .watch import make_watcher

_log = Logger("tqserver")

SECRET_BYTES = 32
"""What the fronts share is as long as the hash that it is used for."""

# These live on lower floors than the interfaces that they provide.
classImplements(Builds, IBuilds)
classImplements(WorkerLogs, IWorkerLogs)


class Server(Service):
    """The whole of the supervisor process."""

    name = "tqserver"

    def __init__(
        self, reactor: Any, project: Project, config_file: str, mode: str | None, log_file: LogFile | None
    ) -> None:
        """
        @param reactor: a full one: processes, sockets, threads, time.
        @param project: the configuration to begin with.
        @param config_file: where it was read, and is read again.
        @param mode: the mode of the command line, or L{None}.
        @param log_file: the server's own log file, for USR1.
        """
        self._reactor = reactor
        self._project = project
        self._config_file = config_file
        self._mode = mode
        self._log_file = log_file
        self._lock = ProjectLock(f"{project.server.var}/tqserver.lock")
        self._refresh = LoopingCall(self._refresh_lock)
        self._refresh.clock = reactor
        self._guard = Guard(reactor)
        self._logs = WorkerLogs()
        self._sockets: list[IListeningPort] = []
        self._signals = 0

    # Life.

    def privilegedStartService(self) -> None:
        """Take the project and its ports, or end with a message."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._lock.take()
        except (Locked, OSError) as error:
            raise self._refusal(str(error))
        http = self._project.server.http
        try:
            self._listeners = Listeners(http.listen, http.fronts, f"{self._project.server.var}/run/.front/front.sock")
        except ListenFault as fault:
            self._lock.release()
            raise self._refusal(str(fault))

    def _refusal(self, reason: str) -> SystemExit:
        """End before the beginning: told where a person looks, though twistd has taken the usual stderr for its log."""
        if self._log_file is not None:
            self._log_file.write([f"tqserver: {reason}"])
        if sys.__stderr__ is not None:
            print(f"tqserver: {reason}", file=sys.__stderr__)
        return SystemExit(1)

    def startService(self) -> None:
        """Put everything together and begin."""
        super().startService()  # type: ignore[no-untyped-call]
        reactor, project = self._reactor, self._project
        server = project.server
        self._refresh.start(REFRESH_S, now=False)
        self._guard.start()
        spawner = Spawner(reactor, self._guard)
        self._fronts = Fronts(reactor, self._listeners, self._guard, random.random)
        self._fronts.set_drain_timeout(server.http.stop_timeout_s)
        self._fronts.on_said(self._logs.said)
        self._ports = PortPool(server.workers.port_first, server.workers.port_last, clock=reactor)
        self._launcher = Launcher(
            server, spawner, self._ports, self._probe, os.environ, os.geteuid() == 0, self._listeners.private
        )
        os.makedirs(f"{server.var}/spool", mode=0o700, exist_ok=True)
        self._builds = Builds(reactor, spawner, server, in_use=self._artefacts_in_use)
        watcher = make_watcher(reactor, server.watch.debounce_s)
        self.supervisor = Supervisor(
            reactor,
            project,
            self._load,
            self._launcher,
            IBuilds(self._builds),
            watcher,
            self._fronts,
            IWorkerLogs(self._logs),
            self._measure,
            random.random,
            time.time,
            self._reconfigured,
            os.urandom(SECRET_BYTES),
        )
        self._fronts.start()
        self.supervisor.startService()
        self._listen_admin(server)
        reactor.callWhenRunning(self._install_signals)
        _log.info(
            "serving {directory} in {mode} mode on {addresses}",
            directory=server.workers.directory,
            mode=server.mode,
            addresses=", ".join(self._listeners.addresses),
        )
        local = ("http://localhost", "http://127.0.0.1")
        shown = next((address for address in self._listeners.addresses if address.startswith(local)), "")
        if shown and server.development and server.dashboard:
            _log.info("the dashboard is at {address}{prefix}/", address=shown, prefix=DASHBOARD_PREFIX)

    @inlineCallbacks
    def stopService(self) -> Any:
        """
        Drain, stop everything, and give everything back.

        @return: a Deferred that fires when nothing is left.
        """
        if not self.running:
            return
        super().stopService()  # type: ignore[no-untyped-call]
        _log.info("stopping")
        self._api.close()
        yield self.supervisor.stopService()
        for port in self._sockets:
            yield port.stopListening()
        self._listeners.close()
        self._launcher.close()
        yield self._guard.stop()
        self._refresh.stop()
        self._logs.close()
        self._lock.release()
        _log.info("stopped")

    # Parts.

    def _load(self) -> Project:
        return load_project(self._config_file, self._mode, os.environ, os.cpu_count() or 1)

    def _probe(self, config: WorkerConfig, address: Address) -> IProbe | None:
        def ask() -> Deferred[None]:
            return ping(self._reactor, address.path or (address.host, address.port), config.health.timeout_s)

        return make_probe(config.health, address, self._reactor, ask)

    def _measure(self, pids: list[int]) -> Deferred[dict[int, Usage]]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), measure, pids)

    def _artefacts_in_use(self, worker: str) -> frozenset[str]:
        return self.supervisor.artefacts_in_use(worker)

    def _reconfigured(self, server: ServerConfig) -> None:
        self._launcher.server = server
        self._fronts.set_drain_timeout(server.http.stop_timeout_s)
        self._ports.resize(server.workers.port_first, server.workers.port_last)

    def _listen_admin(self, server: ServerConfig) -> None:
        metrics = self._metrics if server.metrics_enabled else None
        control = Control(self._reactor, self.supervisor, self._load, self._fronts.replace)
        logs = Logs(lambda: self.supervisor.project, self._logs, self._on_thread)
        api = self._api = Api(self._reactor, IControl(control), logs, metrics)
        self._listen_on(server.admin_socket, admin_site(api))
        # Opened in production as well, where no route leads to it: the mode may change while the server runs.
        self._listen_on(dashboard_endpoint(server).path, dashboard_site(IControl(control), api))
        if metrics is not None:
            self._listen_on(metrics_endpoint(server).path, metrics_site(metrics))

    def _listen_on(self, path: str, site: Site) -> None:
        try:
            self._sockets.append(listen_admin(self._reactor, path, site))
        except OSError as error:
            _log.error("cannot listen on {path}: {error}", path=path, error=str(error))

    def _metrics(self) -> bytes:
        """What Prometheus is told."""
        status, load = self.supervisor.status(), self._fronts.load()
        nothing = WorkerTotals()
        totals = {worker.name: load.workers.get(worker.name, nothing) for worker in status.workers}
        return render(
            Sample(
                version=status.version,
                mode=status.mode,
                uptime_s=status.uptime_s,
                config_good=not status.config.problems,
                fronts=len(status.fronts),
                connections=sum(front.connections for front in status.fronts),
                in_flight=sum(front.in_flight for front in status.fronts),
                upgraded=sum(front.upgraded for front in status.fronts),
                latency_bounds_s=LATENCY_BOUNDS_S,
                workers=[
                    WorkerSample(
                        name=worker.name,
                        up=worker.state == "healthy",
                        instances=Counter(instance.state for instance in worker.instances),
                        memory_bytes=sum(instance.memory for instance in worker.instances),
                        restarts=worker.deaths,
                        requests=worker.requests,
                        errors=worker.errors,
                        ejected=sum(instance.ejected > 0 for instance in worker.instances),
                        ejections=totals[worker.name].ejections,
                        retries=totals[worker.name].retries,
                        unretried=totals[worker.name].unretried,
                        waiting=worker.waiting,
                        latency=totals[worker.name].latency,
                    )
                    for worker in status.workers
                ],
            )
        )

    def _on_thread(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call, *arguments)

    def _refresh_lock(self) -> None:
        try:
            if not self._lock.refresh():
                _log.error("the lock of the project was lost; another server may run it now")
        except OSError as error:
            _log.warn("cannot refresh the lock of the project: {error}", error=error)

    # Signals.

    def _install_signals(self) -> None:
        self._on_signal(signal.SIGTERM, self._stop)
        self._on_signal(signal.SIGINT, self._stop)
        self._on_signal(signal.SIGHUP, self.supervisor.reload)
        self._on_signal(signal.SIGUSR1, self._reopen)
        self._on_signal(signal.SIGUSR2, self._fronts.replace)

    def _on_signal(self, number: int, act: Callable[[], object]) -> None:
        signal.signal(number, lambda *_: self._reactor.callFromThread(act))

    def _stop(self) -> None:
        """Stop gracefully; asked a third time, at once: the guard ends whatever is left."""
        self._signals += 1
        if self._signals == 1:
            self._reactor.stop()
        elif self._signals == 2:
            _log.warn("already stopping; once more ends everything at once")
        else:
            os._exit(1)

    def _reopen(self) -> None:
        if self._log_file is not None:
            self._log_file.reopen()
        self._logs.reopen()
        self._fronts.reopen_logs()
