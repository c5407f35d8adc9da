"""
How what a C{worker.yaml} holds becomes a L{WorkerConfig}. Pure.

What stands beside the file (which files the folder has, what an C{environment_file} says) comes in as values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import evolve, frozen

from .folder import REQUIREMENTS, SECTIONS, Folder, guess_type
from .model import (
    BunConfig,
    GoConfig,
    HealthConfig,
    HealthType,
    OutlierConfig,
    PHPConfig,
    PHPPoolConfig,
    ProcessConfig,
    ProcessLimits,
    PythonConfig,
    RecycleConfig,
    RestartConfig,
    RetryConfig,
    RouteConfig,
    ScalingConfig,
    ServerConfig,
    StaticConfig,
    StickyConfig,
    UpgradeConfig,
    WaitingLineConfig,
    WorkerConfig,
    WorkerType,
)
from .nodes import Wrong
from .places import lines_of_items
from .queue_file import build_queue, is_of_queue
from .queue_keys import ASYNC
from .server_file import absolute
from .shape import Found

LOG_FILE = "logs/worker_{name}_{date}.log"
PUBLIC = "public"
DOCUMENT_ROOT = "public"

WORKER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", re.ASCII)
"""A name stands in headers, file names and the paths of sockets."""

QUEUE_GRACE_S = 10.0
"""A queue's process that was told to end ends what it has in hand, which may wait for a slow disk."""

QUEUE_REQUEST_TIMEOUT_S = 90.0
"""A request may ask a queue to wait for as long as a minute."""

_HEALTH: dict[WorkerType, tuple[HealthType, ...]] = {
    "go": ("http", "tcp", "notify", "none"),
    "bun": ("http", "tcp", "notify", "none"),
    "python": ("http", "tcp", "notify", "none"),
    "command": ("http", "tcp", "notify", "none"),
    "queue": ("http", "tcp", "notify", "none"),
    "php": ("fastcgi", "tcp", "none"),
    "static": ("none",),
}
"""How each type can be asked for its health; the first is the default."""


@frozen
class Read:
    """
    A worker's configuration, and the lines of its routes for those who collide with them.

    @ivar lines: the line of each of the worker's routes, from 1.
    @ivar async_line: where it says C{async}; 0 if it does not.
    """

    config: WorkerConfig
    lines: tuple[int, ...]
    async_line: int = 0


def build_worker(
    found: Found,
    name: str,
    directory: str,
    server: ServerConfig,
    folder: Folder,
    file_environment: Sequence[tuple[str, str]] = (),
) -> Read | None:
    """
    Make a worker's configuration of what its C{worker.yaml} holds.

    @param found: what was read; problems are added to it.
    @param name: of the worker's folder.
    @param directory: absolute path of that folder.
    @param file_environment: what the C{environment_file} says.
    @return: the configuration, or L{None} if anything is wrong.
    """
    if WORKER_NAME.fullmatch(name) is None:
        hint = "rename the folder: letters, digits, _, - and ., at most 64"
        found.wrongs.append(Wrong(0, "", "lies in a folder whose name cannot be that of a worker", hint))
    routes, lines = _routes(found)
    type_ = _type(found, folder)
    if type_ is None:
        return None
    _check_type(found, type_)
    php = _php(found, directory)
    config = found.fill(
        WorkerConfig,
        "",
        name=name,
        directory=directory,
        file=found.file,
        routes=routes,
        type=type_,
        enabled=_enabled(found, server),
        listen="unix" if type_ in ("php", "queue") else "tcp",
        request_timeout_s=max(server.http.request_timeout_s, QUEUE_REQUEST_TIMEOUT_S if type_ == "queue" else 0.0),
        scaling=_scaling(found, type_, php),
        waiting=found.fill(WaitingLineConfig, "waiting"),
        sticky=found.fill(StickyConfig, "sticky"),
        outlier=_outlier(found),
        retry=found.fill(RetryConfig, "retry"),
        upgrade=found.fill(UpgradeConfig, "upgrade"),
        health=found.fill(HealthConfig, "health", type=_HEALTH[type_][0]),
        restart=_restart(found),
        recycle=_recycle(found),
        process=_process(found, server, file_environment, type_),
        go=found.fill(GoConfig, "go"),
        bun=found.fill(BunConfig, "bun"),
        python=_python(found, directory, folder),
        php=php,
        queue=build_queue(found, directory) if type_ == "queue" else None,
        log_file=_log_file(found, name, server.project),
        public=_public(found, directory),
        static=found.fill(StaticConfig, "static"),
        x_accel_redirect=_named_folders(found, directory),
        x_sendfile=tuple(absolute(directory, path) for path in found.get("x_sendfile", tuple) or ()),
    )
    return None if found.problems() else Read(config, lines)


