"""Where the queue of the ledger runs: alone, on a disk that may become full; and in a project, with a worker."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.project import (
    ASK_AGAIN_S,
    CHECKOUT,
    PORTS_PER_SERVER,
    SERVER_YAML,
    START_S,
    Project,
    Unmet,
    free_port,
    worker_pids,
)
from bench.wire import Connection, Lost

DISK_BYTES = 64 * 1024 * 1024
"""Of the disk that becomes full."""
ROOM_BYTES = 2 * 1024 * 1024
"""That is left on it."""
SILENCE_S = 10.0
END_S = 20.0
"""Longest for the queue's process to end by itself."""


def ask(port: int, method: str, path: str, value: object = None) -> tuple[int, bytes]:
    """
    One request.

    @raise Lost: it is not answered.
    """
    connection = Connection(("127.0.0.1", port), SILENCE_S)
    try:
        response = connection.ask(method, path, None if value is None else json.dumps(value).encode())
    finally:
        connection.close()
    return response.status, response.body


def when(what: str, met: Callable[[], bool], limit_s: float, output: Callable[[], str]) -> float:
    """
    Wait until something is so.

    @return: the seconds that it took.
    @raise Unmet: it was not so in time.
    """
    began = time.monotonic()
    while True:
        try:
            if met():
                return time.monotonic() - began
        except Lost:
            pass  # it is being started
        if time.monotonic() - began > limit_s:
            raise Unmet(f"not within {limit_s:.0f} s: {what}\n{output()[-3000:]}")
        time.sleep(ASK_AGAIN_S)


class Disk:
    """
    A disk of its own for the queue's data: a small tmpfs if we may mount one, else a limit for the size of files.

    @ivar mounted: whether it is a tmpfs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        self.mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
        self.data = folder / "data"
        self.data.mkdir()

    def fill(self, pid: int) -> None:
        """Leave little room."""
        if self.mounted:
            usage = shutil.disk_usage(self._folder)
            with suppress(OSError):  # somebody else has just taken what was left: all the better
                (self._folder / "ballast").write_bytes(bytes(max(0, usage.free - ROOM_BYTES)))
        else:
            most = max((path.stat().st_size for path in self.data.iterdir()), default=0) + ROOM_BYTES
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    def free(self, pid: int) -> None:
        """Make room."""
        if self.mounted:
            (self._folder / "ballast").unlink(missing_ok=True)
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def close(self) -> None:
        """Take it away."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self._folder)], capture_output=True)


class Alone:
    """
    A queue's process, in a temporary folder. As a context: entering starts it, leaving ends it.

    @ivar disk: where its data is, if that is to become full.
    """

    def __init__(self, checkout: Path = CHECKOUT, durability: str = "disk", small: bool = False) -> None:
        self.port = free_port()
        self._checkout = checkout
        self._durability = durability
        self._folder = Path(tempfile.mkdtemp(prefix="tqserver-ledger-"))
        self.disk = Disk(self._folder / "disk") if small else None
        self._data = self.disk.data if self.disk is not None else self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Alone:
        self.start()
        self.ready()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._process is not None:
            self._process.wait()
        if self.disk is not None:
            self.disk.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def output(self) -> str:
        """What it has printed."""
        return (self._folder / "queue.out").read_text(errors="replace")

    def start(self) -> None:
        """Start it."""
        argv = [
            *(sys.executable, "-m", "tqserver.queue", "--api", "tqs", "--addr", f"127.0.0.1:{self.port}"),
            *("--data", str(self._data), "--durability", self._durability),
        ]
        with (self._folder / "queue.out").open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                cwd=self._checkout,
                env={**os.environ, "PYTHONPATH": str(self._checkout)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ready(self) -> float:
        """Wait until it answers; return the seconds that it took."""

        def met() -> bool:
            if self.ended:
                raise Unmet(f"the queue ended by itself:\n{self.output()[-3000:]}")
            return ask(self.port, "GET", "/version")[0] == 200

        return when("the queue answers", met, START_S, self.output)

    def kill(self) -> None:
        """C{kill -9}."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


SINK_PY = '''
"""Takes tasks, and writes down when each began and ended."""
import os, random, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

book = os.open(os.environ["BOOK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.answer(b"ok")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode().partition(" ")[0]
        what = f"{body} {self.headers['X-Task-Id']} {self.headers['X-Task-Attempt']}"
        os.write(book, f"begin {what} {time.monotonic()}\\n".encode())
        time.sleep(random.random() * 0.02)
        os.write(book, f"end {what} {time.monotonic()}\\n".encode())
        self.answer(b"done")

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("127.0.0.1", int(os.environ["WORKER_PORT"])), Sink).serve_forever()
'''

SINK_YAML = """\
path: /sink
type: python
scaling:
  min_workers: 2
  max_workers: 2
restart:
  max_deaths: 1000
  backoff_initial_ms: 50
  backoff_max_seconds: 0.2
environment:
  BOOK: {book}
"""

QUEUE_YAML = """\
path: /queue
type: queue
apis: [tqs]
restart:
  max_deaths: 1000
  backoff_initial_ms: 50
  backoff_max_seconds: 0.2
deliver:
  - {queue: ledger, to: /sink/take, concurrency: 16, timeout_seconds: 10, max_attempts: 100}
"""


class Delivering(Project):
    """A project with a queue and a worker that takes its tasks."""

    prefix = "/queue/tqs"

    def _copy(self) -> None:
        (self.directory / "etc").mkdir()
        first = 10_000 + PORTS_PER_SERVER * random.randrange(100)
        (self.directory / "etc/server.yaml").write_text(
            SERVER_YAML.format(
                mode=self.mode, port=self.port, fronts=self.fronts, first=first, last=first + PORTS_PER_SERVER - 1
            )
        )
        for name, config in (("sink", SINK_YAML.format(book=self.book)), ("queue", QUEUE_YAML)):
            folder = self.directory / "workers" / name / "config"
            folder.mkdir(parents=True)
            (folder / "worker.yaml").write_text(config)
        (self.directory / "workers/sink/app.py").write_text(SINK_PY)

    @property
    def book(self) -> Path:
        """What the worker writes down."""
        return self.directory / "book.txt"

    def ready(self) -> None:
        """Wait until queue and worker answer, and make the queue."""

        def met() -> bool:
            try:
                sink, _ = ask(self.port, "GET", "/sink/health")
                queue, _ = ask(self.port, "POST", f"{self.prefix}/queues", {"name": "ledger"})
            except Lost:
                return False
            return sink == 200 and queue in (200, 409)

        self.when("queue and worker answer", met, START_S)

    def pids(self, name: str) -> list[int]:
        """The processes of a worker."""
        return [pid for worker in self.status_workers() if worker["name"] == name for pid in worker_pids(worker)]

    def kill(self, name: str, chance: random.Random) -> bool:
        """C{kill -9} one of a worker's processes; whether there was one."""
        pids = self.pids(name)
        if not pids:
            return False
        try:
            os.kill(chance.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True
