"""The way of an exchange through the site: route, endpoint, waiting line, attempts, answer."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange, request_head
from tqserver.front.breaker import REST_S
from tqserver.front.site import CLIENT_LEFT, SECOND_RETRY_S, Site
from tqserver.http1.idle import IDLE_S
from tqserver.plane.messages import (
    Applied,
    Drained,
    Endpoint,
    HTTPSettings,
    RetryRule,
    Route,
    Routing,
    StaticSettings,
    Upward,
    Wanted,
    WorkerRouting,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def endpoint(number: int, concurrency_max: int = 0) -> Endpoint:
    """An endpoint at port 9000 and something."""
    return Endpoint(id=f"api.1.{number}", host="127.0.0.1", port=9000 + number, concurrency_max=concurrency_max)


class Logged:
    """An access log that keeps what it gets."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str, str]] = []

    def log(self, exchange: FakeExchange, worker: str, endpoint: str, upstream_s: float) -> None:
        self.lines.append((exchange.status, worker, endpoint))


class SiteCase(SynchronousTestCase):
    """A site with one worker C{api} at C{/api} on a fake reactor."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.advance(1000)
        self.said: list[Upward] = []
        self.logged = Logged()
        self.site = Site(
            self.reactor,  # type: ignore[arg-type]
            notify=self.said.append,
            access_log=self.logged,  # type: ignore[arg-type]
            chance=lambda: 0.5,
        )
        self.version = 0
        self.wires: list[StringTransport] = []
        self._connected = 0

    def route(self, *endpoints: Endpoint, **options: object) -> None:
        """Publish a routing with these endpoints."""
        self.version += 1
        self.site.apply(
            Routing(
                version=self.version,
                http=HTTPSettings(health_path="/alive"),
                routes=(Route(prefix="/api", worker="api"),),
                workers=(WorkerRouting(name="api", type="go", endpoints=endpoints, **options),),  # type: ignore[arg-type]
            )
        )

    def ask(self, target: bytes = b"/api/x", method: bytes = b"GET", body: bytes | None = None) -> FakeExchange:
        """A client asks for something."""
        length = len(body) if body is not None else 0
        exchange = FakeExchange(
            request_head(method, target, content_length=length), body=body, started=self.reactor.seconds()
        )
        self.site.serve(exchange)
        return exchange

    def connect(self) -> StringTransport:
        """The worker accepts the oldest connection that is being opened; its port is kept with the wire."""
        _, port, factory, _, _ = self.reactor.tcpClients[self._connected]
        self._connected += 1
        wire = StringTransport()
        wire.port = port  # type: ignore[attr-defined]
        wire.protocol = factory.buildProtocol(None)  # type: ignore[attr-defined]
        wire.protocol.makeConnection(wire)  # type: ignore[attr-defined]
        self.wires.append(wire)
        return wire

    def refuse(self) -> None:
        """The worker refuses the oldest connection that is being opened."""
        factory = self.reactor.tcpClients[self._connected][2]
        self._connected += 1
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))

    @property
    def opening(self) -> int:
        """How many connections are being opened."""
        return len(self.reactor.tcpClients) - self._connected

    def reply(self, wire: StringTransport, data: bytes = OK) -> None:
        """The worker answers."""
        wire.protocol.dataReceived(data)  # type: ignore[attr-defined]

    def lose(self, wire: StringTransport) -> None:
        """The worker closes the connection."""
        wire.protocol.connectionLost(connectionDone)  # type: ignore[attr-defined]


class FilesTests(SiteCase):
    """Requests that files answer."""

    def setUp(self) -> None:
        super().setUp()
        self.own, self.shared = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        for folder, name in ((self.own, "own.txt"), (self.own, "both.txt"), (self.shared, "both.txt")):
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(folder.name.encode())
        (self.shared / "shared.txt").write_bytes(b"shared")

    def files(self, type: str = "static", **options: object) -> None:
        """Publish a worker with files at C{/api}, and the server's own."""
        protocol = "none" if type == "static" else "http"
        self.site.apply(
            Routing(
                version=1,
                http=HTTPSettings(public=str(self.shared), health_path="/alive"),
                routes=(Route(prefix="/api", worker="api"),),
                workers=(
                    WorkerRouting(name="api", type=type, protocol=protocol, public=str(self.own), **options),  # type: ignore[arg-type]
                ),
            )
        )

    def test_order(self) -> None:
        """The worker's file goes before the server's, and both before the worker."""
        self.files("go")
        own = self.own.name.encode()
        for target, body in [
            (b"/api/own.txt", own),
            (b"/api/both.txt", own),
            (b"/both.txt", self.shared.name.encode()),
            (b"/shared.txt", b"shared"),
        ]:
            exchange = self.ask(target)
            self.assertEqual((exchange.status, exchange.body), (200, body), target)
        self.assertEqual(self.ask(b"/api/other.txt").status, 0)
        self.assertEqual(self.ask(b"/api/own.txt", b"POST").status, 0)
        self.assertEqual(self.ask(b"/other.txt").status, 404)
        self.assertEqual(self.ask(b"/alive").body, b"ok\n")

    def test_nothing_but_files(self) -> None:
        """A static worker has files to read, and nothing else."""
        self.files()
        self.assertEqual(self.ask(b"/api/own.txt").status, 200)
        self.assertEqual(self.ask(b"/api/other.txt").status, 404)
        for method in (b"POST", b"DELETE", b"OPTIONS"):
            exchange = self.ask(b"/api/own.txt", method)
            self.assertEqual(exchange.status, 405)
            self.assertIn((b"Allow", b"GET, HEAD"), exchange.response_headers)

    def test_new_file(self) -> None:
        """A file that is made is served by the next request, and no longer when it is gone."""
        self.files()
        (self.own / "new.txt").write_bytes(b"new")
        self.assertEqual(self.ask(b"/api/new.txt").body, b"new")
        (self.own / "new.txt").unlink()
        self.assertEqual(self.ask(b"/api/new.txt").status, 404)

    def test_fallback(self) -> None:
        """A worker that wants it has navigations answered with its page; all else reaches it."""
        (self.own / "index.html").write_bytes(b"page")
        self.files("go", static=StaticSettings(fallback="index.html"))
        exchange = FakeExchange(request_head(b"GET", b"/api/users/1", [(b"accept", b"text/html")]))
        self.site.serve(exchange)
        self.assertEqual((exchange.status, exchange.body), (200, b"page"))
        self.assertEqual(self.ask(b"/api/users/1").status, 0)
        self.assertEqual(self.ask(b"/api/users/1", b"POST").status, 0)

    def test_removed(self) -> None:
        """The files of a worker that is removed are not served any more."""
        self.files()
        self.site.apply(Routing(version=2))
        self.assertEqual(self.ask(b"/api/own.txt").status, 404)


