"""
What a SQLite store has in memory while it writes: its queues, how many tasks each has in each state, the next number.

A ledger is one transaction ahead of what the store shows. L{Ledger.keep} says what a commit has changed;
L{Ledger.undo} takes back what was not committed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import msgspec
from attrs import define, field

from .model import NEVER, Counts, Policy, Queue, QueueName, State

SEQ_BLOCK = 100_000
"""Numbers of tasks that are set aside by one write; what is left of them at the end is never given out."""

_RESERVE = "UPDATE meta SET seq = ? WHERE one = 1 AND seq = ?"
_NAMES = "SELECT id, tenant, name, created, policy FROM queue"
_COUNTS = "SELECT queue, state, count(*) FROM task INDEXED BY task_place GROUP BY queue, state"
_CLEAR = "DELETE FROM task WHERE seq IN (SELECT seq FROM task WHERE queue = ? LIMIT ?)"
_DUE = "SELECT due FROM task WHERE due > 0 ORDER BY due LIMIT 1"


@define(eq=False)
class Place:
    """
    A queue in the file.

    @ivar id: its number there.
    @ivar counts: of its tasks, by state.
    """

    id: int
    queue: Queue
    counts: list[int] = field(factory=lambda: [0] * len(State))


@define
class News:
    """
    What commits have changed, for whoever shows it.

    @ivar fresh: whether this is all that there is, not a change.
    @ivar queues: as they are now; L{None} for those that were dropped.
    @ivar counts: of those that changed.
    @ivar ready: which have got ready tasks, or were dropped.
    @ivar due: see L{IStore.due<tqserver.queue.store.IStore>}; negative if nothing was committed.
    """

    fresh: bool = False
    queues: dict[QueueName, Queue | None] = field(factory=dict)
    counts: dict[QueueName, Counts] = field(factory=dict)
    ready: set[QueueName] = field(factory=set)
    due: int = -1

    def add(self, later: News) -> None:
        """Another commit followed."""
        self.queues.update(later.queues)
        self.counts.update(later.counts)
        self.ready |= later.ready
        if later.due >= 0:
            self.due = later.due


class Ledger:
    """
    @ivar places: by name.
    @ivar names: by number; only those that have not been dropped.
    @ivar dropped: the numbers of queues that are dropped, of which there may be tasks left.
    @ivar total: how many tasks there are.
    """

    def __init__(self) -> None:
        self.total = 0
        self.places: dict[QueueName, Place] = {}
        self.names: dict[int, QueueName] = {}
        self.dropped: list[int] = []
        self._seq = 0
        self._reserved = 0
        self._undo: list[Callable[[], None]] = []
        self._counted: dict[Place, list[int]] = {}
        """Places whose counts have changed, and what they were at the last commit."""
        self._total = 0
        """What there was at the last commit."""
        self._news = News()

    def load(self, db: sqlite3.Connection) -> News:
        """Take everything from the file."""
        places: dict[int, Place] = {}
        dropped: list[int] = []
        for id, tenant, name, created, policy in db.execute(_NAMES):
            if name is None:
                dropped.append(id)
            else:
                places[id] = Place(
                    id, Queue(QueueName(tenant, name), created, msgspec.json.decode(policy, type=Policy))
                )
        for id, state, number in db.execute(_COUNTS):
            if id in places:
                places[id].counts[state] = number
        (self._reserved,) = db.execute("SELECT seq FROM meta").fetchone()
        self._seq = max(self._seq, self._reserved)
        self.places = {place.queue.name: place for place in places.values()}
        self.names = {id: place.queue.name for id, place in places.items()}
        self.dropped = dropped
        self.total = self._total = sum(sum(place.counts) for place in places.values())
        self._undo.clear()
        self._counted.clear()
        self._news = News()
        return News(
            fresh=True,
            queues={name: place.queue for name, place in self.places.items()},
            counts={name: Counts(*place.counts) for name, place in self.places.items()},
            ready={name for name, place in self.places.items() if place.counts[State.READY]},
            due=self.due(db),
        )

    def due(self, db: sqlite3.Connection) -> int:
        """When the next task is."""
        row = db.execute(_DUE).fetchone()
        return NEVER if row is None else int(row[0])

    def keep(self, db: sqlite3.Connection) -> Callable[[], News]:
        """
        What has been done is about to be committed.

        @return: to be called when it is; gives what has changed.
        """
        due = self.due(db)

        def kept() -> News:
            news, self._news = self._news, News()
            news.due = due
            for name in news.counts:
                place = self.places.get(name)
                news.counts[name] = Counts() if place is None else Counts(*place.counts)
            self._undo.clear()
            self._counted.clear()
            self._total = self.total
            return news

        return kept

    def undo(self) -> None:
        """Nothing since the last commit has happened."""
        while self._undo:
            self._undo.pop()()
        for place, counts in self._counted.items():
            place.counts = counts
        self._counted.clear()
        self.total = self._total
        self._news = News()

    def seqs(self, db: sqlite3.Connection, number: int) -> range:
        """So many numbers for new tasks."""
        if self._seq + number > self._reserved:
            reserved = self._reserved
            more = max(self._seq, reserved) + number + SEQ_BLOCK
            db.execute(_RESERVE, (more, reserved))
            self._reserved = more
            self._undo.append(lambda: setattr(self, "_reserved", reserved))
        first = self._seq + 1
        self._seq += number
        return range(first, first + number)

    def count(self, place: Place, state: State, number: int) -> None:
        """A queue has so many more tasks in a state."""
        counts = place.counts
        if place not in self._counted:
            self._counted[place] = counts.copy()
            self._news.counts[place.queue.name] = _LATER
        counts[state] += number
        self.total += number

    def ready(self, place: Place) -> None:
        """A queue has ready tasks, or they may be leased again."""
        self._news.ready.add(place.queue.name)

    def any_leased(self) -> bool:
        """Whether a task of any queue is leased."""
        return any(place.counts[State.LEASED] for place in self.places.values())

    def make(self, db: sqlite3.Connection, name: QueueName, now: int, policy: Policy) -> Place:
        """A new queue."""
        cursor = db.execute(
            "INSERT INTO queue (tenant, name, created, policy) VALUES (?, ?, ?, ?)",
            (name.tenant, name.name, now, msgspec.json.encode(policy).decode()),
        )
        assert cursor.lastrowid is not None
        place = Place(cursor.lastrowid, Queue(name, now, policy))
        self.places[name] = place
        self.names[place.id] = name
        self._news.queues[name] = place.queue
        self._news.counts[name] = _LATER

        def unmake() -> None:
            del self.places[name], self.names[place.id]

        self._undo.append(unmake)
        return place

    def rule(self, db: sqlite3.Connection, place: Place, policy: Policy) -> None:
        """A queue has other rules."""
        before = place.queue
        db.execute("UPDATE queue SET policy = ? WHERE id = ?", (msgspec.json.encode(policy).decode(), place.id))
        place.queue = msgspec.structs.replace(before, policy=policy)
        self._news.queues[before.name] = place.queue
        self._undo.append(lambda: setattr(place, "queue", before))

    def drop(self, db: sqlite3.Connection, place: Place) -> None:
        """A queue is gone at once; its tasks are removed little by little, and nobody sees them meanwhile."""
        name = place.queue.name
        db.execute("UPDATE queue SET tenant = NULL, name = NULL WHERE id = ?", (place.id,))
        del self.places[name], self.names[place.id]
        self.dropped.append(place.id)
        self.total -= sum(place.counts)
        self._news.queues[name] = None
        self._news.counts[name] = _LATER
        self._news.ready.add(name)

        def undrop() -> None:
            self.places[name] = place
            self.names[place.id] = name
            self.dropped.remove(place.id)

        self._undo.append(undrop)

    def clear(self, db: sqlite3.Connection, limit: int) -> int:
        """
        Remove some tasks of a queue that was dropped.

        @param limit: at most so many.
        @return: how many.
        """
        id = self.dropped[0]
        removed = db.execute(_CLEAR, (id, limit)).rowcount
        if removed < limit:
            db.execute("DELETE FROM queue WHERE id = ? AND name IS NULL", (id,))
            del self.dropped[0]
            self._undo.append(lambda: self.dropped.insert(0, id))
        return removed


_LATER = Counts()
"""Stands for counts that are filled in when they are known."""
