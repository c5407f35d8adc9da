"""Claims that wait."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ServerFault
from tqserver.queue import waiting as waiting_module
from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import LOCAL, NewTask, Policy, QueueName, Task
from tqserver.queue.store import Claim, Finish, Held, Release, StoreFault
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

    def test_dropped(self) -> None:
        """Who waits for a queue that is removed hears at once that there is nothing; who waits for others stays."""
        claim, both, any_ = self.wait(), self.wait(JOBS, MAIL), self.wait(every(LOCAL))
        self.store.define(MAIL)
        self.store.drop(JOBS)
        self.assertEqual(self.got(claim), [])
        self.assertNoResult(both)
        self.put(b"a", queue=MAIL)
        self.assertEqual((self.got(both), len(self.waiting)), ([b"a"], 1))
        self.store.drop(MAIL)
        self.assertNoResult(any_)

    def test_close(self) -> None:
        """At the end all are told that there is nothing, also those that come then."""
        claim = self.wait()
        self.waiting.close()
        self.assertEqual((self.got(claim), self.got(self.wait())), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SlowStore(MemoryStore):
    """Answers claims when it is told to, as one that waits for the disk does."""

    slow = False
    fault_next: StoreFault | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[tuple[Claim, Deferred[list[Task]]]] = []

    def claim(self, claim: Claim) -> Deferred[list[Task]]:
        if self.fault_next is not None:
            return fail(self.fault_next)
        if not self.slow:
            return super().claim(claim)
        self.asked.append((claim, Deferred()))
        return self.asked[-1][1]

    def answer(self) -> None:
        """The claim that was asked first is done."""
        claim, answer = self.asked.pop(0)
        super().claim(claim).chainDeferred(answer)


class SlowTests(WaitingTests):
    """A store that takes its time, and one that cannot."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.slow = SlowStore(self.now)
        self.waiting = Waiting(self.store, self.clock, self.now)
        self.store.define(JOBS)

    def counts(self) -> tuple[int, int]:
        counts = self.store.counts(JOBS)
        return counts.ready, counts.leased

    def test_left_while_asking(self) -> None:
        """What was leased to a client that left meanwhile is given back, was not a try, and goes to the next."""
        self.slow.slow = True
        gone, claim = self.wait(), self.wait()
        self.put(b"a")
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.slow.answer()
        while self.slow.asked:
            self.slow.answer()
        (task,) = self.successResultOf(claim)
        self.assertEqual((task.payload, task.attempts), (b"a", 1))
        self.assertEqual((len(self.waiting), self.counts()), (0, (0, 1)))

    def test_left_and_cannot_be_given_back(self) -> None:
        """If what was leased cannot be given back, its lease ends by itself; nobody is troubled."""
        self.slow.slow = True
        gone = self.wait()
        self.put(b"a")
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.patch(self.slow, "release", lambda releases: fail(StoreFault("broken")))
        self.slow.answer()
        self.assertEqual(self.counts(), (0, 1))

    def test_time_is_over_while_asking(self) -> None:
        """Whose time is over while the store is being asked has what it says then."""
        self.slow.slow = True
        claim = self.wait(wait_s=1)
        self.put(b"a")
        self.clock.advance(1)
        self.assertNoResult(claim)
        self.slow.answer()
        self.assertEqual(self.got(claim), [b"a"])
        nothing = self.wait(wait_s=1)
        self.put(b"b")
        self.clock.advance(1)
        self.store.drop(JOBS)
        self.slow.answer()
        self.assertEqual(self.got(nothing), [])
        self.assertEqual((len(self.waiting), self.clock.getDelayedCalls()), (0, []))

    def test_not_woken_twice(self) -> None:
        """While the store is being asked for a client it is not asked again for the same."""
        self.slow.slow = True
        claim = self.wait()
        self.put(b"a")
        self.put(b"b")
        self.assertEqual(len(self.slow.asked), 1)
        self.slow.answer()
        self.assertEqual(self.got(claim), [b"a"])

    def test_put_while_another_is_asked_for(self) -> None:
        """A task that is put just when another client is being served goes to the next who waits, not to nobody."""
        self.slow.slow = True
        first, second, third = self.wait(), self.wait(limit=100), self.wait()
        self.put(b"a")
        ((claim, answer),) = self.slow.asked
        self.slow.asked.clear()
        served = MemoryStore.claim(self.store, claim)  # In one commit with what is put next.
        self.put(b"b")
        served.chainDeferred(answer)
        self.assertEqual(self.got(first), [b"a"])
        ((claim, answer),) = self.slow.asked
        self.slow.asked.clear()
        served = MemoryStore.claim(self.store, claim)
        self.put(b"c")
        served.chainDeferred(answer)
        self.assertEqual(self.got(second), [b"b"])
        self.slow.answer()
        self.assertEqual(self.got(third), [b"c"])
        self.assertEqual((self.slow.asked, self.clock.getDelayedCalls()), ([], []))

    def test_left_after_it_was_served(self) -> None:
        """What was put for somebody who leaves goes to the next, though what they were given cannot be given back."""
        self.slow.slow = True
        gone, claim = self.wait(), self.wait()
        self.put(b"a")
        self.patch(self.slow, "release", lambda releases: fail(StoreFault("broken")))
        ((asked, answer),) = self.slow.asked
        self.slow.asked.clear()
        served = MemoryStore.claim(self.store, asked)
        self.put(b"b")
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        served.chainDeferred(answer)
        while self.slow.asked:
            self.slow.answer()
        self.assertEqual(self.got(claim), [b"b"])

    def test_thousands_at_once(self) -> None:
        """A thousand who wait are served by one request that puts a thousand tasks."""
        claims = [self.wait() for _ in range(1000)]
        self.put(*[b"%d" % number for number in range(1000)])
        self.assertEqual([self.got(claim) for claim in claims], [[b"%d" % number] for number in range(1000)])

    def test_somebody_else_was_faster(self) -> None:
        """Who comes too late goes on waiting, and has the next."""
        self.slow.slow = True
        first, second = self.wait(), self.wait()
        self.put(b"a")
        self.put(b"b")
        self.successResultOf(MemoryStore.claim(self.store, Claim((JOBS,), 1, self.now() + 1000)))
        while self.slow.asked:
            self.slow.answer()
        self.assertEqual(self.got(first), [b"b"])
        self.assertNoResult(second)
        self.put(b"c")
        self.slow.answer()
        self.assertEqual(self.got(second), [b"c"])

    def test_fault(self) -> None:
        """Who waits is told when the store cannot, and is forgotten."""
        claim = self.wait()
        self.slow.fault_next = StoreFault("broken")
        self.put(b"a")
        self.assertIs(self.failureResultOf(claim).value, self.slow.fault_next)
        self.assertEqual((len(self.waiting), self.clock.getDelayedCalls()), (0, []))

    def test_fault_is_over(self) -> None:
        """Who waits behind somebody who was told of a fault is served when it is over, though nothing is put then."""
        first, second = self.wait(), self.wait()
        self.slow.fault_next = StoreFault("broken")
        self.put(b"a")
        self.failureResultOf(first, StoreFault)
        self.assertNoResult(second)
        self.slow.fault_next = None
        self.clock.advance(waiting_module.AGAIN_S)
        self.assertEqual(self.got(second), [b"a"])
        self.assertEqual((len(self.waiting), self.clock.getDelayedCalls()), (0, []))

    def test_closed_after_a_fault(self) -> None:
        """At the end nothing is left to be done for those who waited behind a fault."""
        first, second = self.wait(), self.wait()
        self.slow.fault_next = StoreFault("broken")
        self.put(b"a")
        self.failureResultOf(first, StoreFault)
        self.waiting.close()
        self.assertEqual((self.got(second), self.clock.getDelayedCalls()), ([], []))

    def test_bounded(self) -> None:
        """No more wait than may; who does not wait is served all the same, and a place is free again."""
        self.patch(waiting_module, "WAITERS_MAX", 2)
        claims = [self.wait() for _ in range(2)]
        self.failureResultOf(self.wait(), ServerFault)
        self.assertEqual(self.got(self.wait(wait_s=0)), [])
        claims[0].cancel()
        self.failureResultOf(claims[0], CancelledError)
        self.assertNoResult(self.wait())

    def test_fair(self) -> None:
        """Of many that wait each has one, in the order in which they came, whatever they are given at once."""
        claims = [self.wait(JOBS, MAIL) if number % 2 else self.wait() for number in range(10)]
        self.put(*[b"%d" % number for number in range(10)])
        self.assertEqual([self.got(claim) for claim in claims], [[b"%d" % number] for number in range(10)])

    def test_paused(self) -> None:
        """Of a paused queue nobody has anything until it goes on; and nobody looks in a loop."""
        self.store.define(JOBS, Policy(paused=True))
        claim = self.wait()
        self.put(b"a")
        self.assertNoResult(claim)
        self.store.define(JOBS, Policy())
        self.assertEqual(self.got(claim), [b"a"])

    def test_leased_max(self) -> None:
        """Who waits for a queue that may not lease more has a task when one comes back."""
        self.store.define(JOBS, Policy(leased_max=1))
        self.put(b"a", b"b", b"c")
        (task,) = self.successResultOf(self.wait())
        second, third = self.wait(), self.wait()
        self.assertNoResult(second)
        self.store.finish([Finish(Held(LOCAL, lease=task.lease))])
        (task,) = self.successResultOf(second)
        self.assertNoResult(third)
        self.store.release([Release(Held(LOCAL, lease=task.lease), counted=False)])
        self.assertEqual(self.got(third), [b"b"])

    def test_dropped_while_asking(self) -> None:
        """Who is being asked for when the queue is removed hears that there is nothing when the store says so."""
        self.slow.slow = True
        claim = self.wait()
        self.put(b"a")
        self.store.drop(JOBS)
        self.assertNoResult(claim)
        self.slow.answer()
        self.assertEqual(self.got(claim), [])
        self.assertEqual((len(self.waiting), self.clock.getDelayedCalls()), (0, []))

    def test_closed_while_asking(self) -> None:
        """At the end, who is being asked for is still given what was leased."""
        self.slow.slow = True
        claim = self.wait()
        self.put(b"a")
        self.waiting.close()
        self.assertNoResult(claim)
        self.slow.answer()
        self.assertEqual(self.got(claim), [b"a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_take(self) -> None:
        """Who waits to take has it done at once."""
        claim = self.waiting.claim([JOBS], limit=1, lease_ms=1, wait_s=5, take=True)
        self.put(b"a")
        self.assertEqual(self.got(claim), [b"a"])
        self.assertEqual(self.counts(), (0, 0))
