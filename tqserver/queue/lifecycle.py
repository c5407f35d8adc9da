"""
The life of a task, as a table. Pure.

Whatever changes a task is an L{Event}; L{TRANSITIONS} says in which states it means something, and where it may lead.
A store guards each change by L{sources}, in the same statement that makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

import msgspec

from .model import NEVER, Backoff, NewTask, State, Task
from .store import Extend, Finish, Held, Refusal, Release

GONE = None
"""Where what is removed goes."""


class Event(Enum):
    """What may happen to a task."""

    DUE = auto()
    """Its delay is over."""
    CLAIM = auto()
    """It is leased."""
    TAKE = auto()
    """It is leased and done in one."""
    EXTEND = auto()
    """Its lease is prolonged, or its worker says how far it is."""
    FINISH = auto()
    """Its worker says that it is done, or cannot be, or was tried often enough."""
    RELEASE = auto()
    """Its worker gives it back unused."""
    RETRY = auto()
    """Its worker gives it back to be tried again, or its lease has run out."""
    REQUEUE = auto()
    """Somebody has it tried again after it ended badly."""
    EXPIRE = auto()
    """Nobody wanted it in time."""
    FORGET = auto()
    """It ended, and was kept long enough."""
    REMOVE = auto()
    """Somebody removes it."""


_S = State

TRANSITIONS: Mapping[Event, tuple[tuple[State, ...], tuple[State | None, ...]]] = {
    Event.DUE: ((_S.DELAYED,), (_S.READY,)),
    Event.CLAIM: ((_S.READY,), (_S.LEASED,)),
    Event.TAKE: ((_S.READY,), (_S.DONE, GONE)),
    Event.EXTEND: ((_S.LEASED,), (_S.LEASED,)),
    Event.FINISH: ((_S.LEASED,), (_S.DONE, _S.FAILED, _S.DEAD, GONE)),
    Event.RELEASE: ((_S.LEASED,), (_S.READY, _S.DELAYED)),
    Event.RETRY: ((_S.LEASED,), (_S.READY, _S.DELAYED, _S.DEAD, GONE)),
    Event.REQUEUE: ((_S.DEAD, _S.FAILED), (_S.READY,)),
    Event.EXPIRE: ((_S.DELAYED, _S.READY), (GONE,)),
    Event.FORGET: ((_S.DONE, _S.FAILED, _S.DEAD), (GONE,)),
    Event.REMOVE: (tuple(_S), (GONE,)),
}
"""For each event: the states in which it may happen, and those that it may lead to."""


def sources(event: Event) -> tuple[State, ...]:
    """The states in which an event may happen."""
    return TRANSITIONS[event][0]


def _earlier(moment: int, other: int) -> int:
    """The earlier of two moments, either of which may never come."""
    if not moment or not other:
        return moment or other
    return min(moment, other)


def waiting(task: Task, now: int, ready: int, **changes: object) -> Task:
    """A task that waits to be leased, from C{ready} on."""
    delayed = ready > now
    return msgspec.structs.replace(
        task,
        state=State.DELAYED if delayed else State.READY,
        ready=ready if delayed else now,
        due=_earlier(ready if delayed else NEVER, task.expires),
        updated=now,
        lease="",
        **changes,
    )


def leased(task: Task, now: int, until: int, lease: str, owner: str) -> Task:
    """A task that is leased."""
    return msgspec.structs.replace(
        task,
        state=State.LEASED,
        attempts=task.attempts + 1,
        lease=lease,
        owner=owner,
        due=until,
        updated=now,
    )


def ended(task: Task, now: int, state: State, keep_ms: int | None = None, **changes: object) -> Task | None:
    """
    A task that has ended.

    @param keep_ms: how long it is kept, if not as was said when it was put.
    @return: L{None} if it is not kept.
    """
    if keep_ms is None:
        keep_ms = task.keep_ms
    if not keep_ms:
        return GONE
    return msgspec.structs.replace(
        task, state=state, lease="", due=now + keep_ms, keep_ms=keep_ms, updated=now, **changes
    )


def tried(task: Task, now: int, delay_ms: int | None, backoff: Backoff, chance: float, error: str) -> Task | None:
    """
    What becomes of a leased task that is to be tried again.

    @param delay_ms: the wait before; L{None} for what C{backoff} says.
    @return: it, waiting or dead; L{None} if it is dead and not kept, or has expired meanwhile.
    """
    if task.attempts_max and task.attempts >= task.attempts_max:
        return ended(task, now, State.DEAD, error=error)
    if task.expires and task.expires <= now:
        return GONE
    if delay_ms is None:
        delay_ms = backoff.delay_ms(task.attempts, chance)
    return waiting(task, now, now + delay_ms, error=error)


def finished(task: Task, each: Finish, now: int) -> Task | None:
    """What becomes of a leased task whose worker says that it has ended; L{None} if it is not kept."""
    return ended(
        task, now, each.state, each.keep_ms, result=each.result, result_head=each.result_head, error=each.error
    )


def released(task: Task, each: Release, now: int, backoff: Backoff, chance: float) -> Task | None:
    """What becomes of a leased task that is given back; see L{tried}."""
    if each.counted:
        return tried(task, now, each.delay_ms, backoff, chance, each.error)
    return waiting(task, now, now + (each.delay_ms or 0), attempts=task.attempts - 1, error=each.error)


def extended(task: Task, each: Extend) -> Task:
    """A leased task that goes on."""
    progress = task.progress if each.progress is None else each.progress
    return msgspec.structs.replace(task, due=each.until or task.due, progress=progress)


def again(task: Task, now: int) -> Task:
    """A task that ended badly and is tried again, as if it were new; it does not expire any more."""
    return waiting(
        msgspec.structs.replace(task, expires=NEVER),
        now,
        now,
        attempts=0,
        owner="",
        result=None,
        result_head=b"",
        error="",
    )


def overdue(task: Task, now: int, backoff: Backoff, chance: float) -> Task | None:
    """What becomes of a task whose C{due} has come."""
    if task.state is State.LEASED:
        return tried(task, now, None, backoff, chance, LEASE_EXPIRED)
    if task.state is State.DELAYED and not (task.expires and task.expires <= now):
        return waiting(task, now, now)
    return GONE


LEASE_EXPIRED = "LEASE_EXPIRED"
"""The C{error} of a task whose lease ran out."""


def judge(task: Task | None, held: Held, now: int) -> Refusal | None:
    """Whether a task is leased as the caller believes; if not, why not."""
    if task is None or task.queue.tenant != held.tenant or (held.queue and task.queue.name != held.queue):
        return Refusal.UNKNOWN
    if held.id and task.id != held.id:
        return Refusal.UNKNOWN
    if held.lease and (task.lease != held.lease or task.due <= now):
        return Refusal.LEASE_LOST
    if held.owner and task.owner != held.owner:
        return Refusal.NOT_OWNER
    if task.state is not State.LEASED:
        return Refusal.NOT_LEASED
    return Refusal.LEASE_LOST if task.due <= now else None


def born(new: NewTask, now: int, seq: int, made_id: str) -> Task:
    """A task as it is first stored."""
    delayed = new.ready > now
    return Task(
        seq=seq,
        id=new.id or made_id,
        queue=new.queue,
        state=State.DELAYED if delayed else State.READY,
        payload=new.payload,
        head=new.head,
        priority=new.priority,
        attempts=0,
        attempts_max=new.attempts_max,
        created=now,
        updated=now,
        ready=new.ready if delayed else now,
        expires=new.expires,
        due=_earlier(new.ready if delayed else NEVER, new.expires),
        keep_ms=new.keep_ms,
    )
