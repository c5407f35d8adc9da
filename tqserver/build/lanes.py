"""How many builds run at once."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred


class Lanes:
    """
    A number of places, and a line of those who wait for one.

    @ivar limit: places; may be changed at any time. Who has one keeps it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[Deferred[None]] = deque()

    @property
    def limit(self) -> int:
        """Places that there are."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._admit()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def acquire(self) -> Deferred[None]:
        """
        Fires when a place was taken, which has to be given back by L{release}. Cancelling leaves the line.
        """
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        self._admit()
        return turn

    def release(self) -> None:
        """Give a place back."""
        self._taken -= 1
        self._admit()

    def _admit(self) -> None:
        """Let in who may come in."""
        while self._waiting and self._taken < self._limit:
            self._taken += 1
            self._waiting.popleft().callback(None)
