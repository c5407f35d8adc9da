"""When a healthy instance is due for replacement by a fresh one. Pure."""

from __future__ import annotations

from attrs import frozen

from ..config.model import RecycleConfig

AGE_MIN_S = 10.0
"""
No instance younger than this is due for its memory: one that starts above the limit would else be replaced without end,
as fast as it boots.
"""


@frozen
class Limits:
    """
    What one instance may reach; 0 switches each off.

    @ivar requests_max: answered requests, already jittered.
    @ivar age_max_s: seconds since it became ready.
    @ivar memory_max_bytes: resident memory of its whole process group.
    """

    requests_max: int = 0
    age_max_s: float = 0.0
    memory_max_bytes: int = 0


def limits(config: RecycleConfig, chance: float) -> Limits:
    """
    Draw the limits of one instance, so that instances which started together are not due together.

    @param chance: a random number from [0, 1).
    """
    requests_max = config.requests_max
    if requests_max and config.requests_jitter:
        requests_max += round((2 * chance - 1) * config.requests_jitter)
        requests_max = max(requests_max, 1)
    return Limits(requests_max, config.age_max_s, config.memory_max_bytes)


def due(limits: Limits, served: int, age_s: float, memory_bytes: int) -> str:
    """
    Why an instance should be replaced, or an empty string.

    @param served: requests it has answered.
    @param age_s: seconds since it became ready.
    @param memory_bytes: resident memory, 0 if unknown.
    """
    if limits.requests_max and served >= limits.requests_max:
        return f"served {served} requests"
    if limits.age_max_s and age_s >= limits.age_max_s:
        return f"ran for {age_s:.0f} s"
    if limits.memory_max_bytes and memory_bytes > limits.memory_max_bytes and age_s >= AGE_MIN_S:
        return f"uses {memory_bytes} bytes of memory"
    return ""
