"""
All deliveries of a queue process: what they share, and their end.

Leases are extended by one timer, in one step for all that need it. What ends in one turn of the reactor is stored, and
what there is room for then is claimed, at the end of that turn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..http1.outbox import Outbox
from ..http1.sweep import Sweep
from .call import Call, Step
from .delivery import LEASE_MS, OWNER, Delivery, Rule
from .front_line import FrontLine
from .model import State, Task
from .requests import Manner
from .settling import Settling
from .store import PAGE_MAX, Clock, Extend, Held, IStore, Outcome, Refusal, Release
from .waiting import Waiting

EXTEND_MS = LEASE_MS // 2
"""A lease that has no more than this left is extended."""

EXTEND_AGAIN_S = 1.0
"""When to extend leases again after the store could not, in seconds."""

STOP_S = 7.0
"""So long, in seconds, those in flight may take to their end when the process is to end: less than it has itself."""

STORE_S = 1.0
"""So long, in seconds, what became of the last may take into the store."""

_log = Logger()


class Deliveries:
    """
    Everything that is delivered.

    @ivar line: to the fronts.
    @ivar settling: what became of tasks, on its way into the store.
    @ivar hushed: whether no more is claimed.
    @ivar running: what is in hand, by its lease.
    """

    def __init__(
        self,
        store: IStore,
        waiting: Waiting,
        reactor: Any,
        clock: Clock,
        front: str,
        *,
        sweep: Sweep | None = None,
        outbox: Outbox | None = None,
        chance: Callable[[], float] = random.random,
        ended: Callable[[Task], None] = lambda task: None,
    ) -> None:
        """
        @param front: path of the fronts' private socket.
        @param ended: told of each task that has changed, when that is stored.
        """
        self.hushed = True
        self.running: dict[str, Call] = {}
        self.line = FrontLine(reactor, front, sweep or Sweep(reactor), outbox or Outbox(), self._back)
        self.settling = Settling(store, reactor, self._settled)
        self._store = store
        self._waiting = waiting
        self._reactor = reactor
        self._clock = clock
        self._chance = chance
        self._told = ended
        self._all: dict[Delivery, None] = {}
        self._looking: dict[Delivery, None] = {}
        self._soon: IDelayedCall | None = None
        self._extending: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None
        self._limit: IDelayedCall | None = None
        self._hushed_at = 0.0
        self._ending = False

    @property
    def all(self) -> Iterable[Delivery]:
        """Each of them."""
        return self._all

    def add(self, rule: Rule, manner: Manner) -> Delivery:
        """Deliver a queue, once L{start} is called."""
        delivery = Delivery(self, rule, manner, self._waiting, self._reactor, self._clock, self._chance)
        self._all[delivery] = None
        return delivery

    def start(self) -> Deferred[None]:
        """
        Begin. The store is open, and nobody else has it.

        @return: fires when the queues are there and what a predecessor had in hand was given back.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        for delivery in self._all:
            queue = delivery.rule.queue
            await self._store.define(queue)
            cursor = 0
            while True:
                page = await self._store.page(queue, State.LEASED, PAGE_MAX, cursor)
                orphans = [
                    Release(Held(queue.tenant, task.id, task.lease), False, 0, "the queue was stopped")
                    for task in page.tasks
                    if task.owner == OWNER
                ]
                if orphans:
                    await self._store.release(orphans)
                    _log.info("gave back {n} tasks of {queue} that were in hand", n=len(orphans), queue=queue.name)
                cursor = page.cursor
                if not cursor:
                    break
        if not self._ending:
            self.hushed = False
            self._back()

    # Turns.

    def took(self, call: Call) -> None:
        """See L{Around<tqserver.queue.delivery.Around>}."""
        self.running[call.task.lease] = call
        if self._extending is None:
            self._extend_later((call.until - EXTEND_MS - self._clock()) / 1000)

    def soon(self, delivery: Delivery) -> None:
        """See L{Around<tqserver.queue.delivery.Around>}."""
        self._looking[delivery] = None
        if self._soon is None:
            self._soon = self._reactor.callLater(0, self._turned)

    def _turned(self) -> None:
        self._soon = None
        self.settling.flush()
        looking, self._looking = self._looking, {}
        for delivery in looking:
            delivery.look()

    def _back(self) -> None:
        """There may be something to do for everybody."""
        for delivery in self._all:
            self.soon(delivery)

    def _settled(self, call: Call, outcome: Outcome) -> None:
        call.step = Step.STORED
        self.running.pop(call.task.lease, None)
        if isinstance(outcome, Refusal):
            delivery = call.told
            assert isinstance(delivery, Delivery)
            delivery.refused(call, outcome)
        if self.settling.faulty:
            self._back()  # Nothing was claimed while nothing could be stored.
        if not isinstance(outcome, Refusal):
            self._told(outcome)
        if self._stopped is not None:
            self._look_at_the_end()

    def cancel(self, id: str) -> None:
        """A task was removed: its worker need not go on with it."""
        for call in list(self.running.values()):
            if call.task.id == id:
                self._forget(call)

    def _forget(self, call: Call) -> None:
        """Somebody else has the task now, or nobody."""
        delivery = call.told
        assert isinstance(delivery, Delivery)
        if delivery.drop(call):
            delivery.tally.lost += 1
            self.running.pop(call.task.lease, None)
            self.soon(delivery)
            if self._stopped is not None:
                self._look_at_the_end()

    # Leases.

    def _extend_later(self, delay_s: float) -> None:
        self._extending = self._reactor.callLater(max(delay_s, 0.0), self._extend)

    def _extend(self) -> None:
        self._extending = None
        now = self._clock()
        calls = [call for call in self.running.values() if call.until <= now + EXTEND_MS]
        if not calls:
            self._extended([], [], 0)
            return
        until = now + LEASE_MS
        extends = [Extend(Held(call.task.queue.tenant, call.task.id, call.task.lease), until) for call in calls]
        self._store.extend(extends).addCallbacks(self._extended, self._not_extended, (calls, until))

    def _extended(self, outcomes: list[Outcome], calls: list[Call], until: int) -> None:
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                self._forget(call)
            # What has ended is to be stored, whatever is said of its lease, and then it is over.
            call.until = until
        if self.running and self._extending is None:
            first = min(call.until for call in self.running.values())
            self._extend_later((first - EXTEND_MS - self._clock()) / 1000)

    def _not_extended(self, failure: Failure) -> None:
        _log.warn("cannot extend leases: {error}", error=failure.value)
        if self.running and self._extending is None:
            self._extend_later(EXTEND_AGAIN_S)

    # The end.

    def hush(self) -> None:
        """Claim no more; those in flight go on. May be called again."""
        if self._ending:
            return
        self._ending = self.hushed = True
        self._hushed_at = self._reactor.seconds()
        for delivery in self._all:
            delivery.hush()

    def stop(self) -> Deferred[None]:
        """
        Wait for those in flight, at most until L{STOP_S} after L{hush}, and give back what is left.

        @return: fires when all that became of them is stored, or cannot be.
        """
        self.hush()
        if self._stopped is None:
            self._stopped = Deferred()
            if not self.running:
                self._end()
                return self._stopped
            left_s = STOP_S - (self._reactor.seconds() - self._hushed_at)
            self._limit = self._reactor.callLater(max(left_s, 0.0), self._cut)
        return self._stopped

    def _look_at_the_end(self) -> None:
        if not self.running:
            self._end()

    def _cut(self) -> None:
        """Wait no longer for workers."""
        self._limit = self._reactor.callLater(STORE_S, self._end)
        for call in list(self.running.values()):
            delivery = call.told
            assert isinstance(delivery, Delivery)
            if delivery.drop(call):
                delivery.give_back(call, "the queue was stopped")
        self._turned()

    def _end(self) -> None:
        if len(self.settling):
            _log.warn("{n} ends of deliveries were not stored; these tasks come again", n=len(self.settling))
        self.settling.close()
        self.line.close()
        for call in (self._limit, self._extending, self._soon):
            if call is not None and call.active():
                call.cancel()
        self._limit = self._extending = self._soon = None
        stopped = self._stopped
        if stopped is not None and not stopped.called:
            stopped.callback(None)
