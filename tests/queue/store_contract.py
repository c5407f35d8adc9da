"""What every store does. Each store's tests take these and say how it is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.lifecycle import LEASE_EXPIRED, TRANSITIONS, Event
from tqserver.queue.model import LOCAL, NEVER, Backoff, Counts, NewTask, Policy, QueueName, State, Task
from tqserver.queue.store import (
    CLAIM_MAX,
    PURGE_MAX,
    SWEEP_MAX,
    Claim,
    Created,
    Extend,
    Finish,
    FullFault,
    Held,
    IStore,
    Outcome,
    Page,
    Refusal,
    Release,
    Swept,
)

JOBS = QueueName(LOCAL, "jobs")
MAIL = QueueName(LOCAL, "mail")
THEIRS = QueueName("other", "jobs")

EPOCH_MS = 1_700_000_000_000
"""What the clock shows at first."""

LEASE_MS = 30_000


class StoreCase(SynchronousTestCase):
    """A store, a clock that stands still, and words for what is done with them."""

    store: IStore

    def setUp(self) -> None:
        self.clock = Clock()
        self.ahead_ms = 0
        self.store = self.make_store()
        self.ready: list[frozenset[QueueName]] = []
        self.store.observe(self.ready.append)
        self.of(self.store.open())
        self.addCleanup(lambda: self.of(self.store.close()))
        self.of(self.store.define(JOBS))

    def make_store(self, **options: Any) -> IStore:
        """A store that is not open yet."""
        raise NotImplementedError

    def now(self) -> int:
        return EPOCH_MS + self.ahead_ms + int(self.clock.seconds() * 1000)

    def later(self, ms: int) -> None:
        """The clock is set."""
        self.ahead_ms += ms

    def of(self, answer: Deferred[Any]) -> Any:
        return self.successResultOf(answer)

    def put(self, *payloads: bytes, queue: QueueName = JOBS, **fields: Any) -> list[Task]:
        new = [NewTask(queue=queue, payload=payload, **fields) for payload in payloads]
        created: list[Created] = self.of(self.store.create(new, define=True))
        return [each.task for each in created]

    def claim(self, *queues: QueueName, limit: int = 1, **fields: Any) -> list[Task]:
        tasks: list[Task] = self.of(self.store.claim(Claim(queues or (JOBS,), limit, self.now() + LEASE_MS, **fields)))
        return tasks

    def leased(self, payload: bytes = b"x", **fields: Any) -> Task:
        """A task that is put and leased."""
        self.put(payload, **fields)
        (task,) = self.claim(owner="me")
        return task

    def held(self, task: Task) -> Held:
        return Held(task.queue.tenant, lease=task.lease)

    def finish(self, task: Task, **fields: Any) -> Outcome:
        return self.outcome(self.store.finish([Finish(self.held(task), **fields)]))

    def release(self, task: Task, **fields: Any) -> Outcome:
        return self.outcome(self.store.release([Release(self.held(task), **fields)]))

    def extend(self, task: Task, **fields: Any) -> Outcome:
        return self.outcome(self.store.extend([Extend(self.held(task), **fields)]))

    def outcome(self, answer: Deferred[list[Outcome]]) -> Outcome:
        (outcome,) = self.of(answer)
        return outcome  # type: ignore[no-any-return]

    def get(self, task: Task) -> Task | None:
        (found,) = self.of(self.store.get(task.queue.tenant, [task.id]))
        return found  # type: ignore[no-any-return]

    def sweep(self) -> Swept:
        return self.of(self.store.sweep())  # type: ignore[no-any-return]

    def page(self, state: State, limit: int = 10, cursor: int = 0, queue: QueueName = JOBS) -> Page:
        return self.of(self.store.page(queue, state, limit, cursor))  # type: ignore[no-any-return]

    def in_state(self, state: State, **fields: Any) -> Task:
        """A task of the queue in a state; it is kept when it has ended."""
        fields = {"keep_ms": 60_000, **fields}
        if state is State.DELAYED:
            return self.put(b"x", ready=self.now() + 10_000, **fields)[0]
        if state is State.READY:
            return self.put(b"x", **fields)[0]
        if state is State.DEAD:
            fields["attempts_max"] = 1
        task = self.leased(priority=0, **fields)  # Before all others.
        if state is State.LEASED:
            return task
        after = self.release(task) if state is State.DEAD else self.finish(task, state=state)
        assert isinstance(after, Task) and after.state is state
        return after

    def assertCounts(self, queue: QueueName = JOBS, **counts: int) -> None:
        self.assertEqual(self.store.counts(queue), Counts(**counts))

    def payloads(self, tasks: Iterable[Task]) -> list[bytes]:
        return [task.payload for task in tasks]


class StoreContract:
    """All that a store promises, for a L{StoreCase}."""

    # Queues.

    def test_define(self) -> None:
        """A queue is made once; another policy replaces its policy, none leaves it."""
        policy = Policy(leased_max=3)
        self.assertTrue(self.of(self.store.define(MAIL, policy)))
        self.assertFalse(self.of(self.store.define(MAIL)))
        queue = self.store.queues[MAIL]
        self.assertEqual((queue.name, queue.created, queue.policy), (MAIL, self.now(), policy))
        self.later(5)
        self.assertFalse(self.of(self.store.define(MAIL, Policy(paused=True))))
        queue = self.store.queues[MAIL]
        self.assertEqual((queue.created, queue.policy), (self.now() - 5, Policy(paused=True)))

    def test_drop(self) -> None:
        """A dropped queue is gone with its tasks; one of the same name is another, and empty."""
        tasks = self.put(*[b"%d" % n for n in range(20)], id="", key="") + [self.in_state(State.DONE)]
        named = self.put(b"n", id="mine", key="k", key_expires=self.now() + 1000)[0]
        self.put(b"m", queue=MAIL)
        self.ready.clear()
        self.assertTrue(self.of(self.store.drop(JOBS)))
        self.assertIn(JOBS, self.ready[0])  # Whoever waits for it shall know.
        self.assertFalse(self.of(self.store.drop(JOBS)))
        self.assertNotIn(JOBS, self.store.queues)
        self.assertEqual([self.get(task) for task in [*tasks, named]], [None] * 22)
        self.assertCounts()
        self.assertEqual(self.claim(JOBS, MAIL, limit=9)[0].payload, b"m")
        self.assertEqual(self.put(b"again", id="mine", key="k", key_expires=self.now() + 1000)[0].id, "mine")
        self.assertCounts(ready=1)
        self.assertEqual(self.page(State.READY).tasks[0].payload, b"again")

    # Create.

    def test_create(self) -> None:
        """A task is as it was put; ids differ, numbers grow, ids are found again."""
        first, second = self.put(b"a", b"b" * 10_000, head=b"h", priority=7, attempts_max=3, keep_ms=9)
        self.assertEqual(self.get(first), first)
        self.assertEqual(self.get(second), second)
        self.assertLess(first.seq, second.seq)
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(
            (first.queue, first.state, first.payload, first.head, first.priority, first.attempts, first.attempts_max),
            (JOBS, State.READY, b"a", b"h", 7, 0, 3),
        )
        now = self.now()
        self.assertEqual(
            (first.created, first.updated, first.ready, first.due, first.keep_ms), (now, now, now, NEVER, 9)
        )
        self.assertCounts(ready=2)
        self.assertEqual(self.ready[-1], {JOBS})

    def test_create_none(self) -> None:
        """To put no tasks is fine."""
        self.assertEqual(self.put(), [])
        self.assertEqual(self.of(self.store.finish([])), [])
        self.assertEqual(self.of(self.store.get(LOCAL, [])), [])

    def test_create_without_a_queue(self) -> None:
        """A task for a queue that there is not is refused, the others are put; or the queue is made, if so wished."""
        new = [NewTask(queue=MAIL, payload=b"m"), NewTask(queue=JOBS, payload=b"j")]
        refusal, created = self.of(self.store.create(new))
        self.assertEqual((refusal, created.task.payload), (Refusal.NO_QUEUE, b"j"))
        self.of(self.store.create(new, define=True))
        self.assertCounts(MAIL, ready=1)

    def test_own_id(self) -> None:
        """A client chooses an id once for its tenant; another tenant may choose the same."""
        (task,) = self.put(b"a", id="mine")
        self.assertEqual((task.id, self.get(task)), ("mine", task))
        new = NewTask(queue=MAIL, payload=b"b", id="mine")
        self.assertEqual(self.of(self.store.create([new], define=True)), [Refusal.EXISTS])
        self.put(b"theirs", queue=THEIRS, id="mine")
        self.assertEqual(self.get(task), task)
        self.of(self.store.remove(LOCAL, ["mine"]))
        self.put(b"again", id="mine")

    def test_own_id_twice_at_once(self) -> None:
        """Of two tasks of one batch with the same id, the first is put."""
        first, second = self.of(self.store.create([NewTask(queue=JOBS, payload=b"%d" % n, id="i") for n in range(2)]))
        self.assertEqual((first.task.payload, second), (b"0", Refusal.EXISTS))

    def test_id_of_ours(self) -> None:
        """A client may not choose the id of a task that there is; one that only looks like ours is as good as any."""
        (task,) = self.put(b"a")
        similar = task.id[:-4] + ("0000" if task.id[-4:] != "0000" else "1111")
        refused, created = self.of(
            self.store.create([NewTask(queue=JOBS, payload=b"b", id=id) for id in (task.id, similar)])
        )
        self.assertEqual((refused, created.task.id), (Refusal.EXISTS, similar))
        self.assertEqual(self.payloads(self.of(self.store.get(LOCAL, [task.id, similar]))), [b"a", b"b"])

    def test_key(self) -> None:
        """With the same key a task is put once, whatever becomes of it, as long as it is there and the key is known."""
        first, *_ = self.put(b"a", key="k", key_expires=self.now() + 1000, keep_ms=60_000)
        leased = self.claim()[0]
        self.finish(leased)
        self.later(999)
        (again,) = self.of(self.store.create([NewTask(queue=JOBS, payload=b"b", key="k", key_expires=self.now() + 99)]))
        self.assertTrue(again.replay)
        self.assertEqual((again.task.id, again.task.state), (first.id, State.DONE))
        self.later(1)
        (other,) = self.of(self.store.create([NewTask(queue=JOBS, payload=b"c", key="k", key_expires=self.now() + 99)]))
        self.assertFalse(other.replay)
        self.assertNotEqual(other.task.id, first.id)
        self.assertEqual(self.get(first), again.task)

    def test_key_of_what_is_gone(self) -> None:
        """The key of a task that is gone is free."""
        first = self.leased(key="k", key_expires=self.now() + 10_000)
        self.finish(first)
        (other,) = self.put(b"b", key="k", key_expires=self.now() + 10_000)
        self.assertEqual(other.payload, b"b")

    def test_keys_are_apart(self) -> None:
        """The same key in another queue, or of another tenant, is another."""
        until = self.now() + 1000
        tasks = [self.put(b"x", queue=queue, key="k", key_expires=until)[0] for queue in (JOBS, MAIL, THEIRS)]
        self.assertEqual(len({task.id for task in tasks}), 3)

    def test_key_twice_at_once(self) -> None:
        """Of two tasks of one batch, or of two that are put at the same time, with the same key, one is put."""
        until = self.now() + 1000
        new = [NewTask(queue=JOBS, payload=b"%d" % n, key="k", key_expires=until) for n in range(3)]
        answers = [self.store.create(new[:2]), self.store.create(new[2:])]
        created: list[Created] = [each for answer in answers for each in self.of(answer)]
        self.assertEqual([each.replay for each in created], [False, True, True])
        self.assertEqual(len({each.task.id for each in created}), 1)
        self.assertCounts(ready=1)

    def test_key_that_is_not_remembered(self) -> None:
        """A key whose time is over when it comes binds nobody."""
        self.assertEqual(len({self.put(b"x", key="k", key_expires=self.now())[0].id for _ in range(2)}), 2)

    def test_full(self) -> None:
        """What is full takes none of a batch, and says so; it goes on when there is room."""
        store = self.store = self.make_store(tasks_max=2)
        self.of(store.open())
        self.of(store.define(JOBS))
        self.put(b"a")
        new = [NewTask(queue=JOBS, payload=b"b")] * 2
        fault = self.failureResultOf(store.create(new), FullFault).value
        self.assertEqual((fault.status, fault.retry_after_s), (503, 1))
        self.assertCounts(ready=1)
        self.finish(self.claim()[0])
        self.assertEqual(len(self.of(store.create(new))), 2)
        self.of(store.remove(LOCAL, [task.id for task in self.page(State.READY).tasks]))
        self.assertEqual(len(self.of(store.create(new))), 2)

    # Claim.

    def test_claim(self) -> None:
        """What is leased has a lease, an owner and an end, and is not leased again."""
        self.put(b"a")
        (task,) = self.claim(owner="me", limit=5)
        self.assertEqual(
            (task.state, task.attempts, task.owner, task.due, task.updated),
            (State.LEASED, 1, "me", self.now() + LEASE_MS, self.now()),
        )
        self.assertTrue(task.lease)
        self.assertEqual(self.get(task), task)
        self.assertEqual(self.claim(), [])
        self.assertCounts(leased=1)
        self.assertEqual(self.store.due, task.due)

    def test_claim_order(self) -> None:
        """Tasks come by priority, then by age, of several queues as if they were one; each once."""
        for n, (queue, priority) in enumerate([(JOBS, 50), (MAIL, 50), (JOBS, 1), (MAIL, 90), (MAIL, 1), (JOBS, 50)]):
            self.put(b"%d" % n, queue=queue, priority=priority)
        self.assertEqual(self.payloads(self.claim(JOBS, MAIL, JOBS, limit=4)), [b"2", b"4", b"0", b"1"])
        self.assertEqual(self.payloads(self.claim(MAIL, JOBS, limit=9)), [b"5", b"3"])

    def test_claim_limits(self) -> None:
        """No more are leased than are wanted, nor than a claim may have."""
        self.put(*[b"x"] * (CLAIM_MAX + 5))
        self.assertEqual(len(self.claim(limit=0)), 0)
        self.assertEqual(len(self.claim(limit=3)), 3)
        self.assertEqual(len(self.claim(limit=CLAIM_MAX + 100)), CLAIM_MAX)
        self.assertCounts(ready=2, leased=CLAIM_MAX + 3)

    def test_claim_nothing(self) -> None:
        """Queues that there are not have nothing."""
        self.assertEqual(self.claim(MAIL, THEIRS), [])

    def test_take(self) -> None:
        """What is taken is done in the same step: gone, or kept as done."""
        self.put(b"a")
        self.put(b"b", keep_ms=1000)
        tasks = self.claim(limit=5, take=True)
        self.assertEqual([(task.payload, task.state) for task in tasks], [(b"a", State.READY), (b"b", State.READY)])
        self.assertIsNone(self.get(tasks[0]))
        kept = self.get(tasks[1])
        assert kept is not None
        self.assertEqual((kept.state, kept.due), (State.DONE, self.now() + 1000))
        self.assertCounts(done=1)

    def test_paused(self) -> None:
        """Of a paused queue nothing is leased; when it goes on, those who wait are told."""
        self.put(b"a")
        self.of(self.store.define(JOBS, Policy(paused=True)))
        self.assertEqual(self.claim(), [])
        self.ready.clear()
        self.of(self.store.define(JOBS, Policy()))
        self.assertEqual(self.ready, [{JOBS}])
        self.assertEqual(len(self.claim()), 1)

    def test_leased_max(self) -> None:
        """A queue leases no more at once than it may; when one comes back, those who wait are told."""
        self.of(self.store.define(JOBS, Policy(leased_max=2)))
        self.put(*[b"x"] * 5)
        tasks = self.claim(limit=9)
        self.assertEqual(len(tasks), 2)
        self.assertEqual(self.claim(), [])
        self.assertEqual(self.claim(take=True), [])
        for end in (self.finish, lambda task: self.of(self.store.remove(LOCAL, [task.id]))):
            self.ready.clear()
            end(tasks.pop())
            self.assertEqual(self.ready, [{JOBS}])
        self.assertEqual(len(self.claim(limit=9)), 2)

    # The grid: each operation on a task in each state.

    def test_with_a_lease_in_each_state(self) -> None:
        """A lease is good for a task that is leased by it, and in no other state; nothing changes by a refusal."""
        for state in State:
            task = self.in_state(state)
            held = Held(LOCAL, id=task.id)
            for answer in (
                lambda held: self.store.extend([Extend(held, until=self.now() + 1)]),
                lambda held: self.store.release([Release(held)]),
                lambda held: self.store.finish([Finish(held)]),
            ):
                if state is State.LEASED:
                    self.assertEqual(
                        self.outcome(answer(Held(LOCAL, id=task.id, lease=task.id))), Refusal.LEASE_LOST, state
                    )
                    self.assertEqual(
                        self.outcome(answer(Held(LOCAL, id=task.id, owner="you"))), Refusal.NOT_OWNER, state
                    )
                else:
                    self.assertEqual(self.outcome(answer(held)), Refusal.NOT_LEASED, state)
                self.assertEqual(self.get(task), task)
            self.of(self.store.remove(LOCAL, [task.id]))

    def test_requeue_in_each_state(self) -> None:
        """What ended badly is tried again as if it were new; everything else is left alone."""
        for state in State:
            task = self.in_state(state, expires=self.now() + 90_000)
            outcome = self.outcome(self.store.requeue(LOCAL, [task.id]))
            if state in TRANSITIONS[Event.REQUEUE][0]:
                assert isinstance(outcome, Task)
                self.assertEqual(
                    (outcome.state, outcome.attempts, outcome.error, outcome.result, outcome.owner, outcome.due),
                    (State.READY, 0, "", None, "", NEVER),
                )
                self.assertEqual(self.get(task), outcome)
            else:
                self.assertEqual((outcome, self.get(task)), (Refusal.WRONG_STATE, task))
            self.of(self.store.remove(LOCAL, [task.id]))

    def test_remove_in_each_state(self) -> None:
        """A task is removed in whatever state, and given as it was; twice is once."""
        for state in State:
            task = self.in_state(state)
            self.assertEqual(self.of(self.store.remove(LOCAL, [task.id, task.id])), [task, Refusal.UNKNOWN])
            self.assertIsNone(self.get(task))
            self.assertCounts()

    def test_unknown(self) -> None:
        """What there is not is unknown, however it is asked for."""
        task = self.leased()
        self.finish(task)
        for held in (Held(LOCAL, id=task.id), Held(LOCAL, lease=task.lease), Held(LOCAL), Held(LOCAL, lease="what")):
            self.assertEqual(self.outcome(self.store.finish([Finish(held)])), Refusal.UNKNOWN)
        self.assertEqual(self.of(self.store.requeue(LOCAL, [task.id, "é\0", ""])), [Refusal.UNKNOWN] * 3)
        self.assertEqual(self.of(self.store.get(LOCAL, [task.id, "é\0", "f" * 15 + "8" + "f" * 20])), [None] * 3)

    def test_held(self) -> None:
        """A leased task is found by its lease, or by its id; all that is said of it has to be true."""
        task = self.leased()
        for wrong, refusal in (
            (Held(LOCAL, lease=task.lease, queue="mail"), Refusal.UNKNOWN),
            (Held(LOCAL, lease=task.lease, id="other"), Refusal.UNKNOWN),
            (Held("other", lease=task.lease), Refusal.UNKNOWN),
            (Held("other", id=task.id), Refusal.UNKNOWN),
            (Held(LOCAL, lease=task.lease, owner="you"), Refusal.NOT_OWNER),
        ):
            self.assertEqual(self.outcome(self.store.extend([Extend(wrong)])), refusal, wrong)
        right = Held(LOCAL, id=task.id, lease=task.lease, owner="me", queue="jobs")
        self.assertIsInstance(self.outcome(self.store.finish([Finish(right)])), Task)

    # Finish.

    def test_finish_dead(self) -> None:
        """Who counts tries by rules of their own says that a task is dead, and how long it is kept."""
        task = self.leased()
        after = self.finish(task, state=State.DEAD, error="five times", keep_ms=5000)
        assert isinstance(after, Task)
        self.assertEqual((after.state, after.error, after.due), (State.DEAD, "five times", self.now() + 5000))
        self.assertEqual(self.get(task), after)
        self.assertCounts(dead=1)
        self.later(5000)
        self.sweep()
        self.assertIsNone(self.get(task))

    def test_finish_kept_otherwise(self) -> None:
        """What was to be kept is not, if whoever ends it says so; nothing said leaves it as it was."""
        gone, kept = self.leased(keep_ms=1000), self.leased(keep_ms=1000)
        self.finish(gone, keep_ms=0)
        self.finish(kept)
        self.assertIsNone(self.get(gone))
        found = self.get(kept)
        assert found is not None
        self.assertEqual(found.due, self.now() + 1000)

    def test_finish(self) -> None:
        """A task that is not kept is gone, and what ended is given as it was."""
        task = self.leased()
        self.assertEqual(self.finish(task), task)
        self.assertIsNone(self.get(task))
        self.assertCounts()
        self.assertEqual(self.store.due, NEVER)

    def test_finish_kept(self) -> None:
        """A task that is kept has its result, and is gone when its time is over."""
        task = self.leased(keep_ms=1000)
        after = self.finish(task, state=State.FAILED, result=b"r", result_head=b"h", error="e")
        assert isinstance(after, Task)
        self.assertEqual(
            (after.state, after.result, after.result_head, after.error, after.lease, after.owner, after.due),
            (State.FAILED, b"r", b"h", "e", "", "me", self.now() + 1000),
        )
        self.assertEqual(self.get(task), after)
        self.assertCounts(failed=1)
        self.later(1000)
        self.assertEqual(self.sweep(), Swept(removed=1))
        self.assertCounts()

    def test_finish_twice(self) -> None:
        """A task ends once, also within one batch."""
        task = self.leased(keep_ms=1000)
        done = Finish(self.held(task))
        first, second = self.of(self.store.finish([done, done]))
        self.assertEqual((first.state, second), (State.DONE, Refusal.LEASE_LOST))
        gone = Finish(self.held(self.leased()))
        first, second = self.of(self.store.finish([gone, gone]))
        self.assertEqual((first.state, second), (State.LEASED, Refusal.UNKNOWN))

    def test_refused_among_others(self) -> None:
        """One that is refused does not keep the others from being done."""
        tasks = [self.leased() for _ in range(3)]
        finishes = [Finish(self.held(task)) for task in tasks]
        finishes.insert(1, Finish(Held(LOCAL, lease="what")))
        outcomes = self.of(self.store.finish(finishes))
        self.assertEqual([isinstance(each, Task) for each in outcomes], [True, False, True, True])
        self.assertCounts()

    # Release.

    def test_release(self) -> None:
        """A task that is given back to be tried again is ready, or delayed; the reason stands in it."""
        task = self.leased()
        after = self.release(task, delay_ms=0, error="why")
        assert isinstance(after, Task)
        self.assertEqual((after.state, after.attempts, after.error, after.lease), (State.READY, 1, "why", ""))
        (task,) = self.claim()
        after = self.release(task, delay_ms=500)
        assert isinstance(after, Task)
        self.assertEqual((after.state, after.ready, after.due), (State.DELAYED, self.now() + 500, self.now() + 500))
        self.assertCounts(delayed=1)

    def test_release_uncounted(self) -> None:
        """What is given back unused was not a try, and is ready at once."""
        task = self.leased(attempts_max=1)
        after = self.release(task, counted=False)
        assert isinstance(after, Task)
        self.assertEqual((after.state, after.attempts), (State.READY, 0))
        self.assertEqual(self.claim()[0].attempts, 1)

    def test_backoff(self) -> None:
        """Without a delay the queue's rules say how long a task waits."""
        self.of(self.store.define(JOBS, Policy(backoff=Backoff("exponential", base_ms=100, max_ms=300))))
        self.put(b"a")
        for wait_ms in (100, 200, 300, 300):
            (task,) = self.claim()
            after = self.release(task)
            assert isinstance(after, Task)
            self.assertEqual(after.due, self.now() + wait_ms)
            self.later(wait_ms)
            self.assertEqual(self.sweep(), Swept(ready=1))

    def test_attempts_max(self) -> None:
        """A task is leased exactly as often as it may be, and is dead then."""
        self.put(b"a", attempts_max=3, keep_ms=1000)
        for _ in range(2):
            self.release(self.claim()[0], delay_ms=0)
        (task,) = self.claim()
        after = self.release(task, error="why")
        assert isinstance(after, Task)
        self.assertEqual((after.state, after.attempts, after.error), (State.DEAD, 3, "why"))
        self.assertCounts(dead=1)

    # Extend.

    def test_extend(self) -> None:
        """A lease ends when it was last said to, and how far the task is can be seen."""
        task = self.leased()
        after = self.extend(task, until=self.now() + 99_000, progress=b"half")
        assert isinstance(after, Task)
        self.assertEqual((after.due, after.progress, after.lease), (self.now() + 99_000, b"half", task.lease))
        self.assertEqual((self.get(task), self.store.due), (after, after.due))
        after = self.extend(task, progress=b"done")
        assert isinstance(after, Task)
        self.assertEqual((after.due, after.progress), (self.now() + 99_000, b"done"))
        twice = Extend(self.held(task), until=self.now() + 5)
        self.assertEqual([each.due for each in self.of(self.store.extend([twice, twice]))], [self.now() + 5] * 2)

    # Fencing.

    def test_lease_is_over(self) -> None:
        """A lease whose time is over is lost at that very moment, whether or not anybody has noticed."""
        task = self.leased()
        self.later(LEASE_MS)
        for answer in (
            self.store.extend([Extend(self.held(task), until=self.now() + 1000)]),
            self.store.release([Release(self.held(task))]),
            self.store.finish([Finish(self.held(task))]),
            self.store.finish([Finish(Held(LOCAL, id=task.id, owner="me"))]),
        ):
            self.assertEqual(self.outcome(answer), Refusal.LEASE_LOST)

    def test_stale_lease(self) -> None:
        """Who had a task before can do nothing to whoever has it now."""
        stale = self.leased()
        self.later(LEASE_MS)
        self.assertEqual(self.sweep().expired, (stale,))
        (now,) = self.claim(owner="me")
        self.assertNotEqual(now.lease, stale.lease)
        for answer in (
            self.store.extend([Extend(self.held(stale), until=self.now() + 1000)]),
            self.store.release([Release(self.held(stale))]),
            self.store.finish([Finish(self.held(stale))]),
        ):
            self.assertEqual(self.outcome(answer), Refusal.LEASE_LOST)
        self.assertEqual(self.get(now), now)
        self.assertEqual(self.finish(now), now)

    def test_leases_differ(self) -> None:
        """No two leases are the same, even of the same task."""
        self.put(b"a")
        leases = set()
        for _ in range(5):
            (task,) = self.claim()
            leases.add(task.lease)
            self.release(task, delay_ms=0)
        self.assertEqual(len(leases), 5)

    # What happens by itself.

    def test_delay(self) -> None:
        """A delayed task is ready when its time has come, not before."""
        (task,) = self.put(b"a", ready=self.now() + 1000)
        self.assertEqual((task.state, self.store.due), (State.DELAYED, self.now() + 1000))
        self.assertCounts(delayed=1)
        self.later(999)
        self.assertEqual((self.sweep(), self.claim()), (Swept(), []))
        self.later(1)
        self.ready.clear()
        self.assertEqual(self.sweep(), Swept(ready=1))
        self.assertEqual(self.ready, [{JOBS}])
        self.assertEqual((len(self.claim()), self.store.due), (1, self.now() + LEASE_MS))

    def test_lease_runs_out(self) -> None:
        """A task whose lease runs out is tried again, says why, and counts; at last it is dead."""
        task = self.leased(attempts_max=2, keep_ms=5)
        self.later(LEASE_MS)
        self.assertEqual(self.sweep(), Swept(ready=1, expired=(task,)))
        (task,) = self.claim()
        self.assertEqual((task.attempts, task.error), (2, LEASE_EXPIRED))
        self.later(LEASE_MS)
        self.assertEqual(self.sweep(), Swept(expired=(task,)))
        dead = self.get(task)
        assert dead is not None
        self.assertEqual((dead.state, dead.error), (State.DEAD, LEASE_EXPIRED))

    def test_expires(self) -> None:
        """What nobody wanted in time vanishes, and is not leased any more, whether or not anybody has noticed."""
        kept, early, late = (
            self.put(b"x", expires=expires, ready=ready)[0]
            for expires, ready in (
                (self.now() + 2000, NEVER),
                (self.now() + 1000, NEVER),
                (self.now() + 1000, self.now() + 999),
            )
        )
        self.assertEqual(self.store.due, self.now() + 999)
        self.later(1000)
        self.assertEqual([task.id for task in self.claim(limit=5)], [kept.id])
        self.assertEqual(self.sweep().removed, 1)
        self.assertEqual((self.get(early), self.get(late)), (None, None))
        self.assertCounts(leased=1)

    def test_expires_while_leased(self) -> None:
        """A task that is leased does not vanish; given back after its time it does."""
        first, second = self.leased(expires=self.now() + 1000), self.leased(expires=self.now() + 1000, keep_ms=5)
        self.later(1000)
        self.assertEqual(self.sweep(), Swept())
        self.assertEqual(self.release(first, delay_ms=0), first)
        self.assertIsNone(self.get(first))
        self.assertIsInstance(self.finish(second), Task)
        self.assertCounts(done=1)

    def test_requeued_does_not_expire(self) -> None:
        """What is tried again after it ended badly is there even if its time was over."""
        task = self.in_state(State.FAILED, expires=self.now() + 1000)
        self.later(2000)
        self.of(self.store.requeue(LOCAL, [task.id]))
        self.assertEqual(self.sweep(), Swept())
        self.assertEqual(len(self.claim()), 1)

    def test_clock_goes_back(self) -> None:
        """When the clock is set back nothing is lost or leased twice; it is only later."""
        (task,) = self.put(b"a", ready=self.now() + 1000)
        leased = self.leased(b"b")
        self.later(-3_600_000)
        self.assertEqual((self.sweep(), self.claim()), (Swept(), []))
        self.assertIsInstance(self.extend(leased, until=self.now() + 1000), Task)
        self.later(1000)
        self.assertEqual(len(self.sweep().expired), 1)
        self.later(3_600_000)
        self.assertEqual(self.sweep().ready, 1)
        self.assertCounts(ready=2)
        self.assertIsNotNone(self.get(task))

    def test_sweep_in_pieces(self) -> None:
        """A sweep does so much at once, the longest overdue first, and says that there is more."""
        late = self.put(*[b"x"] * SWEEP_MAX, ready=self.now() + 2000)
        early = self.put(b"e", ready=self.now() + 1000)
        self.later(5000)
        self.assertEqual(self.sweep(), Swept(ready=SWEEP_MAX, more=True))
        first = self.get(early[0])
        assert first is not None
        self.assertEqual((first.state, self.get(late[-1])), (State.READY, late[-1]))
        self.assertEqual(self.sweep(), Swept(ready=1))
        self.assertEqual(self.store.due, NEVER)

    # Looking and removing.

    def test_page(self) -> None:
        """Pages give a queue's tasks in one state by age, whatever their priority, each once."""
        tasks = [self.put(b"%d" % n, priority=n % 3)[0] for n in range(10)]
        self.put(b"m", queue=MAIL)
        self.put(b"d", ready=self.now() + 1000)
        seen: list[Task] = []
        cursor = 0
        while True:
            page = self.page(State.READY, 4, cursor)
            seen += page.tasks
            cursor = page.cursor
            if not cursor:
                break
        self.assertEqual(seen, tasks)
        self.assertEqual(self.page(State.READY, 10).cursor, 0)
        self.assertEqual(self.page(State.DELAYED).tasks[0].payload, b"d")
        self.assertEqual(self.page(State.READY, queue=THEIRS), Page(()))

    def test_purge(self) -> None:
        """A purge removes what is in the states and old enough, oldest first, and no more than is said."""
        old = [self.in_state(state) for state in (State.DONE, State.READY, State.FAILED, State.DEAD)]
        self.later(1000)
        new = self.in_state(State.DONE)
        states = frozenset([State.DONE, State.DEAD, State.FAILED])
        self.assertEqual(self.of(self.store.purge(JOBS, states, self.now(), 2)), 2)
        self.assertEqual([self.get(task) is None for task in old], [True, False, True, False])
        self.assertEqual(self.of(self.store.purge(JOBS, states, self.now(), 10)), 1)
        self.assertEqual(self.of(self.store.purge(JOBS, states, self.now(), 10)), 0)
        self.assertIsNotNone(self.get(new))
        self.assertCounts(ready=1, done=1)
        self.assertEqual(self.of(self.store.purge(JOBS, frozenset(State), 0, 10)), 2)
        self.assertEqual(self.of(self.store.purge(MAIL, frozenset(State), 0, 10)), 0)
        self.assertCounts()

    def test_purge_is_bounded(self) -> None:
        """However much is to be purged, one step removes so many, and says so."""
        self.put(*[b"x"] * (PURGE_MAX + 1))
        self.assertEqual(self.of(self.store.purge(JOBS, frozenset(State), 0, 10**9)), PURGE_MAX)
        self.assertEqual(self.of(self.store.purge(JOBS, frozenset(State), 0, 10**9)), 1)
        self.assertCounts()

    # Tenants.

    def test_tenants_are_apart(self) -> None:
        """A tenant never sees, leases, changes or removes what is another's, even if it knows the ids."""
        (task,) = self.put(b"theirs", queue=THEIRS, id="known", keep_ms=1000)
        self.assertEqual(self.claim(), [])
        self.assertEqual(self.of(self.store.get(LOCAL, ["known", task.id])), [None, None])
        self.assertEqual(self.of(self.store.remove(LOCAL, ["known"])), [Refusal.UNKNOWN])
        (leased,) = self.claim(THEIRS)
        for held in (Held(LOCAL, id="known"), Held(LOCAL, lease=leased.lease), Held(LOCAL, "known", leased.lease)):
            self.assertEqual(self.outcome(self.store.finish([Finish(held)])), Refusal.UNKNOWN)
        self.finish(leased, state=State.FAILED)
        self.assertEqual(self.of(self.store.requeue(LOCAL, ["known"])), [Refusal.UNKNOWN])
        self.assertEqual(self.of(self.store.purge(JOBS, frozenset(State), 0, 9)), 0)
        self.assertCounts(THEIRS, failed=1)
