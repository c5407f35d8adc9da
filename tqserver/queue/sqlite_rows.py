"""
Tasks as rows: how they are read, and the few statements that change them.

Every change is guarded by what the task was when it was decided on (its state and its lease).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from .ids import seq_of
from .model import NewTask, QueueName, State, Task

LARGE_BYTES = 2000
"""A larger payload lives in a table of its own, as SQLite writes a row anew as a whole."""

STATES = tuple(State)

Row = tuple[Any, ...]

SELECT = (
    "SELECT seq, id, queue, state, coalesce(payload, (SELECT payload FROM large WHERE large.seq = task.seq)), head,"
    " priority, attempts, attempts_max, created, updated, ready, expires, due, keep_ms, lease, owner, result,"
    " result_head, error, progress FROM task "
)

INSERT = (
    "INSERT INTO task (seq, queue, state, priority, attempts, attempts_max, created, updated, ready, expires, due,"
    " keep_ms, id, tenant, key, key_expires, head, payload)"
    " VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

INSERT_LARGE = "INSERT INTO large VALUES (?, ?)"

LEASE = (
    "UPDATE task SET state = 2, attempts = ?, lease = ?, owner = ?, due = ?, updated = ?"
    " WHERE seq = ? AND state = 1 AND lease = ''"
)

UPDATE = (
    "UPDATE task SET state = ?, attempts = ?, updated = ?, ready = ?, expires = ?, due = ?, keep_ms = ?, lease = ?,"
    " owner = ?, result = ?, result_head = ?, error = ?, progress = ? WHERE seq = ? AND state = ? AND lease = ?"
)

DELETE = "DELETE FROM task WHERE seq = ? AND state = ? AND lease = ?"

_BY_SEQ = SELECT + "WHERE seq = ?"
_BY_SEQS = SELECT + "WHERE seq IN (SELECT value FROM json_each(?))"
_CHOSEN = SELECT + "WHERE tenant = ? AND id IN (SELECT value FROM json_each(?))"
_BY_KEY = SELECT + "WHERE queue = ? AND key = ? AND key_expires > ?"


class Names(Protocol):
    """Knows the names of queues by their numbers; L{None} for those that were dropped."""

    def get(self, id: int, /) -> QueueName | None: ...


Recent = Mapping[int, Task]
"""Tasks as they are in the file, by number, though not all of them."""

_NONE: Recent = {}


class ChangedMeanwhile(Exception):
    """A guard did not hold, though nobody else writes: a mistake of ours. Nothing of the step is done."""


def task_of(row: Row, queue: QueueName) -> Task:
    """The task of a row of L{SELECT}."""
    return Task(
        seq=row[0],
        id=row[1],
        queue=queue,
        state=STATES[row[3]],
        payload=row[4],
        head=row[5],
        priority=row[6],
        attempts=row[7],
        attempts_max=row[8],
        created=row[9],
        updated=row[10],
        ready=row[11],
        expires=row[12],
        due=row[13],
        keep_ms=row[14],
        lease=row[15],
        owner=row[16],
        result=row[17],
        result_head=row[18],
        error=row[19],
        progress=row[20],
    )


def row_of(task: Task, new: NewTask, queue: int, remembered: bool) -> Row:
    """
    The row of a new task, for L{INSERT}.

    @param remembered: whether its key is.
    """
    return (
        task.seq,
        queue,
        task.state,
        task.priority,
        task.attempts_max,
        task.created,
        task.updated,
        task.ready,
        task.expires,
        task.due,
        task.keep_ms,
        task.id,
        task.queue.tenant if new.id else None,
        new.key if remembered else None,
        new.key_expires if remembered else 0,
        task.head,
        None if len(task.payload) > LARGE_BYTES else task.payload,
    )


def insert(db: sqlite3.Connection, rows: Sequence[Row], large: Sequence[tuple[int, bytes]]) -> None:
    """Store new tasks."""
    db.executemany(INSERT, rows)
    if large:
        db.executemany(INSERT_LARGE, large)


def lease(db: sqlite3.Connection, tasks: Sequence[Task]) -> None:
    """Ready tasks are leased now."""
    _all(
        db.executemany(
            LEASE, [(each.attempts, each.lease, each.owner, each.due, each.updated, each.seq) for each in tasks]
        ),
        len(tasks),
    )


def update(db: sqlite3.Connection, pairs: Sequence[tuple[Task, Task]]) -> None:
    """
    Tasks have changed.

    @param pairs: each as it was, and as it is now.
    """
    _all(
        db.executemany(
            UPDATE,
            [
                (
                    now.state,
                    now.attempts,
                    now.updated,
                    now.ready,
                    now.expires,
                    now.due,
                    now.keep_ms,
                    now.lease,
                    now.owner,
                    now.result,
                    now.result_head,
                    now.error,
                    now.progress,
                    was.seq,
                    was.state,
                    was.lease,
                )
                for was, now in pairs
            ],
        ),
        len(pairs),
    )


def delete(db: sqlite3.Connection, tasks: Sequence[Task]) -> None:
    """Tasks are gone."""
    _all(db.executemany(DELETE, [(each.seq, each.state, each.lease) for each in tasks]), len(tasks))


def delete_seqs(db: sqlite3.Connection, seqs: Sequence[int], state: State) -> None:
    """Tasks in one state are gone, whoever has them."""
    _all(db.executemany("DELETE FROM task WHERE seq = ? AND state = ?", [(seq, state) for seq in seqs]), len(seqs))


def _all(cursor: sqlite3.Cursor, expected: int) -> None:
    if cursor.rowcount != expected:
        raise ChangedMeanwhile(f"{cursor.rowcount} of {expected} tasks were as they had been")


def _read(rows: Iterable[Row], queues: Names, into: dict[int, Task]) -> None:
    for row in rows:
        queue = queues.get(row[2])
        if queue is not None:
            into[row[0]] = task_of(row, queue)


def by_seqs(db: sqlite3.Connection, seqs: Sequence[int], queues: Names, recent: Recent = _NONE) -> dict[int, Task]:
    """
    The tasks with some numbers, those that there are.

    @param recent: some that need not be read.
    """
    found = {seq: recent[seq] for seq in seqs if seq in recent}
    if found:
        seqs = [seq for seq in seqs if seq not in found]
    if len(seqs) == 1:
        _read(db.execute(_BY_SEQ, seqs), queues, found)
    elif seqs:
        _read(db.execute(_BY_SEQS, ["[" + ",".join(map(str, seqs)) + "]"]).fetchall(), queues, found)
    return found


def by_ids(
    db: sqlite3.Connection, tenant: str, ids: Sequence[str], queues: Names, recent: Recent = _NONE
) -> dict[str, Task]:
    """The tasks of a tenant with some ids, those that there are."""
    made = by_seqs(db, [seq for id in ids if (seq := seq_of(id)) >= 0], queues, recent)
    ours = {task.id: task for task in made.values() if task.queue.tenant == tenant}
    found = {id: ours[id] for id in ids if id in ours}
    missing = [id for id in ids if id not in ours]
    if missing:
        chosen: dict[int, Task] = {}
        _read(db.execute(_CHOSEN, [tenant, msgspec.json.encode(missing).decode()]).fetchall(), queues, chosen)
        found.update((task.id, task) for task in chosen.values())
    return found


def by_key(db: sqlite3.Connection, queue: int, name: QueueName, key: str, now: int) -> Task | None:
    """The task that was put with a key that is still remembered."""
    row = db.execute(_BY_KEY, (queue, key, now)).fetchone()
    return None if row is None else task_of(row, name)


_FIRST_PRIORITY = "SELECT min(priority) FROM task WHERE queue = ? AND state = ?"
_NEXT_PRIORITY = _FIRST_PRIORITY + " AND priority > ?"


def oldest(db: sqlite3.Connection, queue: int, state: State, limit: int, since: int = 0, before: int = 0) -> list[int]:
    """
    The numbers of the oldest tasks of a queue in one state.

    The index has them by priority, and by age within; what each priority has to give is merged, so the time depends on
    how many priorities there are, not on how many tasks.

    @param since: the smallest number.
    @param before: only those that have not changed since then; 0 for all.
    """
    numbers: list[int] = []
    select = "SELECT seq FROM task WHERE queue = ? AND state = ? AND priority = ? AND seq >= ?"
    end: tuple[int, ...] = (limit,)
    if before:
        select += " AND updated < ?"
        end = (before, limit)
    select += " ORDER BY seq LIMIT ?"
    (priority,) = db.execute(_FIRST_PRIORITY, (queue, state)).fetchone()
    while priority is not None:
        rows = db.execute(select, (queue, state, priority, since, *end)).fetchall()
        numbers += [seq for (seq,) in rows]
        (priority,) = db.execute(_NEXT_PRIORITY, (queue, state, priority)).fetchone()
    numbers.sort()
    return numbers[:limit]
