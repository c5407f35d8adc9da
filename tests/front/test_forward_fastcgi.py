"""Tests of L{tqserver.front.forward_fastcgi}."""

from __future__ import annotations

import os

from msgspec import structs
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from tests.fastcgi.fakes import FakeFPM, Wire
from tests.front.fakes import FakeExchange, request_head
from tqserver.errors import ClientFault, Fault, ServerFault
from tqserver.fastcgi.client import FastCGIConnection
from tqserver.fastcgi.scripts import Found, Identity
from tqserver.fastcgi.usual import encode_pairs
from tqserver.front.forward_fastcgi import FastCGIForwarder
from tqserver.front.forward_http import Done
from tqserver.front.offload import Offload
from tqserver.front.static import StaticFiles
from tqserver.http1.head import ResponseHead
from tqserver.http1.sweep import Sweep
from tqserver.plane.messages import Endpoint, FastCGITarget, WorkerRouting

WORKER = WorkerRouting(
    name="blog",
    type="php",
    protocol="fastcgi",
    request_timeout_s=5.0,
    waiting_max=1,
    waiting_timeout_s=3.0,
    fastcgi=FastCGITarget(document_root="/srv"),
)

ENDPOINT = Endpoint(id="blog.1.1", path="/s", concurrency_max=1)

TOLD = [encode_pairs([(b"HTTP_HOST", b"example.test")])]
"""What somebody else tells of the client."""


class Files:
    """A document root with a front controller, one script and a folder."""

    def look(self, path: bytes) -> Found | None:
        if path.rstrip(b"/") in (b"/srv", b"/srv/admin"):
            return Found(True, path.rstrip(b"/"))
        if path in (b"/srv/index.php", b"/srv/x.php", b"/srv/admin/index.php"):
            return Found(False, path)
        return None

    def exists(self, path: bytes) -> bool:
        """Whether there is anything."""
        return self.look(path) is not None

    def identity(self, path: bytes) -> Identity | None:
        """Nothing ever changes."""
        return (1, 1, 1) if self.exists(path) else None


class Attempt:
    """One exchange given to the forwarder, and what became of it."""

    def __init__(self, exchange: FakeExchange) -> None:
        self.exchange = exchange
        self.outcomes: list[tuple[Fault | None, bool]] = []

    def done(self, fault: Fault | None, retryable: bool, status: int = 0, /) -> None:
        """The forwarder's callback."""
        self.outcomes.append((fault, retryable))

    @property
    def answered(self) -> bool:
        """It ended well, once."""
        return self.outcomes == [(None, False)] and self.exchange.finished

    @property
    def fault(self) -> Fault:
        """What it failed with."""
        ((fault, _),) = self.outcomes
        assert fault is not None
        return fault

    @property
    def retryable(self) -> bool:
        """Whether it may be tried elsewhere."""
        ((_, retryable),) = self.outcomes
        return retryable


def begin(
    forwarder: FastCGIForwarder,
    exchange: FakeExchange,
    worker: WorkerRouting,
    endpoint: Endpoint,
    prefix: str,
    done: Done,
) -> None:
    """Make an attempt, as the site does."""
    attempt = forwarder.attempt(exchange, worker, endpoint, prefix, TOLD, done)
    if attempt is not None:
        exchange.when_over(attempt.exchange_over)
        attempt.start()


