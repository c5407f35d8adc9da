"""Whether a failed attempt may be made again, and how often at most. Pure."""

from __future__ import annotations

from ..plane.messages import RetryRule

IDEMPOTENT = frozenset([b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
"""Methods that may be repeated without being asked (RFC 9110 section 9.2.2)."""

WINDOW_S = 10.0
"""The requests "of late" that a budget is a share of; and what it has to spare for each second is kept so long."""


def repeatable(method: bytes, sent: bool, untouched: bool, replayable: bool) -> bool:
    """
    Whether a request can be sent again after its connection broke.

    @param sent: whether anything of it was written to the worker.
    @param untouched: whether not a byte of an answer had come.
    @param replayable: whether its body, as far as it was sent, is still here.
    """
    if not sent:
        return True
    return untouched and replayable and method in IDEMPOTENT


class RetryBudget:
    """
    How many requests of one worker may be sent again after it broke them.

    A worker that breaks whatever it is given must not be given everything three times: only a share of the requests of
    late is sent again, and a few each second besides, for a worker that is seldom asked. It costs nothing while nothing
    breaks: what has come to be allowed meanwhile is made out of the count of requests when it is asked for.
    """

    __slots__ = ("_at", "_requests", "_share", "_spare")

    def __init__(self, now: float, rule: RetryRule) -> None:
        """
        @param now: seconds, by the clock of L{take}.
        """
        self._at = now
        self._requests = 0
        self._share = 0.0
        self._spare = rule.min_per_s * WINDOW_S

    def take(self, now: float, requests: int, rule: RetryRule) -> bool:
        """
        Ask to send one request again.

        @param requests: how many the worker was given since it is known, those that were sent again not counted twice.
        @return: whether it may be sent.
        """
        elapsed_s = max(now - self._at, 0.0)
        came = (requests - self._requests) * rule.budget_percent / 100
        if elapsed_s >= WINDOW_S:
            # When they came, nobody knows: spread them evenly.
            self._share = came * WINDOW_S / elapsed_s
        else:
            self._share += came - self._share * elapsed_s / WINDOW_S
        self._spare = min(self._spare + elapsed_s * rule.min_per_s, rule.min_per_s * WINDOW_S)
        self._at, self._requests = now, requests
        if self._share >= 1:
            self._share -= 1
        elif self._spare >= 1:
            self._spare -= 1
        else:
            return False
        return True
