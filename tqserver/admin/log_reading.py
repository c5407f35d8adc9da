"""The logs, as an operator reads them: the last lines of each, and what comes after."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from attrs import frozen
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from ..config.model import Project
from ..logs.files import timestamp
from ..logs.server import event_lines, worth_telling
from ..logs.tail import last_lines
from ..logs.workers import WorkerLogs

LINES_MAX = 10_000
LINES_USUAL = 100

_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(s|m|h|d)?", re.ASCII)
_UNITS_S = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


MOMENT_CHARACTERS = len("2026-11-25T10:00:00.000Z")
"""Our logs begin each record with its moment."""


class LogFault(Exception):
    """A log that cannot be read as it was asked for: the message says why."""

    def __init__(self, reason: str, unknown: bool = False) -> None:
        super().__init__(reason)
        self.unknown = unknown


@frozen
class Wanted:
    """
    Which lines.

    @ivar since: a moment as our logs write it, or empty.
    """

    lines: int = LINES_USUAL
    since: str = ""
    containing: str = ""


Take = Callable[[Sequence[str]], None]
Read = Callable[[str, Wanted], "Deferred[list[str]]"]
Listen = Callable[[str, Take], Callable[[], None]]


class Followed:
    """
    Some logs that somebody follows: their last lines in the order of their times, and then what comes. What comes
    before it has begun is kept.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._past: list[Deferred[list[str]]] = []
        self._early: dict[str, deque[str]] = {}
        self._leaving: list[Callable[[], None]] = []
        self._tell: Callable[[str, str], None] | None = None

    def listen(self, name: str, read: Read, listen: Listen) -> None:
        """
        Follow one more log.

        @param read: reads its last lines.
        @param listen: has new lines handed over; gives what ends that.
        """
        early = self._early[name] = deque(maxlen=LINES_MAX)

        def take(lines: Sequence[str]) -> None:
            for line in lines:
                if self._wanted.containing not in line:
                    continue
                if self._tell is None:
                    early.append(line)
                else:
                    self._tell(name, line)

        self._leaving.append(listen(name, take))
        self._past.append(read(name, self._wanted).addErrback(_unread) if self._wanted.lines else succeed([]))

    def begin(self, tell: Callable[[str, str], None]) -> None:
        """
        Hand over the last lines as soon as they are read, and then what comes.

        @param tell: called with a log's name and a line.
        """

        def told(past: list[list[str]]) -> None:
            dated = []
            for name, lines in zip(self._early, past, strict=True):
                moment = ""
                for line in _joined(lines, list(self._early[name])):
                    # Lines without a date, such as those of a traceback, belong to the one before.
                    moment = line[:MOMENT_CHARACTERS] if line[:4].isdigit() else moment
                    dated.append((moment, name, line))
            self._early.clear()
            self._tell = tell
            dated.sort(key=lambda entry: entry[0])
            for _, name, line in dated[max(0, len(dated) - self._wanted.lines) :]:
                tell(name, line)

        gatherResults(self._past).addCallback(told)

    def leave(self) -> None:
        """Follow no more."""
        while self._leaving:
            self._leaving.pop()()


