"""Which ready tasks are the next, in a SQLite store."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from heapq import heappop, heappush

from attrs import define

from . import sqlite_rows as rows
from .model import State, Task
from .sqlite_ledger import Ledger, Place
from .store import CLAIM_MAX, Claim

EXPIRED_MAX = 1000
"""Expired tasks that one claim removes on its way; it may give fewer then."""

_READY = "SELECT seq FROM task WHERE queue = ? AND state = 1 ORDER BY priority, seq"
_FIRST = _READY + " LIMIT 1"


@define(eq=False)
class _Line:
    """
    The ready tasks of a queue, from the first on.

    @ivar tasks: them, as they are asked for.
    @ivar room: how many may be leased.
    """

    tasks: Generator[Task, None, None]
    room: int


def first(
    db: sqlite3.Connection, ledger: Ledger, claim: Claim, limit: int, now: int, recent: rows.Recent
) -> tuple[list[Task], list[Task]]:
    """
    The first ready tasks of some queues, by priority and then by age, as if all were one.

    @param limit: at most so many, whatever the claim says.
    @param recent: some tasks that need not be read.
    @return: them, and those that were met on the way and have expired.
    """
    if limit == 1 and len(claim.queues) == 1:
        task = _one(db, ledger, claim, recent)
        if task is None or not task.expires or task.expires > now:
            return ([] if task is None else [task]), []
    lines = [
        _Line(_ready(db, ledger, place.id, min(limit, room), recent), room)
        for name in dict.fromkeys(claim.queues)
        if (place := ledger.places.get(name)) is not None and (room := _room(place, claim.take))
    ]
    taken: list[Task] = []
    expired: list[Task] = []
    heads: list[tuple[int, int, Task, _Line]] = []
    advanced = lines
    while len(taken) < limit:
        for line in advanced:
            task = _first(line, now, expired)
            if task is not None:
                heappush(heads, (task.priority, task.seq, task, line))
        if not heads:
            break
        _, _, task, line = heappop(heads)
        taken.append(task)
        line.room -= not claim.take
        advanced = [line]
    for line in lines:
        line.tasks.close()
    return taken, expired


def _one(db: sqlite3.Connection, ledger: Ledger, claim: Claim, recent: rows.Recent) -> Task | None:
    """The first ready task of one queue, whether or not it has expired."""
    place = ledger.places.get(claim.queues[0])
    if place is None or not _room(place, claim.take):
        return None
    row = db.execute(_FIRST, (place.id,)).fetchone()
    if row is None:
        return None
    (seq,) = row
    return recent.get(seq) or rows.by_seqs(db, row, ledger.names)[seq]


def _ready(
    db: sqlite3.Connection, ledger: Ledger, queue: int, number: int, recent: rows.Recent
) -> Generator[Task, None, None]:
    """The ready tasks of a queue, read so many at a time."""
    cursor = db.execute(_READY, (queue,))
    try:
        while seqs := [seq for (seq,) in cursor.fetchmany(number)]:
            tasks = rows.by_seqs(db, seqs, ledger.names, recent)
            for seq in seqs:
                yield tasks[seq]
    finally:
        cursor.close()


def _room(place: Place, take: bool) -> int:
    """How many tasks of a queue may be leased now."""
    policy = place.queue.policy
    if policy.paused or not place.counts[State.READY]:
        return 0
    if not policy.leased_max:
        return CLAIM_MAX
    room = max(policy.leased_max - place.counts[State.LEASED], 0)
    return CLAIM_MAX if take and room else room


def _first(line: _Line, now: int, expired: list[Task]) -> Task | None:
    """The next task of a line, if one may be leased."""
    if line.room <= 0:
        return None
    for task in line.tasks:
        if not task.expires or task.expires > now:
            return task
        expired.append(task)
        if len(expired) >= EXPIRED_MAX:
            break
    return None
