"""
Group commit: many steps in one transaction, each as if it were alone.

If one of them fails, all that was done in the transaction is undone, and each is done again in a transaction of its
own: so only that one fails. When it is the disk that fails, all of them do.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Sequence
from time import perf_counter

from attrs import define, field
from twisted.logger import Logger

from .sqlite_faults import BrokenFault, fault_of
from .sqlite_file import QueueFile
from .sqlite_ledger import Ledger, News
from .sqlite_steps import CLEARED_MAX, Steps
from .sqlite_writer import Answers, Work, failed
from .store import FullFault, StoreFault

FREE_PAGES_MAX = 1000
"""Pages that the file may have in reserve, besides a quarter of all; the others are given back to the disk."""

FREED_PAGES = 256
"""Pages that are given back at once: some milliseconds of work."""

LOOK_EVERY = 16
"""Commits between looks at how many pages are free."""

COMMIT_S_BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the classes of durations of commits, in seconds."""

BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds of the classes of batches, in steps."""

_log = Logger()


@define
class Stats:
    """
    What a store has done since it was opened.

    @ivar commits: transactions that were committed.
    @ivar steps: steps that were.
    @ivar faults: batches that failed, as a whole or in part.
    @ivar commit_s: the sum of all commits, in seconds.
    @ivar commit_classes: commits by their duration, see L{COMMIT_S_BOUNDS}; the last class has no bound.
    @ivar batch_classes: commits by the number of their steps, see L{BATCH_BOUNDS}.
    """

    commits: int = 0
    steps: int = 0
    faults: int = 0
    commit_s: float = 0.0
    commit_classes: list[int] = field(factory=lambda: [0] * (len(COMMIT_S_BOUNDS) + 1))
    batch_classes: list[int] = field(factory=lambda: [0] * (len(BATCH_BOUNDS) + 1))

    def committed(self, steps: int, took_s: float) -> None:
        """One more."""
        self.commits += 1
        self.steps += steps
        self.commit_s += took_s
        self.commit_classes[bisect_left(COMMIT_S_BOUNDS, took_s)] += 1
        self.batch_classes[bisect_left(BATCH_BOUNDS, steps)] += 1


@define
class Told:
    """
    @ivar news: what has changed.
    @ivar fault: what is wrong; L{None} if nothing is.
    """

    news: News = field(factory=News)
    fault: StoreFault | None = None


class Committer:
    """The connection that writes, and what is done with it. All in its lane."""

    def __init__(self, file: QueueFile, ledger: Ledger, steps: Steps, stats: Stats) -> None:
        self._file = file
        self._ledger = ledger
        self._steps = steps
        self._stats = stats
        self._db: sqlite3.Connection | None = None
        self._look = 0
        self._begun = False

    def serve(self, works: Sequence[Work]) -> tuple[Answers, Told]:
        """Do a batch; see L{Lane<tqserver.queue.sqlite_writer.Lane>}."""
        told = Told()
        try:
            if self._db is None:
                self._db = self._steps.db = self._file.open()
                told.news.add(self._ledger.load(self._db))
                told.news.fresh = True
        except Exception as error:
            self._close()
            return self._failed(works, error, told), told
        try:
            answers = self._transaction(self._db, works, told)
        except Exception as error:
            self._undo()
            fault = fault_of(error, self._file.path)
            if len(works) == 1 or isinstance(fault, BrokenFault) or not self._begun:
                return self._failed(works, error, told), told
            answers = []
            for work in works:
                if self._db is None:  # It broke meanwhile.
                    answers += self._failed([work], told.fault or error, told)
                    continue
                try:
                    answers += self._transaction(self._db, [work], told)
                except Exception as its:
                    self._undo()
                    answers += self._failed([work], its, told)
        return answers, told

    def _transaction(self, db: sqlite3.Connection, works: Sequence[Work], told: Told) -> Answers:
        self._begun = False
        db.execute("BEGIN IMMEDIATE")
        self._begun = True
        answers: Answers = []
        for work in works:
            try:
                answers.append(work())
            except FullFault as error:  # It is raised before anything is done.
                answers.append(failed(error))
        kept = self._ledger.keep(db)
        self._file.check()
        began = perf_counter()
        db.execute("COMMIT")
        self._stats.committed(len(works), perf_counter() - began)
        told.news.add(kept())
        return answers

    def _undo(self) -> None:
        self._ledger.undo()
        self._steps.undone()
        if self._db is not None and self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                self._close()

    def _failed(self, works: Sequence[Work], error: Exception, told: Told) -> Answers:
        self._stats.faults += 1
        fault = fault_of(error, self._file.path)
        if fault is None:
            _log.error("a step of the store failed: {error!r}", error=error)
            return [failed(error) for _ in works]
        told.fault = fault
        if isinstance(fault, BrokenFault):
            self._close()
        return [failed(type(fault)(fault.reason, fault.detail, retry_after_s=fault.retry_after_s)) for _ in works]

    def _close(self) -> None:
        """The next step opens the file again."""
        self._ledger.undo()
        self._steps.undone()
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error as error:
                _log.warn("cannot close {path}: {error}", path=self._file.path, error=error)

    def rest(self) -> bool:
        """
        Remove a little of what is not wanted any more, and give a few pages back to the disk.

        @return: whether there is more to do.
        """
        db = self._db
        if db is None:
            return False
        try:
            if self._ledger.dropped:
                return self._clear(db)
            self._look -= 1
            return self._look <= 0 and self._free(db)
        except Exception as error:
            _log.warn("cannot tidy {path} up: {error}", path=self._file.path, error=error)
            self._undo()
            self._look = LOOK_EVERY
            return False

    def _clear(self, db: sqlite3.Connection) -> bool:
        db.execute("BEGIN IMMEDIATE")
        self._ledger.clear(db, CLEARED_MAX)
        kept = self._ledger.keep(db)
        db.execute("COMMIT")
        kept()
        self._look = 0
        return True

    def _free(self, db: sqlite3.Connection) -> bool:
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        if free <= FREE_PAGES_MAX + pages // 4:
            self._look = LOOK_EVERY
            return False
        db.execute(f"PRAGMA incremental_vacuum({FREED_PAGES})").fetchall()
        return True

    def close(self) -> None:
        """At the end."""
        if self._db is not None:
            try:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                _log.warn("cannot tidy {path} up: {error}", path=self._file.path, error=error)
        self._close()
