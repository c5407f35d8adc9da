"""
The clients of the ledger, in a process of their own: C{python -m bench.clients}.

The first line on stdin is the order (L{Order} as JSON). Further lines are C{hold KIND}, C{release KIND} and C{stop}.
On stdout, C{running} tells that all clients are at work, C{held KIND} that no request to that kind of worker is under
way, and the last line is the account (L{Account} as JSON).
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from bench.wire import Connection, Lost, Response

LOST_KEPT_MAX = 200
"""Lost requests are all counted; this many are described."""
BODY_BYTES_MAX = 40_000
"""Of a request; more than a socket buffer takes at once would hide nothing more, but cost time."""
REFUSED_PAUSE_S = 0.05
"""A client that is refused must not count thousands of refusals a second."""


@dataclass(frozen=True)
class Order:
    """
    What the clients shall do.

    @ivar kinds: of C{go}, C{bun}, C{php}, C{python}.
    @ivar rate: requests per second of all clients together; 0: as many as they can.
    """

    host: str
    port: int
    clients: int
    kinds: tuple[str, ...]
    rate: float
    seed: int
    timeout_s: float = 30.0


@dataclass(frozen=True)
class LostRequest:
    """One request that was not answered as it should have been; C{began} and C{ended} by C{time.monotonic}."""

    kind: str
    method: str
    path: str
    how: str
    detail: str
    began: float
    ended: float


@dataclass
class Account:
    """Every request: C{sent} is the sum of C{answered} by status and C{broken} by how they were lost."""

    sent: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    by_call: dict[str, int] = field(default_factory=dict)
    lost_count: int = 0
    lost: list[LostRequest] = field(default_factory=list)
    connections: int = 0
    slowest_s: float = 0.0

    @classmethod
    def from_json(cls, text: str) -> Account:
        """The account that C{json.dumps(asdict(account))} wrote."""
        values = json.loads(text)
        values["lost"] = [LostRequest(**lost) for lost in values["lost"]]
        return cls(**values)


Check = Callable[[Response], str]
"""What is wrong with a response; empty if nothing is."""


@dataclass(frozen=True)
class Call:
    """One request to make."""

    kind: str
    method: str
    path: str
    check: Check
    body: bytes | None = None
    headers: str = ""


def _answers(status: int, body: bytes | None = None) -> Check:
    def check(response: Response) -> str:
        if response.status != status:
            return f"status {response.status} instead of {status}: {response.body[:200]!r}"
        if body is not None and response.body != body:
            return f"another body of {len(response.body)} bytes: {response.body[:80]!r}"
        return ""

    return check


def _is_version(prefix: str) -> Check:
    def check(response: Response) -> str:
        text = response.body.decode("latin-1").split(" ")[0].strip()
        whole = text.startswith(prefix) and text[len(prefix) :].isdigit()
        return _answers(200)(response) or ("" if whole else f"no version: {text[:80]!r}")

    return check


def _made_item(name: str) -> Check:
    def check(response: Response) -> str:
        if problem := _answers(201)(response):
            return problem
        try:
            item = json.loads(response.body)
        except ValueError:
            return f"no JSON: {response.body[:80]!r}"
        return "" if item.get("name") == name else f"another item: {item!r}"

    return check


def next_call(kind: str, chance: random.Random) -> Call:
    """Choose a request to one kind of worker; what it sends is random, so that no answer can be another's."""
    body = chance.randbytes(chance.choice((1, 100, 5_000, BODY_BYTES_MAX)))
    chunked = "Transfer-Encoding: chunked\r\n" if chance.random() < 0.25 else ""
    name = f"item {chance.getrandbits(64):x}"
    item = json.dumps({"name": name, "quantity": 1}).encode()
    as_json = "Content-Type: application/json\r\n"
    choices = {
        "go": (
            Call(kind, "GET", "/bench", _answers(200, b"hello world")),
            Call(kind, "GET", "/version", _is_version("")),
            Call(kind, "GET", "/style.css", _answers(200)),
            Call(kind, "POST", "/echo", _answers(200, body), body, chunked),
        ),
        "bun": (
            Call(kind, "GET", "/api/bench", _answers(200, b"hello world")),
            Call(kind, "GET", "/api/version", _is_version("")),
            Call(kind, "POST", "/api/items", _made_item(name), item, as_json),
        ),
        "php": (
            Call(kind, "GET", "/blog/bench.php", _answers(200, b"hello world")),
            Call(kind, "GET", "/blog/version.php", _is_version("")),
            Call(kind, "GET", "/blog/posts/saving-is-enough", _answers(200)),
            Call(kind, "POST", "/blog/echo.php", _answers(200, body), body, chunked),
        ),
        "python": (
            Call(kind, "GET", "/hello", _is_version("v")),
            Call(kind, "POST", "/hello", _answers(200, body), body),
        ),
    }
    return chance.choice(choices[kind])