class Logs:
    """All logs of a server."""

    def __init__(
        self,
        project: Callable[[], Project],
        workers: WorkerLogs,
        on_thread: Callable[..., Deferred[list[str]]],
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        @param project: the configuration in force.
        @param on_thread: calls a function where it may block.
        @param now: the time of day, in seconds since the epoch.
        """
        self._project = project
        self._workers = workers
        self._on_thread = on_thread
        self._now = now

    def paths(self) -> list[tuple[str, str | None]]:
        """Each log and its file of today; L{None} if it has none."""
        project = self._project()
        http = project.server.http
        found = [("server", http.log_file), ("access", http.access_log)]
        found += [(f"worker/{worker.name}", worker.log_file) for worker in project.workers]
        return [(name, self._today(name, path) if path else None) for name, path in found]

    def all_names(self) -> list[str]:
        """The logs that can be followed together."""
        return [name for name, _ in self.paths() if name != "access"]

    def wanted(self, lines: str, since: str, containing: str) -> Wanted:
        """
        Understand what somebody asks for; each may be empty.

        @param since: ISO 8601, or how long ago: seconds, or a number with C{s}, C{m}, C{h} or C{d}.
        @raise LogFault: it cannot be understood.
        """
        try:
            count = int(lines or LINES_USUAL)
        except ValueError:
            count = -1
        if not 0 <= count <= LINES_MAX:
            raise LogFault(f"lines must be from 0 to {LINES_MAX}, not {lines!r}")
        return Wanted(count, self._moment(since) if since else "", containing)

    def read(self, name: str, wanted: Wanted) -> Deferred[list[str]]:
        """
        The last lines of a log, oldest first.

        @return: fails with L{LogFault} if the file cannot be read.
        """
        path = dict(self.paths()).get(name)
        if path is None:
            if name.startswith("worker/"):
                return self._kept(name.removeprefix("worker/"), wanted)
            return fail(LogFault(f"there is no file of the log {name!r}", unknown=True))

        def failed(failure: Failure) -> list[str]:
            failure.trap(OSError)
            raise LogFault(f"the log {name!r} cannot be read: {failure.getErrorMessage()}")

        return self._on_thread(last_lines, path, wanted.lines, wanted.since, wanted.containing).addErrback(failed)

    def follow(self, names: Sequence[str], wanted: Wanted) -> Followed:
        """
        Listen to some logs from now on, together.

        @raise LogFault: one of them cannot be followed; none is, then.
        """
        if "access" in names:
            raise LogFault("the fronts write the access log; follow its file: tail -F")
        followed = Followed(wanted)
        try:
            for name in names:
                followed.listen(name, self.read, self._listen)
        except LogFault:
            followed.leave()
            raise
        return followed

    def _listen(self, name: str, take: Take) -> Callable[[], None]:
        if name == "server":
            observer = _Follower(take)
            globalLogPublisher.addObserver(observer)
            return lambda: globalLogPublisher.removeObserver(observer)
        worker = name.removeprefix("worker/")
        config = next((config for config in self._project().workers if config.name == worker), None)
        if config is None:
            return lambda: None
        self._workers.know(config)
        log = self._workers.get(worker)
        assert log is not None
        try:
            return log.follow(take)
        except ValueError as error:
            raise LogFault(str(error))

    def _kept(self, worker: str, wanted: Wanted) -> Deferred[list[str]]:
        """What is remembered of a worker that has no file."""
        log = self._workers.get(worker)
        kept = [
            line
            for line in (log.tail() if log is not None else ())
            if wanted.containing in line and line[: len(wanted.since)] >= wanted.since
        ]
        return succeed(kept[max(0, len(kept) - wanted.lines) :])

    def _today(self, name: str, template: str) -> str:
        """The path of a log file as it is named now."""
        day = datetime.fromtimestamp(self._now()).date().isoformat()
        return template.replace("{date}", day).replace("{name}", name.removeprefix("worker/"))

    def _moment(self, since: str) -> str:
        match = _AGO.fullmatch(since)
        if match is not None:
            return timestamp(max(0.0, self._now() - float(match.group(1)) * _UNITS_S[match.group(2)]))
        try:
            moment = datetime.fromisoformat(since.replace("Z", "+00:00"))
        except ValueError:
            raise LogFault(f"since must be a moment such as 2026-11-25T10:00:00Z, or 5m, not {since!r}")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return timestamp(moment.timestamp())


def _unread(failure: Failure) -> list[str]:
    """A log that cannot be read has no past; what comes is told all the same."""
    failure.trap(LogFault)
    return []


def _joined(past: list[str], early: list[str]) -> list[str]:
    """The last lines of a file and those that came since one listens, of which the first may be in the file already."""
    for common in range(min(len(past), len(early)), 0, -1):
        if past[-common:] == early[:common]:
            return past + early[common:]
    return past + early


@implementer(ILogObserver)
class _Follower:
    """Hears what the server says."""

    def __init__(self, take: Take) -> None:
        self._take = take

    def __call__(self, event: LogEvent) -> None:
        if worth_telling(event):
            self._take(event_lines(event))
