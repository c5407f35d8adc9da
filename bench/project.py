"""A server of our own: on a copy of the example project, on a free port, with what it says of itself."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from bench.wire import Connection, Lost

CHECKOUT = Path(__file__).resolve().parent.parent

START_S = 120.0
"""Longest from the start until every worker answers: a cold Go build on a slow machine."""
CHANGE_S = 60.0
"""Longest from a save until the new version answers."""
STOP_S = 60.0
"""Longest for a graceful stop."""
ASK_AGAIN_S = 0.01
"""Between two looks at something that has no way of telling us."""
PORTS_PER_SERVER = 200

READY = ("healthy", "ready")
TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
"""Works from a checkout, where there may be no C{twistd} program."""

Status = dict[str, object]
"""What C{GET /status} of the admin socket answers."""


class Unmet(Exception):
    """Something that had to happen did not, in the time that it had."""


@dataclass(frozen=True)
class Kind:
    """
    One kind of worker and how a version gets into it.

    @ivar file: the source, relative to the project.
    @ivar pattern: the line in it; C{%s} is the version.
    @ivar path: answers with a text that begins with C{prefix} and the version.
    """

    kind: str
    worker: str
    file: str
    pattern: str
    path: str
    prefix: str = ""


KINDS = {
    kind.kind: kind
    for kind in (
        Kind("go", "index", "workers/index/src/main.go", 'const version = "%s"', "/version"),
        Kind("bun", "api", "workers/api/index.ts", 'const version = "%s";', "/api/version"),
        Kind("php", "blog", "workers/blog/public/version.php", "<?php echo '%s';", "/blog/version.php"),
        Kind("python", "hello", "workers/hello/app.py", 'GREETING = "v%s"', "/hello", "v"),
    )
}

FIRST_VERSION = "100000"
"""All versions have six digits, so that writing one in place never shows a file that is cut."""
FIRST_LINES = {"go": 'const version = "1"', "bun": 'const version = "1";', "python": 'GREETING = "hello"'}
"""What the examples have, to be replaced by the pattern."""

ECHO_PHP = """<?php
header('Content-Type: application/octet-stream');
header('Content-Length: ' . $_SERVER['CONTENT_LENGTH']);
readfile('php://input');
"""

ONE_INSTANCE = "scaling:\n  min_workers: 1\n  max_workers: 1\n"

SERVER_YAML = """\
mode: {mode}
server:
  host: 127.0.0.1
  port: {port}
  fronts: {fronts}
workers:
  port_range_start: {first}
  port_range_end: {last}
file_watcher:
  enabled: true
