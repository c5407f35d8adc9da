"""
What follows from calls is stored in batches: while one is being committed, the next gathers. Nothing is dropped because
a store cannot do its work for a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .call import Call
from .store import Finish, IStore, Outcome, Release, StoreFault

BATCH_MAX = 500
"""Calls whose ends are stored in one step."""

AGAIN_S = 0.25
"""The first pause, in seconds, after a store could not; it doubles."""

AGAIN_S_MAX = 5.0

_log = Logger()


class Settling:
    """
    Ends of calls on their way into the store.

    @ivar faulty: whether the store could not do it the last time.
    """

    def __init__(self, store: IStore, reactor: IReactorTime, settled: Callable[[Call, Outcome], None]) -> None:
        """
        @param settled: told of each when it is stored, or refused.
        """
        self.faulty = False
        self._store = store
        self._reactor = reactor
        self._settled = settled
        self._ends: deque[tuple[Call, Finish | Release]] = deque()
        self._storing = 0
        self._again: IDelayedCall | None = None
        self._again_s = AGAIN_S
        self._closed = False

    def __len__(self) -> int:
        """How many are not stored yet."""
        return len(self._ends) + self._storing

    def add(self, call: Call, end: Finish | Release) -> None:
        """A call has ended. Who is done with a turn's calls calls L{flush}."""
        self._ends.append((call, end))

    def flush(self) -> None:
        """Store what there is, unless something is being stored: then it goes with the next batch."""
        ends = self._ends
        if not ends or self._storing or self._again is not None or self._closed:
            return
        batch = [ends.popleft() for _ in range(min(len(ends), BATCH_MAX))]
        self._storing = len(batch)
        finished = [each for each in batch if isinstance(each[1], Finish)]
        released = [each for each in batch if isinstance(each[1], Release)]
        stored: list[Deferred[None]] = []
        if finished:
            stored.append(self._store_some(self._store.finish([end for _, end in finished]), finished))  # type: ignore[misc]
        if released:
            stored.append(self._store_some(self._store.release([end for _, end in released]), released))  # type: ignore[misc]
        if len(stored) == 1:
            stored[0].addCallback(self._stored)
        else:
            gatherResults(stored).addCallback(self._stored)

    def close(self) -> None:
        """Nothing is stored any more."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _store_some(
        self, storing: Deferred[list[Outcome]], calls: list[tuple[Call, Finish | Release]]
    ) -> Deferred[None]:
        return storing.addCallbacks(self._some_stored, self._failed, (calls,), errbackArgs=(calls,))

    def _some_stored(self, outcomes: list[Outcome], calls: list[tuple[Call, Finish | Release]]) -> None:
        for (call, _), outcome in zip(calls, outcomes, strict=True):
            self._settled(call, outcome)
        if self.faulty:
            _log.info("the ends of deliveries can be stored again")
            self.faulty = False
        self._again_s = AGAIN_S

    def _failed(self, failure: Failure, calls: list[tuple[Call, Finish | Release]]) -> None:
        if not failure.check(StoreFault):
            _log.failure("storing the ends of deliveries", failure)
        elif not self.faulty:
            _log.warn("cannot store the ends of deliveries: {error}", error=failure.value)
        self.faulty = True
        self._ends.extendleft(reversed(calls))
        if self._again is None and not self._closed:
            self._again = self._reactor.callLater(self._again_s, self._try_again)
            self._again_s = min(2 * self._again_s, AGAIN_S_MAX)

    def _try_again(self) -> None:
        self._again = None
        self.flush()

    def _stored(self, _: object) -> None:
        self._storing = 0
        self.flush()
