"""
The access log: a line for each exchange that has ended, collected in memory and written in batches.

Several fronts append to one file, each batch with a single C{write(2)}, so lines never mix. Whatever a
client sent is escaped, so that nobody can forge a line. A log that cannot be written costs its lines and
nothing else: they are counted, and the trouble is told once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .access_line import Entry, compile_format
from .exchange import IExchange

FLUSH_S = 0.2
"""A line is in the file this long after it was made, at the latest; who watches the log does not notice."""

BATCH_BYTES_MAX = 64 * 1024
"""More than this is written at once, whatever the time."""


class AccessLog:
    """
    Writes the access log.

    @ivar dropped: lines that could not be written since the log was made.
    """

    _log = Logger()

    def __init__(
        self,
        path_template: str,
        format: str,
        reactor: IReactorTime,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        @param path_template: absolute path; C{{date}} in it is the local date and turns with it.
        @param format: C{combined}, C{json} or a template, see L{compile_format}.
        @param now: seconds since the epoch.
        @raise ValueError: the format has a mistake.
        """
        self.dropped = 0
        self._path_template = path_template
        self._line = compile_format(format)
        self._reactor = reactor
        self._now = now
        self._second = -1
        self._path = ""
        self._entry = Entry(reactor.seconds)
        self._lines: list[bytes] = []
        self._bytes = 0
        self._call: IDelayedCall | None = None
        self._fd = -1
        self._open_path = ""
        self._torn = False
        self._failing = False
        self._dropped_before = 0
        self._closed = False

    def log(self, exchange: IExchange, worker: str, endpoint: str, upstream_s: float) -> None:
        """
        Note an exchange that has ended.

        @param worker: the worker it was for, or empty.
        @param endpoint: the endpoint that answered, or empty.
        @param upstream_s: seconds that the worker took.
        """
        if self._closed:
            return
        now = self._now()
        if not 0.0 <= now - self._second < 1.0:
            self._turn(int(now))
        entry = self._entry
        entry.now = now
        entry.exchange = exchange
        entry.worker = worker
        entry.endpoint = endpoint
        entry.upstream_s = upstream_s
        line = self._line(entry)
        entry.exchange = None
        self._lines.append(line)
        self._bytes += len(line)
        if self._bytes >= BATCH_BYTES_MAX:
            self.flush()
        elif self._call is None:
            self._call = self._reactor.callLater(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what has been collected."""
        if self._call is not None:
            if self._call.active():
                self._call.cancel()
            self._call = None
        if not self._lines:
            return
        lines, self._lines, self._bytes = self._lines, [], 0
        batch = b"".join(lines)
        if self._torn:
            # An earlier batch ended in the middle of a line.
            batch = b"\n" + batch
        try:
            self._write(batch)
        except OSError as error:
            self._failed(len(lines), error)
        else:
            self._mended()

    def reopen(self) -> None:
        """Begin a new file if the old one was moved away."""
        self.flush()
        self._close_file()

    def close(self) -> None:
        """Write what has been collected, and end. Nothing is noted any more."""
        self.flush()
        self._close_file()
        self._closed = True

    def _turn(self, second: int) -> None:
        """Once a second: the time as it is written, and whether the date has turned."""
        self._second = second
        local = self._entry.set_second(second)
        path = self._path_template.replace("{date}", time.strftime("%Y-%m-%d", local))
        if path != self._path:
            self.flush()
            self._path = path

    def _write(self, batch: bytes) -> None:
        """
        Append a batch.

        @raise OSError: all or the rest of it could not be written.
        """
        if self._fd < 0 or self._open_path != self._path:
            self._open()
        written = os.write(self._fd, batch)
        if written < len(batch):
            # A disk that is nearly full takes a part; a second try tells why.
            self._torn = not batch[:written].endswith(b"\n")
            written += os.write(self._fd, batch[written:])
            if written < len(batch):
                raise OSError("the file took only a part of it")
        self._torn = False

    def _open(self) -> None:
        self._close_file()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            self._fd = os.open(self._path, flags, 0o640)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._fd = os.open(self._path, flags, 0o640)
        self._open_path = self._path

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        self._torn = False
        if fd >= 0:
            try:
                os.close(fd)
            except OSError as error:
                # Network file systems tell here that earlier writes were lost.
                self._log.warn("The access log {path} was not closed well: {error}", path=self._open_path, error=error)

    def _failed(self, lines: int, error: OSError) -> None:
        self.dropped += lines
        if not self._failing:
            self._failing = True
            self._dropped_before = self.dropped - lines
            self._log.error(
                "The access log {path} cannot be written, lines are dropped: {error}", path=self._path, error=error
            )

    def _mended(self) -> None:
        if self._failing:
            self._failing = False
            self._log.info(
                "The access log {path} is written again; {dropped} lines were dropped.",
                path=self._path,
                dropped=self.dropped - self._dropped_before,
            )