class ForwarderCase(TestCase):
    """A forwarder to a php-fpm that the test plays."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.fpm = FakeFPM(self.reactor)
        self.sweep = Sweep(self.reactor)
        self.said: list[tuple[str, str, str]] = []
        self.spools = self.mktemp()
        os.mkdir(self.spools)
        self.forwarder = FastCGIForwarder(
            self.reactor, self.sweep, lambda *said: self.said.append(said), self.spools, Files()
        )

    def tearDown(self) -> None:
        """Nothing is looked after for ever."""
        self.forwarder.close()
        for wire in self.fpm.wires:
            wire.lose()
        while self.fpm.pending:
            self.fpm.refuse()
        self.reactor.advance(0)
        self.assertEqual(self.sweep._watched, set())

    def start(
        self,
        method: bytes = b"GET",
        target: bytes = b"/blog/x.php",
        *,
        body: bytes | None = None,
        content_length: int | None = 0,
        write_paused: bool = False,
    ) -> Attempt:
        """Give an exchange to the forwarder."""
        head = request_head(method, target, content_length=content_length)
        attempt = Attempt(FakeExchange(head, body=body, write_paused=write_paused))
        begin(self.forwarder, attempt.exchange, WORKER, ENDPOINT, "/blog", attempt.done)
        return attempt

    def kept(self) -> Wire:
        """A connection that has served one request and is kept."""
        first = self.start()
        wire = self.fpm.accept()
        wire.request()
        wire.answer(b"A: b\n\n")
        assert first.answered
        return wire


class AnswerTests(ForwarderCase):
    """Requests that are answered."""

    def test_simple(self) -> None:
        """A request is sent in one write, and its answer handed over."""
        attempt = self.start()
        wire = self.fpm.accept()
        self.assertEqual(wire.writes, 1)
        variables, body, whole = wire.request()
        self.assertEqual((variables[b"SCRIPT_NAME"], body, whole), (b"/blog/x.php", b"", True))
        self.assertEqual(variables[b"HTTP_HOST"], b"example.test")
        wire.answer(b"Status: 201 Made\r\nX: y\r\n", b"\r\nbo", b"dy")
        self.assertTrue(attempt.answered)
        self.assertEqual((attempt.exchange.status, attempt.exchange.body), (201, b"body"))
        self.assertEqual(attempt.exchange.header(b"x"), b"y")

    def test_one_write(self) -> None:
        """An answer that comes whole goes on whole; its length is known then, and the endpoint is free before."""
        exchange = FakeExchange(request_head(target=b"/blog/x.php"))
        order: list[str] = []
        answer = exchange.answer

        def answered(head: ResponseHead, body: bytes) -> None:
            order.append(f"answer {len(body)}")
            answer(head, body)

        exchange.answer = answered  # type: ignore[method-assign]

        def done(fault: Fault | None, retryable: bool, status: int = 0, /) -> None:
            order.append(f"done {status}")

        begin(self.forwarder, exchange, WORKER, ENDPOINT, "/blog", done)
        self.fpm.accept().answer(b"Status: 201\nA: b\n\n", b"body")
        self.assertEqual(order, ["done 201", "answer 4"])
        self.assertEqual((exchange.body, exchange.finished), (b"body", True))

    def test_pieces(self) -> None:
        """An answer that comes in pieces goes on as it comes, cut wherever it is."""
        answer = b"Status: 201 Made\r\nX: y\r\n\r\nbody of it"
        for at in range(1, len(answer)):
            attempt = self.start()
            wire = self.fpm.accept() if self.fpm.pending else self.fpm.wires[-1]
            wire.answer(answer[:at], end=False)
            wire.answer(answer[at:])
            self.assertTrue(attempt.answered)
            self.assertEqual((attempt.exchange.status, attempt.exchange.body), (201, b"body of it"))
            self.assertEqual(attempt.exchange.header(b"x"), b"y")

    def test_empty(self) -> None:
        """An answer without a body is whole, too, also when its head came before."""
        for end in (True, False):
            attempt = self.start()
            wire = self.fpm.accept() if self.fpm.pending else self.fpm.wires[-1]
            wire.answer(b"A: b\n\n", end=end)
            if not end:
                wire.answer()
            self.assertTrue(attempt.answered)
            self.assertEqual(attempt.exchange.body, b"")

    def test_other_limits(self) -> None:
        """When fronts come or go, an endpoint's connections are shared anew, and those that are open stay."""
        wire = self.kept()
        endpoint = structs.replace(ENDPOINT, concurrency_max=2)
        attempts = [Attempt(FakeExchange(request_head(target=b"/blog/x.php"))) for _ in range(2)]
        for attempt in attempts:
            begin(self.forwarder, attempt.exchange, WORKER, endpoint, "/blog", attempt.done)
        self.assertEqual((len(wire.records()) > 0, self.fpm.pending), (True, 1))
        wire.answer(b"A: b\n\n")
        self.fpm.accept().answer(b"A: b\n\n")
        self.assertTrue(attempts[0].answered and attempts[1].answered)

    def test_whole_path(self) -> None:
        """A worker that wants whole paths has no mount prefix."""
        attempt = Attempt(FakeExchange(request_head(target=b"/admin/")))
        begin(
            self.forwarder,
            attempt.exchange,
            WorkerRouting(name="a", type="php", strip_prefix=False, fastcgi=WORKER.fastcgi),
            ENDPOINT,
            "/admin",
            attempt.done,
        )
        variables, _, _ = self.fpm.accept().request()
        self.assertEqual(variables[b"SCRIPT_NAME"], b"/admin/index.php")

    def test_folder(self) -> None:
        """A folder without its slash is a redirection to the same host, whatever the path looks like."""
        attempt = self.start(target=b"/blog/admin?x=1")
        self.assertTrue(attempt.answered)
        self.assertEqual((attempt.exchange.status, attempt.exchange.header(b"location")), (301, b"/blog/admin/?x=1"))
        attempt = Attempt(FakeExchange(request_head(b"POST", b"//admin")))
        begin(self.forwarder, attempt.exchange, WORKER, ENDPOINT, "/", attempt.done)
        self.assertEqual((attempt.exchange.status, attempt.exchange.header(b"location")), (308, b"/admin/"))

    def test_refused_path(self) -> None:
        """A path that names nothing is the client's fault, and php-fpm never hears of it."""
        attempt = self.start(target=b"/blog/%2e%2e/x.php")
        self.assertIsInstance(attempt.fault, ClientFault)
        self.assertEqual((attempt.fault.status, attempt.retryable, self.fpm.pending), (404, False, 0))

    def test_no_body(self) -> None:
        """What a script prints for HEAD, 204 and 304 goes nowhere."""
        for method, head in (
            (b"HEAD", b"Content-Length: 9\n\n"),
            (b"GET", b"Status: 304\n\n"),
            (b"GET", b"Status: 204\n\n"),
        ):
            attempt = self.start(method)
            wire = self.fpm.accept() if self.fpm.pending else self.fpm.wires[-1]
            wire.answer(head, b"body")
            self.assertTrue(attempt.answered)
            self.assertEqual(attempt.exchange.writes, [])

    def test_length(self) -> None:
        """
        More than the script announced is cut off, less is an answer that is not whole: if nothing of it has been sent
        on, nothing is.
        """
        for begun in (False, True):
            attempt = self.start()
            wire = self.fpm.wires[-1] if begun else self.fpm.accept()
            wire.answer(b"Content-Length: 4\n\n", b"bo", end=not begun)
            if begun:
                wire.answer(b"dyHTTP/1.1 200")
                self.assertTrue(attempt.answered)
                self.assertEqual(attempt.exchange.body, b"body")
            else:
                self.assertEqual(attempt.exchange.events, [])
                self.assertEqual((attempt.fault.status, attempt.retryable), (502, False))
        attempt = self.start()
        wire.answer(b"Content-Length: 4\n\n", b"bodyHTTP/1.1 200")
        self.assertTrue(attempt.answered)
        self.assertEqual(attempt.exchange.body, b"body")
        attempt = self.start()
        wire.answer(b"Content-Length: 5\n\n", b"bo", end=False)
        wire.answer(b"dy")
        self.assertTrue(attempt.exchange.aborted)
        self.assertEqual((attempt.fault.status, attempt.retryable), (502, False))

    def test_stderr(self) -> None:
        """Complaints are told with the worker and the request's id."""
        self.start()
        self.fpm.accept().answer(b"A: b\n\n", error=b"one\ntwo")
        self.assertEqual(self.said, [("blog", "test-1", "one"), ("blog", "test-1", "two")])

    def test_slow_client(self) -> None:
        """A slow client pauses php-fpm, and later requests on the connection do not suffer."""
        attempt = self.start(write_paused=True)
        wire = self.fpm.accept()
        wire.answer(b"A: b\n\nx", end=False)
        self.assertEqual(wire.producerState, "paused")
        attempt.exchange.client_resumes()
        self.assertEqual(wire.producerState, "producing")
        attempt.exchange.client_pauses()
        wire.answer(b"y")
        self.assertTrue(attempt.answered)
        self.assertEqual(wire.producerState, "producing")
        attempt.exchange.client_resumes()


