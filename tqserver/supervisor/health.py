"""From single checks to a verdict: thresholds, and how often to look while an instance starts. Pure."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

FIRST_PAUSE_S = 0.005
"""The first look at a starting instance: a Go worker listens within a few milliseconds."""

PAUSE_GROWTH = 1.4
"""Small enough that looking adds at most 40 % to the time a worker takes to boot."""

PAUSE_MAX_S = 0.1
"""However slowly a worker boots, it is found ready at most this much later."""


class Verdict(Enum):
    """What a check means together with those before it."""

    OPEN = "open"
    WELL = "well"
    UNWELL = "unwell"


@frozen
class Tally:
    """
    Checks in a row since the last verdict; one of the two is always 0.

    @ivar successes: consecutive checks that were answered well.
    @ivar failures: consecutive checks that were not.
    """

    successes: int = 0
    failures: int = 0


def judge(tally: Tally, ok: bool, successes: int, failures: int) -> tuple[Tally, Verdict]:
    """
    Count one check.

    @param tally: what was counted so far.
    @param ok: how this check went.
    @param successes: so many in a row make an instance well.
    @param failures: so many in a row make it unwell.
    @return: the new tally, which starts again after a verdict, and the verdict.
    """
    if ok:
        counted = tally.successes + 1
        return (Tally(), Verdict.WELL) if counted >= successes else (Tally(successes=counted), Verdict.OPEN)
    counted = tally.failures + 1
    return (Tally(), Verdict.UNWELL) if counted >= failures else (Tally(failures=counted), Verdict.OPEN)


def next_pause_s(pause_s: float) -> float:
    """
    The pause before the next look at a starting instance.

    @param pause_s: the pause before the last look, in seconds; 0 before the first.
    """
    return min(pause_s * PAUSE_GROWTH, PAUSE_MAX_S) if pause_s else FIRST_PAUSE_S
