"""A site whose workers fail, and which is asked for more than it can do."""

from __future__ import annotations

import errno

from twisted.internet.error import ConnectBindError
from twisted.python.failure import Failure

from tests.front.fakes import FakeExchange, request_head
from tests.front.test_site import OK, SiteCase, endpoint
from tqserver.front.breaker import REST_S, REST_TRIAL_S
from tqserver.front.site import SECOND_RETRY_S
from tqserver.plane.messages import HTTPSettings, OutlierRule, RetryRule, Route, Routing, StickyRule, WorkerRouting

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno"
RULE = OutlierRule(failures=3, eject_s=2.0, eject_max_s=16.0)
ONCE = RetryRule(attempts=1)


class ResilienceCase(SiteCase):
    """A site, and a worker that breaks what it is told to."""

    def break_at(self, port: int, times: int, answer: bytes = b"") -> None:
        """Have requests asked until so many have come to a port, which breaks them; all others are answered."""
        while times:
            self.ask()
            wire = self.connect()
            if wire.port == port:  # type: ignore[attr-defined]
                times -= 1
                self.reply(wire, answer)
                self.lose(wire)
            else:
                self.reply(wire)
                self.lose(wire)

    def finish(self) -> None:
        """Whatever is under way is answered."""
        while self.opening:
            wire = self.connect()
            self.reply(wire)
            self.lose(wire)

    def ports(self, count: int, method: bytes = b"GET") -> set[int]:
        """Where requests go."""
        ports = set()
        for _ in range(count):
            self.ask(method=method)
            wire = self.connect()
            ports.add(wire.port)  # type: ignore[attr-defined]
            self.reply(wire)
            self.lose(wire)
        return ports

    @property
    def ejected(self) -> list[str]:
        """Who is left alone, as the load says."""
        return [each.id for each in self.site.load().endpoints if each.ejected]


class EjectionTests(ResilienceCase):
    """An endpoint that breaks what it is given."""

    def test_left_alone(self) -> None:
        """Who breaks several requests in a row is left alone, while the others go on; the load tells."""
        self.route(endpoint(1), endpoint(2), outlier=RULE, retry=ONCE)
        self.break_at(9001, 2)
        self.assertEqual(self.ejected, [])
        self.break_at(9001, 1)
        self.assertEqual((self.ejected, self.site.load().workers[0].ejections), (["api.1.1"], 1))
        self.assertEqual(self.ports(10), {9002})

    def test_comes_back(self) -> None:
        """After a while it is given one request; while that is under way no other; and then all it can have."""
        self.route(endpoint(1), endpoint(2), outlier=RULE, retry=ONCE)
        self.break_at(9001, 3)
        self.reactor.advance(2.0)
        exchanges = [self.ask() for _ in range(6)]
        wires = [self.connect() for _ in exchanges]
        self.assertEqual([wire.port for wire in wires].count(9001), 1)  # type: ignore[attr-defined]
        for wire in wires:
            self.reply(wire)
            self.lose(wire)
        self.assertEqual(self.ejected, [])
        self.assertEqual(self.ports(10), {9001, 9002})

    def test_tried_in_vain(self) -> None:
        """A request that tries it in vain goes to another, and the endpoint is left alone for longer."""
        self.route(endpoint(1), endpoint(2), outlier=RULE)
        self.break_at(9001, 3)
        self.reactor.advance(2.0)
        self.break_at(9001, 1)
        self.finish()
        self.assertEqual(self.ports(5), {9002})
        self.reactor.advance(2.0)
        self.assertEqual(self.ports(5), {9002})
        self.reactor.advance(2.0)
        self.assertEqual(self.ports(5), {9001, 9002})

    def test_not_tried_with_what_cannot_be_repeated(self) -> None:
        """A POST does not try it, while there is another; but not for ever, if there is nothing else."""
        self.route(endpoint(1), endpoint(2), outlier=RULE, retry=ONCE)
        self.break_at(9001, 3)
        self.reactor.advance(2.0)
        self.assertEqual(self.ports(5, b"POST"), {9002})
        self.reactor.advance(5.0)
        self.assertEqual(self.ports(5, b"POST"), {9001, 9002})

    def test_the_only_one(self) -> None:
        """The only endpoint is used, whatever it does."""
        self.route(endpoint(1), outlier=RULE, retry=ONCE)
        self.break_at(9001, 20)
        self.assertEqual((self.ejected, self.ports(1)), ([], {9001}))

    def test_others_go(self) -> None:
        """When the others are taken away, one that was left alone is used."""
        self.route(endpoint(1), endpoint(2), outlier=RULE, retry=ONCE)
        self.break_at(9001, 3)
        self.route(endpoint(1), outlier=RULE)
        self.assertEqual(self.ports(2), {9001})

    def test_worker_answers(self) -> None:
        """An answer of 503 is an answer, unless the worker's configuration says what it means."""
        self.route(endpoint(1), endpoint(2), outlier=RULE)
        self.break_at(9001, 5, UNAVAILABLE)
        self.assertEqual(self.ejected, [])
        self.route(endpoint(1), endpoint(2), outlier=OutlierRule(failures=3, on=("gateway",)))
        self.break_at(9001, 3, UNAVAILABLE)
        self.assertEqual(self.ejected, ["api.1.1"])

    def test_retries_avoid_it(self) -> None:
        """A request that one endpoint broke is sent to one that is trusted."""
        self.route(endpoint(1), endpoint(2), endpoint(3), outlier=RULE)
        self.break_at(9001, 3)
        self.finish()
        for _ in range(6):
            exchange = self.ask()
            self.lose(self.connect())
            wire = self.connect()
            self.assertNotEqual(wire.port, 9001)  # type: ignore[attr-defined]
            self.reply(wire)
            self.lose(wire)
            self.assertEqual(exchange.status, 200)


