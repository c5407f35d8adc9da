"""
Which trees are watched, and what a report of changed files asks for.

The trees are those of every worker, of every folder that may yet become one (somebody who makes a worker makes its
folder first), of the workers' directory itself, and the server's own file.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from functools import partial

from attrs import frozen
from twisted.logger import Logger

from ..config.model import Project, ServerConfig, WorkerConfig
from ..watch import IWatcher, Kind, Tree, classify, file_tree, foremost, source_patterns

FOLDERS_MAX = 1000
"""Folders in the workers' directory that are watched though they are no workers (yet)."""

ENVIRONMENT_FILES = (".env", "*.env", ".env.*")
"""By custom, what C{environment_file} names: part of the configuration, wherever it lies."""

_log = Logger("tqserver.supervisor.discovery")


@frozen
class News:
    """
    What changed.

    @ivar worker: the worker that it concerns; empty for the configuration as a whole.
    @ivar kind: what it asks for.
    @ivar paths: absolute, sorted.
    """

    worker: str
    kind: Kind
    paths: tuple[str, ...]


def meaning(config: WorkerConfig, paths: Iterable[str]) -> Kind:
    """What changes of files of a worker ask for, all together. Pure."""
    return foremost(_kind(config, posixpath.relpath(path, config.directory)) for path in paths)


def _kind(config: WorkerConfig, relative: str) -> Kind:
    """What a change of one file asks for."""
    if relative.startswith("../"):
        return Kind.NOTHING
    name = posixpath.basename(relative)
    kind = classify(config, relative)
    if kind in (Kind.SOURCE, Kind.SETTINGS) and any(fnmatch(name, like) for like in ENVIRONMENT_FILES):
        return Kind.CONFIG
    return kind


class Discovery:
    """Watches what a project consists of, and tells the L{News}."""

    def __init__(self, watcher: IWatcher, tell: Callable[[News], None]) -> None:
        """@param tell: called once for each report that means something."""
        self._watcher = watcher
        self._tell = tell
        self._trees: dict[str, Tree] = {}
        self._workers: dict[str, WorkerConfig] = {}

    def follow(self, project: Project) -> None:
        """Watch what there is to watch of a project from now on, and nothing else."""
        self._workers = {worker.name: worker for worker in project.workers}
        trees = {tree.name: tree for tree in self._wanted(project)}
        for name in self._trees.keys() - trees.keys():
            self._watcher.unwatch(name)
        for name, tree in trees.items():
            if self._trees.get(name) != tree:
                self._watcher.watch(tree, partial(self._report, name))
        self._trees = trees

    def watched(self, worker: str) -> str:
        """The folder that is watched for a worker, or an empty string."""
        tree = self._trees.get(f"worker:{worker}")
        return tree.directory if tree is not None else ""

    def stop(self) -> None:
        """Watch nothing any more."""
        for name in self._trees:
            self._watcher.unwatch(name)
        self._trees = {}

    def _wanted(self, project: Project) -> list[Tree]:
        """The trees of a project; none if nothing is to be watched."""
        server = project.server
        if not server.watch.enabled:
            return []
        trees = [file_tree("server", server.file), Tree("workers", server.workers.directory, recursive=False)]
        known = set()
        for worker in project.workers:
            ignore = server.watch.ignore + source_patterns(worker)
            trees.append(Tree(f"worker:{worker.name}", worker.directory, ignore))
            known.add(worker.directory)
        for directory in _folders(server):
            if directory not in known:
                name = os.path.basename(directory)
                trees.append(Tree(f"folder:{name}", directory, server.watch.ignore))
        return trees

    def _report(self, tree: str, paths: frozenset[str]) -> None:
        """Something changed in a tree."""
        worker = tree.removeprefix("worker:") if tree.startswith("worker:") else ""
        config = self._workers.get(worker)
        kind = meaning(config, paths) if config is not None else Kind.CONFIG
        if kind is not Kind.NOTHING:
            self._tell(News(worker, kind, tuple(sorted(paths))))


def _folders(server: ServerConfig) -> list[str]:
    """The folders in the workers' directory, sorted."""
    try:
        with os.scandir(server.workers.directory) as entries:
            names = sorted(entry.path for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        _log.warn("cannot look into {path}: {error}", path=server.workers.directory, error=error)
        return []
    return names[:FOLDERS_MAX]
