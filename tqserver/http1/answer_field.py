"""What becomes of the header fields of a worker's answer. Pure, but for what it remembers."""

from __future__ import annotations

import enum

from .hop import HOP_BY_HOP

NAMES_REMEMBERED_MAX = 1024
"""Field names, as they are spelled, that were judged already."""

NAME_BYTES_REMEMBERED_MAX = 64
"""Longer ones are not remembered."""


class Field(enum.Enum):
    """What becomes of a field of an answer."""

    KEEP = enum.auto()
    """Passed on."""
    DROP = enum.auto()
    """Between the worker and us."""
    LENGTH = enum.auto()
    CODING = enum.auto()
    CONNECTION = enum.auto()
    UPGRADE = enum.auto()


FATES: dict[bytes, Field] = {}
"""By the name as it is spelled. Workers spell few names, and each in one way."""


def judge(name: bytes) -> Field:
    """
    What becomes of fields of this name; remembered in L{FATES}.

    @param name: as the worker spelled it.
    """
    lowered = name.lower()
    field = Field.KEEP
    if lowered == b"content-length":
        field = Field.LENGTH
    elif lowered == b"transfer-encoding":
        field = Field.CODING
    elif lowered == b"connection":
        field = Field.CONNECTION
    elif lowered == b"upgrade":
        field = Field.UPGRADE
    elif lowered in HOP_BY_HOP:
        field = Field.DROP
    if len(FATES) < NAMES_REMEMBERED_MAX and len(name) <= NAME_BYTES_REMEMBERED_MAX:
        FATES[name] = field
    return field
