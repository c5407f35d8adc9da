"""
What clients of TQS are told. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from functools import lru_cache

import msgspec

from ..model import Counts, Queue, Task
from .tqs_fields import TYPES

DATES_KEPT = 4096
"""Texts of moments that are at hand: the messages of one request share theirs."""

NEVER_DATE = "9999-12-31T23:59:59.999Z"
"""When what was not put by a client of TQS (by a schedule, say) expires: never, in a form that clients can read."""

_TYPES = {name.encode(): name for name in TYPES}
_OTHER = "application/octet-stream"
"""The type of a task that somebody else has put."""


class Queued(msgspec.Struct, gc=False):
    """A queue."""

    name: str
    create_date: str


class Taken(msgspec.Struct, gc=False):
    """A message that was taken and is done."""

    id: str
    create_date: str
    visible_date: str
    expire_date: str
    body: str
    type: str
    priority: int


class Leased(Taken, gc=False):
    """
    A message that was leased.

    @ivar lease_timeout: for so many seconds.
    """

    lease_date: str
    lease_uuid: str
    lease_timeout: int


class Statistics(msgspec.Struct, gc=False, omit_defaults=True):
    """How many messages a queue has."""

    visible: int | msgspec.UnsetType = msgspec.UNSET
    delayed: int | msgspec.UnsetType = msgspec.UNSET
    leased: int | msgspec.UnsetType = msgspec.UNSET
    service: str | msgspec.UnsetType = msgspec.UNSET


@lru_cache(maxsize=DATES_KEPT)
def date(moment: int) -> str:
    """
    A moment, in ISO 8601.

    @param moment: milliseconds since 1970.
    """
    seconds, milliseconds = divmod(moment, 1000)
    text = datetime.fromtimestamp(seconds, timezone.utc).isoformat()
    return f"{text[:19]}.{milliseconds:03d}Z"


def queues(found: Iterable[Queue]) -> dict[str, list[Queued]]:
    """The queues, oldest first."""
    return {"queues": [Queued(each.name.name, date(each.created)) for each in sorted(found, key=_created)]}


def _created(queue: Queue) -> int:
    return queue.created


def _said(task: Task) -> tuple[str, str, str, str, str, str, int]:
    """What is told of a message in any case."""
    return (
        task.id,
        date(task.created),
        date(task.ready),
        date(task.expires) if task.expires else NEVER_DATE,
        task.payload.decode("utf-8", "replace"),
        _TYPES.get(task.head, _OTHER),
        task.priority,
    )


def leased(tasks: list[Task], lease_s: int) -> dict[str, list[Leased]]:
    """Messages that were leased."""
    return {"messages": [Leased(*_said(task), date(task.updated), task.lease, lease_s) for task in tasks]}


def taken(tasks: list[Task]) -> dict[str, list[Taken]]:
    """Messages that were taken and are done."""
    return {"messages": [Taken(*_said(task)) for task in tasks]}


def statistics(counts: Counts, service: str | msgspec.UnsetType = msgspec.UNSET) -> Statistics:
    """
    How many messages a queue has.

    @param service: its name, where it is part of it.
    """
    return Statistics(counts.ready, counts.delayed, counts.leased, service)