def _routes(found: Found) -> tuple[tuple[RouteConfig, ...], tuple[int, ...]]:
    """The routes of a worker and their lines."""
    found.check(not ("path" in found and "routes" in found), ("path", "routes"), "is given beside path", "keep one")
    said = found.values.get(ASYNC.path)
    asynchronous = said is not None and said.value is True
    if (prefix := found.get("path", str)) is not None:
        return (RouteConfig(prefix=prefix, asynchronous=asynchronous),), (found.values["path"].line,)
    listed = found.get("routes", tuple)
    if listed is None:
        if "path" not in found.failed and "routes" not in found.failed:
            found.wrong("path", "is missing: where does the worker answer?", "add `path: /` or another URL prefix")
        return (), ()
    routes: list[RouteConfig] = []
    lines = lines_of_items(found.values["routes"].node)
    for index, route in enumerate(listed):
        assert isinstance(route, RouteConfig)
        same = [at for at, other in enumerate(routes) if (other.host, other.prefix) == (route.host, route.prefix)]
        if same:
            message = f"is the same as the route on line {lines[same[0]]}"
            found.wrongs.append(Wrong(lines[index], f"routes[{index}]", message, "remove one of the two"))
        routes.append(evolve(route, asynchronous=asynchronous) if route.asynchronous is None else route)
    return tuple(routes), lines


def _type(found: Found, folder: Folder) -> WorkerType | None:
    said = found.get("type", str)
    for type_ in _HEALTH:
        if type_ == said:
            return type_
    if "type" in found.failed:
        return None
    guessed = guess_type(found, folder)
    if guessed is None:
        found.wrong(
            "type",
            "is missing, and the folder holds nothing that tells it",
            f"write `type:` and one of {', '.join(_HEALTH)}, or `run:` and a command",
        )
    return guessed


def _check_type(found: Found, type_: WorkerType) -> None:
    """Report keys that mean nothing to a worker of this type."""
    paths = sorted(found.values)
    for section in SECTIONS:
        for path in [path for path in paths if path.startswith(f"{section}.") and section != type_]:
            found.wrong(path, f"is of no use to a worker of type {type_}", f"remove it, or write `type: {section}`")
    if type_ == "command":
        if not found.get("run", tuple) and "run" not in found.failed:
            found.wrong("run", "is missing: what is to be run?", 'such as run: [./server, --port, "{port}"]')
    else:
        for path in ("build", "run"):
            found.check(
                not found.get(path, tuple),
                (path,),
                f"is of no use to a worker of type {type_}, which knows how",
                "remove it, or write `type: command`",
            )
    allowed = _HEALTH[type_]
    asked = found.get("health.type", str)
    found.check(
        asked is None or asked in allowed,
        ("health.type",),
        f"cannot be {asked} for a worker of type {type_}",
        f"write {' or '.join(allowed)}, or remove it",
    )
    if type_ == "static":
        for path in [path for path in paths if path.startswith(("scaling.", "x_accel_redirect", "x_sendfile"))]:
            found.wrong(path, "is of no use to a worker of type static, which has no process", "remove it")
    _check_queue(found, type_, paths)


