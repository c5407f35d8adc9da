"""Tests for L{tqserver.supervisor.routing}."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import (
    HTTPConfig,
    OutlierConfig,
    PHPConfig,
    PHPPoolConfig,
    Project,
    RetryConfig,
    RouteConfig,
    ScalingConfig,
    StickyConfig,
)
from tqserver.plane.messages import Endpoint, FastCGITarget, OutlierRule, RetryRule, Route, StickyRule
from tqserver.process.spec import Address
from tqserver.supervisor.routing import DASHBOARD, METRICS, Closed, Picture, routing

from .world import server_config, worker_config


def project(*workers: object, **server: object) -> Project:
    """A project of these workers."""
    return Project(server_config(**server), tuple(workers), ())  # type: ignore[arg-type]


class RoutingTests(SynchronousTestCase):
    """The picture for the fronts."""

    def test_endpoint(self) -> None:
        """A ready instance is an endpoint with the limits of its worker."""
        config = worker_config(scaling=ScalingConfig(concurrency_max=7), strip_prefix=False)
        made = routing(
            3,
            project(config),
            {"api": Picture(generation=2, addresses=(("api.2.5", Address("127.0.0.1", 9001)),))},
        )
        (worker,) = made.workers
        self.assertEqual((made.version, worker.generation, worker.strip_prefix), (3, 2, False))
        self.assertEqual(worker.endpoints, (Endpoint(id="api.2.5", host="127.0.0.1", port=9001, concurrency_max=7),))

    def test_resilience(self) -> None:
        """The fronts are told when to leave endpoints alone, to try again, whom to bring back, and when to stop."""
        config = worker_config(
            sticky=StickyConfig(cookie="at", secure=True, age_max_s=60),
            outlier=OutlierConfig(failures=3, on=("gateway",)),
            retry=RetryConfig(attempts=2),
            in_flight_max=9,
        )
        made = routing(1, project(config, http=HTTPConfig(in_flight_max=7, read_bytes_min_per_s=5)), {}, b"secret")
        (worker,) = made.workers
        self.assertEqual(worker.sticky, StickyRule(cookie="at", secure=True, age_max_s=60))
        self.assertEqual(worker.outlier, OutlierRule(failures=3, on=("gateway",)))
        self.assertEqual((worker.retry, worker.in_flight_max), (RetryRule(attempts=2), 9))
        self.assertEqual((made.secret, made.http.in_flight_max, made.http.read_bytes_min_per_s), (b"secret", 7, 5))
        self.assertIsNone(routing(1, project(worker_config()), {}).workers[0].sticky)

    def test_rules_as_usual(self) -> None:
        """What is not configured is for the fronts as they have it themselves."""
        (worker,) = routing(1, project(worker_config()), {}).workers
        self.assertEqual((worker.outlier, worker.retry), (OutlierRule(), RetryRule()))

    def test_php(self) -> None:
        """A PHP worker is spoken to in FastCGI, with as many connections as its pool has children."""
        config = worker_config(type="php")
        made = routing(1, project(config), {"api": Picture(addresses=(("api.1.1", Address(path="/s")),))})
        (worker,) = made.workers
        self.assertEqual(worker.protocol, "fastcgi")
        self.assertEqual(worker.fastcgi, FastCGITarget(document_root="public"))
        self.assertEqual(worker.endpoints, (Endpoint(id="api.1.1", path="/s", concurrency_max=5),))

    def test_php_children(self) -> None:
        """
        Fronts may keep connections to children that are always there, or made at once, and leave one to others; however
        many fronts there are, and whatever a worker's own limit of requests is.
        """
        for manager, fronts, limit, share, lasting in (
            ("static", 1, 0, 7, 6),
            ("static", 2, 0, 4, 3),
            ("static", 4, 0, 2, 1),
            ("static", 10, 0, 1, 0),
            ("static", 1, 2, 2, 2),
            ("ondemand", 2, 0, 4, 3),
            ("dynamic", 1, 0, 7, 2),
            ("dynamic", 2, 0, 4, 1),
            ("dynamic", 3, 0, 3, 0),
        ):
            config = worker_config(
                type="php",
                php=PHPConfig(pool=PHPPoolConfig(manager=manager, workers_min=3, workers_max=7)),
                scaling=ScalingConfig(concurrency_max=limit),
            )
            made = routing(
                1,
                project(config, http=HTTPConfig(fronts=fronts)),
                {"api": Picture(addresses=(("api.1.1", Address(path="/s")),))},
            )
            (endpoint,) = made.workers[0].endpoints
            self.assertEqual((endpoint.concurrency_max, endpoint.lasting_max), (share, lasting), (manager, fronts))

    def test_static(self) -> None:
        """A static worker has no endpoint and is not closed: the fronts serve its files."""
        (worker,) = routing(1, project(worker_config(type="static", public="/p")), {}).workers
        self.assertEqual((worker.protocol, worker.closed, worker.public), ("none", "", "/p"))

    def test_reason_only_without_endpoints(self) -> None:
        """While anything serves, clients are not told what is wrong with the next version."""
        closed = Closed("does not stay up", "mend it", ("panic",))
        served = Picture(addresses=(("api.1.1", Address("127.0.0.1", 9001)),), closed=closed)
        self.assertEqual(routing(1, project(worker_config()), {"api": served}).workers[0].closed, "")
        (worker,) = routing(1, project(worker_config()), {"api": Picture(closed=closed)}).workers
        self.assertEqual((worker.closed, worker.remedy, worker.output), ("does not stay up", "mend it", "panic"))

    def test_route_of_a_disabled_worker(self) -> None:
        """A disabled worker keeps its route, unless an enabled one has the same."""
        route = (RouteConfig(prefix="/x", host="a.example"),)
        old = worker_config("a", enabled=False, routes=route)
        self.assertEqual(routing(1, project(old), {}).routes, (Route(prefix="/x", worker="a", host="a.example"),))
        new = worker_config("b", routes=route)
        self.assertEqual(routing(1, project(old, new), {}).routes, (Route(prefix="/x", worker="b", host="a.example"),))

    def test_several_routes(self) -> None:
        """A worker with several routes has them all."""
        routes = (RouteConfig(prefix="/x"), RouteConfig(prefix="/", host="b.example"))
        made = routing(1, project(worker_config(routes=routes)), {})
        self.assertEqual({(route.host, route.prefix) for route in made.routes}, {("", "/x"), ("b.example", "/")})

    def test_settings(self) -> None:
        """What C{server.yaml} says about clients reaches the fronts; no file is an empty string."""
        http = HTTPConfig(header_bytes_max=1234, trusted_proxies=("10.0.0.0/8",), access_log="/l")
        made = routing(1, project(http=http, mode="production"), {}).http
        self.assertEqual((made.header_bytes_max, made.trusted_proxies), (1234, ("10.0.0.0/8",)))
        self.assertEqual((made.access_log, made.public, made.development), ("/l", "", False))

    def test_same_picture(self) -> None:
        """The same picture is the same message, in whatever order the workers were given."""
        one, two = worker_config("a"), worker_config("b")
        self.assertEqual(routing(1, project(one, two), {}), routing(1, project(two, one), {}))
        self.assertNotEqual(
            routing(1, project(one, two), {}), routing(1, project(one, evolve(two, balance="hash")), {})
        )


class MetricsTests(SynchronousTestCase):
    """The supervisor's own endpoint."""

    def test_on_the_fronts(self) -> None:
        """The metrics are at their path on the fronts, answered by the supervisor's socket."""
        made = routing(1, project(worker_config(), metrics_enabled=True, metrics_path="/numbers"), {})
        self.assertIn(Route(prefix="/numbers", worker=METRICS), made.routes)
        (told,) = (worker for worker in made.workers if worker.name == METRICS)
        self.assertEqual([endpoint.path for endpoint in told.endpoints], ["/project/var/metrics.sock"])

    def test_dashboard(self) -> None:
        """In development the dashboard is below every host that a route names, before any worker; else nowhere."""
        hosts = (RouteConfig(prefix="/"), RouteConfig(prefix="/_tq"), RouteConfig(prefix="/", host="a.example"))
        worker = worker_config(routes=hosts)
        for mode, enabled, expected in (
            ("development", True, ["", "a.example"]),
            ("development", False, []),
            ("production", True, []),
        ):
            made = routing(1, project(worker, mode=mode, dashboard=enabled), {})
            found = [route.host for route in made.routes if route.worker == DASHBOARD]
            with self.subTest(mode=mode, enabled=enabled):
                self.assertEqual(found, expected)
                self.assertEqual(len({(route.host, route.prefix) for route in made.routes}), len(made.routes))
                targets = [each for each in made.workers if each.name == DASHBOARD]
                paths = [each.endpoints[0].path for each in targets]
                self.assertEqual(paths, ["/project/var/dashboard.sock"] if expected else [])

    def test_kept_from_the_fronts(self) -> None:
        """They are not there if they are for the admin socket alone, or if a worker has their path."""
        taken = worker_config(routes=(RouteConfig(prefix="/metrics"),))
        for workers, changes in (
            ((worker_config(),), {"metrics_listen": "admin"}),
            ((worker_config(),), {"metrics_enabled": False}),
            ((taken,), {}),
        ):
            made = routing(1, project(*workers, **{"metrics_enabled": True, **changes}), {})
            self.assertNotIn(METRICS, [worker.name for worker in made.workers])

    def test_fronts_share(self) -> None:
        """Fronts share what an instance may do at once, and each gets at least one."""
        for fronts, share in ((1, 7), (2, 4), (10, 1)):
            made = routing(
                1,
                project(worker_config(scaling=ScalingConfig(concurrency_max=7)), http=HTTPConfig(fronts=fronts)),
                {"api": Picture(addresses=(("api.1.1", Address("127.0.0.1", 9001)),))},
            )
            self.assertEqual(made.workers[0].endpoints[0].concurrency_max, share)


class AsynchronousTests(SynchronousTestCase):
    """Requests that are answered later."""

    def test_routes(self) -> None:
        """The fronts know of each route whether it may be asked so, and who keeps such requests."""
        config = worker_config(routes=(RouteConfig(prefix="/a"), RouteConfig(prefix="/b", asynchronous=True)))
        made = routing(1, project(config, worker_config("tasks", type="queue")), {})
        self.assertEqual([route.prefix for route in made.routes if route.asynchronous], ["/b"])
        self.assertEqual(made.queue, "tasks")
        self.assertEqual(routing(1, project(config), {}).queue, "")
