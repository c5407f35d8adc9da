"""
Puts tasks when schedules fire, each slot once.

A mark is stored with each task, in the same step, that says how far its schedule has come; so neither a restart nor a
store that fails fires a slot twice. After a downtime the last slot that was missed is fired, and no other. A schedule
that is new, or has other times than before, begins now.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from .model import LOCAL, NewTask, QueueName, State
from .own import MARKS, OWN
from .schedule import Schedule, following, missed
from .store import PAGE_MAX, Clock, Created, IStore

SLEEP_S_MAX = 30.0
"""The longest sleep, in seconds: the wall clock may be set meanwhile."""

AGAIN_S = 1.0
"""The first pause, in seconds, after a task could not be put; it doubles."""

AGAIN_S_MAX = 30.0

KEY_MS = 86_400_000
"""So long the key of a slot's task is remembered."""

_log = Logger()


class _Mark(msgspec.Struct, frozen=True):
    """
    How far a schedule has come.

    @ivar meaning: of the schedule, then.
    @ivar until: slots up to here are dealt with; milliseconds since 1970.
    @ivar fired: the last that was fired; 0 if none was.
    """

    name: str
    meaning: str
    until: int
    fired: int = 0


_marks = msgspec.json.Decoder(_Mark)


@define(eq=False)
class _Live:
    """
    A schedule and how far it is.

    @ivar marks: ids of the stored marks; all but the last are of no use any more.
    @ivar next: its next slot; 0 if there is none.
    """

    schedule: Schedule
    mark: _Mark
    marks: list[str]
    next: int = 0


class ScheduleState(msgspec.Struct, frozen=True):
    """What is told of a schedule; moments in milliseconds since 1970, 0 for none."""

    name: str
    cron: str
    timezone: str
    queue: str
    paused: bool
    last: int
    next: int


class Schedules:
    """All schedules of a queue process."""

    def __init__(self, store: IStore, reactor: Any, clock: Clock, schedules: Iterable[Schedule]) -> None:
        self._store = store
        self._reactor = reactor
        self._clock = clock
        self._schedules = tuple(schedules)
        self._live: list[_Live] = []
        self._timer: IDelayedCall | None = None
        self._again_s = AGAIN_S
        self._working = False
        self._closed = False

    def start(self) -> Deferred[None]:
        """Begin; the store is open. Fires when it is known how far each has come."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        found: dict[str, list[tuple[_Mark, str]]] = {}
        cursor = 0
        while True:
            page = await self._store.page(MARKS, State.READY, PAGE_MAX, cursor)
            for task in page.tasks:
                mark = _marks.decode(task.payload)
                found.setdefault(mark.name, []).append((mark, task.id))
            cursor = page.cursor
            if not cursor:
                break
        now = self._clock()
        lives: list[_Live] = []
        for schedule in self._schedules:
            marks = sorted(found.pop(schedule.name, ()), key=lambda each: each[0].until)
            mark = marks[-1][0] if marks else _Mark(schedule.name, "", now)
            live = _Live(schedule, mark, [id for _, id in marks])
            lives.append(live)
            if mark.meaning != schedule.meaning:
                await self._put(live, now, 0)
            self._find_next(live)
        self._live = lives
        gone = [id for marks in found.values() for _, id in marks]
        self._settle()
        if gone:
            await self._store.remove(OWN, gone)

    def close(self) -> None:
        """No more is put."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def states(self) -> list[ScheduleState]:
        """All of them, by name."""
        return [
            ScheduleState(
                live.schedule.name,
                live.schedule.cron,
                live.schedule.timezone,
                live.schedule.queue,
                live.schedule.paused,
                live.mark.fired,
                live.next,
            )
            for live in sorted(self._live, key=lambda live: live.schedule.name)
        ]

    def _find_next(self, live: _Live) -> None:
        live.next = 0 if live.schedule.paused else following(live.schedule, live.mark.until)

    def _settle(self, least_s: float = 0.0) -> None:
        """Be awake when the next slot comes."""
        slots = [live.next for live in self._live if live.next]
        if self._closed or self._working or self._timer is not None or not slots:
            return
        sleep_s = max((min(slots) - self._clock()) / 1000, least_s)
        self._timer = self._reactor.callLater(min(sleep_s, SLEEP_S_MAX), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._working = True
        Deferred.fromCoroutine(self._fire()).addCallbacks(self._fired, self._failed)

    async def _fire(self) -> None:
        now = self._clock()
        for live in self._live:
            if not 0 < live.next <= now:
                continue
            slot = missed(live.schedule, live.mark.until, now)
            if not self._closed:
                await self._put(live, slot or now, slot)
            self._find_next(live)

    async def _put(self, live: _Live, until: int, slot: int) -> None:
        """Note how far a schedule has come, and put the task of a slot (0: none) in the same step."""
        schedule = live.schedule
        mark = _Mark(schedule.name, schedule.meaning, until, slot or live.mark.fired)
        new = [NewTask(queue=MARKS, payload=msgspec.json.encode(mark))]
        if slot:
            new.append(
                NewTask(
                    queue=QueueName(LOCAL, schedule.queue),
                    payload=schedule.payload,
                    head=schedule.payload_type,
                    priority=schedule.priority,
                    key=f"{schedule.name}@{slot}",
                    key_expires=self._clock() + KEY_MS,
                )
            )
        created = (await self._store.create(new, define=True))[0]
        live.mark = mark
        if isinstance(created, Created):
            live.marks.append(created.task.id)
        outdated, live.marks = live.marks[:-1], live.marks[-1:]
        if outdated:
            try:
                await self._store.remove(OWN, outdated)
            except Exception:
                live.marks = outdated + live.marks  # Next time, then.

    def _fired(self, _: None) -> None:
        self._working = False
        self._again_s = AGAIN_S
        self._settle()

    def _failed(self, failure: Failure) -> None:
        self._working = False
        _log.warn("cannot put the task of a schedule: {error}", error=failure.value)
        self._settle(self._again_s)
        self._again_s = min(2 * self._again_s, AGAIN_S_MAX)
