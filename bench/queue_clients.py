"""
The clients of the queue's ledger: producers and consumers of TQS that account for every message.

What a producer was told is stored has to come to a consumer; what a consumer was told is done must not come again; what
was refused must never come. Of what was not answered nobody can know.
"""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass, field

from bench.wire import Connection, Lost, Response

ASK_AGAIN_S = 0.02
"""After a connection was refused, or the server had no room."""
LEASE_S = 5
"""The shortest that there is: what a killed server gave away comes again after it."""
WAIT_S = 1
BATCH_MAX = 10
LEFT_SHARE = 0.01
"""Of the messages: their leases are left to end."""
KEPT_MAX = 20
"""Of each kind of mistake: so many are told."""


@dataclass
class Account:
    """
    What is known of every message, by its body.

    @ivar stored: those whose put was confirmed.
    @ivar unsure: those whose put was not answered.
    @ivar refused: those whose put was answered with 503, which says that nothing of it has happened.
    @ivar delivered: how often each came to a consumer.
    @ivar done: when its end was confirmed (seconds, monotonic).
    @ivar perhaps_done: those whose end was asked for and not answered.
    @ivar again: those that came to a consumer that asked after their end was confirmed.
    @ivar strange: answers that are none of the contract's.
    """

    stored: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    delivered: dict[str, int] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)
    perhaps_done: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    strange: list[str] = field(default_factory=list)
    leases_lost: int = 0
    refusals: int = 0

    @property
    def lost(self) -> set[str]:
        """What was stored and never came."""
        return self.stored - self.delivered.keys()

    @property
    def not_ended(self) -> set[str]:
        """What was stored, and nobody has ended."""
        return self.stored - self.done.keys() - self.perhaps_done

    @property
    def phantoms(self) -> set[str]:
        """What came though it had been refused, or was never put."""
        return self.delivered.keys() - self.stored - self.unsure

    @property
    def open_count(self) -> int:
        """How many are stored and not done, as far as is known."""
        return len(self.stored) - len(self.done)

    def problems(self) -> list[str]:
        """What must not be."""
        found = {
            "stored and never delivered": self.lost,
            "stored and never ended": self.not_ended,
            "delivered after its end was confirmed": self.again,
            "delivered though it was refused": self.phantoms,
        }
        lines = [f"{len(bodies)} {what}: {sorted(bodies)[:KEPT_MAX]}" for what, bodies in found.items() if bodies]
        return [*lines, *(f"a strange answer: {answer}" for answer in self.strange[:KEPT_MAX])]


@dataclass(frozen=True)
class Work:
    """
    What clients do.

    @ivar prefix: before every path.
    @ivar body_bytes: least length of a message.
    @ivar open_max: stored and not done messages, beyond which producers wait; 0 is no limit. See L{Clients.allow}.
    """

    port: int
    prefix: str = ""
    queue: str = "ledger"
    producers: int = 4
    consumers: int = 4
    body_bytes: int = 50
    open_max: int = 1000
    seed: int = 1


