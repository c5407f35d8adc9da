"""Tests of L{tqserver.queue.api.tqs}, and of L{tqserver.queue.api.tqs_answers}."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange
from tests.queue.api.asking import ask, heard
from tqserver.queue.api.tqs import QUEUES_MAX, TQS
from tqserver.queue.api.tqs_answers import date
from tqserver.queue.expiry import Expiry
from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import LOCAL, NewTask, QueueName, Task
from tqserver.queue.store import Claim, StoreFault
from tqserver.queue.waiting import Waiting

START_MS = 1_700_000_000_000
START = "2023-11-14T22:13:20.000Z"


class TQSCase(SynchronousTestCase):
    """TQS on a store in memory, with a clock of the test's own."""

    token: str | None = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.now)
        self.waiting = Waiting(self.store, self.clock, self.now)
        self.expiry = Expiry(self.store, self.clock, self.now)
        self.expiry.start()
        self.tqs = TQS(self.store, self.waiting, self.now, api_token=self.token)

    def now(self) -> int:
        return START_MS + int(self.clock.seconds() * 1000)

    def ask(self, method: str, target: str, body: object = None, *headers: tuple[bytes, bytes]) -> FakeExchange:
        data = None if body is None else json.dumps(body).encode()
        return ask(self.tqs.api, method, target, data, headers)

    def did(self, method: str, target: str, body: object = None) -> Any:
        """Ask for what can be done."""
        exchange = self.ask(method, target, body)
        self.assertEqual(exchange.status, 200, exchange.body)
        return heard(exchange)

    def refused(self, status: int, method: str, target: str, body: object = None) -> None:
        """Ask for what cannot be done."""
        exchange = self.ask(method, target, body)
        answer = heard(exchange)
        self.assertEqual((exchange.status, list(answer), type(answer["error"])), (status, ["error"], str), answer)

    def make(self, name: str = "q", *bodies: str) -> None:
        self.did("POST", "/queues", {"name": name})
        self.did("POST", f"/queues/{name}", {"messages": [{"body": body} for body in bodies]})

    def got(self, query: str = "") -> list[str]:
        return [message["body"] for message in self.did("GET", f"/queues/q{query}")["messages"]]


class QueueTests(TQSCase):
    """Queues."""

    def test_home(self) -> None:
        """There is a page at the root, and a version."""
        self.assertEqual(self.ask("GET", "/").status, 200)
        version = self.did("GET", "/version")
        self.assertEqual(
            (sorted(version), {type(value) for value in version.values()}), (["branch", "commit", "tag"], {str})
        )

    def test_make(self) -> None:
        """A queue is made once, and listed by age."""
        for name in ("b", "a"):
            self.assertEqual(self.did("POST", "/queues", {"name": name}), {})
            self.clock.advance(1)
        self.refused(409, "POST", "/queues", {"name": "a"})
        self.refused(400, "POST", "/queues", {"name": "-a"})
        self.assertEqual(
            self.did("GET", "/queues"),
            {
                "queues": [
                    {"name": "b", "create_date": START},
                    {"name": "a", "create_date": "2023-11-14T22:13:21.000Z"},
                ]
            },
        )

    def test_case(self) -> None:
        """Names that differ in case are different names."""
        self.make("q")
        self.make("Q")
        self.assertEqual(len(self.did("GET", "/queues")["queues"]), 2)

    def test_drop(self) -> None:
        """A queue goes with its messages."""
        self.make("q", "a")
        self.assertEqual(self.did("DELETE", "/queues/q"), {})
        self.refused(404, "DELETE", "/queues/q")
        self.refused(404, "GET", "/queues/q")
        self.make("q")
        self.assertEqual(self.got(), [])

    def test_unknown(self) -> None:
        """An unknown queue is 404, whatever is asked of it."""
        for method, path, body in (
            ("GET", "", None),
            ("POST", "", {"messages": []}),
            ("DELETE", "", None),
            ("GET", "/statistics", None),
            ("DELETE", "/leases/x", None),
            ("DELETE", "/leases", {"leases": ["x"]}),
        ):
            for name in ("nope", "%ff", "..", "-", "a%2Fb"):
                self.refused(404, method, f"/queues/{name}{path}", body)

    def test_others(self) -> None:
        """What belongs to a tenant of another service is not seen here."""
        self.store.define(QueueName("acme", "secret"))
        self.assertEqual(self.did("GET", "/queues"), {"queues": []})
        self.assertEqual(self.did("GET", "/statistics"), {})
        self.refused(404, "GET", "/queues/secret")

    def test_many(self) -> None:
        """The number of queues is bounded."""
        for number in range(QUEUES_MAX):
            self.store.define(QueueName(LOCAL, f"q{number}"))
        self.refused(503, "POST", "/queues", {"name": "another"})
        self.refused(409, "POST", "/queues", {"name": "q7"})


