"""
The configuration as frozen values: C{server.yaml} is a L{ServerConfig}, a C{worker.yaml} is a
L{WorkerConfig}.

Everything here is already resolved: defaults are filled in, older spellings are gone, units are those of the
field's suffix, paths are absolute. L{tqserver.config.load} makes these values; nothing else does, except
tests.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from ..errors import Problem
from .queue_model import QueueSettings

Mode = Literal["development", "production"]
WorkerType = Literal["go", "bun", "php", "python", "command", "static", "queue"]
Balance = Literal["round_robin", "least_in_flight", "random_two", "hash"]
FailureKind = Literal["connect", "break", "timeout", "gateway", "5xx"]
HealthType = Literal["http", "tcp", "fastcgi", "notify", "none"]
RestartPolicy = Literal["always", "on-failure", "never"]


@frozen(kw_only=True)
class ListenConfig:
    """One listener: either C{address} and C{port}, or the path of a UNIX socket."""

    address: str = "0.0.0.0"
    port: int = 8080
    unix: str | None = None
    proxy_protocol: bool = False
    """Whether each connection begins by telling whose it is."""


@frozen(kw_only=True)
class StaticConfig:
    """How the files of a public folder are served."""

    index: tuple[str, ...] = ("index.html",)
    """Names of the file that a folder means, the first that is there."""
    fallback: str | None = None
    """Path, below the public folder, of what answers navigations that mean no file."""
    cache_control: tuple[tuple[str, str], ...] = ()
    """Patterns of names and values of C{Cache-Control}; the first that matches decides."""


@frozen(kw_only=True)
class HTTPConfig:
    """How clients are served; C{server.*} of the file."""

    listen: tuple[ListenConfig, ...] = (ListenConfig(),)
    fronts: int = 1
    read_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    idle_timeout_s: float = 120.0
    request_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0
    header_bytes_max: int = 16 * 1024
    body_bytes_max: int = 0
    """0: no limit."""
    read_bytes_min_per_s: int = 0
    """Of a request's body; 0: only silence counts."""
    connections_max: int = 10_000
    in_flight_max: int = 0
    """Requests that a front has in hand; 0: no limit."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks in CIDR form; C{unix} for whoever comes over a UNIX socket."""
    log_file: str | None = None
    """Absolute path, may hold C{{date}}; L{None}: no file."""
    access_log: str | None = None
    access_log_format: str = "combined"
    public: str | None = None
    """Absolute directory of the server's own static files; L{None} if there is none."""
    static: StaticConfig = StaticConfig()
    health_path: str | None = None


@frozen(kw_only=True)
class PoolConfig:
    """What holds for all workers; C{workers.*} of the file."""

    directory: str
    port_first: int = 9000
    port_last: int = 9999
    startup_delay_s: float = 0.1
    restart_delay_s: float = 0.1
    shutdown_grace_s: float = 0.5
    drain_timeout_s: float = 30.0
    ready_timeout_s: float = 5.0
    build_parallel: int = 2
    build_timeout_s: float = 120.0


@frozen(kw_only=True)
class WatchConfig:
    """C{file_watcher.*} of the file."""

    enabled: bool = True
    debounce_s: float = 0.05
    ignore: tuple[str, ...] = (
        "*.log",
        "data/",
        "logs/",
        "node_modules/",
        ".git/",
        "*~",
        ".#*",
        "*.sw?",
        "__pycache__/",
    )
    """Patterns; one that ends in C{/} names a folder anywhere below the worker."""


@frozen(kw_only=True)
class ServerConfig:
    """
    All of C{server.yaml}.

    @ivar file: absolute path of the file.
    @ivar project: absolute project directory, which relative paths of the file started from.
    """

    file: str
    project: str
    mode: Mode = "development"
    http: HTTPConfig = HTTPConfig()
    workers: PoolConfig
    watch: WatchConfig = WatchConfig()
    admin_socket: str = ""
    """Absolute path."""
    dashboard: bool = True
    """Whether the fronts show the dashboard, in development."""
    metrics_enabled: bool = True
    metrics_path: str = "/metrics"
    metrics_listen: Literal["front", "admin"] = "front"
    """Where the metrics are to be had: on the fronts, or on the admin socket alone."""

    @property
    def development(self) -> bool:
        """True in development mode."""
        return self.mode == "development"

    @property
    def var(self) -> str:
        """Absolute directory for what the server keeps: the lock, sockets, builds."""
        return f"{self.project}/var"


