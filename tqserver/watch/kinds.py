"""
What a changed file of a worker means. Pure.
"""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Iterable
from enum import Enum

from ..config.model import WorkerConfig
from ..config.queue_model import QueueSettings


class Kind(Enum):
    """What is to be done about a change."""

    CONFIG = "config"
    """The configuration is read again, and decides what changes."""
    SOURCE = "source"
    """The worker is built, then its instances are replaced."""
    SETTINGS = "settings"
    """
    The instances are replaced, and nothing is built: they read these files when they start. Asking for a
    build does it: L{tqserver.build.Builds.build} runs no tool and returns the earlier artefact with a new
    fingerprint.
    """
    PAGE = "page"
    """No process is touched, because the next request reads the file (PHP); browsers may be told."""
    PUBLIC = "public"
    """No process is touched, because a front sends the file; browsers may be told."""
    NOTHING = "nothing"
    """The change means nothing."""


_OUTPUT = frozenset({".venv", "node_modules", "__pycache__", ".git"})
"""Folders that tools write, wherever they are."""

_TOP_OUTPUT = frozenset({"bin", "var"})
"""Folders that tools write, at the top of a worker's folder."""

COMMAND_OUTPUT = frozenset({"dist", "build", "target", "out"})
"""
Where the builds of C{type: command} put things, by custom. Counted as sources, a build would ask for the
next.
"""


def source_patterns(worker: WorkerConfig) -> tuple[str, ...]:
    """
    Ignore patterns that hold for this worker besides those of the configuration.

    @return: patterns as L{tqserver.watch.ignore} reads them.
    """
    own: tuple[str, ...] = ()
    if worker.type == "command":
        own = tuple(f"/{name}/" for name in sorted(COMMAND_OUTPUT))
    elif worker.queue is not None:
        own = _data_patterns(worker, worker.queue)
    return (*worker.ignore, *own)


def _data_patterns(worker: WorkerConfig, queue: QueueSettings) -> tuple[str, ...]:
    """The folders that a queue writes to all the time: to be told of each write would cost more than the write."""
    folders = {queue.store.directory}
    if queue.apis.zapq is not None:
        folders.add(queue.apis.zapq.data)
    inside = {posixpath.relpath(folder, worker.directory) for folder in folders} | {"data"}
    return tuple(f"/{glob.escape(path)}/" for path in sorted(inside) if path != "." and path.split("/")[0] != "..")


def classify(worker: WorkerConfig, relative: str) -> Kind:
    """
    What a changed path means for its worker.

    @param relative: path from the worker's folder, with slashes. Empty, or C{.}, is the folder itself:
        anything may have changed (the watcher lost events, or the folder came or went), so that it counts
        as configuration, which is the one change that looks at everything.
    """
    if relative in ("", "."):
        return Kind.CONFIG
    names = relative.split("/")
    if relative == posixpath.relpath(worker.file, worker.directory) or relative == "config":
        return Kind.CONFIG
    if names[0] in _TOP_OUTPUT or not _OUTPUT.isdisjoint(names):
        return Kind.NOTHING
    if names[0] == "config":
        return Kind.SETTINGS
    if _is_public(worker, relative):
        return _public(worker, relative)
    return _by_type(worker, names)


def _is_public(worker: WorkerConfig, relative: str) -> bool:
    """Whether the path is the folder of static files or below it."""
    public = "public"
    if worker.public is not None:
        public = posixpath.relpath(worker.public, worker.directory)
    return relative == public or relative.startswith(public + "/")


def _public(worker: WorkerConfig, relative: str) -> Kind:
    """A change in the folder of static files."""
    if worker.public is None and "/" not in relative:
        # The folder itself is new: only the configuration can make the fronts look there.
        return Kind.CONFIG
    if worker.type == "php" and relative.endswith(worker.php.split_path):
        return Kind.PAGE
    return Kind.PUBLIC


def _by_type(worker: WorkerConfig, names: list[str]) -> Kind:
    """Everything that is neither configuration nor static nor output."""
    if worker.type == "php":
        return Kind.PAGE
    if worker.type in ("static", "queue"):
        return Kind.NOTHING
    if names[0] == "views":
        return Kind.SETTINGS
    if worker.type == "go" and names[-1].endswith("_test.go"):
        return Kind.NOTHING
    if worker.type == "command" and names[0] in COMMAND_OUTPUT:
        return Kind.NOTHING
    return Kind.SOURCE


_URGENCY = (Kind.CONFIG, Kind.SOURCE, Kind.SETTINGS, Kind.PAGE, Kind.PUBLIC, Kind.NOTHING)


def foremost(kinds: Iterable[Kind]) -> Kind:
    """The kind among several that asks for most; L{Kind.NOTHING} if there are none."""
    present = set(kinds)
    return next((kind for kind in _URGENCY if kind in present), Kind.NOTHING)
