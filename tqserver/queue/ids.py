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
    text = f"{seq:015x}{chance | 1 << 63:016x}"
    return f"{text[:8]}-{text[8:12]}-8{text[12:15]}-{text[15:19]}-{text[19:]}"


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
