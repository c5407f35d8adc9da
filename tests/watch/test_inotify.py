"""Tests of L{tqserver.watch.inotify} on a kernel that is told what to say, over real folders."""

from __future__ import annotations

import errno
import os

from twisted.internet.inotify import (
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_ISDIR,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
)
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tqserver.watch import IWatcher, Report, Tree, file_tree
from tqserver.watch.inotify import InotifyWatcher
from tqserver.watch.kernel import Event


class FakeKernel:
    """Gives watches on real folders, as many as there are, and says what the test wants."""

    def __init__(self) -> None:
        self.watched: dict[int, str] = {}
        self.watches_max = 1000
        self.refuse = errno.ENOSPC
        self.serial = 0
        self.closed = False

    def add(self, path: str) -> int:
        """Watch; the same folder has the same descriptor under every name."""
        if not os.path.isdir(path):
            raise OSError(errno.ENOENT, "gone", path)
        real = os.path.realpath(path)
        for wd, other in self.watched.items():
            if other == real:
                return wd
        if len(self.watched) >= self.watches_max:
            raise OSError(self.refuse, "refused", path)
        self.serial += 1
        self.watched[self.serial] = real
        return self.serial

    def remove(self, wd: int) -> None:
        """Watch no more."""
        del self.watched[wd]

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def wd(self, path: str) -> int:
        """The descriptor of a watched folder."""
        return next(wd for wd, other in self.watched.items() if other == os.path.realpath(path))


@implementer(IWatcher)
class FakePolling:
    """Remembers what it was asked to watch."""

    def __init__(self) -> None:
        self.trees: dict[str, Tree] = {}

    def watch(self, tree: Tree, callback: Report) -> None:
        """Watch."""
        self.trees[tree.name] = tree

    def unwatch(self, name: str) -> None:
        """Do not watch."""
        self.trees.pop(name, None)

    def how(self, name: str) -> str:
        """How."""
        return "polling" if name in self.trees else ""

    def stop(self) -> None:
        """Stop."""
        self.trees.clear()


