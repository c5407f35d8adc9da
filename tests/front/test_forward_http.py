"""Forwarding at its edges: who waits for whom, what may be sent again, what becomes of connections and lines."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IConnector
from twisted.internet.protocol import ClientFactory
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from tests.front.fakes import FakeExchange, request_head
from tests.front.test_site import SiteCase, endpoint
from tqserver.errors import ClientFault
from tqserver.front.breaker import REST_S
from tqserver.front.waking import WOKEN_MAX
from tqserver.plane.messages import Drained, FastCGITarget, HTTPSettings, Route, Routing, Wanted, WorkerRouting
from tqserver.turns import BULK_BYTES, TURN_BYTES_MAX, Turns


@implementer(IConnector)
class Connector:
    """Reports a failure as soon as it is told to stop, as Twisted's own do."""

    def __init__(self, factory: ClientFactory) -> None:
        self.factory = factory

    def disconnect(self) -> None:
        from twisted.internet.error import UserError
        from twisted.python.failure import Failure

        self.factory.clientConnectionFailed(self, Failure(UserError()))


class BodyTests(SiteCase):
    """Requests with bodies."""

    def upload(self, method: bytes = b"POST", length: int | None = 10, **options: object) -> FakeExchange:
        """A client begins an upload."""
        exchange = FakeExchange(request_head(method, b"/api/x", content_length=length), started=self.reactor.seconds())
        self.site.serve(exchange)
        return exchange

    def test_slow_client_is_not_a_slow_worker(self) -> None:
        """While the client is slow to send its body the worker's time does not run; when all was sent it does."""
        self.route(endpoint(1), request_timeout_s=2.0)
        exchange = self.upload()
        self.connect()
        exchange.client_sends(b"12345")
        self.reactor.pump([0.25] * 40)
        self.assertEqual(exchange.status, 0)
        exchange.client_sends(b"67890")
        exchange.client_ends()
        self.reactor.pump([0.25] * 10)
        self.assertEqual(exchange.status, 504)

    def test_worker_that_does_not_read(self) -> None:
        """A worker that does not take the body has the same time as one that does not answer."""
        self.route(endpoint(1), request_timeout_s=2.0)
        exchange = self.upload()
        wire = self.connect()
        wire.producer.pauseProducing()
        self.reactor.pump([0.25] * 4)
        wire.producer.resumeProducing()
        self.reactor.pump([0.25] * 20)
        self.assertEqual(exchange.status, 0)
        wire.producer.pauseProducing()
        self.reactor.pump([0.25] * 10)
        self.assertEqual(exchange.status, 504)

    def test_body_goes_wrong(self) -> None:
        """When the body goes wrong the worker's connection is cut and the client told why; nobody blames the worker."""
        self.route(endpoint(1))
        exchange = self.upload()
        wire = self.connect()
        exchange.client_fails(ClientFault("Too slow.", status=408))
        self.assertEqual((exchange.status, wire.disconnected), (408, True))
        load = self.site.load().endpoints[0]
        self.assertEqual((load.in_flight, load.failed), (0, 0))

    def test_body_of_another_length(self) -> None:
        """A body that is not as long as it was declared never leaves a connection that misreads the next request."""
        for pieces in ((b"short",), (b"0123456789", b"more")):
            self.route(endpoint(1))
            exchange = self.upload()
            wire = self.connect()
            for piece in pieces:
                exchange.client_sends(piece)
            exchange.client_ends()
            self.assertEqual((exchange.status, wire.disconnected), (502, True))
            self.assertNotIn(b"more", wire.value())

    def test_put_again(self) -> None:
        """A PUT whose worker broke before it answered is sent again from its beginning; a POST is not."""
        for method, tries in ((b"PUT", 2), (b"POST", 1)):
            self.route(endpoint(1), endpoint(2))
            exchange = self.upload(method)
            first = self.connect()
            exchange.client_sends(b"01234")
            self.assertTrue(first.value().endswith(b"01234"))
            self.lose(first)
            self.assertEqual(self.opening, tries - 1)
            if self.opening:
                second = self.connect()
                exchange.client_sends(b"56789")
                exchange.client_ends()
                self.assertTrue(second.value().endswith(b"\r\n\r\n0123456789"))
                self.assertNotEqual(first.port, second.port)  # type: ignore[attr-defined]
            else:
                self.assertEqual(exchange.status, 502)

    def test_answer_before_the_body(self) -> None:
        """An answer that comes before the body was whole is passed on; the worker's connection is not used again."""
        self.route(endpoint(1))
        exchange = self.upload()
        wire = self.connect()
        self.reply(wire)
        self.assertTrue(exchange.finished)
        self.assertTrue(wire.disconnected)

    def test_worker_that_left_some_unread(self) -> None:
        """A connection on which the worker has not read all of a request gets no other."""
        self.route(endpoint(1))
        exchange = self.upload(length=5)
        wire = self.connect()
        wire.producer.pauseProducing()
        exchange.client_resumes()
        exchange.resume_body()
        exchange.client_sends(b"01234")
        exchange.client_ends()
        self.reply(wire)
        self.assertTrue(exchange.finished)
        self.assertTrue(wire.disconnected)


