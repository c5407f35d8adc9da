"""
The table of the keys of C{worker.yaml}, in the order of the documentation. Pure.
"""

from __future__ import annotations

from .places import ROUTES_MAX, route, url_path, url_prefix
from .process_values import account, argv, cookie_name, environment, hash_on, settings, signal, umask
from .queue_keys import ASYNC, SETTINGS
from .shape import Key, Shape
from .static_values import FOLDERS_MAX, INDEXES_MAX, RULES_MAX, cache_rule, file_below, file_name, named_folder
from .values import (
    boolean,
    choice,
    duration,
    each,
    file_path,
    go_limit,
    log_path,
    millis,
    or_none,
    or_word,
    seconds,
    size,
    text,
    whole,
)

TYPES = ("go", "bun", "php", "python", "command", "static", "queue")

INSTANCES_MAX = 1000
"""Of one worker: processes, or children of its php-fpm."""

COUNT_MAX = 1_000_000_000
"""Of anything that is merely counted."""

_MODES = {
    "true": "true",
    "yes": "true",
    "on": "true",
    "false": "false",
    "no": "false",
    "off": "false",
    "dev": "development",
    "prod": "production",
}
_limit = or_none(or_word("unlimited", whole(1, COUNT_MAX)))
_pattern = text("a pattern", "such as *.log, or tmp/ for a folder", r".{1,255}")
_flag = text("an argument of go build", "such as -race", r"-.{1,1000}")
_tag = text("a build tag", "letters, digits, _ and .", r"[A-Za-z0-9_.]{1,100}")
_script = text(
    "the path of a script within the document root", "such as index.php", r"(?!/)(?!(.*/)?\.\.(/|$)).{1,255}"
)


def _older(name: str) -> tuple[str, ...]:
    """Where older files have what belongs to the process, whatever its language."""
    return (f"go.{name}", f"runtime.{name}")


