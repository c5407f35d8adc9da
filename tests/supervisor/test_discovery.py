"""Tests for L{tqserver.supervisor.discovery}."""

from __future__ import annotations

import os

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import Project
from tqserver.supervisor.discovery import Discovery, News, meaning
from tqserver.watch import Kind

from .world import FakeWatcher, server_config, worker_config


class MeaningTests(SynchronousTestCase):
    """What changed files of a worker ask for."""

    def kind(self, *relative: str, type: str = "go") -> Kind:
        """The meaning of changes in a worker of a type."""
        config = worker_config(type=type)
        return meaning(config, [f"{config.directory}/{path}" for path in relative])

    def test_kinds(self) -> None:
        """A source is built, settings are swapped, a page touches no process, configuration is read."""
        self.assertIs(self.kind("main.go"), Kind.SOURCE)
        self.assertIs(self.kind("views/index.html"), Kind.SETTINGS)
        self.assertIs(self.kind("public/index.php", type="php"), Kind.PAGE)
        self.assertIs(self.kind("config/worker.yaml"), Kind.CONFIG)

    def test_the_most_important_counts(self) -> None:
        """A checkout changes a stylesheet and a source: the source decides."""
        self.assertIs(self.kind("main.go", "bin/api"), Kind.SOURCE)

    def test_environment_file(self) -> None:
        """I change the worker's C{.env}: that is configuration, for the process gets it from there."""
        self.assertIs(self.kind(".env"), Kind.CONFIG)
        self.assertIs(self.kind("config/production.env"), Kind.CONFIG)

    def test_outside(self) -> None:
        """What is not the worker's means nothing."""
        self.assertIs(self.kind("../api2/main.go"), Kind.NOTHING)


class DiscoveryTests(SynchronousTestCase):
    """What is watched."""

    def setUp(self) -> None:
        self.directory = os.path.realpath(self.mktemp())
        self.news: list[News] = []
        self.watcher = FakeWatcher()
        self.discovery = Discovery(self.watcher, self.news.append)
        server = server_config()
        self.server = evolve(server, workers=evolve(server.workers, directory=self.directory))
        self.api = worker_config(directory=f"{self.directory}/api", file=f"{self.directory}/api/config/worker.yaml")
        os.makedirs(f"{self.directory}/api")
        os.makedirs(f"{self.directory}/new")

    def test_trees(self) -> None:
        """Workers are watched, folders that may become workers, their directory, and the server's file."""
        self.discovery.follow(Project(self.server, (self.api,), ()))
        self.assertEqual(set(self.watcher.trees), {"server", "workers", "worker:api", "folder:new"})
        self.assertEqual(self.discovery.watched("api"), f"{self.directory}/api")
        self.assertIn("node_modules/", self.watcher.trees["worker:api"][0].ignore)

    def test_only_changes_are_touched(self) -> None:
        """A reload does not watch anew what is watched already."""
        self.discovery.follow(Project(self.server, (self.api,), ()))
        before = self.watcher.trees["worker:api"]
        self.discovery.follow(Project(self.server, (self.api,), ()))
        self.assertIs(self.watcher.trees["worker:api"], before)

    def test_reports(self) -> None:
        """A change is told with the worker it concerns; a new worker.yaml concerns everything."""
        self.discovery.follow(Project(self.server, (self.api,), ()))
        self.watcher.changed("worker:api", "main.x")
        self.watcher.changed("folder:new", "config/worker.yaml")
        self.watcher.changed("worker:api", "node_modules/x/y.js")
        self.assertEqual([(news.worker, news.kind) for news in self.news], [("api", Kind.SOURCE), ("", Kind.CONFIG)])

    def test_gone(self) -> None:
        """A worker that is gone is not watched any more, and nothing is after a stop."""
        self.discovery.follow(Project(self.server, (self.api,), ()))
        self.discovery.follow(Project(self.server, (), ()))
        self.assertNotIn("worker:api", self.watcher.trees)
        self.discovery.stop()
        self.assertEqual(self.watcher.trees, {})
