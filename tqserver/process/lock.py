"""
One server per project: flufl.lock on C{var/tqserver.lock}.

The holder's host and process id stand in the file. A holder on this host that is dead has its lock taken over at once;
one on another host (a shared file system) when it has not refreshed it for a while.
"""

from __future__ import annotations

import fcntl
import logging
import os
from datetime import timedelta

from flufl.lock import Lock, LockState, NotLockedError, TimeOutError

LIFETIME_S = 60
"""Without a refresh for so long, the lock of a holder on another host is void."""

REFRESH_S = 15.0

logging.getLogger("flufl.lock").addHandler(logging.NullHandler())
logging.getLogger("flufl.lock").propagate = False


class Locked(Exception):
    """Another server has the project; the text says which, and what to do."""


class ProjectLock:
    """The lock of one project directory, or of another that one process has at a time."""

    def __init__(
        self, path: str, what: str = "tqserver already runs this project", other: str = "project directory"
    ) -> None:
        """
        @param path: absolute path of the lock file; its folder is made.
        @param what: what the holder is and does, for the message to whoever comes second.
        @param other: what they might choose another of.
        """
        self._path = path
        self._what = what
        self._other = other
        self._lock: Lock | None = None

    def take(self) -> None:
        """
        Take the lock, over from a dead holder if need be.

        @raise Locked: somebody else has it.
        @raise OSError: the file cannot be written.
        """
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        lock = Lock(self._path, lifetime=timedelta(seconds=LIFETIME_S))
        # Two servers that find the same dead holder must not take over from each other.
        with open(self._path + ".takeover", "a") as takeover:
            fcntl.flock(takeover, fcntl.LOCK_EX)
            if lock.state is LockState.stale:
                self._clear()
            try:
                lock.lock(timeout=0)
            except TimeOutError:
                raise Locked(self._holder(lock))
        self._lock = lock

    def _clear(self) -> None:
        """Remove what a dead holder left."""
        with open(self._path) as file:
            claim = file.read().strip()
        for path in (self._path, claim):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass

    def _holder(self, lock: Lock) -> str:
        try:
            host, pid, _ = lock.details
        except (NotLockedError, OSError):
            return f"Another server was just holding {self._path}. Try again."
        return (
            f"Another {self._what}: process {pid} on {host} holds {self._path}. "
            f"Stop it first (kill {pid}), or start this one with another {self._other}."
        )

    def refresh(self) -> bool:
        """
        Say that the holder is alive.

        @return: false if the lock is no longer ours.
        @raise OSError: nobody knows: the file system does not work now.
        """
        if self._lock is None:
            return False
        try:
            self._lock.refresh()
        except NotLockedError:
            return False
        return True

    def release(self) -> None:
        """Give the lock back, if it is ours."""
        lock, self._lock = self._lock, None
        if lock is not None:
            try:
                lock.unlock(unconditionally=True)
            except OSError:
                pass
