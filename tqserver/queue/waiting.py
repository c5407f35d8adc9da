"""
Those who wait for tasks to become ready: woken by readiness, in the order in which they came, never by looking again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import ServerFault
from .model import QueueName, Task
from .store import Claim, Clock, Held, IStore, Refusal, Release

WAITERS_MAX = 20_000
"""Claims that may wait at once."""

AGAIN_S = 1.0
"""After a claim that failed: when those who wait behind it are looked at again, in seconds."""

_log = Logger()


def every(tenant: str) -> QueueName:
    """What stands for all queues of a tenant, also those to come."""
    return QueueName(tenant, "")


@define(eq=False)
class _Waiter:
    """
    @ivar answer: fires with what was leased; L{None} once it has.
    @ivar asking: whether the store is being asked for it.
    """

    queues: tuple[QueueName, ...]
    limit: int
    lease_ms: int
    owner: str
    take: bool
    answer: Deferred[list[Task]] | None = None
    asking: bool = False
    call: IDelayedCall | None = None


@define
class Waiting:
    """
    Claims that wait.

    Who waits longest is served first. A client that leaves is forgotten; what was leased to it at that moment is given
    back, and was not a try.
    """

    _store: IStore
    _reactor: IReactorTime
    _clock: Clock
    _waiters: dict[QueueName, OrderedDict[_Waiter, None]] = field(factory=dict)
    _all: OrderedDict[_Waiter, None] = field(factory=OrderedDict)
    _stale: dict[QueueName, None] = field(factory=dict)
    """Queues whose waiting claims are to be looked at, when that is done with another queue's."""
    _waking: bool = False
    _owed: dict[QueueName, None] = field(factory=dict)
    """Those to be looked at when C{_again} fires."""
    _again: IDelayedCall | None = None
    _closed: bool = False

    def __attrs_post_init__(self) -> None:
        self._store.observe(self._changed)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._all)

    def claim(
        self,
        queues: Iterable[QueueName],
        *,
        limit: int,
        lease_ms: int,
        wait_s: float = 0,
        owner: str = "",
        take: bool = False,
    ) -> Deferred[list[Task]]:
        """
        Lease ready tasks of some queues, and wait for the first if there are none. To cancel the Deferred is to leave.

        @param queues: of one tenant, or L{every} of them.
        @param limit: at most so many.
        @param lease_ms: how long the leases are, in milliseconds.
        @param wait_s: how long to wait, in seconds.
        @param owner: who wants them.
        @param take: see L{Claim}.
        @return: fires with them; with none when the time is over, or when the last of the queues is dropped.
        @raise StoreFault: (by the Deferred) see L{IStore}.
        """
        waiter = _Waiter(tuple(queues), limit, lease_ms, owner, take)
        waits = wait_s > 0 and not self._closed
        if waits and len(self._all) >= WAITERS_MAX:
            return fail(ServerFault("Too many are waiting for tasks.", f"{WAITERS_MAX} at most", retry_after_s=1))
        if not self._ready(waiter.queues) and not waits:
            return succeed([])
        answer = waiter.answer = Deferred(lambda _: self._leave(waiter))
        if waits:
            self._all[waiter] = None
            for name in waiter.queues:
                self._waiters.setdefault(name, OrderedDict())[waiter] = None
            waiter.call = self._reactor.callLater(wait_s, self._timed_out, waiter)
        if self._ready(waiter.queues):
            self._ask(waiter)
        return answer

    def claim_now(
        self, queues: tuple[QueueName, ...], *, limit: int, lease_ms: int, take: bool = False
    ) -> Deferred[list[Task]]:
        """
        Lease ready tasks of some queues if there are any: as L{claim} without a wait, but for less. The Deferred is
        not to be cancelled; whoever has left when it fires calls L{give_back}.
        """
        ready = self._ready(queues)
        if not ready:
            return succeed([])
        return self._store.claim(Claim(ready, limit, self._clock() + lease_ms, "", take))

    def give_back(self, tasks: list[Task]) -> None:
        """Tasks were leased to a client that has left in the meantime."""

        def given(outcomes: list[Task | Refusal]) -> None:
            _log.debug("gave back {n} tasks of a client that left", n=len(outcomes))

        def lost(failure: Failure) -> None:
            _log.warn("cannot give back {n} tasks; their leases will end: {error}", n=len(tasks), error=failure.value)

        if tasks:
            releases = [
                Release(Held(task.queue.tenant, id=task.id, lease=task.lease), counted=False, delay_ms=0)
                for task in tasks
            ]
            self._store.release(releases).addCallbacks(given, lost)

    def close(self) -> None:
        """Nobody waits any more: all are answered with nothing, and whoever comes is answered at once."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for waiter in list(self._all):
            if not waiter.asking:
                self._answer(waiter, [])

    # Inside.

    def _ready(self, queues: tuple[QueueName, ...]) -> tuple[QueueName, ...]:
        """Those of some queues that have something ready."""
        if len(queues) == 1 and queues[0].name:
            return queues if self._store.counts(queues[0]).ready else ()
        return tuple(name for name in self._named(queues) if self._store.counts(name).ready)

    def _named(self, queues: Iterable[QueueName]) -> list[QueueName]:
        """Queues by their names, L{every} among them."""
        names: list[QueueName] = []
        for name in queues:
            if name.name:
                names.append(name)
            else:
                names += [known for known in self._store.queues if known.tenant == name.tenant]
        return names

    def _changed(self, ready: Iterable[QueueName]) -> None:
        """Ask for as many as there is something for. A store may answer at once, and tell more meanwhile."""
        self._stale.update(dict.fromkeys(ready))
        if self._waking:
            return
        self._waking = True
        try:
            while self._stale:
                name = next(iter(self._stale))
                del self._stale[name]
                self._wake(name)
        finally:
            self._waking = False

    def _wake(self, name: QueueName) -> None:
        if name not in self._store.queues:
            self._dropped(name)
            return
        room = self._store.counts(name).ready
        woken: list[_Waiter] = []
        for place in (name, every(name.tenant)):
            for waiter in self._waiters.get(place, ()):
                if room <= 0:
                    break
                room -= waiter.limit
                if not waiter.asking:
                    woken.append(waiter)
        for waiter in woken:
            if waiter.answer is not None and not waiter.asking:
                self._ask(waiter)

    def _dropped(self, name: QueueName) -> None:
        """Who waits for nothing else has nothing to wait for."""
        for waiter in list(self._waiters.get(name, ())):
            if any(each in self._store.queues or not each.name for each in waiter.queues):
                continue
            if waiter.asking:
                self._forget_place(waiter)  # What it is given now is its answer.
            else:
                self._answer(waiter, [])

    def _ask(self, waiter: _Waiter) -> None:
        waiter.asking = True
        claim = Claim(
            self._ready(waiter.queues),
            waiter.limit,
            self._clock() + waiter.lease_ms,
            owner=waiter.owner,
            take=waiter.take,
        )
        self._store.claim(claim).addCallbacks(
            self._claimed, self._failed, callbackArgs=(waiter,), errbackArgs=(waiter,)
        )

    def _claimed(self, tasks: list[Task], waiter: _Waiter) -> None:
        waiter.asking = False
        if waiter.answer is None:
            if not waiter.take:
                self.give_back(tasks)
        elif tasks or self._closed or waiter not in self._all:
            self._answer(waiter, tasks)
        elif any(self._allows(name) for name in self._ready(waiter.queues)):
            self._ask(waiter)  # More has become ready while others were served.
        if self._all:
            # What became ready while this one was asked for was counted as its own; it is there for the others.
            self._changed(name for name in self._ready(waiter.queues) if self._allows(name))

    def _allows(self, name: QueueName) -> bool:
        """Whether the rules of a queue let anything be leased now."""
        queue = self._store.queues.get(name)
        if queue is None or queue.policy.paused:
            return False
        return not 0 < queue.policy.leased_max <= self._store.counts(name).leased

    def _failed(self, failure: Failure, waiter: _Waiter) -> None:
        waiter.asking = False
        answer = self._forget(waiter)
        if self._all and not self._closed:
            self._owed.update(dict.fromkeys(waiter.queues))
            if self._again is None:
                self._again = self._reactor.callLater(AGAIN_S, self._look_again)
        if answer is not None:
            answer.errback(failure)

    def _look_again(self) -> None:
        """What was ready for somebody who was told of a fault is there for the others."""
        self._again = None
        owed, self._owed = self._owed, {}
        self._changed(name for name in self._named(owed) if self._allows(name))

    def _timed_out(self, waiter: _Waiter) -> None:
        waiter.call = None
        if waiter.asking:
            self._forget_place(waiter)  # What it is given now is its answer.
        else:
            self._answer(waiter, [])

    def _answer(self, waiter: _Waiter, tasks: list[Task]) -> None:
        answer = self._forget(waiter)
        if answer is not None:
            answer.callback(tasks)

    def _leave(self, waiter: _Waiter) -> None:
        self._forget(waiter)

    def _forget(self, waiter: _Waiter) -> Deferred[list[Task]] | None:
        """The waiter is answered, or has left."""
        self._forget_place(waiter)
        call, waiter.call = waiter.call, None
        if call is not None:
            call.cancel()
        answer, waiter.answer = waiter.answer, None
        return answer

    def _forget_place(self, waiter: _Waiter) -> None:
        if waiter not in self._all:
            return
        del self._all[waiter]
        for name in waiter.queues:
            place = self._waiters[name]
            place.pop(waiter, None)
            if not place:
                del self._waiters[name]
