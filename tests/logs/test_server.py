"""What the server says."""

from __future__ import annotations

import io
import logging
import os
import re

from twisted.logger import Logger, LogPublisher
from twisted.python import log as legacy
from twisted.trial.unittest import SynchronousTestCase

from tqserver.logs import LogFile, server_observer
from tqserver.logs.server import EVENT_LINES_MAX

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


class Observing(SynchronousTestCase):
    """Events become lines."""

    def setUp(self) -> None:
        self.stdout = io.StringIO()
        self.path = os.path.abspath(self.mktemp())
        self.observer = server_observer(LogFile(self.path), False, self.stdout)
        self.addCleanup(self.observer.close)
        self.log = Logger(namespace="tqserver.test", observer=self.observer)

    def lines(self) -> list[str]:
        """The lines so far, which are the same in file and stream, without their time."""
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(text, self.stdout.getvalue())
        return [STAMP.sub("", line) for line in text.splitlines()]

    def test_line(self) -> None:
        """A line tells when, how bad, who and what."""
        self.log.info("worker {name} is ready", name="api")
        self.log.error("no")
        self.log.debug("not told")
        self.assertEqual(self.lines(), ["info     tqserver.test: worker api is ready", "error    tqserver.test: no"])
        self.assertTrue(STAMP.match(self.stdout.getvalue()))

    def test_traceback(self) -> None:
        """A failure comes with its traceback, indented."""
        try:
            raise ValueError("oops")
        except ValueError:
            self.log.failure("it broke")
        first, *others = self.lines()
        self.assertEqual(first, "critical tqserver.test: it broke")
        self.assertTrue(all(line.startswith("    ") for line in others))
        self.assertTrue(others[0].startswith("    Traceback"))
        self.assertIn("oops", others[-1])

    def test_no_forged_lines(self) -> None:
        """What comes from outside can neither begin a line of its own nor speak to my terminal."""
        self.log.info("path {path}", path="/\n2026-01-01T00:00:00.000Z info root: all is well\x1b[2J")
        self.assertEqual(
            self.lines(),
            ["info     tqserver.test: path /", "    2026-01-01T00:00:00.000Z info root: all is well\\x1b[2J"],
        )

    def test_endless_event(self) -> None:
        """Of an endless text the beginning and the end are written."""
        self.log.info("{text}", text="\n".join(map(str, range(10_000))))
        lines = self.lines()
        self.assertEqual(len(lines), EVENT_LINES_MAX + 2)
        self.assertEqual(lines[-1], "    9999")

    def test_legacy(self) -> None:
        """Warnings of the old logging system are lines, too; what it remarks in passing is not."""
        publisher = LogPublisher(self.observer)
        old = legacy.LogPublisher(publisher, publisher)
        old.msg("a factory stops", system="old")
        old.msg("old news", system="old", logLevel=logging.WARNING)
        self.assertEqual(len(self.lines()), 1, self.lines())
        self.assertTrue(self.lines()[0].endswith(": old news"), self.lines())

    def test_quiet(self) -> None:
        """With --quiet nothing is printed, and everything is in the file."""
        stdout = io.StringIO()
        observer = server_observer(LogFile(self.path), True, stdout)
        self.addCleanup(observer.close)
        Logger(namespace="x", observer=observer).info("hello")
        self.assertEqual(stdout.getvalue(), "")
        with open(self.path) as file:
            self.assertIn("hello", file.read())

    def test_no_file(self) -> None:
        """Without a log file there is the stream alone; what its encoding does not know is escaped."""
        raw = io.BytesIO()
        observer = server_observer(None, False, io.TextIOWrapper(raw, "ascii"))
        Logger(namespace="x", observer=observer).info("ü")
        observer.reopen()
        observer.close()
        self.assertTrue(raw.getvalue().endswith(b"x: \\xfc\n"))

    def test_stream_breaks(self) -> None:
        """When my terminal has gone the server goes on, and the file says so once."""

        class Broken(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError(32, "Broken pipe")

        observer = server_observer(LogFile(self.path), False, Broken())
        self.addCleanup(observer.close)
        log = Logger(namespace="x", observer=observer)
        log.info("one")
        log.info("two")
        with open(self.path) as file:
            texts = [line.partition(": ")[2] for line in file.read().splitlines()]
        self.assertEqual(texts, ["one", "stdout cannot be written any more", "two"])
