"""
What happens to tasks by itself (delays end, leases run out, what nobody wanted vanishes), by one timer at the next
moment that something does.
"""

from __future__ import annotations

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .model import NEVER, QueueName
from .store import Clock, IStore, Swept

SLEEP_S_MAX = 30.0
"""The longest sleep, in seconds: the wall clock may be set meanwhile, and the reactor's does not know."""

AGAIN_S = 1.0
"""When to sweep again after the store could not, in seconds."""

_log = Logger()


@define
class Expiry:
    """Has a store swept whenever something is due."""

    _store: IStore
    _reactor: IReactorTime
    _clock: Clock
    _call: IDelayedCall | None = None
    _sweeping: bool = False
    _closed: bool = False

    def start(self) -> None:
        """Begin; the store is open."""
        self._store.observe(self._changed)
        self._settle()

    def close(self) -> None:
        """No more sweeps."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _changed(self, ready: frozenset[QueueName]) -> None:
        self._settle()

    def _settle(self, least_s: float = 0.0) -> None:
        """Be awake when the next thing is due."""
        if self._sweeping or self._closed:
            return
        due = self._store.due
        sleep_s = SLEEP_S_MAX
        if due != NEVER:
            sleep_s = min(max((due - self._clock()) / 1000, least_s), SLEEP_S_MAX)
        elif self._call is None:
            return
        if self._call is not None:
            if self._call.getTime() <= self._reactor.seconds() + sleep_s:
                return
            self._call.reset(sleep_s)
        else:
            self._call = self._reactor.callLater(sleep_s, self._wake)

    def _wake(self) -> None:
        self._call = None
        due = self._store.due
        if due == NEVER or due > self._clock():
            self._settle()
            return
        self._sweeping = True
        self._store.sweep().addCallbacks(self._swept, self._failed)

    def _swept(self, swept: Swept) -> None:
        self._sweeping = False
        self._settle()

    def _failed(self, failure: Failure) -> None:
        self._sweeping = False
        _log.warn("cannot look for what is overdue: {error}", error=failure.value)
        self._settle(AGAIN_S)