WORKER = Shape(
    (
        Key("path", url_prefix),
        Key("routes", each(route, "{host, path}", ROUTES_MAX, 1)),
        Key("strip_prefix", boolean, "strip_prefix"),
        Key("type", choice(*TYPES)),
        Key("enabled", choice("true", "false", "development", "production", also=_MODES)),
        Key("build", argv, "build"),
        Key("run", argv, "run"),
        Key("listen", choice("tcp", "unix"), "listen"),
        ASYNC,
        Key("public", or_none(file_path("a folder"))),
        Key("static.index", each(file_name, "file names", INDEXES_MAX), "static.index"),
        Key("static.fallback", or_none(file_below), "static.fallback"),
        Key("static.cache_control", each(cache_rule, "{match, value}", RULES_MAX), "static.cache_control"),
        Key("x_accel_redirect", each(named_folder, "{prefix, directory}", FOLDERS_MAX)),
        Key("x_sendfile", each(file_path("a folder"), "folders", FOLDERS_MAX)),
        Key("log_file", log_path("name", "date"), also=("logging.log_file",)),
        Key("ignore", each(_pattern, "patterns"), "ignore"),
        Key("request_timeout_seconds", seconds(), "request_timeout_s"),
        Key("upgrade.idle_timeout_seconds", seconds(0, 31_536_000, "0 is no limit"), "upgrade.idle_timeout_s"),
        Key("shutdown_grace_period_ms", millis(), "process.shutdown_grace_s"),
        # Replacement of a healthy instance.
        Key("max_requests", whole(0, COUNT_MAX), "recycle.requests_max", _older("max_requests")),
        Key(
            "max_requests_jitter",
            whole(0, COUNT_MAX),
            "recycle.requests_jitter",
            _older("max_requests_jitter"),
        ),
        Key("max_age_seconds", seconds(0, 31_536_000), "recycle.age_max_s", _older("max_age_seconds")),
        Key("max_memory", size(), "recycle.memory_max_bytes", _older("max_memory")),
        # How many, and who waits.
        Key("scaling.min_workers", whole(0, INSTANCES_MAX), "scaling.workers_min"),
        Key("scaling.max_workers", whole(1, INSTANCES_MAX), "scaling.workers_max"),
        Key("scaling.queue_threshold", whole(0, COUNT_MAX), "scaling.queue_threshold"),
        Key("scaling.max_wait_ms", millis(), "scaling.wait_max_s"),
        Key(
            "scaling.scale_down_delay",
            duration(),
            "scaling.scale_down_delay_s",
            ("scaling.scale_down_delay_seconds",),
        ),
        Key("scaling.max_concurrency", whole(0, 100_000, remedy="0 is no limit"), "scaling.concurrency_max"),
        Key("queue.max_requests", whole(0, 100_000), "waiting.requests_max"),
        Key("queue.timeout_seconds", seconds(), "waiting.timeout_s"),
        Key("balance", choice("round_robin", "least_in_flight", "random_two", "hash"), "balance"),
        Key("hash_on", hash_on, "hash_on"),
        Key("sticky.cookie", cookie_name, "sticky.cookie"),
        Key("sticky.secure", or_word("auto", boolean), "sticky.secure"),
        Key("sticky.max_age_seconds", whole(0, 31_536_000, "seconds"), "sticky.age_max_s"),
        Key("max_in_flight", whole(0, COUNT_MAX, remedy="0 is no limit"), "in_flight_max"),
        # What becomes of requests that go wrong.
        Key("retry.attempts", whole(1, 10, remedy="1 is never again"), "retry.attempts"),
        Key("retry.budget_percent", whole(0, 100), "retry.budget_percent"),
        Key("retry.min_per_second", whole(0, 100_000), "retry.min_per_s"),
        Key("outlier.failures", whole(0, 1000, remedy="0 is never"), "outlier.failures"),
        Key("outlier.window_seconds", seconds(), "outlier.window_s"),
        Key("outlier.eject_seconds", seconds(), "outlier.eject_s"),
        Key("outlier.max_eject_seconds", seconds(), "outlier.eject_max_s"),
        Key("outlier.max_ejected_percent", whole(0, 100), "outlier.ejected_percent_max"),
        Key("outlier.counts", each(choice("connect", "break", "timeout", "gateway", "5xx"), "failures"), "outlier.on"),
        # Whether it is well, and what happens when not.
        Key("health.type", choice("http", "tcp", "fastcgi", "notify", "none"), "health.type"),
        Key("health.path", url_path, "health.path"),
        Key("health.interval_seconds", seconds(0.05), "health.interval_s"),
        Key("health.timeout_ms", millis(1), "health.timeout_s"),
        Key("health.failures", whole(1, 1000), "health.failures"),
        Key("health.successes", whole(1, 1000), "health.successes"),
        Key(
            "restart.policy",
            choice("always", "on-failure", "never", also={"on_failure": "on-failure"}),
            "restart.policy",
        ),
        Key("restart.backoff_initial_ms", millis(1), "restart.backoff_initial_s"),
        Key("restart.backoff_max_seconds", seconds(), "restart.backoff_max_s"),
        Key("restart.window_seconds", seconds(), "restart.window_s"),
        Key("restart.max_deaths", whole(0, 10_000), "restart.deaths_max"),
        Key("signals.stop", signal, "process.stop_signal"),
        # What its process is given.
        Key("user", or_none(account), "process.user"),
        Key("group", or_none(account), "process.group"),
        Key("umask", umask, "process.umask"),
        Key("nice", whole(-20, 19), "process.nice"),
        Key("limits.open_files", _limit, "process.limits.open_files"),
        Key("limits.processes", _limit, "process.limits.processes"),
        Key(
            "limits.address_space",
            or_none(or_word("unlimited", size(1024 * 1024))),
            "process.limits.address_space_bytes",
        ),
        Key("environment", environment),
        Key("environment_file", or_none(file_path("the path of a file"))),
        Key("inherit_environment", boolean, "process.inherit_environment"),
        # By type.
        Key("go.flags", each(_flag, "arguments of go build"), "go.flags"),
        Key("go.tags", each(_tag, "build tags"), "go.tags"),
        Key(
            "go.go_max_procs",
            whole(0, 4096, remedy="0 is all cores"),
            "go.go_max_procs",
            ("go_max_procs", "runtime.go_max_procs"),
        ),
        Key("go.go_mem_limit", go_limit, "go.go_mem_limit", ("go_mem_limit", "runtime.go_mem_limit")),
        Key("bun.entrypoint", file_path("the path of a script"), "bun.entrypoint"),
        Key("bun.env", environment, "bun.environment"),
        Key(
            "python.app",
            text("a script or module:app", "such as app.py or blog.web:app", r".{1,255}"),
            "python.app",
        ),
        Key("python.interpreter", or_none(file_path("a program"))),
        Key("python.requirements", or_none(file_path("the path of a file"))),
        Key("php.binary", or_none(file_path("a program"))),
        Key("php.config_file", or_none(file_path("the path of a php.ini"))),
        Key("php.settings", settings, "php.settings"),
        Key("php.pool.manager", choice("static", "dynamic", "ondemand"), "php.pool.manager"),
        Key("php.pool.min_workers", whole(0, INSTANCES_MAX), "php.pool.workers_min"),
        Key("php.pool.max_workers", whole(1, INSTANCES_MAX), "php.pool.workers_max"),
        Key("php.pool.start_workers", whole(1, INSTANCES_MAX), "php.pool.workers_start"),
        Key("php.pool.max_requests", whole(0, COUNT_MAX), "php.pool.requests_max"),
        Key(
            "php.pool.request_timeout",
            duration(),
            "php.pool.request_timeout_s",
            ("php.pool.request_timeout_seconds",),
        ),
        Key("php.pool.idle_timeout", duration(), "php.pool.idle_timeout_s", ("php.pool.idle_timeout_seconds",)),
        Key("php.document_root", file_path("a folder")),
        Key("php.front_controller", _script, "php.front_controller"),
        Key(
            "php.split_path",
            text("the extension of scripts", "such as .php", r"\.[A-Za-z0-9.]{1,16}"),
            "php.split_path",
        ),
        *SETTINGS,
    )
)
