"""
C{server.yaml}: the table of its keys, and how they become a L{ServerConfig}. Pure.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping

from attrs import evolve

from ..errors import Problem
from .model import HTTPConfig, ListenConfig, Mode, PoolConfig, ServerConfig, StaticConfig, WatchConfig
from .nodes import Wrong, closest, shown
from .places import LISTENERS_MAX, address, lines_of_items, listener, network, port, socket_path, url_path
from .shape import Found, Key, Later, Shape
from .static_values import INDEXES_MAX, RULES_MAX, cache_rule, file_name
from .values import (
    boolean,
    choice,
    each,
    file_path,
    log_path,
    millis,
    or_none,
    or_word,
    seconds,
    size,
    text,
    whole,
)

MODE_VARIABLE = "TQSERVER_MODE"
"""The environment variable that says the mode, unless the command line does."""

FRONTS_MAX = 256
CONNECTIONS_MAX = 1_000_000
"""Of one front: the highest fs.nr_open of usual systems."""

READ_RATE_MAX = 1024 * 1024 * 1024
"""Bytes per second; no client needs to be faster."""

LOG_FILE = "logs/server_{date}.log"
ACCESS_LOG = "logs/access_{date}.log"
PUBLIC = "public"
WORKERS = "workers"
ADMIN_SOCKET = "var/admin.sock"

_MODES: dict[str, Mode] = {
    "development": "development",
    "production": "production",
    "dev": "development",
    "prod": "production",
}

_read_pattern = text("a pattern", "such as *.log, or tmp/ for a folder", r"[^\n]{1,255}")

SERVER = Shape(
    (
        Key("mode", choice("development", "production", also={"dev": "development", "prod": "production"})),
        Key("server.host", address),
        Key("server.port", port),
        Key("server.listen", each(listener, "listeners", LISTENERS_MAX, 1)),
        Key("server.fronts", or_word("auto", whole(1, FRONTS_MAX, remedy="auto is one for each core"))),
        Key("server.read_timeout_seconds", seconds(), "http.read_timeout_s"),
        Key("server.write_timeout_seconds", seconds(), "http.write_timeout_s"),
        Key("server.idle_timeout_seconds", seconds(), "http.idle_timeout_s"),
        Key("server.request_timeout_seconds", seconds(), "http.request_timeout_s"),
        Key("server.stop_timeout_seconds", seconds(0), "http.stop_timeout_s"),
        Key("server.max_header_bytes", size(1024, 1024 * 1024), "http.header_bytes_max"),
        Key("server.max_body_bytes", size(), "http.body_bytes_max"),
        Key("server.max_connections", whole(1, CONNECTIONS_MAX), "http.connections_max"),
        Key("server.max_in_flight", whole(0, CONNECTIONS_MAX, remedy="0 is no limit"), "http.in_flight_max"),
        Key("server.min_read_bytes_per_second", size(0, READ_RATE_MAX), "http.read_bytes_min_per_s"),
        Key("server.trusted_proxies", each(network, "networks"), "http.trusted_proxies"),
        Key("server.log_file", log_path("date")),
        Key("server.access_log", log_path("date")),
        Key(
            "server.access_log_format",
            text("combined, json or a template", "write combined or json", r".{1,1000}"),
            "http.access_log_format",
        ),
        Key("server.public", or_none(file_path("a folder"))),
        Key("server.static.index", each(file_name, "file names", INDEXES_MAX), "http.static.index"),
        Key("server.static.cache_control", each(cache_rule, "{match, value}", RULES_MAX), "http.static.cache_control"),
        Key("server.health_path", or_none(url_path), "http.health_path"),
        Key("workers.directory", file_path("a folder")),
        Key("workers.port_range_start", whole(1, 65_535), "workers.port_first"),
        Key("workers.port_range_end", whole(1, 65_535), "workers.port_last"),
        Key("workers.startup_delay_ms", millis(), "workers.startup_delay_s"),
        Key("workers.restart_delay_ms", millis(), "workers.restart_delay_s"),
        Key("workers.shutdown_grace_period_ms", millis(), "workers.shutdown_grace_s"),
        Key("workers.drain_timeout_seconds", seconds(0), "workers.drain_timeout_s"),
        Key("workers.health_check_wait_timeout_ms", millis(1), "workers.ready_timeout_s"),
        Key("workers.build_parallel", whole(1, 64), "workers.build_parallel"),
        Key("workers.build_timeout_seconds", seconds(1), "workers.build_timeout_s"),
        Key("file_watcher.enabled", boolean, "watch.enabled"),
        Key("file_watcher.debounce_ms", millis(0, 60_000), "watch.debounce_s"),
        Key("file_watcher.ignore", each(_read_pattern, "patterns"), "watch.ignore"),
        Key("metrics.enabled", boolean, "metrics_enabled"),
        Key("metrics.path", url_path, "metrics_path"),
        Key("metrics.listen", choice("front", "admin"), "metrics_listen"),
        Key("admin.socket", socket_path),
        Key("admin.dashboard", boolean, "dashboard"),
    ),
    later=(
        Later("admin.listen", "use admin.socket, through ssh from elsewhere"),
        Later("admin.token", "use admin.socket, which only its owner may open"),
    ),
)


def absolute(base: str, path: str) -> str:
    """A path made absolute and tidy; symbolic links stay."""
    return os.path.normpath(os.path.join(base, path))


def project_directory(file: str) -> str:
    """
    The directory that relative paths of a C{server.yaml} start from.

    @param file: absolute path of the file.
    @return: the parent of the file's folder if that is called C{etc} or C{config}, else the folder.
    """
    folder = os.path.dirname(file)
    return os.path.dirname(folder) if os.path.basename(folder) in ("etc", "config") else folder


def mode_problem(source: str, word: str) -> Problem | None:
    """What is wrong with a mode that was given outside of the file."""
    if word in _MODES:
        return None
    meant = closest(word, _MODES)
    hint = f"did you mean {meant}?" if meant else "write development or production"
    return Problem(source, 0, "", f"must be development or production, not {shown(word)}", hint)


def build_server(found: Found, mode: str | None, environ: Mapping[str, str], cores: int) -> ServerConfig | None:
    """
    Make the configuration of what a C{server.yaml} holds.

    @param found: what was read; problems are added to it.
    @param mode: the command line's, or L{None}.
    @param environ: the environment, for L{MODE_VARIABLE}.
    @param cores: how many the machine has.
    @return: the configuration, or L{None} if anything is wrong.
    """
    project = project_directory(found.file)
    resolved = _mode(found, mode, environ)
    config = found.fill(
        ServerConfig,
        "",
        file=found.file,
        project=project,
        mode=resolved,
        http=_http(found, project, cores),
        workers=_pool(found, project),
        watch=found.fill(WatchConfig, "watch", enabled=resolved == "development"),
        admin_socket=absolute(project, found.get("admin.socket", str) or ADMIN_SOCKET),
    )
    return None if found.problems() else config


def _mode(found: Found, flag: str | None, environ: Mapping[str, str]) -> Mode:
    """The command line's mode, else the environment's, else the file's, else development."""
    for source, word in (("--mode", flag), (MODE_VARIABLE, environ.get(MODE_VARIABLE))):
        if word:
            if (problem := mode_problem(source, word)) is not None:
                found.others.append(problem)
            return _MODES.get(word, "development")
    return _MODES[found.get("mode", str) or "development"]