class MessageTests(TQSCase):
    """Messages."""

    def test_lease(self) -> None:
        """A message is had with everything that belongs to it, and is invisible until its lease ends."""
        self.make()
        self.did("POST", "/queues/q", {"messages": [{"body": "hällo", "type": "application/json", "retention": 60}]})
        (message,) = self.did("GET", "/queues/q?visibility_timeout=5")["messages"]
        self.assertEqual(
            {key: value for key, value in message.items() if key not in ("id", "lease_uuid")},
            {
                "create_date": START,
                "visible_date": START,
                "expire_date": "2023-11-14T22:14:20.000Z",
                "body": "hällo",
                "type": "application/json",
                "priority": 50,
                "lease_date": START,
                "lease_timeout": 5,
            },
        )
        self.assertEqual(self.got(), [])
        self.clock.advance(4.9)
        self.assertEqual(self.got(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.got(), ["hällo"])

    def test_old_spelling(self) -> None:
        """The first clients' spelling of the timeout counts, unless the right one is there."""
        self.make("q", "a", "b")
        timeouts = [
            self.did("GET", f"/queues/q?{query}")["messages"][0]["lease_timeout"]
            for query in ("visibilty_timeout=7", "visibilty_timeout=7&visibility_timeout=8")
        ]
        self.assertEqual(timeouts, [7, 8])

    def test_default_and_cut(self) -> None:
        """What is not said is as usual, what is too much is cut."""
        self.make("q", *(f"{number}" for number in range(150)))
        (message,) = self.did("GET", "/queues/q")["messages"]
        self.assertEqual(message["lease_timeout"], 30)
        messages = self.did("GET", "/queues/q?message_count=1000&visibility_timeout=100000")["messages"]
        self.assertEqual((len(messages), messages[0]["lease_timeout"]), (100, 43_200))

    def test_bad_query(self) -> None:
        """What is too small, no number, malformed or said twice is refused, and nothing is leased."""
        self.make("q", "a")
        for query in (
            "message_count=0",
            "message_count=-1",
            "message_count=x",
            "message_count=",
            "message_count=1.5",
            "visibility_timeout=4",
            "visibilty_timeout=4",
            "wait_time=-1",
            "wait_time=true",
            "delete=maybe",
            "message_count=1&message_count=2",
            "message_count=%zz",
        ):
            self.refused(400, "GET", f"/queues/q?{query}")
        self.assertEqual(self.did("GET", "/queues/q/statistics"), {"visible": 1, "delayed": 0, "leased": 0})

    def test_order(self) -> None:
        """The smaller priority is first; of the same, the older."""
        self.make()
        self.did(
            "POST",
            "/queues/q",
            {"messages": [{"body": str(n), "priority": priority} for n, priority in enumerate([50, 100, 0, 50, 0])]},
        )
        self.assertEqual(self.got("?message_count=10"), ["2", "4", "0", "3", "1"])

    def test_done(self) -> None:
        """A message whose lease is deleted is done; a lease is deleted once, in its own queue, while it lasts."""
        self.make("q", "a", "b")
        self.make("other")
        first, second = self.did("GET", "/queues/q?message_count=2")["messages"]
        lease = first["lease_uuid"]
        self.refused(404, "DELETE", f"/queues/other/leases/{lease}")
        self.assertEqual(self.did("DELETE", f"/queues/q/leases/{lease.upper()}"), {})
        self.refused(404, "DELETE", f"/queues/q/leases/{lease}")
        self.clock.advance(30)
        self.refused(404, "DELETE", f"/queues/q/leases/{second['lease_uuid']}")
        self.assertEqual(self.got("?message_count=10"), ["b"])

    def test_no_lease(self) -> None:
        """What is no lease is 404."""
        self.make("q", "a")
        message = self.did("GET", "/queues/q")["messages"][0]
        for lease in ("x", "%00", "%ff", message["id"], message["lease_uuid"][:-1], "a" * 4000, "0" * 36):
            self.refused(404, "DELETE", f"/queues/q/leases/{lease}")

    def test_done_together(self) -> None:
        """Many leases end in one request, which tells those that it could not end."""
        self.make("q", "a", "b", "c")
        leases = [message["lease_uuid"] for message in self.did("GET", "/queues/q?message_count=3")["messages"]]
        answer = self.did("DELETE", "/queues/q/leases", {"leases": [*leases[:2], "nope", leases[0]]})
        self.assertEqual(answer, {"deleted": 2, "unknown": ["nope", leases[0]]})
        self.assertEqual(self.did("GET", "/queues/q/statistics")["leased"], 1)
        self.refused(400, "DELETE", "/queues/q/leases", {"leases": []})

    def test_take(self) -> None:
        """Who takes a message has it without a lease, and nobody else has it."""
        self.make("q", "a", "b")
        (message,) = self.did("GET", "/queues/q?delete=true")["messages"]
        self.assertEqual(
            sorted(message), ["body", "create_date", "expire_date", "id", "priority", "type", "visible_date"]
        )
        self.assertEqual(self.did("GET", "/statistics"), {"q": {"visible": 1, "delayed": 0, "leased": 0}})

    def test_delay(self) -> None:
        """A delayed message is seen when its delay is over."""
        self.make()
        self.did("POST", "/queues/q", {"messages": [{"body": "a", "delay": 10}]})
        self.assertEqual(self.did("GET", "/queues/q/statistics"), {"visible": 0, "delayed": 1, "leased": 0})
        self.clock.advance(9.9)
        self.assertEqual(self.got(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.got(), ["a"])

    def test_retention(self) -> None:
        """A message that nobody wanted in time vanishes."""
        self.make()
        self.did("POST", "/queues/q", {"messages": [{"body": "a", "retention": 60}]})
        self.clock.advance(60)
        self.assertEqual(self.did("GET", "/queues/q/statistics"), {"visible": 0, "delayed": 0, "leased": 0})

    def test_all_or_none(self) -> None:
        """If one message is bad, none is put."""
        self.make()
        self.refused(400, "POST", "/queues/q", {"messages": [{"body": "a"}, {"body": 1}]})
        self.assertEqual(self.got(), [])

    def test_foreign(self) -> None:
        """What another part of the server has put is shown as bytes of some kind."""
        self.store.create([NewTask(queue=QueueName(LOCAL, "q"), payload=b"\xff", head=b"\xff")], define=True)
        (message,) = self.did("GET", "/queues/q")["messages"]
        self.assertEqual((message["type"], message["body"]), ("application/octet-stream", "\ufffd"))


class WaitTests(TQSCase):
    """Clients that wait."""

    def test_woken(self) -> None:
        """Who waits has a message the moment it is put."""
        self.make()
        exchange = self.ask("GET", "/queues/q?wait_time=60")
        self.assertEqual(exchange.status, 0)
        self.did("POST", "/queues/q", {"messages": [{"body": "a"}]})
        self.assertEqual(heard(exchange)["messages"][0]["body"], "a")

    def test_over(self) -> None:
        """When the time is over there is nothing; nobody waits longer than a minute."""
        self.make()
        short, long = self.ask("GET", "/queues/q?wait_time=1"), self.ask("GET", "/queues/q?wait_time=9999")
        self.clock.advance(1)
        self.assertEqual(heard(short), {"messages": []})
        self.clock.advance(58)
        self.assertEqual(long.status, 0)
        self.clock.advance(1)
        self.assertEqual(heard(long), {"messages": []})

    def test_leaves_meanwhile(self) -> None:
        """Who does not wait and has left before the disk was ready has no lease: the message is still there."""
        self.make("q", "one")
        claim, asked = self.store.claim, list[tuple[Claim, Deferred[list[Task]]]]()

        def slow(wanted: Claim) -> Deferred[list[Task]]:
            asked.append((wanted, Deferred()))
            return asked[-1][1]

        self.patch(self.store, "claim", slow)
        left, taker, stays = (self.ask("GET", target) for target in ("/queues/q", "/queues/q?delete=1", "/queues/q"))
        left.client_leaves()
        for wanted, answer in asked:
            claim(wanted).chainDeferred(answer)
        self.assertEqual(left.body, b"")
        self.assertEqual(len(heard(taker)["messages"]), 1)
        self.assertEqual(heard(stays)["messages"], [])
        self.assertEqual(self.tqs.operations["leased"], 0)
        self.assertEqual(self.store.counts(QueueName("local", "q")).live, 0)

    def test_leaves(self) -> None:
        """A client that has left gets nothing: the message is there for the next."""
        self.make()
        exchange = self.ask("GET", "/queues/q?wait_time=60&delete=1")
        exchange.client_leaves()
        self.assertEqual(len(self.waiting), 0)
        self.did("POST", "/queues/q", {"messages": [{"body": "a"}]})
        self.assertEqual(self.got(), ["a"])

    def test_dropped(self) -> None:
        """Who waits when the queue is removed is told so at once, as is who takes."""
        self.make()
        waiting = [self.ask("GET", f"/queues/q?wait_time=60{more}") for more in ("", "&delete=1")]
        self.did("DELETE", "/queues/q")
        self.assertEqual([exchange.status for exchange in waiting], [404, 404])
        self.assertEqual(heard(waiting[0]), {"error": "There is no such queue."})
        self.assertEqual(len(self.waiting), 0)

    def test_end(self) -> None:
        """When the server ends, whoever waits is answered at once."""
        self.make()
        exchange = self.ask("GET", "/queues/q?wait_time=60")
        self.waiting.close()
        self.assertEqual(heard(exchange), {"messages": []})


class StatisticsTests(TQSCase):
    """Statistics."""

    def test_all(self) -> None:
        """All queues at once, as an object or as telegraf wants it."""
        self.make("q", "a", "b")
        self.make("r")
        self.got()
        q, r = {"visible": 1, "delayed": 0, "leased": 1}, {"visible": 0, "delayed": 0, "leased": 0}
        self.assertEqual(self.did("GET", "/statistics"), {"q": q, "r": r})
        self.assertEqual(self.did("GET", "/statistics?format=telegraf"), [{**q, "service": "q"}, {**r, "service": "r"}])
        self.refused(400, "GET", "/statistics?format=xml")

    def test_operations(self) -> None:
        """What was done is counted."""
        self.make("q", "a", "b", "c")
        lease = self.did("GET", "/queues/q")["messages"][0]["lease_uuid"]
        self.did("DELETE", f"/queues/q/leases/{lease}")
        self.did("GET", "/queues/q?delete=1")
        self.assertEqual(self.tqs.operations, {"put": 3, "leased": 1, "taken": 1, "finished": 1})

    def test_dates(self) -> None:
        """Dates are ISO 8601 in UTC."""
        self.assertEqual(date(START_MS + 7), "2023-11-14T22:13:20.007Z")
        self.assertEqual(date(0), "1970-01-01T00:00:00.000Z")


class TokenTests(TQSCase):
    """A service with a token."""

    token = "s3cret-token"

    def status(self, path: str, *headers: tuple[bytes, bytes]) -> int:
        return self.ask("GET", path, None, *headers).status

    def test_good(self) -> None:
        """The token may be given in three ways."""
        for header in (
            (b"authentication", b"token s3cret-token"),
            (b"authorization", b"token s3cret-token"),
            (b"authorization", b"Bearer s3cret-token"),
            (b"authorization", b"bearer  s3cret-token"),
        ):
            self.assertEqual(self.status("/queues", header), 200)

    def test_bad(self) -> None:
        """Without it, or with another, nothing is to be seen: not even whether there is something."""
        for header in (
            (b"x", b"y"),
            (b"authorization", b"s3cret-token"),
            (b"authorization", b"Basic s3cret-token"),
            (b"authorization", b"Bearer"),
            (b"authorization", b"Bearer s3cret-toke"),
            (b"authorization", b"Bearer s3cret-token2"),
            (b"authorization", b"Bearer \xff"),
        ):
            for path in ("/queues", "/queues/q", "/statistics", "/nothing", "/metrics"):
                exchange = self.ask("GET", path, None, header)
                self.assertEqual((exchange.status, list(heard(exchange))), (401, ["error"]))
                self.assertIn((b"WWW-Authenticate", b"Bearer"), exchange.response_headers)

    def test_open(self) -> None:
        """The page and the version are for everybody."""
        self.assertEqual([self.status("/"), self.status("/version")], [200, 200])


class TroubleTests(TQSCase):
    """A store that cannot do its work."""

    def test_unavailable(self) -> None:
        """Clients hear that it is our fault, why, and when to come again."""
        self.make("q", "a")
        lease = self.did("GET", "/queues/q")["messages"][0]["lease_uuid"]

        def broken(*arguments: object, **more: object) -> Deferred[Any]:
            return fail(StoreFault("The disk is full.", retry_after_s=5))

        for name in ("define", "drop", "create", "finish"):
            self.patch(self.store, name, broken)
        for method, path, body in (
            ("POST", "/queues", {"name": "new"}),
            ("POST", "/queues/q", {"messages": [{"body": ""}]}),
            ("DELETE", "/queues/q", None),
            ("DELETE", f"/queues/q/leases/{lease}", None),
        ):
            exchange = self.ask(method, path, body)
            self.assertEqual((exchange.status, exchange.header(b"retry-after")), (503, b"5"))
            self.assertEqual(heard(exchange), {"error": "The disk is full."})