class RestTests(ResilienceCase):
    """An endpoint that refuses connections."""

    def test_one_goes_first(self) -> None:
        """After a refusal, those who wait do not all knock at once: one does, and the others follow it."""
        self.route(endpoint(1))
        self.ask()
        self.refuse()
        exchanges = [self.ask() for _ in range(20)]
        self.assertEqual(self.opening, 0)
        self.reactor.advance(REST_S)
        self.assertEqual(self.opening, 1)
        self.refuse()
        self.reactor.advance(REST_S)
        self.assertEqual(self.opening, 1)
        self.reactor.advance(REST_TRIAL_S)
        self.assertEqual(self.opening, 21)
        for _ in range(21):
            self.reply(self.connect())
        self.assertEqual({exchange.status for exchange in exchanges}, {200})

    def test_answered_first(self) -> None:
        """If the first is answered sooner, the others need not wait."""
        self.route(endpoint(1))
        self.ask()
        self.refuse()
        exchange = self.ask()
        self.reactor.advance(REST_S)
        self.reply(self.connect())
        self.reply(self.connect() if self.opening else self.wires[-1])
        self.assertEqual(exchange.status, 200)

    def test_sooner_than_expected(self) -> None:
        """Who waits for one endpoint's short rest does not wait for another's long ejection."""
        self.route(endpoint(1), endpoint(2), outlier=OutlierRule(failures=1, eject_s=20.0), retry=ONCE)
        self.break_at(9001, 1)
        exchange = self.ask()
        self.refuse()
        self.assertEqual(self.opening, 0)
        self.reactor.advance(REST_S)
        self.reply(self.connect())
        self.assertEqual(exchange.status, 200)

    def fail_for_want_of_descriptors(self) -> None:
        """The oldest connection that is being opened cannot be, for we have no descriptor."""
        factory = self.reactor.tcpClients[self._connected][2]
        self._connected += 1
        factory.clientConnectionFailed(None, Failure(ConnectBindError(errno.EMFILE, "Too many open files")))

    def test_descriptors_are_made(self) -> None:
        """When we cannot connect for want of descriptors and some can be freed, it is tried again at once."""
        room = [True, False]
        self.site._make_room = lambda: room.pop(0)
        self.route(endpoint(1), outlier=OutlierRule(failures=1))
        exchange = self.ask(method=b"POST", body=b"x")
        self.fail_for_want_of_descriptors()
        self.assertEqual(self.opening, 1)
        self.fail_for_want_of_descriptors()
        self.assertEqual(self.opening, 0)
        self.reactor.advance(REST_S)
        self.reply(self.connect())
        self.assertEqual((exchange.status, self.ejected, self.site.load().workers[0].errors), (200, [], 0))

    def test_no_descriptors(self) -> None:
        """When we cannot connect for want of descriptors, requests wait, and the worker is not blamed."""
        self.route(endpoint(1), outlier=OutlierRule(failures=1))
        self.ask()
        kept = self.connect()
        self.reply(kept)
        for _ in range(3):
            self.ask()
        self.assertEqual(self.opening, 2)
        self.reply(kept)
        exchange = self.ask(method=b"POST", body=b"x")
        for _ in range(2):
            self.fail_for_want_of_descriptors()
        self.assertEqual((exchange.status, self.ejected, self.site.load().workers[0].errors), (0, [], 0))


