"""How many instances a worker should have. Pure."""

from __future__ import annotations

from attrs import frozen

from ..config.model import ScalingConfig

SETTLE_S = 0.2
"""
What fronts say so soon after an instance became ready may be of requests that had waited for just that instance: they
say it again if it is still so.
"""


@frozen(kw_only=True)
class Demand:
    """
    What the fronts told of a worker's requests; times are the reactor's monotonic clock, in seconds.

    @ivar waiting: requests that waited when a front last said so.
    @ivar oldest_s: how long the oldest of them had waited.
    @ivar wanted_at: when that was said; minus infinity if it never was.
    @ivar crowded_at: when there was last a use for as many instances as there are: requests waited, or at least as
        many were in flight.
    @ivar used_at: when there was last any request at all.
    """

    waiting: int = 0
    oldest_s: float = 0.0
    wanted_at: float = float("-inf")
    crowded_at: float = float("-inf")
    used_at: float = float("-inf")


def count(scaling: ScalingConfig, current: int, ready: int, demand: Demand, scaled_at: float, now: float) -> int:
    """
    The number of instances to have from now on.

    One more at a time, and only on news that is younger than the last step and was told while everything that had been
    asked for was ready; so a slow start never leads to a second one. Fewer, one at a time, when for the whole delay
    fewer would have done.

    @param current: the number so far.
    @param ready: how many instances of the target generation are ready.
    @param scaled_at: when the number last changed, or when the last instance of it became ready.
    @param now: the reactor's monotonic clock.
    """
    least, most = scaling.workers_min, max(scaling.workers_max, scaling.workers_min)
    number = min(max(current, least), most)
    if number != current:
        return number
    if demand.wanted_at > scaled_at and demand.waiting:
        pressed = demand.waiting > scaling.queue_threshold or demand.oldest_s > scaling.wait_max_s
        if number == 0:
            return min(1, most)
        settled = demand.wanted_at > scaled_at + SETTLE_S
        if pressed and settled and ready >= number and number < most:
            return number + 1
    delay_s = scaling.scale_down_delay_s
    if number > least and now - scaled_at >= delay_s:
        needed_at = demand.used_at if number == 1 else demand.crowded_at
        if now - max(needed_at, demand.wanted_at) >= delay_s:
            return number - 1
    return number
