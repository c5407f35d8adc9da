"""How a leased task ends."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import LOCAL, NewTask, QueueName, State, Task
from tqserver.queue.store import Claim, Finish, Held

JOBS = QueueName(LOCAL, "jobs")


class FinishTests(SynchronousTestCase):
    """Ending a task."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.now)

    def now(self) -> int:
        return int(self.clock.seconds() * 1000) + 1

    def leased(self, keep_ms: int = 0) -> Held:
        new = NewTask(queue=JOBS, payload=b"a", keep_ms=keep_ms)
        self.successResultOf(self.store.create([new], define=True))
        [task] = self.successResultOf(self.store.claim(Claim((JOBS,), 1, self.now() + 1000)))
        return Held(LOCAL, id=task.id, lease=task.lease)

    def looked_at(self, held: Held) -> Task | None:
        return self.successResultOf(self.store.get(LOCAL, [held.id]))[0]

    def test_dead(self) -> None:
        """Who counts tries by rules of their own says that a task is dead, and how long it is kept."""
        held = self.leased()
        self.successResultOf(self.store.finish([Finish(held, State.DEAD, error="five times", keep_ms=5000)]))
        task = self.looked_at(held)
        assert task is not None
        self.assertEqual((task.state, task.error, task.due), (State.DEAD, "five times", self.now() + 5000))
        self.assertEqual(self.store.counts(JOBS).dead, 1)
        self.clock.advance(5)
        self.successResultOf(self.store.sweep())
        self.assertIsNone(self.looked_at(held))

    def test_not_kept(self) -> None:
        """What was to be kept is not, if whoever ends it says so; nothing said leaves it as it was."""
        held, kept = self.leased(keep_ms=1000), self.leased(keep_ms=1000)
        self.successResultOf(self.store.finish([Finish(held, keep_ms=0), Finish(kept)]))
        self.assertIsNone(self.looked_at(held))
        self.assertIsNotNone(self.looked_at(kept))
