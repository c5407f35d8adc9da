"""Tests of L{tqserver.fastcgi.finder}."""

from __future__ import annotations

import os
import shutil

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fastcgi.test_scripts import TARGET, FakeFiles
from tqserver.errors import ClientFault, Fault, ServerFault
from tqserver.fastcgi.cgi import script_variables
from tqserver.fastcgi.disk import DiskFiles
from tqserver.fastcgi.finder import (
    PATHS_REMEMBERED_MAX,
    SCRIPTS_REMEMBERED_MAX,
    TRUSTED_S,
    FoundScript,
    ScriptFinder,
)
from tqserver.fastcgi.scripts import MissingSlash, Script, below, decode_path, find_script, names_file
from tqserver.plane.messages import FastCGITarget

PATHS = [
    b"/",
    b"/index.php",
    b"/info.php",
    b"/info.php/a/b",
    b"/info.php/x.php",
    b"/posts/1",
    b"/posts/1/",
    b"/admin",
    b"/admin/",
    b"/admin//",
    b"//info.php",
    b"/missing.php",
    b"/missing.php/x",
    b"/info.php%2fx",
    b"/%69nfo.php",
    b"/odd.php",
    b"/odd.php/",
    b"/odd.php/inner.php/x",
    b"/../secret.php",
    b"*",
]

CHANGES = [
    "index.php",
    "info.php",
    "posts/1/index.php",
    "posts/1",
    "missing.php",
    "admin/index.php",
    "admin",
    "odd.php/inner.php",
    "odd.php",
]


def asked(find: object) -> object:
    """What came of a question: a script, that a slash is missing, or the status of a fault."""
    try:
        found = find()  # type: ignore[operator]
    except Fault as fault:
        return fault.status
    return found.script if isinstance(found, FoundScript) else found


