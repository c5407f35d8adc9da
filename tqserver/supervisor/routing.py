"""The picture that the fronts get, made of the configuration and of what is ready. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import asdict, frozen

from ..config.model import HTTPConfig, PHPPoolConfig, Project, ServerConfig, StaticConfig, WorkerConfig
from ..plane.messages import (
    Endpoint,
    FastCGITarget,
    HTTPSettings,
    OutlierRule,
    RetryRule,
    Route,
    Routing,
    StaticSettings,
    StickyRule,
    WorkerRouting,
)
from ..process.spec import Address

OUTPUT_LINES_MAX = 100
"""Lines of output that go with a reason; every front keeps them."""


@frozen
class Closed:
    """
    Why requests of a worker need not wait.

    @ivar reason: one line; empty while they should wait.
    @ivar remedy: what an operator could do.
    @ivar output: lines that explain it.
    """

    reason: str = ""
    remedy: str = ""
    output: tuple[str, ...] = ()


OPEN = Closed()

DASHBOARD = "(dashboard)"
"""What the fronts call the socket where the supervisor shows itself in development; no worker can have this name."""

DASHBOARD_PREFIX = "/_tq"

DASHBOARD_TIMEOUT_S = 660.0
"""Commands can be waited for, up to ten minutes."""

METRICS = "(metrics)"
"""What the fronts call the socket where the supervisor tells its metrics; no worker can have this name."""


@frozen(kw_only=True)
class Picture:
    """
    One worker as it is to be published.

    @ivar generation: serial number of the generation that serves; 0 if none does.
    @ivar addresses: id and address of each instance that may be given requests.
    @ivar served_by: the configuration of that generation, which decides what is spoken with its instances; L{None}
        if it is the current one.
    @ivar closed: used only when there are no addresses.
    """

    generation: int = 0
    served_by: WorkerConfig | None = None
    addresses: tuple[tuple[str, Address], ...] = ()
    closed: Closed = OPEN


def routing(version: int, project: Project, pictures: Mapping[str, Picture], secret: bytes = b"") -> Routing:
    """
    The complete picture.

    A worker that is disabled keeps its routes, so that its clients are told so, unless another worker has them now.

    @param pictures: by worker name; a worker without one is open and has no endpoint.
    @param secret: what all fronts know and nobody else does.
    """
    workers = sorted(project.workers, key=lambda worker: worker.name)
    routes = _routes(workers)
    routings = [
        _worker(config, pictures.get(config.name) or Picture(), project.server.http.fronts) for config in workers
    ]
    server = project.server
    if server.metrics_enabled and server.metrics_listen == "front":
        metrics = Route(prefix=server.metrics_path, worker=METRICS)
        if all((route.host, route.prefix) != ("", metrics.prefix) for route in routes):
            routes += (metrics,)
            routings.append(WorkerRouting(name=METRICS, type="metrics", endpoints=(metrics_endpoint(server),)))
    if server.development and server.dashboard:
        hosts = sorted({route.host for route in routes} | {""})
        routes = tuple(route for route in routes if route.prefix != DASHBOARD_PREFIX)
        routes += tuple(Route(prefix=DASHBOARD_PREFIX, worker=DASHBOARD, host=host) for host in hosts)
        routings.append(
            WorkerRouting(
                name=DASHBOARD,
                type="dashboard",
                endpoints=(dashboard_endpoint(server),),
                request_timeout_s=DASHBOARD_TIMEOUT_S,
            )
        )
    return Routing(
        version=version,
        secret=secret,
        queue=_keeper(workers),
        http=http_settings(server),
        drain_timeout_s=server.workers.drain_timeout_s,
        routes=routes,
        workers=tuple(routings),
    )


def metrics_endpoint(server: ServerConfig) -> Endpoint:
    """Where the supervisor tells its metrics."""
    return Endpoint(id=METRICS, path=f"{server.var}/metrics.sock")


def dashboard_endpoint(server: ServerConfig) -> Endpoint:
    """Where the supervisor shows itself."""
    return Endpoint(id=DASHBOARD, path=f"{server.var}/dashboard.sock")


def http_settings(server: ServerConfig) -> HTTPSettings:
    """How the fronts treat their clients."""
    http: HTTPConfig = server.http
    return HTTPSettings(
        read_timeout_s=http.read_timeout_s,
        write_timeout_s=http.write_timeout_s,
        idle_timeout_s=http.idle_timeout_s,
        header_bytes_max=http.header_bytes_max,
        body_bytes_max=http.body_bytes_max,
        connections_max=http.connections_max,
        read_bytes_min_per_s=http.read_bytes_min_per_s,
        in_flight_max=http.in_flight_max,
        trusted_proxies=http.trusted_proxies,
        access_log=http.access_log or "",
        access_log_format=http.access_log_format,
        public=http.public or "",
        static=static_settings(http.static),
        health_path=http.health_path or "",
        spool_directory=f"{server.var}/spool",
        development=server.development,
    )


def static_settings(config: StaticConfig) -> StaticSettings:
    """How the fronts serve the files of a folder."""
    return StaticSettings(index=config.index, fallback=config.fallback or "", cache_control=config.cache_control)


def protocol(config: WorkerConfig) -> Literal["http", "fastcgi", "none"]:
    """What a front speaks with a worker's instances."""
    if config.type == "php":
        return "fastcgi"
    return "none" if config.type == "static" else "http"


