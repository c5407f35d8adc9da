"""Tests of L{tqserver.fastcgi.disk}."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import TestCase

from tqserver.errors import Fault, ScarceFault
from tqserver.fastcgi.disk import DiskFiles
from tqserver.fastcgi.scripts import Found, Script, find_script
from tqserver.plane.messages import FastCGITarget


class DiskFilesTests(TestCase):
    """Looking at the real disk."""

    def test_look(self) -> None:
        """Files and directories are found with their real paths; other things are not there."""
        root = os.path.realpath(self.mktemp())
        os.makedirs(f"{root}/a")
        with open(f"{root}/a/x.php", "w"):
            pass
        os.symlink(f"{root}/a", f"{root}/link")
        os.symlink("loop", f"{root}/loop")
        os.mkfifo(f"{root}/pipe")
        files = DiskFiles()
        self.assertEqual(files.look(f"{root}/link/x.php".encode()), Found(False, f"{root}/a/x.php".encode()))
        self.assertEqual(files.look(f"{root}/link".encode()), Found(True, f"{root}/a".encode()))
        for path in (f"{root}/none", f"{root}/a/x.php/y", f"{root}/loop", f"{root}/pipe", f"{root}/" + "x" * 300):
            self.assertIsNone(files.look(path.encode()), path)

    def test_jail(self) -> None:
        """A link out of the document root leads nowhere; a document root that is itself a link is fine."""
        root = os.path.realpath(self.mktemp())
        os.makedirs(f"{root}/releases/1")
        for name in ("secret.php", "releases/1/index.php"):
            with open(f"{root}/{name}", "w"):
                pass
        os.symlink("../../secret.php", f"{root}/releases/1/out.php")
        os.symlink("releases/1", f"{root}/current")
        target = FastCGITarget(document_root=f"{root}/current")
        found = find_script(target, b"/index.php", True, DiskFiles())
        self.assertEqual(
            found,
            Script(f"{root}/releases/1".encode(), f"{root}/releases/1/index.php".encode(), b"/index.php"),
        )
        self.assertRaises(Fault, find_script, target, b"/out.php", True, DiskFiles())

    def test_identity(self) -> None:
        """A file is another one when it was written to, replaced, moved or removed; what it is called says nothing."""
        root = os.path.realpath(self.mktemp())
        os.makedirs(root)
        files = DiskFiles()
        path = f"{root}/x.php".encode()

        def write(name: str, text: str) -> None:
            with open(f"{root}/{name}", "w") as file:
                file.write(text)

        self.assertIsNone(files.identity(path))
        self.assertFalse(files.exists(path))
        write("x.php", "one")
        seen = [files.identity(path)]
        self.assertTrue(files.exists(path))
        self.assertEqual(files.identity(path), seen[0])
        os.symlink("x.php", f"{root}/link.php")
        self.assertEqual(files.identity(f"{root}/link.php".encode()), seen[0])
        write("y.php", "two")
        os.replace(f"{root}/y.php", f"{root}/x.php")
        seen.append(files.identity(path))
        os.remove(path)
        os.symlink("/etc/hostname", path)
        seen.append(files.identity(path))
        self.assertEqual(len(set(seen)), 3)
        os.remove(path)
        self.assertIsNone(files.identity(path))

    def test_no_descriptors(self) -> None:
        """When there are no descriptors left, a script is not said to be missing."""

        def refuse(path: bytes, flags: int) -> int:
            raise OSError(errno.EMFILE, "too many open files")

        self.patch(os, "open", refuse)
        self.assertRaises(ScarceFault, DiskFiles().look, b"/")
