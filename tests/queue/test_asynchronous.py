"""Requests that are answered later: how they are stored, and how their answers are had."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred

from tests.front.fakes import FakeExchange, request_head
from tests.queue.api import asking  # noqa: F401  # A call is a sink of bodies for the fake exchange.
from tests.queue.delivering import DeliveringCase
from tqserver.queue.asynchronous import Asynchronous, Rules
from tqserver.queue.model import State, Task
from tqserver.queue.own import OWN, REQUESTS
from tqserver.queue.requests import Replayed


class AsynchronousTests(DeliveringCase):
    """A queue that keeps requests and delivers them."""

    def setUp(self) -> None:
        super().setUp()
        rules = Rules(body_bytes_max=10, keep_ms=5000, attempts_max=2)
        self.asynchronous = Asynchronous(self.store, self.reactor, rules, self.deliveries.cancel)
        self.deliveries._told = self.asynchronous.ended
        self.deliver(Replayed(), queue=REQUESTS, to="", attempts_max=2, result_bytes_max=10)

    def exchange(self, method: bytes, target: bytes, prefer: bytes = b"", body: bytes | None = None) -> FakeExchange:
        """A request that has come."""
        headers = [(b"x-task-async", b"/queue")]
        if prefer:
            headers.append((b"prefer", prefer))
        length = len(body) if body is not None else 0
        return FakeExchange(request_head(method, target, headers, content_length=length), body=body)

    def store_one(self, prefer: bytes = b"respond-async", body: bytes | None = b"{}") -> FakeExchange:
        """A request is to be kept."""
        exchange = self.exchange(b"POST", b"/api/x", prefer, body)
        self.asynchronous.take(exchange)  # type: ignore[arg-type]
        self.turn()
        return exchange

    def place(self, exchange: FakeExchange) -> str:
        """The id that a client was told."""
        location = exchange.header(b"location")
        assert location is not None
        self.assertTrue(location.startswith(b"/queue/async/"))
        return location.rpartition(b"/")[2].decode()

    def look(self, id: str, prefer: bytes = b"", method: bytes = b"GET") -> FakeExchange:
        """Somebody asks what became of it."""
        exchange = self.exchange(method, b"/async/" + id.encode(), prefer)
        self.asynchronous.api(exchange, b"/" + id.encode())  # type: ignore[arg-type]
        self.turn()
        return exchange

    def test_stored(self) -> None:
        """It is stored before I am answered: 202, where to ask, and when."""
        exchange = self.store_one()
        self.assertEqual((exchange.status, exchange.header(b"retry-after")), (202, b"1"))
        self.assertEqual(exchange.header(b"preference-applied"), b"respond-async")
        id = self.place(exchange)
        self.assertEqual(json.loads(bytes(exchange.body))["id"], id)
        task = self.task(id, OWN)
        self.assertEqual((task.payload, task.state, task.keep_ms), (b"{}", State.LEASED, 5000))
        wire = self.accept()
        self.assertTrue(self.asked(wire).startswith(b"POST /api/x HTTP/1.1\r\nhost: example.test\r\n"))

    def test_answer(self) -> None:
        """When my request is done I have the worker's own answer, as often as I ask, for as long as it is kept."""
        id = self.place(self.store_one())
        self.assertEqual(self.look(id).status, 202)
        self.reply(self.accept(), "201 Made", b"yes", "X-Mine: 1", "Set-Cookie: a=b")
        for _ in range(2):
            exchange = self.look(id)
            self.assertEqual((exchange.status, bytes(exchange.body)), (201, b"yes"))
            self.assertEqual((exchange.header(b"x-mine"), exchange.header(b"set-cookie")), (b"1", b"a=b"))
        self.wait(5)
        self.successResultOf(self.store.sweep())
        self.assert_unknown(id)

    def assert_unknown(self, id: str) -> None:
        """Nobody knows it."""
        exchange = self.look(id)
        self.assertEqual(exchange.status, 404)

    def test_wait(self) -> None:
        """Who waits is answered the moment there is an answer, or when the time is over; nobody looks in between."""
        id = self.place(self.store_one())
        first, second, long = (
            self.look(id, b"wait=5"),
            self.look(id, b"wait=60"),
            self.look(id, b"wait=99999999999999999999"),
        )
        self.wait(5)
        self.assertEqual((first.status, second.status, long.status), (202, 0, 0))
        self.reply(self.accept(), "200 OK", b"yes")
        self.assertEqual((second.status, long.status), (200, 200))
        self.assertEqual(self.asynchronous.waiters, {})

    def test_ended_while_it_was_read(self) -> None:
        """Who begins to wait in the moment in which there is an answer has it at once."""
        id = self.place(self.store_one())
        read: Deferred[None] = Deferred()
        get = self.store.get

        def slow_get(tenant: str, ids: list[str]) -> Deferred[list[Task | None]]:
            found = get(tenant, ids)
            self.store.get = get  # type: ignore[method-assign]
            return read.addCallback(lambda _: found)

        self.store.get = slow_get  # type: ignore[assignment,method-assign]
        waiting = self.look(id, b"wait=60")
        self.reply(self.accept(), "200 OK", b"yes")
        read.callback(None)
        self.turn()
        self.assertEqual((waiting.status, bytes(waiting.body)), (200, b"yes"))
        self.assertEqual(self.asynchronous.waiters, {})

    def test_left(self) -> None:
        """Who leaves is forgotten."""
        id = self.place(self.store_one())
        self.look(id, b"wait=60").client_leaves()
        self.assertEqual(self.asynchronous.waiters, {})

    def test_hush(self) -> None:
        """The process is to end: nobody waits any more."""
        id = self.place(self.store_one())
        waiting = self.look(id, b"wait=60")
        self.asynchronous.hush()
        self.turn()
        self.assertEqual(waiting.status, 202)
        self.assertEqual(self.look(id, b"wait=60").status, 202)

    def test_quick(self) -> None:
        """Who would wait a while has the answer, if it comes by then."""
        exchange = self.store_one(b"respond-async, wait=10")
        self.assertEqual(exchange.status, 0)
        self.reply(self.accept(), "200 OK", b"yes")
        self.assertEqual((exchange.status, bytes(exchange.body)), (200, b"yes"))
        exchange = self.store_one(b"respond-async, wait=10")
        self.wait(10)
        self.assertEqual(exchange.status, 202)
        self.place(exchange)

    def test_failed(self) -> None:
        """What the worker refuses is my answer; what breaks is tried again, and is the worker's last word, or 502."""
        id = self.place(self.store_one())
        wire = self.accept()
        self.reply(wire, "404 Not Found", b"no")
        self.assertEqual((self.look(id).status, self.task(id, OWN).state), (404, State.FAILED))
        id = self.place(self.store_one())
        self.reply(wire, "500 Oh", b"dear")
        exchange = self.look(id)
        self.assertEqual((exchange.status, json.loads(bytes(exchange.body))["error"]), (202, "500 Oh: dear"))
        self.wait(2)
        self.successResultOf(self.store.sweep())
        self.turn()
        self.lose(wire)
        self.lose(self.accept())
        exchange = self.look(id)
        self.assertEqual(exchange.status, 502)
        self.assertIn("has failed", json.loads(bytes(exchange.body))["error"])

    def test_large_answer(self) -> None:
        """An answer that is too large to be kept is none."""
        id = self.place(self.store_one())
        self.reply(self.accept(), "200 OK", b"x" * 11)
        exchange = self.look(id)
        self.assertEqual((exchange.status, self.task(id, OWN).state), (502, State.FAILED))

    def test_too_large(self) -> None:
        """A body that is too large is refused, whether it says so or not."""
        self.assertEqual(self.store_one(body=b"x" * 11).status, 413)
        exchange = FakeExchange(request_head(b"POST", b"/api/x", [(b"x-task-async", b"/")], content_length=None))
        self.asynchronous.take(exchange)  # type: ignore[arg-type]
        exchange.client_sends(b"x" * 6)
        exchange.client_sends(b"x" * 6)
        self.assertEqual(exchange.status, 413)
        self.assertEqual(self.store.counts(REQUESTS).live, 0)

    def test_store_fault(self) -> None:
        """What cannot be stored is not promised."""
        self.store.failing = {"create"}
        exchange = self.store_one()
        self.assertEqual((exchange.status, exchange.header(b"retry-after")), (503, b"1"))

    def test_cancel(self) -> None:
        """I change my mind: the worker is told by the end of its connection, who waits knows, and nothing is kept."""
        id = self.place(self.store_one())
        self.accept()
        waiting = self.look(id, b"wait=60")
        self.assertEqual(self.look(id, method=b"DELETE").status, 204)
        self.assertEqual((waiting.status, self.wires), (404, []))
        self.assert_unknown(id)
        self.assertEqual(self.look(id, method=b"DELETE").status, 404)

    def test_bad(self) -> None:
        """Other methods, and ids that are none."""
        put = self.look("x", method=b"PUT")
        self.assertEqual((put.status, put.header(b"allow")), (405, b"GET, HEAD, DELETE"))
        for id in ("", "a/b"):
            self.assert_unknown(id)
        self.assert_unknown("x" * 300)
        self.assert_unknown("\u00ff")

    def test_another_queue(self) -> None:
        """The id of somebody's task elsewhere is not one."""
        [id] = self.put(b"secret")
        self.assert_unknown(id)
