"""What a connection keeps in memory that is open and does nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.project import Unmet
from bench.proxy.candidates import HELLO, Candidate
from bench.proxy.machine import allow_open_files
from bench.proxy.reading import read_private_kib
from bench.proxy.rows import Figures
from bench.proxy.stage import Plan, in_turns
from bench.wire import HEAD_BYTES_MAX

CONNECT_S = 30.0
"""Longest silence while a connection is opened and asked its one question."""
PER_ADDRESS = 5_000
"""Connections from one address of ours: there are 28,000 ephemeral ports, and others need some."""
WARM_UP = 200
"""Connections that are opened and closed before, one by one: code is loaded and the first allocations are made."""
IP_BIND_ADDRESS_NO_PORT = 24
"""ip(7): the port is chosen when it is known whom we connect to."""

FRAME = b"\x81\x84\x00\x00\x00\x00idle"
"""A masked text frame (RFC 6455 section 5.2), and L{ECHO} is what the worker answers."""
ECHO = b"\x81\x04idle"
WEBSOCKET_ID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


DESCRIPTORS_BESIDE = 500
"""Left for everything else."""

ASKED_AGAIN = 100
"""So many of those that were held are asked once more, to see that they are served all the same."""


class NotUpgraded(Exception):
    """A WebSocket was refused."""


def ask(connection: socket.socket) -> None:
    """
    One request, and its whole answer.

    @raise Unmet: it is not the one that had to come.
    """
    connection.sendall(b"GET /bench HTTP/1.1\r\nHost: localhost\r\n\r\n")
    received = _until(connection, lambda got: got.endswith(HELLO))
    if not received.startswith(b"HTTP/1.1 200 "):
        raise Unmet(f"answered with {received[:100]!r}")


def upgrade(connection: socket.socket) -> None:
    """
    Make a connection a WebSocket, and see whether a frame goes through and back.

    @raise NotUpgraded: it was not accepted.
    @raise Unmet: it was, but not as it should be.
    """
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key.encode() + b"\r\n\r\n"
    )
    head = _until(connection, lambda got: b"\r\n\r\n" in got)
    line = head.partition(b"\r\n")[0]
    if not line.startswith(b"HTTP/1.1 101"):
        raise NotUpgraded(f"an upgrade is answered with {line.decode('latin-1')!r}")
    accept = base64.b64encode(hashlib.sha1((key + WEBSOCKET_ID).encode()).digest())
    if accept not in head or not head.endswith(b"\r\n\r\n"):
        raise Unmet(f"upgraded, but with {head!r}")
    echo(connection)


def echo(connection: socket.socket) -> None:
    """
    Send a frame through a WebSocket and back.

    @raise Unmet: something else comes back.
    """
    connection.sendall(FRAME)
    if (back := _until(connection, lambda got: len(got) >= len(ECHO))) != ECHO:
        raise Unmet(f"{FRAME!r} was answered with {back!r}")


def _until(connection: socket.socket, whole: Callable[[bytes], bool]) -> bytes:
    received = b""
    while not whole(received):
        data = connection.recv(65536)
        if not data or len(received) > HEAD_BYTES_MAX:
            raise Unmet(f"it ended after {received[:100]!r}")
        received += data
    return received


def open_one(port: int, number: int) -> socket.socket:
    """A connection to the loopback, from an address that has ports left."""
    connection = socket.socket()
    connection.settimeout(CONNECT_S)
    try:
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
        connection.connect(("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    return connection


def ended(connections: Sequence[socket.socket]) -> int:
    """How many of the connections are no longer open and silent."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    return len(poll.poll(0))


def affordable(wanted: int, open_files: int) -> int:
    """
    How many connections can be held. Pure.

    Each costs us a descriptor and the proxy another one; a front leaves a quarter of its own for requests, too.
    """
    return min(wanted, open_files * 3 // 4 - DESCRIPTORS_BESIDE)


@dataclass(frozen=True)
class Idle:
    """
    A kind of connection that is held.

    @ivar begin: what is done on each before it idles.
    @ivar again: what is done on some of them in the end.
    """

    what: str
    count: int
    begin: Callable[[socket.socket], None]
    again: Callable[[socket.socket], None]

    def of(self, plan: Plan, candidates: Sequence[Candidate]) -> dict[str, Figures]:
        """Measure candidates one after the other."""
        refused: dict[str, str] = {}

        def measure(candidate: Candidate) -> tuple[dict[str, float], str]:
            try:
                return self._measure(candidate, count)
            except NotUpgraded as error:
                refused[candidate.name] = str(error)
                return {}, ""

        count = affordable(self.count, allow_open_files())
        found = in_turns(plan, self.what, candidates, measure)
        if count < self.count:
            for figures in found.values():
                figures.remarks.append(f"{count:,} of them, as there can be no more open files")
        for name, why in refused.items():
            found[name].missing = why
        return found

    def _measure(self, candidate: Candidate, count: int) -> tuple[dict[str, float], str]:
        for number in range(WARM_UP):
            with open_one(candidate.port, number) as connection:
                self.begin(connection)
        before_kib = read_private_kib(candidate.pids)
        with ExitStack() as stack:
            held = []
            for number in range(count):
                connection = stack.enter_context(open_one(candidate.port, number))
                held.append(connection)
                self.begin(connection)
            taken_kib = read_private_kib(candidate.pids) - before_kib
            gone = ended(held)
            for connection in held[:: max(1, count // ASKED_AGAIN)]:
                self.again(connection)
        trouble = f"{gone} of {count} connections did not stay open" if gone else ""
        return {"kib": taken_kib / count, "whole_mib": (before_kib + taken_kib) / 1024}, trouble


HTTP = Idle("idle connections", 10_000, ask, ask)
WEBSOCKET = Idle("idle WebSockets", 2_000, upgrade, echo)
