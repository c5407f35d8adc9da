"""Whether a failed attempt may be made again. Pure."""

from __future__ import annotations

IDEMPOTENT = frozenset([b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
"""Methods that may be repeated without being asked (RFC 9110 section 9.2.2)."""

TRIES_MAX = 3
"""Attempts for one exchange that may break after they were sent: a request that breaks every worker it meets must not
meet them all."""


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
