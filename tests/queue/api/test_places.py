"""Tests of L{tqserver.queue.api.places}."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ClientFault, Fault, ServerFault
from tqserver.queue.api.places import TEMPORARY, folder_of, open_to_read, parts_of, replacing


class PlacesTests(SynchronousTestCase):
    """Files below a folder."""

    def setUp(self) -> None:
        self.outside = Path(self.mktemp())
        self.outside.mkdir(parents=True)
        self.data = self.outside / "data"
        (self.data / "sub").mkdir(parents=True)

    def read(self, name: str) -> bytes:
        parts = parts_of(name)
        with folder_of(str(self.data), parts) as folder:
            fd = open_to_read(folder, parts[-1])
            with open(fd, "rb") as file:
                return file.read()

    def write(self, name: str, data: bytes) -> None:
        parts = parts_of(name)
        with folder_of(str(self.data), parts) as folder, replacing(folder, parts[-1]) as fd:
            os.write(fd, data)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.data))

    def test_there_and_back(self) -> None:
        """A file is written and read, in the folder or below it, and only we may read it."""
        for name in ("a.json", "sub/a.json", "ä ö", "..a", "a..", "-"):
            self.write(name, b"old and long")
            self.write(name, b"new")
            self.assertEqual(self.read(name), b"new")
        self.assertEqual((self.data / "a.json").stat().st_mode & 0o777, 0o600)
        self.assertFalse([name for name in self.names() if name.startswith(TEMPORARY)])

    def test_names(self) -> None:
        """What leads elsewhere, or might, is no name."""
        for name in (
            "",
            "/",
            "/etc/passwd",
            ".",
            "..",
            "../a",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\0b",
            "a" * 256,
            "x/" * 20,
        ):
            self.assertRaises(ClientFault, parts_of, name)
        self.assertRaises(ClientFault, parts_of, f"{TEMPORARY}x")

    @given(st.text(alphabet="./a\0\\", max_size=12))
    def test_stays_inside(self, name: str) -> None:
        """However a name is made, nothing outside is reached."""
        (self.outside / "a").write_bytes(b"outside")
        try:
            self.assertNotEqual(self.read(name), b"outside")
        except Fault:
            pass
        except OSError:
            self.fail("an error that nobody expects")

    def test_links(self) -> None:
        """A symbolic link is not followed, neither as the file nor on the way."""
        (self.outside / "secret").write_bytes(b"secret")
        (self.data / "link").symlink_to(self.outside / "secret")
        (self.data / "way").symlink_to(self.outside)
        (self.data / "loop").symlink_to("loop")
        for name in ("link", "way/secret", "loop"):
            self.assertRaises(ClientFault, self.read, name)
            self.assertRaises(ClientFault, self.write, name, b"x")
        self.assertEqual((self.outside / "secret").read_bytes(), b"secret")

    def test_no_file(self) -> None:
        """Folders and pipes are no files; nobody waits for them."""
        os.mkfifo(self.data / "pipe")
        for name in ("sub", "pipe"):
            self.assertRaises(ClientFault, self.read, name)
            self.assertRaises(ClientFault, self.write, name, b"x")
        self.write("file", b"")
        self.assertRaises(ClientFault, self.read, "file/x")

    def test_missing(self) -> None:
        """What is not there is said, with the reason."""
        for name in ("nothing", "nowhere/nothing"):
            fault = self.assertRaises(ServerFault, self.read, name)
            self.assertEqual((fault.status, "No such file" in fault.reason), (500, True))

    def test_failed(self) -> None:
        """A file that could not be written whole is as it was, and nothing is left behind."""
        self.write("a", b"old")

        def fail() -> None:
            with folder_of(str(self.data), ["a"]) as folder, replacing(folder, "a") as fd:
                os.write(fd, b"ne")
                raise OSError(28, "No space left on device")

        self.assertIn("No space left", self.assertRaises(ServerFault, fail).reason)
        self.assertEqual((self.read("a"), self.names()), (b"old", ["a", "sub"]))

    def test_left(self) -> None:
        """What somebody who was killed left half written is removed; what somebody still writes is not."""
        (self.data / f"{TEMPORARY}dead").write_bytes(b"x")
        with (self.data / f"{TEMPORARY}live").open("wb") as live:
            fcntl.flock(live, fcntl.LOCK_EX)
            self.write("a", b"")
            self.assertEqual(self.names(), [f"{TEMPORARY}live", "a", "sub"])
