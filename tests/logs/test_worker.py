"""What workers say."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.logs import LogFile, WorkerLog
from tqserver.logs.worker import FOLLOWERS_MAX, TAIL_RECORD_CHARACTERS_MAX, TAIL_RECORDS_MAX
from tqserver.printable import printable, printable_text

NOW = 1795342272.123
PREFIX = "2026-11-22T10:11:12.123Z api.3.1 stdout "


class Records(SynchronousTestCase):
    """One line, one record."""

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.file = LogFile(self.path, lambda: NOW)
        self.addCleanup(self.file.close)
        self.log = WorkerLog(self.file, lambda: NOW)

    def test_record(self) -> None:
        """A record tells when, who, where and what."""
        self.log.write("api.3.1", "stdout", [b"hello", "tab\tand ü".encode()])
        self.log.write("api.3.1", "stdout", [])
        with open(self.path, encoding="utf-8") as file:
            self.assertEqual(file.read(), f"{PREFIX}hello\n{PREFIX}tab\tand ü\n")
        self.assertEqual(self.log.tail(), (f"{PREFIX}hello", f"{PREFIX}tab\tand ü"))

    def test_no_file(self) -> None:
        """A worker without a log file is heard all the same."""
        log = WorkerLog(None, lambda: NOW)
        log.write("api.3.1", "stdout", [b"x"])
        log.reopen()
        log.close()
        self.assertEqual(log.tail(), (f"{PREFIX}x",))

    def test_tail_is_bounded(self) -> None:
        """Only so many records are kept, and so much of each."""
        self.log.write("api.3.1", "stdout", [b"x" * 10_000] * (TAIL_RECORDS_MAX + 5))
        self.assertEqual([len(record) for record in self.log.tail()], [TAIL_RECORD_CHARACTERS_MAX] * TAIL_RECORDS_MAX)

    def test_move(self) -> None:
        """A changed log_file holds from the next record on."""
        other = os.path.abspath(self.mktemp())
        self.log.write("api.3.1", "stdout", [b"old"])
        self.log.move(LogFile(other, lambda: NOW))
        self.addCleanup(self.log.close)
        self.log.write("api.3.1", "stdout", [b"new"])
        with open(other) as file:
            self.assertEqual(file.read(), f"{PREFIX}new\n")
        self.assertIsNone(self.file._fd)

    def test_followers(self) -> None:
        """I can follow a log, and leave."""
        heard: list[Sequence[str]] = []
        leave = self.log.follow(heard.append)
        self.log.write("api.3.1", "stdout", [b"a", b"b"])
        leave()
        leave()
        self.log.write("api.3.1", "stdout", [b"c"])
        self.assertEqual(heard, [[f"{PREFIX}a", f"{PREFIX}b"]])

    def test_bad_follower(self) -> None:
        """A follower that fails is dropped; the others and the file miss nothing."""
        heard: list[str] = []

        def fail(records: Sequence[str]) -> None:
            raise RuntimeError("no")

        self.log.follow(fail)
        self.log.follow(heard.extend)
        self.log.write("api.3.1", "stdout", [b"a"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.log.write("api.3.1", "stdout", [b"b"])
        self.assertEqual(heard, [f"{PREFIX}a", f"{PREFIX}b"])

    def test_too_many_followers(self) -> None:
        """There is a limit, and it is told."""
        for _ in range(FOLLOWERS_MAX):
            self.log.follow(lambda records: None)
        self.assertRaises(ValueError, self.log.follow, lambda records: None)


class Escaping(SynchronousTestCase):
    """No worker speaks to my terminal."""

    def test_controls(self) -> None:
        """Control characters, broken UTF-8 and turns of the writing direction are shown as what they are."""
        self.assertEqual(printable(b"\x1b[2J\r\x07\x00\x7f\xff"), "\\x1b[2J\\x0d\\x07\\x00\\x7f\\xff")
        self.assertEqual(printable("\x9b31m \u202e \u2028".encode()), "\\x9b31m \\u202e \\u2028")
        self.assertEqual(printable("plain, ümläut, 漢字, tab\t, \\".encode()), "plain, ümläut, 漢字, tab\t, \\")
        self.assertEqual(printable_text("\ud800\n"), "\\ud800\\x0a")

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.one_of(st.binary(max_size=40), st.text(max_size=20).map(lambda text: text.encode())))
    def test_any_bytes(self, line: bytes) -> None:
        """Whatever comes, the result is one line, without controls, that can be encoded."""
        text = printable(line)
        self.assertEqual(len(text.splitlines()), 1 if text else 0)
        self.assertFalse([c for c in text if c != "\t" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0)])
        text.encode("utf-8")
