"""Stores do what a simple model does, whatever is done in whatever order, with time jumps and restarts."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import Backoff, Counts, NewTask, Policy, QueueName, State, Task
from tqserver.queue.sqlite import SqliteStore
from tqserver.queue.store import Claim, Created, Extend, Finish, Held, IStore, Refusal, Release

EPOCH_MS = 1_000_000
QUEUES = [QueueName("a", "x"), QueueName("a", "y"), QueueName("b", "x")]

SMALL_MS = st.sampled_from([0, 1, 5, 20])

queues = st.sampled_from([QUEUES[0], QUEUES[0], *QUEUES])
"""One of them more often than the others, so that something happens in it."""

states = st.sampled_from(list(State))


@dataclass(frozen=True)
class Entry:
    """A task of the model."""

    order: int
    id: str
    queue: QueueName
    payload: bytes
    priority: int
    state: State
    expires: int
    keep_ms: int
    attempts_max: int
    key: str
    key_until: int
    changed: int
    due: int = 0
    attempts: int = 0
    lease: str = ""
    result: bytes | None = None


class Model:
    """What a store has, said as simply as can be."""

    def __init__(self) -> None:
        self.now = EPOCH_MS
        self.order = 0
        self.policies: dict[QueueName, Policy] = {}
        self.tasks: dict[int, Entry] = {}

    def some(self, queue: QueueName, *states: State) -> list[Entry]:
        return [task for _, task in sorted(self.tasks.items()) if task.queue == queue and task.state in states]

    def find(self, tenant: str, id: str) -> Entry | None:
        for task in self.tasks.values():
            if task.queue.tenant == tenant and task.id == id:
                return task
        return None

    def put(self, task: Entry | None, **changes: Any) -> Entry:
        assert task is not None
        self.tasks[task.order] = after = replace(task, changed=self.now, **changes)
        return after

    def wait(self, task: Entry, ready: int, **changes: Any) -> None:
        dues = [moment for moment in (ready if ready > self.now else 0, task.expires) if moment]
        state = State.DELAYED if ready > self.now else State.READY
        self.put(task, state=state, due=min(dues, default=0), lease="", **changes)

    def end(self, task: Entry, state: State, **changes: Any) -> None:
        if task.keep_ms:
            self.put(task, state=state, due=self.now + task.keep_ms, lease="", **changes)
        else:
            del self.tasks[task.order]

    def retry(self, task: Entry, delay_ms: int | None) -> None:
        if task.attempts_max and task.attempts >= task.attempts_max:
            self.end(task, State.DEAD)
        elif 0 < task.expires <= self.now:
            del self.tasks[task.order]
        else:
            if delay_ms is None:
                backoff = self.policies[task.queue].backoff
                delay_ms = 0 if backoff.kind == "none" else backoff.base_ms
            self.wait(task, self.now + delay_ms)

    def first(self, queue: QueueName) -> Entry | None:
        policy = self.policies.get(queue)
        if policy is None or policy.paused:
            return None
        if 0 < policy.leased_max <= len(self.some(queue, State.LEASED)):
            return None
        for task in sorted(self.some(queue, State.READY), key=lambda task: (task.priority, task.order)):
            if not 0 < task.expires <= self.now:
                return task
            del self.tasks[task.order]
        return None

    def next(self, names: list[QueueName]) -> Entry | None:
        firsts = [task for name in dict.fromkeys(names) if (task := self.first(name)) is not None]
        return min(firsts, key=lambda task: (task.priority, task.order), default=None)

    def due(self) -> int:
        return min((task.due for task in self.tasks.values() if task.due), default=0)


class StoreMachine(RuleBasedStateMachine):
    """A store and its model, side by side."""

    ids: Bundle[tuple[str, str]] = Bundle("ids")
    leases: Bundle[tuple[str, str, str]] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.clock = Clock()
        self.store = self.open()

    def make(self) -> IStore:
        raise NotImplementedError

    def open(self) -> IStore:
        store = self.make()
        self.of(store.open())
        return store

    def of(self, answer: Deferred[Any]) -> Any:
        results: list[Any] = []
        answer.addBoth(results.append)
        assert results, "it has not answered"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def agree(self, task: Task | None, entry: Entry | None) -> None:
        """A task of the store is that of the model."""
        if task is None or entry is None:
            assert task is None and entry is None, (task, entry)
            return
        assert (
            task.id, task.queue, task.payload, task.priority, task.state, task.expires, task.due,
            task.attempts, task.lease, task.result,
        ) == (
            entry.id, entry.queue, entry.payload, entry.priority, entry.state, entry.expires, entry.due,
            entry.attempts, entry.lease, entry.result,
        )  # fmt: skip

    # What is done.

    @initialize(target=ids, leased_max=st.integers(0, 2), number=st.integers(3, 6), keep_ms=st.sampled_from([0, 10]))
    def begin(self, leased_max: int, number: int, keep_ms: int) -> Any:
        """There is something to claim from the first step on."""
        self.define(QUEUES[0], Policy(leased_max=leased_max))
        return self.put_all([(QUEUES[0], b"p", "", 50, 0, 0, keep_ms, 0, "", 0)] * number, True)

    @rule(
        name=queues,
        policy=st.builds(
            Policy,
            backoff=st.sampled_from([Backoff(), Backoff("fixed", 7, 100)]),
            leased_max=st.sampled_from([0, 1, 2]),
            paused=st.sampled_from([False] * 9 + [True]),
        ),
    )
    def define(self, name: QueueName, policy: Policy) -> None:
        assert self.of(self.store.define(name, policy)) is (name not in self.model.policies)
        self.model.policies[name] = policy

    @rule(name=queues, really=st.sampled_from([False, False, True]))
    def drop(self, name: QueueName, really: bool) -> None:
        name = name if really else QueueName("nobody", "nothing")
        assert self.of(self.store.drop(name)) is (name in self.model.policies)
        self.model.policies.pop(name, None)
        self.model.tasks = {order: task for order, task in self.model.tasks.items() if task.queue != name}

    @rule(target=ids, number=st.integers(1, 5), keep_ms=st.sampled_from([0, 10]))
    def put(self, number: int, keep_ms: int) -> Any:
        """Some plain tasks, so that there is something to claim."""
        plain = (QUEUES[0], b"p", "", 50, 0, 0, keep_ms, 0, "", 0)
        return self.put_all([plain] * number, True)

    @rule(
        target=ids,
        news=st.lists(
            st.tuples(
                queues,
                st.sampled_from([b"", b"x", b"large" * 1000]),
                st.sampled_from(["", "", "", "one", "two"]),
                st.sampled_from([1, 50, 50]),
                SMALL_MS,
                st.sampled_from([0, 0, 3, 50]),
                st.sampled_from([0, 10]),
                st.sampled_from([0, 1, 2]),
                st.sampled_from(["", "k"]),
                SMALL_MS,
            ),
            max_size=3,
        ),
        make=st.booleans(),
    )
    def create(self, news: list[tuple[Any, ...]], make: bool) -> Any:
        return self.put_all(news, make)

    def put_all(self, news: list[tuple[Any, ...]], make: bool) -> Any:
        model, now = self.model, self.model.now
        tasks = [
            NewTask(
                queue=queue, payload=payload, id=id, priority=priority, ready=now + delay if delay else 0,
                expires=now + expires if expires else 0, keep_ms=keep_ms, attempts_max=attempts_max, key=key,
                key_expires=now + until,
            )
            for queue, payload, id, priority, delay, expires, keep_ms, attempts_max, key, until in news
        ]  # fmt: skip
        made: list[tuple[str, str]] = []
        answers = self.of(self.store.create(tasks, define=make))
        assert len(answers) == len(tasks)
        for new, answer in zip(tasks, answers, strict=True):
            if new.queue not in model.policies:
                if not make:
                    assert answer is Refusal.NO_QUEUE
                    continue
                model.policies[new.queue] = Policy()
            same = [
                task
                for task in model.tasks.values()
                if new.key and task.queue == new.queue and task.key == new.key and task.key_until > now
            ]
            if same:
                assert isinstance(answer, Created) and answer.replay
                self.agree(answer.task, same[0])
                continue
            if new.id and model.find(new.queue.tenant, new.id) is not None:
                assert answer is Refusal.EXISTS
                continue
            assert isinstance(answer, Created) and not answer.replay
            model.order = answer.task.seq
            if new.key and new.key_expires > now:
                for order, task in model.tasks.items():
                    if task.queue == new.queue and task.key == new.key:
                        model.tasks[order] = replace(task, key="")
            entry = Entry(
                answer.task.seq, answer.task.id, new.queue, new.payload, new.priority, State.READY, new.expires,
                new.keep_ms, new.attempts_max, new.key if new.key_expires > now else "", new.key_expires, now,
            )  # fmt: skip
            model.wait(entry, new.ready)
            assert not new.id or new.id == answer.task.id
            self.agree(answer.task, model.find(new.queue.tenant, answer.task.id))
            made.append((new.queue.tenant, answer.task.id))
        return multiple(*made)

    @rule(
        target=leases,
        names=st.lists(queues, min_size=1, max_size=3),
        limit=st.integers(0, 4),
        wait=SMALL_MS,
        take=st.booleans(),
    )
    def claim(self, names: list[QueueName], limit: int, wait: int, take: bool) -> Any:
        return self.claim_from(names, limit, wait, take)

    @rule(target=leases, limit=st.integers(1, 4))
    def lease(self, limit: int) -> Any:
        """Most are leased from the same queue, for long."""
        return self.claim_from(QUEUES[:1], limit, 1000, False)

    def claim_from(self, names: list[QueueName], limit: int, wait: int, take: bool) -> Any:
        model = self.model
        tasks = self.of(self.store.claim(Claim(tuple(names), limit, model.now + wait + 1, owner="me", take=take)))
        made: list[tuple[str, str, str]] = []
        for task in tasks:
            entry = model.next(names)
            assert entry is not None, task
            if take:
                self.agree(task, entry)
                model.end(entry, State.DONE)
            else:
                assert task.lease
                after = model.put(
                    entry,
                    state=State.LEASED,
                    attempts=entry.attempts + 1,
                    due=model.now + wait + 1,
                    lease=task.lease,
                )
                self.agree(task, after)
                made.append((task.queue.tenant, task.id, task.lease))
        if len(tasks) < limit:
            assert model.next(names) is None
        return multiple(*made)

    def refusal(self, lease: tuple[str, str, str]) -> tuple[Entry | None, Refusal | None]:
        tenant, id, token = lease
        entry = self.model.find(tenant, id)
        if entry is None:
            return None, Refusal.UNKNOWN
        if entry.lease != token or entry.due <= self.model.now:
            return entry, Refusal.LEASE_LOST
        return entry, None

    def held(self, lease: tuple[str, str, str], by_id: bool) -> Held:
        return Held(lease[0], id=lease[1] if by_id else "", lease=lease[2])

    @rule(lease=leases, by_id=st.booleans(), state=st.sampled_from([State.DONE, State.FAILED, State.DEAD]))
    def finish(self, lease: tuple[str, str, str], by_id: bool, state: State) -> None:
        (outcome,) = self.of(self.store.finish([Finish(self.held(lease, by_id), state, b"r")]))
        entry, refusal = self.refusal(lease)
        self.same(outcome, refusal)
        if refusal is None and entry is not None:
            self.model.end(entry, state, result=b"r")

    def same(self, outcome: Task | Refusal, refusal: Refusal | None) -> None:
        if refusal is None:
            assert isinstance(outcome, Task), outcome
        elif refusal is Refusal.LEASE_LOST:
            # What was dropped or removed may have come again under the id that a client chose.
            assert outcome in (Refusal.LEASE_LOST, Refusal.UNKNOWN), outcome
        else:
            assert outcome is refusal

    @rule(lease=leases, by_id=st.booleans(), delay=st.none() | SMALL_MS, counted=st.booleans())
    def release(self, lease: tuple[str, str, str], by_id: bool, delay: int | None, counted: bool) -> None:
        (outcome,) = self.of(self.store.release([Release(self.held(lease, by_id), counted, delay)]))
        entry, refusal = self.refusal(lease)
        self.same(outcome, refusal)
        if refusal is None and entry is not None:
            if counted:
                self.model.retry(entry, delay)
            else:
                self.model.wait(entry, self.model.now + (delay or 0), attempts=entry.attempts - 1)

    @rule(lease=leases, by_id=st.booleans(), more=SMALL_MS)
    def extend(self, lease: tuple[str, str, str], by_id: bool, more: int) -> None:
        until = self.model.now + more
        (outcome,) = self.of(self.store.extend([Extend(self.held(lease, by_id), until)]))
        entry, refusal = self.refusal(lease)
        self.same(outcome, refusal)
        if refusal is None and entry is not None:
            self.model.tasks[entry.order] = replace(entry, due=until)

    @rule(ms=SMALL_MS, back=st.sampled_from([1, 1, 1, -1]))
    def jump(self, ms: int, back: int) -> None:
        if back < 0 and any(task.key for task in self.model.tasks.values()):
            return  # A key whose time was over may be known again, or not.
        self.model.now += ms * back

    @rule()
    def sweep(self) -> None:
        model = self.model
        swept = self.of(self.store.sweep())
        overdue = sorted((task.due, task.order) for task in model.tasks.values() if 0 < task.due <= model.now)
        before = set(model.tasks)
        expired = 0
        for _, order in overdue:
            task = model.tasks[order]
            if task.state is State.LEASED:
                expired += 1
                model.retry(task, None)
            elif task.state is State.DELAYED and not 0 < task.expires <= model.now:
                model.wait(task, model.now)
            else:
                del model.tasks[order]
        assert len(swept.expired) == expired
        assert swept.removed == len(before) - len(model.tasks)
        assert not swept.more

    @rule(name=queues, some=st.frozensets(states), old=st.none() | SMALL_MS, limit=st.integers(0, 4))
    def purge(self, name: QueueName, some: frozenset[State], old: int | None, limit: int) -> None:
        before = 0 if old is None else self.model.now - old
        gone = [task for task in self.model.some(name, *some) if not before or task.changed < before][:limit]
        assert self.of(self.store.purge(name, some, before, limit)) == len(gone)
        for task in gone:
            del self.model.tasks[task.order]

    @rule(id=ids)
    def requeue(self, id: tuple[str, str]) -> None:
        (outcome,) = self.of(self.store.requeue(id[0], [id[1]]))
        entry = self.model.find(*id)
        if entry is None:
            assert outcome is Refusal.UNKNOWN
        elif entry.state not in (State.DEAD, State.FAILED):
            assert outcome is Refusal.WRONG_STATE
        else:
            self.model.wait(replace(entry, expires=0), self.model.now, attempts=0, result=None)
            self.agree(outcome, self.model.find(*id))

    @rule(id=consumes(ids))
    def remove(self, id: tuple[str, str]) -> None:
        (outcome,) = self.of(self.store.remove(id[0], [id[1]]))
        entry = self.model.find(*id)
        assert (outcome is Refusal.UNKNOWN) is (entry is None)
        if entry is not None:
            del self.model.tasks[entry.order]

    @rule()
    def restart(self) -> None:
        """Only what is durable is restarted."""

    # What always holds.

    @invariant()
    def counts(self) -> None:
        for name in QUEUES:
            want = Counts(*(len(self.model.some(name, state)) for state in State))
            assert self.store.counts(name) == want, (name, self.store.counts(name), want)

    @invariant()
    def due(self) -> None:
        assert self.store.due == self.model.due()

    @invariant()
    def rules(self) -> None:
        assert {name: queue.policy for name, queue in self.store.queues.items()} == self.model.policies

    @invariant()
    def contents(self) -> None:
        for tenant in ("a", "b"):
            entries = [task for task in self.model.tasks.values() if task.queue.tenant == tenant]
            for task, entry in zip(self.of(self.store.get(tenant, [e.id for e in entries])), entries, strict=True):
                self.agree(task, entry)

    @rule(name=queues, state=states, size=st.integers(1, 3))
    def pages(self, name: QueueName, state: State, size: int) -> None:
        entries = self.model.some(name, state)
        cursor = 0
        while True:
            page = self.of(self.store.page(name, state, size, cursor))
            some, entries = entries[:size], entries[size:]
            assert len(page.tasks) == len(some)
            for task, entry in zip(page.tasks, some, strict=True):
                self.agree(task, entry)
            cursor = page.cursor
            if not cursor:
                assert not entries
                break


class MemoryMachine(StoreMachine):
    """The store in memory."""

    def make(self) -> IStore:
        return MemoryStore(lambda: self.model.now, bits=random.Random(1))


class SqliteMachine(StoreMachine):
    """The store in a file."""

    def __init__(self) -> None:
        self.directory = tempfile.mkdtemp(dir=os.environ.get("TMPDIR"))
        self.bits = random.Random(1)
        super().__init__()

    def make(self) -> IStore:
        return SqliteStore(
            self.directory, self.clock, lambda: self.model.now, durability="process", bits=self.bits, threads=False
        )

    @rule()
    def restart(self) -> None:
        self.of(self.store.close())
        self.store = self.open()

    def teardown(self) -> None:
        self.of(self.store.close())
        shutil.rmtree(self.directory)


_SETTINGS = settings(
    deadline=None,
    derandomize=True,
    database=None,
    stateful_step_count=60,
    suppress_health_check=list(HealthCheck),
)


class MachineTests(SynchronousTestCase):
    """Whatever is done."""

    def run_machine(self, machine: type[StoreMachine], examples: int) -> None:
        case = machine.TestCase("runTest")
        case.settings = settings(_SETTINGS, max_examples=int(os.environ.get("MACHINE_EXAMPLES", examples)))
        case.runTest()

    def test_memory(self) -> None:
        """The store in memory does what the model does."""
        self.run_machine(MemoryMachine, 200)

    def test_sqlite(self) -> None:
        """The store in a file does what the model does, also when it is closed and opened in between."""
        self.run_machine(SqliteMachine, 100)
