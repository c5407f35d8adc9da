"""Tests of L{tqserver.queue.api.frame}, and of L{tqserver.queue.api.answer}."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange, request_head
from tests.queue.api.asking import ask, heard
from tqserver.errors import ClientFault, ServerFault
from tqserver.http1.exchange import ServerExchange
from tqserver.queue.api import Answer, Api, Call, Row, call, json_answer, json_error, plain_answer, plain_error
from tqserver.queue.store import FullFault


class Oops(Exception):
    """A mistake of ours."""


class FrameTests(SynchronousTestCase):
    """What all services have in common."""

    def setUp(self) -> None:
        self.later: Deferred[Answer] = Deferred(self.left)
        self.gone = 0
        self.calls: list[Call] = []
        self.outcome: Answer | Exception = plain_answer("done")
        self.api = Api(
            "test",
            [
                Row("GET HEAD", "/", lambda call: plain_answer("hello")),
                Row("POST", "/body", self.take, 10),
                Row("POST", "/none", self.take),
                Row("GET", "/later", lambda call: self.later),
                Row("GET", "/soon", lambda call: succeed(json_answer({"soon": True}, 201, [(b"X-A", b"b")]))),
                Row("GET", "/failed", lambda call: fail(self.raised())),
            ],
            json_error,
        )

    def left(self, deferred: object) -> None:
        self.gone += 1

    def raised(self) -> Exception:
        assert isinstance(self.outcome, Exception)
        return self.outcome

    def take(self, call: Call) -> Answer:
        self.calls.append(call)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def test_answer(self) -> None:
        """A request is answered, now or when the answer is there, in one piece."""
        now = ask(self.api, "GET", "/")
        self.assertEqual((now.status, now.body, now.finished), (200, b"hello", True))
        soon = ask(self.api, "GET", "/soon")
        self.assertEqual((soon.status, heard(soon), soon.header(b"x-a")), (201, {"soon": True}, b"b"))
        later = ask(self.api, "GET", "/later")
        self.assertEqual(later.status, 0)
        self.later.callback(plain_answer("at last"))
        self.assertEqual((later.body, later.finished), (b"at last", True))

    def test_head(self) -> None:
        """HEAD is answered without a body, where nothing changes by it."""
        self.assertEqual((ask(self.api, "HEAD", "/").body), b"")
        self.assertEqual(ask(self.api, "HEAD", "/later").status, 405)

    def test_not_found(self) -> None:
        """What is not there is told in the service's words."""
        exchange = ask(self.api, "GET", "/nothing")
        self.assertEqual((exchange.status, heard(exchange)), (404, {"error": "There is nothing here."}))

    def test_not_allowed(self) -> None:
        """Who asks by the wrong method is told the right ones."""
        exchange = ask(self.api, "DELETE", "/")
        self.assertEqual((exchange.status, exchange.header(b"allow")), (405, b"GET, HEAD"))
        self.assertIn("error", heard(exchange))

    def test_body(self) -> None:
        """A body is had whole, however it came."""
        ask(self.api, "POST", "/body", b"0123456789")
        exchange = FakeExchange(request_head(b"POST", b"/body", content_length=None))
        self.api(exchange, b"/body")  # type: ignore[arg-type]
        for piece in (b"ab", b"c", b"d"):
            exchange.client_sends(piece)
        self.assertEqual(exchange.status, 0)
        exchange.client_ends()
        self.assertEqual([call.body for call in self.calls], [b"0123456789", b"abcd"])
        ask(self.api, "POST", "/body")
        self.assertEqual(self.calls[-1].body, b"")

    def test_body_of_no_interest(self) -> None:
        """A body that nobody asked for is not waited for."""
        exchange = FakeExchange(request_head(b"POST", b"/none", content_length=1 << 40))
        self.api(exchange, b"/none")  # type: ignore[arg-type]
        self.assertEqual((exchange.status, exchange.sink), (200, None))
        self.assertFalse(exchange.head.keep_alive)

    def test_next_request(self) -> None:
        """Where a body was not read, the client is told to send nothing behind it; else it may go on."""
        for method, path, body in (("POST", "/body", b"x" * 11), ("POST", "/nothing", b"x"), ("PUT", "/", b"x")):
            exchange = ask(self.api, method, path, body)
            self.assertEqual((exchange.status // 100, exchange.head.keep_alive), (4, False))
        for method, path, data in (("POST", "/body", b"x"), ("POST", "/nothing", None), ("PUT", "/", None)):
            self.assertTrue(ask(self.api, method, path, data).head.keep_alive)

    def test_too_large(self) -> None:
        """A body that is too large is refused: before it comes if it is announced, else when it is."""
        announced = FakeExchange(request_head(b"POST", b"/body", content_length=11))
        self.api(announced, b"/body")  # type: ignore[arg-type]
        self.assertEqual((announced.status, announced.sink), (413, None))
        streamed = FakeExchange(request_head(b"POST", b"/body", content_length=None))
        self.api(streamed, b"/body")  # type: ignore[arg-type]
        streamed.client_sends(b"0123456789")
        self.assertEqual(streamed.status, 0)
        streamed.client_sends(b"0")
        self.assertEqual((streamed.status, heard(streamed)), (413, {"error": "The body is larger than 10 bytes."}))
        self.assertFalse(streamed.head.keep_alive)
        self.assertEqual(self.calls, [])

    def test_held(self) -> None:
        """All bodies together are bounded, too: who comes when there is no room is sent away, the others go on."""
        self.patch(call, "HELD_BYTES_MAX", 5)
        exchanges = [FakeExchange(request_head(b"POST", b"/body", content_length=None)) for _ in range(3)]
        for exchange in exchanges:
            self.api(exchange, b"/body")  # type: ignore[arg-type]
            exchange.client_sends(b"first")
            exchange.client_sends(b"abc" if exchange is not exchanges[2] else b"ab")
        self.assertEqual([exchange.status for exchange in exchanges], [0, 503, 0])
        exchanges[0].client_leaves()
        exchanges[2].client_ends()
        self.assertEqual([each.body for each in self.calls], [b"firstab"])
        self.assertEqual(self.api.held_bytes, 0)

    def test_body_failed(self) -> None:
        """A body that goes wrong is answered as it went wrong, and nothing is done."""
        exchange = FakeExchange(request_head(b"POST", b"/body", content_length=None))
        self.api(exchange, b"/body")  # type: ignore[arg-type]
        exchange.client_sends(b"012")
        exchange.client_fails(ClientFault("Too slow.", status=408))
        self.assertEqual((exchange.status, heard(exchange), self.calls), (408, {"error": "Too slow."}, []))

    def test_faults(self) -> None:
        """A fault is answered with its status and reason, now or later."""
        self.outcome = ClientFault("No.", status=409)
        for method, path in (("POST", "/none"), ("GET", "/failed")):
            exchange = ask(self.api, method, path)
            self.assertEqual((exchange.status, heard(exchange)), (409, {"error": "No."}))

    def test_unavailable(self) -> None:
        """Who comes when the store cannot do its work is told why, and when to come again."""
        self.outcome = FullFault("The queue is full.", retry_after_s=7)
        self.assertEqual(ask(self.api, "GET", "/failed").header(b"retry-after"), b"7")
        self.outcome = ServerFault("Not now.")
        exchange = ask(self.api, "GET", "/failed")
        self.assertEqual((exchange.status, exchange.header(b"retry-after")), (503, b"1"))

    def test_mistakes(self) -> None:
        """A mistake of ours is a 500 that gives nothing away, and a failure in the log."""
        self.outcome = Oops("secret")
        for method, path in (("POST", "/none"), ("POST", "/body"), ("GET", "/failed")):
            exchange = ask(self.api, method, path, b"x" if path == "/body" else None)
            self.assertEqual((exchange.status, heard(exchange)), (500, {"error": "Something went wrong on our side."}))
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 3)
        self.assertEqual(self.api.faults, 3)

    def test_client_leaves(self) -> None:
        """What a client that leaves was waiting for is dropped, without a word."""
        exchange = ask(self.api, "GET", "/later")
        exchange.client_leaves()
        self.assertEqual(self.gone, 1)
        self.assertEqual((exchange.status, self.api.faults), (0, 0))

    def test_client_left_a_mistake(self) -> None:
        """A mistake is logged even if nobody waits for the answer any more."""
        failing: Deferred[Answer] = Deferred(lambda deferred: deferred.errback(Oops()))
        api = Api("test", [Row("GET", "/", lambda call: failing)], json_error)
        ask(api, "GET", "/").client_leaves()
        self.assertEqual((len(self.flushLoggedErrors(Oops)), api.faults), (1, 1))

    def test_client_stays(self) -> None:
        """Who has had an answer has not left."""
        ask(self.api, "GET", "/later")
        self.later.callback(plain_answer(""))
        self.assertEqual(self.gone, 0)

    def test_admit(self) -> None:
        """Who may not come in hears it before anything else, even that there is nothing."""

        def admit(exchange: ServerExchange, path: bytes) -> None:
            if path != b"/open":
                raise ClientFault("Who are you?", status=401)

        api = Api("test", [Row("GET", "/open", lambda call: plain_answer(""))], json_error, admit)
        self.assertEqual([ask(api, "GET", path).status for path in ("/open", "/", "/nothing")], [200, 401, 401])

    def test_shapes(self) -> None:
        """Each service has its own shape of errors; odd characters do no harm."""
        self.assertEqual(plain_error("a\udcff"), (b"text/plain; charset=utf-8", b"a?\n"))
        self.assertEqual(json.loads(json_error('"ä')[1]), {"error": '"ä'})
