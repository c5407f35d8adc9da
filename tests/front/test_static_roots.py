"""Folders that are watched, and the names in them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.front import static_names, static_roots
from tqserver.front.static_names import Root
from tqserver.front.static_roots import Notifier, Roots, is_local
from tqserver.watch.kernel import Event, Inotify

OVERFLOW = Event(-1, 0x4000, "")


class RootsCase(SynchronousTestCase):
    """A folder, the kernel, and a reactor that reads only when a test says so."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()
        self.path = self.base / "public"
        self.notifiers: list[Inotify] = []
        self.refusal: OSError | None = None
        self.now_ns = 1 << 62
        self.changes = 0
        self.roots = Roots(self.make_notifier, lambda: self.now_ns)
        self.addCleanup(self.close)

    def close(self) -> None:
        """Give the kernel its instances back."""
        for notifier in self.notifiers:
            notifier.close()

    def make_notifier(self, events: Callable[[list[Event]], None], lost: Callable[[str], None]) -> Notifier:
        """The kernel's, if it is to be had."""
        if self.refusal is not None:
            raise self.refusal
        notifier = Inotify(MemoryReactorClock(), events, lost)  # type: ignore[arg-type]
        self.notifiers.append(notifier)
        return notifier

    def open(self, path: Path | None = None) -> Root:
        """The root of the folder."""
        root = self.roots.open(str(path or self.path))
        root.listeners.add(self.changed)
        return root

    def changed(self) -> None:
        """A root says that its names have changed."""
        self.changes += 1

    def read(self) -> None:
        """The reactor reads what the kernel has to tell, until there is nothing more."""
        self.notifiers[-1].doRead()
        self.notifiers[-1].doRead()


