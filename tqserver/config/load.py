"""
The configuration files of a project become a L{Project}, or the list of everything that is wrong with them.

This module alone of its package touches the file system. It reads, and does nothing else: whoever wants to
know whether a configuration would do can load it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import evolve, frozen

from ..errors import ConfigFault, Problem
from .folder import Folder, environment_lines
from .model import BrokenWorker, Project, ServerConfig, WorkerConfig
from .nodes import FILE_BYTES_MAX
from .queue_file import QUEUE, build_queue
from .queue_model import QueueSettings
from .server_file import SERVER, absolute, build_server
from .shape import Found, bounded, whole_file
from .worker_file import WORKER_NAME, Read, build_worker
from .worker_keys import WORKER

__all__ = ["WORKER_FILE", "BrokenWorker", "Project", "load_project", "load_queue", "load_server", "load_worker"]

WORKER_FILE = os.path.join("config", "worker.yaml")
"""Where a worker's configuration is; a folder that has none is no worker."""

WORKERS_MAX = 1000
"""More folders than this are not a directory of workers."""

FOLDER_ENTRIES_MAX = 5000
"""Entries of a folder that are looked at to guess a worker's type."""

_NO_ENVIRONMENT: Final[Mapping[str, str]] = {}


def load_server(
    path: str, mode: str | None = None, environ: Mapping[str, str] = _NO_ENVIRONMENT, cores: int = 1
) -> ServerConfig:
    """
    Read C{server.yaml}.

    @param path: the file's path.
    @param mode: the command line's mode, or L{None}; it wins over the environment's, which wins over the
        file's.
    @param environ: the environment, for C{TQSERVER_MODE}.
    @param cores: how many fronts C{auto} stands for.
    @raise ConfigFault: with all that is wrong.
    """
    file = os.path.abspath(path)
    found = SERVER.read(_read(file, _SERVER_REMEDY), file)
    config = build_server(found, mode, environ, cores)
    if config is not None and "workers.directory" in found and not os.path.isdir(config.workers.directory):
        message = f"is no folder: {config.workers.directory}"
        found.wrong("workers.directory", message, "make it, or mend the path; it starts from the project directory")
    found.raise_problems()
    assert config is not None, "without problems there is a configuration"
    return config


_SERVER_REMEDY = "name the server's configuration with --config, such as etc/server.yaml"


def load_worker(directory: str, server: ServerConfig) -> WorkerConfig:
    """
    Read a worker's C{config/worker.yaml}.

    @param directory: the worker's folder.
    @param server: supplies the mode and what the worker does not say itself.
    @raise ConfigFault: with all that is wrong.
    """
    return _load_worker(os.path.abspath(directory), server).config


def load_queue(path: str) -> QueueSettings:
    """
    Read the file of a queue that runs alone: what a C{worker.yaml} says of one, and nothing else.

    @param path: the file's path; relative paths in it start from its folder.
    @raise ConfigFault: with all that is wrong.
    """
    file = os.path.abspath(path)
    found = QUEUE.read(_read(file, "name a queue's configuration with --config"), file)
    settings = build_queue(found, os.path.dirname(file), alone=True)
    found.raise_problems()
    return settings


def load_project(
    path: str, mode: str | None = None, environ: Mapping[str, str] = _NO_ENVIRONMENT, cores: int = 1
) -> Project:
    """
    Read C{server.yaml} and the C{worker.yaml} of every worker.

    A worker that cannot be used, or that claims the route of another one, takes out itself alone. Of two with
    the same route the first by name has it; a disabled worker has none.

    @return: the configuration, with the workers that are broken and why.
    @raise ConfigFault: if C{server.yaml} cannot be used.
    """
    server = load_server(path, mode, environ, cores)
    reads: list[Read] = []
    broken: list[BrokenWorker] = []
    claims: dict[tuple[str | None, str], _Claim] = {}
    for name in _worker_names(server):
        directory = os.path.join(server.workers.directory, name)
        file = os.path.join(directory, WORKER_FILE)
        try:
            read = _load_worker(directory, server)
            _claim_routes(read, claims)
        except ConfigFault as fault:
            broken.append(BrokenWorker(_printable(name), _printable(directory), _printable(file), fault.problems))
        else:
            reads.append(read)
    workers: list[WorkerConfig] = []
    # One that is broken may be the queue; then what it keeps for others is answered at once meanwhile.
    keeper = bool(broken) or any(read.config.type == "queue" for read in reads)
    for read in reads:
        config = read.config
        problem = None if keeper else _nobody_keeps(read)
        if problem is None:
            workers.append(config)
        else:
            broken.append(BrokenWorker(config.name, config.directory, config.file, (problem,)))
    return Project(server, tuple(workers), tuple(sorted(broken, key=lambda worker: worker.name)))


def _nobody_keeps(read: Read) -> Problem | None:
    """What is wrong with a worker whose requests may be answered later, where there is no queue at all."""
    for route, line in zip(read.config.routes, read.lines, strict=True):
        if route.asynchronous:
            message = "is true, but there is no worker of type queue, which would keep such requests"
            hint = "make one (`type: queue` in its worker.yaml), or remove async"
            return Problem(read.config.file, read.async_line or line, "async", message, hint)
    return None


