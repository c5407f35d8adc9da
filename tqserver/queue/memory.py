"""
The store that keeps everything in memory: the reference for what the operations mean.

It also serves where nothing need survive the process, and is then as fast as a store can be.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeVar

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from .ids import RANDOM_BITS, make_id, seq_of
from .lifecycle import Event, again, born, ended, extended, finished, judge, leased, overdue, released, sources
from .model import NEVER, Counts, NewTask, Policy, Queue, QueueName, State, Task
from .store import (
    CLAIM_MAX,
    PAGE_MAX,
    PURGE_MAX,
    SWEEP_MAX,
    Changed,
    Claim,
    Clock,
    Created,
    Extend,
    Finish,
    FullFault,
    Held,
    IStore,
    Outcome,
    Page,
    Refusal,
    Release,
    StoreFault,
    Swept,
)

STALE_MAX = 1024
"""Outdated entries that a heap may hold besides as many as it has good ones."""

KEYS_SWEPT_MAX = 1000
"""Remembered keys that one step forgets."""


_T = TypeVar("_T")
_Item = TypeVar("_Item", Finish, Release, Extend)


@define
class _Held:
    """
    What there is of one queue.

    @ivar ready: a heap of (priority, seq), some of which may not be ready any more.
    @ivar counts: by state.
    """

    queue: Queue
    ready: list[tuple[int, int]] = field(factory=list)
    counts: list[int] = field(factory=lambda: [0] * len(State))
    seqs: dict[int, None] = field(factory=dict)


@implementer(IStore)
class MemoryStore:
    """
    Tasks in memory.

    @ivar bytes: what the tasks in it weigh: their payloads, heads and results.
    """

    def __init__(
        self, clock: Clock, *, tasks_max: int = 0, bytes_max: int = 0, bits: random.Random | None = None
    ) -> None:
        """
        @param tasks_max: how many it may hold; 0 is no limit.
        @param bytes_max: what they may weigh; 0 is no limit.
        @param bits: where ids and chances come from.
        """
        self.tasks_max = tasks_max
        self.bytes_max = bytes_max
        self.bytes = 0
        self.fault: StoreFault | None = None
        self.queues: dict[QueueName, Queue] = {}
        self._clock = clock
        self._bits = bits or secrets.SystemRandom()
        self._observers: list[Changed] = []
        self._held: dict[QueueName, _Held] = {}
        self._tasks: dict[int, Task] = {}
        self._seq = 0
        self._named: dict[tuple[str, str], int] = {}
        """The numbers of tasks whose clients chose their ids."""
        self._keys: dict[tuple[QueueName, str], tuple[int, int]] = {}
        """The number of the task and the moment at which it is forgotten, by key."""
        self._due: list[tuple[int, int]] = []
        """A heap of (due, seq), some of which may not be true any more."""
        self._ready: set[QueueName] = set()
        self._moved = False

    def __len__(self) -> int:
        return len(self._tasks)

    # What may be asked at any time.

    @property
    def due(self) -> int:
        """See L{IStore}."""
        heap = self._due
        while heap:
            due, seq = heap[0]
            task = self._tasks.get(seq)
            if task is not None and task.due == due:
                return due
            heappop(heap)
        return NEVER

    def observe(self, changed: Changed) -> None:
        """See L{IStore}."""
        self._observers.append(changed)

    def open(self) -> Deferred[None]:
        """See L{IStore}."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """See L{IStore}."""
        return succeed(None)

    def counts(self, queue: QueueName) -> Counts:
        """See L{IStore}."""
        held = self._held.get(queue)
        return Counts(*held.counts) if held is not None else Counts()

    # Queues.

    def define(self, queue: QueueName, policy: Policy | None = None) -> Deferred[bool]:
        """See L{IStore}."""
        known = self._held.get(queue)
        if known is None:
            self._make(queue, policy or Policy())
        elif policy is not None and policy != known.queue.policy:
            known.queue = self.queues[queue] = msgspec.structs.replace(known.queue, policy=policy)
            if known.counts[State.READY]:
                self._ready.add(queue)
        return self._stepped(known is None)

    def _make(self, queue: QueueName, policy: Policy) -> _Held:
        made = self._held[queue] = _Held(Queue(queue, self._clock(), policy))
        self.queues[queue] = made.queue
        return made

    def drop(self, queue: QueueName) -> Deferred[bool]:
        """See L{IStore}."""
        held = self._held.get(queue)
        if held is not None:
            for seq in list(held.seqs):
                self._remove(self._tasks[seq])
            for key in [key for key in self._keys if key[0] == queue]:
                del self._keys[key]
            del self._held[queue], self.queues[queue]
            self._ready.add(queue)
        return self._stepped(held is not None)

    # The life of tasks.

    def create(self, tasks: Sequence[NewTask], *, define: bool = False) -> Deferred[list[Created | Refusal]]:
        """See L{IStore}."""
        now = self._clock()
        if self.tasks_max and len(self._tasks) + len(tasks) > self.tasks_max:
            return self._full(f"it holds {len(self._tasks)} tasks, of {self.tasks_max}")
        if self.bytes_max and self.bytes + sum(len(new.payload) + len(new.head) for new in tasks) > self.bytes_max:
            return self._full(f"it holds {self.bytes} bytes, of {self.bytes_max}")
        self._forget_keys(now)
        return self._stepped([self._create(new, now, define) for new in tasks])

    def _full(self, reason: str) -> Deferred[list[Created | Refusal]]:
        return fail(FullFault("The queue is full.", reason, retry_after_s=1))

    def _create(self, new: NewTask, now: int, define: bool) -> Created | Refusal:
        held = self._held.get(new.queue)
        if held is None:
            if not define:
                return Refusal.NO_QUEUE
            held = self._make(new.queue, Policy())
        if new.key:
            seq, until = self._keys.get((new.queue, new.key), (0, 0))
            first = self._tasks.get(seq)
            if first is not None and until > now:
                return Created(first, replay=True)
        if new.id and self._find(new.queue.tenant, new.id) is not None:
            return Refusal.EXISTS
        self._seq += 1
        task = born(new, now, self._seq, make_id(self._seq, self._bits.getrandbits(RANDOM_BITS)))
        if new.id:
            self._named[new.queue.tenant, new.id] = task.seq
        if new.key and new.key_expires > now:
            self._keys.pop((new.queue, new.key), None)  # To the end, as they are forgotten in that order.
            self._keys[new.queue, new.key] = (task.seq, new.key_expires)
        self._tasks[task.seq] = task
        held.seqs[task.seq] = None
        held.counts[task.state] += 1
        self.bytes += _weight(task)
        self._settle(held, task)
        return Created(task)

    def _forget_keys(self, now: int) -> None:
        outdated: list[tuple[QueueName, str]] = []
        for key, (seq, until) in self._keys.items():
            if (until > now and seq in self._tasks) or len(outdated) == KEYS_SWEPT_MAX:
                break
            outdated.append(key)
        for key in outdated:
            del self._keys[key]

    def claim(self, claim: Claim) -> Deferred[list[Task]]:
        """See L{IStore}."""
        now = self._clock()
        claimed: list[Task] = []
        for task in self._next(claim, now):
            held = self._held[task.queue]
            heappop(held.ready)
            if claim.take:
                after = ended(task, now, State.DONE)
                self._replace(held, task, after)
                claimed.append(task)
            else:
                lease = make_id(task.seq, self._bits.getrandbits(RANDOM_BITS))
                after = leased(task, now, claim.until, lease, claim.owner)
                self._replace(held, task, after)
                claimed.append(after)
        return self._stepped(claimed)

    def _next(self, claim: Claim, now: int) -> Iterator[Task]:
        """The ready tasks to take, each taken before the next is asked for."""
        helds = [held for name in dict.fromkeys(claim.queues) if (held := self._held.get(name)) is not None]
        for _ in range(min(claim.limit, CLAIM_MAX)):
            best: Task | None = None
            for held in helds:
                task = self._first(held, now)
                if task is not None and (best is None or (task.priority, task.seq) < (best.priority, best.seq)):
                    best = task
            if best is None:
                return
            yield best

    def _first(self, held: _Held, now: int) -> Task | None:
        """The first ready task of a queue, if any may be leased."""
        policy = held.queue.policy
        if policy.paused or 0 < policy.leased_max <= held.counts[State.LEASED]:
            return None
        heap = held.ready
        while heap:
            task = self._tasks.get(heap[0][1])
            if task is not None and task.state is State.READY and task.priority == heap[0][0]:
                if not task.expires or task.expires > now:
                    return task
                self._remove(task)
            heappop(heap)
        return None

    def finish(self, finishes: Sequence[Finish]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""
        return self._holding(finishes, finished)

    def release(self, releases: Sequence[Release]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""

        def after(task: Task, each: Release, now: int) -> Task | None:
            backoff = self._held[task.queue].queue.policy.backoff
            return released(task, each, now, backoff, self._bits.random())

        return self._holding(releases, after)

    def extend(self, extends: Sequence[Extend]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""
        return self._holding(extends, lambda task, each, now: extended(task, each))

    def _holding(
        self, items: Sequence[_Item], after: Callable[[Task, _Item, int], Task | None]
    ) -> Deferred[list[Outcome]]:
        """What becomes of leased tasks, if they are leased as is believed."""
        now = self._clock()
        outcomes: list[Outcome] = []
        for each in items:
            task = self._held_task(each.held)
            refusal = judge(task, each.held, now)
            if refusal is not None or task is None:
                outcomes.append(refusal or Refusal.UNKNOWN)
            else:
                outcomes.append(self._replace(self._held[task.queue], task, after(task, each, now)))
        return self._stepped(outcomes)

    def requeue(self, tenant: str, ids: Sequence[str]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""
        now = self._clock()
        outcomes: list[Outcome] = []
        for id in ids:
            task = self._find(tenant, id)
            if task is None:
                outcomes.append(Refusal.UNKNOWN)
            elif task.state not in sources(Event.REQUEUE):
                outcomes.append(Refusal.WRONG_STATE)
            else:
                outcomes.append(self._replace(self._held[task.queue], task, again(task, now)))
        return self._stepped(outcomes)

    def remove(self, tenant: str, ids: Sequence[str]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""
        outcomes: list[Outcome] = []
        for id in ids:
            task = self._find(tenant, id)
            if task is not None:
                self._remove(task)
            outcomes.append(task or Refusal.UNKNOWN)
        return self._stepped(outcomes)

    def purge(self, queue: QueueName, states: frozenset[State], before: int, limit: int) -> Deferred[int]:
        """See L{IStore}."""
        limit = min(limit, PURGE_MAX)
        removed = 0
        held = self._held.get(queue)
        for seq in list(held.seqs) if held is not None else ():
            task = self._tasks[seq]
            if removed < limit and task.state in states and not 0 < before <= task.updated:
                self._remove(task)
                removed += 1
        return self._stepped(removed)

    def sweep(self) -> Deferred[Swept]:
        """See L{IStore}."""
        now = self._clock()
        expired: list[Task] = []
        ready = removed = swept = 0
        while swept < SWEEP_MAX and 0 < self.due <= now:
            task = self._tasks[heappop(self._due)[1]]
            swept += 1
            if task.state is State.LEASED:
                expired.append(task)
            held = self._held[task.queue]
            after = overdue(task, now, held.queue.policy.backoff, self._bits.random())
            self._replace(held, task, after)
            ready += after is not None and after.state is State.READY
            removed += after is None
        return self._stepped(Swept(ready, tuple(expired), removed, 0 < self.due <= now))

    # Looking.

    def get(self, tenant: str, ids: Sequence[str]) -> Deferred[list[Task | None]]:
        """See L{IStore}."""
        return succeed([self._find(tenant, id) for id in ids])

    def page(self, queue: QueueName, state: State, limit: int, cursor: int = 0) -> Deferred[Page]:
        """See L{IStore}."""
        held = self._held.get(queue)
        limit = min(limit, PAGE_MAX)
        tasks = [
            task
            for seq in (held.seqs if held is not None else ())
            if seq >= cursor and (task := self._tasks[seq]).state is state
        ]
        return succeed(Page(tuple(tasks[:limit]), tasks[limit].seq if len(tasks) > limit else 0))

    def everything(self, queue: QueueName) -> list[Task]:
        """All tasks of a queue as they are now, oldest first."""
        held = self._held.get(queue)
        return [self._tasks[seq] for seq in held.seqs] if held is not None else []

    # Inside.

    def _find(self, tenant: str, id: str) -> Task | None:
        seq = self._named.get((tenant, id))
        if seq is None:
            seq = seq_of(id)
        task = self._tasks.get(seq)
        return task if task is not None and task.queue.tenant == tenant and task.id == id else None

    def _held_task(self, held: Held) -> Task | None:
        return self._find(held.tenant, held.id) if held.id else self._tasks.get(seq_of(held.lease))

    def _replace(self, held: _Held, task: Task, after: Task | None) -> Task:
        """A task has changed, or is gone."""
        if after is None:
            self._remove(task)
            return task
        held.counts[task.state] -= 1
        held.counts[after.state] += 1
        self.bytes += _weight(after) - _weight(task)
        self._tasks[task.seq] = after
        if task.state is State.LEASED and after.state is not State.LEASED and held.queue.policy.leased_max:
            self._ready.add(task.queue)
        self._settle(held, after)
        return after

    def _settle(self, held: _Held, task: Task) -> None:
        """Note what follows from a task's present state."""
        if task.state is State.READY:
            heap = held.ready
            if len(heap) > 2 * held.counts[State.READY] + STALE_MAX:
                ready = (self._tasks[seq] for seq in held.seqs)
                heap[:] = [
                    (each.priority, each.seq) for each in ready if each.state is State.READY and each is not task
                ]
                heapify(heap)
            heappush(heap, (task.priority, task.seq))
            self._ready.add(task.queue)
        if task.due:
            due = self._due
            if len(due) > 2 * len(self._tasks) + STALE_MAX:
                due[:] = [(each.due, each.seq) for each in self._tasks.values() if each.due and each is not task]
                heapify(due)
            self._moved = self._moved or not due or task.due < due[0][0]
            heappush(due, (task.due, task.seq))

    def _remove(self, task: Task) -> None:
        held = self._held[task.queue]
        held.counts[task.state] -= 1
        del held.seqs[task.seq], self._tasks[task.seq]
        self._named.pop((task.queue.tenant, task.id), None)
        self.bytes -= _weight(task)
        if task.state is State.LEASED and held.queue.policy.leased_max:
            self._ready.add(task.queue)

    def _stepped(self, answer: _T) -> Deferred[_T]:
        """A step is done."""
        if self._ready or self._moved:
            ready = frozenset(self._ready)
            self._ready.clear()
            self._moved = False
            for changed in self._observers:
                changed(ready)
        return succeed(answer)


def _weight(task: Task) -> int:
    return len(task.payload) + len(task.head) + len(task.result or b"") + len(task.result_head) + len(task.progress)
