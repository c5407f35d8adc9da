"""
How many tasks are claimed before it is their turn. Pure, but for the clock.

A worker that is quick would wait for the store after each task. So it has some in hand: as many as it ends while others
are being claimed. What is claimed is in its order, though: a task of a higher priority that is put then comes after it,
and whoever looks sees it leased. So these are no more than the worker ends in a moment, however quick it is.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

AHEAD_S = 0.05
"""No more than are ended in so many seconds, which is some commits of a disk that is not slow."""

AHEAD_MAX = 512
"""Nor more tasks than these."""

AHEAD_TIMES_MAX = 16
"""Nor more than so many times as many as are delivered at once."""

MEASURE_S = 0.05
"""The pace is measured over so many seconds, or more."""


class Ahead:
    """
    For one queue.

    @ivar quick: whether the last answer came soon. If not, nothing is claimed ahead.
    @ivar answers: how many have come since the pace was measured; others count them.
    """

    def __init__(self, clock: IReactorTime, concurrency: int) -> None:
        """
        @param concurrency: so many are delivered at once.
        """
        self.quick = False
        self.answers = 0
        self._clock = clock
        self._most = min(AHEAD_TIMES_MAX * concurrency, AHEAD_MAX)
        self._pace_per_s = 0.0
        self._measured_at = clock.seconds()

    def most(self) -> int:
        """How many may be claimed ahead now."""
        if not self.quick:
            return 0
        now = self._clock.seconds()
        passed_s = now - self._measured_at
        if passed_s >= MEASURE_S:
            self._pace_per_s = self.answers / passed_s
            self.answers = 0
            self._measured_at = now
        return min(self._most, int(self._pace_per_s * AHEAD_S))
