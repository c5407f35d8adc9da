"""Files in memory: what is kept, and that every change shows in the next response."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange, request_head
from tests.front.static_case import StaticTestCase
from tqserver.errors import ClientFault
from tqserver.front.static_cache import ENTRY_BYTES, FILE_BYTES_MAX, FileCache
from tqserver.front.static_files import Content, StaticFile, Variant
from tqserver.front.static_path import Rules
from tqserver.front.static_places import Place
from tqserver.plane.messages import HTTPSettings, Routing, StaticSettings

PATH = b"/sub/deep/a.txt"


class KeptCase(StaticTestCase):
    """A file that is in memory before anything happens to it."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.put("sub/deep/a.txt", b"before")
        (self.base / "outside").mkdir()
        (self.base / "outside" / "a.txt").write_bytes(b"secret")
        self.assertEqual(self.content(), b"before")
        found = self.find(PATH)
        assert found is not None
        self.assertEqual((found.kept, found.plain.content.body), (True, b"before"))

    def content(self, path: bytes = PATH, *fields: tuple[bytes, bytes]) -> bytes | None:
        """What a client gets now; L{None} if there is no such file."""
        file = self.find(path)
        if file is None:
            return None
        exchange = FakeExchange(request_head(b"GET", path, fields))
        try:
            self.files.serve(exchange, file)
        except ClientFault as fault:
            self.assertEqual(fault.status, 404)
            return None
        self.assertEqual(exchange.response and exchange.response.content_length, len(exchange.body))
        return exchange.body

    def tick(self) -> None:
        """Let the file system's clock go on, where it is coarse."""
        probe = self.base / "probe"
        last_ns = max(os.lstat(path).st_ctime_ns for path in [self.root, *self.root.rglob("*")])
        while not probe.exists() or os.stat(probe).st_ctime_ns <= last_ns:
            probe.write_bytes(b"")
            os.utime(probe)


