"""The watcher on the kernel's own inotify, with files saved as editors and tools save them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tqserver.config.model import WatchConfig
from tqserver.watch import Tree, file_tree, make_watcher
from tqserver.watch.inotify import InotifyWatcher

TIMEOUT_S = 5.0
"""Longest wait for news; they come within milliseconds."""

SILENCE_S = 0.2
"""How long nothing must come to be called nothing: four times the debounce."""


class WatchTests(TestCase):
    """A worker's folder is watched."""

    def setUp(self) -> None:
        """A worker with a source and a folder for its own data."""
        from twisted.internet import reactor

        self.reactor = reactor
        self.base = os.path.abspath(self.mktemp())
        self.top = f"{self.base}/workers/w"
        os.makedirs(f"{self.top}/src")
        os.makedirs(f"{self.top}/data")
        self.write("src/main.go")
        self.watcher = make_watcher(reactor, 0.05)
        self.assertIsInstance(self.watcher, InotifyWatcher)
        self.addCleanup(self.watcher.stop)
        self.seen: set[str] = set()
        self.expected: set[str] = set()
        self.waiting: Deferred[None] | None = None
        self.watcher.watch(Tree("w", self.top, WatchConfig().ignore), self.report)

    def report(self, paths: frozenset[str]) -> None:
        """Note what is told, and let the waiting test go on once all is there."""
        self.seen |= {os.path.relpath(path, self.top) for path in paths}
        if self.waiting is not None and self.expected <= self.seen:
            waiting, self.waiting = self.waiting, None
            waiting.callback(None)

    async def told(self, *expected: str) -> set[str]:
        """Wait until all this was told; what was told besides is in the answer, too."""
        self.expected = set(expected)
        if not self.expected <= self.seen:
            self.waiting = Deferred()
            self.waiting.addTimeout(
                TIMEOUT_S,
                self.reactor,
                lambda result, timeout: self.fail(f"only {self.seen} was told, not {self.expected}"),
            )
            await self.waiting
        seen, self.seen = self.seen, set()
        return seen

    def write(self, path: str, text: str = "x") -> str:
        """Write a file of the worker."""
        full = os.path.join(self.top, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(text)
        return full

    async def test_written_in_place(self) -> None:
        """A file that is written in place is told, and told soon: in well under the debounce."""
        started = self.reactor.seconds()
        self.write("src/main.go", "y")
        self.assertEqual(await self.told("src/main.go"), {"src/main.go"})
        self.assertLess(self.reactor.seconds() - started, 1.0)

    async def test_saved_by_renaming(self) -> None:
        """An editor that writes another file and renames it over the old one is understood."""
        os.rename(self.write("src/main.go.new"), f"{self.top}/src/main.go")
        await self.told("src/main.go")

    async def test_saved_as_vim_does(self) -> None:
        """
        Vim tries the folder, moves the old file away and writes a new one; only the file itself is told.
        """
        os.unlink(self.write("src/4913"))
        os.rename(f"{self.top}/src/main.go", f"{self.top}/src/main.go~")
        self.write("src/main.go", "y")
        os.unlink(f"{self.top}/src/main.go~")
        self.assertEqual(await self.told("src/main.go"), {"src/main.go"})

    async def test_touched(self) -> None:
        """A file that is touched or gets other permissions is told."""
        os.utime(f"{self.top}/src/main.go", (1, 1))
        await self.told("src/main.go")
        os.chmod(f"{self.top}/src/main.go", 0o755)
        await self.told("src/main.go")

    async def test_new_folder_with_a_file_at_once(self) -> None:
        """A file in a folder that is a moment old is told, and so are later changes there."""
        self.write("src/a/b/c/new.go")
        await self.told("src/a/b/c/new.go")
        self.write("src/a/b/c/new.go", "y")
        await self.told("src/a/b/c/new.go")

    async def test_many_files(self) -> None:
        """A tool that writes five hundred files in fifty folders is told whole."""
        paths = [f"src/p{number % 50}/f{number}.go" for number in range(500)]
        for path in paths:
            self.write(path)
        await self.told(*paths)

    async def test_copied_folder(self) -> None:
        """A folder that another program copies in is told with all its files."""
        for number in range(20):
            os.makedirs(f"{self.base}/other/d{number}", exist_ok=True)
            with open(f"{self.base}/other/d{number}/x.go", "w") as file:
                file.write("x")
        subprocess.run(["cp", "-r", f"{self.base}/other", f"{self.top}/src/copied"], check=True)
        await self.told(*(f"src/copied/d{number}/x.go" for number in range(20)))

    async def test_own_data_means_nothing(self) -> None:
        """A worker that writes into its data, logs and output wakes nobody; nor does reading."""
        for path in ("data/items.db", "logs/a.txt", "x.log", "bin/w", "src/__pycache__/a.pyc"):
            self.write(path)
        with open(f"{self.top}/src/main.go") as file:
            file.read()
        await deferLater(self.reactor, SILENCE_S)
        self.assertEqual(self.seen, set())

    async def test_moved_and_deleted_folders(self) -> None:
        """Folders that are renamed and removed are followed."""
        os.rename(f"{self.top}/src", f"{self.top}/lib")
        await self.told("src", "lib")
        self.write("lib/main.go", "y")
        self.assertEqual(await self.told("lib/main.go"), {"lib/main.go"})
        shutil.rmtree(f"{self.top}/lib")
        await self.told("lib")

    async def test_the_worker_goes_and_comes(self) -> None:
        """A worker that is deleted and made again, or swapped for another, stays watched."""
        shutil.rmtree(self.top)
        await self.told(".")
        self.write("src/main.go")
        await self.told(".")
        await deferLater(self.reactor, SILENCE_S)
        self.seen.clear()
        self.write("src/main.go", "y")
        await self.told("src/main.go")
        os.rename(self.top, f"{self.base}/old")
        await self.told(".")
        os.rename(f"{self.base}/old", self.top)
        await self.told(".")
        self.write("src/main.go", "z")
        await self.told("src/main.go")

    async def test_server_yaml(self) -> None:
        """A single file is seen however it is saved, and when it comes and goes."""
        os.makedirs(f"{self.base}/etc")
        path = f"{self.base}/etc/server.yaml"
        self.watcher.watch(file_tree("server", path), self.report)
        for act in (
            lambda: self.write(path),
            lambda: os.rename(self.write(path + ".new"), path),
            lambda: os.unlink(path),
        ):
            act()
            self.assertEqual(await self.told("../../etc/server.yaml"), {"../../etc/server.yaml"})

    async def test_really_overflown(self) -> None:
        """
        More events than the kernel keeps while we are busy: the whole worker is told, and folders made
        meanwhile are watched. The events are made by another program while this one does not read.
        """
        with open("/proc/sys/fs/inotify/max_queued_events") as file:
            events = int(file.read())
        script = (
            "import os, sys\n"
            "os.chdir(sys.argv[1])\n"
            "for number in range(int(sys.argv[2])):\n"
            "    os.chmod(('a', 'b')[number % 2], 0o600 + number // 2 % 2)\n"
            "os.mkdir('unseen')\n"
        )
        for name in ("a", "b"):
            self.write(f"src/{name}")
        subprocess.run([sys.executable, "-c", script, f"{self.top}/src", str(events + 100)], check=True)
        await self.told(".")
        self.write("src/unseen/new.go")
        await self.told("src/unseen/new.go")
