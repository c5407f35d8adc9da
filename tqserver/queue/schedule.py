"""
When schedules fire. Pure: what was dealt with and what the time is come in, slots come out.

Times of day are those of the schedule's time zone. Where clocks are put forward, what would have been in the gap fires
when the gap is over; where they are put back, what names an hour fires once, the first time; what fires every hour or
minute goes by the time that passes. These are the rules of Debian's cron, and cronsim knows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim

from ..config.cron import cron_fields

SECOND_MS = 1000

_WINDOWS = (
    timedelta(minutes=2),
    timedelta(hours=2),
    timedelta(days=2),
    timedelta(days=63),
    timedelta(days=732),
    timedelta(days=366 * 9),
)
"""How far back the last slot is looked for: first where only the frequent ones have many."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """
    Tasks that are put at certain times.

    @ivar cron: see L{tqserver.config.cron}.
    @ivar timezone: an IANA name.
    @ivar payload_type: the media type of what the tasks hold.
    """

    name: str
    cron: str
    queue: str
    timezone: str = "UTC"
    payload: bytes = b""
    payload_type: bytes = b"text/plain"
    priority: int = 50
    paused: bool = False

    @property
    def meaning(self) -> str:
        """When it fires, as a text that is another one when that is changed."""
        return f"{self.cron} {self.timezone}{' paused' if self.paused else ''}"


EARLIER = timedelta(hours=3)
"""More than any clock is ever put back."""


def _slots(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Slots after a moment, in order."""
    last = after
    # Of five fields those that name an hour go by the clock on the wall, where a moment in an hour that there is twice
    # is taken for the first of both: so a little earlier.
    cron = cron_fields(schedule.cron)
    begin = after - EARLIER if len(cron.split()) == 5 else after
    try:
        for slot in CronSim(cron, begin):
            moment = slot.astimezone(timezone.utc)
            if moment > last:
                yield moment
                last = moment
    except (OverflowError, ValueError):
        return  # The calendar ends.


def _moment(schedule: Schedule, at: int) -> datetime:
    return datetime.fromtimestamp(at // SECOND_MS, timezone.utc).astimezone(ZoneInfo(schedule.timezone))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_MS


def following(schedule: Schedule, after: int) -> int:
    """
    The first slot after a moment.

    @param after: milliseconds since 1970.
    @return: likewise; 0 if there is none.
    """
    return next((_milliseconds(slot) for slot in _slots(schedule, _moment(schedule, after))), 0)


def missed(schedule: Schedule, since: int, now: int) -> int:
    """
    The slot that is to be fired now: of all those after C{since}, up to now, the last.

    @return: 0 if there is none.
    """
    end = _moment(schedule, now)
    begin = _moment(schedule, since)
    for window in _WINDOWS:
        start = max(begin, end - window)
        found = 0
        for slot in _slots(schedule, start):
            if slot > end:
                break
            found = _milliseconds(slot)
        if found or start == begin:
            return found
    return 0
