"""How long to wait before the next try: exponential, capped, jittered. Pure."""

from __future__ import annotations


def backoff_s(failures: int, initial_s: float, max_s: float, chance: float) -> float:
    """
    The pause before the next try.

    The upper bound doubles with each failure; the pause is drawn from the upper half of it ("equal jitter"), so that
    many slots that died together do not come back together, and none comes back at once.

    @param failures: consecutive failures so far, at least 1.
    @param initial_s: the bound after the first failure, in seconds.
    @param max_s: the largest bound, in seconds.
    @param chance: a random number from [0, 1), given by the caller.
    @return: seconds to wait.
    """
    exponent = min(max(failures, 1) - 1, 32)
    bound_s = min(initial_s * (2.0**exponent), max_s)
    return bound_s / 2 + chance * bound_s / 2
