"""Tests of L{tqserver.build.fingerprint}."""

from __future__ import annotations

import os

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tqserver.build import fingerprint
from tqserver.build.fingerprint import Fingerprints, digest_of
from tqserver.build.model import Sources
from tqserver.watch.ignore import Ignore

from .making import SECOND_NS, Workshop


class FingerprintTests(SynchronousTestCase):
    """Which changes make another version."""

    def setUp(self) -> None:
        """A Go worker whose files are old."""
        self.shop = Workshop(self.mktemp())
        self.worker = self.shop.worker("go")
        self.write("main.go", "package main")
        self.write("lib/a.go", "package lib")
        self.write("views/index.html", "hello")
        self.write("config/worker.yaml", "path: /w")
        self.now = 2e9
        self.prints = Fingerprints(lambda: int(self.now * SECOND_NS))
        self.first = self.take()

    def write(self, path: str, content: str, at: float = 1e9) -> str:
        """Write a file of the worker."""
        return self.shop.write(f"workers/w/{path}", content, at)

    def take(self, *beyond: str) -> Sources:
        """The fingerprints now."""
        return self.prints.take(self.worker, Ignore(("data/", "*.log")), beyond)

    def test_the_same_content_is_the_same_version(self) -> None:
        """Touching a file, or writing the same text again, changes nothing, for this or another server."""
        self.write("main.go", "package main", at=1.5e9)
        self.assertEqual(self.take().source, self.first.source)
        self.prints = Fingerprints(lambda: int(self.now * SECOND_NS))
        self.assertEqual(self.take().source, self.first.source)

    def test_changes(self) -> None:
        """Other content, another name, a new, a removed and a now executable file are another version."""
        seen = {self.first.source}
        for act in (
            lambda: self.write("main.go", "package other"),
            lambda: os.rename(f"{self.worker.directory}/lib/a.go", f"{self.worker.directory}/lib/b.go"),
            lambda: self.write("new.go", ""),
            lambda: os.unlink(f"{self.worker.directory}/new.go") or self.write("x", "y"),
            lambda: os.chmod(f"{self.worker.directory}/x", 0o755),
        ):
            act()
            taken = self.take()
            self.assertNotIn(taken.source, seen)
            self.assertEqual(taken.settings, self.first.settings)
            seen.add(taken.source)

    def test_pages_in_production(self) -> None:
        """What PHP reads for each request is no new version; in production, where it is read once, it is."""
        worker = evolve(self.worker, type="php")
        ignore = Ignore(())
        shown = self.write("public/index.php", "<?php echo 1;")
        before = [self.prints.take(worker, ignore, (), pages) for pages in (False, True)]
        self.write("public/a.css", "body {}")
        self.assertEqual([self.prints.take(worker, ignore, (), pages) for pages in (False, True)], before)
        with open(shown, "a", encoding="utf-8") as file:
            file.write("echo 2;")
        after = [self.prints.take(worker, ignore, (), pages) for pages in (False, True)]
        self.assertEqual(after[0], before[0])
        self.assertNotEqual(after[1].settings, before[1].settings)

    def test_settings_are_apart(self) -> None:
        """Templates and settings have a fingerprint of their own, because nothing is built for them."""
        self.write("views/index.html", "hallo")
        taken = self.take()
        self.assertEqual(taken.source, self.first.source)
        self.assertNotEqual(taken.settings, self.first.settings)

    def test_what_does_not_count(self) -> None:
        """Ignored files, output, static files, tests and worker.yaml make no new version."""
        for path in ("data/x", "a.log", "bin/w", "public/a.css", "main_test.go", "config/worker.yaml"):
            self.write(path, "something else")
        self.assertEqual(self.take(), self.first)

    def test_same_size_and_time(self) -> None:
        """Content that changes behind the same size and modification time is seen."""
        self.write("main.go", "package mine")
        self.assertNotEqual(self.take().source, self.first.source)

    def test_content_is_read_once(self) -> None:
        """What is known already is not read again, but a file of just now is."""
        reads: list[str] = []
        real = fingerprint.file_digest
        self.patch(fingerprint, "file_digest", lambda path: reads.append(path) or real(path))
        self.take()
        self.assertEqual(reads, [])
        self.write("main.go", "package new")
        self.now = os.stat(f"{self.worker.directory}/main.go").st_ctime
        for _ in range(2):
            self.take()
        self.assertEqual([os.path.basename(path) for path in reads], ["main.go", "main.go"])

    def test_names_and_newest(self) -> None:
        """The sources are listed, and the time of the newest is known."""
        self.write("lib/a.go", "package lib", at=1.25e9)
        taken = self.take()
        self.assertEqual(taken.names, ("main.go", "lib/a.go"))
        self.assertEqual(taken.newest_s, 1.25e9)

    def test_too_much_to_read(self) -> None:
        """Beyond the limits, size and time stand for content, and that is told."""
        self.patch(fingerprint, "FILE_BYTES_MAX", 20)
        self.write("main.go", "x" * 30)
        taken = self.take()
        self.assertFalse(taken.exact)
        self.write("main.go", "y" * 30)
        self.assertEqual(self.take().source, taken.source)
        self.write("main.go", "y" * 30, at=1.5e9)
        self.assertNotEqual(self.take().source, taken.source)

    def test_strange_files(self) -> None:
        """A pipe in the folder does not block us, and broken or looping links do no harm."""
        os.mkfifo(f"{self.worker.directory}/pipe")
        os.symlink("nowhere", f"{self.worker.directory}/broken")
        os.symlink(".", f"{self.worker.directory}/loop")
        taken = self.take()
        self.assertNotEqual(taken.source, self.first.source)
        self.assertEqual(self.take().source, taken.source)
        os.unlink(f"{self.worker.directory}/broken")
        os.symlink("elsewhere", f"{self.worker.directory}/broken")
        self.assertNotEqual(self.take().source, taken.source)

    def test_files_beyond_the_folder(self) -> None:
        """Files elsewhere that the worker is built from count, and may be missing."""
        path = self.shop.write("go.mod", "module a")
        taken = self.take(path, "/nowhere/at/all")
        self.assertNotEqual(taken.source, self.first.source)
        self.shop.write("go.mod", "module b")
        self.assertNotEqual(self.take(path).source, taken.source)

    def test_missing_folder(self) -> None:
        """A worker whose folder has gone has no sources."""
        os.rename(self.worker.directory, self.worker.directory + ".old")
        self.assertEqual(self.take().names, ())

    def test_parts_have_borders(self) -> None:
        """Values that only look alike when they are put together have different names."""
        self.assertNotEqual(digest_of("ab", "c"), digest_of("a", "bc"))
        self.assertNotEqual(digest_of("a"), digest_of("a", ""))
        self.assertEqual(digest_of("a", "b"), digest_of("a", b"b"))
