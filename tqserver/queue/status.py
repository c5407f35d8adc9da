"""
What a queue process tells of itself, for the dashboard and for people.
"""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from .deliveries import Deliveries
from .delivery import Delivery
from .model import State
from .own import MARKS
from .schedules import Schedules, ScheduleState
from .store import Clock, IStore, StoreFault


class QueueState(msgspec.Struct, frozen=True, gc=False):
    """A queue; those that the server itself keeps have a C{tenant} that begins with a dot."""

    tenant: str
    name: str
    paused: bool
    delayed: int
    ready: int
    leased: int
    done: int
    failed: int
    dead: int


class DeliveryState(msgspec.Struct, frozen=True, gc=False):
    """
    Deliveries of one queue; counts since the process began.

    @ivar resting_seconds: until a busy worker is asked again; 0 if it is not left alone.
    @ivar oldest_ready_seconds: how long the oldest ready task has been ready; 0 if there is none.
    """

    tenant: str
    queue: str
    to: str
    concurrency: int
    in_flight: int
    delivered: int
    failed: int
    dead: int
    retried: int
    postponed: int
    unsent: int
    lost: int
    resting_seconds: float
    oldest_ready_seconds: float


class Status(msgspec.Struct, frozen=True, gc=False):
    """
    All of it.

    @ivar fault: why the store cannot do its work; empty if it can.
    @ivar fronts: whether the fronts can be reached, through which tasks are delivered.
    @ivar unstored: ends of deliveries on their way into the store.
    """

    fault: str
    fronts: bool
    unstored: int
    queues: list[QueueState]
    deliveries: list[DeliveryState]
    schedules: list[ScheduleState]


def status(
    store: IStore, clock: Clock, reactor: Any, deliveries: Deliveries | None, schedules: Schedules
) -> Deferred[Status]:
    """How everything is now."""
    return Deferred.fromCoroutine(_status(store, clock, reactor, deliveries, schedules))


async def _status(
    store: IStore, clock: Clock, reactor: Any, deliveries: Deliveries | None, schedules: Schedules
) -> Status:
    queues: list[QueueState] = []
    for name, queue in sorted(store.queues.items()):
        if name == MARKS:
            continue
        counts = store.counts(name)
        queues.append(
            QueueState(
                name.tenant,
                name.name,
                queue.policy.paused,
                counts.delayed,
                counts.ready,
                counts.leased,
                counts.done,
                counts.failed,
                counts.dead,
            )
        )
    told = [
        await _delivery(store, clock, reactor, delivery)
        for delivery in (deliveries.all if deliveries is not None else ())
    ]
    fault = store.fault
    return Status(
        fault=f"{fault.reason} {fault.detail}".strip() if fault is not None else "",
        fronts=deliveries is not None and not deliveries.line.away,
        unstored=len(deliveries.settling) if deliveries is not None else 0,
        queues=queues,
        deliveries=told,
        schedules=schedules.states(),
    )


async def _delivery(store: IStore, clock: Clock, reactor: Any, delivery: Delivery) -> DeliveryState:
    rule, tally = delivery.rule, delivery.tally
    oldest_s = 0.0
    if store.counts(rule.queue).ready:
        try:
            page = await store.page(rule.queue, State.READY, 1)
        except StoreFault:
            page = None
        if page is not None and page.tasks:
            oldest_s = max(clock() - page.tasks[0].ready, 0) / 1000
    resting_s = delivery.resting_until - reactor.seconds() if delivery.resting_until else 0.0
    return DeliveryState(
        tenant=rule.queue.tenant,
        queue=rule.queue.name,
        to=rule.to,
        concurrency=rule.concurrency,
        in_flight=delivery.in_flight,
        delivered=tally.delivered,
        failed=tally.failed,
        dead=tally.dead,
        retried=tally.retried,
        postponed=tally.postponed,
        unsent=tally.unsent,
        lost=tally.lost,
        resting_seconds=round(max(resting_s, 0.0), 3),
        oldest_ready_seconds=oldest_s,
    )