class InotifyTests(SynchronousTestCase):
    """What a tree's owner is told."""

    def setUp(self) -> None:
        """A project with a worker that is watched."""
        self.base = os.path.abspath(self.mktemp())
        self.workers = f"{self.base}/workers"
        self.top = f"{self.workers}/w"
        os.makedirs(f"{self.top}/src/deep")
        os.makedirs(f"{self.top}/data")
        self.clock = Clock()
        self.kernel = FakeKernel()
        self.polling = FakePolling()
        self.watcher = InotifyWatcher(self.clock, lambda watcher: self.kernel, self.polling, 0.05)
        self.reports: list[frozenset[str]] = []
        self.watcher.watch(Tree("w", self.top, ("data/", "*.log")), self.reports.append)

    def say(self, folder: str, mask: int, name: str = "") -> None:
        """Have the kernel tell one event."""
        self.watcher.events([Event(self.kernel.wd(folder), mask, name)])

    def told(self) -> set[str]:
        """What was reported since the last time, relative to the worker; its folder is a dot."""
        self.clock.pump([0.01] * 20)
        paths = {path for report in self.reports for path in report}
        self.reports.clear()
        return {os.path.relpath(path, self.top) for path in paths}

    def watched(self) -> set[str]:
        """Watched folders, relative to the base."""
        return {os.path.relpath(path, self.base) for path in self.kernel.watched.values()}

    def write(self, path: str, text: str = "x") -> str:
        """Write a file below the worker."""
        full = os.path.join(self.top, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(text)
        return full

    def test_interface(self) -> None:
        """It does what a watcher does."""
        verifyObject(IWatcher, self.watcher)

    def test_ignored_folders_are_not_watched(self) -> None:
        """Every folder has a watch but for the ignored ones."""
        self.assertEqual(self.watched(), {"workers", "workers/w", "workers/w/src", "workers/w/src/deep"})
        self.assertEqual(self.watcher.how("w"), "inotify")

    def test_write(self) -> None:
        """A file that was written and closed is reported, in a later turn."""
        self.say(f"{self.top}/src", IN_CLOSE_WRITE, "a.go")
        self.assertEqual(self.reports, [])
        self.assertEqual(self.told(), {"src/a.go"})

    def test_rename_delete_touch(self) -> None:
        """So are files that are renamed, removed or touched."""
        for mask in (IN_MOVED_TO, IN_MOVED_FROM, IN_DELETE, IN_ATTRIB):
            self.say(f"{self.top}/src", mask, "a.go")
            self.assertEqual(self.told(), {"src/a.go"})

    def test_an_empty_file_waits_for_its_content(self) -> None:
        """Nobody wants a build of a file that is about to be written; links are whole when they are made."""
        self.write("src/a.go", "")
        self.say(f"{self.top}/src", IN_CREATE, "a.go")
        self.assertEqual(self.told(), set())
        os.link(self.write("src/b.go"), f"{self.top}/src/c.go")
        self.say(f"{self.top}/src", IN_CREATE, "c.go")
        os.symlink("b.go", f"{self.top}/src/d.go")
        self.say(f"{self.top}/src", IN_CREATE, "d.go")
        self.assertEqual(self.told(), {"src/c.go", "src/d.go"})

    def test_ignored_files(self) -> None:
        """What matches a pattern is not reported, nor is the making of an ignored folder."""
        for name in ("x.log", "a.go~", "4913"):
            self.say(self.top, IN_CLOSE_WRITE, name)
        self.say(self.top, IN_CREATE | IN_ISDIR, "data")
        self.say(self.top, IN_DELETE | IN_ISDIR, "data")
        self.assertEqual(self.told(), set())

    def test_new_folder(self) -> None:
        """Files that were in a new folder before it was watched are reported, deeper ones as well."""
        self.write("src/new/a.go")
        self.write("src/new/er/b.go")
        self.say(f"{self.top}/src", IN_CREATE | IN_ISDIR, "new")
        self.assertEqual(self.told(), {"src/new", "src/new/a.go", "src/new/er/b.go"})
        self.say(f"{self.top}/src/new/er", IN_CLOSE_WRITE, "b.go")
        self.assertEqual(self.told(), {"src/new/er/b.go"})

    def test_moved_folder(self) -> None:
        """After a folder is renamed, its files are known by their new path only."""
        os.rename(f"{self.top}/src", f"{self.top}/lib")
        self.say(self.top, IN_MOVED_FROM | IN_ISDIR, "src")
        self.say(self.top, IN_MOVED_TO | IN_ISDIR, "lib")
        self.assertLessEqual({"src", "lib"}, self.told())
        self.say(f"{self.top}/lib/deep", IN_CLOSE_WRITE, "a.go")
        self.assertEqual(self.told(), {"lib/deep/a.go"})

    def test_deleted_folder(self) -> None:
        """A deleted folder is reported and forgotten."""
        wd = self.kernel.wd(f"{self.top}/src/deep")
        os.rmdir(f"{self.top}/src/deep")
        self.watcher.events([Event(wd, IN_IGNORED, "")])
        self.say(f"{self.top}/src", IN_DELETE | IN_ISDIR, "deep")
        self.assertEqual(self.told(), {"src/deep"})
        self.watcher.events([Event(wd, IN_CLOSE_WRITE, "a.go")])
        self.assertEqual(self.told(), set())

    def test_deleted_and_recreated_worker(self) -> None:
        """A worker's folder may go and come again: both are told as the folder, and it is watched again."""
        for path in ("src/deep", "src", "data", ""):
            os.rmdir(os.path.join(self.top, path))
        gone = [wd for wd, path in self.kernel.watched.items() if path.startswith(self.top)]
        for wd in gone:
            self.kernel.watched.pop(wd, None)
            self.watcher.events([Event(wd, IN_IGNORED, "")])
        self.say(self.workers, IN_DELETE | IN_ISDIR, "w")
        self.assertIn(".", self.told())
        self.write("src/a.go")
        self.say(self.workers, IN_CREATE | IN_ISDIR, "w")
        self.assertEqual(self.told(), {"."})
        self.say(f"{self.top}/src", IN_CLOSE_WRITE, "a.go")
        self.assertEqual(self.told(), {"src/a.go"})

    def test_replaced_worker(self) -> None:
        """A worker's folder that is swapped by renaming is the new folder from then on."""
        os.rename(self.top, f"{self.base}/old")
        self.write("src/a.go")
        self.say(self.workers, IN_MOVED_FROM | IN_ISDIR, "w")
        self.say(self.workers, IN_MOVED_TO | IN_ISDIR, "w")
        self.assertIn(".", self.told())
        self.assertNotIn("old", self.watched())
        self.say(f"{self.top}/src", IN_CLOSE_WRITE, "a.go")
        self.assertEqual(self.told(), {"src/a.go"})

    def test_not_there_yet(self) -> None:
        """A folder that does not exist yet can be watched: one far above it is, until it comes."""
        path = f"{self.base}/x/y/z"
        self.watcher.watch(Tree("z", path), self.reports.append)
        os.makedirs(path)
        self.say(self.base, IN_CREATE | IN_ISDIR, "x")
        self.clock.pump([0.01] * 20)
        self.assertEqual(self.reports, [frozenset({path})])
        self.assertLessEqual({"x/y", "x/y/z"}, self.watched())

    def test_other_entries_beside_the_worker(self) -> None:
        """A neighbour that comes and goes is no news of this worker."""
        for mask in (IN_CREATE | IN_ISDIR, IN_DELETE | IN_ISDIR):
            self.say(self.workers, mask, "w2")
        self.say(self.workers, IN_ATTRIB | IN_ISDIR, "w")
        self.assertEqual(self.told(), set())

    def test_overflow(self) -> None:
        """When events were lost, the whole worker may have changed, and new folders are found."""
        os.mkdir(f"{self.top}/unseen")
        self.watcher.events([Event(-1, IN_Q_OVERFLOW, "")])
        self.assertEqual(self.told(), {"."})
        self.assertIn("workers/w/unseen", self.watched())

    def test_too_many_watches(self) -> None:
        """When the kernel has no more watches, the tree is polled, and the log names the limit."""
        messages: list[str] = []
        self.patch(
            __import__("tqserver.watch.inotify", fromlist=["log"]).log,
            "warn",
            lambda text, **values: messages.append(text.format(**values)),
        )
        self.kernel.watches_max = len(self.kernel.watched)
        os.makedirs(f"{self.workers}/v/src")
        self.watcher.watch(Tree("v", f"{self.workers}/v"), self.reports.append)
        self.assertEqual(self.watcher.how("v"), "polling")
        self.assertEqual(self.watcher.how("w"), "inotify")
        self.assertIn("fs.inotify.max_user_watches", messages[0])
        self.assertNotIn("workers/v", self.watched())
        self.watcher.unwatch("v")
        self.assertEqual(self.polling.trees, {})

    def test_too_many_watches_later(self) -> None:
        """A tree that grows beyond what the kernel gives is polled from then on."""
        self.kernel.watches_max = len(self.kernel.watched)
        self.write("src/new/a.go")
        self.say(f"{self.top}/src", IN_CREATE | IN_ISDIR, "new")
        self.assertEqual(self.watcher.how("w"), "polling")
        self.assertEqual(self.watched(), set())
        self.assertEqual(self.told(), {"."})

    def test_a_folder_that_may_not_be_read(self) -> None:
        """One unreadable folder does not end the watching of the others."""
        self.kernel.watches_max = len(self.kernel.watched)
        self.kernel.refuse = errno.EACCES
        self.write("src/new/a.go")
        self.say(f"{self.top}/src", IN_CREATE | IN_ISDIR, "new")
        self.assertEqual(self.watcher.how("w"), "inotify")

    def test_one_folder_in_two_trees(self) -> None:
        """Two workers that share a folder by a link are both told, each by its own path."""
        os.makedirs(f"{self.base}/shared")
        for name in ("w", "v"):
            os.makedirs(f"{self.workers}/{name}", exist_ok=True)
            os.symlink(f"{self.base}/shared", f"{self.workers}/{name}/lib")
        self.say(self.top, IN_CREATE, "lib")
        self.watcher.watch(Tree("v", f"{self.workers}/v"), self.reports.append)
        self.told()
        self.say(f"{self.base}/shared", IN_CLOSE_WRITE, "a.go")
        self.assertEqual(self.told(), {"lib/a.go", "../v/lib/a.go"})
        self.watcher.unwatch("v")
        self.say(f"{self.base}/shared", IN_CLOSE_WRITE, "a.go")
        self.assertEqual(self.told(), {"lib/a.go"})

    def test_a_link_that_goes(self) -> None:
        """When a link to a folder is removed, the folder behind it is watched no longer."""
        os.makedirs(f"{self.base}/shared")
        os.symlink(f"{self.base}/shared", f"{self.top}/lib")
        self.say(self.top, IN_CREATE, "lib")
        self.assertIn("shared", self.watched())
        os.unlink(f"{self.top}/lib")
        self.say(self.top, IN_DELETE, "lib")
        self.assertNotIn("shared", self.watched())

    def test_single_file(self) -> None:
        """
        A single file is watched by its folder, so that saving it by renaming is seen, and nothing else is.
        """
        os.makedirs(f"{self.base}/etc")
        self.watcher.watch(file_tree("server", f"{self.base}/etc/server.yaml"), self.reports.append)
        self.say(f"{self.base}/etc", IN_CLOSE_WRITE, "other.yaml")
        self.say(f"{self.base}/etc", IN_MOVED_TO, "server.yaml")
        self.assertEqual(self.told(), {"../../etc/server.yaml"})

    def test_workers_directory(self) -> None:
        """New and removed worker folders are seen without what is in them."""
        self.watcher.watch(Tree("workers", self.workers, recursive=False), self.reports.append)
        os.makedirs(f"{self.workers}/v/src")
        self.say(self.workers, IN_CREATE | IN_ISDIR, "v")
        self.assertEqual(self.told(), {"../v"})
        self.assertNotIn("workers/v", self.watched())
        self.say(self.workers, IN_DELETE | IN_ISDIR, "v")
        self.assertEqual(self.told(), {"../v"})

    def test_unwatch(self) -> None:
        """What was not told before the end of watching never is, and all watches are given back."""
        self.say(f"{self.top}/src", IN_CLOSE_WRITE, "a.go")
        self.watcher.unwatch("w")
        self.assertEqual(self.told(), set())
        self.assertEqual(self.watched(), set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_callback_that_raises(self) -> None:
        """A mistake of the one who is told is logged, and the next change is told again."""
        calls: list[frozenset[str]] = []

        def fail(paths: frozenset[str]) -> None:
            calls.append(paths)
            raise RuntimeError("boom")

        self.watcher.watch(Tree("w", self.top), fail)
        for _ in range(2):
            self.say(f"{self.top}/src", IN_CLOSE_WRITE, "a.go")
            self.told()
        self.assertEqual(len(calls), 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_broken_queue(self) -> None:
        """If the kernel's queue breaks, everything is polled, and looked at once more."""
        self.watcher.lost("bad file descriptor")
        self.assertEqual(self.watcher.how("w"), "polling")
        self.assertEqual(self.told(), {"."})

    def test_stop(self) -> None:
        """At the end the kernel gets everything back."""
        self.watcher.stop()
        self.assertTrue(self.kernel.closed)
        self.assertEqual(self.kernel.watched, {})