class BudgetTests(ResilienceCase):
    """A worker that breaks everything."""

    def test_spent(self) -> None:
        """Only some of what it breaks is sent again; the rest is answered with its fault."""
        self.route(endpoint(1), retry=RetryRule(budget_percent=50, min_per_s=0), outlier=OutlierRule(failures=0))
        attempts = 0
        for _ in range(20):
            exchange = self.ask()
            while not exchange.status:
                self.lose(self.connect())
                attempts += 1
            self.assertEqual(exchange.status, 502)
        self.assertEqual(attempts, 30)
        worker = self.site.load().workers[0]
        self.assertEqual((worker.requests, worker.retries), (20, 10))
        self.assertGreater(worker.unretried, 0)

    def test_attempts(self) -> None:
        """How often one request is sent at most can be said."""
        self.route(endpoint(1), retry=RetryRule(attempts=2))
        exchange = self.ask()
        for _ in range(2):
            self.assertEqual(exchange.status, 0)
            self.lose(self.connect())
        self.assertEqual((exchange.status, self.opening), (502, 0))

    def test_refusals_are_free(self) -> None:
        """What was never sent may be tried for as long as it takes, with nothing in the budget."""
        self.route(endpoint(1), retry=RetryRule(attempts=1, budget_percent=0, min_per_s=0))
        exchange = self.ask(method=b"POST", body=b"x")
        for _ in range(10):
            self.refuse()
            self.reactor.advance(REST_S)
        self.reply(self.connect())
        self.assertEqual(exchange.status, 200)


class StickyTests(ResilienceCase):
    """Clients that come back."""

    def setUp(self) -> None:
        super().setUp()
        self.publish(1, 2, 3)

    def publish(self, *numbers: int, concurrency_max: int = 0, **options: object) -> None:
        """A routing of a worker with a cookie."""
        self.version += 1
        self.site.apply(
            Routing(
                version=self.version,
                secret=b"secret",
                http=HTTPSettings(trusted_proxies=("192.0.2.7",)),
                routes=(Route(prefix="/api", worker="api"),),
                workers=(
                    WorkerRouting(
                        name="api",
                        type="go",
                        endpoints=tuple(endpoint(number, concurrency_max) for number in numbers),
                        sticky=StickyRule(cookie="at"),
                        **options,  # type: ignore[arg-type]
                    ),
                ),
            )
        )

    def come(self, cookie: bytes = b"", *headers: tuple[bytes, bytes], method: bytes = b"GET") -> FakeExchange:
        """A client asks."""
        fields = [(b"cookie", cookie), *headers] if cookie else list(headers)
        exchange = FakeExchange(request_head(method, b"/api/x", fields))
        self.site.serve(exchange)
        return exchange

    def cookie(self, exchange: FakeExchange) -> bytes:
        """What it was told to keep; empty if nothing."""
        cookies = [value for name, value in exchange.response_headers if name == b"Set-Cookie"]
        self.assertLessEqual(len(cookies), 1)
        return cookies[0].partition(b";")[0] if cookies else b""

    def opened(self) -> int:
        """Where the connection goes that is being opened, and is answered on."""
        port: int = self.reactor.tcpClients[self._connected][1]
        self.finish()
        return port

    def test_comes_back(self) -> None:
        """A client is told where it was, and comes back there however often others are asked in between."""
        exchange = self.come()
        port = self.opened()
        cookie = self.cookie(exchange)
        self.assertTrue(cookie.startswith(b"at="))
        for _ in range(5):
            self.come()
            self.finish()
            again = self.come(b"x=y; " + cookie)
            self.assertEqual(self.opened(), port)
            self.assertEqual((again.status, self.cookie(again)), (200, b""))

    def test_attributes(self) -> None:
        """The cookie is for the prefix, and for encrypted connections if that is how the client came."""
        exchange = self.come()
        self.assertIn(b"; Path=/api; HttpOnly; SameSite=Lax", dict(exchange.response_headers)[b"Set-Cookie"])
        self.assertNotIn(b"Secure", dict(exchange.response_headers)[b"Set-Cookie"])
        exchange = self.come(b"", (b"x-forwarded-proto", b"https"))
        self.assertTrue(dict(exchange.response_headers)[b"Set-Cookie"].endswith(b"; Secure"))

    def test_reload(self) -> None:
        """When all endpoints are new, a client is placed anew, and told so."""
        exchange = self.come()
        self.reply(self.connect())
        old = self.cookie(exchange)
        self.publish(4, 5)
        exchange = self.come(old)
        self.reply(self.connect())
        self.assertEqual(exchange.status, 200)
        self.assertNotIn(self.cookie(exchange), (b"", old))

    def test_another_front(self) -> None:
        """What one front tells, another understands."""
        cookie = self.cookie(self.come())
        port = self.connect().port  # type: ignore[attr-defined]
        self.setUp()
        again = self.come(cookie)
        self.assertEqual((self.connect().port, self.cookie(again)), (port, b""))  # type: ignore[attr-defined]

    def test_full(self) -> None:
        """While its endpoint can do no more a client goes elsewhere, and its cookie stays."""
        self.publish(1, 2, concurrency_max=1)
        first = self.come()
        cookie = self.cookie(first)
        home = self.connect()
        again = self.come(cookie)
        self.assertNotEqual(self.connect().port, home.port)  # type: ignore[attr-defined]
        self.assertEqual(self.cookie(again), b"")

    def test_left_alone(self) -> None:
        """From an endpoint that refuses, a client moves."""
        first = self.come()
        cookie, home = self.cookie(first), self.connect()
        again = self.come(cookie)
        self.refuse()
        self.assertNotEqual(self.connect().port, home.port)  # type: ignore[attr-defined]
        self.assertNotIn(self.cookie(again), (b"", cookie))

    def test_broken(self) -> None:
        """What its endpoint breaks is sent to another; one mishap does not move the client."""
        first = self.come()
        cookie, home = self.cookie(first), self.connect()
        again = self.come(cookie)
        self.lose(self.connect())
        other = self.connect()
        self.assertNotEqual(other.port, home.port)  # type: ignore[attr-defined]
        self.reply(other)
        self.assertEqual((again.status, self.cookie(again)), (200, b""))

    def test_one_cookie(self) -> None:
        """However many endpoints were tried, a client is told one, that which answered; and none if none did."""
        exchange = self.come()
        first = self.cookie(exchange)
        self.lose(self.connect())
        self.assertNotIn(self.cookie(exchange), (b"", first))
        self.lose(self.connect())
        self.reactor.advance(SECOND_RETRY_S)
        self.lose(self.connect())
        self.assertEqual((exchange.status, self.cookie(exchange)), (502, b""))

    def test_with_hash(self) -> None:
        """The first time, the balance decides."""
        self.publish(1, 2, 3, balance="hash")
        cookies = set()
        for _ in range(5):
            cookies.add(self.cookie(self.come()))
            self.reply(self.connect() if self.opening else self.wires[-1], OK)
        self.assertEqual(len(cookies), 1)


