"""
How many tasks are claimed before it is their turn. Pure, but for the clock.

A worker that is quick would wait for the store after each task. So it has some in hand: as many as it ends while others
are being claimed. What is claimed is in its order, though: a task of a higher priority that is put then comes after it,
and whoever looks sees it leased. So there is an end to that: some rounds of a worker, and what a very quick one ends in
a moment. The latter alone would not do: who waits for a slow disk ends few, and would be given fewer still.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

TIMES = 4
"""So many times as many as are delivered at once, which is a second: who is quick answers in a quarter."""

TIMES_MAX = 256
"""No more tasks than these, if not for the pace."""

PACE_S = 0.05
"""As many as are ended in so many seconds, if that is more: some commits of a disk that is not slow."""

PACE_MAX = 512
"""No more tasks than these, however quick a worker is."""

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
        self._least = min(TIMES * concurrency, TIMES_MAX)
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
        return max(self._least, min(int(self._pace_per_s * PACE_S), PACE_MAX))
