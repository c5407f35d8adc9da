"""A real server on a small project of a test's own, and ways to look at it from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.project import CHECKOUT, TWISTD, alive, free_port
from bench.wire import Connection, Lost, Response

LIMIT_S = 20.0
"""How long a condition may take to become true; generous, for machines that do other things besides."""

APP = '''
"""A worker for tests: it does what its path says."""
import os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

healthy = True

class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global healthy
        what, _, argument = self.path.strip("/").partition("/")
        status, body = 200, b"ok"
        if what == "health":
            status = 200 if healthy else 500
        elif what == "pid":
            body = b"%d" % os.getpid()
        elif what == "version":
            body = VERSION
        elif what == "slow":
            time.sleep(float(argument))
        elif what == "sicken":
            healthy = False
        elif what == "crash":
            os._exit(int(argument or 3))
        elif what == "environment":
            body = os.environ.get(argument, "").encode()
        elif what == "say":
            print("word " * int(argument), flush=True)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

VERSION = b"1"
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["WORKER_PORT"])), Answers)
server.daemon_threads = True
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
'''

WORKER_YAML = """
path: /
type: python
"""


class Running:
    """
    A project in a temporary folder, and the server on it.

    @ivar port: where it listens, on loopback.
    """

    def __init__(self, server: str = "", workers: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """
        @param server: more lines of the C{server:} section and the sections after it.
        @param workers: files by worker, by path below the worker's folder; L{None}: one worker C{app} at C{/}.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="tqserver-test-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        if workers is None:
            workers = {"app": {"config/worker.yaml": WORKER_YAML, "app.py": APP}}
        for worker, files in workers.items():
            for name, text in files.items():
                self.write(f"workers/{worker}/{name}", text)
        self.write("workers/.keep", "")
        first = 10_000 + os.getpid() * 50 % 20_000
        self.write(
            "etc/server.yaml",
            f"workers: {{port_range_start: {first}, port_range_end: {first + 49}}}\n"
            f"server:\n  host: 127.0.0.1\n  port: {self.port}\n  fronts: 2\n" + textwrap.indent(server, "  "),
        )

    def write(self, name: str, text: str) -> None:
        """Save a file of the project."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a piece of a file."""
        path = self.directory / name
        text = path.read_text()
        assert old in text, (name, old)
        path.write_text(text.replace(old, new))

    def command(self, *arguments: str) -> list[str]:
        """The command line of a server on this project."""
        return [sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "tqserver", *arguments]

    def environment(self) -> dict[str, str]:
        """What it is started with."""
        return {**os.environ, "PYTHONPATH": str(CHECKOUT)}

    def start(self, *arguments: str) -> None:
        """Start the server."""
        with (self.directory / "server.out").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a server that is expected to end by itself."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self.process is not None
        return self.process.pid

    def signal(self, name: str) -> None:
        """Send the supervisor a signal."""
        os.kill(self.pid, getattr(signal, f"SIG{name}"))

    def output(self) -> str:
        """What the server has printed so far."""
        return (self.directory / "server.out").read_text(errors="replace")

    def end(self) -> None:
        """End it, however it is, and remove the folder."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(LIMIT_S)
                except subprocess.TimeoutExpired:
                    self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def connection(self) -> Connection:
        """A new connection of a client."""
        return Connection(("127.0.0.1", self.port), timeout_s=LIMIT_S)

    def get(self, path: str) -> Response:
        """Ask once, over a connection of its own."""
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: str = "") -> Response:
        """Ask once, over a connection of its own."""
        connection = self.connection()
        try:
            return connection.ask(method, path, body, headers)
        finally:
            connection.close()

    def status(self) -> dict[str, object]:
        """The status tree."""
        connection = Connection(str(self.directory / "var/admin.sock"), timeout_s=LIMIT_S)
        try:
            response = connection.ask("GET", "/status", headers="Connection: close\r\n")
        finally:
            connection.close()
        tree: dict[str, object] = json.loads(response.body)
        return tree

    def worker(self, name: str = "app") -> dict[str, object]:
        """The status of one worker."""
        workers: list[dict[str, object]] = self.status()["workers"]  # type: ignore[assignment]
        return next(worker for worker in workers if worker["name"] == name)

    def instances(self, name: str = "app") -> list[dict[str, object]]:
        """The instances of one worker."""
        instances: list[dict[str, object]] = self.worker(name)["instances"]  # type: ignore[assignment]
        return instances

    def fronts(self) -> list[int]:
        """The process ids of the fronts."""
        fronts: list[dict[str, int]] = self.status()["fronts"]  # type: ignore[assignment]
        return [front["pid"] for front in fronts]

    def processes(self) -> list[int]:
        """The supervisor, its fronts, its workers, and all that belong to their sessions."""
        sessions = {self.pid, *self.fronts()}
        for worker in self.status()["workers"]:  # type: ignore[attr-defined]
            sessions.update(instance["pid"] for instance in worker["instances"])
        return [pid for pid, session in _sessions() if session in sessions or pid in sessions]


def _sessions() -> list[tuple[int, int]]:
    """All processes and their sessions (proc(5))."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found.append((int(entry), int(fields[3])))
    return found


class RunningCase(SynchronousTestCase):
    """Tests with a server of their own."""

    def serve(self, server: str = "", workers: Mapping[str, Mapping[str, str]] | None = None) -> Running:
        """Start a server and wait until it answers."""
        running = Running(server, workers)
        self.addCleanup(running.end)
        running.start()
        self.when("the server runs", lambda: bool(running.status()["fronts"]), running)
        return running

    def when(self, what: str, met: Callable[[], object], running: Running, limit_s: float = LIMIT_S) -> float:
        """
        Wait for a condition.

        @return: the seconds that it took.
        """
        began = time.monotonic()
        trouble: object = None
        while time.monotonic() - began < limit_s:
            try:
                if met():
                    return time.monotonic() - began
            except (Lost, OSError, StopIteration, KeyError) as error:
                trouble = error
            if running.process is not None and running.process.poll() is not None:
                break
            time.sleep(0.01)
        raise self.failureException(f"not within {limit_s:g} s: {what} ({trouble})\n{running.output()[-4000:]}")

    def gone(self, pids: list[int], running: Running, limit_s: float) -> None:
        """Check that processes end in time."""
        end = time.monotonic() + limit_s
        while any(map(alive, pids)):
            if time.monotonic() > end:
                self.fail(f"still there: {list(filter(alive, pids))}\n{running.output()[-4000:]}")
            time.sleep(0.01)