class ChangeTests(KeptCase):
    """Whatever is done to a file, the next response shows it."""

    def change(self, step: Callable[[], object], after: bytes | None, path: bytes = PATH) -> None:
        """Do something, and see what a client gets then, and again."""
        self.tick()
        step()
        self.assertEqual(self.content(path), after)
        self.assertEqual(self.content(path), after)

    def test_nothing(self) -> None:
        """A file that nothing happens to is not opened again."""
        self.patch(os, "open", lambda *args: self.fail("opened"))
        self.change(lambda: None, b"before")

    def test_written_in_place(self) -> None:
        """Another content of the same length, even with the old date put back."""
        status = os.stat(self.file)

        def write() -> None:
            self.file.write_bytes(b"after!")
            os.utime(self.file, ns=(status.st_atime_ns, status.st_mtime_ns))

        self.change(write, b"after!")

    def test_appended(self) -> None:
        """More of it."""

        def append() -> None:
            with self.file.open("ab") as file:
                file.write(b" and more")

        self.change(append, b"before and more")

    def test_truncated(self) -> None:
        """Less of it, down to nothing."""
        self.change(lambda: os.truncate(self.file, 3), b"bef")
        self.change(lambda: os.truncate(self.file, 0), b"")

    def test_renamed_over(self) -> None:
        """Another file in its place, as editors do it, even if it is as long and as old."""
        new = self.put("new.txt", b"after!")
        self.change(lambda: new.rename(self.file), b"after!")

    def test_touched(self) -> None:
        """A new date is a new tag."""
        before = self.get(PATH)
        self.tick()
        os.utime(self.file, (1, 1))
        after = self.get(PATH)
        self.assertEqual(after.body, before.body)
        self.assertNotEqual(after.header(b"etag"), before.header(b"etag"))
        self.assertEqual(after.header(b"last-modified"), b"Thu, 01 Jan 1970 00:00:01 GMT")

    def test_rights(self) -> None:
        """A file whose rights have changed is looked at anew."""
        before = self.find(PATH)
        self.tick()
        self.file.chmod(0o600)
        self.assertIsNot(self.find(PATH), before)
        if os.geteuid():
            self.change(lambda: self.file.chmod(0), None)

    def test_deleted(self) -> None:
        """A file that is gone, and that is there again."""
        self.change(self.file.unlink, None)
        self.change(lambda: self.put("sub/deep/a.txt", b"again"), b"again")

    def test_link_in_its_place(self) -> None:
        """A link in its place: within the folder it is followed, out of it not."""
        self.put("other.txt", b"other")

        def link(target: str) -> Callable[[], None]:
            def replace() -> None:
                self.file.unlink()
                self.file.symlink_to(target)

            return replace

        self.change(link("../../other.txt"), b"other")
        self.change(link("../../../outside/a.txt"), None)
        self.change(link(str(self.base / "outside" / "a.txt")), None)

    def test_folder_in_its_place(self) -> None:
        """A folder in its place."""

        def replace() -> None:
            self.file.unlink()
            self.file.mkdir()

        self.change(replace, None)

    def test_pipe_in_its_place(self) -> None:
        """A pipe in its place is not waited for."""

        def replace() -> None:
            self.file.unlink()
            os.mkfifo(self.file)

        self.change(replace, None)

    def test_folder_swapped(self) -> None:
        """Another folder in the place of one above it."""
        self.put("new/deep/a.txt", b"after")

        def swap() -> None:
            (self.root / "sub").rename(self.root / "old")
            (self.root / "new").rename(self.root / "sub")

        self.change(swap, b"after")

    def test_folder_becomes_a_link_out(self) -> None:
        """The very same file, but the way to it leads out of the folder now: it is not served any more."""
        for step in ("sub/deep", "sub"):
            folder = self.root / step
            away = self.base / f"away-{folder.name}"

            def swap(folder: Path = folder, away: Path = away) -> None:
                folder.rename(away)
                folder.symlink_to(away)

            self.change(swap, None)

            def back(folder: Path = folder, away: Path = away) -> None:
                folder.unlink()
                away.rename(folder)

            self.change(back, b"before")

    def test_folder_becomes_a_link_inside(self) -> None:
        """The very same file, on a way that leads around within the folder."""

        def swap() -> None:
            (self.root / "sub").rename(self.root / "real")
            (self.root / "sub").symlink_to("real")

        self.change(swap, b"before")
        self.change(lambda: self.put("real/deep/a.txt", b"after"), b"after")

    def test_folder_becomes_a_file(self) -> None:
        """A file in the place of a folder above it."""

        def swap() -> None:
            shutil.rmtree(self.root / "sub")
            (self.root / "sub").write_bytes(b"file")

        self.change(swap, None)

    def test_root_swapped(self) -> None:
        """Another folder in the place of all."""
        new = self.base / "new"
        shutil.copytree(self.root, new)
        (new / "sub/deep/a.txt").write_bytes(b"after")

        def swap() -> None:
            self.root.rename(self.base / "old")
            new.rename(self.root)

        self.change(swap, b"after")

    def test_root_link_turned(self) -> None:
        """The folder is a link, which a deployment turns; what is the same file in both is the same."""
        self.put("top.txt", b"top")
        current = self.base / "current"
        current.symlink_to("public")
        shutil.copytree(self.root, self.base / "next", copy_function=os.link)
        (self.base / "next" / "top.txt").unlink()
        (self.base / "next" / "top.txt").write_bytes(b"next top")
        self.root = current
        for path in (PATH, b"/top.txt"):
            self.content(path)

        def turn() -> None:
            current.unlink()
            current.symlink_to("next")

        self.change(turn, b"next top", b"/top.txt")
        self.assertEqual(self.content(), b"before")

    def test_right_in_the_root(self) -> None:
        """All of this holds for a file without a folder, too."""
        top = self.put("top.txt", b"top")
        self.assertEqual(self.content(b"/top.txt"), b"top")
        self.change(lambda: self.put("top.txt", b"pot"), b"pot", b"/top.txt")
        self.change(lambda: top.rename(self.root / "pot.txt"), None, b"/top.txt")

    def test_sibling_comes_and_goes(self) -> None:
        """A compressed sibling counts as soon as it is there, is changed, or is gone."""
        gzip = (b"accept-encoding", b"gzip")
        self.assertEqual(self.content(PATH, gzip), b"before")
        self.tick()
        sibling = self.put("sub/deep/a.txt.gz", b"gzipped")
        for _ in range(2):
            self.assertEqual(self.content(PATH, gzip), b"gzipped")
            self.assertEqual(self.content(PATH), b"before")
        self.tick()
        self.put("sub/deep/a.txt.gz", b"other gzipped")
        for _ in range(2):
            self.assertEqual(self.content(PATH, gzip), b"other gzipped")
        self.tick()
        os.utime(sibling, (1, 1))
        self.assertEqual(self.content(PATH, gzip), b"before")
        self.tick()
        sibling.unlink()
        self.assertEqual(self.content(PATH, gzip), b"before")
        self.assertIsNone(self.get(PATH).header(b"vary"))

    def test_sibling_is_replaced_by_a_link(self) -> None:
        """A sibling that becomes a link is none any more."""
        gzip = (b"accept-encoding", b"gzip")
        sibling = self.put("sub/deep/a.txt.gz", b"gzipped")
        self.assertEqual(self.content(PATH, gzip), b"gzipped")
        self.tick()
        sibling.unlink()
        sibling.symlink_to(self.base / "outside" / "a.txt")
        self.assertEqual(self.content(PATH, gzip), b"before")

    def test_better_index(self) -> None:
        """An index that goes before the one that there was counts when it comes."""
        self.serving = StaticSettings(index=("index.html", "index.htm"))
        self.put("with/index.htm", b"second")
        for _ in range(2):
            self.assertEqual(self.content(b"/with/"), b"second")
        self.change(lambda: self.put("with/index.html", b"first"), b"first", b"/with/")
        self.change((self.root / "with/index.html").unlink, b"second", b"/with/")


