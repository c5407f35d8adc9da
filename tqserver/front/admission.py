"""
How much is taken on at once, and when those who are sent away shall come again. Pure.
"""

from __future__ import annotations

from ..errors import Fault, ServerFault

BUSY_S = 1
"""Until a crowd has gone."""

ABSENT_S = 5
"""Until somebody has mended what keeps a service from running."""


def retry_after_s(fault: Fault, chance: float) -> int | None:
    """
    When to come again: what the fault says, up to twice as late, so that those who are sent away at the same moment do
    not come back at the same moment.

    @param chance: a random number from [0, 1).
    @return: seconds for C{Retry-After}, at least 1; L{None} if there is nothing to wait for.
    """
    least = fault.retry_after_s
    if least is None:
        if fault.status != 503:
            return None
        least = BUSY_S
    return max(least, 1) + int(chance * (least + 1))


def too_busy() -> ServerFault:
    """The server has all in hand that it may have."""
    return ServerFault("The server is busy.", "server.max_in_flight is reached")


def worker_too_busy() -> ServerFault:
    """A worker has all in hand that it may have."""
    return ServerFault("This service is busy.", "max_in_flight is reached")


def line_full() -> ServerFault:
    """Too many wait already."""
    return ServerFault("Too many requests wait for this service.", "queue.max_requests is reached")


def absent(reason: str) -> ServerFault:
    """
    A worker is not there, and will not be soon.

    @param reason: why; for the developer and the operator alone.
    """
    return ServerFault("This service is not available now.", reason, retry_after_s=ABSENT_S)