def _http(found: Found, project: str, cores: int) -> HTTPConfig:
    http: HTTPConfig = found.fill(
        HTTPConfig,
        "http",
        listen=_listeners(found, project),
        fronts=found.get("server.fronts", int) or min(max(cores, 1), FRONTS_MAX),
        log_file=_optional(found, project, "server.log_file", LOG_FILE),
        access_log=_optional(found, project, "server.access_log", ACCESS_LOG),
        public=_optional(found, project, "server.public", PUBLIC),
        static=found.fill(StaticConfig, "http.static"),
    )
    _check_proxied(found, http)
    return http


def _check_proxied(found: Found, http: HTTPConfig) -> None:
    """Report listeners on which nobody is believed, so that every connection would be refused."""
    if "server.trusted_proxies" in found.failed or "server.listen" not in found:
        return
    unix = "unix" in http.trusted_proxies
    networks = len(http.trusted_proxies) - unix
    lines = lines_of_items(found.values["server.listen"].node)
    for index, entry in enumerate(http.listen):
        if entry.proxy_protocol and not (networks if entry.unix is None else unix):
            missing = "unix" if entry.unix is not None else "the address or network of the proxy"
            message = "believes nobody: server.trusted_proxies does not list who speaks it"
            path = f"server.listen[{index}].proxy_protocol"
            found.wrongs.append(Wrong(lines[index], path, message, f"add {missing} to server.trusted_proxies"))


def _optional(found: Found, project: str, key: str, default: str) -> str | None:
    """A path that may be switched off: absent means the default, null means none."""
    if key not in found:
        return absolute(project, default)
    path = found.get(key, str)
    return None if path is None else absolute(project, path)


def _listeners(found: Found, project: str) -> tuple[ListenConfig, ...]:
    listed = found.get("server.listen", tuple)
    if listed is None:
        usual = ListenConfig()
        number = found.get("server.port", int)
        return (
            ListenConfig(
                address=found.get("server.host", str) or usual.address,
                port=usual.port if number is None else number,
            ),
        )
    for key in ("server.host", "server.port"):
        found.check(key not in found, (key,), "is of no use beside server.listen", "remove it, or add it to the list")
    listeners: list[ListenConfig] = []
    places: list[tuple[str, int, str | None]] = []
    lines = lines_of_items(found.values["server.listen"].node)
    for index, entry in enumerate(listed):
        assert isinstance(entry, ListenConfig)
        if entry.unix is not None:
            entry = evolve(entry, unix=absolute(project, entry.unix))
        place = entry.address, entry.port, entry.unix
        # Port 0 is another free port each time.
        if place in places and (entry.unix is not None or entry.port):
            first = lines[places.index(place)]
            message = f"listens where the listener on line {first} does"
            found.wrongs.append(Wrong(lines[index], f"server.listen[{index}]", message, "remove one of the two"))
        places.append(place)
        listeners.append(entry)
    return tuple(listeners)


def _pool(found: Found, project: str) -> PoolConfig:
    directory = absolute(project, found.get("workers.directory", str) or WORKERS)
    pool = found.fill(PoolConfig, "workers", directory=directory)
    found.check(
        pool.port_first <= pool.port_last,
        ("workers.port_range_start", "workers.port_range_end"),
        f"leaves no port: the range is {pool.port_first} to {pool.port_last}",
        "set both workers.port_range_start and workers.port_range_end",
    )
    return pool
