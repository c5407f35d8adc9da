"""The logs, as an operator reads them: the last lines of each, and what comes after."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
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
            raise LogFault(f"there is no file of the log {name!r}", unknown=True)

        def failed(failure: object) -> list[str]:
            error = failure.trap(OSError)  # type: ignore[attr-defined]
            raise LogFault(f"the log {name!r} cannot be read: {failure.value.strerror or error}")  # type: ignore[attr-defined]

        return self._on_thread(last_lines, path, wanted.lines, wanted.since, wanted.containing).addErrback(failed)

    def check_followed(self, name: str) -> None:
        """
        See whether a log can be followed.

        @raise LogFault: it cannot be.
        """
        if name == "access":
            raise LogFault("the fronts write the access log; follow its file: tail -F")

    def follow(self, name: str, wanted: Wanted, tell: Callable[[str, str], None]) -> Callable[[], None]:
        """
        Hand over the last lines of a log, and then what comes.

        @param tell: called with the log's name and a line.
        @return: ends it.
        """
        early: list[str] | None = []
        left: list[Callable[[], None]] = []

        def take(lines: Sequence[str]) -> None:
            for line in lines:
                if wanted.containing in line:
                    if early is not None:
                        early.append(line)
                    else:
                        tell(name, line)

        def begin(past: list[str]) -> None:
            nonlocal early
            waiting, early = early or [], None
            # What came while the file was read may be in it already.
            for line in past + [line for line in waiting if line not in past]:
                tell(name, line)

        left.append(self._listen(name, take))
        if wanted.lines:
            self.read(name, wanted).addErrback(lambda _: []).addCallback(begin)
        else:
            begin([])

        def leave() -> None:
            while left:
                left.pop()()

        return leave

    def _listen(self, name: str, take: Callable[[Sequence[str]], None]) -> Callable[[], None]:
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
        kept = [line for line in (log.tail() if log is not None else ()) if wanted.containing in line]
        done: Deferred[list[str]] = Deferred()
        done.callback([line for line in kept if line[:24] >= wanted.since][-wanted.lines or len(kept) :])
        return done

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


@implementer(ILogObserver)
class _Follower:
    """Hears what the server says."""

    def __init__(self, take: Callable[[Sequence[str]], None]) -> None:
        self._take = take

    def __call__(self, event: LogEvent) -> None:
        if worth_telling(event):
            self._take(event_lines(event))
