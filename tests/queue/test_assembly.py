"""Tests of L{tqserver.queue.assembly}."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.queue.api.asking import ask
from tests.queue.api.threads import Threads
from tqserver.config.queue_model import ApiSettings, QueueSettings, StoreSettings, TqsSettings, ZapqSettings
from tqserver.queue import assembly
from tqserver.queue.api import Api
from tqserver.queue.assembly import assemble
from tqserver.queue.service import QueueService

MEMORY = StoreSettings(type="memory", bytes_max=1000, messages_max=10)


class AssemblyTests(SynchronousTestCase):
    """A queue that is put together."""

    def setUp(self) -> None:
        self.reactor = Threads()
        self.data = Path(self.mktemp()).absolute()
        self.ended: list[bool] = []
        self.listening = 0
        self.service = QueueService(self.reactor, self.ended.append)
        self.patch(assembly, "to_stderr", lambda data: None)

    def start(self, tqs: TqsSettings | None = None, zapq: ZapqSettings | None = None) -> None:
        assemble(self.service, QueueSettings(apis=ApiSettings(tqs=tqs, zapq=zapq), store=MEMORY), self.reactor)
        self.successResultOf(self.service.start(self.listen))

    def listen(self) -> None:
        self.listening += 1

    def api(self, name: str) -> Api:
        api = self.service.apis[name]
        assert isinstance(api, Api)
        return api

    def stop(self) -> None:
        self.service.stop()
        self.reactor.advance(20)
        self.assertEqual(len(self.ended), 1)

    def test_tqs(self) -> None:
        """TQS is there as it was configured, with the numbers of the process."""
        self.start(tqs=TqsSettings(api_token="long-enough", body_chars_max=3))
        token = [(b"authorization", b"token long-enough")]
        self.assertEqual(sorted(self.service.apis), ["metrics", "tqs"])
        self.assertEqual(ask(self.api("tqs"), "GET", "/queues").status, 401)
        for path, body, status in (
            ("/queues", {"name": "q"}, 200),
            ("/queues/q", {"messages": [{"body": "abcd"}]}, 400),
            ("/queues/q", {"messages": [{"body": "abc"}]}, 200),
        ):
            self.assertEqual(ask(self.api("tqs"), "POST", path, json.dumps(body).encode(), token).status, status)
        for api, path in (("metrics", "/"), ("tqs", "/metrics")):
            metrics = ask(self.api(api), "GET", path, None, token)
            self.assertIn(b'operations_total{api="tqs",operation="put"} 1', metrics.body)
        self.stop()
        self.assertEqual((self.ended, self.listening), ([True], 1))

    def test_hush(self) -> None:
        """When the process is to end nobody waits any more."""
        self.start(tqs=TqsSettings())
        ask(self.api("tqs"), "POST", "/queues", b'{"name":"q"}')
        exchange = ask(self.api("tqs"), "GET", "/queues/q?wait_time=60")
        self.assertEqual(exchange.status, 0)
        self.service.hush()
        self.assertEqual(exchange.status, 200)
        self.stop()

    def test_zapq(self) -> None:
        """ZapQ writes its snapshot at the end and finds it at the start."""
        settings = ZapqSettings(data=str(self.data), persist_on_stop="s", load_on_start="s", messages_max=2)
        self.start(zapq=settings)
        ask(self.api("zapq"), "POST", "/enqueue", b"a")
        self.stop()
        self.assertEqual(json.loads((self.data / "s").read_bytes()), ["YQ=="])
        self.service = QueueService(self.reactor, self.ended.append)
        self.start(zapq=settings)
        self.assertEqual(ask(self.api("zapq"), "GET", "/dequeue").body, b"a")

    def test_bad_snapshot(self) -> None:
        """A snapshot that cannot be loaded ends the start, and is not replaced by what there was instead."""
        os.makedirs(self.data)
        (self.data / "s").write_text("oops")
        self.start(zapq=ZapqSettings(data=str(self.data), persist_on_stop="s", load_on_start="s"))
        self.assertEqual((self.listening, self.ended), (0, [False]))
        self.assertEqual((self.data / "s").read_text(), "oops")

    def test_bad_name(self) -> None:
        """A snapshot that could not be written at the end is told at the start, while there is nothing to lose."""
        self.start(zapq=ZapqSettings(data=str(self.data), persist_on_stop="../s"))
        self.assertEqual((self.listening, self.ended), (0, [False]))

    def test_no_folder(self) -> None:
        """A folder of snapshots that cannot be made is told at the start."""
        (self.data.parent).mkdir(parents=True, exist_ok=True)
        self.data.write_text("a file")
        self.start(zapq=ZapqSettings(data=str(self.data)))
        self.assertEqual((self.listening, self.ended), (0, [False]))
