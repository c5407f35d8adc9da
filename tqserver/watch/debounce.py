"""
When a burst of changes is reported. Pure: the time is an argument.

The first change after a quiet time is reported almost at once, because somebody who saved a file waits for
it: only C{settle_s} must pass without another, so that the few events of one save arrive together. What
changes soon after that is gathered until it has been quiet for C{debounce_s}, because it is likely a tool
that writes many files. In both cases there is a longest wait, so that one who writes all the time cannot
keep the news back for ever.
"""

from __future__ import annotations

from enum import Enum, auto

SETTLE_S = 0.005
"""Quiet that ends a single save: an editor's open, write, rename and chmod are a millisecond apart."""

SETTLE_MAX_S = 0.02
"""Longest wait for that quiet."""

WAIT_FACTOR = 10.0
"""Longest gathering after a report, as a multiple of C{debounce_s}: half a second with the default."""

PATHS_MAX = 1000
"""
Paths in one report. More are reported as the whole tree, so that a C{git checkout} stays a small message.
"""


class State(Enum):
    """Where a L{Debounce} is."""

    QUIET = auto()
    """Nothing has happened for a while."""
    SETTLING = auto()
    """The first changes are here, and wait for the end of the save."""
    COOLING = auto()
    """A report was just made, and nothing has changed since."""
    GATHERING = auto()
    """A report was just made, and there are changes again."""


class _Event(Enum):
    """What happens to a L{Debounce}."""

    CHANGE = auto()
    DUE = auto()


class _Act(Enum):
    """What a step does besides changing the state."""

    BEGIN = auto()
    """The first change: the longest wait starts."""
    EXTEND = auto()
    """One more change: the quiet starts again."""
    REPORT = auto()
    """Hand out what was gathered, and start to cool."""
    REST = auto()
    """Nothing to wait for any more."""
    NOTHING = auto()


_STEPS: dict[tuple[State, _Event], tuple[State, _Act]] = {
    (State.QUIET, _Event.CHANGE): (State.SETTLING, _Act.BEGIN),
    (State.QUIET, _Event.DUE): (State.QUIET, _Act.NOTHING),
    (State.SETTLING, _Event.CHANGE): (State.SETTLING, _Act.EXTEND),
    (State.SETTLING, _Event.DUE): (State.COOLING, _Act.REPORT),
    (State.COOLING, _Event.CHANGE): (State.GATHERING, _Act.BEGIN),
    (State.COOLING, _Event.DUE): (State.QUIET, _Act.REST),
    (State.GATHERING, _Event.CHANGE): (State.GATHERING, _Act.EXTEND),
    (State.GATHERING, _Event.DUE): (State.COOLING, _Act.REPORT),
}


class Debounce:
    """
    Changes go in with L{changed}, reports come out of L{take} once L{due} has come.

    @ivar state: see L{State}.
    @ivar due: when L{take} wants to be called, in seconds of the caller's clock; L{None}: not before
        another change.
    """

    def __init__(
        self,
        whole: str,
        debounce_s: float,
        settle_s: float = SETTLE_S,
        settle_max_s: float = SETTLE_MAX_S,
        paths_max: int = PATHS_MAX,
    ) -> None:
        """
        @param whole: the path that stands for everything, once there are more than C{paths_max}.
        @param debounce_s: quiet that ends a gathering, in seconds.
        """
        self._whole = whole
        self._debounce_s = debounce_s
        self._settle_s = min(settle_s, debounce_s)
        self._settle_max_s = settle_max_s
        self._paths_max = paths_max
        self._paths: set[str] = set()
        self._latest_s = 0.0
        self.state = State.QUIET
        self.due: float | None = None

    def changed(self, path: str, now: float) -> None:
        """Something changed: L{due} has a value afterwards."""
        if len(self._paths) < self._paths_max:
            self._paths.add(path)
        elif path not in self._paths:
            self._paths = {self._whole}
        self._step(_Event.CHANGE, now)

    def take(self, now: float) -> frozenset[str]:
        """
        What is to be reported now.

        @return: paths; empty when nothing is due yet.
        """
        if self.due is None or now < self.due:
            return frozenset()
        return self._step(_Event.DUE, now)

    def _step(self, event: _Event, now: float) -> frozenset[str]:
        """Go one step of the table."""
        self.state, act = _STEPS[self.state, event]
        settling = self.state is State.SETTLING
        if act is _Act.BEGIN:
            self._latest_s = now + (self._settle_max_s if settling else self._debounce_s * WAIT_FACTOR)
        if act is _Act.BEGIN or act is _Act.EXTEND:
            self.due = min(now + (self._settle_s if settling else self._debounce_s), self._latest_s)
        elif act is _Act.REST:
            self.due = None
        elif act is _Act.REPORT:
            self.due = now + self._debounce_s
            paths, self._paths = frozenset(self._paths), set()
            return paths
        return frozenset()