class ForwardTests(SiteCase):
    """Requests that find an endpoint."""

    def test_forwarded(self) -> None:
        """A request reaches the worker without the prefix and with what it is told, and its answer the client."""
        self.route(endpoint(1))
        exchange = self.ask(b"/api/x?y=z")
        wire = self.connect()
        sent = wire.value()
        self.assertTrue(sent.startswith(b"GET /x?y=z HTTP/1.1\r\nhost: example.test\r\n"), sent)
        for line in (
            b"x-forwarded-prefix: /api",
            b"x-forwarded-for: 192.0.2.7",
            b"x-request-id: ",
            b"traceparent: 00-",
        ):
            self.assertIn(b"\r\n" + line, sent)
        self.reply(wire)
        self.assertEqual((exchange.status, exchange.body, exchange.finished), (200, b"ok", True))
        self.assertEqual(self.logged.lines, [(200, "api", "api.1.1")])
        load = self.site.load()
        self.assertEqual((load.endpoints[0].answered, load.endpoints[0].in_flight, load.in_flight), (1, 0, 0))

    def test_prefix_alone_and_kept(self) -> None:
        """The bare prefix is the worker's root; a worker may ask to see the prefix."""
        self.route(endpoint(1))
        self.ask(b"/api?q")
        self.assertTrue(self.connect().value().startswith(b"GET /?q HTTP/1.1\r\n"))
        self.route(endpoint(1), strip_prefix=False)
        self.ask(b"/api/x")
        self.assertTrue(self.connect().value().startswith(b"GET /api/x HTTP/1.1\r\n"))

    def test_encoded_path_stays(self) -> None:
        """What the client encoded reaches the worker encoded."""
        self.route(endpoint(1))
        self.ask(b"/api/a%2Fb/%2e%2e/c")
        self.assertIn(b"GET /a%2Fb/%2e%2e/c HTTP/1.1", self.connect().value())

    def test_kept_connection(self) -> None:
        """The next request goes over the connection of the last, until it was idle for too long."""
        self.route(endpoint(1))
        self.ask()
        wire = self.connect()
        self.reply(wire)
        self.ask()
        self.assertEqual(self.opening, 0)
        self.reply(wire)
        self.reactor.pump([0.25] * int(IDLE_S * 4 + 2))
        self.ask()
        self.assertEqual(self.opening, 1)

    def test_body(self) -> None:
        """A body is passed on as it comes."""
        self.route(endpoint(1))
        exchange = self.ask(method=b"POST", body=b"hello")
        wire = self.connect()
        self.assertTrue(wire.value().endswith(b"content-length: 5\r\n\r\nhello"))
        self.reply(wire)
        self.assertTrue(exchange.finished)

    def test_slow_client_slows_the_worker(self) -> None:
        """While the client reads slowly, nothing is read from the worker."""
        self.route(endpoint(1))
        exchange = self.ask()
        wire = self.connect()
        self.reply(wire, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        exchange.client_pauses()
        self.assertEqual(wire.producerState, "paused")
        exchange.client_resumes()
        self.assertEqual(wire.producerState, "producing")

    def test_slow_worker_slows_the_client(self) -> None:
        """While the worker reads slowly, nothing more is read of the upload."""
        self.route(endpoint(1))
        exchange = FakeExchange(request_head(b"POST", b"/api", content_length=100))
        self.site.serve(exchange)
        wire = self.connect()
        wire.producer.pauseProducing()
        self.assertTrue(exchange.body_paused)
        wire.producer.resumeProducing()
        self.assertFalse(exchange.body_paused)

    def test_client_leaves(self) -> None:
        """When the client leaves, the worker's connection is cut and the log says so."""
        self.route(endpoint(1))
        exchange = self.ask()
        wire = self.connect()
        exchange.client_leaves()
        self.assertTrue(wire.disconnected)
        self.assertEqual(self.logged.lines, [(CLIENT_LEFT, "api", "api.1.1")])
        self.assertEqual(self.site.load().endpoints[0].in_flight, 0)

    def test_balanced(self) -> None:
        """Two requests at once go to two endpoints."""
        self.route(endpoint(1), endpoint(2))
        self.ask()
        self.ask()
        self.assertEqual({self.connect().port, self.connect().port}, {9001, 9002})  # type: ignore[attr-defined]

    def test_nothing_here(self) -> None:
        """What no route takes is 404; the health path is answered by ourselves."""
        self.route(endpoint(1))
        self.assertEqual(self.ask(b"/other").status, 404)
        self.assertEqual(self.ask(b"/apifoo").status, 404)
        self.assertEqual(self.ask(b"/alive").status, 200)


class FailureTests(SiteCase):
    """Workers that break."""

    def test_refused_is_tried_elsewhere(self) -> None:
        """A request whose connection was refused goes to another endpoint, whatever its method."""
        self.route(endpoint(1), endpoint(2))
        exchange = self.ask(method=b"POST", body=b"x")
        first = self.reactor.tcpClients[0][1]
        self.refuse()
        wire = self.connect()
        self.assertNotEqual(wire.port, first)  # type: ignore[attr-defined]
        self.reply(wire)
        self.assertEqual(exchange.status, 200)

    def test_refused_by_the_only_one(self) -> None:
        """When the only endpoint refuses, the request waits for a routing with another one, and is not failed."""
        self.route(endpoint(1))
        exchange = self.ask(method=b"POST", body=b"x")
        self.refuse()
        self.assertEqual((self.opening, exchange.status), (0, 0))
        self.route(endpoint(2))
        wire = self.connect()
        self.assertTrue(wire.value().endswith(b"\r\n\r\nx"))
        self.reply(wire)
        self.assertEqual(exchange.status, 200)

    def test_refused_for_a_moment(self) -> None:
        """An endpoint that refused is asked again after a while."""
        self.route(endpoint(1))
        exchange = self.ask()
        for _ in range(5):
            self.refuse()
            self.reactor.advance(REST_S + 0.01)
        self.reply(self.connect())
        self.assertEqual(exchange.status, 200)

    def test_stale_connection(self) -> None:
        """A kept connection that the worker had closed is replaced at once, for what may be repeated."""
        self.route(endpoint(1))
        self.ask()
        wire = self.connect()
        self.reply(wire)
        exchange = self.ask()
        self.lose(wire)
        self.assertEqual(exchange.status, 0)
        self.reply(self.connect())
        self.assertEqual(exchange.status, 200)

    def test_stale_connection_and_post(self) -> None:
        """A POST that was written to a connection that broke may have been done: 502, never sent twice."""
        self.route(endpoint(1))
        self.ask()
        wire = self.connect()
        self.reply(wire)
        exchange = self.ask(method=b"POST", body=b"x")
        self.lose(wire)
        self.assertEqual((exchange.status, self.opening), (502, 0))

    def test_idempotent_is_repeated(self) -> None:
        """A GET whose worker died before it answered is repeated, at last after a moment, but not for ever."""
        self.route(endpoint(1), endpoint(2), endpoint(3))
        exchange = self.ask()
        self.assertEqual(RetryRule().attempts, 3)
        self.lose(self.connect())
        self.lose(self.connect())
        self.assertEqual((exchange.status, self.opening), (0, 0))
        self.reactor.advance(SECOND_RETRY_S)
        self.lose(self.connect())
        self.assertEqual((exchange.status, self.opening), (502, 0))

    def test_left_before_the_last_try(self) -> None:
        """For a client that leaves before the last try none is made."""
        self.route(endpoint(1))
        exchange = self.ask()
        self.lose(self.connect())
        self.lose(self.connect())
        exchange.client_leaves()
        self.reactor.advance(SECOND_RETRY_S)
        self.assertEqual((self.opening, self.site.in_flight), (0, 0))

    def test_broken_in_the_middle(self) -> None:
        """An answer that breaks in the middle is cut, not repeated and not passed for whole."""
        self.route(endpoint(1))
        exchange = self.ask()
        wire = self.connect()
        self.reply(wire, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        self.lose(wire)
        self.assertTrue(exchange.aborted)
        self.assertEqual((self.opening, self.site.load().endpoints[0].failed), (0, 1))

    def test_malformed_answer(self) -> None:
        """A malformed answer is 502 and nothing of it is passed on."""
        self.route(endpoint(1))
        exchange = self.ask()
        self.reply(self.connect(), b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
        self.assertEqual(exchange.status, 502)

    def test_too_slow(self) -> None:
        """A worker that does not answer in time is 504, and its connection is cut."""
        self.route(endpoint(1), request_timeout_s=5.0)
        exchange = self.ask()
        wire = self.connect()
        self.reactor.pump([0.25] * 19)
        self.assertEqual(exchange.status, 0)
        self.reactor.pump([0.25] * 4)
        self.assertEqual(exchange.status, 504)
        self.assertTrue(wire.disconnected)


class WaitingTests(SiteCase):
    """Requests that find no endpoint."""

    def wanted(self) -> list[Wanted]:
        """What the supervisor was told of waiting requests."""
        return [message for message in self.said if isinstance(message, Wanted)]

    def test_waits_for_an_endpoint(self) -> None:
        """A request waits until a routing brings an endpoint, and the supervisor hears of it at once."""
        self.route()
        exchange = self.ask()
        self.assertEqual(self.wanted(), [Wanted(worker="api", waiting=1)])
        self.assertEqual(self.site.load().workers[0].waiting, 1)
        self.route(endpoint(1))
        self.reply(self.connect())
        self.assertEqual(exchange.status, 200)

    def test_waits_in_order(self) -> None:
        """With one request at a time, those who wait are served in the order of their coming."""
        self.route(endpoint(1, concurrency_max=1))
        exchanges = [self.ask(b"/api/%d" % number) for number in range(3)]
        wire = self.connect()
        for number in range(3):
            self.assertIn(b"GET /%d " % number, wire.value())
            wire.clear()
            self.reply(wire)
        self.assertTrue(all(exchange.finished for exchange in exchanges))
        self.assertEqual(self.opening, 0)

    def test_told_while_waiting(self) -> None:
        """The supervisor is told again while requests wait longer than they should."""
        self.route(endpoint(1, concurrency_max=1), wait_max_s=0.05, queue_threshold=10)
        self.ask()
        self.ask()
        self.assertEqual(self.wanted(), [])
        self.reactor.advance(0.06)
        self.assertEqual([message.waiting for message in self.wanted()], [1])

    def test_too_long(self) -> None:
        """Who waits too long gets 504; who leaves, leaves the line."""
        self.route(waiting_timeout_s=2.0)
        exchange, leaver = self.ask(), self.ask()
        leaver.client_leaves()
        self.assertEqual(self.site.load().workers[0].waiting, 1)
        self.reactor.pump([0.25] * 10)
        self.assertEqual(exchange.status, 504)
        self.assertEqual(self.site.load().workers[0].waiting, 0)

    def test_line_full(self) -> None:
        """Beyond the limit of the line it is 503, with a hint when to come again."""
        self.route(waiting_max=2)
        self.ask()
        self.ask()
        exchange = self.ask()
        self.assertEqual(exchange.status, 503)
        self.assertIsNotNone(exchange.header(b"retry-after"))

    def test_closed(self) -> None:
        """Where waiting is of no use it is 503 at once, for those who wait already too."""
        self.route()
        waiting = self.ask()
        self.route(closed="It is held.")
        self.assertEqual((waiting.status, self.ask().status), (503, 503))
        self.route(endpoint(1), closed="The new version cannot be built.")
        self.ask()
        self.assertEqual(self.opening, 1)

    def test_removed_worker(self) -> None:
        """Requests that waited for a worker that was removed are answered."""
        self.route()
        exchange = self.ask()
        self.site.apply(Routing(version=9))
        self.assertEqual(exchange.status, 503)
        self.assertEqual(self.site.load().workers, ())


class DrainTests(SiteCase):
    """Endpoints that are taken away."""

    def test_drained_when_the_last_exchange_ends(self) -> None:
        """An endpoint that was taken away gets no new request and is drained when its last exchange has ended."""
        self.route(endpoint(1))
        old = self.ask()
        wire = self.connect()
        self.said.clear()
        self.route(endpoint(2))
        self.assertEqual(self.said, [Applied(version=2)])
        self.ask()
        self.assertEqual(self.connect().port, 9002)  # type: ignore[attr-defined]
        self.reply(wire)
        self.assertTrue(old.finished)
        self.assertEqual(self.said[1:], [Drained(endpoint="api.1.1", version=2)])
        self.assertTrue(wire.disconnected, "a kept connection to a drained endpoint stayed open")

    def test_drained_at_once(self) -> None:
        """An endpoint without exchanges is drained at once, after the routing was applied; its connections close."""
        self.route(endpoint(1))
        self.ask()
        wire = self.connect()
        self.reply(wire)
        self.said.clear()
        self.route(endpoint(2))
        self.assertEqual(self.said, [Applied(version=2), Drained(endpoint="api.1.1", version=2)])
        self.assertTrue(wire.disconnected)

    def test_drained_when_the_worker_is_removed(self) -> None:
        """The endpoints of a worker that was removed are drained too."""
        self.route(endpoint(1))
        exchange = self.ask()
        wire = self.connect()
        self.site.apply(Routing(version=9))
        self.reply(wire)
        self.assertTrue(exchange.finished)
        self.assertEqual(self.said[-1], Drained(endpoint="api.1.1", version=9))
        self.assertEqual(self.site.load().workers, ())

    def test_same_routing_twice(self) -> None:
        """A routing that brings nothing new disturbs nothing."""
        self.route(endpoint(1))
        exchange = self.ask()
        wire = self.connect()
        self.route(endpoint(1))
        self.reply(wire)
        self.assertTrue(exchange.finished)
        self.assertFalse([each for each in self.said if isinstance(each, Drained)])