class Clients:
    """
    All clients, a thread each. As a context: leaving stops them.

    @ivar account: to be looked at after L{stop}, or under L{lock}.
    """

    def __init__(self, work: Work) -> None:
        self.account = Account()
        self.lock = threading.Condition()
        self._work = work
        self._open_max = work.open_max
        self._producing = self._consuming = True
        self._threads = [
            threading.Thread(target=run, args=(number, random.Random(f"{work.seed}.{name}.{number}")), daemon=True)
            for name, run, count in (
                ("producer", self._produce, work.producers),
                ("consumer", self._consume, work.consumers),
            )
            for number in range(count)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def allow(self, open_max: int) -> None:
        """Have producers wait beyond another number of messages; 0 is no limit."""
        with self.lock:
            self._open_max = open_max
            self.lock.notify_all()

    def stop_producing(self) -> None:
        """Put nothing more."""
        with self.lock:
            self._producing = False
            self.lock.notify_all()

    def stop(self) -> None:
        """End."""
        with self.lock:
            self._producing = self._consuming = False
            self.lock.notify_all()
        for thread in self._threads:
            thread.join()

    def stored(self) -> int:
        """How many messages are stored so far."""
        with self.lock:
            return len(self.account.stored)

    def refusals(self) -> int:
        """How many requests were answered with 503 so far."""
        with self.lock:
            return self.account.refusals

    # Producers.

    def _produce(self, number: int, chance: random.Random) -> None:
        work, made = self._work, 0
        connection = Connection(("127.0.0.1", work.port))
        while self._may_produce():
            bodies = [f"{number}.{made + index}" for index in range(chance.randint(1, BATCH_MAX))]
            made += len(bodies)
            messages = [{"body": f"{body} {'x' * work.body_bytes}"} for body in bodies]
            how, response = self._ask(connection, "POST", f"/queues/{work.queue}", {"messages": messages})
            with self.lock:
                account = self.account
                if response is None:
                    account.unsure.update(bodies if how != "refused" else ())
                elif response.status == 200:
                    account.stored.update(bodies)
                elif response.status == 503:
                    account.refused.update(bodies)
                else:
                    account.unsure.update(bodies)
                    self._note(response, "POST", {502, 504})
                self.lock.notify_all()
        connection.close()

    def _may_produce(self) -> bool:
        with self.lock:
            self.lock.wait_for(
                lambda: not self._producing or not self._open_max or self.account.open_count < self._open_max
            )
            return self._producing

    # Consumers.

    def _consume(self, number: int, chance: random.Random) -> None:
        work = self._work
        connection = Connection(("127.0.0.1", work.port))
        path = f"/queues/{work.queue}?message_count={BATCH_MAX}&visibility_timeout={LEASE_S}&wait_time={WAIT_S}"
        while self._consuming:
            asked = time.monotonic()
            _, response = self._ask(connection, "GET", path)
            if response is None or response.status != 200:
                if response is not None:
                    self._note(response, "GET", {502, 503, 504})
                continue
            leases = self._delivered(json.loads(response.body)["messages"], asked)
            for body in [body for body in leases if chance.random() < LEFT_SHARE]:
                del leases[body]
            if leases and chance.random() < 0.5:
                self._end_all(connection, leases)
            else:
                self._end_each(connection, leases)
        connection.close()

    def _delivered(self, messages: list[dict[str, str]], asked: float) -> dict[str, str]:
        """Write down what came; return leases by body."""
        leases = {message["body"].partition(" ")[0]: message["lease_uuid"] for message in messages}
        with self.lock:
            account = self.account
            for body in leases:
                account.delivered[body] = account.delivered.get(body, 0) + 1
                if account.done.get(body, asked) < asked:
                    account.again.add(body)
        return leases

    def _end_each(self, connection: Connection, leases: dict[str, str]) -> None:
        for body, lease in leases.items():
            how, response = self._ask(connection, "DELETE", f"/queues/{self._work.queue}/leases/{lease}")
            with self.lock:
                if response is not None and response.status == 200:
                    self.account.done[body] = time.monotonic()
                elif response is not None and response.status == 404:
                    self.account.leases_lost += 1
                else:
                    self._not_ended([body], "DELETE", how, response)
                self.lock.notify_all()

    def _end_all(self, connection: Connection, leases: dict[str, str]) -> None:
        what = {"leases": list(leases.values())}
        how, response = self._ask(connection, "DELETE", f"/queues/{self._work.queue}/leases", what)
        with self.lock:
            if response is not None and response.status == 200:
                unknown = set(json.loads(response.body)["unknown"])
                self.account.leases_lost += len(unknown)
                now = time.monotonic()
                self.account.done.update((body, now) for body, lease in leases.items() if lease not in unknown)
            else:
                self._not_ended(list(leases), "DELETE", how, response)
            self.lock.notify_all()

    def _not_ended(self, bodies: list[str], method: str, how: str, response: Response | None) -> None:
        """An end was not confirmed."""
        if response is None or response.status != 503:
            if how != "refused":
                self.account.perhaps_done.update(bodies)
            if response is not None:
                self._note(response, method, {502, 504})

    # Both.

    def _ask(self, connection: Connection, method: str, path: str, value: object = None) -> tuple[str, Response | None]:
        """How a request was lost, or its response."""
        body = None if value is None else json.dumps(value).encode()
        try:
            response = connection.ask(method, self._work.prefix + path, body)
        except Lost as lost:
            if lost.how == "malformed":
                with self.lock:
                    self.account.strange.append(f"{method} {path[:60]}: {lost}")
            time.sleep(ASK_AGAIN_S)
            return lost.how, None
        if response.status == 503:
            with self.lock:
                self.account.refusals += 1
            time.sleep(ASK_AGAIN_S)
        return "", response

    def _note(self, response: Response, method: str, expected: set[int]) -> None:
        if response.status not in expected:
            self.account.strange.append(f"{method}: {response.status} {response.body[:200]!r}")