class ToldTests(RootsCase):
    """A folder that is watched."""

    def test_what_is_there(self) -> None:
        """Names that are there at the beginning are known, dot files are not."""
        self.path.mkdir()
        for name in ("a.txt", ".hidden", "größe"):
            (self.path / name).touch()
        (self.path / "folder").mkdir()
        root = self.open()
        self.assertTrue(root.told)
        self.assertEqual(root.names, {b"a.txt", "größe".encode(), b"folder"})
        self.assertTrue(root.has(b"folder"))
        self.assertFalse(root.has(b"b.txt"))

    def test_sources(self) -> None:
        """What is never served is not worth a look: not what PHP runs, and not what an editor leaves beside it."""
        self.path.mkdir()
        for name in ("index.php", "old.phtml.bak", "php.txt"):
            (self.path / name).touch()
        root = self.open()
        self.assertEqual(root.names, {b"php.txt"})
        for name in ("info.php", "info.php~", "a.txt"):
            (self.path / name).touch()
        self.read()
        self.assertEqual(root.names, {b"php.txt", b"a.txt"})
        self.assertFalse(root.has(b"info.php"))

    def test_appears_and_goes(self) -> None:
        """Whatever makes a name appear or go is noticed."""
        self.path.mkdir()
        root = self.open()
        outside = self.base / "outside"
        outside.touch()
        steps: list[tuple[Callable[[], object], set[bytes]]] = [
            (lambda: (self.path / "a").touch(), {b"a"}),
            (lambda: (self.path / "d").mkdir(), {b"a", b"d"}),
            (lambda: (self.path / "a").rename(self.path / "b"), {b"b", b"d"}),
            (lambda: os.link(outside, self.path / "c"), {b"b", b"c", b"d"}),
            (lambda: (self.path / "l").symlink_to("b"), {b"b", b"c", b"d", b"l"}),
            (lambda: (self.path / "c").replace(self.path / "b"), {b"b", b"d", b"l"}),
            (lambda: outside.rename(self.path / "o"), {b"b", b"d", b"l", b"o"}),
            (lambda: (self.path / "o").rename(outside), {b"b", b"d", b"l"}),
            (lambda: (self.path / "l").unlink(), {b"b", b"d"}),
            (lambda: (self.path / "d").rmdir(), {b"b"}),
        ]
        for number, (step, names) in enumerate(steps):
            step()
            self.read()
            self.assertEqual(root.names, names, number)

    def test_nothing_new(self) -> None:
        """What changes no name tells nobody anything."""
        self.path.mkdir()
        (self.path / "a").touch()
        self.open()
        changes = self.changes
        (self.path / "a").write_text("x")
        (self.path / "a").chmod(0o600)
        (self.path / ".b").touch()
        self.read()
        self.assertEqual(self.changes, changes)

    def test_gone_and_back(self) -> None:
        """A name that went and came again is never missing, even before the kernel has told all."""
        self.path.mkdir()
        (self.path / "a").touch()
        root = self.open()
        (self.path / "a").unlink()
        (self.path / "a").touch()
        wd = root.folder_wd
        self.roots._events([Event(wd, 0x200, "a")])
        self.assertTrue(root.has(b"a"))

    def test_root_removed_and_made_again(self) -> None:
        """A folder that is removed is empty, and one that is made in its place is another one."""
        self.path.mkdir()
        (self.path / "a").touch()
        root = self.open()
        shutil.rmtree(self.path)
        self.read()
        self.assertEqual((root.names, root.told), (set(), True))
        self.path.mkdir()
        (self.path / "b").touch()
        self.read()
        self.assertEqual((root.names, root.told), ({b"b"}, True))
        (self.path / "c").touch()
        self.read()
        self.assertEqual(root.names, {b"b", b"c"})

    def test_root_renamed(self) -> None:
        """A folder that is renamed is not ours any more, whatever appears in it."""
        self.path.mkdir()
        (self.path / "a").touch()
        root = self.open()
        self.path.rename(self.base / "other")
        self.read()
        self.assertEqual((root.names, root.told), (set(), True))
        (self.base / "other" / "b").touch()
        self.read()
        self.assertEqual(root.names, set())
        (self.base / "other").rename(self.path)
        self.read()
        self.assertEqual(root.names, {b"a", b"b"})

    def test_not_there_yet(self) -> None:
        """A folder that is not there is awaited, however many folders above it are missing."""
        root = self.open(self.base / "x" / "y" / "public")
        self.assertEqual((root.names, root.told), (set(), True))
        (self.base / "other").mkdir()
        self.read()
        self.assertEqual(root.names, set())
        (self.base / "x").mkdir()
        self.read()
        (self.base / "x" / "y").mkdir()
        self.read()
        (self.base / "x" / "y" / "public").mkdir()
        (self.base / "x" / "y" / "public" / "a").touch()
        self.read()
        self.assertEqual(root.names, {b"a"})

    def test_made_at_once(self) -> None:
        """Folders that are made faster than we read are found nevertheless."""
        root = self.open(self.base / "x" / "y" / "public")
        (self.base / "x" / "y" / "public" / "a").mkdir(parents=True)
        self.read()
        self.assertEqual(root.names, {b"a"})

    def test_folder_above_renamed(self) -> None:
        """When a folder above is renamed, another one in its place is looked at."""
        above = self.base / "x"
        (above / "public").mkdir(parents=True)
        (above / "public" / "a").touch()
        root = self.open(above / "public")
        above.rename(self.base / "old")
        self.read()
        self.assertEqual((root.names, root.told), (set(), True))
        (above / "public").mkdir(parents=True)
        (above / "public" / "b").touch()
        self.read()
        self.assertEqual(root.names, {b"b"})

    def test_link_turned(self) -> None:
        """A deployment turns a link on the way, in one step or in two: the folder that it leads to now counts."""
        for release in ("1", "2"):
            (self.base / "releases" / release / "public").mkdir(parents=True)
            (self.base / "releases" / release / "public" / release).touch()
        current = self.base / "current"
        current.symlink_to("releases/1")
        root = self.open(current / "public")
        self.assertEqual(root.names, {b"1"})
        (self.base / "new").symlink_to(self.base / "releases" / "2")
        (self.base / "new").rename(current)
        self.read()
        self.assertEqual((root.names, root.told), ({b"2"}, True))
        current.unlink()
        self.read()
        self.assertEqual((root.names, root.told), (set(), True))
        current.symlink_to("releases/../releases/1")
        self.read()
        self.assertEqual((root.names, root.told), ({b"1"}, True))
        (self.base / "releases" / "1").rename(self.base / "releases" / "0")
        self.read()
        self.assertEqual((root.names, root.told), (set(), True))

    def test_root_is_a_link(self) -> None:
        """The folder itself may be a link."""
        (self.base / "real").mkdir()
        (self.base / "real" / "a").touch()
        self.path.symlink_to("real")
        root = self.open()
        self.assertEqual(root.names, {b"a"})
        (self.base / "real" / "b").touch()
        self.read()
        self.assertEqual(root.names, {b"a", b"b"})
        self.path.unlink()
        self.path.symlink_to("loop")
        (self.base / "loop").symlink_to("public")
        self.read()
        self.assertEqual((root.names, root.told), (set(), True))

    def test_file_in_its_place(self) -> None:
        """A file where the folder should be holds no files."""
        self.path.touch()
        root = self.open()
        self.assertEqual((root.names, root.told), (set(), True))
        self.path.unlink()
        self.path.mkdir()
        (self.path / "a").touch()
        self.read()
        self.assertEqual(root.names, {b"a"})

    def test_overflow(self) -> None:
        """When the kernel had more to tell than it could keep, everything is looked at again."""
        self.path.mkdir()
        root = self.open()
        wd = root.folder_wd
        (self.path / "a").touch()
        self.roots._events([OVERFLOW])
        self.assertEqual((root.names, root.told), ({b"a"}, True))
        self.assertEqual(root.folder_wd, wd)

    def test_shared(self) -> None:
        """Roots one above the other share the kernel's instance and do not get into each other's way."""
        self.path.mkdir()
        above, below = self.open(self.base), self.open()
        self.assertEqual(len(self.notifiers), 1)
        (self.path / "a").touch()
        (self.base / "b").touch()
        self.read()
        self.assertEqual((above.names, below.names), ({b"public", b"b"}, {b"a"}))
        self.roots.close(above)
        (self.path / "c").touch()
        self.read()
        self.assertEqual(below.names, {b"a", b"c"})
        self.roots.close(below)
        self.assertEqual(self.notifiers[0].fileno(), -1)

    def test_opened_twice(self) -> None:
        """A root that two have opened is the same, until both have closed it."""
        self.path.mkdir()
        root = self.open()
        self.assertIs(self.open(), root)
        self.roots.close(root)
        (self.path / "a").touch()
        self.read()
        self.assertEqual(root.names, {b"a"})
        self.roots.close(root)
        self.assertIsNot(self.open(), root)

    def test_closed_root_is_not_looked_at(self) -> None:
        """What is told of a root that was closed meanwhile means nothing."""
        self.path.mkdir()
        root, other = self.open(), self.open(self.base)
        wd = root.folder_wd
        self.roots.close(root)
        self.roots._events([Event(wd, 0x400, ""), OVERFLOW])
        self.assertEqual(root.watches, set())
        self.assertTrue(other.told)


