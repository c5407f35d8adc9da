"""
Turns of the reactor that do not last: what is long is done piece by piece, and everybody else is served in between.

A reactor does in one turn whatever is ready. Four hundred large answers can be ready at once, each with a piece that
takes a tenth of a millisecond, and then a turn takes 40 ms; and a request that others wait for needs several turns.
So those with much to do share each turn. While there is enough of it for all of them nobody notices. When there is not
they queue, and in each turn the first few have their go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.logger import Logger

_log = Logger()

TURN_BYTES_MAX = 1024 * 1024
"""Passed on in one turn, about a millisecond's work, before those who come later have to queue."""

TURN_CALLS_MAX = 8
"""So many have their go in one turn. Each reads, or sends, at most some 128 to 256 KiB."""

BULK_BYTES = 16 * 1024
"""A smaller piece is no more work than a request is, and is not counted."""


class Turns:
    """
    Who has their go in which turn.

    @ivar full: as much was passed on in this turn as may be.
    """

    __slots__ = ("_called", "_passed_bytes", "_soon", "_waiting", "full")

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """
        @param soon: has something called in the next turn.
        """
        self._soon = soon
        self._waiting: deque[Callable[[], None]] = deque()
        self._passed_bytes = 0
        self._called = False
        self.full = False

    @property
    def crowded(self) -> bool:
        """Whether one has to queue before one does more."""
        return self.full or bool(self._waiting)

    def passed(self, count: int) -> None:
        """So many bytes were passed on."""
        self._passed_bytes += count
        if self._passed_bytes >= TURN_BYTES_MAX:
            self.full = True
        if not self._called:
            self._called = True
            self._soon(self._next)

    def wait(self, call: Callable[[], None]) -> None:
        """Have something called when it is its turn, in a later one than this."""
        self._waiting.append(call)
        if not self._called:
            self._called = True
            self._soon(self._next)

    def _next(self) -> None:
        """A turn begins."""
        self._called = self.full = False
        self._passed_bytes = 0
        waiting = self._waiting
        for _ in range(min(TURN_CALLS_MAX, len(waiting))):
            try:
                waiting.popleft()()
            except Exception:
                # A mistake with one must not end the turns of all.
                _log.failure("a turn")
            if self.full:
                break
        if waiting and not self._called:
            self._called = True
            self._soon(self._next)