class Disk:
    """A document root that can be changed, and a finder that is asked between the changes."""

    def __init__(self, root: str, mount: bytes = b"") -> None:
        self.root = root
        os.makedirs(root)
        self.target = FastCGITarget(document_root=root)
        self.mount = mount
        self.finder = ScriptFinder(self.target, mount, DiskFiles())

    def change(self, name: str) -> None:
        """Make a file if there is nothing, a folder of a name without an ending; else remove what there is."""
        path = f"{self.root}/{name}"
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)
        elif os.path.isfile(os.path.dirname(path)):
            pass
        elif name.endswith(".php"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(name)
        else:
            os.makedirs(path)

    def found(self, path: bytes, now: float = 0.0) -> object:
        """What the finder says."""
        return asked(lambda: self.finder.find(path, now))

    def there(self, path: bytes) -> object:
        """What is true."""

        def find() -> object:
            decoded = decode_path(path)
            return find_script(self.target, below(self.mount, decoded), names_file(path, decoded), DiskFiles())

        return asked(find)


class ChangeTests(TestCase):
    """What has changed on the disk is known with the next request."""

    def setUp(self) -> None:
        self.disk = Disk(os.path.realpath(self.mktemp()) + "/public")

    def agree(self, *paths: bytes) -> None:
        """What is found is what is there, asked once and once more."""
        for path in (*paths, *paths):
            self.assertEqual(self.disk.found(path), self.disk.there(path), path)

    def test_script_comes_and_goes(self) -> None:
        """A new script answers at once, and when it is removed the front controller does again."""
        disk = self.disk
        disk.change("index.php")
        for _ in range(2):
            self.agree(b"/info.php", b"/info.php/x")
            disk.change("info.php")

    def test_folder_comes_and_goes(self) -> None:
        """So does a folder with an index, with a slash and without."""
        disk = self.disk
        disk.change("index.php")
        for name in ("admin/index.php", "admin/index.php", "admin", "admin", "admin/index.php"):
            self.agree(b"/admin", b"/admin/")
            disk.change(name)

    def test_controller_goes(self) -> None:
        """Without its front controller an application has no page, and without its folder it is not complete."""
        disk = self.disk
        disk.change("index.php")
        self.agree(b"/posts/1", b"/")
        disk.change("index.php")
        self.assertEqual([disk.found(path) for path in (b"/posts/1", b"/")], [404, 404])
        shutil.rmtree(disk.root)
        self.assertEqual(disk.found(b"/posts/1"), 500)

    def test_link_turned(self) -> None:
        """A link to the current release may be turned at any time; an old release is not asked any more."""
        base = os.path.dirname(self.disk.root)
        for release in ("1", "2"):
            os.makedirs(f"{base}/releases/{release}")
            for name in ("index.php", "info.php"):
                with open(f"{base}/releases/{release}/{name}", "w") as file:
                    file.write(release)
        os.rmdir(self.disk.root)
        for release in ("1", "2", "1"):
            os.symlink(f"releases/{release}", f"{base}/new")
            os.replace(f"{base}/new", self.disk.root)
            self.agree(b"/info.php", b"/posts/1", b"/")
            found = self.disk.found(b"/info.php")
            assert isinstance(found, Script)
            self.assertEqual(found.filename, f"{base}/releases/{release}/info.php".encode())

    def test_link_out(self) -> None:
        """A script that becomes a link out of the document root is not run."""
        self.disk.change("index.php")
        self.disk.change("info.php")
        self.agree(b"/info.php")
        os.replace(f"{self.disk.root}/info.php", f"{os.path.dirname(self.disk.root)}/secret.php")
        os.symlink("../secret.php", f"{self.disk.root}/info.php")
        self.assertEqual(self.disk.found(b"/info.php"), 404)

    def test_renamed_on_the_way(self) -> None:
        """A folder that was renamed behind a link is known by its new name a second later."""
        base = os.path.dirname(self.disk.root)
        os.rmdir(self.disk.root)
        os.makedirs(f"{base}/releases/1")
        with open(f"{base}/releases/1/info.php", "w"):
            pass
        os.symlink("releases/1", self.disk.root)
        self.agree(b"/info.php")
        os.rename(f"{base}/releases/1", f"{base}/releases/2")
        os.remove(self.disk.root)
        os.symlink("releases/2", self.disk.root)
        found = self.disk.found(b"/info.php", TRUSTED_S)
        assert isinstance(found, Script)
        self.assertEqual(found.filename, f"{base}/releases/2/info.php".encode())

    @settings(derandomize=True, deadline=None, max_examples=40)
    @given(st.lists(st.tuples(st.sampled_from(CHANGES), st.lists(st.sampled_from(PATHS), max_size=5)), max_size=12))
    def test_any_changes(self, steps: list[tuple[str, list[bytes]]]) -> None:
        """Whatever is made and removed, in whatever order it is asked for: what is found is what is there."""
        self.disk = Disk(os.path.realpath(self.mktemp()) + "/public")
        for name, paths in steps:
            self.disk.change(name)
            self.agree(*paths)


class EconomyTests(SynchronousTestCase):
    """What it costs to look."""

    def setUp(self) -> None:
        self.files = FakeFiles(b"/srv/public/index.php", b"/srv/public/info.php", b"/srv/public/admin/index.php")
        self.finder = ScriptFinder(TARGET, b"/blog", self.files)

    def cost(self, path: bytes, now: float = 0.0) -> tuple[int, int]:
        """Looks and questions for a request."""
        files = self.files
        before = files.looks, files.questions
        self.finder.find(path, now)
        return files.looks - before[0], files.questions - before[1]

    def test_one_question(self) -> None:
        """A script that is known costs one question, a page of the front controller two, and neither a look."""
        for path, questions in ((b"/blog/info.php", 1), (b"/blog/", 1), (b"/blog/admin/", 1), (b"/blog/posts/1", 2)):
            self.cost(path)
            self.assertEqual(self.cost(path), (0, questions), path)
        self.assertEqual(self.cost(b"/blog/posts/2"), (0, 2), "another page of the front controller")
        self.assertEqual(self.cost(b"/blog/posts/2%2f"), (0, 1), "a path that names no file")

    def test_not_trusted_for_ever(self) -> None:
        """After a while it is looked up anew."""
        self.cost(b"/blog/info.php")
        self.assertEqual(self.cost(b"/blog/info.php", TRUSTED_S / 2)[0], 0)
        self.assertGreater(self.cost(b"/blog/info.php", TRUSTED_S)[0], 0)
        self.assertEqual(self.cost(b"/blog/info.php", TRUSTED_S)[0], 0)

    def test_bounded(self) -> None:
        """Paths that clients invent are not remembered for ever."""
        for number in range(PATHS_REMEMBERED_MAX + 10):
            self.finder.find(b"/blog/posts/%d" % number, 0.0)
        for number in range(SCRIPTS_REMEMBERED_MAX + 10):
            self.finder.find(b"/blog/info.php/%d" % number, 0.0)
        self.finder.find(b"/blog/" + b"x" * 5000, 0.0)
        self.assertLessEqual(len(self.finder._wanted), PATHS_REMEMBERED_MAX)
        self.assertLessEqual(len(self.finder._found), SCRIPTS_REMEMBERED_MAX)
        self.assertLess(max(map(len, self.finder._wanted)), 5000)

    def test_variables(self) -> None:
        """What is found comes with the variables that tell of it."""
        for path in (b"/blog/info.php/x", b"/blog/posts/1", b"/blog/"):
            for _ in range(2):
                found = self.finder.find(path, 0.0)
                assert isinstance(found, FoundScript)
                self.assertEqual(found.variables, script_variables(found.script, b"/blog"))

    def test_refused(self) -> None:
        """What is refused is refused each time."""
        for _ in range(2):
            self.assertRaises(ClientFault, self.finder.find, b"/blog/%2e%2e/secret.php", 0.0)
            self.assertEqual(self.finder.find(b"/blog/admin", 0.0), MissingSlash())
        finder = ScriptFinder(FastCGITarget(document_root="/nowhere"), b"", self.files)
        self.assertRaises(ServerFault, finder.find, b"/", 0.0)