class TurnTests(SiteCase):
    """Long answers and bodies, many at once."""

    def setUp(self) -> None:
        super().setUp()
        self.soon: list[Callable[[], None]] = []
        self.site._http.turns = Turns(self.soon.append)

    def turn(self) -> None:
        """The next turn begins."""
        calls, self.soon[:] = list(self.soon), []
        for call in calls:
            call()

    def begun(self) -> tuple[FakeExchange, StringTransport]:
        """A long answer has begun."""
        self.route(endpoint(1))
        exchange = FakeExchange(request_head(b"GET", b"/api/x"), started=self.reactor.seconds())
        self.site.serve(exchange)
        wire = self.connect()
        wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")  # type: ignore[attr-defined]
        return exchange, wire

    def piece(self, wire: StringTransport, count: int = TURN_BYTES_MAX) -> None:
        """A piece of it comes."""
        wire.protocol.dataReceived(b"x" * count)  # type: ignore[attr-defined]

    def test_alone(self) -> None:
        """One long answer is read as it comes."""
        exchange, wire = self.begun()
        for _ in range(3):
            self.piece(wire)
            self.assertEqual(wire.producerState, "producing")
            self.turn()
        self.assertEqual(len(exchange.body), 3 * TURN_BYTES_MAX)

    def test_many(self) -> None:
        """When much was passed on in a turn, another long answer waits for its own; small pieces need none."""
        _, first = self.begun()
        _, second = self.begun()
        self.piece(first)
        self.piece(second, BULK_BYTES - 1)
        self.assertEqual(second.producerState, "producing")
        self.piece(second, BULK_BYTES)
        self.assertEqual((first.producerState, second.producerState), ("producing", "paused"))
        self.turn()
        self.assertEqual(second.producerState, "producing")

    def test_slow_client(self) -> None:
        """An answer is read on when it is its turn and its client reads, whichever comes first."""
        self.site._http.turns.passed(TURN_BYTES_MAX)
        exchange, wire = self.begun()
        self.piece(wire, BULK_BYTES)
        exchange.client_pauses()
        exchange.client_resumes()
        self.assertEqual(wire.producerState, "paused")
        exchange.client_pauses()
        self.turn()
        self.assertEqual(wire.producerState, "paused")
        exchange.client_resumes()
        self.assertEqual(wire.producerState, "producing")

    def test_gone(self) -> None:
        """Who has left has no turn any more."""
        self.site._http.turns.passed(TURN_BYTES_MAX)
        exchange, wire = self.begun()
        self.piece(wire, BULK_BYTES)
        exchange.client_leaves()
        self.turn()
        self.assertEqual(wire.producerState, "paused")

    def test_bodies(self) -> None:
        """Long bodies of requests take turns, too, and a worker that does not take one is not given more of it."""
        self.route(endpoint(1))
        exchange = FakeExchange(request_head(b"POST", b"/api/x", content_length=100_000_000))
        self.site.serve(exchange)
        wire = self.connect()
        self.site._http.turns.passed(TURN_BYTES_MAX)
        exchange.client_sends(b"x" * BULK_BYTES)
        self.assertTrue(exchange.body_paused)
        wire.producer.pauseProducing()
        wire.producer.resumeProducing()
        self.assertTrue(exchange.body_paused)
        self.turn()
        self.assertFalse(exchange.body_paused)
        self.site._http.turns.passed(TURN_BYTES_MAX)
        exchange.client_sends(b"x" * BULK_BYTES)
        wire.producer.pauseProducing()
        self.turn()
        self.assertTrue(exchange.body_paused)
        wire.producer.resumeProducing()
        self.assertFalse(exchange.body_paused)