class Clients:
    """All clients, a thread each."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._account = Account()
        self._answered: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self._by_call: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._under_way: Counter[str] = Counter()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, args=(index,), daemon=True) for index in range(order.clients)
        ]

    def start(self) -> None:
        """Set all clients to work."""
        for thread in self._threads:
            thread.start()

    def hold(self, kind: str) -> None:
        """Return when no request to this kind of worker is under way; none is sent until L{release}."""
        with self._changed:
            self._held.add(kind)
            self._changed.wait_for(lambda: self._under_way[kind] == 0)

    def release(self, kind: str) -> None:
        """Ask this kind of worker again."""
        with self._changed:
            self._held.discard(kind)
            self._changed.notify_all()

    def stop(self) -> Account:
        """Let every request end, and give the account."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        account = self._account
        account.answered = dict(sorted(self._answered.items()))
        account.broken = dict(sorted(self._broken.items()))
        account.by_call = dict(sorted(self._by_call.items()))
        return account

    def _run(self, index: int) -> None:
        chance = random.Random(f"{self._order.seed}.{index}")
        connection = Connection((self._order.host, self._order.port), self._order.timeout_s)
        pause_s = self._order.clients / self._order.rate if self._order.rate else 0.0
        while (kind := self._next_kind(chance)) is not None:
            call = next_call(kind, chance)
            began = time.monotonic()
            refused = self._make(connection, call, began)
            left_s = pause_s - (time.monotonic() - began)
            time.sleep(max(left_s, REFUSED_PAUSE_S if refused else 0.0, 0.0))
        connection.close()
        with self._changed:
            self._account.connections += connection.opened

    def _next_kind(self, chance: random.Random) -> str | None:
        """A kind that may be asked now, which then counts as under way; L{None} at the end."""
        with self._changed:
            while not self._stopping:
                free = [kind for kind in self._order.kinds if kind not in self._held]
                if free:
                    kind = chance.choice(free)
                    self._under_way[kind] += 1
                    return kind
                self._changed.wait()
            return None

    def _make(self, connection: Connection, call: Call, began: float) -> bool:
        """Make one request and write it down; true if it was refused."""
        how = problem = status = ""
        try:
            response = connection.ask(call.method, call.path, call.body, call.headers)
        except Lost as lost:
            how, problem = lost.how, lost.detail
        else:
            status = str(response.status)
            problem = call.check(response)
        self._write_down(call, began, status, how, problem)
        return how == "refused"

    def _write_down(self, call: Call, began: float, status: str, how: str, problem: str) -> None:
        ended = time.monotonic()
        with self._changed:
            account = self._account
            account.sent += 1
            account.slowest_s = max(account.slowest_s, ended - began)
            self._by_call[f"{call.method} {call.path}"] += 1
            if status:
                self._answered[status] += 1
            else:
                self._broken[how] += 1
            if problem:
                account.lost_count += 1
                if len(account.lost) < LOST_KEPT_MAX:
                    how = how or (status if status >= "500" else "wrong answer")
                    account.lost.append(LostRequest(call.kind, call.method, call.path, how, problem, began, ended))
            self._under_way[call.kind] -= 1
            if self._under_way[call.kind] == 0:
                self._changed.notify_all()


def main() -> None:
    """Do what stdin says."""
    values = json.loads(sys.stdin.readline())
    values["kinds"] = tuple(values["kinds"])
    clients = Clients(Order(**values))
    clients.start()
    print("running", flush=True)
    for line in sys.stdin:  # its end is a stop as well: whoever gave the orders has gone
        verb, _, kind = line.strip().partition(" ")
        if verb == "hold":
            clients.hold(kind)
            print(f"held {kind}", flush=True)
        elif verb == "release":
            clients.release(kind)
        elif verb == "stop":
            break
        else:
            raise SystemExit(f"unknown order: {line!r}")
    print(json.dumps(asdict(clients.stop())), flush=True)


if __name__ == "__main__":
    main()
