"""
Ids of tasks and tokens of leases: UUIDs of version 8 (RFC 9562 section 5.8) that hold the task's number. Pure.

So a store finds the row of either without an index of its own, and nobody can guess the other 62 bits.
"""

from __future__ import annotations

SEQ_MAX = (1 << 60) - 1
"""Tasks that one store can ever number."""

RANDOM_BITS = 62


def make_id(seq: int, chance: int) -> str:
    """
    The text of an id.

    @param seq: of the task, at most L{SEQ_MAX}.
    @param chance: L{RANDOM_BITS} random bits, from a source that nobody can foretell.
    """
    return "%08x-%04x-8%03x-%04x-%012x" % (  # noqa: UP031 - much faster than anything else
        seq >> 28,
        seq >> 12 & 0xFFFF,
        seq & 0xFFF,
        chance >> 48 | 0x8000,
        chance & 0xFFFF_FFFF_FFFF,
    )


def seq_of(text: str) -> int:
    """
    The number in an id of ours.

    @return: -1 if it is none.
    """
    if len(text) != 36 or text[14] != "8" or text[8] != "-" or text[13] != "-" or text[18] != "-":
        return -1
    try:
        return int(text[:8] + text[9:13] + text[15:18], 16)
    except ValueError:
        return -1
