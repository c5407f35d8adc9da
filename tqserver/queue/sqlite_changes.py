"""
Changes of tasks in a SQLite store, where they are written and what has to be known of them.
"""

from __future__ import annotations

import sqlite3

from attrs import define, field

from .model import QueueName, State, Task
from .sqlite_ledger import Ledger, Place
from .sqlite_rows import LARGE_BYTES, delete, update

RECENT_MAX = 4096
"""Tasks that are kept in memory besides, each with a payload of at most L{LARGE_BYTES}."""


class Recent(dict[int, Task]):
    """
    Small tasks that were changed last, as they are in the file: most tasks are leased and ended soon after they were
    put, and need not be read for that. What is undone is forgotten with all the others.
    """

    def keep(self, task: Task) -> None:
        """A task is like this now."""
        if len(task.payload) > LARGE_BYTES or task.result is not None or len(task.head) > LARGE_BYTES:
            self.pop(task.seq, None)
            return
        self[task.seq] = task
        if len(self) > RECENT_MAX:
            del self[next(iter(self))]


@define
class Changes:
    """
    Changes of one step, decided on one after the other and made together.

    @ivar tasks: those that were looked up, by number, as they are after what was decided.
    """

    _ledger: Ledger
    _recent: Recent
    tasks: dict[int, Task] = field(factory=dict)
    _updated: list[tuple[Task, Task]] = field(factory=list)
    _removed: list[Task] = field(factory=list)
    _moved: dict[tuple[QueueName, State], int] = field(factory=dict)

    def put(self, was: Task, now: Task | None) -> Task:
        """
        A task becomes another, or is gone.

        @return: as it is now, or was.
        """
        moved = self._moved
        place = (was.queue, was.state)
        if now is None:
            moved[place] = moved.get(place, 0) - 1
            self._removed.append(was)
            self.tasks.pop(was.seq, None)
            self._recent.pop(was.seq, None)
            return was
        if now.state is not was.state:
            moved[place] = moved.get(place, 0) - 1
            place = (was.queue, now.state)
            moved[place] = moved.get(place, 0) + 1
        self._updated.append((was, now))
        self.tasks[was.seq] = now
        self._recent.keep(now)
        return now

    def make(self, db: sqlite3.Connection) -> None:
        """Write it all."""
        if self._updated:
            update(db, self._updated)
        if self._removed:
            delete(db, self._removed)
        ledger = self._ledger
        for (name, state), number in self._moved.items():
            place = ledger.places[name]
            if number:
                ledger.count(place, state, number)
            if number < 0:
                _made_room(ledger, place, state)
            elif number and state is State.READY:
                ledger.ready(place)


def change(db: sqlite3.Connection, ledger: Ledger, recent: Recent, was: Task, now: Task | None) -> Task:
    """
    One task becomes another, or is gone: what L{Changes} do, for the most usual step, that is about a single task.

    @return: as it is now, or was.
    """
    place = ledger.places[was.queue]
    if now is None:
        delete(db, (was,))
        recent.pop(was.seq, None)
    else:
        update(db, ((was, now),))
        recent.keep(now)
        if now.state is was.state:
            return now
        ledger.count(place, now.state, 1)
        if now.state is State.READY:
            ledger.ready(place)
    ledger.count(place, was.state, -1)
    _made_room(ledger, place, was.state)
    return now or was


def _made_room(ledger: Ledger, place: Place, state: State) -> None:
    """Fewer tasks of a queue are in a state than before: perhaps another may be leased now."""
    if state is State.LEASED and place.queue.policy.leased_max:
        ledger.ready(place)