def _check_queue(found: Found, type_: WorkerType, paths: Sequence[str]) -> None:
    """Report keys of queues where there is none, and those that a queue cannot follow."""
    if type_ != "queue":
        for path in filter(is_of_queue, paths):
            found.wrong(path, f"is of no use to a worker of type {type_}", "remove it, or write `type: queue`")
        said = found.values.get(ASYNC.path)
        if said is not None and not isinstance(said.value, bool):
            message = f"holds the settings of a queue, and this is a worker of type {type_}"
            found.wrong(ASYNC.path, message, "write `async: true`; the settings belong to the worker of type queue")
        return
    for path in [path for path in paths if path.startswith("scaling.")]:
        found.wrong(path, "is of no use to a worker of type queue: there is always one process of it", "remove it")
    found.check(
        "strip_prefix" not in found or found.values["strip_prefix"].value is True,
        ("strip_prefix",),
        "cannot be false for a worker of type queue, whose services have paths of their own",
        "remove it",
    )
    for index, route in enumerate(found.get("routes", tuple) or ()):
        if route.asynchronous:
            lines = lines_of_items(found.values["routes"].node)
            message = "cannot be true for a queue, which keeps the asynchronous requests of other workers"
            found.wrongs.append(Wrong(lines[index], f"routes[{index}].async", message, "remove it"))


def _enabled(found: Found, server: ServerConfig) -> bool:
    said = found.get("enabled", str) or "true"
    return said in ("true", server.mode)


def _scaling(found: Found, type_: WorkerType, php: PHPConfig) -> ScalingConfig:
    """
    How many instances. A limit that is not given gives way to one that is.

    A php worker is one php-fpm, which has its own children; a static one has no process at all.
    """
    usual = ScalingConfig()
    if type_ == "static":
        return evolve(usual, workers_min=0, workers_max=0)
    if type_ == "queue":
        return evolve(usual, workers_min=1, workers_max=1)
    low, high = (1, 1) if type_ == "php" else (usual.workers_min, usual.workers_max)
    said_low, said_high = found.get("scaling.min_workers", int), found.get("scaling.max_workers", int)
    low = low if said_low is None else said_low
    high = max(high, low) if said_high is None else said_high
    found.check(
        low <= high,
        ("scaling.min_workers", "scaling.max_workers"),
        f"contradicts: at least {low} workers, at most {high}",
        "raise max_workers or lower min_workers",
    )
    concurrency = php.pool.workers_max if type_ == "php" else usual.concurrency_max
    return found.fill(ScalingConfig, "scaling", workers_min=low, workers_max=high, concurrency_max=concurrency)


def _outlier(found: Found) -> OutlierConfig:
    """When instances are left alone. A longest time that is not given gives way to a first one that is."""
    usual = OutlierConfig()
    outlier = found.fill(
        OutlierConfig, "outlier", eject_max_s=max(usual.eject_max_s, _seconds(found, "outlier.eject_seconds"))
    )
    found.check(
        outlier.eject_s <= outlier.eject_max_s,
        ("outlier.eject_seconds", "outlier.max_eject_seconds"),
        f"contradicts: the first time of {outlier.eject_s:g} s is longer than the longest of {outlier.eject_max_s:g} s",
        "lower eject_seconds or raise max_eject_seconds",
    )
    return outlier


def _seconds(found: Found, path: str) -> float:
    """What a key says, or 0."""
    return found.get(path, float) or 0.0


def _restart(found: Found) -> RestartConfig:
    restart = found.fill(RestartConfig, "restart")
    found.check(
        restart.backoff_initial_s <= restart.backoff_max_s,
        ("restart.backoff_initial_ms", "restart.backoff_max_seconds"),
        f"contradicts: the first pause of {restart.backoff_initial_s:g} s is longer than the longest of "
        f"{restart.backoff_max_s:g} s",
        "lower backoff_initial_ms or raise backoff_max_seconds",
    )
    return restart


def _recycle(found: Found) -> RecycleConfig:
    recycle = found.fill(RecycleConfig, "recycle")
    found.check(
        not recycle.requests_max or recycle.requests_jitter < recycle.requests_max,
        ("max_requests", "max_requests_jitter"),
        f"contradicts: {recycle.requests_max} requests, give or take {recycle.requests_jitter}",
        "make max_requests_jitter a tenth of max_requests",
    )
    return recycle


