"""Tasks that are delivered to a worker through a front, beside the same requests sent by wrk."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from pathlib import Path

from bench.project import PORTS_PER_SERVER, START_S, Project, Unmet, worker_instances, worker_pids
from bench.proxy.candidates import SERVER_YAML
from bench.proxy.load import SETTLE_S
from bench.proxy.machine import build_go, find
from bench.proxy.reading import WRK_SCRIPT, cpu_between, parse_wrk, read_cpu
from bench.proxy.rows import OURS
from bench.queue.phases import Act, Found, Ground, in_turns
from bench.queue.rows import BODY_BYTES, CONCURRENCY, PER_S, WRK
from bench.queue.servers import tqs_counts
from bench.wire import Lost

HERE = Path(__file__).parent

TO = "/jobs/run"
QUEUE = "jobs"
PREFIX = "/queue/tqs"
FILL_CLIENTS = 4
FILL_BATCH = 500
TASKS_MAX = 100_000
"""Of one round; otherwise as many as are delivered in about its time, if the promise is kept."""
CPU_QUEUE_US, CPU_FRONT_US = "cpu_queue_us", "cpu_front_us"
"""Figures: what a delivery takes of the queue's process, and of the front."""
DELIVERED_S = 120.0
"""Longest until all of them are."""

JOBS_YAML = """\
path: /jobs
type: command
run: [./jobs]
public: null
scaling:
  min_workers: 1
  max_workers: 1
environment:
  GOMAXPROCS: "1"
"""

QUEUE_YAML = """\
path: /queue
type: queue
apis: [tqs]
"""

DELIVER_YAML = f"""\
deliver:
  - {{queue: {QUEUE}, to: {TO}, concurrency: {CONCURRENCY}, timeout_seconds: 30, max_attempts: 5}}
"""

WRK_POST = f"""\
wrk.method = "POST"
wrk.body = string.rep("x", {BODY_BYTES})
wrk.headers["Content-Type"] = "text/plain"
"""


class Delivering(Project):
    """Our server, in production, with a worker for jobs and a queue."""

    programs: Path

    def _copy(self) -> None:
        (self.directory / "etc").mkdir()
        first = 10_000 + PORTS_PER_SERVER * random.randrange(100)
        (self.directory / "etc/server.yaml").write_text(
            SERVER_YAML.format(port=self.port, fronts=self.fronts, first=first, last=first + PORTS_PER_SERVER - 1)
        )
        for name, config in (("jobs", JOBS_YAML), ("queue", QUEUE_YAML)):
            folder = self.directory / "workers" / name / "config"
            folder.mkdir(parents=True)
            (folder / "worker.yaml").write_text(config)
        shutil.copy2(self.programs / "jobs", self.directory / "workers/jobs/jobs")

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """
        Ask for something.

        @raise Unmet: it is not answered with 2xx.
        """
        with self.connection() as connection:
            response = connection.ask(method, path, body)
        if not 200 <= response.status < 300:
            raise Unmet(f"{method} {path} is answered with {response.status}: {response.body[:200]!r}")
        return response.body

    def counts(self) -> dict[str, float]:
        """What the worker has counted."""
        counts: dict[str, float] = json.loads(self.ask("GET", "/jobs/counts"))
        return counts

    def deliver(self, on: bool) -> None:
        """Have tasks delivered, or not; return when the queue runs that way."""
        before = self.queue_pids()
        text = QUEUE_YAML + (DELIVER_YAML if on else "")
        config = self.directory / "workers/queue/config/worker.yaml"
        if config.read_text() == text:
            return
        config.write_text(text)
        self.signal(signal.SIGHUP)
        self.when("the queue runs anew", lambda: bool(self.queue_pids() - before) and self.answers(), START_S)

    def front_pids(self) -> set[int]:
        """The processes that serve clients."""
        return {pid for front in self.status_fronts() if isinstance(pid := front["pid"], int)}

    def queue_pids(self) -> set[int]:
        """The process of the queue, if it is ready."""
        for worker in self.status_workers():
            if worker["name"] == "queue":
                ready = [one for one in worker_instances(worker) if one["state"] == "healthy"]
                return set(worker_pids({"instances": ready}))
        return set()

    def answers(self) -> bool:
        """Whether worker and queue answer."""
        try:
            self.ask("GET", "/jobs/health")
            self.ask("GET", f"{PREFIX}/version")
        except (Lost, Unmet):
            return False
        return True


