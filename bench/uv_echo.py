"""
What a small message costs on each reactor: C{python -m bench.uv_echo}.

For each reactor a process of its own echoes what comes over kept TCP connections. This process talks to them, in turns,
with messages of 64 bytes, one under way on each connection, and reads from the operating system how much CPU time each
server took for them. A round is short and there are several, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

REACTORS = ("uv", "epoll", "asyncio", "asyncio on uvloop")
MESSAGE = b"x" * 64
CHECKOUT = Path(__file__).parents[1]


def install(name: str) -> None:
    """Make a reactor I{the} reactor."""
    if name == "uv":
        from tqserver.uv.reactor import install as install_uv

        install_uv()
    elif name == "epoll":
        from twisted.internet import epollreactor

        epollreactor.install()
    else:
        from twisted.internet import asyncioreactor

        if name == "asyncio":
            asyncioreactor.install()
        else:
            import uvloop

            asyncioreactor.install(uvloop.new_event_loop())


def serve(name: str) -> None:
    """
    The server: echo, and answer each line on standard input with the CPU seconds used so far.
    """
    install(name)
    from twisted.internet import reactor, stdio
    from twisted.internet.protocol import Factory, Protocol
    from twisted.protocols.basic import LineReceiver

    class Echo(Protocol):
        def connectionMade(self) -> None:
            self.transport.setTcpNoDelay(True)  # type: ignore[union-attr]

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)  # type: ignore[union-attr]

    class Asked(LineReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            used = resource.getrusage(resource.RUSAGE_SELF)
            self.sendLine(json.dumps(used.ru_utime + used.ru_stime).encode())

        def connectionLost(self, reason: object = None) -> None:
            reactor.stop()  # type: ignore[attr-defined]

    port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")  # type: ignore[attr-defined]
    print(port.getHost().port, flush=True)
    stdio.StandardIO(Asked())
    reactor.run()  # type: ignore[attr-defined]


@dataclass
class Peer:
    """
    A server, and our connections to it.

    @ivar cpu_s: CPU seconds per message, a value for each round.
    """

    name: str
    process: subprocess.Popen[str]
    asked: TextIO
    answers: TextIO
    connections: list[socket.socket]
    cpu_s: list[float] = field(default_factory=list)

    def used_s(self) -> float:
        """The CPU seconds that the server has used."""
        self.asked.write("?\n")
        self.asked.flush()
        return float(json.loads(self.answers.readline()))

    def play(self, seconds: float) -> None:
        """Send messages for a while, and note what one costs."""
        before_s = self.used_s()
        messages = 0
        with selectors.DefaultSelector() as selector:
            for connection in self.connections:
                selector.register(connection, selectors.EVENT_READ)
                connection.send(MESSAGE)
            until = time.monotonic() + seconds
            busy = len(self.connections)
            while busy:
                going_on = time.monotonic() < until
                for key, _ in selector.select(5):
                    connection = key.fileobj  # type: ignore[assignment]
                    assert connection.recv(4096) == MESSAGE
                    messages += 1
                    if going_on:
                        connection.send(MESSAGE)
                    else:
                        busy -= 1
        self.cpu_s.append((self.used_s() - before_s) / messages)


@contextmanager
def peer(name: str, connections: int) -> Iterator[Peer]:
    """Start a server, and end it."""
    command = [sys.executable, "-m", "bench.uv_echo", "--serve", name]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=CHECKOUT
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        address = ("127.0.0.1", int(process.stdout.readline()))
        sockets = [socket.create_connection(address) for _ in range(connections)]
        try:
            yield Peer(name, process, process.stdin, process.stdout, sockets)
        finally:
            for skt in sockets:
                skt.close()
            process.stdin.close()
            process.wait(10)


def main() -> None:
    """Run it, and print a table."""
    options = argparse.ArgumentParser(prog="python -m bench.uv_echo", description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=0.5, help="of a round, for each reactor")
    options.add_argument("--connections", type=int, default=32)
    options.add_argument("--serve", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        serve(given.serve)
        return
    with ExitStack() as stack:
        peers = [stack.enter_context(peer(name, given.connections)) for name in REACTORS]
        for each in peers:
            # Warm up.
            each.play(given.seconds / 2)
            each.cpu_s.clear()
        for _ in range(given.rounds):
            for each in peers:
                each.play(given.seconds)
    least = statistics.median(peers[0].cpu_s)
    for each in peers:
        median = statistics.median(each.cpu_s)
        print(f"{each.name:20} {median * 1e6:6.1f} µs CPU per message   {median / least:4.2f} times")


if __name__ == "__main__":
    main()
