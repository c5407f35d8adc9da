"""The servers that are measured: our queues, beanstalkd and Redis, each with a folder on the same disk."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.project import Unmet, free_port
from bench.proxy.candidates import process, wait_for
from bench.proxy.machine import find, pin
from bench.wire import Connection, Lost

QUEUE = "bench"
"""The queue's name at all of them."""

SILENCE_S = 30.0
"""Longest, of a server that is asked something small."""


@dataclass
class Server:
    """
    A queue server.

    @ivar name: as the table calls it.
    @ivar protocol: as the clients call it.
    @ivar pids: its processes.
    @ivar log: what it prints.
    @ivar left: asks it how many messages it has.
    @ivar expected: how many it must have, of all that was confirmed so far.
    """

    name: str
    protocol: str
    port: int
    started: subprocess.Popen[bytes]
    log: Path
    left: Callable[[Server], int]
    expected: int = 0

    @property
    def pids(self) -> tuple[int, ...]:
        return (self.started.pid,)

    def wrong(self) -> str:
        """What is wrong with what it has; empty if nothing is."""
        left = self.left(self)
        return "" if left == self.expected else f"it has {left} messages and should have {self.expected}"


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """
    One request of HTTP.

    @raise Lost: it is not answered.
    """
    connection = Connection(("127.0.0.1", port), SILENCE_S)
    try:
        response = connection.ask(method, path, body)
    finally:
        connection.close()
    return response.status, response.body


def tqs_counts(port: int, prefix: str = "", queue: str = QUEUE) -> dict[str, int]:
    """What TQS says of a queue: visible, delayed, leased."""
    status, body = ask(port, "GET", f"{prefix}/queues/{queue}/statistics")
    if status != 200:
        raise Unmet(f"the statistics of {queue} are answered with {status}: {body[:200]!r}")
    counts: dict[str, int] = json.loads(body)
    return counts


def _answers(port: int, path: str) -> Callable[[], bool]:
    def met() -> bool:
        try:
            return ask(port, "GET", path)[0] == 200
        except Lost:
            return False

    return met


@contextmanager
def ours(api: str, name: str, checkout: Path, folder: Path, cores: frozenset[int], *options: str) -> Iterator[Server]:
    """
    One of our services, alone.

    @param checkout: whose code it runs.
    @param folder: of its data, and of what it prints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    argv = [
        *(sys.executable, "-m", "tqserver.queue", "--api", api, "--addr", f"127.0.0.1:{port}"),
        *("--data", str(folder), *options),
    ]
    log = folder.with_suffix(".out")
    path = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH")]))
    with process(["env", "-C", str(checkout), *argv], log, PYTHONPATH=path) as started:
        wait_for(f"{name} answers", _answers(port, "/health" if api == "zapq" else "/version"), started, log)
        pin([started.pid], cores)
        yield Server(name, api, port, started, log, _left_in_tqs if api == "tqs" else _left_in_zapq)


def define(server: Server, queue: str = QUEUE) -> None:
    """
    Make a queue of TQS.

    @raise Unmet: it cannot be made.
    """
    status, body = ask(server.port, "POST", "/queues", json.dumps({"name": queue}).encode())
    if status not in (200, 409):
        raise Unmet(f"the queue {queue} could not be made: {status} {body[:200]!r}")


def _left_in_tqs(server: Server) -> int:
    return sum(tqs_counts(server.port).values())


def _left_in_zapq(server: Server) -> int:
    return zapq_metrics(server.port)["queue_length"]


def zapq_metrics(port: int) -> dict[str, int]:
    """What ZapQ says of itself."""
    metrics: dict[str, int] = json.loads(ask(port, "GET", "/metrics")[1])
    return metrics


def _asks(port: int, command: bytes) -> bytes:
    """What a server of lines answers to a command; empty if it does not."""
    try:
        with socket.create_connection(("127.0.0.1", port), SILENCE_S) as connection:
            connection.sendall(command)
            return connection.recv(64 * 1024)
    except OSError:
        return b""


@contextmanager
def beanstalk(name: str, folder: Path, cores: frozenset[int], *, fsync: bool) -> Iterator[Server]:
    """
    beanstalkd, with its binlog.

    @param fsync: after each write; otherwise never.
    """
    folder.mkdir(parents=True)
    port, log = free_port(), folder.with_suffix(".out")
    argv = [
        find("beanstalkd"),
        "-l",
        "127.0.0.1",
        "-p",
        str(port),
        "-b",
        str(folder),
        *(["-f", "0"] if fsync else ["-F"]),
    ]
    with process(argv, log) as started:
        wait_for(f"{name} answers", lambda: _asks(port, b"stats\r\n").startswith(b"OK "), started, log)
        pin([started.pid], cores)
        yield Server(name, "beanstalk", port, started, log, _left_in_beanstalk)


def _left_in_beanstalk(server: Server) -> int:
    said = _asks(server.port, b"stats\r\n").decode()
    wanted = ("current-jobs-ready", "current-jobs-reserved", "current-jobs-delayed", "current-jobs-buried")
    found = dict(line.split(": ") for line in said.splitlines() if ": " in line)
    return sum(int(found[key]) for key in wanted)


@contextmanager
def redis(name: str, folder: Path, cores: frozenset[int], *, fsync: str) -> Iterator[Server]:
    """
    Redis, with its append-only file and without snapshots.

    @param fsync: C{always} or C{everysec}.
    """
    folder.mkdir(parents=True)
    port, log = free_port(), folder.with_suffix(".out")
    argv = [
        *(find("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", fsync, "--save", ""),
    ]
    with process(argv, log) as started:
        wait_for(f"{name} answers", lambda: _asks(port, b"PING\r\n") == b"+PONG\r\n", started, log)
        pin([started.pid], cores)
        yield Server(name, "redis", port, started, log, _left_in_redis)


def _left_in_redis(server: Server) -> int:
    """The lengths of all lists: the queue's own, and each client's of what it has got."""
    keys = [line for line in _asks(server.port, b"KEYS *\r\n").split(b"\r\n") if line and line[:1] not in b"*$"]
    return sum(int(_asks(server.port, b"LLEN " + key + b"\r\n")[1:]) for key in keys)
