"""
The file of a SQLite store: found or made, locked for one process, opened, and opened again after a fault.

Everything here is called in the threads of the store.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Literal

from ..process.lock import Locked, ProjectLock
from .migrations import migrate
from .sqlite_faults import BrokenFault
from .store import StoreFault

Durability = Literal["disk", "process"]
"""
What an answer promises: C{disk} that the task is on the disk (fsync), C{process} that it survives this process, but not
the machine.
"""

FILE_NAME = "queues.db"

LOCK_NAME = "queues.lock"

BUSY_S = 1.0
"""How long another program may have the file locked (a backup, somebody who looks), in seconds."""

CACHE_KIB = 16_384
"""Pages that each connection keeps in memory."""

WAL_PAGES = 1000
"""The write-ahead log is copied to the file whenever it has so many pages, and begins anew."""

WAL_BYTES_KEPT = 16 << 20
"""A log that was longer (a large step) is cut to this; a shorter one is written over, which is faster than growing."""

STATEMENTS = 64
"""Prepared statements that each connection keeps."""

SQLITE_LEAST = (3, 37)
"""Older ones have no STRICT tables."""


class QueueFile:
    """
    @ivar path: of the file.
    @ivar opened: how often it has been opened; whoever has it open from before has another file, perhaps.
    @ivar lost: whether another process has taken the data directory, which must not happen.
    """

    def __init__(self, directory: str, durability: Durability = "disk", file_bytes_max: int = 0) -> None:
        """
        @param directory: where the file is; it is made.
        @param file_bytes_max: how large the file may become; 0 is no limit but the disk's.
        """
        self.path = os.path.join(os.path.abspath(directory), FILE_NAME)
        self.opened = 0
        self.lost = False
        self._synchronous = "FULL" if durability == "disk" else "NORMAL"
        self._file_bytes_max = file_bytes_max
        self._lock: ProjectLock | None = None
        self._identity: tuple[int, int] | None = None
        """Device and inode of the file that is open."""

    def open(self) -> sqlite3.Connection:
        """
        The connection that writes. The first time the directory is locked and the file is made, if there is none; it
        is not made again, as whoever removed it will wonder where its tasks are.

        @raise StoreFault: the directory belongs to another process, or the file is not ours.
        @raise sqlite3.Error: it cannot be opened.
        @raise OSError: it cannot be made.
        """
        if sqlite3.sqlite_version_info < SQLITE_LEAST:
            raise StoreFault("SQLite is too old.", f"it is {sqlite3.sqlite_version}; 3.37 at least is needed")
        if self._lock is None:
            self._take()
        if self.lost:
            raise StoreFault(
                "Another process has taken the queues.", f"{os.path.dirname(self.path)} is not ours any more"
            )
        first = self._identity is None
        if first:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = self._connect()
        try:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # Heeded as long as there is no table.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {self._synchronous}")
            db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
            migrate(db, self.path)
            if self._file_bytes_max:
                (page,) = db.execute("PRAGMA page_size").fetchone()
                db.execute(f"PRAGMA max_page_count = {max(self._file_bytes_max // page, 16)}")
            if not first:
                # After a failed fsync nobody knows which pages of the log are on the disk. Now they are in the file.
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            status = os.stat(self.path)
        except BaseException:
            db.close()
            raise
        self._identity = (status.st_dev, status.st_ino)
        self.opened += 1
        return db

    def read(self) -> sqlite3.Connection:
        """
        A connection that only reads; the one that writes has been open.

        @raise sqlite3.Error: it cannot be opened.
        """
        if self._identity is None:
            raise BrokenFault("The file of the queues is not open.", self.path)
        self.check()
        db = self._connect()
        try:
            db.execute("PRAGMA query_only = ON")
        except BaseException:
            db.close()
            raise
        return db

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"file:{_quoted(self.path)}?mode=rw",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            cached_statements=STATEMENTS,
            check_same_thread=False,  # It is closed wherever its thread ends.
        )
        try:
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            db.execute("PRAGMA temp_store = MEMORY")
        except BaseException:
            db.close()
            raise
        return db

    def check(self) -> None:
        """
        Whether what is written now will be found after a restart.

        @raise BrokenFault: the file has been removed or replaced.
        """
        if self.lost:
            raise BrokenFault("Another process has taken the queues.", os.path.dirname(self.path))
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise BrokenFault("The file of the queues is gone.", f"{self.path}: {error.strerror}")
        if (status.st_dev, status.st_ino) != self._identity:
            raise BrokenFault("The file of the queues is another one.", f"{self.path} was replaced while it was open")

    def _take(self) -> None:
        directory = os.path.dirname(self.path)
        os.makedirs(directory, 0o700, exist_ok=True)
        lock = ProjectLock(
            os.path.join(directory, LOCK_NAME), what="queue service already has this directory", other="data directory"
        )
        try:
            lock.take()
        except Locked as error:
            raise StoreFault("Another process has the queues.", str(error))
        self._lock = lock

    def refresh(self) -> None:
        """
        Say that we are alive, every L{REFRESH_S<tqserver.process.lock.REFRESH_S>}.

        @raise OSError: it cannot be said now; the directory is ours all the same.
        """
        if self._lock is not None and not self._lock.refresh():
            self.lost = True

    def release(self) -> None:
        """Let others have the directory."""
        lock, self._lock = self._lock, None
        self._identity = None
        if lock is not None:
            lock.release()


def _quoted(path: str) -> str:
    """A path as part of a URI."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
