"""
Heads of workers' answers that were read before, byte for byte. Pure, but for what it remembers.

Between two ticks of C{Date}, the answers of most workers begin with few different heads. What the parser and our own
checks make of a head follows from its bytes alone; so the same bytes need not be read again.
"""

from __future__ import annotations

from .head import ResponseHead
from .recurring import Recurring

HEADS_REMEMBERED_MAX = 512
"""When there are more, all are forgotten and it begins anew: most of them are of a second that is over."""

HEAD_BYTES_REMEMBERED_MAX = 1024
"""Larger heads, with cookies or policies, are read each time."""

HEADS: dict[bytes, ResponseHead] = {}
"""
By their bytes, with the empty line. Those are here that may be followed by exactly the body that they tell the length
of, in answer to anything but a HEAD, and then by the next answer. Who gets one does not change it.
"""

RECURRING = Recurring()


def remember(head_bytes: bytes, head: ResponseHead) -> None:
    """
    Remember a head, if it is not the first time that it came. It began an answer that was found valid and whole, on a
    connection that can be used again.

    @param head_bytes: all that was read of it.
    @param head: what it means, with the length of the body.
    """
    if len(head_bytes) <= HEAD_BYTES_REMEMBERED_MAX and RECURRING.again(head_bytes):
        if len(HEADS) >= HEADS_REMEMBERED_MAX:
            HEADS.clear()
        HEADS[head_bytes] = head
