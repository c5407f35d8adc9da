"""Claims that wait."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import LOCAL, NewTask, QueueName, Task
from tqserver.queue.waiting import Waiting, every

JOBS = QueueName(LOCAL, "jobs")
MAIL = QueueName(LOCAL, "mail")


class WaitingTests(SynchronousTestCase):
    """Who waits for tasks."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.now)
        self.waiting = Waiting(self.store, self.clock, self.now)
        self.store.define(JOBS)

    def now(self) -> int:
        return int(self.clock.seconds() * 1000) + 1

    def wait(self, *queues: QueueName, wait_s: float = 10, limit: int = 1) -> Deferred[list[Task]]:
        return self.waiting.claim(queues or [JOBS], limit=limit, lease_ms=1000, wait_s=wait_s)

    def put(self, *payloads: bytes, queue: QueueName = JOBS) -> None:
        self.successResultOf(
            self.store.create([NewTask(queue=queue, payload=payload) for payload in payloads], define=True)
        )

    def got(self, claim: Deferred[list[Task]]) -> list[bytes]:
        return [task.payload for task in self.successResultOf(claim)]

    def test_at_once(self) -> None:
        """What is ready is had at once."""
        self.put(b"a", b"b")
        self.assertEqual(self.got(self.wait(limit=5)), [b"a", b"b"])
        self.assertEqual((len(self.waiting), self.clock.getDelayedCalls()), (0, []))

    def test_no_wait(self) -> None:
        """Who does not wait is told at once that there is nothing."""
        self.assertEqual(self.got(self.wait(wait_s=0)), [])

    def test_woken(self) -> None:
        """Who waits has a task the moment it is put; the first who came, first."""
        first, second = self.wait(), self.wait()
        self.put(b"a")
        self.assertEqual(self.got(first), [b"a"])
        self.assertNoResult(second)
        self.put(b"b")
        self.assertEqual(self.got(second), [b"b"])
        self.assertEqual((len(self.waiting), self.clock.getDelayedCalls()), (0, []))

    def test_several_queues(self) -> None:
        """Who waits for several queues, or for all, has whatever comes first, once."""
        both, any_ = self.wait(JOBS, MAIL), self.wait(every(LOCAL))
        self.put(b"m", queue=MAIL)
        self.put(b"j")
        self.assertEqual((self.got(both), self.got(any_)), ([b"m"], [b"j"]))

    def test_time_is_over(self) -> None:
        """Who has waited long enough has nothing."""
        claim = self.wait(wait_s=3)
        self.clock.advance(2.9)
        self.assertNoResult(claim)
        self.clock.advance(0.1)
        self.assertEqual(self.got(claim), [])

    def test_left(self) -> None:
        """Who has left is given nothing: the next has it."""
        gone, claim = self.wait(), self.wait()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.put(b"a")
        self.assertEqual(self.got(claim), [b"a"])

    def test_close(self) -> None:
        """At the end all are told that there is nothing, also those that come then."""
        claim = self.wait()
        self.waiting.close()
        self.assertEqual((self.got(claim), self.got(self.wait())), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])
