"""
What a SQLite store shows of its tasks, by a connection of its own: who looks does not wait for those who write, and
sees what was committed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.logger import Logger

from . import sqlite_rows as rows
from .model import QueueName, State, Task
from .sqlite_faults import BrokenFault, fault_of
from .sqlite_file import QueueFile
from .sqlite_writer import Answers, Work, failed
from .store import PAGE_MAX, Page, StoreFault

_log = Logger()

_T = TypeVar("_T")


class _Names:
    """Names of queues, each read when it is first wanted."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[int, QueueName | None] = {}

    def get(self, id: int, /) -> QueueName | None:
        """See L{rows.Names}."""
        if id not in self._known:
            row = self._db.execute("SELECT tenant, name FROM queue WHERE id = ? AND name IS NOT NULL", (id,)).fetchone()
            self._known[id] = None if row is None else QueueName(*row)
        return self._known[id]


class Reader:
    """The connection that reads, and what is done with it. All in its lane."""

    def __init__(self, file: QueueFile) -> None:
        self._file = file
        self._db: sqlite3.Connection | None = None
        self._opened = 0

    def serve(self, works: Sequence[Work]) -> tuple[Answers, StoreFault | None]:
        """Do some steps, each by itself; see L{Lane<tqserver.queue.sqlite_writer.Lane>}."""
        answers: Answers = []
        last: StoreFault | None = None
        for work in works:
            try:
                answers.append(work())
            except Exception as error:
                fault = fault_of(error, self._file.path)
                if fault is None:
                    _log.error("a look into the store failed: {error!r}", error=error)
                last = fault or last
                answers.append(failed(fault or error))
                if isinstance(fault, BrokenFault):
                    self.close()
        return answers, last

    def _look(self, what: Callable[[sqlite3.Connection], _T]) -> _T:
        """Look at one moment of the file."""
        if self._opened != self._file.opened:
            self.close()
        if self._db is None:
            self._opened = self._file.opened
            self._db = self._file.read()
        db = self._db
        db.execute("BEGIN")
        try:
            return what(db)
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def get(self, tenant: str, ids: Sequence[str]) -> list[Task | None]:
        """See L{IStore<tqserver.queue.store.IStore>}."""

        def what(db: sqlite3.Connection) -> list[Task | None]:
            found = rows.by_ids(db, tenant, ids, _Names(db))
            return [found.get(id) for id in ids]

        return self._look(what)

    def page(self, queue: QueueName, state: State, limit: int, cursor: int) -> Page:
        """See L{IStore<tqserver.queue.store.IStore>}."""
        limit = min(limit, PAGE_MAX)

        def what(db: sqlite3.Connection) -> Page:
            row = db.execute("SELECT id FROM queue WHERE tenant = ? AND name = ?", queue).fetchone()
            if row is None:
                return Page(())
            seqs = rows.oldest(db, row[0], state, limit + 1, since=cursor)
            found = rows.by_seqs(db, seqs[:limit], _Names(db))
            tasks = tuple(found[seq] for seq in seqs[:limit])
            return Page(tasks, seqs[limit] if len(seqs) > limit else 0)

        return self._look(what)

    def close(self) -> None:
        """The next look opens the file again."""
        db, self._db = self._db, None
        if db is not None:
            try:
                db.close()
            except sqlite3.Error as error:
                _log.warn("cannot close {path}: {error}", path=self._file.path, error=error)
