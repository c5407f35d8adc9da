"""
A log file: whole lines at its end, a new one when the date turns, and no trouble for whoever writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

from twisted.logger import Logger

RETRY_S = 5.0
"""
After a failure, this many seconds pass before the file is tried again: a full disk is not mended in less.
"""

FILE_MODE = 0o640
"""Logs hold addresses and whatever workers say; others have no business with them."""


def timestamp(seconds: float) -> str:
    """
    A moment as all our logs write it: UTC in ISO 8601, to the millisecond.

    @param seconds: since the epoch.
    """
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milliseconds:03d}Z"


class LogFile:
    """
    Lines at the end of a file.

    The file is opened for appending, and each batch of lines is one C{write}, so that several processes may
    write to one file without mixing their lines (write(2)). Nothing here raises.

    @ivar path: the file as it is named now; empty before the first write.
    @ivar lines_lost: how many lines could not be written, ever.
    """

    _log = Logger()

    def __init__(self, path_template: str, now: Callable[[], float] = time.time, name: str = "") -> None:
        """
        @param path_template: absolute path; C{{date}} in it stands for the local date (YYYY-MM-DD), C{{name}}
            for C{name}. Its folder is made when it is needed.
        @param now: the time of day, in seconds since the epoch.
        """
        self.path = ""
        self.lines_lost = 0
        self._template = path_template.replace("{name}", name)
        self._now = now
        self._fd: int | None = None
        self._day: tuple[float, float] = (0.0, 0.0)
        self._retry_at: float | None = None
        self._lost_before = 0

    def write(self, lines: Sequence[str]) -> None:
        """Write lines, given without line ends."""
        now = self._now()
        if not self._ready(now):
            self.lines_lost += len(lines)
            return
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        try:
            written = os.write(self._fd, data)  # type: ignore[arg-type]
        except OSError as error:
            self._failed(error, now, len(lines))
            return
        if written < len(data):
            # Of a regular file this means that the disk is full (write(2)). What fitted may end within a
            # line.
            self._failed(OSError(0, "the disk is full"), now, data.count(b"\n", written))
            return
        if self._retry_at is not None:
            self._mended()

    def reopen(self) -> None:
        """Close the file, so that the next line opens it anew: whoever rotates logs has moved it away."""
        self.close()
        self._retry_at = None

    def close(self) -> None:
        """Close the file. A later write would open it again."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            os.close(fd)
        except OSError as error:
            # A network file system may report here that it lost what was written.
            self._log.error("log file {path} was not closed well: {error}", path=self.path, error=error)

    def _ready(self, now: float) -> bool:
        """Have the file of this day open, if that is possible."""
        if not self._day[0] <= now < self._day[1]:
            self._turn(now)
        if self._fd is not None:
            return True
        if self._retry_at is not None and self._retry_at - RETRY_S <= now < self._retry_at:
            return False
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            # Not to block on a pipe that nobody reads, should somebody have put one there.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            self._fd = os.open(self.path, flags, FILE_MODE)
        except OSError as error:
            self._failed(error, now, 0)
            return False
        return True

    def _turn(self, now: float) -> None:
        """Another day: find out when it began and when it ends, and what the file is called."""
        self.close()
        today = datetime.fromtimestamp(now).date()
        self._day = (_midnight(today), _midnight(today + timedelta(days=1)))
        self.path = self._template.replace("{date}", today.isoformat())

    def _failed(self, error: OSError, now: float, lines: int) -> None:
        """Lines could not be written. Say so once, and try again later."""
        first = self._retry_at is None
        self._retry_at = now + RETRY_S
        self.lines_lost += lines
        self.close()
        if first:
            # Last of all: this may come back to us as a line to write.
            self._lost_before = self.lines_lost - lines
            self._log.error(
                "log file {path} cannot be written: {reason}; its lines are lost until it can",
                path=self.path,
                reason=error.strerror,
            )

    def _mended(self) -> None:
        """It works again."""
        self._retry_at = None
        self._log.info(
            "log file {path} can be written again; {lost} lines were lost",
            path=self.path,
            lost=self.lines_lost - self._lost_before,
        )


def _midnight(day: date) -> float:
    """
    When a day begins here, in seconds since the epoch; days with a change of the clock are not 24 hours.
    """
    return datetime(day.year, day.month, day.day).timestamp()
