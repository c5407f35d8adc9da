"""
What a queue does by itself, put together from its settings: it delivers tasks, serves requests that are answered later,
and puts the tasks of schedules. And what it tells of all that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from ..config.queue_model import DeliverySettings, QueueSettings, ScheduleSettings
from .api.answer import Answer, json_answer, json_error
from .api.call import Call
from .api.frame import Api
from .api.routes import Row
from .api.token import Token
from .assembly import Assembly, now_ms
from .asynchronous import Asynchronous, Rules
from .deliveries import Deliveries
from .delivery import BACKOFF, Rule
from .model import LOCAL, Backoff, QueueName
from .own import REQUESTS
from .requests import Replayed, ToWorker
from .schedule import Schedule
from .schedules import Schedules
from .service import QueueService
from .status import Status, status
from .store import StoreFault

AGAIN_S = 0.5
"""The first pause, in seconds, after a store could not do what is needed at the start; it doubles."""

AGAIN_S_MAX = 15.0

_log = Logger("tqserver.queue")


def add_outward(
    service: QueueService, assembly: Assembly, settings: QueueSettings, front: str, reactor: Any
) -> Deliveries | None:
    """
    Have a queue do all that its settings say it does by itself.

    @param front: path of the fronts' private socket; empty if there are no fronts: then nothing is delivered.
    @return: the deliveries, if there can be any.
    """
    schedules = Schedules(assembly.store, reactor, now_ms, map(_schedule, settings.schedules))
    service.on_start(lambda: _start_when_possible(schedules.start, reactor))
    service.on_stop(schedules.close)
    deliveries = _add_deliveries(service, assembly, settings, front, reactor) if front else None
    token = settings.apis.tqs.api_token if settings.apis.tqs is not None else None
    admit = Token(token) if token else None
    tell = _Telling(assembly, reactor, deliveries, schedules)
    service.mount("status", Api("status", [Row("GET HEAD", "/", tell.status)], json_error, admit))
    service.mount("schedules", Api("schedules", [Row("GET HEAD", "/", tell.schedules)], json_error, admit))
    return deliveries


def _add_deliveries(
    service: QueueService, assembly: Assembly, settings: QueueSettings, front: str, reactor: Any
) -> Deliveries:
    store = assembly.store
    deferred = settings.deferred

    def cancel(id: str) -> None:
        deliveries.cancel(id)

    asynchronous = Asynchronous(
        store,
        reactor,
        Rules(
            body_bytes_max=deferred.body_bytes_max,
            keep_ms=_milliseconds(deferred.retention_s),
            attempts_max=deferred.attempts_max,
        ),
        cancel,
    )
    deliveries = Deliveries(
        store,
        assembly.waiting,
        reactor,
        now_ms,
        front,
        sweep=service.sweep,
        outbox=service.outbox,
        ended=asynchronous.ended,
    )
    for each in settings.deliver:
        rule = _rule(each)
        deliveries.add(rule, ToWorker(each.queue, each.to))
    deliveries.add(
        Rule(
            queue=REQUESTS,
            to="",
            concurrency=deferred.concurrency,
            timeout_s=deferred.timeout_s,
            attempts_max=deferred.attempts_max,
            backoff=BACKOFF,
            keep_ms=_milliseconds(deferred.retention_s),
            result_bytes_max=deferred.body_bytes_max,
        ),
        Replayed(),
    )
    service.on_start(lambda: _start_when_possible(deliveries.start, reactor))
    service.on_hush(deliveries.hush)
    service.on_hush(asynchronous.hush)
    service.on_stop(deliveries.stop)
    service.mount("async", asynchronous.api)
    service.keep = asynchronous.take
    return deliveries


def _start_when_possible(start: Callable[[], Deferred[None]], reactor: Any) -> None:
    """Begin, now or when the store can do what is needed for that; services are served meanwhile."""

    async def begin() -> None:
        pause_s = AGAIN_S
        while True:
            try:
                await start()
            except StoreFault as fault:
                _log.warn("cannot begin to deliver: {error}", error=fault)
                await deferLater(reactor, pause_s, lambda: None)
                pause_s = min(2 * pause_s, AGAIN_S_MAX)
            else:
                return

    Deferred.fromCoroutine(begin()).addErrback(lambda failure: _log.failure("beginning to deliver", failure))


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _rule(settings: DeliverySettings) -> Rule:
    return Rule(
        queue=QueueName(LOCAL, settings.queue),
        to=settings.to,
        concurrency=settings.concurrency,
        timeout_s=settings.timeout_s,
        attempts_max=settings.attempts_max,
        backoff=Backoff("exp_equal_jitter", _milliseconds(settings.backoff_s), _milliseconds(settings.backoff_max_s)),
        keep_ms=_milliseconds(settings.retention_s),
    )


def _schedule(settings: ScheduleSettings) -> Schedule:
    return Schedule(
        name=settings.name,
        cron=settings.cron,
        queue=settings.queue,
        timezone=settings.timezone,
        payload=settings.payload.encode(),
        payload_type=settings.payload_type.encode("ascii"),
        priority=settings.priority,
        paused=settings.paused,
    )


class _Telling:
    """Answers who asks how it is."""

    def __init__(
        self,
        assembly: Assembly,
        reactor: Any,
        deliveries: Deliveries | None,
        schedules: Schedules,
    ) -> None:
        self._assembly = assembly
        self._reactor = reactor
        self._deliveries = deliveries
        self._schedules = schedules

    def schedules(self, call: Call) -> Answer:
        """All schedules, with their next firing."""
        return json_answer({"schedules": self._schedules.states()})

    def status(self, call: Call) -> Deferred[Answer]:
        """Everything."""
        told = status(self._assembly.store, now_ms, self._reactor, self._deliveries, self._schedules)

        def answer(status: Status) -> Answer:
            return json_answer(status)

        return told.addCallback(answer)
