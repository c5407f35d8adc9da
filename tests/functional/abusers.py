"""
Clients that mean no good, in a process of their own: C{python -m tests.functional.abusers}.

One selector loop drives all of them, at a bounded pace and with a low priority, so that what suffers is the server and
not the machine. The first line on stdin is the order, a list of L{Crowd}s as JSON. On stdout, C{running} tells that
every crowd is there, C{done NAME} that a crowd has made all of its attempts, and the last line, after the end of
stdin, is what became of them: by crowd, how often what happened.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

PRIORITY = 10
"""What is added to our niceness (nice(2))."""

STEP_S = 0.01
"""
The loop looks at its schedule, and at what has come, a hundred times a second. It sleeps in between though much may
have come: what it takes of a core it takes from the server, which is what is watched.
"""

OPEN_PER_STEP = 40
"""Connections that one crowd opens in one go."""

ATTEMPTS_PER_ADDRESS = 10_000
"""Then another address of the loopback is used: each has 28,000 ports, and a closed one rests for a minute."""

IP_BIND_ADDRESS_NO_PORT = 24
"""ip(7): the port is chosen when we connect, when it need only be unique for the peer."""

RESET = struct.pack("ii", 1, 0)
"""C{struct linger} of socket(7): close with a reset."""

RECEIVE_BYTES = 4096
"""The receive buffer of a slow reader; the kernel doubles it."""


BLOCK = b"tqserver" * 8192


@dataclass(frozen=True)
class Crowd:
    """
    Clients that all do the same.

    @ivar name: for the report.
    @ivar behaviour: of L{BEHAVIOURS}.
    @ivar count: how many there are at once.
    @ivar path: what they ask for, if they ask.
    @ivar period_s: between two steps of a client: two bytes sent or read, or how long it stays.
    @ivar attempts: how many connections there are in all; 0: each that has ended is followed by another.
    @ivar rate: connections that are opened in a second, at most.
    """

    name: str
    behaviour: str
    count: int
    path: str = "/"
    period_s: float = 1.0
    attempts: int = 0
    rate: float = 500.0


class Client:
    """
    One connection, and what is done with it. The one here connects, and leaves after a while.

    @ivar crowd: it is one of these.
    """

    patient = True
    """It stays for as long as the server lets it."""

    def __init__(self, crowd: _Members, connection: socket.socket) -> None:
        self.crowd = crowd
        self.connection = connection

    def set_up(self) -> None:
        """Before it connects."""

    def begin(self) -> None:
        """It is connected."""

    def step(self) -> bool:
        """
        A period has passed.

        @return: whether it goes on.
        """
        return self.patient

    def wants_to_read(self) -> bool:
        """Whether it reads what comes as it comes."""
        return True

    def received(self, data: bytes) -> None:
        """Something came."""
        if data.startswith(b"HTTP/1.1 "):
            self.crowd.count(data[9:12].decode("latin-1"))

    def send(self, text: str) -> None:
        """Send something short; what does not go is not sent."""
        try:
            self.connection.send(text.encode())
        except BlockingIOError:
            pass

    def ask(self, method: str = "GET", fields: str = "") -> None:
        """Send a head."""
        self.send(f"{method} {self.crowd.order.path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")


class Mute(Client):
    """Connects and says nothing."""


class DripsHead(Client):
    """Sends a head that never ends, a byte at a time."""

    def begin(self) -> None:
        self.send(f"GET {self.crowd.order.path} HTTP/1.1\r\nHost: localhost\r\nX-Long: ")

    def step(self) -> bool:
        self.send("x")
        return True


class DripsBody(Client):
    """Sends a body that never ends, a byte at a time."""

    def begin(self) -> None:
        self.ask("POST", "Content-Length: 1000000\r\n")

    def step(self) -> bool:
        self.send("x")
        return True


class Pours(Client):
    """Sends as much of a body as it can, to whoever reads it or not."""

    def begin(self) -> None:
        self.ask("POST", "Content-Length: 1000000000\r\n")
        self.step()

    def step(self) -> bool:
        try:
            while self.connection.send(BLOCK):
                pass
        except BlockingIOError:
            pass
        return True


class Deaf(Client):
    """Asks and never reads the answer. When the server has given it up, it comes back."""

    def set_up(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)

    def begin(self) -> None:
        self.ask()

    def step(self) -> bool:
        error = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        return True

    def wants_to_read(self) -> bool:
        return False


class Sips(Deaf):
    """Asks, and reads the answer a byte at a time."""

    def step(self) -> bool:
        try:
            return super().step() and bool(self.connection.recv(1))
        except BlockingIOError:
            return True


class Asks(Client):
    """Asks and reads the answer to its end, however long that takes."""

    def begin(self) -> None:
        self.ask(fields="Connection: close\r\n")


class Loads(Asks):
    """Likewise; there is so much of it that it takes what it can."""


class Hasty(Client):
    """Asks and does not wait for the answer: it leaves in one of several ways."""

    patient = False
    _turn = 0

    def begin(self) -> None:
        turn = Hasty._turn = (Hasty._turn + 1) % 5
        if turn == 1:
            self.ask()
        elif turn == 2:
            self.send("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 is this a TLS port?\r\n\r\n")
        elif turn == 3:
            self.send("GET / HT")
        elif turn == 4:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


BEHAVIOURS: dict[str, type[Client]] = {
    "mute": Mute,
    "drips head": DripsHead,
    "drips body": DripsBody,
    "pours": Pours,
    "deaf": Deaf,
    "sips": Sips,
    "asks": Asks,
    "loads": Loads,
    "hasty": Hasty,
}


@dataclass
class _Members:
    """
    The clients of one crowd.

    @ivar allowed: how many it might have opened by now, by its rate.
    """

    order: Crowd
    counts: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    open: int = 0
    allowed: float = 0.0

    def count(self, what: str) -> None:
        """Something has happened."""
        self.counts[what] += 1

    def due(self, passed_s: float) -> int:
        """How many to open now, after a time."""
        order = self.order
        self.allowed = min(self.allowed + passed_s * order.rate, float(OPEN_PER_STEP))
        wanted = min(int(self.allowed), order.count - self.open)
        if order.attempts:
            wanted = min(wanted, order.attempts - self.opened)
        self.allowed -= max(wanted, 0)
        return max(wanted, 0)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return bool(self.order.attempts) and self.opened == self.order.attempts and not self.open


class Abuse:
    """All crowds."""

    def __init__(self, address: tuple[str, int], orders: list[Crowd]) -> None:
        self._address = address
        self._crowds = [_Members(order) for order in orders]
        self._selector = selectors.DefaultSelector()
        self._steps: list[tuple[float, int, Client]] = []
        self._opened = 0
        self._scheduled = 0

    def run(self) -> dict[str, dict[str, int]]:
        """Go on until stdin ends."""
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        told: set[str] = set()
        began = False
        before = time.monotonic()
        while True:
            time.sleep(STEP_S)
            now = time.monotonic()
            for crowd in self._crowds:
                for _ in range(crowd.due(now - before)):
                    self._open(crowd)
                if crowd.done and crowd.order.name not in told:
                    told.add(crowd.order.name)
                    print(f"done {crowd.order.name}", flush=True)
            before = now
            if not began and all(crowd.opened >= crowd.order.count for crowd in self._crowds):
                began = True
                print("running", flush=True)
            for key, _ in self._selector.select(0):
                if key.data is None:
                    return self._report()
                self._ready(key.data, key.events)
            self._step(now)

    def _report(self) -> dict[str, dict[str, int]]:
        return {
            crowd.order.name: {"opened": crowd.opened, "open": crowd.open, **crowd.counts} for crowd in self._crowds
        }

    def _open(self, crowd: _Members) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((f"127.0.0.{2 + self._opened // ATTEMPTS_PER_ADDRESS}", 0))
        self._opened += 1
        client = BEHAVIOURS[crowd.order.behaviour](crowd, connection)
        client.set_up()
        crowd.opened += 1
        crowd.open += 1
        error = connection.connect_ex(self._address)
        if error not in (0, errno.EINPROGRESS):
            crowd.count(errno.errorcode.get(error, str(error)))
            self._end(client)
            return
        self._selector.register(connection, selectors.EVENT_WRITE, client)

    def _ready(self, client: Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                error = client.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, os.strerror(error))
                client.crowd.count("connected")
                self._selector.unregister(client.connection)
                client.begin()
                if client.wants_to_read():
                    self._selector.register(client.connection, selectors.EVENT_READ, client)
                self._later(client)
                return
            data = client.connection.recv(65536)
            if not data:
                client.crowd.count("sent away")
                self._end(client)
            else:
                client.received(data)
        except OSError as error:
            self._lost(client, error)

    def _lost(self, client: Client, error: OSError) -> None:
        client.crowd.count(errno.errorcode.get(error.errno or 0, "lost"))
        self._end(client)

    def _later(self, client: Client) -> None:
        self._scheduled += 1
        heapq.heappush(self._steps, (time.monotonic() + client.crowd.order.period_s, self._scheduled, client))

    def _step(self, now: float) -> None:
        while self._steps and self._steps[0][0] <= now:
            client = heapq.heappop(self._steps)[2]
            if client.connection.fileno() == -1:
                continue
            try:
                goes_on = client.step()
            except OSError as error:
                self._lost(client, error)
                continue
            if goes_on:
                self._later(client)
            else:
                client.crowd.count("left")
                self._end(client)

    def _end(self, client: Client) -> None:
        client.crowd.open -= 1
        try:
            self._selector.unregister(client.connection)
        except KeyError:
            pass
        client.connection.close()


def as_order(port: int, crowds: list[Crowd]) -> str:
    """The order, as a line."""
    return json.dumps({"port": port, "crowds": [asdict(crowd) for crowd in crowds]}) + "\n"


def main() -> None:
    """Do what stdin says."""
    os.nice(PRIORITY)
    order = json.loads(sys.stdin.readline())
    abuse = Abuse(("127.0.0.1", order["port"]), [Crowd(**crowd) for crowd in order["crowds"]])
    print(json.dumps(abuse.run()), flush=True)


if __name__ == "__main__":
    main()