def _process(
    found: Found, server: ServerConfig, file_environment: Sequence[tuple[str, str]], type_: WorkerType
) -> ProcessConfig:
    listed = found.get("environment", tuple) or ()
    merged = {**dict(file_environment), **dict(listed)}
    return found.fill(
        ProcessConfig,
        "process",
        limits=found.fill(ProcessLimits, "process.limits"),
        environment=tuple(sorted(merged.items())),
        shutdown_grace_s=max(server.workers.shutdown_grace_s, QUEUE_GRACE_S if type_ == "queue" else 0.0),
    )


def _program(directory: str, path: str | None) -> str | None:
    """A program: looked for in C{PATH} if it is a name alone, else a path from the worker's folder."""
    return absolute(directory, path) if path and "/" in path else path


def _python(found: Found, directory: str, folder: Folder) -> PythonConfig:
    requirements = found.get("python.requirements", str)
    if "python.requirements" not in found and REQUIREMENTS in folder.names:
        requirements = REQUIREMENTS
    return found.fill(
        PythonConfig,
        "python",
        interpreter=_program(directory, found.get("python.interpreter", str)),
        requirements=absolute(directory, requirements) if requirements else None,
    )


def _php(found: Found, directory: str) -> PHPConfig:
    ini = found.get("php.config_file", str)
    return found.fill(
        PHPConfig,
        "php",
        binary=_program(directory, found.get("php.binary", str)),
        config_file=absolute(directory, ini) if ini else None,
        pool=_php_pool(found),
        document_root=absolute(directory, found.get("php.document_root", str) or DOCUMENT_ROOT),
    )


def _php_pool(found: Found) -> PHPPoolConfig:
    """
    The php-fpm pool. What is not given follows what is: php-fpm itself refuses to start on a contradiction.
    """
    usual = PHPPoolConfig()
    said_low, said_high = found.get("php.pool.min_workers", int), found.get("php.pool.max_workers", int)
    said_start = found.get("php.pool.start_workers", int)
    high = max(usual.workers_max, said_low or 0, said_start or 0) if said_high is None else said_high
    low = min(usual.workers_min, high) if said_low is None else said_low
    start = min(max(usual.workers_start, low), high) if said_start is None else said_start
    pool = found.fill(PHPPoolConfig, "php.pool", workers_min=low, workers_max=high, workers_start=start)
    found.check(
        low <= high,
        ("php.pool.min_workers", "php.pool.max_workers"),
        f"contradicts: at least {low} children, at most {high}",
        "raise max_workers or lower min_workers",
    )
    found.check(
        low > high or low <= start <= high,
        ("php.pool.start_workers", "php.pool.min_workers", "php.pool.max_workers"),
        f"contradicts: {start} children at the start, but {low} to {high} afterwards",
        "set start_workers between the two, or remove it",
    )
    found.check(
        low > 0 or pool.manager != "dynamic",
        ("php.pool.manager", "php.pool.min_workers"),
        "must not be 0 with manager dynamic, which keeps spare children",
        "write manager: ondemand, or min_workers: 1",
    )
    return pool


def _log_file(found: Found, name: str, project: str) -> str | None:
    path = found.get("log_file", str) if "log_file" in found else LOG_FILE
    return None if path is None else absolute(project, path.replace("{name}", name))


def _public(found: Found, directory: str) -> str | None:
    path = found.get("public", str) if "public" in found else PUBLIC
    return None if path is None else absolute(directory, path)


def _named_folders(found: Found, directory: str) -> tuple[tuple[str, str], ...]:
    """The prefixes that a response may name, with their folders."""
    listed = found.get("x_accel_redirect", tuple) or ()
    folders: dict[str, str] = {}
    for index, (prefix, path) in enumerate(listed):
        if prefix in folders:
            lines = lines_of_items(found.values["x_accel_redirect"].node)
            message = f"has the prefix {prefix} a second time"
            found.wrongs.append(Wrong(lines[index], f"x_accel_redirect[{index}]", message, "remove one of the two"))
        folders[prefix] = absolute(directory, path)
    return tuple(folders.items())
