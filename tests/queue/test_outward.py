"""What a queue does by itself, put together, and what it tells of that."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from tests.queue.api.asking import ask
from tests.queue.api.threads import Threads
from tqserver.config.queue_model import (
    ApiSettings,
    DeliverySettings,
    QueueSettings,
    ScheduleSettings,
    StoreSettings,
    TqsSettings,
)
from tqserver.queue.api import Api
from tqserver.queue.assembly import Assembly, assemble
from tqserver.queue.model import LOCAL, QueueName
from tqserver.queue.outward import add_outward
from tqserver.queue.service import QueueService
from tqserver.queue.store import StoreFault

SETTINGS = {
    "store": StoreSettings(type="memory"),
    "deliver": (DeliverySettings(queue="jobs", to="/mailer", backoff_s=0.5, concurrency=3),),
    "schedules": (ScheduleSettings(name="yearly", cron="0 0 1 1 *", queue="jobs"),),
}


class OutwardTests(SynchronousTestCase):
    """A queue process."""

    def setUp(self) -> None:
        self.reactor = Threads()
        self.ended: list[bool] = []
        self.service = QueueService(self.reactor, self.ended.append)

    def assembled(self, tqs: TqsSettings | None = None, front: str = "/run/front.sock") -> Assembly:
        """Put it together."""
        settings = QueueSettings(apis=ApiSettings(tqs=tqs), **SETTINGS)  # type: ignore[arg-type]
        made = assemble(self.service, settings, self.reactor)
        self.deliveries = add_outward(self.service, made, settings, front, self.reactor)
        return made

    def start(self, **options: Any) -> Assembly:
        """Begin."""
        made = self.assembled(**options)
        self.successResultOf(self.service.start(lambda: None))
        return made

    def asked(self, name: str, headers: list[tuple[bytes, bytes]] | None = None) -> Any:
        """What is answered."""
        api = self.service.apis[name]
        assert isinstance(api, Api)
        return ask(api, "GET", "/", headers=headers or [])

    def test_told(self) -> None:
        """I see queues, deliveries and schedules, each as I wrote it."""
        self.start()
        told = json.loads(self.asked("status").body)
        self.assertEqual([each["name"] for each in told["queues"]], ["async", "jobs"])
        self.assertEqual([(each["to"], each["concurrency"]) for each in told["deliveries"]], [("/mailer", 3), ("", 8)])
        self.assertEqual((told["fault"], told["fronts"], told["unstored"]), ("", True, 0))
        self.assertEqual(told["schedules"], json.loads(self.asked("schedules").body)["schedules"])
        self.assertEqual(told["schedules"][0]["name"], "yearly")

    def test_token(self) -> None:
        """If clients have to know a token, whoever looks has to know it, too."""
        self.start(tqs=TqsSettings(api_token="long-enough"))
        for headers, status in (
            ([], 401),
            ([(b"authorization", b"Bearer wrong")], 401),
            ([(b"authorization", b"Basic long-enough")], 401),
            ([(b"authorization", b"Bearer long-enough")], 200),
        ):
            for name in ("status", "schedules"):
                self.assertEqual(self.asked(name, headers).status, status, headers)

    def test_no_fronts(self) -> None:
        """A queue that runs alone delivers nothing, and has no requests to keep."""
        self.start(front="")
        self.assertIsNone(self.deliveries)
        self.assertNotIn("async", self.service.apis)
        told = json.loads(self.asked("status").body)
        self.assertEqual((told["deliveries"], told["fronts"]), ([], False))

    def test_store_fault(self) -> None:
        """A disk that is full at the start: services are there meanwhile, and deliveries begin when there is room."""
        made = self.assembled()
        define = made.store.define
        full = True

        def faulty(*args: Any) -> Deferred[Any]:
            return fail(StoreFault("The disk is full.")) if full else define(*args)

        self.patch(made.store, "define", faulty)
        self.successResultOf(self.service.start(lambda: None))
        self.assertEqual(self.asked("status").status, 200)
        assert self.deliveries is not None
        self.reactor.advance(2)
        self.assertTrue(self.deliveries.hushed)
        full = False
        for _ in range(20):
            self.reactor.advance(1)
        self.assertFalse(self.deliveries.hushed)
        self.assertIn(QueueName(LOCAL, "jobs"), made.store.queues)

    def test_end(self) -> None:
        """It ends in order: what is delivered first, the store last."""
        made = self.start()
        order: list[str] = []
        close = made.store.close

        def closed() -> Deferred[None]:
            order.append("store")
            assert self.deliveries is not None
            self.assertTrue(self.deliveries.hushed)
            return close()

        self.patch(made.store, "close", closed)
        self.service.stop()
        self.reactor.advance(20)
        self.assertEqual((self.ended, order), ([True], ["store"]))
