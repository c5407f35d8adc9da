"""The logs of all workers."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.model import WorkerConfig
from .files import LogFile
from .worker import WorkerLog


class WorkerLogs:
    """Finds the log of a worker by its configuration, and makes it when it is first needed."""

    def __init__(self) -> None:
        self._logs: dict[str, WorkerLog] = {}
        self._paths: dict[str, str | None] = {}

    def write(self, config: WorkerConfig, instance: str, stream: str, lines: Sequence[bytes]) -> None:
        """Take down what an instance said; when the configuration names another file, in that one from now on."""
        self._log(config).write(instance, stream, lines)

    def said(self, worker: str, source: str, line: str) -> None:
        """Take down a line that did not come from a process of the worker's, if the worker has said anything before."""
        log = self._logs.get(worker)
        if log is not None:
            log.write(source, "stderr", [line.encode("utf-8", "replace")])

    def know(self, config: WorkerConfig) -> None:
        """Have a log ready for a worker that may never say anything itself."""
        self._log(config)

    def get(self, worker: str) -> WorkerLog | None:
        """The log of a worker, or L{None} if there is none."""
        return self._logs.get(worker)

    def forget(self, worker: str) -> None:
        """A worker is no more."""
        self._paths.pop(worker, None)
        log = self._logs.pop(worker, None)
        if log is not None:
            log.close()

    def reopen(self) -> None:
        """Open all files anew (USR1)."""
        for log in self._logs.values():
            log.reopen()

    def close(self) -> None:
        """Close all files."""
        for log in self._logs.values():
            log.close()

    def _log(self, config: WorkerConfig) -> WorkerLog:
        path = config.log_file
        log = self._logs.get(config.name)
        if log is None:
            log = self._logs[config.name] = WorkerLog(LogFile(path, name=config.name) if path else None)
        elif path != self._paths[config.name]:
            log.move(LogFile(path, name=config.name) if path else None)
        self._paths[config.name] = path
        return log
