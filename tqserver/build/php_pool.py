"""
The php-fpm configuration of a PHP worker: one master, one pool, in the foreground, talking to nobody but us.

php-fpm reads its file line by line with php.ini's parser, which gives meaning to quotes, C{$}, C{;} and more, and then
replaces C{$pool} in every value. So values are quoted, and what no quoting can bring through is either handed over in
the master's own environment or refused, never written as it is.
"""

from __future__ import annotations

import math
import os
import re
import stat
import tempfile
from collections.abc import Iterable

from ..config.model import PHPPoolConfig, WorkerConfig
from ..config.places import UNIX_PATH_BYTES_MAX
from ..errors import ConfigFault, Problem
from ..fastcgi.ping import PING_PATH
from ..fastcgi.pool import IDLE_S_MAX

STATUS_PATH = "/.tqserver/status"
"""php-fpm's own status page; like the ping, out of clients' reach."""

LOG_LINE_BYTES_MAX = 8192
"""C{log_limit}: longer lines of a worker's output are cut in pieces."""

CONTROL_TIMEOUT_S = 3600
"""How long a master that was told to QUIT lets its children finish. Whoever stops it has limits of their own."""

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SETTING_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LEVELS = re.compile(r"~?E_[A-Z_]+( *[&|^] *~?E_[A-Z_]+)*")
"""An expression of C{error_reporting}, which means something only without quotes."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _quotable(value: str) -> bool:
    """Whether a value survives php-fpm's reading if it is quoted."""
    return bool(value) and not _CONTROL.search(value) and "$pool" not in value


def quote(value: str) -> str:
    """
    A value as the file can hold it.

    Between single quotes nothing has a meaning but the single quote, which stands between double quotes instead;
    neighbouring strings are one.

    @param value: no line breaks, no C{$pool}, not empty.
    """
    return '"\'"'.join(f"'{part}'" if part else "" for part in value.split("'"))


def _environment_line(name: str, value: str) -> str:
    if value.startswith("$") or not _quotable(value):
        # A value that begins with a dollar sign is the name of a variable of the master's; here it names itself.
        return f"env[{name}] = ${name}"
    return f"env[{name}] = {quote(value)}"


def _seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))


def _children(pool: PHPPoolConfig) -> list[str]:
    """
    The settings C{pm.*} that the way of managing children wants, within the bounds that php-fpm insists on: it does not
    start with C{start_servers} outside of C{min_spare_servers} to C{max_spare_servers}, or those beyond
    C{max_children}.
    """
    children = max(1, pool.workers_max)
    lines = [f"pm = {pool.manager}", f"pm.max_children = {children}"]
    if pool.manager == "dynamic":
        spare_min = min(max(1, pool.workers_min), children)
        start = min(max(spare_min, pool.workers_start), children)
        spare_max = min(max(start, spare_min + 1), children)
        lines += [
            f"pm.start_servers = {start}",
            f"pm.min_spare_servers = {spare_min}",
            f"pm.max_spare_servers = {spare_max}",
        ]
    elif pool.manager == "ondemand":
        lines.append(f"pm.process_idle_timeout = {_seconds(pool.idle_timeout_s)}s")
    if pool.requests_max:
        lines.append(f"pm.max_requests = {pool.requests_max}")
    if pool.request_timeout_s:
        # php-fpm counts from the end of the request before on the same connection.
        lines.append(f"request_terminate_timeout = {_seconds(pool.request_timeout_s + IDLE_S_MAX)}s")
    return lines


def _settings(worker: WorkerConfig, development: bool) -> dict[str, str]:
    """php.ini settings: ours, then those of the worker, which win."""
    settings = {
        "opcache.validate_timestamps": "1" if development else "0",
        "opcache.revalidate_freq": "0",
    }
    settings.update(worker.php.settings)
    return settings


