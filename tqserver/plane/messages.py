"""
The frozen messages between the supervisor and a front.

Down go L{Routing}, L{Retire} and L{ReopenLogs}; up come L{Started}, L{Applied}, L{Drained}, L{Wanted}, L{Load},
L{WorkerSaid} and L{FrontStopped}. They are encoded as MessagePack (L{tqserver.plane.link}).
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Message(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Anything that travels on the link."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where one ready instance listens.

    @ivar id: the instance's name, never used again for another: C{api.3.1} is worker, generation, serial number.
    @ivar host: address of a TCP endpoint, or empty.
    @ivar port: port of a TCP endpoint, or 0.
    @ivar path: path of a UNIX socket, or empty.
    @ivar concurrency_max: requests at once; 0 for no limit. For FastCGI: connections at once.
    @ivar lasting_max: FastCGI connections that may be kept for as long as they are used. Those of all fronts together
        leave a child of php-fpm to others.
    """

    id: str
    host: str = ""
    port: int = 0
    path: str = ""
    concurrency_max: int = 0
    lasting_max: int = 0


class FastCGITarget(msgspec.Struct, frozen=True, kw_only=True):
    """How a request path becomes a script. Paths are absolute."""

    document_root: str
    front_controller: str = "index.php"
    split_path: str = ".php"


class StaticSettings(msgspec.Struct, frozen=True, kw_only=True):
    """
    How the files of a folder are served.

    @ivar index: names of the file that a folder means, the first that is there.
    @ivar fallback: name of the file that answers navigations which mean no file; empty: there is none.
    @ivar cache_control: patterns of names and values of C{Cache-Control}; the first that matches decides.
    """

    index: tuple[str, ...] = ("index.html",)
    fallback: str = ""
    cache_control: tuple[tuple[str, str], ...] = ()


FailureKind = Literal["connect", "break", "timeout", "gateway", "5xx"]
"""
What can be wrong with an endpoint: it refuses a connection, breaks one or answers with what is no HTTP, does not answer
in time, answers with 502, 503 or 504, or with any status from 500.
"""


class OutlierRule(msgspec.Struct, frozen=True, kw_only=True):
    """
    When an endpoint gets no requests for a while because they go wrong.

    @ivar failures: so many in a row; 0: never.
    @ivar window_s: within this time.
    @ivar eject_s: how long at most it is left alone the first time; twice as long each time after.
    @ivar eject_max_s: the longest.
    @ivar ejected_percent_max: of a worker's endpoints, no more are left alone at the same time.
    @ivar on: what counts.
    """

    failures: int = 5
    window_s: float = 10.0
    eject_s: float = 1.0
    eject_max_s: float = 30.0
    ejected_percent_max: int = 50
    on: tuple[FailureKind, ...] = ("connect", "break")


class RetryRule(msgspec.Struct, frozen=True, kw_only=True):
    """
    How often requests that a worker broke are sent again.

    @ivar attempts: of one request at most, the first one included.
    @ivar budget_percent: of the requests of late, so many may be sent again.
    @ivar min_per_s: and so many a second besides.
    """

    attempts: int = 3
    budget_percent: int = 20
    min_per_s: int = 10


class StickyRule(msgspec.Struct, frozen=True, kw_only=True):
    """
    The cookie that brings a client back to the endpoint that it had before.

    @ivar cookie: its name.
    @ivar secure: whether it is for encrypted connections only; L{None}: if it was set over one.
    @ivar age_max_s: how long the client keeps it, in seconds; 0: until its session ends.
    """

    cookie: str
    secure: bool | None = None
    age_max_s: int = 0


class WorkerRouting(msgspec.Struct, frozen=True, kw_only=True):
    """
    All that a front knows of one worker.

    @ivar endpoints: the instances that may be given requests; may be empty.
    @ivar closed: empty while requests without an endpoint should wait; else why there is no use in waiting (held, not
        built, disabled): they are answered with 503 and this text.
    @ivar remedy: what an operator could do about C{closed}; shown in development, with C{output}.
    @ivar output: the last lines that explain C{closed} (a compiler's output, a dying worker's last words).
    @ivar in_flight_max: requests that one front has in hand for this worker, those that wait included; 0: no limit.
    """

    name: str
    type: str
    generation: int = 0
    protocol: Literal["http", "fastcgi", "none"] = "http"
    endpoints: tuple[Endpoint, ...] = ()
    closed: str = ""
    remedy: str = ""
    output: str = ""
    strip_prefix: bool = True
    request_timeout_s: float = 60.0
    upgrade_idle_timeout_s: float = 3600.0
    """How long an upgraded connection may be silent in both directions; 0 is no limit."""
    balance: str = "least_in_flight"
    hash_on: str = "ip"
    sticky: StickyRule | None = None
    outlier: OutlierRule = OutlierRule()
    retry: RetryRule = RetryRule()
    in_flight_max: int = 0
    waiting_max: int = 1000
    waiting_timeout_s: float = 30.0
    queue_threshold: int = 10
    wait_max_s: float = 0.05
    """A request that waits longer than this, or more waiters than C{queue_threshold}, are told as L{Wanted}."""
    public: str = ""
    static: StaticSettings = StaticSettings()
    x_accel_redirect: tuple[tuple[str, str], ...] = ()
    """Prefixes that C{X-Accel-Redirect} may name, and the folders that they stand for; empty: it means nothing."""
    x_sendfile: tuple[str, ...] = ()
    """Folders of files that C{X-Sendfile} may name; empty: it means nothing."""
    fastcgi: FastCGITarget | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """
    A prefix, perhaps of one host only (empty: any), and the worker it leads to.

    @ivar asynchronous: whether requests may ask to be answered later (C{Prefer: respond-async}, RFC 7240).
    """

    prefix: str
    worker: str
    host: str = ""
    asynchronous: bool = False