class ConnectionTests(SiteCase):
    """Connections to workers."""

    def test_client_leaves_while_connecting(self) -> None:
        """A client that leaves while its connection is being opened is nobody's failure."""
        self.route(endpoint(1))
        connect = self.reactor.connectTCP

        def connected(
            host: str, port: int, factory: ClientFactory, timeout: float = 30, bindAddress: None = None
        ) -> Connector:
            connect(host, port, factory, timeout, bindAddress)
            return Connector(factory)

        self.reactor.connectTCP = connected  # type: ignore[method-assign, assignment]
        exchange = self.ask()
        exchange.client_leaves()
        load = self.site.load()
        self.assertEqual((load.endpoints[0].failed, load.endpoints[0].in_flight, load.workers[0].errors), (0, 0, 0))

    def test_connection_that_is_being_closed(self) -> None:
        """A kept connection on which the worker said something unasked takes no more requests from that turn on."""
        self.route(endpoint(1))
        self.ask()
        wire = self.connect()
        self.reply(wire)
        wire.abortConnection = lambda: None  # type: ignore[method-assign]
        self.reply(wire, b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        wire.clear()
        self.ask(method=b"POST", body=b"x")
        self.assertEqual((wire.value(), self.opening), (b"", 1))

    def test_attempts_are_forgotten(self) -> None:
        """A kept connection does not keep the exchange that opened it."""
        import gc
        import weakref

        self.route(endpoint(1))
        exchange = self.ask()
        wire = self.connect()
        self.reply(wire)
        gone = weakref.ref(exchange)
        self.logged.lines.clear()
        del exchange
        self.reactor.tcpClients[0] = ()
        gc.collect()
        self.assertIsNone(gone())
        self.assertFalse(wire.disconnected)


class FairnessTests(SiteCase):
    """The line, and endpoints that break."""

    def test_poisonous_request(self) -> None:
        """A request that makes its worker close the connection makes nobody else wait."""
        self.route(endpoint(1))
        self.ask()
        self.lose(self.connect())
        self.lose(self.connect())
        other = self.ask()
        self.reply(self.connect())
        self.assertEqual(other.status, 200)

    def test_other_endpoint_first(self) -> None:
        """After a failure another endpoint is asked, though the first has less to do."""
        self.route(endpoint(1), endpoint(2))
        self.ask()
        first = self.connect()
        busy = self.connect_busy(first.port)  # type: ignore[attr-defined]
        self.lose(first)
        self.assertNotEqual(self.connect().port, first.port)  # type: ignore[attr-defined]
        self.assertFalse(busy.disconnected)

    def connect_busy(self, port: int) -> StringTransport:
        """Have the other endpoint serve something."""
        self.ask()
        wire = self.connect()
        self.assertNotEqual(wire.port, port)  # type: ignore[attr-defined]
        return wire

    def test_who_comes_back_goes_first(self) -> None:
        """Who had its turn and was refused keeps its place before those who came later, and its time runs on."""
        self.route(endpoint(1, concurrency_max=1), waiting_timeout_s=2.0)
        early = self.ask(b"/api/early")
        self.refuse()
        self.reactor.advance(0.1)
        late = self.ask(b"/api/late")
        self.reactor.advance(REST_S)
        self.refuse()
        self.reactor.pump([0.1] * 3)
        wire = self.connect()
        self.assertIn(b"GET /early ", wire.value())
        self.lose(wire)
        self.assertEqual((early.status, late.status), (0, 0))

    def test_time_of_who_came_back(self) -> None:
        """Who came back to the line is sent away when its own time is over, not when that of those before it is."""
        self.route(endpoint(1), waiting_timeout_s=2.0)
        early = self.ask()
        self.refuse()
        self.route(waiting_timeout_s=2.0)
        self.reactor.pump([0.25] * 6)
        late = self.ask()
        self.reactor.pump([0.25] * 4)
        self.assertEqual((early.status, late.status), (504, 0))

    def test_worker_becomes_a_folder(self) -> None:
        """Who waits for a worker that has become one of files only is answered, and need not wait in vain."""
        self.route()
        waiting = self.ask()
        self.route(protocol="none")
        self.assertEqual((waiting.status, self.ask().status), (404, 404))

    def test_many_answered_at_once(self) -> None:
        """However many wait for a page that there is not, they are answered when the worker comes."""
        self.route(waiting_max=2000)
        exchanges = [self.ask() for _ in range(1500)]
        target = FastCGITarget(document_root="/nonexistent", front_controller="")
        self.route(endpoint(1), protocol="fastcgi", fastcgi=target)
        self.reactor.advance(0)
        self.assertEqual({exchange.status for exchange in exchanges}, {500})
        self.assertEqual(self.site.load().endpoints[0].in_flight, 0)

    def test_little_by_little(self) -> None:
        """Of many that wait some are given to an endpoint at once and the others in the next turns, in their order."""
        self.route()
        many = 2 * WOKEN_MAX + 1
        exchanges = [self.ask(b"/api/%d" % number) for number in range(many)]
        self.route(endpoint(1))
        self.assertEqual(self.opening, WOKEN_MAX)
        self.reactor.advance(0)
        self.assertEqual(self.opening, many)
        for number in range(many):
            wire = self.connect()
            self.assertTrue(wire.value().startswith(b"GET /%d " % number))
            self.reply(wire)
        self.assertTrue(all(exchange.finished for exchange in exchanges))

    def test_many_sent_away(self) -> None:
        """Of many that wait in vain all are sent away soon, and at once if the worker is removed."""
        for closed in ("It is held.", ""):
            self.route()
            exchanges = [self.ask() for _ in range(2 * WOKEN_MAX + 1)]
            if closed:
                self.route(closed=closed)
                self.assertEqual(sum(exchange.status == 503 for exchange in exchanges), WOKEN_MAX)
                self.reactor.advance(0)
            else:
                self.site.apply(Routing(version=self.version + 1))
            self.assertEqual({exchange.status for exchange in exchanges}, {503})

    def test_our_own_mistake(self) -> None:
        """A mistake of ours in forwarding is a 500 and gives the endpoint back."""
        self.route(endpoint(1))

        def fail(*args: object, **kwargs: object) -> None:
            raise RuntimeError("a mistake")

        self.reactor.connectTCP = fail  # type: ignore[method-assign, assignment]
        exchange = self.ask()
        self.assertEqual(exchange.status, 500)
        self.assertEqual(self.site.load().endpoints[0].in_flight, 0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.route()
        self.assertEqual([each.endpoint for each in self.said if isinstance(each, Drained)], ["api.1.1"])

    def test_no_storm(self) -> None:
        """With no patience at all configured, the supervisor is still told at intervals only."""
        self.route(wait_max_s=0.0)
        self.ask()
        self.reactor.pump([0.001] * 100)
        self.assertLessEqual(len([each for each in self.said if isinstance(each, Wanted)]), 12)


class RoutingTests(SiteCase):
    """Routings that come and go while exchanges run."""

    def test_worker_removed_and_added_again(self) -> None:
        """A worker that was removed and added again while an exchange ran is drained once, and serves on."""
        self.route(endpoint(1))
        old = self.ask()
        wire = self.connect()
        self.site.apply(Routing(version=50))
        self.version = 50
        self.route(endpoint(2))
        new = self.ask()
        second = self.connect()
        self.reply(wire)
        self.reply(second)
        self.assertEqual((old.status, new.status), (200, 200))
        self.assertEqual([each.endpoint for each in self.said if isinstance(each, Drained)], ["api.1.1"])
        self.assertEqual([each.id for each in self.site.load().endpoints], ["api.1.2"])

    def test_endpoint_taken_away_and_given_back(self) -> None:
        """An endpoint that is given back before it was drained goes on as if nothing had been."""
        self.route(endpoint(1))
        self.ask()
        wire = self.connect()
        self.route()
        self.route(endpoint(1))
        self.reply(wire)
        self.assertEqual([each for each in self.said if isinstance(each, Drained)], [])
        self.route()
        self.assertEqual([each.endpoint for each in self.said if isinstance(each, Drained)], ["api.1.1"])

    def test_in_development(self) -> None:
        """In development an answer tells the worker, the path of its route, and the instance that gave it."""
        self.site.apply(
            Routing(
                version=1,
                http=HTTPSettings(development=True),
                routes=(Route(prefix="/api", worker="api"),),
                workers=(WorkerRouting(name="api", type="go", endpoints=(endpoint(1), endpoint(2))),),
            )
        )
        seen = set()
        for exchange in (self.ask(), self.ask()):
            wire = self.connect()
            self.reply(wire)
            told = dict(exchange.response_headers)
            self.assertEqual(len(told), len(exchange.response_headers))
            self.assertEqual((told[b"X-TQServer-Worker-Name"], told[b"X-TQServer-Worker-Path"]), (b"api", b"/api"))
            self.assertEqual(told[b"X-TQServer-Worker-Port"], b"%d" % wire.port)  # type: ignore[attr-defined]
            seen.add(told[b"X-TQServer-Worker-ID"])
        self.assertEqual(seen, {b"api.1.1", b"api.1.2"})
