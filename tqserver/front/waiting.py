"""The line of requests that wait for an endpoint: bounded, first come first served, left at any time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from ..http1.sweep import NEVER, TOLD_MAX

W = TypeVar("W")


class WaitingLine(Generic[W]):
    """
    A waiting line of one worker.

    @ivar limit: how many may wait; may be changed.
    @ivar timeout_s: how long one may wait; may be changed.
    @ivar busy: somebody waits.
    """

    def __init__(self, clock: IReactorTime, limit: int, timeout_s: float, expired: Callable[[W], None]) -> None:
        self._clock = clock
        self.limit = limit
        self.timeout_s = timeout_s
        self._expired = expired
        self.busy = False
        self._waiting: dict[W, float] = {}
        """Who waits, since when; in order."""
        self._returned: dict[W, float] = {}
        """Likewise, of those who were in the line before; they go first."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._returned)

    @property
    def full(self) -> bool:
        """Whether nobody else may join."""
        return len(self) >= self.limit

    def join(self, waiter: W, since: float, returned: bool = False) -> None:
        """
        Wait at the end of the line.

        @param since: when the waiter began to wait, which may be earlier, if it had to come back.
        @param returned: it was in the line before and goes before those who were not.
        """
        (self._returned if returned else self._waiting)[waiter] = since
        self.busy = True

    def leave(self, waiter: W) -> None:
        """Leave the line, if the waiter is in it."""
        if self._returned:
            self._returned.pop(waiter, None)
        self._waiting.pop(waiter, None)
        self.busy = bool(self._returned or self._waiting)

    def first(self) -> W:
        """
        Who is first in the line, and stays it.

        @raise IndexError: nobody is.
        """
        for line in (self._returned, self._waiting):
            for waiter in line:
                return waiter
        raise IndexError("nobody waits")

    def next(self) -> W | None:
        """Who is first in the line; it leaves it."""
        for line in (self._returned, self._waiting):
            for waiter in line:
                self.leave(waiter)
                return waiter
        return None

    def _oldest(self) -> float:
        """Since when somebody has waited, at the earliest; L{NEVER} for an empty line."""
        return min(next(iter(line.values()), NEVER) for line in (self._returned, self._waiting))

    def oldest_s(self) -> float:
        """How long the first in the line has waited, in seconds; 0 for an empty line."""
        oldest = self._oldest()
        return self._clock.seconds() - oldest if oldest != NEVER else 0.0

    @property
    def deadline(self) -> float:
        """When the first in the line has waited too long; for the sweep."""
        return self._oldest() + self.timeout_s

    def timed_out(self, now: float) -> None:
        """Send away those who have waited too long; of many, some, as then the sweep tells us again."""
        lines = chain(self._returned.items(), self._waiting.items())
        late = (waiter for waiter, since in lines if since + self.timeout_s <= now)
        for waiter in list(islice(late, TOLD_MAX)):
            self.leave(waiter)
            self._expired(waiter)
