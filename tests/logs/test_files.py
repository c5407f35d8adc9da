"""Log files."""

from __future__ import annotations

import errno
import os
import time

from twisted.logger import Logger
from twisted.logger import globalLogPublisher as publisher
from twisted.trial.unittest import SynchronousTestCase

from tqserver.logs.files import RETRY_S, LogFile, timestamp

NOON = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))


class FileCase(SynchronousTestCase):
    """A folder, a clock, and what is logged about the logs."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.now = NOON
        self.events: list[str] = []

        def observe(event: dict[str, object]) -> None:
            if event.get("log_namespace") == "tqserver.logs.files.LogFile":
                self.events.append(str(event["log_format"]).partition(" {path} ")[2][:14])

        publisher.addObserver(observe)
        self.addCleanup(publisher.removeObserver, observe)

    def file(self, template: str = "a_{date}.log", name: str = "") -> LogFile:
        """A log file in the folder."""
        file = LogFile(os.path.join(self.folder, template), lambda: self.now, name)
        self.addCleanup(file.close)
        return file

    def read(self, name: str) -> str:
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return file.read()


class Names(FileCase):
    """What the file is called."""

    def test_date_and_name(self) -> None:
        """The name holds the date and the worker; the folder is made."""
        self.file("deep/worker_{name}_{date}.log", name="api").write(["one", "two"])
        self.assertEqual(self.read("deep/worker_api_2026-11-22.log"), "one\ntwo\n")

    def test_turn(self) -> None:
        """At midnight a new file begins, and again the day after, and not in between."""
        file = self.file()
        for hours, line in ((0, "noon"), (11.999, "late"), (12, "midnight"), (35.9, "next"), (36, "third")):
            self.now = NOON + hours * 3600
            file.write([line])
        self.assertEqual(self.read("a_2026-11-22.log"), "noon\nlate\n")
        self.assertEqual(self.read("a_2026-11-23.log"), "midnight\nnext\n")
        self.assertEqual(self.read("a_2026-11-24.log"), "third\n")

    def test_day_with_change_of_the_clock(self) -> None:
        """A day of 25 hours is one day."""
        self.addCleanup(time.tzset)
        zone = os.environ.get("TZ")
        self.addCleanup(os.environ.pop if zone is None else os.environ.__setitem__, "TZ", *filter(None, [zone]))
        os.environ["TZ"] = "Europe/Berlin"
        time.tzset()
        file = self.file()
        for hour, line in ((0, "first hour"), (23, "last hour")):
            self.now = time.mktime((2026, 10, 25, hour, 30, 0, 0, 0, -1))
            file.write([line])
        self.assertEqual(self.read("a_2026-10-25.log"), "first hour\nlast hour\n")
        self.assertEqual(os.listdir(self.folder), ["a_2026-10-25.log"])

    def test_clock_set_back(self) -> None:
        """When the clock is set back to yesterday, lines go to yesterday's file."""
        file = self.file()
        file.write(["today"])
        self.now -= 86400
        file.write(["yesterday"])
        self.assertEqual(self.read("a_2026-11-21.log"), "yesterday\n")

    def test_timestamp(self) -> None:
        """Moments are written in UTC, to the millisecond."""
        self.assertEqual(timestamp(1795342272.123), "2026-11-22T10:11:12.123Z")
        self.assertEqual(timestamp(0.9999), "1970-01-01T00:00:00.999Z")


class Writing(FileCase):
    """What is in it."""

    def test_appended(self) -> None:
        """What was there stays; several may write to one file."""
        first, second = self.file(), self.file()
        first.write(["one"])
        second.write(["two"])
        first.write(["three ü \udcff"])
        self.assertEqual(self.read("a_2026-11-22.log"), "one\ntwo\nthree ü \\udcff\n")

    def test_one_write(self) -> None:
        """A batch is one system call."""
        file = self.file()
        file.write(["first"])
        calls: list[bytes] = []
        self.patch(os, "write", lambda fd, data: calls.append(data) or len(data))
        file.write(["a", "b", "c"])
        self.assertEqual(calls, [b"a\nb\nc\n"])

    def test_not_inherited(self) -> None:
        """No worker inherits the file, and others may not read it."""
        file = self.file()
        file.write(["x"])
        self.assertFalse(os.get_inheritable(file._fd))
        self.assertEqual(os.stat(file.path).st_mode & 0o007, 0)

    def test_reopen(self) -> None:
        """After logrotate has moved the file and sent USR1, lines go to a new one."""
        file = self.file()
        file.write(["old"])
        os.rename(file.path, file.path + ".1")
        file.write(["still old"])
        file.reopen()
        file.write(["new"])
        self.assertEqual(self.read("a_2026-11-22.log"), "new\n")
        self.assertEqual(self.read("a_2026-11-22.log.1"), "old\nstill old\n")

    def test_closed(self) -> None:
        """Turning, reopening and closing leave no descriptor open."""
        before = len(os.listdir("/proc/self/fd"))
        file = self.file()
        for day in range(5):
            self.now = NOON + day * 86400
            file.write(["x"])
            file.reopen()
        file.write(["x"])
        file.close()
        file.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class Failing(FileCase):
    """Logs in trouble trouble nobody."""

    def test_cannot_be_opened(self) -> None:
        """
        A folder that is a file costs lines, is told once, tried again later, and told when it is mended.
        """
        with open(self.folder, "w"):
            pass
        file = self.file()
        for _ in range(3):
            file.write(["lost", "lost"])
        self.assertEqual(file.lines_lost, 6)
        self.assertEqual(self.events, ["cannot be writ"])
        os.unlink(self.folder)
        self.now += RETRY_S - 0.1
        file.write(["lost"])
        self.now += 0.1
        file.write(["found"])
        file.write(["and again"])
        self.assertEqual(self.read("a_2026-11-22.log"), "found\nand again\n")
        self.assertEqual(file.lines_lost, 7)
        self.assertEqual(self.events, ["cannot be writ", "can be written"])

    def test_disk_is_full(self) -> None:
        """A write that fails, or is cut short, is told once, and its lines are counted."""
        file = self.file()
        file.write(["first"])
        real = os.write

        def full(fd: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, "write", full)
        file.write(["lost"])
        self.patch(os, "write", lambda fd, data: real(fd, data[:5]))
        self.now += RETRY_S
        file.write(["kept", "lost", "lost"])
        self.patch(os, "write", real)
        self.assertEqual(file.lines_lost, 3)
        self.assertEqual(self.events, ["cannot be writ"])
        self.now += RETRY_S
        file.write(["well"])
        self.assertEqual(self.read("a_2026-11-22.log"), "first\nkept\nwell\n")

    def test_its_own_trouble(self) -> None:
        """A file that takes down the server's log, and so its own troubles, does not run in circles."""
        with open(self.folder, "w"):
            pass
        file = self.file()

        def observe(event: dict[str, object]) -> None:
            file.write([str(event["log_format"])])

        publisher.addObserver(observe)
        self.addCleanup(publisher.removeObserver, observe)
        Logger().info("something")
        self.assertEqual(file.lines_lost, 2)
        os.unlink(self.folder)
        self.now += RETRY_S
        Logger().info("something else")
        self.assertEqual(len(self.read("a_2026-11-22.log").splitlines()), 2)

    def test_pipe_without_reader(self) -> None:
        """A named pipe that nobody reads does not stop the server."""
        os.mkdir(self.folder)
        file = self.file("pipe")
        os.mkfifo(os.path.join(self.folder, "pipe"))
        file.write(["lost"])
        self.assertEqual(file.lines_lost, 1)
