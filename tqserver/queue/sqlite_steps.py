"""
What the operations of a SQLite store do, each inside a transaction that the caller begins and ends.

The decisions are those of L{tqserver.queue.lifecycle}, as everywhere; here is only where the tasks come from and where
they go.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from . import sqlite_rows as rows
from .ids import RANDOM_BITS, make_id, seq_of
from .lifecycle import Event, again, born, ended, extended, finished, judge, leased, overdue, released, sources
from .model import NewTask, Policy, QueueName, State, Task
from .sqlite_changes import Changes, Recent, change
from .sqlite_ledger import Ledger
from .sqlite_ready import first
from .sqlite_room import Room
from .store import (
    CLAIM_MAX,
    PURGE_MAX,
    SWEEP_MAX,
    Claim,
    Clock,
    Created,
    Extend,
    Finish,
    FullFault,
    Held,
    Outcome,
    Refusal,
    Release,
    Swept,
)

CLEARED_MAX = 1000
"""Tasks of dropped queues that are removed at once."""

_OVERDUE = rows.SELECT + "WHERE due > 0 AND due <= ? ORDER BY due, seq LIMIT ?"

_Item = TypeVar("_Item", Finish, Release, Extend)


class Steps:
    """The operations, on one connection. What they mean is said in L{IStore<tqserver.queue.store.IStore>}."""

    def __init__(
        self, ledger: Ledger, clock: Clock, bits: random.Random, tasks_max: int = 0, limited: bool = False
    ) -> None:
        """
        @param limited: see L{Room}.
        """
        self.db: sqlite3.Connection
        self._ledger = ledger
        self._clock = clock
        self._bits = bits
        self._tasks_max = tasks_max
        self._room = Room(limited)
        self._recent = Recent()

    def undone(self) -> None:
        """What was done is undone."""
        self._recent.clear()

    # Queues.

    def define(self, queue: QueueName, policy: Policy | None) -> bool:
        """See L{IStore}."""
        ledger = self._ledger
        place = ledger.places.get(queue)
        if place is None:
            ledger.make(self.db, queue, self._clock(), policy or Policy())
            return True
        if policy is not None and policy != place.queue.policy:
            ledger.rule(self.db, place, policy)
            if place.counts[State.READY]:
                ledger.ready(place)
        return False

    def drop(self, queue: QueueName) -> bool:
        """See L{IStore}."""
        place = self._ledger.places.get(queue)
        if place is None:
            return False
        self._ledger.drop(self.db, place)
        self._recent.clear()
        if len(self._ledger.dropped) == 1:
            self._ledger.clear(self.db, CLEARED_MAX)
        return True

    # The life of tasks.

    def create(self, tasks: Sequence[NewTask], define: bool) -> list[Created | Refusal]:
        """See L{IStore}."""
        ledger, db, now = self._ledger, self.db, self._clock()
        if self._tasks_max and ledger.total + len(tasks) > self._tasks_max:
            reason = f"it holds {ledger.total} tasks, of {self._tasks_max}"
            raise FullFault("The queue is full.", reason, retry_after_s=1)
        self._room.for_tasks(db, tasks)
        answers: list[Created | Refusal] = []
        made: list[rows.Row] = []
        large: list[tuple[int, bytes]] = []
        keys: dict[tuple[int, str], Task] = {}
        chosen: set[tuple[str, str]] = set()
        for new, seq in zip(tasks, ledger.seqs(db, len(tasks)), strict=True):
            place = ledger.places.get(new.queue)
            if place is None:
                if not define:
                    answers.append(Refusal.NO_QUEUE)
                    continue
                place = ledger.make(db, new.queue, now, Policy())
            if new.key:
                earlier = keys.get((place.id, new.key)) or rows.by_key(db, place.id, new.queue, new.key, now)
                if earlier is not None:
                    answers.append(Created(earlier, replay=True))
                    continue
            if new.id:
                if (new.queue.tenant, new.id) in chosen or rows.by_ids(
                    db, new.queue.tenant, [new.id], ledger.names, self._recent
                ):
                    answers.append(Refusal.EXISTS)
                    continue
                chosen.add((new.queue.tenant, new.id))
                if ledger.dropped:
                    db.execute("DELETE FROM task WHERE tenant = ? AND id = ?", (new.queue.tenant, new.id))
            task = born(new, now, seq, new.id or make_id(seq, self._bits.getrandbits(RANDOM_BITS)))
            remembered = bool(new.key) and new.key_expires > now
            if remembered:
                keys[place.id, new.key] = task
                db.execute("UPDATE task SET key = NULL WHERE queue = ? AND key = ?", (place.id, new.key))
            self._recent.keep(task)
            made.append(rows.row_of(task, new, place.id, remembered))
            if len(task.payload) > rows.LARGE_BYTES:
                large.append((seq, task.payload))
            ledger.count(place, task.state, 1)
            if task.state is State.READY:
                ledger.ready(place)
            answers.append(Created(task))
        rows.insert(db, made, large)
        return answers

    def claim(self, claim: Claim) -> list[Task]:
        """See L{IStore}."""
        now = self._clock()
        ledger = self._ledger
        limit = min(claim.limit, CLAIM_MAX)
        if not claim.take:
            limit = self._room.for_leases(self.db, limit, ledger.any_leased)
        taken, expired = first(self.db, ledger, claim, limit, now, self._recent)
        if expired or claim.take:
            changes = Changes(ledger, self._recent)
            for task in expired:
                changes.put(task, None)
            if claim.take:
                for task in taken:
                    changes.put(task, ended(task, now, State.DONE))
            changes.make(self.db)
        if claim.take or not taken:
            return taken
        bits, owner = self._bits, claim.owner
        taken = [
            leased(task, now, claim.until, make_id(task.seq, bits.getrandbits(RANDOM_BITS)), owner) for task in taken
        ]
        rows.lease(self.db, taken)
        for task in taken:
            self._recent.keep(task)
            place = ledger.places[task.queue]
            ledger.count(place, State.READY, -1)
            ledger.count(place, State.LEASED, 1)
        return taken

    def finish(self, finishes: Sequence[Finish]) -> list[Outcome]:
        """See L{IStore}."""
        return self._holding(finishes, finished)

    def release(self, releases: Sequence[Release]) -> list[Outcome]:
        """See L{IStore}."""

        def after(task: Task, each: Release, now: int) -> Task | None:
            backoff = self._ledger.places[task.queue].queue.policy.backoff
            return released(task, each, now, backoff, self._bits.random())

        return self._holding(releases, after)

    def extend(self, extends: Sequence[Extend]) -> list[Outcome]:
        """See L{IStore}."""
        return self._holding(extends, lambda task, each, now: extended(task, each))

    def _holding(self, items: Sequence[_Item], after: Callable[[Task, _Item, int], Task | None]) -> list[Outcome]:
        """What becomes of leased tasks, if they are leased as is believed."""
        now = self._clock()
        if len(items) == 1 and not items[0].held.id:
            (each,) = items
            task = self._recent.get(seq_of(each.held.lease))
            if task is not None:
                refusal = judge(task, each.held, now)
                return [refusal or change(self.db, self._ledger, self._recent, task, after(task, each, now))]
        changes = Changes(self._ledger, self._recent)
        seqs = self._find([each.held for each in items], changes)
        outcomes: list[Outcome] = []
        for each, seq in zip(items, seqs, strict=True):
            task = changes.tasks.get(seq)
            refusal = judge(task, each.held, now)
            if refusal is not None or task is None:
                outcomes.append(refusal or Refusal.UNKNOWN)
            else:
                outcomes.append(changes.put(task, after(task, each, now)))
        changes.make(self.db)
        return outcomes

    def _find(self, helds: Sequence[Held], changes: Changes) -> list[int]:
        """Look leased tasks up; gives the number of each, -1 for what there is not."""
        names = self._ledger.names
        changes.tasks = rows.by_seqs(
            self.db, [seq_of(held.lease) for held in helds if not held.id], names, self._recent
        )
        ids: dict[str, list[str]] = {}
        for held in helds:
            if held.id:
                ids.setdefault(held.tenant, []).append(held.id)
        seqs: dict[tuple[str, str], int] = {}
        for tenant, some in ids.items():
            for task in rows.by_ids(self.db, tenant, some, names, self._recent).values():
                changes.tasks[task.seq] = task
                seqs[tenant, task.id] = task.seq
        return [seqs.get((held.tenant, held.id), -1) if held.id else seq_of(held.lease) for held in helds]

    def requeue(self, tenant: str, ids: Sequence[str]) -> list[Outcome]:
        """See L{IStore}."""
        now = self._clock()
        changes = Changes(self._ledger, self._recent)
        found = rows.by_ids(self.db, tenant, ids, self._ledger.names, self._recent)
        outcomes: list[Outcome] = []
        for id in ids:
            task = found.get(id)
            if task is None:
                outcomes.append(Refusal.UNKNOWN)
            elif task.state not in sources(Event.REQUEUE):
                outcomes.append(Refusal.WRONG_STATE)
            else:
                found[id] = changes.put(task, again(task, now))
                outcomes.append(found[id])
        changes.make(self.db)
        return outcomes

    def remove(self, tenant: str, ids: Sequence[str]) -> list[Outcome]:
        """See L{IStore}."""
        changes = Changes(self._ledger, self._recent)
        found = rows.by_ids(self.db, tenant, ids, self._ledger.names, self._recent)
        outcomes: list[Outcome] = []
        for id in ids:
            task = found.pop(id, None)
            outcomes.append(Refusal.UNKNOWN if task is None else changes.put(task, None))
        changes.make(self.db)
        return outcomes

    def purge(self, queue: QueueName, states: frozenset[State], before: int, limit: int) -> int:
        """See L{IStore}."""
        place = self._ledger.places.get(queue)
        if place is None:
            return 0
        limit = min(limit, PURGE_MAX)
        found = sorted(
            (seq, state)
            for state in states
            if place.counts[state]
            for seq in rows.oldest(self.db, place.id, state, limit, before=before)
        )[:limit]
        for state in states:
            seqs = [seq for seq, its in found if its is state]
            if seqs:
                rows.delete_seqs(self.db, seqs, state)
                for seq in seqs:
                    self._recent.pop(seq, None)
                self._ledger.count(place, state, -len(seqs))
                if state is State.LEASED and place.queue.policy.leased_max:
                    self._ledger.ready(place)
        return len(found)

    def sweep(self) -> Swept:
        """See L{IStore}."""
        now = self._clock()
        changes = Changes(self._ledger, self._recent)
        expired: list[Task] = []
        ready = removed = 0
        orphans: list[tuple[int]] = []
        for row in self.db.execute(_OVERDUE, (now, SWEEP_MAX)).fetchall():
            name = self._ledger.names.get(row[2])
            if name is None:
                orphans.append((row[0],))
                continue
            task = rows.task_of(row, name)
            if task.state is State.LEASED:
                expired.append(task)
            backoff = self._ledger.places[name].queue.policy.backoff
            after = overdue(task, now, backoff, self._bits.random())
            changes.put(task, after)
            ready += after is not None and after.state is State.READY
            removed += after is None
        changes.make(self.db)
        if orphans:
            self.db.executemany("DELETE FROM task WHERE seq = ?", orphans)
        return Swept(ready, tuple(expired), removed, 0 < self._ledger.due(self.db) <= now)

    def probe(self) -> None:
        """Try whether the file can be written."""
        self.db.execute("UPDATE meta SET probed = ? WHERE one = 1", (self._clock(),))
