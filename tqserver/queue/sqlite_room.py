"""
How much of a file that may not grow is left, and for whom.

A lease makes a task's row longer, and moves it in the indexes; so does its end by itself. Were the last page given to a
new task, nobody could work on those that are there. So new tasks leave some pages to leases, and leases leave some to
what becomes of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from .model import NewTask
from .store import FullFault

RESERVE_PARTS = 8
"""New tasks leave one part of so many of the file."""

ROW_BYTES = 400
"""Of a task in the tables and indexes, besides its payload and head, at most."""


class Room:
    """What is left of a file, by the connection that writes to it."""

    def __init__(self, limited: bool) -> None:
        """
        @param limited: whether the file has a limit but the disk's.
        """
        self._limited = limited

    def _left(self, db: sqlite3.Connection) -> tuple[int, int]:
        """Pages that may be used still, and how many of them new tasks leave."""
        (most,) = db.execute("PRAGMA max_page_count").fetchone()
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        return most - pages + free, most // RESERVE_PARTS

    def for_tasks(self, db: sqlite3.Connection, tasks: Sequence[NewTask]) -> None:
        """
        New tasks are to be stored.

        @raise FullFault: there is no room for all of them.
        """
        if not self._limited:
            return
        left, reserve = self._left(db)
        (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
        needed = sum([len(new.payload) + len(new.head) + ROW_BYTES for new in tasks]) // page_bytes + 1
        if left - needed < reserve:
            reason = f"{left} pages are left in the file, and {reserve} of them are for work on what is there"
            raise FullFault("The queue is full.", reason, retry_after_s=1)

    def for_leases(self, db: sqlite3.Connection, limit: int, leased: Callable[[], bool]) -> int:
        """
        Tasks are to be leased.

        @param leased: says whether any are.
        @return: how many may be, at most C{limit}; always one if there are none, as that is how a file becomes empty.
        @raise FullFault: none, until some of those that are leased have ended.
        """
        if not self._limited:
            return limit
        left, reserve = self._left(db)
        room = left - reserve // 2  # A page for each: it may be the one that splits.
        if room <= 0 and not leased():
            return 1
        if room <= 0:
            raise FullFault("The queue is too full for more leases.", f"{left} pages are left in the file")
        return min(limit, room)
