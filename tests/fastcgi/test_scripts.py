"""Tests of L{tqserver.fastcgi.scripts}."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ClientFault, ServerFault
from tqserver.fastcgi.scripts import (
    Found,
    Identity,
    MissingSlash,
    Script,
    below,
    decode_path,
    find_script,
    names_file,
    split_path,
)
from tqserver.plane.messages import FastCGITarget

TARGET = FastCGITarget(document_root="/srv/public")


class FakeFiles:
    """A disk of a few files. Values are real paths; a trailing slash makes a directory."""

    def __init__(self, *paths: bytes, links: dict[bytes, bytes] | None = None) -> None:
        self.entries: dict[bytes, Found] = {}
        for path in (b"/srv/public/", *paths):
            self.entries[path.rstrip(b"/")] = Found(path.endswith(b"/"), path.rstrip(b"/"))
            parent = os.path.dirname(path.rstrip(b"/"))
            while parent != b"/":
                self.entries[parent] = Found(True, parent)
                parent = os.path.dirname(parent)
        for path, real in (links or {}).items():
            self.entries[path] = Found(False, real)
        self.looks = 0
        self.questions = 0

    def exists(self, path: bytes) -> bool:
        self.questions += 1
        return self._at(path) is not None

    def identity(self, path: bytes) -> Identity | None:
        self.questions += 1
        found = self._at(path)
        return None if found is None else (1, hash(found.real) & 0xFFFF, 0)

    def look(self, path: bytes) -> Found | None:
        self.looks += 1
        return self._at(path)

    def _at(self, path: bytes) -> Found | None:
        found = self.entries.get(path.rstrip(b"/"))
        if found is not None and not found.directory and path.endswith(b"/"):
            return None
        return found


DISK = FakeFiles(
    b"/srv/public/index.php",
    b"/srv/public/info.php",
    b"/srv/public/style.css",
    b"/srv/public/admin/index.php",
    b"/srv/public/odd.php/inner.php",
    b"/srv/public/empty/",
    b"/srv/secret.php",
    b"/srv/public/.git/x.php",
    links={b"/srv/public/out.php": b"/srv/secret.php", b"/srv/public/in.php": b"/srv/public/info.php"},
)


def find(path: bytes, mount: bytes = b"", target: FastCGITarget = TARGET, files: FakeFiles = DISK) -> object:
    """What answers a path as it was sent."""
    decoded = decode_path(path)
    found = find_script(target, below(mount, decoded), names_file(path, decoded), files)
    if isinstance(found, MissingSlash):
        return found
    return found.name, found.info


class FindScriptTests(SynchronousTestCase):
    """Which script answers a path."""

    def test_script(self) -> None:
        """A path that names a script is answered by it, also below a mount prefix."""
        self.assertEqual(find(b"/info.php"), (b"/info.php", b""))
        self.assertEqual(find(b"/blog/info.php", b"/blog"), (b"/info.php", b""))
        self.assertEqual(find(b"/%69nfo.php"), (b"/info.php", b""))
        self.assertEqual(find(b"//info.php"), (b"/info.php", b""))

    def test_path_info(self) -> None:
        """What follows the script is its path info; a folder may be called like a script."""
        self.assertEqual(find(b"/info.php/a/b.php"), (b"/info.php", b"/a/b.php"))
        self.assertEqual(find(b"/info.php/"), (b"/info.php", b"/"))
        self.assertEqual(find(b"/odd.php/inner.php/x"), (b"/odd.php/inner.php", b"/x"))

    def test_front_controller(self) -> None:
        """Everything else is the front controller's, without path info."""
        for path in (b"/", b"/posts/1", b"/missing.php", b"/missing.php/x", b"/style.css", b"/info.phpx", b"*"):
            self.assertEqual(find(path), (b"/index.php", b""), path)

    def test_folder(self) -> None:
        """A folder is answered by its index, and only with the slash that relative links need."""
        self.assertEqual(find(b"/admin/"), (b"/admin/index.php", b""))
        self.assertEqual(find(b"/admin"), MissingSlash())
        self.assertEqual(find(b"/empty/"), (b"/index.php", b""))
        self.assertEqual(find(b"/blog", b"/blog"), (b"/index.php", b""))

    def test_no_front_controller(self) -> None:
        """Without a front controller, or when it is not there, a missing script is 404."""
        for target in (
            FastCGITarget(document_root="/srv/public", front_controller=""),
            FastCGITarget(document_root="/srv/public", front_controller="app.php"),
        ):
            fault = self.assertRaises(ClientFault, find, b"/missing.php", target=target)
            self.assertEqual(fault.status, 404)

    def test_refused(self) -> None:
        """Dots, NULs and dot files are refused however they are encoded."""
        for path in (
            b"/../secret.php",
            b"/%2e%2e/secret.php",
            b"/%2E./secret.php",
            b"/..%2fsecret.php",
            b"/..%5csecret.php",
            b"/x/%2e%2e%2f%2e%2e/secret.php",
            b"/./info.php",
            b"/info.php/../../secret.php",
            b"/info.php%00",
            b"/%00/info.php",
            b"/.git/x.php",
            b"/%2egit/x.php",
            b"/a\\.git/x.php",
        ):
            fault = self.assertRaises(ClientFault, find, path)
            self.assertEqual(fault.status, 404, path)

    def test_decoded_once(self) -> None:
        """What is encoded twice names what it says after one decoding, and no dots."""
        self.assertEqual(find(b"/%252e%252e/secret.php"), (b"/index.php", b""))

    def test_not_a_file(self) -> None:
        """Encoded slashes, backslashes and control characters name no file: the front controller reads the URL."""
        for path in (
            b"/info.php%2fx",
            b"/odd.php%2Finner.php",
            b"/info.php%0a",
            b"/a%5cinfo.php",
            b"/info.php/%0d%0ax",
        ):
            self.assertEqual(find(path), (b"/index.php", b""), path)

    def test_links(self) -> None:
        """A link within the document root is followed, one out of it is 404, also for the front controller."""
        self.assertEqual(find(b"/in.php"), (b"/in.php", b""))
        self.assertRaises(ClientFault, find, b"/out.php")
        target = FastCGITarget(document_root="/srv/public", front_controller="out.php")
        self.assertRaises(ClientFault, find, b"/posts", target=target)
        target = FastCGITarget(document_root="/srv/public", front_controller="../secret.php")
        files = FakeFiles(links={b"/srv/public/../secret.php": b"/srv/secret.php"})
        self.assertRaises(ClientFault, find, b"/posts", target=target, files=files)

    def test_case(self) -> None:
        """No case is folded: letters that change their length in lower case move no split, and C{.PHP} is no script."""
        self.assertEqual(find(b"/INFO.PHP"), (b"/index.php", b""))
        self.assertEqual(
            list(split_path(b".php", "/\u0130\u0130.txt/a.php/b".encode())),
            [("/\u0130\u0130.txt/a.php".encode(), b"/b")],
        )

    def test_few_looks(self) -> None:
        """A path full of script names does not keep the disk busy."""
        files = FakeFiles(b"/srv/public/index.php")
        find(b"/a.php" * 2000, files=files)
        self.assertLess(files.looks, 5)

    def test_no_root(self) -> None:
        """A missing document root is our mistake, not the client's."""
        fault = self.assertRaises(ServerFault, find, b"/", target=FastCGITarget(document_root="/nowhere"))
        self.assertEqual(fault.status, 500)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"/",
                    b"..",
                    b".",
                    b"%2e",
                    b"%2F",
                    b"%5c",
                    b"info.php",
                    b"out.php",
                    b"x",
                    b"%00",
                    b"%0a",
                    b"secret.php",
                ]
            ),
            max_size=8,
        )
    )
    def test_jail(self, parts: list[bytes]) -> None:
        """Whatever is asked for, the script is within the document root, and nothing outside is looked at."""
        path = b"/" + b"".join(parts)
        asked: list[bytes] = []

        class Spy(FakeFiles):
            def look(self, path: bytes) -> Found | None:
                asked.append(path)
                return super().look(path)

        files = Spy(b"/srv/public/index.php", b"/srv/public/info.php")
        files.entries.update(DISK.entries)
        try:
            decoded = decode_path(path)
            found = find_script(TARGET, decoded, names_file(path, decoded), files)
        except ClientFault:
            found = None
        if isinstance(found, Script):
            self.assertTrue(found.filename.startswith(b"/srv/public/"), path)
        for each in asked:
            self.assertTrue(os.path.normpath(each).startswith(b"/srv/public"), each)


class BelowTests(SynchronousTestCase):
    """The path below a mount prefix."""

    def test_segments(self) -> None:
        """A prefix ends with its segment."""
        self.assertEqual(below(b"/blog", b"/blog/x"), b"/x")
        self.assertEqual(below(b"/blog", b"/blog"), b"/")
        self.assertEqual(below(b"/blog", b"/blogx"), b"/blogx")
        self.assertEqual(below(b"", b"/x"), b"/x")