class AskedTests(RootsCase):
    """A folder that cannot be watched is asked."""

    def setUp(self) -> None:
        super().setUp()
        self.refusal = OSError(errno.EMFILE, "Too many open files")
        self.path.mkdir()
        (self.path / "a").touch()

    def test_no_instance(self) -> None:
        """Without the kernel's help every change is seen all the same."""
        root = self.open()
        self.assertFalse(root.told)
        self.assertTrue(root.has(b"a"))
        self.assertFalse(root.has(b"b"))
        (self.path / "b").touch()
        self.assertTrue(root.has(b"b"))
        (self.path / "b").unlink()
        self.assertFalse(root.has(b"b"))
        shutil.rmtree(self.path)
        self.assertFalse(root.has(b"a"))

    def test_one_stat(self) -> None:
        """As long as nothing changes the folder is not listed again."""
        root = self.open()
        root.has(b"a")
        listed: list[bytes] = []

        def visible_names(folder: bytes) -> set[bytes]:
            listed.append(folder)
            return {b"a"}

        self.patch(static_names, "visible_names", visible_names)
        for _ in range(3):
            self.assertFalse(root.has(b"b"))
        self.assertEqual(listed, [])
        (self.path / "c").touch()
        root.has(b"b")
        root.has(b"b")
        self.assertEqual(len(listed), 1)

    def test_just_changed(self) -> None:
        """A folder that has just changed may change again without its stamp telling, so it is listed each time."""
        root = self.open()
        self.now_ns = os.stat(self.path).st_ctime_ns + 1_000_000
        root.has(b"a")
        listed: list[bytes] = []
        self.patch(static_names, "visible_names", lambda folder: listed.append(folder) or {b"b"})
        self.assertTrue(root.has(b"b"))
        self.assertTrue(root.has(b"b"))
        self.assertEqual(len(listed), 2)

    def test_again(self) -> None:
        """When the limit was raised, the folder is watched from the next routing on."""
        root = self.open()
        self.refusal = None
        self.roots.retry()
        self.assertTrue(root.told)
        self.assertEqual(root.names, {b"a"})

    def test_watches_run_out(self) -> None:
        """Where there is an instance but no watch left, the folder is asked, and no half of a watch remains."""
        self.refusal = None
        added: list[int] = []

        class Full(Inotify):
            def add(self, path: str, mask: int = 0) -> int:
                if path.endswith("public"):
                    raise OSError(errno.ENOSPC, "No space left on device", path)
                added.append(super().add(path, mask))
                return added[-1]

        roots = Roots(lambda events, lost: Full(MemoryReactorClock(), events, lost), lambda: self.now_ns)  # type: ignore[arg-type]
        root = roots.open(str(self.path))
        self.assertFalse(root.told)
        self.assertTrue(root.has(b"a") and not root.has(b"b"))
        self.assertEqual((root.watches, roots._users), (set(), {}))
        self.assertTrue(added)
        roots.close(root)

    def test_lost(self) -> None:
        """If the kernel's queue fails for good, the folder is asked from then on."""
        self.refusal = None
        root = self.open()
        self.assertTrue(root.told)
        self.roots._lost("broken")
        self.assertFalse(root.told)
        (self.path / "b").touch()
        self.assertTrue(root.has(b"b") and root.has(b"a") and not root.has(b"c"))

    def test_remote(self) -> None:
        """A file system whose changes come from elsewhere is not left to this kernel to tell of."""
        self.refusal = None
        mounts = self.base / "mounts"
        mounts.write_text(f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {self.base} rw shared:1 - nfs4 host:/x rw\n")
        self.patch(static_roots, "MOUNTS_FILE", str(mounts))
        root = self.open()
        self.assertFalse(root.told)
        self.assertTrue(root.has(b"a") and not root.has(b"b"))

    def test_too_many(self) -> None:
        """The names of a very large folder are not kept: there may be a file of any name."""
        self.refusal = None
        self.patch(static_names, "NAMES_MAX", 3)
        for name in "bcd":
            (self.path / name).touch()
        root = self.open()
        self.assertEqual((root.told, root.has(b"z")), (False, True))
        self.patch(static_names, "NAMES_MAX", 5)
        self.roots.close(root)
        root = self.open()
        self.assertEqual((root.told, root.has(b"z")), (True, False))
        for name in "efg":
            (self.path / name).touch()
        self.read()
        self.assertEqual((root.told, root.has(b"z")), (False, True))
        self.roots.retry()
        self.assertEqual((root.told, root.names), (False, set()))


class LocalTests(SynchronousTestCase):
    """What /proc/self/mountinfo says."""

    def test_longest(self) -> None:
        """The mount that is nearest to a folder counts, and of two at one place the upper one."""
        mounts = (
            "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
            "22 21 0:5 / /srv/remote rw - nfs4 host:/x rw\n"
            "23 22 0:6 / /srv/remote/local rw master:1 - tmpfs tmpfs rw\n"
            "24 21 0:7 / /two rw - xfs x rw\n"
            "25 24 0:8 / /two rw - fuse.sshfs x rw\n"
            "26 21 0:9 / /with\\040space rw - 9p x rw\n"
            "nonsense\n"
        )
        for folder, local in [
            ("/srv", True),
            ("/srv/remote", False),
            ("/srv/remote/x", False),
            ("/srv/remote2", True),
            ("/srv/remote/local/x", True),
            ("/two/x", False),
            ("/with space/x", False),
        ]:
            self.assertEqual(is_local(folder, mounts), local, folder)
        self.assertFalse(is_local("/x", ""))