class KeepingTests(KeptCase):
    """What is kept, and for how long."""

    def test_just_changed(self) -> None:
        """What has just changed could change again without a trace: it is read each time, and its tag is its own."""
        self.now_s = os.stat(self.put("new.txt", b"one")).st_ctime_ns / 1e9 + 0.01
        first, second = self.find(b"/new.txt"), self.find(b"/new.txt")
        assert first is not None and second is not None
        self.assertEqual((first.kept, first.certain), (False, False))
        self.assertIsNot(first, second)
        tag = self.get(b"/new.txt").header(b"etag")
        assert tag is not None
        self.now_s += 0.001
        self.assertEqual(self.get(b"/new.txt", (b"if-none-match", tag)).status, 200)
        self.now_s += 1
        self.assertEqual(self.get(b"/new.txt", (b"if-none-match", tag)).status, 200)
        settled = self.get(b"/new.txt").header(b"etag")
        assert settled is not None
        self.assertEqual(self.get(b"/new.txt", (b"if-none-match", settled)).status, 304)

    def test_clock_set_back(self) -> None:
        """A file from the future is never taken for settled."""
        self.now_s = 1_000.0
        self.put("new.txt", b"one")
        found = self.find(b"/new.txt")
        assert found is not None
        self.assertFalse(found.kept)

    def test_links_are_not_kept(self) -> None:
        """What was reached through a link is looked up each time."""
        (self.root / "link").symlink_to("sub")
        for _ in range(2):
            found = self.find(b"/link/deep/a.txt")
            assert found is not None
            self.assertFalse(found.kept)
        self.assertEqual(self.content(b"/link/deep/a.txt"), b"before")

    def test_other_spellings(self) -> None:
        """However a path is encoded, the file is kept once; and a name that looks encoded is another one."""
        plain = self.find(PATH)
        self.assertIs(self.find(b"/sub/deep/%61.txt"), plain)
        self.put("100%25.txt", b"literal")
        self.put("100%.txt", b"decoded")
        self.assertEqual(self.content(b"/100%2525.txt"), b"literal")
        self.assertEqual(self.content(b"/100%25.txt"), b"decoded")

    def test_only_small_ones(self) -> None:
        """A large file's content is not kept, what is known of it is."""
        self.put("large.bin", b"x" * (FILE_BYTES_MAX + 1))
        self.get(b"/large.bin").client_leaves()
        found = self.find(b"/large.bin")
        assert found is not None
        self.assertEqual((found.kept, found.plain.content.body), (True, None))

    def test_other_settings(self) -> None:
        """What is kept under other settings is forgotten with them."""
        self.assertEqual(self.get(PATH).header(b"cache-control"), b"no-cache")
        self.serving = StaticSettings(cache_control=(("*.txt", "no-store"),))
        self.assertEqual(self.get(PATH).header(b"cache-control"), b"no-store")
        self.files.catalogue.update(Routing(version=9, http=HTTPSettings()))
        self.assertEqual((len(self.files._cache), self.files._cache.bytes), (0, 0))

    def test_changes_while_it_is_read(self) -> None:
        """A file that changes while we read it into memory is not kept so."""
        path = self.put("new.txt", b"one")
        real = os.pread

        def pread(fd: int, count: int, at: int) -> bytes:
            data = real(fd, count, at)
            path.write_bytes(b"two and more")
            return data

        found = self.find(b"/new.txt")
        assert found is not None
        self.patch(os, "pread", pread)
        exchange = FakeExchange(request_head(b"GET", b"/new.txt"))
        self.files.serve(exchange, found)
        self.patch(os, "pread", real)
        self.assertIsNone(found.plain.content.body)
        self.assertEqual(self.content(b"/new.txt"), b"two and more")


