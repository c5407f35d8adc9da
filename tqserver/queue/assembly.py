"""
What a queue is made of, put together from its settings: the store, who waits, what is overdue, the services.
"""

from __future__ import annotations

import os
import time
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from ..config.queue_model import QueueSettings, StoreSettings, ZapqSettings
from ..errors import ServerFault
from .api.answer import json_error
from .api.frame import Api
from .api.places import parts_of
from .api.routes import Row
from .api.tqs import TQS
from .api.trace import Trace, to_stderr
from .api.zapq import ZapQ
from .expiry import Expiry
from .memory import MemoryStore
from .metrics import Metrics
from .service import QueueService
from .store import IStore
from .waiting import Waiting

DIRECTORY_MODE = 0o700


def now_ms() -> int:
    """The time, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@frozen
class Assembly:
    """
    The parts, for what is added besides.

    @ivar store: it is open when what is registered later with C{on_start} is called.
    @ivar metrics: other services may add to them.
    """

    store: IStore
    waiting: Waiting
    metrics: Metrics


def make_store(settings: StoreSettings, reactor: Any) -> IStore:
    """The store, not yet open."""
    if settings.type == "memory":
        return IStore(MemoryStore(now_ms, tasks_max=settings.messages_max, bytes_max=settings.bytes_max))
    from .sqlite import SqliteStore

    return IStore(
        SqliteStore(
            settings.directory,
            reactor,
            now_ms,
            durability=settings.durability,
            tasks_max=settings.messages_max,
            file_bytes_max=settings.bytes_max,
        )
    )


def assemble(service: QueueService, settings: QueueSettings, reactor: Any) -> Assembly:
    """
    Put a queue together and mount its services.

    @param service: has not begun yet.
    @param reactor: with time and threads.
    """
    store = make_store(settings.store, reactor)
    waiting = Waiting(store, reactor, now_ms)
    expiry = Expiry(store, reactor, now_ms)
    metrics = Metrics(store, waiting, lambda: getattr(store, "stats", None))

    def close() -> Deferred[None]:
        expiry.close()
        return store.close()

    service.on_start(store.open)
    service.on_start(expiry.start)
    service.on_hush(waiting.close)
    service.on_stop(close)
    service.mount("metrics", Api("metrics", [Row("GET HEAD", "/", metrics.answer)], json_error))
    if settings.apis.tqs is not None:
        tqs = TQS(
            store,
            waiting,
            now_ms,
            api_token=settings.apis.tqs.api_token,
            body_chars_max=settings.apis.tqs.body_chars_max,
            metrics=metrics.answer,
            soon=service.soon,
        )
        metrics.count("tqs", lambda: {**tqs.operations, "failed": tqs.api.faults})
        service.mount("tqs", tqs.api)
    if settings.apis.zapq is not None:
        zapq = add_zapq(service, settings.apis.zapq, reactor)
        metrics.count("zapq", lambda: {**zapq.operations, "failed": zapq.api.faults})
    return Assembly(store, waiting, metrics)


def add_zapq(service: QueueService, settings: ZapqSettings, reactor: Any) -> ZapQ:
    """Mount ZapQ, and have its snapshots read and written as they are to be."""
    zapq = ZapQ(
        reactor,
        now_ms,
        settings.data,
        bytes_max=settings.bytes_max,
        messages_max=settings.messages_max,
        trace=Trace(reactor, to_stderr),
    )

    loaded: list[bool] = []

    def start() -> Deferred[None]:
        try:
            os.makedirs(settings.data, DIRECTORY_MODE, exist_ok=True)
        except OSError as error:
            raise ServerFault(f"the folder of snapshots {settings.data} cannot be made: {error.strerror}")
        if settings.persist_on_stop is not None:
            parts_of(settings.persist_on_stop)
        name = settings.load_on_start
        if name is None or not os.path.lexists(os.path.join(settings.data, name)):
            loaded.append(True)
            return succeed(None)
        # Not to begin without it: what is written at the end would replace it.
        return zapq.load(name).addCallback(lambda _: loaded.append(True))

    def stop() -> Deferred[None]:
        name = settings.persist_on_stop
        written = zapq.persist(name) if name is not None and loaded else succeed(None)
        return written.addBoth(lambda result: zapq.close().addCallback(lambda _: result))

    service.on_start(start)
    service.on_stop(stop)
    service.mount("zapq", zapq.api)
    return zapq
