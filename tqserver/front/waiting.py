"""The line of requests that wait for an endpoint: bounded, first come first served, left at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from ..http1.sweep import NEVER

W = TypeVar("W")


class WaitingLine(Generic[W]):
    """
    A waiting line of one worker.

    @ivar limit: how many may wait; may be changed.
    @ivar timeout_s: how long one may wait; may be changed.
    """

    def __init__(
        self, clock: IReactorTime, limit: int, timeout_s: float, expired: Callable[[W], None]
    ) -> None:
        self._clock = clock
        self.limit = limit
        self.timeout_s = timeout_s
        self._expired = expired
        self._waiting: dict[W, float] = {}
        """Who waits, since when; in order."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether nobody else may join."""
        return len(self._waiting) >= self.limit

    def join(self, waiter: W, since: float) -> None:
        """
        Wait at the end of the line.

        @param since: when the waiter began to wait, which may be earlier, if it had to come back.
        """
        self._waiting[waiter] = since

    def leave(self, waiter: W) -> None:
        """Leave the line, if the waiter is in it."""
        self._waiting.pop(waiter, None)

    def next(self) -> W | None:
        """Who has waited longest; it leaves the line."""
        for waiter in self._waiting:
            del self._waiting[waiter]
            return waiter
        return None

    def oldest_s(self) -> float:
        """How long the first in the line has waited, in seconds; 0 for an empty line."""
        for since in self._waiting.values():
            return self._clock.seconds() - since
        return 0.0

    @property
    def deadline(self) -> float:
        """When the first in the line has waited too long; for the sweep."""
        for since in self._waiting.values():
            return since + self.timeout_s
        return NEVER

    def timed_out(self, now: float) -> None:
        """Send away everybody who has waited too long."""
        for waiter in [waiter for waiter, since in self._waiting.items() if since + self.timeout_s <= now]:
            self.leave(waiter)
            self._expired(waiter)
