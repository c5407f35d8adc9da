"""What happens by itself, by one timer."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.expiry import AGAIN_S, SLEEP_S_MAX, Expiry
from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import LOCAL, NewTask, QueueName
from tqserver.queue.store import SWEEP_MAX, Claim, StoreFault, Swept

JOBS = QueueName(LOCAL, "jobs")


class SweptStore(MemoryStore):
    """Counts its sweeps, which may fail or take long."""

    sweeps = 0
    broken = False
    held: Deferred[None] | None = None

    def sweep(self) -> Deferred[Swept]:
        self.sweeps += 1
        if self.broken:
            return fail(StoreFault("broken"))
        if self.held is not None:
            return self.held.addCallback(lambda _: MemoryStore.sweep(self))  # type: ignore[return-value]
        return MemoryStore.sweep(self)


class ExpiryTests(SynchronousTestCase):
    """A store and a clock; the wall clock can be set apart."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall_ms = 1_000_000
        self.store = SweptStore(self.now)
        self.expiry = Expiry(self.store, self.clock, self.now)
        self.store.define(JOBS)

    def now(self) -> int:
        return self.wall_ms + round(self.clock.seconds() * 1000)

    def put(self, delay_ms: int, number: int = 1) -> None:
        self.successResultOf(
            self.store.create([NewTask(queue=JOBS, payload=b"x", ready=self.now() + delay_ms)] * number)
        )

    def ready(self) -> int:
        return self.store.counts(JOBS).ready

    def test_in_time(self) -> None:
        """A delayed task is ready the moment that it is due, and the store is asked only then."""
        self.expiry.start()
        self.put(1500)
        self.clock.advance(1.499)
        self.assertEqual((self.ready(), self.store.sweeps), (0, 0))
        self.clock.advance(0.001)
        self.assertEqual((self.ready(), self.store.sweeps), (1, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lease(self) -> None:
        """A lease that runs out is noticed though nobody asks for anything."""
        self.expiry.start()
        self.put(0)
        self.successResultOf(self.store.claim(Claim((JOBS,), 1, self.now() + 5000)))
        self.clock.advance(5)
        self.assertEqual(self.ready(), 1)

    def test_earlier(self) -> None:
        """What comes later but is due before is not waited for any longer."""
        self.expiry.start()
        self.put(20_000)
        self.put(1000)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(self.ready(), 1)
        self.clock.advance(19)
        self.assertEqual(self.ready(), 2)

    def test_before_the_start(self) -> None:
        """What was overdue at the start (after a restart) is done at once."""
        self.put(1000)
        self.wall_ms += 5000
        self.expiry.start()
        self.clock.advance(0)
        self.assertEqual(self.ready(), 1)

    def test_much(self) -> None:
        """What is more than one sweep is done in several, one after the other."""
        self.put(1000, SWEEP_MAX + 5)
        self.expiry.start()
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertEqual((self.ready(), self.store.sweeps), (SWEEP_MAX + 5, 2))

    def test_one_at_a_time(self) -> None:
        """While a sweep is under way there is no other."""
        self.expiry.start()
        self.store.held = held = Deferred()
        self.put(1000)
        self.clock.advance(1)
        self.put(1)
        self.clock.advance(1)
        self.assertEqual(self.store.sweeps, 1)
        self.store.held = None
        held.callback(None)
        self.clock.advance(0)
        self.assertEqual(self.ready(), 2)

    def test_clock_set_forward(self) -> None:
        """When the wall clock is set forward it is noticed, at the latest after the longest sleep."""
        self.expiry.start()
        self.put(3_600_000)
        self.wall_ms += 3_600_000
        self.clock.advance(SLEEP_S_MAX)
        self.assertEqual(self.ready(), 1)

    def test_clock_set_back(self) -> None:
        """When it is set back nothing is done too early, and nothing in a loop."""
        self.expiry.start()
        self.put(1000)
        self.wall_ms -= 3_600_000
        self.clock.advance(1)
        self.assertEqual((self.ready(), self.store.sweeps, len(self.clock.getDelayedCalls())), (0, 0, 1))
        self.assertEqual(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds(), SLEEP_S_MAX)

    def test_fault(self) -> None:
        """A store that cannot is asked again after a while, not in a loop; nothing is forgotten."""
        self.expiry.start()
        self.put(1000)
        self.store.broken = True
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertEqual(self.store.sweeps, 1)
        self.clock.advance(AGAIN_S)
        self.assertEqual(self.store.sweeps, 2)
        self.store.broken = False
        self.clock.advance(AGAIN_S)
        self.assertEqual(self.ready(), 1)

    def test_close(self) -> None:
        """After the end nothing is due any more, not even what a sweep under way finds."""
        self.expiry.start()
        self.store.held = held = Deferred()
        self.put(1000)
        self.put(5000)
        self.clock.advance(1)
        self.expiry.close()
        held.callback(None)
        self.put(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.expiry.close()