class AdmissionTests(ResilienceCase):
    """More than can be done."""

    def admit(self, **settings: object) -> None:
        """A routing with limits, a health path and metrics."""
        self.version += 1
        options = {"in_flight_max": settings.pop("worker_max", 0)}
        self.site.apply(
            Routing(
                version=self.version,
                http=HTTPSettings(health_path="/alive", **settings),  # type: ignore[arg-type]
                routes=(Route(prefix="/api", worker="api"), Route(prefix="/metrics", worker="(metrics)")),
                workers=(
                    WorkerRouting(name="api", type="go", endpoints=(endpoint(1),), **options),  # type: ignore[arg-type]
                    WorkerRouting(name="(metrics)", type="metrics", endpoints=(endpoint(9),)),
                ),
            )
        )

    def test_front(self) -> None:
        """Beyond the limit of a front requests are sent away; its health and its metrics are told all the same."""
        self.admit(in_flight_max=2)
        exchanges = [self.ask() for _ in range(3)]
        self.assertEqual([exchange.status for exchange in exchanges], [0, 0, 503])
        self.assertIn(exchanges[2].header(b"retry-after"), (b"1", b"2"))
        self.assertEqual(self.ask(b"/nowhere").status, 503)
        self.assertEqual(self.ask(b"/alive").status, 200)
        self.assertEqual(self.ask(b"/metrics").status, 0)
        self.reply(self.connect())
        self.assertEqual((exchanges[0].status, self.ask().status), (200, 503), "the metrics are under way")
        self.reply(self.connect())
        self.assertEqual(self.ask().status, 0)

    def test_worker(self) -> None:
        """Beyond the limit of a worker its requests are sent away, those that wait included; others are not."""
        self.admit(worker_max=2)
        exchanges = [self.ask() for _ in range(3)]
        self.assertEqual([exchange.status for exchange in exchanges], [0, 0, 503])
        self.assertIsNotNone(exchanges[2].header(b"retry-after"))
        self.assertEqual(self.ask(b"/metrics").status, 0)
        self.reply(self.connect())
        self.assertEqual(self.ask().status, 0)

    def test_waiting_counts(self) -> None:
        """Those who wait for an endpoint are in hand, too."""
        self.route(in_flight_max=2)
        self.assertEqual([self.ask().status for _ in range(3)], [0, 0, 503])

    def test_no_limit(self) -> None:
        """Without a limit there is none."""
        self.admit()
        self.assertEqual({self.ask().status for _ in range(50)}, {0})

    def test_absent(self) -> None:
        """Those who wait for a worker that will not come are not all told to come back at the same time."""
        self.route()
        exchanges = [self.ask() for _ in range(3)]
        chances = iter([0.0, 0.5, 0.99])
        self.site._chance = lambda: next(chances)
        self.route(closed="held")
        self.assertEqual([exchange.header(b"retry-after") for exchange in exchanges], [b"5", b"8", b"10"])
