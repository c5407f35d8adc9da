"""Tests of L{tqserver.fastcgi.spool} and L{tqserver.fastcgi.stderr}."""

from __future__ import annotations

import errno
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tqserver.errors import ServerFault
from tqserver.fastcgi.spool import MEMORY_BYTES_MAX, READ_BYTES, BodySpool
from tqserver.fastcgi.stderr import LINE_BYTES_MAX, SAID_BYTES_MAX, ErrorLines


class BodySpoolTests(TestCase):
    """Keeping a body."""

    def test_repeats(self) -> None:
        """A body of any size can be read again and again, and leaves nothing behind."""
        directory = self.mktemp()
        os.mkdir(directory)
        for size in (0, 1, READ_BYTES, MEMORY_BYTES_MAX, 300_000):
            body = os.urandom(size)
            spool = BodySpool(directory)
            for at in range(0, size, 10_000):
                spool.write(body[at : at + 10_000])
            self.assertEqual(spool.size, size)
            for _ in range(2):
                spool.rewind()
                read = b""
                while data := spool.read():
                    self.assertLessEqual(len(data), READ_BYTES)
                    read += data
                self.assertEqual(read, body)
            self.assertEqual(os.listdir(directory), [])
            spool.close()

    def test_full_disk(self) -> None:
        """A full disk is 507, another failure 500."""
        for number, status in ((errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 500)):
            spool = BodySpool(None)

            def fail(data: bytes, number: int = number) -> int:
                raise OSError(number, os.strerror(number))

            self.patch(spool._file, "write", fail)
            fault = self.assertRaises(ServerFault, spool.write, b"x")
            self.assertEqual(fault.status, status)
            spool.close()

    def test_no_directory(self) -> None:
        """A directory that is not there is noticed when a body becomes large."""
        spool = BodySpool("/nonexistent/directory")
        spool.write(b"x")
        self.assertRaises(ServerFault, spool.write, bytes(MEMORY_BYTES_MAX))
        spool.close()


class ErrorLinesTests(SynchronousTestCase):
    """What a script complains of."""

    def setUp(self) -> None:
        self.said: list[str] = []
        self.lines = ErrorLines(self.said.append)

    def test_lines(self) -> None:
        """Lines are told when they are whole, the last one at the end; php-fpm's messages are lines, too."""
        self.lines.add(b"one\r\ntw")
        self.assertEqual(self.said, ["one"])
        self.lines.add(b"o\n\nPHP message: three; PHP message: fo")
        self.lines.add("ur \u00fc".encode() + b"\xff")
        self.lines.end()
        self.assertEqual(self.said, ["one", "two", "PHP message: three", "four \u00fc\ufffd"])

    def test_long(self) -> None:
        """A long line is told in pieces."""
        self.lines.add(b"x" * (2 * LINE_BYTES_MAX + 1))
        self.lines.end()
        self.assertEqual([len(line) for line in self.said], [LINE_BYTES_MAX, LINE_BYTES_MAX, 1])

    def test_flood(self) -> None:
        """A request that does not stop complaining is not listened to for ever."""
        for _ in range(100):
            self.lines.add(b"y" * 10_000 + b"\n")
        self.lines.end()
        self.assertLess(sum(map(len, self.said)), SAID_BYTES_MAX + 20_000)
        self.assertIn("left out", self.said[-1])

    @settings(derandomize=True, deadline=None, max_examples=50)
    @given(st.text(alphabet="a\n", max_size=40), st.lists(st.integers(1, 9), max_size=9))
    def test_split(self, text: str, cuts: list[int]) -> None:
        """However the bytes are split, the lines are the same."""
        said: list[str] = []
        lines = ErrorLines(said.append)
        data = text.encode()
        at = 0
        for cut in cuts:
            lines.add(data[at : at + cut])
            at += cut
        lines.add(data[at:])
        lines.end()
        self.assertEqual(said, [line for line in text.split("\n") if line])
