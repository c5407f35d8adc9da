"""A real queue that runs alone, and clients of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.project import CHECKOUT
from bench.wire import Connection, Lost, Response

from .running import LIMIT_S

_LISTENS = re.compile(r"^\w+ listens at (https?)://127\.0\.0\.1:(\d+)$", re.MULTILINE)


class Queue:
    """
    C{python -m tqserver.queue} in a folder of its own.

    @ivar port: where it listens, on loopback; from L{start} on.
    """

    def __init__(self, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tqserver-queue-"))
        self.data = self.directory / "data"
        self.arguments = list(arguments)
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TQS_", "QUEUE_"))},
            "PYTHONPATH": str(CHECKOUT),
            **(environ or {}),
        }
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tqserver.queue", *self.arguments, *arguments]

    def start(self) -> None:
        """Start it and wait until it listens; on the same port as before, if it was started before."""
        log = self.directory / "out"
        log.touch()
        before = log.stat().st_size
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command("--addr", f"127.0.0.1:{self.port}"),
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        found: list[re.Match[str]] = []

        def listens() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"it has ended: {self.output()[-2000:]}")
            found.extend(_LISTENS.finditer(self.output()[before:]))
            return bool(found)

        until("it listens", listens)
        self.port = int(found[0][2])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one that is expected to end by itself."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S * 3,
            check=False,
        )

    def output(self) -> str:
        """What it has printed so far."""
        return (self.directory / "out").read_text(errors="replace")

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(which)

    def wait(self) -> int:
        """Wait until it has ended."""
        assert self.process is not None
        return self.process.wait(LIMIT_S)

    def kill(self) -> None:
        """Kill it with nine."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """End it as an operator does."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        """End it, however it is, and remove the folder."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def connection(self) -> Connection:
        """A new connection of a client."""
        return Connection(("127.0.0.1", self.port), timeout_s=LIMIT_S)

    def raw(self) -> socket.socket:
        """The same, without a client."""
        return socket.create_connection(("127.0.0.1", self.port), LIMIT_S)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: str = "") -> Response:
        """Ask once, over a connection of its own."""
        connection = self.connection()
        try:
            return connection.ask(method, path, body, headers)
        finally:
            connection.close()

    def did(self, method: str, path: str, value: object = None) -> Any:
        """Ask for something in JSON that can be done."""
        response = self.ask(method, path, None if value is None else json.dumps(value).encode())
        assert response.status == 200, response
        return json.loads(response.body)

    def waiting(self) -> int:
        """How many clients wait for a task."""
        found = re.search(rb"^tqserver_queue_waiting (\d+)$", self.ask("GET", "/metrics").body, re.MULTILINE)
        assert found is not None
        return int(found[1])


class Asking(threading.Thread):
    """
    A client that asks once, in a thread, as it may have to wait.

    @ivar answer: what it heard.
    @ivar at: when, by the monotonic clock.
    """

    def __init__(self, queue: Queue, method: str, path: str) -> None:
        super().__init__(daemon=True)
        self.answer: Response | Exception | None = None
        self.at = 0.0
        self._ask = lambda: queue.ask(method, path)
        self.start()

    def run(self) -> None:
        try:
            answer: Response | Exception = self._ask()
        except (Lost, OSError) as error:
            answer = error
        self.at = time.monotonic()
        self.answer = answer

    def heard(self) -> Response:
        """Wait for the answer."""
        self.join(LIMIT_S)
        assert isinstance(self.answer, Response), self.answer
        return self.answer


def until(what: str, met: Callable[[], object], limit_s: float = LIMIT_S * 2) -> None:
    """Wait for a condition."""
    end = time.monotonic() + limit_s
    while not met():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.01)


class QueueCase(SynchronousTestCase):
    """Tests with a queue of their own."""

    def queue(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Queue:
        """Start one."""
        queue = Queue(*arguments, environ=environ)
        self.addCleanup(queue.end)
        queue.start()
        return queue
