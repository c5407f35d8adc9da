"""
The store that keeps tasks in a SQLite file, and answers when they are there.

One thread writes and one reads; see L{tqserver.queue.sqlite_writer} and L{tqserver.queue.sqlite_commit}. In the
reactor's thread there are only the queues and the number of their tasks, as of the last commit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from ..process.lock import REFRESH_S
from .chances import Chances
from .model import NEVER, Counts, NewTask, Policy, Queue, QueueName, State, Task
from .sqlite_commit import Committer, Stats, Told
from .sqlite_file import Durability, QueueFile
from .sqlite_ledger import Ledger
from .sqlite_reader import Reader
from .sqlite_steps import Steps
from .sqlite_writer import Lane, ThreadLane
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
    IStore,
    Outcome,
    Page,
    Refusal,
    Release,
    StoreFault,
    Swept,
)

PROBE_S = 1.0
"""After a fault: how long until it is tried whether the file can be written again, in seconds."""

_log = Logger()


@implementer(IStore)
class SqliteStore:
    """
    Tasks in a file.

    @ivar stats: what has been done so far.
    @ivar path: of the file.
    """

    def __init__(
        self,
        directory: str,
        reactor: Any,
        clock: Clock,
        *,
        durability: Durability = "disk",
        tasks_max: int = 0,
        file_bytes_max: int = 0,
        bits: random.Random | None = None,
        threads: bool = True,
    ) -> None:
        """
        @param directory: where the file is; this process alone has it.
        @param reactor: for the threads and the time (C{IReactorFromThreads}, C{IReactorTime}).
        @param durability: what an answer promises, see L{Durability}.
        @param tasks_max: how many tasks it may hold; 0 is no limit.
        @param file_bytes_max: how large the file may become, in bytes; 0 is no limit.
        @param bits: where ids and chances come from.
        @param threads: false does everything at once, in the reactor's thread: for tests.
        """
        self.stats = Stats()
        self.fault: StoreFault | None = None
        self.queues: dict[QueueName, Queue] = {}
        self.due = NEVER
        self._counts: dict[QueueName, Counts] = {}
        self._observers: list[Changed] = []
        self._time: IReactorTime = reactor
        self._calls: dict[str, IDelayedCall] = {}
        self._closed = False
        self._file = QueueFile(directory, durability, file_bytes_max)
        ledger = Ledger()
        self._steps = Steps(ledger, clock, bits or Chances(), tasks_max, limited=file_bytes_max > 0)
        self._committer = Committer(self._file, ledger, self._steps, self.stats)
        self._reader = Reader(self._file)
        self.path = self._file.path
        self.writing: Lane[Told]
        self.reading: Lane[StoreFault | None]
        committer, reader = self._committer, self._reader
        if threads:
            hand: IReactorFromThreads = reactor
            self.writing = ThreadLane(committer.serve, self._told, committer.rest, hand, "queue writer")
            self.reading = ThreadLane(reader.serve, self._looked, _no_rest, hand, "queue reader")
        else:
            self.writing = Lane(committer.serve, self._told, committer.rest)
            self.reading = Lane(reader.serve, self._looked, _no_rest)

    # What may be asked at any time.

    def observe(self, changed: Changed) -> None:
        """See L{IStore}."""
        self._observers.append(changed)

    def counts(self, queue: QueueName) -> Counts:
        """See L{IStore}."""
        return self._counts.get(queue, _NONE)

    # Begin and end.

    def open(self) -> Deferred[None]:
        """See L{IStore}."""
        self.writing.start()
        self.reading.start()
        self._again("refresh", REFRESH_S, self._refresh)
        return self.writing.submit(_nothing)

    def close(self) -> Deferred[None]:
        """See L{IStore}."""
        self._closed = True
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()
        closed = self.reading.stop(self._reader.close)
        closed.addCallback(lambda _: self.writing.stop(self._end))
        return closed

    def _end(self) -> None:
        self._committer.close()
        self._file.release()

    def _again(self, what: str, delay_s: float, call: Callable[[], None]) -> None:
        """Do something later, unless that is already to be done."""

        def now() -> None:
            del self._calls[what]
            call()

        if what not in self._calls and not self._closed:
            self._calls[what] = self._time.callLater(delay_s, now)

    def _refresh(self) -> None:
        """Keep the directory ours."""
        refreshed = self.reading.submit(self._file.refresh)
        refreshed.addErrback(
            lambda failure: _log.warn("cannot refresh the lock of the queues: {error!r}", error=failure.value)
        )
        refreshed.addCallback(lambda _: self._again("refresh", REFRESH_S, self._refresh))

    def _probe(self) -> None:
        """See whether the fault is over, though nobody asks for anything."""
        self.writing.submit(self._steps.probe).addErrback(lambda failure: None)  # It is in C{fault}.

    # News.

    def _told(self, told: Told) -> None:
        """A batch is done."""
        if told.fault is not None:
            if self.fault is None:
                _log.error(
                    "the queues do not work: {reason} {detail}", reason=told.fault.reason, detail=told.fault.detail
                )
            self._again("probe", PROBE_S, self._probe)
        elif self.fault is not None:
            _log.info("the queues work again")
        self.fault = told.fault
        news = told.news
        if news.fresh:
            self.queues.clear()
            self._counts.clear()
        for name, queue in news.queues.items():
            if queue is None:
                self.queues.pop(name, None)
            else:
                self.queues[name] = queue
        for name, counts in news.counts.items():
            if name in self.queues:
                self._counts[name] = counts
            else:
                self._counts.pop(name, None)
        earlier = False
        if news.due >= 0:
            earlier = news.due > 0 and (not self.due or news.due < self.due)
            self.due = news.due
        if news.ready or earlier:
            ready = frozenset(news.ready)
            for changed in self._observers:
                try:
                    changed(ready)
                except Exception:
                    _log.failure("an observer of the store failed")

    def _looked(self, fault: StoreFault | None) -> None:
        """Some looks are done."""
        if fault is not None:
            self.fault = fault
            self._again("probe", PROBE_S, self._probe)

    # Queues.

    def define(self, queue: QueueName, policy: Policy | None = None) -> Deferred[bool]:
        """See L{IStore}."""
        return self.writing.submit(lambda: self._steps.define(queue, policy))

    def drop(self, queue: QueueName) -> Deferred[bool]:
        """See L{IStore}."""
        return self.writing.submit(lambda: self._steps.drop(queue), SWEEP_MAX)

    # The life of tasks.

    def create(self, tasks: Sequence[NewTask], *, define: bool = False) -> Deferred[list[Created | Refusal]]:
        """See L{IStore}."""
        weight = sum([len(new.payload) + len(new.head) for new in tasks])
        return self.writing.submit(lambda: self._steps.create(tasks, define), len(tasks), weight)

    def claim(self, claim: Claim) -> Deferred[list[Task]]:
        """See L{IStore}."""
        return self.writing.submit(lambda: self._steps.claim(claim), min(claim.limit, CLAIM_MAX))

    def finish(self, finishes: Sequence[Finish]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""
        weight = sum([len(each.result) for each in finishes if each.result is not None])
        return self.writing.submit(lambda: self._steps.finish(finishes), len(finishes), weight)

    def release(self, releases: Sequence[Release]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""
        return self.writing.submit(lambda: self._steps.release(releases), len(releases))

    def extend(self, extends: Sequence[Extend]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""
        return self.writing.submit(lambda: self._steps.extend(extends), len(extends))

    def requeue(self, tenant: str, ids: Sequence[str]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""
        return self.writing.submit(lambda: self._steps.requeue(tenant, ids), len(ids))

    def remove(self, tenant: str, ids: Sequence[str]) -> Deferred[list[Outcome]]:
        """See L{IStore}."""
        return self.writing.submit(lambda: self._steps.remove(tenant, ids), len(ids))

    def purge(self, queue: QueueName, states: frozenset[State], before: int, limit: int) -> Deferred[int]:
        """See L{IStore}."""
        return self.writing.submit(lambda: self._steps.purge(queue, states, before, limit), min(limit, PURGE_MAX))

    def sweep(self) -> Deferred[Swept]:
        """See L{IStore}."""
        return self.writing.submit(self._steps.sweep, SWEEP_MAX)

    # Looking.

    def get(self, tenant: str, ids: Sequence[str]) -> Deferred[list[Task | None]]:
        """See L{IStore}."""
        return self.reading.submit(lambda: self._reader.get(tenant, ids), len(ids))

    def page(self, queue: QueueName, state: State, limit: int, cursor: int = 0) -> Deferred[Page]:
        """See L{IStore}."""
        return self.reading.submit(lambda: self._reader.page(queue, state, limit, cursor), min(limit, PAGE_MAX))


_NONE = Counts()


def _nothing() -> None:
    """A step that only needs the file to be there."""


def _no_rest() -> bool:
    """Whoever reads has nothing to do besides."""
    return False