def _wrk(ground: Ground, project: Delivering) -> Act:
    script = ground.folder / "post.lua"
    script.write_text(WRK_POST + WRK_SCRIPT)
    seconds = max(1, round(ground.plan.seconds))
    argv = [
        *(find("wrk"), "-t1", f"-c{CONCURRENCY}", f"-d{seconds}s", "--timeout", "30s"),
        *("-s", str(script), f"http://127.0.0.1:{project.port}{TO}"),
    ]

    def act() -> tuple[dict[str, float], str]:
        project.ask("POST", "/jobs/reset", b"")
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + SETTLE_S)
        except subprocess.TimeoutExpired as error:
            raise Unmet("wrk did not end") from error
        result = parse_wrk(done.stdout)
        served = project.counts()["requests"]
        trouble = result.trouble
        if not result.requests <= served <= result.requests + CONCURRENCY:
            trouble = trouble or f"{result.requests} were answered, and the worker has counted {served:.0f}"
        return {PER_S: result.requests / result.seconds}, trouble

    return act


def _delivered(ground: Ground, project: Delivering, rates: list[float]) -> Act:
    clients = ground.clients

    def act() -> tuple[dict[str, float], str]:
        project.deliver(on=False)
        count = min(TASKS_MAX, max(1000, round(rates[-1] / 2 * ground.plan.seconds))) if rates else 10_000
        options = ("-prefix", PREFIX, "-queue", QUEUE, "-mode", "put", "-count", str(count))
        put = clients.run("tqs", project.port, *options, clients=FILL_CLIENTS, batch=FILL_BATCH)
        if put.trouble or put.puts != count:
            return {}, put.trouble or f"{put.puts} of {count} were put"
        project.ask("POST", "/jobs/reset", b"")
        project.deliver(on=True)
        begun = project.counts()["requests"]
        clocks = {CPU_QUEUE_US: project.queue_pids(), CPU_FRONT_US: project.front_pids()}
        before = {name: read_cpu(pids) for name, pids in clocks.items()}
        project.when(
            f"{count} tasks are done",
            lambda: not any(tqs_counts(project.port, PREFIX, QUEUE).values()),
            DELIVERED_S,
        )
        found = project.counts()
        trouble = "" if found["tasks"] == found["requests"] == count else f"of {count} tasks the worker had {found}"
        cpu = {
            name: cpu_between(before[name], read_cpu(pids)) / max(1, count - begun) * 1e6
            for name, pids in clocks.items()
        }
        return {PER_S: (count - 1) / found["seconds"], **cpu}, trouble

    return act


def delivery(ground: Ground) -> Found:
    """
    Tasks as fast as they are delivered, and the same requests as fast as wrk sends them, in turns. Three processes
    each, of which nobody knows where the work is: they share all cores.
    """
    plan = ground.plan
    build_go(HERE / "jobs", plan.programs)
    project = Delivering((), fronts=1, checkout=plan.checkout, say=plan.say)
    project.programs = plan.programs
    with project:
        project.when("the workers answer", project.answers, START_S)
        project.ask("POST", f"{PREFIX}/queues", json.dumps({"name": QUEUE}).encode())
        rates: list[float] = []
        wrk = _wrk(ground, project)

        def sent() -> tuple[dict[str, float], str]:
            figures, trouble = wrk()
            rates.append(figures[PER_S])
            return figures, trouble

        found = in_turns(plan, "delivery", {WRK: sent, OURS: _delivered(ground, project, rates)})
    told = {"the queue's process": CPU_QUEUE_US, "the front": CPU_FRONT_US}
    found[OURS].remarks += [
        f"a delivery takes {figure:.0f} µs of {who}"
        for who, name in told.items()
        if (figure := found[OURS].median(name)) is not None
    ]
    return found