class BodyTests(ForwarderCase):
    """Requests with bodies."""

    def test_known_length(self) -> None:
        """What is there goes out with the request, the rest as it comes."""
        attempt = self.start(b"POST", content_length=6)
        attempt.exchange.client_sends(b"ab")
        self.assertNotIn("receive", attempt.exchange.events)
        wire = self.fpm.accept()
        self.assertEqual(wire.writes, 1)
        attempt.exchange.client_sends(b"cd")
        attempt.exchange.client_sends(b"ef")
        attempt.exchange.client_ends()
        variables, body, whole = wire.request()
        self.assertEqual((variables[b"CONTENT_LENGTH"], body, whole), (b"6", b"abcdef", True))

    def test_backpressure(self) -> None:
        """While php-fpm does not read, the client is not read."""
        attempt = self.start(b"POST", content_length=6)
        wire = self.fpm.accept()
        assert wire.producer is not None
        wire.producer.pauseProducing()
        self.assertTrue(attempt.exchange.body_paused)
        wire.producer.resumeProducing()
        self.assertFalse(attempt.exchange.body_paused)

    def test_unknown_length(self) -> None:
        """A body of unknown length is kept until it is whole; no connection is used before."""
        attempt = self.start(b"POST", content_length=None)
        for _ in range(5):
            attempt.exchange.client_sends(b"x" * 50_000)
        self.assertEqual(self.fpm.pending, 0)
        attempt.exchange.client_ends()
        wire = self.fpm.accept()
        variables, body, whole = wire.request()
        self.assertEqual((variables[b"CONTENT_LENGTH"], len(body), whole), (b"250000", 250_000, True))
        wire.answer(b"A: b\n\n")
        self.assertTrue(attempt.answered)
        self.assertEqual(os.listdir(self.spools), [])

    def test_spool_backpressure(self) -> None:
        """A kept body goes out as fast as php-fpm takes it."""

        class Slow(Wire):
            """Pauses after every write."""

            def write(self, data: bytes) -> None:
                super().write(data)
                if self.producer is not None:
                    self.producer.pauseProducing()

        self.patch(__import__("tests.fastcgi.fakes", fromlist=["Wire"]), "Wire", Slow)
        attempt = self.start(b"POST", content_length=None, body=b"x" * 200_000)
        wire = self.fpm.accept()
        writes = []
        while wire.producer is not None:
            writes.append(wire.writes)
            wire.producer.resumeProducing()
        self.assertEqual(writes, [2, 3, 4])
        self.assertEqual(len(wire.request()[1]), 200_000)
        wire.answer(b"A: b\n\n")
        self.assertTrue(attempt.answered)

    def test_full_disk(self) -> None:
        """A disk that is full is 507."""

        def fail(spool: object, data: bytes) -> None:
            raise ServerFault("There is no room.", status=507)

        self.patch(__import__("tqserver.fastcgi.spool", fromlist=["BodySpool"]).BodySpool, "write", fail)
        attempt = self.start(b"POST", content_length=None, body=b"x")
        self.assertEqual((attempt.fault.status, attempt.retryable, self.fpm.pending), (507, False, 0))

    def test_body_fails(self) -> None:
        """A body that goes wrong is answered with what is wrong; php-fpm's connection is closed."""
        fault = ClientFault("Too large.", status=413)
        for content_length in (6, None):
            attempt = self.start(b"POST", content_length=content_length)
            wire = self.fpm.accept() if self.fpm.pending else None
            attempt.exchange.client_sends(b"ab")
            attempt.exchange.client_fails(fault)
            self.assertIs(attempt.fault, fault)
            if wire is not None:
                self.assertTrue(wire.aborted)
        attempt = self.start(b"POST", content_length=6)
        wire = self.fpm.accept()
        wire.answer(b"A: b\n\nx", end=False)
        attempt.exchange.client_fails(fault)
        self.assertTrue(attempt.exchange.aborted)
        self.assertIs(attempt.fault, fault)

    def test_answer_before_body(self) -> None:
        """A script that answers without reading ends the exchange; the rest of the body goes nowhere."""
        attempt = self.start(b"POST", content_length=6)
        wire = self.fpm.accept()
        sink = attempt.exchange.sink
        assert sink is not None
        wire.answer(b"A: b\n\nearly")
        self.assertTrue(attempt.answered)
        writes = wire.writes
        sink.body_data(b"late")
        sink.body_end()
        self.assertEqual(wire.writes, writes)