class BoundsTests(SynchronousTestCase):
    """No more is kept than is good."""

    def setUp(self) -> None:
        self.cache = FileCache(10 * ENTRY_BYTES)
        self.place = Place(b"/x", None, (), Rules((), b""), False)

    def file(self, name: bytes, body: bytes = b"") -> StaticFile:
        """A file that is kept."""
        content = Content(b"/x/" + name, os.stat("/"))
        plain = Variant(content, b"", b'"1"', 0, b"x/y", [], [])
        file = StaticFile(self.place, name, name, False, plain, (), (), True)
        self.cache.keep(file)
        self.cache.fill(file, content, body)
        return file

    def names(self) -> set[bytes]:
        """What is kept."""
        return set(self.place.files)

    def test_oldest_first(self) -> None:
        """Those that nobody uses go first."""
        files = [self.file(b"%d" % number) for number in range(10)]
        files[0].used = files[2].used = True
        self.file(b"new")
        self.assertEqual(self.names(), {b"0", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9", b"new"})
        self.file(b"newer")
        self.assertNotIn(b"3", self.names())
        self.assertEqual((len(self.cache), self.cache.bytes), (10, 10 * ENTRY_BYTES))

    def test_all_in_use(self) -> None:
        """If all are in use, one has to go nevertheless."""
        for number in range(10):
            self.file(b"%d" % number).used = True
        self.file(b"new")
        self.assertEqual(len(self.cache), 10)

    def test_content_counts(self) -> None:
        """A content makes room for itself, if need be by leaving again."""
        for number in range(10):
            self.file(b"%d" % number)
        file = self.file(b"new", b"x" * ENTRY_BYTES * 4)
        self.assertEqual(self.names(), {b"5", b"6", b"7", b"8", b"9", b"new"})
        self.assertTrue(file.kept)
        file = self.file(b"huge", b"x" * ENTRY_BYTES * 20)
        self.assertFalse(file.kept)
        self.assertEqual((len(self.cache), self.cache.bytes), (0, 0))

    def test_dropped(self) -> None:
        """What is dropped leaves nothing behind, and dropping it again does no harm."""
        file = self.file(b"a", b"xyz")
        again = self.file(b"a")
        self.assertFalse(file.kept)
        self.cache.drop(file)
        self.assertEqual(self.place.files, {b"a": again})
        self.cache.fill(file, file.plain.content, b"late")
        self.cache.forget(self.place)
        self.assertEqual((len(self.cache), self.cache.bytes, self.place.files), (0, 0, {}))
