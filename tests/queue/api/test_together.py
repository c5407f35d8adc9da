"""Tests of L{tqserver.queue.api.together}, with the requests of TQS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange
from tests.queue.api.asking import ask, heard
from tqserver.queue.api import together
from tqserver.queue.api.tqs import TQS
from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import LOCAL, NewTask, QueueName
from tqserver.queue.store import Claim, Finish, StoreFault
from tqserver.queue.waiting import Waiting

QUEUE = QueueName(LOCAL, "q")


class Oops(Exception):
    """A mistake of ours."""


class Counted(MemoryStore):
    """Writes down what it is asked for: about how many tasks each step is."""

    asked: list[tuple[str, int]]
    trouble: Exception | None = None
    bad = b"bad"

    def create(self, tasks: Sequence[NewTask], *, define: bool = False) -> Deferred[Any]:
        self.asked.append(("create", len(tasks)))
        if any(task.payload == self.bad for task in tasks):
            return fail(self.trouble or Oops())
        return super().create(tasks, define=define)

    def claim(self, claim: Claim) -> Deferred[Any]:
        self.asked.append(("claim", claim.limit))
        return super().claim(claim)

    def finish(self, finishes: Sequence[Finish]) -> Deferred[Any]:
        self.asked.append(("finish", len(finishes)))
        return super().finish(finishes)


class TogetherCase(SynchronousTestCase):
    """TQS, and turns that end when the test says so."""

    tasks_max = 0

    def setUp(self) -> None:
        self.store = Counted(lambda: 1_700_000_000_000, tasks_max=self.tasks_max)
        self.store.asked = []
        self.ends: list[Callable[[], None]] = []
        waiting = Waiting(self.store, Clock(), lambda: 1_700_000_000_000)
        self.tqs = TQS(self.store, waiting, lambda: 1_700_000_000_000, soon=self.ends.append)
        self.store.define(QUEUE)

    def turn(self) -> list[tuple[str, int]]:
        """The turn ends; gives what the store was asked for."""
        ends = self.ends.copy()
        self.ends.clear()
        for end in ends:
            end()
        asked, self.store.asked = self.store.asked, []
        return asked

    def put(self, *bodies: str) -> FakeExchange:
        text = ",".join(f'{{"body": "{body}"}}' for body in bodies)
        return ask(self.tqs.api, "POST", "/queues/q", f'{{"messages": [{text}]}}'.encode())

    def get(self, query: str = "") -> FakeExchange:
        return ask(self.tqs.api, "GET", f"/queues/q{query}")

    def bodies(self, exchange: FakeExchange) -> list[str]:
        return [message["body"] for message in heard(exchange)["messages"]]

    def end(self, got: FakeExchange) -> FakeExchange:
        (message,) = heard(got)["messages"]
        return ask(self.tqs.api, "DELETE", f"/queues/q/leases/{message['lease_uuid']}")


class TogetherTests(TogetherCase):
    """Several clients in one turn of the reactor."""

    def test_one_step(self) -> None:
        """What many ask for at the same time costs the store one step of each kind, and each has an answer."""
        puts = [self.put(str(number)) for number in range(5)]
        self.assertEqual([put.status for put in puts], [0] * 5)
        self.assertEqual(self.turn(), [("create", 5)])
        self.assertEqual([put.status for put in puts], [200] * 5)
        gets = [self.get() for _ in range(5)]
        self.assertEqual(self.turn(), [("claim", 5)])
        self.assertEqual([self.bodies(get) for get in gets], [["0"], ["1"], ["2"], ["3"], ["4"]])
        ends = [self.end(get) for get in gets]
        self.assertEqual(self.turn(), [("finish", 5)])
        self.assertEqual([end.status for end in ends], [200] * 5)
        self.assertEqual(self.store.counts(QUEUE).live, 0)
        self.assertEqual(self.tqs.operations, {"put": 5, "leased": 5, "taken": 0, "finished": 5})

    def test_alone(self) -> None:
        """Who comes in a turn alone does not wait for others."""
        put = self.put("a")
        self.assertEqual((self.turn(), put.status), ([("create", 1)], 200))
        self.assertEqual(self.turn(), [])

    def test_shares(self) -> None:
        """Who came first is served first, with as many as wanted; for the last there may be none."""
        self.put(*"abcde")
        self.turn()
        gets = [self.get(f"?message_count={count}") for count in (2, 1, 3, 4)]
        self.assertEqual(self.turn(), [("claim", 10)])
        self.assertEqual([self.bodies(get) for get in gets], [["a", "b"], ["c"], ["d", "e"], []])

    def test_apart(self) -> None:
        """Other leases are other steps."""
        self.put(*"abcdef")
        self.turn()
        gets = [self.get(query) for query in ("", "?visibility_timeout=9", "?delete=1", "")]
        self.assertEqual(sorted(self.turn()), [("claim", 1), ("claim", 1), ("claim", 2)])
        self.assertEqual([len(self.bodies(get)) for get in gets], [1] * 4)
        messages = [message for get in gets for message in heard(get)["messages"]]
        self.assertEqual([message.get("lease_timeout") for message in messages], [30, 9, None, 30])

    def test_refused_alone(self) -> None:
        """A lease that is not known does not keep others from ending."""
        self.put("a")
        self.turn()
        got = self.get()
        self.turn()
        ends = [ask(self.tqs.api, "DELETE", "/queues/q/leases/x"), self.end(got)]
        self.assertEqual(self.turn(), [("finish", 2)])
        self.assertEqual([end.status for end in ends], [404, 200])

    def test_mistake(self) -> None:
        """If something goes wrong with one, the others are served."""
        puts = [self.put(body) for body in ("a", "bad", "c")]
        self.assertEqual(self.turn(), [("create", 3), ("create", 1), ("create", 1), ("create", 1)])
        self.assertEqual([put.status for put in puts], [200, 500, 200])
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_unavailable(self) -> None:
        """If the store cannot do its work, all are told, and it is not asked again for each."""
        self.store.trouble = StoreFault("The disk is full.")
        puts = [self.put(body) for body in ("a", "bad")]
        self.assertEqual(self.turn(), [("create", 2)])
        self.assertEqual([put.status for put in puts], [503, 503])

    def test_bounds(self) -> None:
        """No step becomes larger for it than its limits; a request that is larger itself goes alone."""
        self.patch(together, "TASKS_MAX", 4)
        for bodies in ("ab", "c", "de", "fghijk", "l"):
            self.put(*bodies)
        self.assertEqual(self.turn(), [("create", 3), ("create", 2), ("create", 6), ("create", 1)])
        self.patch(together, "BYTES_MAX", 100)
        for body in ("a", "b" * 30, "c" * 40):
            self.put(body)
        self.assertEqual(self.turn(), [("create", 2), ("create", 1)])

    def test_leaves(self) -> None:
        """What was leased for a client that has left is there again, what was taken for one is gone."""
        claims: list[Deferred[None]] = []
        claim = self.store.claim

        def slow(wanted: Claim) -> Deferred[Any]:
            claims.append(Deferred())
            return claims[-1].addCallback(lambda _: claim(wanted))

        self.patch(self.store, "claim", slow)
        self.put(*"abc")
        self.turn()
        left, stays, taker = self.get(), self.get(), self.get("?delete=1")
        self.turn()
        left.client_leaves()
        taker.client_leaves()
        for each in claims:
            each.callback(None)
        self.assertEqual((left.body, taker.body, self.bodies(stays)), (b"", b"", ["b"]))
        self.assertEqual((self.store.counts(QUEUE).ready, self.store.counts(QUEUE).leased), (1, 1))
        self.assertEqual((self.tqs.operations["leased"], self.tqs.operations["taken"]), (1, 1))

    def test_slow_answer(self) -> None:
        """An answer that goes wrong is one client's."""
        puts = [self.put("a"), self.put("b")]

        def oops() -> None:
            raise Oops

        puts[0].when_over(oops)
        self.turn()
        self.assertEqual([put.status for put in puts], [200, 200])
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)


class FullTests(TogetherCase):
    """A store that holds no more than a few."""

    tasks_max = 100

    def test_full(self) -> None:
        """As many are put as there is room for, as if they had come one after the other."""
        self.put(*["x"] * 98)
        self.turn()
        puts = [self.put("a"), self.put("b", "c"), self.put("d"), self.put("e")]
        self.turn()
        self.assertEqual([put.status for put in puts], [200, 503, 200, 503])
        self.assertEqual(self.store.counts(QUEUE).ready, 100)