"""


def search_path() -> str:
    """Where programs are looked for: C{PATH}, and the places that the server looks at besides."""
    beside = str(Path(sys.executable).parent)
    return os.pathsep.join([os.environ.get("PATH", ""), beside, "/usr/local/go/bin", "/usr/local/sbin", "/usr/sbin"])


def missing_tools(kinds: tuple[str, ...]) -> dict[str, str]:
    """The kinds that cannot be built or run here, and what they need."""
    path = search_path()
    fpm = any(found for folder in path.split(os.pathsep) if folder for found in Path(folder).glob("php-fpm*"))
    present = {
        "go": shutil.which("go", path=path) is not None,
        "bun": shutil.which("bun", path=path) is not None,
        "php": fpm,
        "python": True,
    }
    needs = {"go": "go", "bun": "bun", "php": "php-fpm", "python": "python3"}
    return {kind: needs[kind] for kind in kinds if not present[kind]}


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Project:
    """
    A copy of the example project in a temporary folder, and the server on it.

    As a context: entering copies and starts, leaving stops and, when all went well, removes the folder.

    @ivar kinds: the workers that it keeps; the others are left out.
    @ivar others: folders of workers that it keeps besides, as they are.
    @ivar say: is given lines for a person.
    @ivar checkout: where the server's own code is.
    @ivar path: where its Python looks for modules besides.
    """

    kinds: tuple[str, ...]
    fronts: int | str = "auto"
    mode: str = "development"
    say: Callable[[str], None] = print
    checkout: Path = CHECKOUT
    path: tuple[Path, ...] = ()
    others: tuple[str, ...] = ()
    directory: Path = field(init=False)
    port: int = field(init=False)
    _server: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _version: int = field(init=False, default=int(FIRST_VERSION))

    def __enter__(self) -> Project:
        self.directory = Path(tempfile.mkdtemp(prefix="tqserver-bench-"))
        self.port = free_port()
        try:
            self._copy()
            self._start()
        except BaseException:
            self._end()
            self.say(f"The project and its logs are left in {self.directory}")
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._end()
        if isinstance(error, Exception):
            self.say(f"The project and its logs are left in {self.directory}")
        else:  # all went well, or somebody interrupts us
            shutil.rmtree(self.directory, ignore_errors=True)

    # The folder.

    def _copy(self) -> None:
        unwanted = shutil.ignore_patterns("data", "bin", "node_modules", "__pycache__", ".venv", "logs", "*.log")
        for worker in self.others:
            shutil.copytree(CHECKOUT / "workers" / worker, self.directory / "workers" / worker, ignore=unwanted)
        for kind in self.kinds:
            worker = KINDS[kind].worker
            shutil.copytree(CHECKOUT / "workers" / worker, self.directory / "workers" / worker, ignore=unwanted)
            if kind in FIRST_LINES:
                path = self.directory / KINDS[kind].file
                text = path.read_text()
                if text.count(FIRST_LINES[kind]) != 1:
                    raise Unmet(f"{path} does not have the line {FIRST_LINES[kind]!r} once")
                path.write_text(text.replace(FIRST_LINES[kind], KINDS[kind].pattern % FIRST_VERSION))
            if kind != "php":
                # As many instances as we say and no more, so that what to wait for is known.
                config = self.directory / "workers" / worker / "config/worker.yaml"
                config.write_text(with_block(config.read_text(), ONE_INSTANCE))
        if "php" in self.kinds:
            public = self.directory / "workers/blog/public"
            (public / "version.php").write_text(KINDS["php"].pattern % FIRST_VERSION)
            (public / "echo.php").write_text(ECHO_PHP)
        (self.directory / "etc").mkdir()
        # Below the ephemeral ports, and seldom the same as those of another server on this machine.
        first = 10_000 + PORTS_PER_SERVER * random.randrange(100)
        (self.directory / "etc/server.yaml").write_text(
            SERVER_YAML.format(
                mode=self.mode,
                port=self.port,
                fronts=self.fronts,
                first=first,
                last=first + PORTS_PER_SERVER - 1,
            )
        )

    def file(self, name: str) -> Path:
        """A file of the project."""
        return self.directory / name

    def replace(self, name: str, text: str, *, rename: bool) -> None:
        """Save a file as editors do: by writing into it, or by writing another one and renaming it."""
        path = self.directory / name
        if rename:
            beside = path.with_name(f".{path.name}.saving~")
            beside.write_text(text)
            beside.replace(path)
        else:
            with path.open("r+") as file:
                file.write(text)
                file.truncate()

    def save_version(self, kind: str, *, rename: bool) -> str:
        """Save a source with the next version in it, and return that version."""
        facts = KINDS[kind]
        self._version += 1
        version = str(self._version)
        before, after = facts.pattern.split("%s")
        text = (self.directory / facts.file).read_text()
        start = text.index(before) + len(before)
        end = text.index(after, start) if after else len(text)
        self.replace(facts.file, text[:start] + version + text[end:], rename=rename)
        return version

    # The process.

    def _start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (self.checkout, *self.path)))}
        log = (self.directory / "server.out").open("wb")
        with log:
            self._server = subprocess.Popen(
                [sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "tqserver", "--config", "etc/server.yaml"],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        for kind in self.kinds:
            self.when_serves(kind, FIRST_VERSION, START_S)

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self._server is not None
        return self._server.pid

    def running(self) -> None:
        """
        Make sure that the server lives.

        @raise Unmet: it has ended by itself.
        """
        assert self._server is not None
        if (code := self._server.poll()) is not None:
            raise Unmet(f"the server ended with {code}:\n{self.last_output()}")

    def last_output(self, lines_max: int = 40) -> str:
        """The end of what the server has printed."""
        lines = (self.directory / "server.out").read_text(errors="replace").splitlines()
        return "\n".join(lines[-lines_max:])

    def signal(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        os.kill(self.pid, number)

    def stop(self) -> tuple[int, float, tuple[int, ...]]:
        """
        Stop gracefully.

        @return: the exit status, the seconds that it took, and the processes of workers that are still there.
        """
        assert self._server is not None
        pids = [pid for worker in self.status_workers() for pid in worker_pids(worker)]
        began = time.monotonic()
        self._server.terminate()
        code = self._server.wait(STOP_S)
        took_s = time.monotonic() - began
        return code, took_s, tuple(filter(alive, pids))

    def _end(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.terminate()
            try:
                self._server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.say("The server did not stop; it is killed.")
                self._server.kill()
                self._server.wait()

    # What it says.

    def status(self) -> Status:
        """
        The whole status.

        @raise Lost: the admin socket gives no answer.
        """
        connection = Connection(str(self.directory / "var/admin.sock"), timeout_s=10.0)
        try:
            response = connection.ask("GET", "/status", headers="Connection: close\r\n")
        finally:
            connection.close()
        if response.status != 200:
            raise Unmet(f"/status answers {response.status}: {response.body[:200]!r}")
        status = json.loads(response.body)
        assert isinstance(status, dict)
        return status

    def status_workers(self) -> list[Status]:
        """The workers in the status."""
        workers = self.status()["workers"]
        assert isinstance(workers, list)
        return workers

    def status_fronts(self) -> list[Status]:
        """The fronts in the status."""
        fronts = self.status()["fronts"]
        assert isinstance(fronts, list)
        return fronts

    def worker(self, kind: str) -> Status:
        """One worker in the status."""
        name = KINDS[kind].worker
        for worker in self.status_workers():
            if worker["name"] == name:
                return worker
        raise Unmet(f"the status does not know the worker {name}")

    def when(self, what: str, met: Callable[[], bool], limit_s: float = CHANGE_S) -> float:
        """
        Wait until something is so.

        @param what: it, in words.
        @return: the seconds that it took.
        @raise Unmet: it was not so in time, or the server has ended.
        """
        began = time.monotonic()
        while not met():
            self.running()
            if time.monotonic() - began > limit_s:
                raise Unmet(f"not within {limit_s:.0f} s: {what}\n{self.last_output()}")
            time.sleep(ASK_AGAIN_S)
        return time.monotonic() - began

    def when_serves(self, kind: str, version: str, limit_s: float = CHANGE_S) -> float:
        """Wait until this version answers; return the seconds that it took."""
        facts = KINDS[kind]
        wanted = (facts.prefix + version).encode()
        with self.connection() as connection:

            def met() -> bool:
                try:
                    response = connection.ask("GET", facts.path)
                except Lost:
                    return False  # the clients count what is lost; here it only means "not yet"
                return response.status == 200 and response.body.startswith(wanted)

            return self.when(f"version {version} of {facts.worker} answers", met, limit_s)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to the server, for as long as the context lasts."""
        connection = Connection(("127.0.0.1", self.port))
        try:
            yield connection
        finally:
            connection.close()

    def when_settled(self, kind: str, instances: int, after_generation: int = -1) -> float:
        """Wait until a worker has this many instances, all ready and of one generation after the one given."""

        def met() -> bool:
            worker = self.worker(kind)
            found = worker_instances(worker)
            generations = {instance.get("generation", worker["generation"]) for instance in found}
            return (
                len(found) == instances
                and all(instance["state"] in READY for instance in found)
                and generations == {worker["generation"]}
                and number(worker["generation"]) > after_generation
            )

        return self.when(f"{KINDS[kind].worker} has {instances} ready instances", met)


def with_block(text: str, block: str) -> str:
    """
    YAML text with one top-level block replaced, or added at the end.

    @param block: the key's line, and indented lines; ends with a line feed.
    """
    key = block.partition("\n")[0]
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if not line.startswith((" ", "\n", "#")):
            inside = line.startswith(key)
        if not inside:
            kept.append(line)
    return "".join(kept).rstrip("\n") + "\n" + block


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def number(value: object) -> int:
    """A whole number out of the status."""
    assert isinstance(value, int), value
    return value


def worker_instances(worker: Status) -> list[Status]:
    """The instances of a worker in the status."""
    instances = worker["instances"]
    assert isinstance(instances, list)
    return instances


def worker_pids(worker: Status) -> list[int]:
    """The processes of a worker in the status."""
    return [number(instance["pid"]) for instance in worker_instances(worker) if instance["pid"]]