def _problems(worker: WorkerConfig, socket: str, environment: Iterable[tuple[str, str]]) -> list[Problem]:
    """Whatever cannot be brought into the file."""
    problems: list[Problem] = []

    def problem(path: str, message: str, hint: str = "") -> None:
        problems.append(Problem(worker.file, 0, path, message, hint))

    for name, value in environment:
        if not _ENVIRONMENT_NAME.fullmatch(name):
            problem(f"environment.{name}", "not a name of an environment variable", "letters, digits, underscores")
        elif "\0" in value:
            problem(f"environment.{name}", "a NUL in the value")
    for name, value in worker.php.settings:
        if not _SETTING_NAME.fullmatch(name):
            problem(f"php.settings.{name}", "not a name of a php.ini setting")
        elif value and not _quotable(value):
            problem(f"php.settings.{name}", "php-fpm cannot be told a line break or $pool", "use php.config_file")
    if len(os.fsencode(socket)) > UNIX_PATH_BYTES_MAX:
        problem("", f"the socket's path is longer than {UNIX_PATH_BYTES_MAX} bytes: {socket}")
    elif not _quotable(socket):
        problem("", f"php-fpm cannot be told this path of a socket: {socket!r}")
    if not _quotable(worker.php.split_path) or " " in worker.php.split_path:
        problem("php.split_path", "not the ending of a file name", "such as .php")
    return problems


def render(
    worker: WorkerConfig,
    *,
    socket: str,
    environment: Iterable[tuple[str, str]],
    development: bool,
    root: bool,
) -> str:
    """
    The text of C{php-fpm.conf}.

    @param socket: absolute path of the UNIX socket to listen on.
    @param environment: what scripts find in their environment: all of it, nothing is inherited. The master must be
        started with these variables, too: a value that the file cannot hold (it is empty, begins with a dollar sign or
        has line breaks) is taken from there.
    @param development: whether a changed script is noticed at once; else never, and whoever changes scripts starts
        another master.
    @param root: whether the master runs as root. Its children then become C{user} and C{group} of the worker, and stay
        root if there is none.
    @raise ConfigFault: something cannot be told to php-fpm.
    """
    variables = list(environment)
    problems = _problems(worker, socket, variables)
    if problems:
        raise ConfigFault(problems)
    lines = [
        f"; Made by tqserver for the worker {_comment(worker.name)}; changes are lost.",
        "[global]",
        "daemonize = no",
        "error_log = /dev/null",  # It goes to stderr (see command), which an unprivileged master could not open anew.
        f"log_limit = {LOG_LINE_BYTES_MAX}",
        f"process_control_timeout = {CONTROL_TIMEOUT_S}s",
        "",
        "[worker]",
        f"listen = {quote(socket)}",
        "listen.mode = 0600",
    ]
    if root:
        lines.append(f"user = {quote(worker.process.user or 'root')}")
        if worker.process.group or not worker.process.user:
            lines.append(f"group = {quote(worker.process.group or 'root')}")
    lines += _children(worker.php.pool)
    lines += [
        f"ping.path = {PING_PATH}",
        f"pm.status_path = {STATUS_PATH}",
        f"security.limit_extensions = {quote(worker.php.split_path)}",
        "catch_workers_output = yes",
        "decorate_workers_output = no",
        "clear_env = yes",
    ]
    lines += [_environment_line(name, value) for name, value in variables]
    for name, value in _settings(worker, development).items():
        if value:
            text = value if _LEVELS.fullmatch(value) else quote(value)
            lines.append(f"php_admin_value[{name}] = {text}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)


def command(worker: WorkerConfig, binary: str, config_path: str, *, root: bool) -> tuple[str, ...]:
    """
    The command line that runs the master, in the foreground, its log on stderr.

    @param binary: path of php-fpm.
    @param config_path: where L{write} has put the configuration.
    @param root: as given to L{render}.
    """
    argv = [binary, "--nodaemonize", "--force-stderr", "--fpm-config", config_path]
    if worker.php.config_file is not None:
        argv += ["-c", worker.php.config_file]
    for name, value in worker.php.settings:
        if not value:  # php-fpm refuses an empty php_admin_value.
            argv += ["-d", f"{name}="]
    if root and worker.process.user in (None, "root", "0"):
        argv.append("--allow-to-run-as-root")
    return tuple(argv)


def write(directory: str, name: str, text: str) -> str:
    """
    Put a configuration, which may hold secrets, where nobody else can read it.

    @param directory: is made if need be, with mode 0700.
    @param name: the file's name in it.
    @return: the file's absolute path. It is whole at every moment, also when it is written anew.
    @raise OSError: the directory is a link, belongs to somebody else, or cannot be written to.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"not a directory of our own: {directory}")
    if stat.S_IMODE(status.st_mode) != 0o700:
        os.chmod(directory, 0o700)
    path = os.path.join(os.path.abspath(directory), name)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path