def _routes(workers: list[WorkerConfig]) -> tuple[Route, ...]:
    """Every prefix once; those of enabled workers win."""
    routes: dict[tuple[str, str], Route] = {}
    for config in sorted(workers, key=lambda worker: not worker.enabled):
        for route in config.routes:
            host = route.host or ""
            told = Route(prefix=route.prefix, worker=config.name, host=host, asynchronous=route.asynchronous is True)
            routes.setdefault((host, route.prefix), told)
    return tuple(routes[key] for key in sorted(routes))


def _keeper(workers: list[WorkerConfig]) -> str:
    """The queue that keeps asynchronous requests: of several that are enabled, the first by name."""
    return next((config.name for config in workers if config.type == "queue" and config.enabled), "")


def _worker(config: WorkerConfig, picture: Picture, fronts: int) -> WorkerRouting:
    """One worker's part."""
    served_by = picture.served_by or config
    spoken = protocol(served_by)
    closed = OPEN if picture.addresses else picture.closed
    target = None
    if spoken == "fastcgi":
        target = FastCGITarget(
            document_root=served_by.php.document_root,
            front_controller=served_by.php.front_controller,
            split_path=served_by.php.split_path,
        )
    return WorkerRouting(
        name=config.name,
        type=config.type,
        generation=picture.generation,
        protocol=spoken,
        endpoints=tuple(_endpoint(served_by, name, address, fronts) for name, address in picture.addresses),
        closed=closed.reason,
        remedy=closed.remedy,
        output="\n".join(closed.output[-OUTPUT_LINES_MAX:]),
        strip_prefix=config.strip_prefix,
        request_timeout_s=config.request_timeout_s,
        upgrade_idle_timeout_s=config.upgrade.idle_timeout_s,
        balance=config.balance,
        hash_on=config.hash_on,
        sticky=StickyRule(**asdict(config.sticky)) if config.sticky.cookie else None,
        outlier=OutlierRule(**asdict(config.outlier)),
        retry=RetryRule(**asdict(config.retry)),
        in_flight_max=config.in_flight_max,
        waiting_max=config.waiting.requests_max,
        waiting_timeout_s=config.waiting.timeout_s,
        queue_threshold=config.scaling.queue_threshold,
        wait_max_s=config.scaling.wait_max_s,
        public=config.public or "",
        static=static_settings(config.static),
        x_accel_redirect=config.x_accel_redirect,
        x_sendfile=config.x_sendfile,
        fastcgi=target,
    )


def _lasting_max(pool: PHPPoolConfig) -> int:
    """
    How many children of php-fpm may belong to fronts for as long as these like: of those that are always there, or made
    in the moment when they are wanted, all but one, which is there for pings and for whoever wants more than its share.
    A C{dynamic} pool has more only some seconds after they were wanted.
    """
    children = min(pool.workers_min, pool.workers_max) if pool.manager == "dynamic" else pool.workers_max
    return max(0, children - 1)


def _endpoint(config: WorkerConfig, instance: str, address: Address, fronts: int) -> Endpoint:
    """
    One instance as the fronts see it.

    Fronts do not know of each other's requests: each gets its share of what an instance can do at once, rounded up.
    """
    concurrency_max = config.scaling.concurrency_max
    if config.type == "php" and not concurrency_max:
        concurrency_max = config.php.pool.workers_max
    concurrency_max = -(-concurrency_max // max(fronts, 1))
    lasting_max = min(concurrency_max, _lasting_max(config.php.pool) // max(fronts, 1)) if config.type == "php" else 0
    return Endpoint(
        id=instance,
        host=address.host,
        port=address.port,
        path=address.path,
        concurrency_max=concurrency_max,
        lasting_max=lasting_max,
    )