@frozen(kw_only=True)
class RouteConfig:
    """
    A URL prefix, perhaps only for one host. The prefix begins with C{/} and ends with it only if it is C{/}.
    """

    prefix: str
    host: str | None = None
    """Lower case, no port."""
    asynchronous: bool | None = False
    """Whether requests may ask to be answered later; L{None} only while it is read: as the worker says."""


@frozen(kw_only=True)
class ScalingConfig:
    """How many instances."""

    workers_min: int = 1
    workers_max: int = 5
    queue_threshold: int = 10
    wait_max_s: float = 0.05
    scale_down_delay_s: float = 60.0
    concurrency_max: int = 0
    """Requests at once per instance; 0: no limit."""


@frozen(kw_only=True)
class WaitingLineConfig:
    """How many requests may wait for an endpoint in each front, and how long."""

    requests_max: int = 1000
    timeout_s: float = 30.0


@frozen(kw_only=True)
class StickyConfig:
    """The cookie that brings a client back to the instance that it had before."""

    cookie: str = ""
    """Its name; empty: there is none."""
    secure: bool | None = None
    """L{None}: if the client came over an encrypted connection."""
    age_max_s: int = 0
    """0: until the client's session ends."""


@frozen(kw_only=True)
class OutlierConfig:
    """When the fronts leave an instance alone because its requests go wrong."""

    failures: int = 5
    """In a row; 0: never."""
    window_s: float = 10.0
    eject_s: float = 1.0
    eject_max_s: float = 30.0
    ejected_percent_max: int = 50
    """Of the worker's instances."""
    on: tuple[FailureKind, ...] = ("connect", "break")


@frozen(kw_only=True)
class RetryConfig:
    """How often requests that an instance broke are sent again."""

    attempts: int = 3
    """Of one request, the first one included."""
    budget_percent: int = 20
    """Of the requests of late."""
    min_per_s: int = 10


@frozen(kw_only=True)
class UpgradeConfig:
    """Connections that speak another protocol after a request for it, such as WebSocket."""

    idle_timeout_s: float = 3600.0
    """Silence in both directions; 0: no limit."""


@frozen(kw_only=True)
class HealthConfig:
    """How we learn that an instance is ready and stays well."""

    type: HealthType = "http"
    path: str = "/health"
    interval_s: float = 5.0
    timeout_s: float = 0.5
    failures: int = 3
    successes: int = 1


@frozen(kw_only=True)
class RestartConfig:
    """What happens after a death."""

    policy: RestartPolicy = "always"
    backoff_initial_s: float = 0.1
    backoff_max_s: float = 30.0
    window_s: float = 60.0
    """Deaths older than this are forgotten; a run this long resets the backoff."""
    deaths_max: int = 5
    """More deaths than this within the window: the slot is held."""


@frozen(kw_only=True)
class ProcessLimits:
    """Resource limits (setrlimit(2)); L{None} leaves one as it is."""

    open_files: int | None = None
    processes: int | None = None
    address_space_bytes: int | None = None


@frozen(kw_only=True)
class ProcessConfig:
    """What the process of a worker is given, whatever its language."""

    user: str | None = None
    group: str | None = None
    umask: int | None = None
    nice: int | None = None
    limits: ProcessLimits = ProcessLimits()
    environment: tuple[tuple[str, str], ...] = ()
    """Sorted pairs: C{environment_file} first, overridden by C{environment}."""
    inherit_environment: bool = False
    stop_signal: str = "TERM"
    """Without the C{SIG}."""
    shutdown_grace_s: float = 0.5


@frozen(kw_only=True)
class RecycleConfig:
    """When a healthy instance is replaced by a fresh one; 0 switches each off."""

    requests_max: int = 0
    requests_jitter: int = 0
    age_max_s: float = 0.0
    memory_max_bytes: int = 0


@frozen(kw_only=True)
class GoConfig:
    """Settings of C{type: go}."""

    flags: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    go_max_procs: int = 2
    go_mem_limit: str = ""


@frozen(kw_only=True)
class BunConfig:
    """Settings of C{type: bun}."""

    entrypoint: str = "index.ts"
    environment: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class PythonConfig:
    """Settings of C{type: python}."""

    app: str = "app.py"
    """A script, or C{module:attribute} of an ASGI or WSGI application."""
    interpreter: str | None = None
    """L{None}: the interpreter that runs the server."""
    requirements: str | None = None
    """Absolute path of a requirements file, or L{None} if there is none."""