class HTTPSettings(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a front treats its clients; units as in the names.

    @ivar read_bytes_min_per_s: a client that sends a request's body more slowly is sent away; 0: only silence counts.
    @ivar in_flight_max: requests that one front has in hand; 0: no limit.
    """

    read_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    idle_timeout_s: float = 120.0
    header_bytes_max: int = 16384
    body_bytes_max: int = 0
    connections_max: int = 10000
    read_bytes_min_per_s: int = 0
    in_flight_max: int = 0
    trusted_proxies: tuple[str, ...] = ()
    access_log: str = ""
    access_log_format: str = "combined"
    public: str = ""
    static: StaticSettings = StaticSettings()
    health_path: str = ""
    spool_directory: str = ""
    """Where request bodies of unknown length are kept until they are whole; empty for the system's choice."""
    development: bool = False


class Routing(Message, frozen=True, tag=True, kw_only=True):
    """
    The complete picture. A front that has it needs nothing else.

    @ivar secret: what all fronts of a server know and nobody else does; the same for as long as the server runs.
    @ivar queue: the worker of type queue that keeps asynchronous requests; empty if there is none.
    @ivar drain_timeout_s: so long after an endpoint was taken away its instance may be stopped, whatever it has in
        hand. Who can say goodbye does so before.
    """

    version: int
    secret: bytes = b""
    queue: str = ""
    http: HTTPSettings = HTTPSettings()
    drain_timeout_s: float = 30.0
    routes: tuple[Route, ...] = ()
    workers: tuple[WorkerRouting, ...] = ()


class Retire(Message, frozen=True, tag=True, kw_only=True):
    """
    Leave gracefully: accept no more, tell keep-alive clients to close, end when the last exchange has ended.

    @ivar timeout_s: whatever is still there after this many seconds is cut.
    @ivar close_listeners: true at a stop, when nobody else will accept what waits in the listening sockets: take
        those connections first. False when a successor already accepts.
    """

    timeout_s: float
    close_listeners: bool = False


class ReopenLogs(Message, frozen=True, tag=True, kw_only=True):
    """Close and open log files again (USR1)."""


class Started(Message, frozen=True, tag=True, kw_only=True):
    """The front runs and wants a L{Routing}."""

    pid: int


class Applied(Message, frozen=True, tag=True, kw_only=True):
    """The front works by this version now: no new exchange goes to an endpoint that is not in it."""

    version: int


class Drained(Message, frozen=True, tag=True, kw_only=True):
    """
    The last exchange on an endpoint that a L{Routing} took away has ended, and kept connections to it are closed.

    A front says this once for each endpoint that it was ever given, after the L{Applied} of the version that took it
    away.

    @ivar version: of a routing without it; if a later one has it again, this says nothing about that.
    """

    endpoint: str
    version: int


class Wanted(Message, frozen=True, tag=True, kw_only=True):
    """
    Requests wait for a worker. Said when the first request finds no endpoint, and again (at most every
    C{wait_max_s}) while more than C{queue_threshold} wait or one has waited longer than C{wait_max_s}.
    """

    worker: str
    waiting: int
    oldest_s: float = 0.0


class EndpointLoad(msgspec.Struct, frozen=True, kw_only=True):
    """
    Counters of one endpoint since the front started.

    @ivar answered: responses whose head came from the worker, of any status.
    @ivar failed: exchanges that the worker broke.
    @ivar ejected: whether it is left alone now because too many went wrong.
    """

    id: str
    in_flight: int = 0
    answered: int = 0
    failed: int = 0
    ejected: bool = False


class WorkerLoad(msgspec.Struct, frozen=True, kw_only=True):
    """
    Counters of one worker since the front started.

    @ivar ejections: times that an endpoint was left alone because too many exchanges went wrong.
    @ivar retries: requests that were sent again after the worker broke them.
    @ivar unretried: requests that could have been, but for the budget.
    @ivar latency: counts of exchanges by duration; bucket I{i} holds those under C{LATENCY_BOUNDS_S[i]}, the last
        one the rest.
    """

    name: str
    waiting: int = 0
    requests: int = 0
    errors: int = 0
    ejections: int = 0
    retries: int = 0
    unretried: int = 0
    latency: tuple[int, ...] = ()


LATENCY_BOUNDS_S = tuple(0.0005 * 2**power for power in range(18))
"""Upper bounds of the latency histogram: half a millisecond to a minute, doubling."""


class Load(Message, frozen=True, tag=True, kw_only=True):
    """
    What a front carries; sent about every 500 ms while anything changes.

    @ivar upgraded: connections that speak another protocol than HTTP by now. They are in flight as well.
    """

    connections: int = 0
    requests: int = 0
    in_flight: int = 0
    upgraded: int = 0
    endpoints: tuple[EndpointLoad, ...] = ()
    workers: tuple[WorkerLoad, ...] = ()


class WorkerSaid(Message, frozen=True, tag=True, kw_only=True):
    """A line for a worker's log that came over the data plane (FastCGI's STDERR stream)."""

    worker: str
    request_id: str
    line: str


class FrontStopped(Message, frozen=True, tag=True, kw_only=True):
    """
    The front is about to end.

    @ivar cut: exchanges that had to be cut because the limit of L{Retire} had come.
    """

    cut: int = 0


Downward = Routing | Retire | ReopenLogs
Upward = Started | Applied | Drained | Wanted | Load | WorkerSaid | FrontStopped