class FailureTests(ForwarderCase):
    """Requests that are not answered well."""

    def test_refused(self) -> None:
        """Without a connection the request was not seen: it may go elsewhere."""
        for method, length in ((b"GET", 0), (b"POST", 5)):
            attempt = self.start(method, content_length=length)
            self.fpm.refuse()
            self.assertEqual((attempt.fault.status, attempt.retryable), (502, True))
            self.assertEqual(attempt.exchange.events, [])

    def test_mistake(self) -> None:
        """A mistake of ours as a request begins ends it with 500, is logged, and costs nobody else anything."""

        def fail(receiver: object, request: bytes, whole: bool) -> None:
            raise RuntimeError("a mistake")

        broken = self.start()
        connection = FastCGIConnection.begin
        self.patch(FastCGIConnection, "begin", lambda *args: fail(*args[1:]))
        self.fpm.accept()
        self.assertEqual((broken.fault.status, broken.retryable), (500, False))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.patch(FastCGIConnection, "begin", connection)
        self.fpm.wires[-1].lose()
        attempt = self.start()
        self.fpm.accept().answer(b"A: b\n\n")
        self.assertTrue(attempt.answered)

    def test_died_before(self) -> None:
        """php-fpm that dies before a byte of answer leaves the harmless to be repeated; after half a head, nothing."""
        for method, data, again in (
            (b"GET", b"", True),
            (b"GET", b"Status: 200 OK\r\nA: ", False),
            (b"POST", b"", False),
        ):
            attempt = self.start(method)
            wire = self.fpm.accept()
            if data:
                wire.answer(data, end=False)
            wire.lose()
            self.assertEqual((attempt.fault.status, attempt.retryable), (502, again))
            self.assertIsNone(attempt.exchange.response)

    def test_died_amid(self) -> None:
        """Later the response is cut, so that it cannot be taken for whole."""
        attempt = self.start()
        wire = self.fpm.accept()
        wire.answer(b"A: b\n\nsome", end=False)
        wire.lose()
        self.assertTrue(attempt.exchange.aborted)
        self.assertFalse(attempt.exchange.finished)
        self.assertEqual((attempt.fault.status, attempt.retryable), (502, False))

    def test_nonsense(self) -> None:
        """A head that is none is 502, and so is an end without a head."""
        for data in (b"no header\n\n", b""):
            attempt = self.start()
            wire = self.fpm.accept() if self.fpm.pending else self.fpm.wires[-1]
            wire.answer(data)
            self.assertEqual((attempt.fault.status, attempt.retryable), (502, False))
            self.reactor.advance(0)

    def test_stale(self) -> None:
        """A kept connection that turns out to be closed costs a harmless request nothing but a second try."""
        stale = self.kept()
        attempt = self.start()
        stale.lose(clean=False)
        self.assertEqual(attempt.outcomes, [])
        wire = self.fpm.accept()
        wire.answer(b"A: b\n\nfine")
        self.assertTrue(attempt.answered)
        self.assertEqual(attempt.exchange.body, b"fine")

    def test_stale_once(self) -> None:
        """It is tried again once, and not at all when php-fpm had begun to answer."""
        stale = self.kept()
        attempt = self.start()
        stale.lose()
        self.fpm.accept().lose()
        self.assertEqual(attempt.fault.status, 502)
        stale = self.kept()
        attempt = self.start()
        stale.answer(error=b"oh", end=False)
        stale.lose()
        self.assertEqual((attempt.fault.status, self.fpm.pending), (502, 0))

    def test_stale_spooled(self) -> None:
        """A kept body is sent again whole."""
        stale = self.kept()
        attempt = self.start(b"PUT", content_length=None, body=b"x" * 100_000)
        stale.lose()
        wire = self.fpm.accept()
        self.assertEqual(len(wire.request()[1]), 100_000)
        wire.answer(b"A: b\n\n")
        self.assertTrue(attempt.answered)

    def test_not_on_kept(self) -> None:
        """What cannot be sent twice is never sent on a connection that may be closing."""
        for method, length in ((b"POST", 0), (b"PATCH", 3), (b"PUT", 3)):
            kept = self.kept()
            self.start(method, content_length=length)
            self.reactor.advance(0)
            self.assertTrue(kept.closed)
            self.fpm.accept().lose()

    def test_too_slow(self) -> None:
        """No head in time is 504, and the connection is closed; after the head there is no limit."""
        attempt = self.start()
        wire = self.fpm.accept()
        self.reactor.pump([0.25] * 19)
        self.assertEqual(attempt.outcomes, [])
        self.reactor.pump([0.25] * 2)
        self.assertEqual((attempt.fault.status, attempt.retryable), (504, False))
        self.assertTrue(wire.closed)
        attempt = self.start()
        wire = self.fpm.accept()
        wire.answer(b"A: b\n\n", end=False)
        self.reactor.pump([1.0] * 60)
        wire.answer(b"late")
        self.assertTrue(attempt.answered)

    def test_long_upload(self) -> None:
        """The limit begins anew with everything that is sent: a long upload has time."""
        attempt = self.start(b"POST", content_length=10)
        self.fpm.accept()
        for _ in range(10):
            self.reactor.pump([1.0] * 4)
            attempt.exchange.client_sends(b"x")
        attempt.exchange.client_ends()
        self.assertEqual(attempt.outcomes, [])
        self.reactor.pump([1.0] * 6)
        self.assertEqual(attempt.fault.status, 504)

    def test_named_file_and_no_end(self) -> None:
        """A script that names a file to be sent has not answered before it has come to its end."""
        attempt = Attempt(FakeExchange(request_head(target=b"/blog/x.php")))
        rule = structs.replace(WORKER, x_sendfile=("/nowhere",))
        offload = Offload(rule, StaticFiles(self.reactor))
        exchange = offload.wrap(attempt.exchange, lambda fault: None)
        begin(self.forwarder, exchange, WORKER, ENDPOINT, "/blog", attempt.done)  # type: ignore[arg-type]
        self.fpm.accept().answer(b"X-Sendfile: /nowhere/x\n\n", end=False)
        self.reactor.pump([1.0] * 7)
        self.assertEqual((attempt.fault.status, attempt.exchange.status), (504, 0))

    def test_line(self) -> None:
        """With all children busy a request waits; the next but one is 503, and who waits too long 504."""
        first, second, third = self.start(), self.start(), self.start()
        wire = self.fpm.accept()
        self.assertEqual((third.fault.status, third.fault.retry_after_s), (503, 1))
        wire.answer(b"A: b\n\n")
        wire.answer(b"A: c\n\n")
        self.assertTrue(first.answered and second.answered)
        self.start()
        late = self.start()
        self.reactor.pump([0.25] * 14)
        self.assertEqual((late.fault.status, late.retryable), (504, False))

    def test_client_leaves(self) -> None:
        """A client that leaves leaves nothing behind, wherever its request is."""
        busy = self.start()
        wire = self.fpm.accept()
        waiting = self.start()
        spooling = self.start(b"POST", content_length=None)
        for attempt in (waiting, spooling, busy):
            attempt.exchange.client_leaves()
            self.assertEqual(attempt.outcomes, [(None, False)])
        self.reactor.advance(0)
        self.assertTrue(wire.closed)
        self.assertEqual((self.fpm.pending, self.forwarder.pool(ENDPOINT).waiting), (0, 0))
        connecting = self.start()
        connecting.exchange.client_leaves()
        wire = self.fpm.accept()
        self.assertEqual(wire.writes, 0)
        self.assertEqual(connecting.outcomes, [(None, False)])

    def test_release(self) -> None:
        """When an endpoint goes, requests under way end well."""
        attempt = self.start()
        wire = self.fpm.accept()
        self.forwarder.release(ENDPOINT.id)
        wire.answer(b"A: b\n\n")
        self.reactor.advance(0)
        self.assertTrue(attempt.answered and wire.closed)
