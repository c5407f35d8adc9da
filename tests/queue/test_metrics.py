"""Tests of L{tqserver.queue.metrics}."""

from __future__ import annotations

from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.memory import MemoryStore
from tqserver.queue.metrics import OTHERS, QUEUES_MAX, Metrics
from tqserver.queue.model import LOCAL, NewTask, QueueName
from tqserver.queue.waiting import Waiting

Labels = frozenset[tuple[str, str]]


class MetricsTests(SynchronousTestCase):
    """What the process has to say about itself."""

    def setUp(self) -> None:
        clock = Clock()
        self.store = MemoryStore(lambda: 1)
        self.waiting = Waiting(self.store, clock, lambda: 1)
        self.stats: object = None
        self.metrics = Metrics(self.store, self.waiting, lambda: self.stats)

    def put(self, name: str) -> None:
        self.store.create([NewTask(queue=QueueName(LOCAL, name), payload=b"")], define=True)

    def samples(self) -> dict[tuple[str, Labels], float]:
        """All of it, as Prometheus reads it."""
        head, body = self.metrics.answer(None)
        self.assertEqual(head.status, 200)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }

    def tasks(self, queue: str, state: str, tenant: str = LOCAL) -> float:
        labels = frozenset({"tenant": tenant, "queue": queue, "state": state}.items())
        return self.samples()["tqserver_queue_tasks", labels]

    def test_tasks(self) -> None:
        """Tasks are counted by queue and state."""
        self.put("emails")
        self.put('odd"\\\n')
        self.assertEqual((self.tasks("emails", "ready"), self.tasks("emails", "dead")), (1, 0))
        self.assertEqual(self.tasks('odd"\\\n', "ready"), 1)

    def test_bounded(self) -> None:
        """However many queues there are, the number of labels is bounded, and nothing is lost from the sum."""
        for number in range(QUEUES_MAX + 30):
            self.put(f"q{number}")
        self.assertEqual(self.tasks(OTHERS, "ready", tenant=""), 30)
        queues = {dict(labels).get("queue") for name, labels in self.samples() if name == "tqserver_queue_tasks"}
        self.assertEqual(len(queues), QUEUES_MAX + 1)

    def test_rest(self) -> None:
        """Who waits, what was done, and what the store did are counted, too."""
        self.waiting.claim([QueueName(LOCAL, "q")], limit=1, lease_ms=1, wait_s=1)
        self.metrics.count("tqs", lambda: {"put": 3})
        self.stats = SimpleNamespace(commits=2, commit_s=0.5)
        samples = self.samples()
        self.assertEqual(samples["tqserver_queue_waiting", frozenset()], 1)
        self.assertEqual(samples["tqserver_queue_store_up", frozenset()], 1)
        operation = frozenset({"api": "tqs", "operation": "put"}.items())
        self.assertEqual(samples["tqserver_queue_operations_total", operation], 3)
        self.assertEqual(samples["tqserver_queue_store_commits_total", frozenset()], 2)
        self.assertEqual(samples["tqserver_queue_store_commit_s_total", frozenset()], 0.5)
