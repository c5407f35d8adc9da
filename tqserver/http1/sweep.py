"""
Deadlines of many connections by one coarse timer.

A connection sets its C{deadline}, a number, as often as it likes: that costs nothing. Once a period everything that is
watched is looked at, and what is late is told. So a timeout fires up to a period late, which no limit of ours minds.

Where there are very many, all of them are looked at only every few periods, and in between those whose deadline was
near then.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

_log = Logger()

NEVER = float("inf")

TOLD_MAX = 32
"""
Of those that are late, so many are told in one go. Each then does something about it, an answer perhaps, which takes up
to 0.3 ms; and a thousand that came together are late together. Everybody else is served in between.
"""


class Watched(Protocol):
    """Something with a deadline."""

    @property
    def deadline(self) -> float:
        """By the reactor's clock, in seconds; L{NEVER} for none."""

    def timed_out(self, now: float) -> None:
        """
        The deadline has passed. If another is set that has passed as well, this is told again at once; if none is set,
        at the next look.
        """


class Sweep:
    """
    Looks after the deadlines of everything in it.

    @ivar now: by the clock, at most C{period_s} ago while something is watched: what deadlines of seconds are set by.
    @ivar period_s: how often it looks.
    """

    def __init__(self, clock: IReactorTime, period_s: float = 0.25, thorough: int = 1) -> None:
        """
        @param thorough: all are looked at every so many periods. A deadline that is set so near that it passes before
            then is told then.
        """
        self._thorough = thorough
        self._looks = 0
        self._near: list[Watched] = []
        self._watched: set[Watched] = set()
        self._late: list[Watched] = []
        self._again: list[Watched] = []
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock
        self._clock = clock
        self.period_s = period_s
        self.now = clock.seconds()

    def add(self, watched: Watched) -> None:
        """Look after C{watched} until it is discarded."""
        self._watched.add(watched)
        if not self._loop.running:
            self.now = self._clock.seconds()
            self._loop.start(self.period_s, now=False)

    def discard(self, watched: Watched) -> None:
        """Forget C{watched}, if it is here."""
        self._watched.discard(watched)
        if not self._watched and self._loop.running:
            self._loop.stop()
            self._near = []

    def _look(self) -> None:
        self.now = now = self._clock.seconds()
        if self._late:
            # Many are being told. When they have been, there is time for others.
            return
        if self._looks % self._thorough == 0:
            horizon = now + (self._thorough - 1) * self.period_s
            self._near = [each for each in self._watched if each.deadline <= horizon]
        self._looks += 1
        self._late = [each for each in self._near if each.deadline <= now]
        if self._late:
            self._near = [each for each in self._near if each.deadline > now]
            self._tell()

    def _tell(self) -> None:
        """Tell some of those that are late, and the others in a later turn."""
        now = self._clock.seconds()
        late = self._late
        for watched in late[-TOLD_MAX:]:
            late.pop()
            # What one does about its deadline may have mended or ended another.
            deadline = watched.deadline
            if deadline <= now and watched in self._watched:
                try:
                    watched.timed_out(now)
                except Exception:
                    # A mistake with one must not be the end of everybody's deadlines.
                    _log.failure("a deadline of {watched!r}", watched=watched)
                if deadline < watched.deadline <= now:
                    self._again.append(watched)
        if not late:
            self._late, self._again = self._again, []
        if self._late:
            self._clock.callLater(0, self._tell)
