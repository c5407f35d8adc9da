"""Tasks that are put when schedules fire."""

from __future__ import annotations

from datetime import datetime, timezone

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.queue.delivering import FaultyStore
from tqserver.queue.model import LOCAL, QueueName, Task
from tqserver.queue.own import MARKS
from tqserver.queue.schedule import Schedule
from tqserver.queue.schedules import Schedules
from tqserver.queue.store import Claim

JOBS = QueueName(LOCAL, "jobs")
BEGIN_MS = int(datetime(2026, 5, 1, 12, 0, 30, tzinfo=timezone.utc).timestamp() * 1000)
MINUTELY = Schedule(name="minutely", cron="* * * * *", queue="jobs", payload=b"{}", payload_type=b"application/json")


class SchedulesTests(SynchronousTestCase):
    """Schedules of a queue process that lives, dies and comes again."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = FaultyStore(self.now)

    def now(self) -> int:
        return BEGIN_MS + int(self.clock.seconds() * 1000)

    def begin(self, *schedules: Schedule) -> Schedules:
        """A process begins."""
        made = Schedules(self.store, self.clock, self.now, schedules or (MINUTELY,))
        self.successResultOf(made.start())
        return made

    def wait(self, seconds: int) -> None:
        """Time passes."""
        for _ in range(seconds):
            self.clock.advance(1)

    def tasks(self) -> list[Task]:
        """What was put since this was asked last."""
        return self.successResultOf(self.store.claim(Claim((JOBS,), 1000, self.now() + 10**9)))  # type: ignore[return-value]

    def test_fires(self) -> None:
        """A task is put in each slot, with what I said."""
        made = self.begin()
        self.wait(29)
        self.assertEqual(self.tasks(), [])
        self.wait(1)
        [task] = self.tasks()
        self.assertEqual((task.payload, task.head, task.priority), (b"{}", b"application/json", 50))
        self.wait(120)
        self.assertEqual(len(self.tasks()), 2)
        [state] = made.states()
        self.assertEqual((state.last, state.next), (self.now(), self.now() + 60_000))
        self.assertEqual(self.store.counts(MARKS).live, 1)

    def test_restart(self) -> None:
        """A restart between two slots fires none of them twice, and none in between."""
        self.begin().close()
        self.wait(10)
        for _ in range(8):
            made = self.begin()
            self.wait(20)
            made.close()
        self.assertEqual(len(self.tasks()), 3)

    def test_fired_and_taken(self) -> None:
        """A task that is done and forgotten does not come again after a restart."""
        made = self.begin()
        self.wait(31)
        self.assertEqual(len(self.tasks()), 1)
        self.successResultOf(self.store.drop(JOBS))
        made.close()
        self.begin()
        self.wait(10)
        self.assertNotIn(JOBS, self.store.queues)

    def test_downtime(self) -> None:
        """After a day without a server one task is put, for the last slot, at once, and then as ever."""
        self.begin().close()
        self.clock.advance(86_400)
        self.begin()
        self.clock.advance(0)
        self.assertEqual(len(self.tasks()), 1)
        self.wait(29)
        self.assertEqual(len(self.tasks()), 0)
        self.wait(1)
        self.assertEqual(len(self.tasks()), 1)

    def test_new(self) -> None:
        """A schedule that is new has missed nothing; nor has one whose times I have changed, or that rested."""
        daily = Schedule(name="daily", cron="0 12 * * *", queue="jobs")
        self.begin(daily).close()
        self.clock.advance(86_400 * 3)
        hourly = Schedule(name="daily", cron="0 * * * *", queue="jobs")
        self.begin(hourly).close()
        self.clock.advance(0)
        resting = Schedule(name="daily", cron="0 * * * *", queue="jobs", paused=True)
        made = self.begin(resting)
        self.assertEqual(made.states()[0].next, 0)
        self.clock.advance(86_400)
        made.close()
        self.begin(hourly)
        self.clock.advance(0)
        self.assertEqual(self.tasks(), [])
        self.wait(3600)
        self.assertEqual(len(self.tasks()), 1)

    def test_removed(self) -> None:
        """A schedule that is gone leaves nothing behind."""
        self.begin(MINUTELY, Schedule(name="other", cron="0 0 * * *", queue="jobs")).close()
        self.assertEqual(self.store.counts(MARKS).live, 2)
        self.begin(MINUTELY)
        self.assertEqual(self.store.counts(MARKS).live, 1)

    def test_fault(self) -> None:
        """A disk that is full for three slots: the last of them is put when there is room again, once."""
        self.begin()
        self.store.failing = {"create"}
        self.wait(180)
        self.store.failing.clear()
        self.wait(29)
        self.assertEqual(len(self.tasks()), 1)
        self.wait(60)
        self.assertEqual(len(self.tasks()), 1)

    def test_no_polling(self) -> None:
        """A schedule that fires once a year is looked at now and then, as the clock may be set, and no more."""
        self.begin(Schedule(name="yearly", cron="0 0 1 1 *", queue="jobs"))
        self.store.asked.clear()
        self.wait(600)
        self.assertEqual(self.store.asked, [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
