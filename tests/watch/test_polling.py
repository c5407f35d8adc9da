"""Tests of L{tqserver.watch.polling}."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tqserver.watch import IWatcher, PollingWatcher, Tree, file_tree
from tqserver.watch.polling import Mark


class PollingTests(SynchronousTestCase):
    """What is noticed by looking."""

    def setUp(self) -> None:
        """A worker that is polled every second."""
        self.top = os.path.abspath(self.mktemp())
        os.makedirs(f"{self.top}/src")
        self.write("src/a.go")
        self.clock = Clock()
        self.watcher = PollingWatcher(self.clock, execute, 0.05)
        self.reports: list[frozenset[str]] = []
        self.watcher.watch(Tree("w", self.top, ("data/",)), self.reports.append)

    def write(self, path: str, text: str = "x") -> None:
        """Write a file below the worker."""
        full = os.path.join(self.top, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(text)

    def told(self) -> set[str]:
        """What was reported in the next second."""
        self.clock.pump([0.5, 0.5, 0.01, 0.01, 0.1])
        paths = {os.path.relpath(path, self.top) for report in self.reports for path in report}
        self.reports.clear()
        return paths

    def test_interface(self) -> None:
        """It does what a watcher does."""
        verifyObject(IWatcher, self.watcher)
        self.assertEqual(self.watcher.how("w"), "polling")

    def test_nothing(self) -> None:
        """Without a change nothing is told."""
        self.assertEqual(self.told(), set())
        self.assertEqual(self.told(), set())

    def test_changes(self) -> None:
        """Written, new and removed files are told; ignored ones are not."""
        self.write("src/a.go", "longer")
        self.write("src/new/b.go")
        self.write("data/items.db")
        self.assertEqual(self.told(), {"src/a.go", "src/new", "src/new/b.go"})
        os.unlink(f"{self.top}/src/a.go")
        self.assertEqual(self.told(), {"src/a.go"})

    def test_the_folder_goes_and_comes(self) -> None:
        """A worker's folder that goes or comes is told as such."""
        os.rename(self.top, self.top + ".old")
        self.assertEqual(self.told(), {"."})
        os.rename(self.top + ".old", self.top)
        self.assertEqual(self.told(), {"."})

    def test_single_file(self) -> None:
        """Of a single file's folder nothing else counts."""
        self.watcher.watch(file_tree("w", f"{self.top}/server.yaml"), self.reports.append)
        self.write("other.yaml")
        self.assertEqual(self.told(), set())
        self.write("server.yaml")
        self.assertEqual(self.told(), {"server.yaml"})

    def test_unwatch(self) -> None:
        """After the end nothing is told, and no timer is left."""
        self.write("src/a.go", "longer")
        self.watcher.unwatch("w")
        self.assertEqual(self.told(), set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unwatched_during_a_look(self) -> None:
        """A look that ends after the end of watching changes nothing."""
        looks: list[Deferred[dict[str, Mark]]] = []
        watcher = PollingWatcher(self.clock, lambda function: looks.append(Deferred()) or looks[-1], 0.05)
        watcher.watch(Tree("w", self.top), self.reports.append)
        watcher.stop()
        self.watcher.stop()
        looks[0].callback({})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_look_that_fails(self) -> None:
        """A look that breaks is logged and followed by another."""
        looks: list[Deferred[dict[str, Mark]]] = []
        watcher = PollingWatcher(self.clock, lambda function: looks.append(Deferred()) or looks[-1], 0.05)
        watcher.watch(Tree("w", self.top), self.reports.append)
        looks[0].errback(OSError("disk"))
        self.clock.advance(1)
        self.assertEqual(len(looks), 2)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_slow_look_is_repeated_less_often(self) -> None:
        """A tree that takes two seconds to look at is looked at every forty."""
        looks: list[Deferred[dict[str, Mark]]] = []
        watcher = PollingWatcher(self.clock, lambda function: looks.append(Deferred()) or looks[-1], 0.05)
        watcher.watch(Tree("w", self.top), self.reports.append)
        self.clock.advance(2)
        looks[0].callback({})
        self.clock.advance(39)
        self.assertEqual(len(looks), 1)
        self.clock.advance(1)
        self.assertEqual(len(looks), 2)