@frozen(kw_only=True)
class PHPPoolConfig:
    """The php-fpm pool; names as in php-fpm's C{pm.*}."""

    manager: Literal["static", "dynamic", "ondemand"] = "dynamic"
    workers_min: int = 1
    workers_max: int = 5
    workers_start: int = 2
    requests_max: int = 0
    request_timeout_s: float = 0.0
    idle_timeout_s: float = 10.0


@frozen(kw_only=True)
class PHPConfig:
    """Settings of C{type: php}."""

    binary: str | None = None
    """L{None}: the newest php-fpm found."""
    config_file: str | None = None
    """Absolute path of a php.ini."""
    settings: tuple[tuple[str, str], ...] = ()
    """php.ini settings, sorted."""
    pool: PHPPoolConfig = PHPPoolConfig()
    document_root: str = "public"
    """Absolute."""
    front_controller: str = "index.php"
    split_path: str = ".php"


@frozen(kw_only=True)
class WorkerConfig:
    """
    All of one C{worker.yaml}.

    @ivar name: the name of the worker's folder.
    @ivar directory: absolute path of that folder.
    @ivar file: absolute path of the C{worker.yaml}.
    """

    name: str
    directory: str
    file: str
    routes: tuple[RouteConfig, ...]
    type: WorkerType
    enabled: bool = True
    """Already decided for the mode."""
    strip_prefix: bool = True
    build: tuple[str, ...] = ()
    """argv of C{command} workers; empty: nothing to build."""
    run: tuple[str, ...] = ()
    """argv of C{command} workers; may hold C{{port}}, C{{socket}}, C{{name}}."""
    listen: Literal["tcp", "unix"] = "tcp"
    request_timeout_s: float = 60.0
    """The worker's own, or the server's."""
    scaling: ScalingConfig = ScalingConfig()
    waiting: WaitingLineConfig = WaitingLineConfig()
    upgrade: UpgradeConfig = UpgradeConfig()
    balance: Balance = "least_in_flight"
    hash_on: str = "ip"
    """C{ip}, C{header:NAME} or C{cookie:NAME}; used by C{balance: hash}."""
    sticky: StickyConfig = StickyConfig()
    outlier: OutlierConfig = OutlierConfig()
    retry: RetryConfig = RetryConfig()
    in_flight_max: int = 0
    """Requests that one front has in hand for this worker, those that wait included; 0: no limit."""
    health: HealthConfig = HealthConfig()
    restart: RestartConfig = RestartConfig()
    recycle: RecycleConfig = RecycleConfig()
    process: ProcessConfig = ProcessConfig()
    go: GoConfig = GoConfig()
    bun: BunConfig = BunConfig()
    python: PythonConfig = PythonConfig()
    php: PHPConfig = PHPConfig()
    queue: QueueSettings | None = None
    """Of C{type: queue}, and of no other."""
    log_file: str | None = None
    """Absolute path, may hold C{{date}}; L{None}: none."""
    public: str | None = None
    """Absolute directory of static files; L{None} if there is none."""
    static: StaticConfig = StaticConfig()
    x_accel_redirect: tuple[tuple[str, str], ...] = ()
    """Prefixes that a response may name with C{X-Accel-Redirect}, and the absolute directories that they stand for."""
    x_sendfile: tuple[str, ...] = ()
    """Absolute directories of files that a response may name with C{X-Sendfile}."""
    ignore: tuple[str, ...] = field(default=())
    """Further patterns of files whose change means nothing, besides L{WatchConfig.ignore}."""

    @property
    def single(self) -> bool:
        """Whether there can be only one process of it at a time: a queue's has locked its tasks."""
        return self.type == "queue"

    @property
    def route(self) -> str:
        """The first prefix, which the worker is told as its own."""
        return self.routes[0].prefix


@frozen
class BrokenWorker:
    """
    A worker whose C{worker.yaml} cannot be used.

    @ivar name: the name of the worker's folder.
    @ivar directory: absolute path of that folder.
    @ivar file: absolute path of the C{worker.yaml}.
    @ivar problems: why, at least one.
    """

    name: str
    directory: str
    file: str
    problems: tuple[Problem, ...]


@frozen
class Project:
    """
    All configuration of one server.

    @ivar server: C{server.yaml}.
    @ivar workers: those that can be used, by name; disabled ones too.
    @ivar broken: those that cannot, by name.
    """

    server: ServerConfig
    workers: tuple[WorkerConfig, ...] = ()
    broken: tuple[BrokenWorker, ...] = ()