@frozen
class _Claim:
    """Who has a route, and where that is written."""

    worker: str
    file: str
    line: int


def _claim_routes(read: Read, claims: dict[tuple[str | None, str], _Claim]) -> None:
    """
    Give a worker its routes.

    @raise ConfigFault: if another worker has one of them; then it is given none.
    """
    worker = read.config
    if not worker.enabled:
        return
    problems: list[Problem] = []
    mine: dict[tuple[str | None, str], _Claim] = {}
    for index, (route, line) in enumerate(zip(worker.routes, read.lines, strict=True)):
        key = (route.host, route.prefix)
        if (other := claims.get(key)) is not None:
            where = f"{route.host or ''}{route.prefix}"
            spelled = "path" if len(worker.routes) == 1 and line != 0 and route.host is None else f"routes[{index}]"
            problems.append(
                Problem(
                    worker.file,
                    line,
                    spelled,
                    f"the route {where} belongs to the worker {other.worker} already",
                    f"change it here or in {other.file}:{other.line}",
                )
            )
        mine[key] = _Claim(worker.name, worker.file, line)
    if problems:
        raise ConfigFault(problems)
    claims.update(mine)


def _load_worker(directory: str, server: ServerConfig) -> Read:
    """Read one worker. @raise ConfigFault: with all that is wrong."""
    name = os.path.basename(directory)
    file = os.path.join(directory, WORKER_FILE)
    if WORKER_NAME.fullmatch(name) is None:
        hint = "rename the folder: letters, digits, _, - and ., a letter or digit first, at most 64"
        raise whole_file(_printable(file), "lies in a folder whose name cannot be that of a worker", hint)
    found = WORKER.read(_read(file, "make it: `path: /` and the URL prefix is the least that it says"), file)
    extra = _environment_file(found, directory)
    read = build_worker(found, name, directory, server, _look(directory), extra)
    found.raise_problems()
    assert read is not None, "without problems there is a configuration"
    said = found.values.get("async")
    return read if said is None else evolve(read, async_line=said.line)


def _environment_file(found: Found, directory: str) -> Sequence[tuple[str, str]]:
    """What the worker's C{environment_file} says, if it names one; problems are added to C{found}."""
    path = found.get("environment_file", str)
    if path is None:
        return ()
    file = absolute(directory, path)
    try:
        data = _read(file, "make it, or remove environment_file; the path starts from the worker's folder")
    except ConfigFault as fault:
        reason = fault.problems[0]
        found.wrong("environment_file", f"{file}: {reason.message}", reason.hint)
        return ()
    if len(data) > FILE_BYTES_MAX:
        found.wrong("environment_file", f"{file} is larger than {FILE_BYTES_MAX} bytes", "is this the right file?")
        return ()
    try:
        pairs, problems = environment_lines(data.decode("utf-8-sig"), file)
    except UnicodeDecodeError:
        found.wrong("environment_file", f"{file} is not UTF-8 text", "save it as UTF-8")
        return ()
    found.others.extend(bounded(problems, file))
    return pairs


def _read(file: str, remedy: str) -> bytes:
    """
    Read a file as far as a configuration may go and a byte further.

    @raise ConfigFault: if it cannot be read. Anything but a regular file is refused: a pipe would never end.
    """
    try:
        # Without O_NONBLOCK the opening of a named pipe would wait for a writer.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise whole_file(file, "is not a regular file", remedy)
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read(FILE_BYTES_MAX + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise whole_file(file, f"cannot be read: {error.strerror or error}", remedy)
    except ValueError:
        raise whole_file(_printable(file), "is no path: it holds a NUL", remedy)


def _worker_names(server: ServerConfig) -> list[str]:
    """
    The folders of the workers' directory that are workers, sorted. A directory that is not there has none.

    @raise ConfigFault: if the directory cannot be read, or holds too many.
    """
    directory = server.workers.directory
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise whole_file(directory, f"cannot be read: {error.strerror or error}", "see workers.directory")
    found = [name for name in names if os.path.lexists(os.path.join(directory, name, WORKER_FILE))]
    if len(found) > WORKERS_MAX:
        raise whole_file(directory, f"holds {len(found)} workers, at most {WORKERS_MAX} are served", "split it")
    return found


def _look(directory: str) -> Folder:
    """What a worker's folder holds, as far as it tells the type; what cannot be read tells nothing."""
    names = _file_names(directory)
    return Folder(
        names=names,
        source=_file_names(os.path.join(directory, "src")),
        public=_file_names(os.path.join(directory, "public")),
        has_public=os.path.isdir(os.path.join(directory, "public")),
    )


def _file_names(directory: str) -> tuple[str, ...]:
    names: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for count, entry in enumerate(entries):
                if count >= FOLDER_ENTRIES_MAX:
                    break
                if entry.is_file():
                    names.append(entry.name)
    except OSError:
        # Not there, mostly. If it cannot be read, the worker cannot run either, and its build says so.
        return ()
    return tuple(sorted(names))


def _printable(path: str) -> str:
    """A path that can be written anywhere: bytes that are no UTF-8 are shown as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
