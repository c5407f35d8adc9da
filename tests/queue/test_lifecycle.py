"""The life of a task: the table, and what leads from state to state."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.lifecycle import GONE, TRANSITIONS, Event, sources
from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import FINISHED, LIVE, LOCAL, State, Task
from tqserver.queue.sqlite import SqliteStore
from tqserver.queue.store import Claim, Extend, Finish, Held, IStore, Release

from .store_contract import JOBS, StoreCase


class TableTests(SynchronousTestCase):
    """The table by itself."""

    def test_complete(self) -> None:
        """Every event is in it, each state can be left, and each but those that begin a life can be come to."""
        self.assertEqual(set(TRANSITIONS), set(Event))
        reached = {target for _, targets in TRANSITIONS.values() for target in targets}
        self.assertEqual(reached, {*State, GONE})
        self.assertEqual({state for event in Event for state in sources(event)}, set(State))

    def test_states(self) -> None:
        """A state is one of the living or of those that have ended."""
        self.assertEqual(LIVE | FINISHED, set(State))
        self.assertEqual(LIVE & FINISHED, frozenset())


class GridMixin:
    """A store goes where the table says, from where it says, and nowhere else: each state times each event."""

    def event(self: Any, event: Event, task: Task, chosen: dict[str, Any]) -> None:
        """Try an event on a task."""
        held = Held(LOCAL, id=task.id, lease=task.lease)
        if event in (Event.CLAIM, Event.TAKE):
            claim = Claim((JOBS,), 1, self.now() + 1000, take=event is Event.TAKE)
            self.of(self.store.claim(claim))
        elif event is Event.EXTEND:
            self.of(self.store.extend([Extend(held, until=self.now() + 5000)]))
        elif event is Event.FINISH:
            self.of(self.store.finish([Finish(held, chosen["end"])]))
        elif event is Event.RELEASE:
            self.of(self.store.release([Release(held, counted=False, delay_ms=chosen["delay_ms"])]))
        elif event is Event.RETRY:
            self.of(self.store.release([Release(held, delay_ms=chosen["delay_ms"])]))
        elif event is Event.REQUEUE:
            self.of(self.store.requeue(LOCAL, [task.id]))
        elif event is Event.REMOVE:
            self.of(self.store.remove(LOCAL, [task.id]))

    def test_grid(self: Any) -> None:
        """What the operations do is in the table, and all of the table is what they do."""
        seen: dict[Event, tuple[set[State], set[State | None]]] = {event: (set(), set()) for event in Event}
        for event in Event:
            for state in State:
                for end in (State.DONE, State.FAILED, State.DEAD):
                    for delay_ms in (0, 500):
                        for keep_ms in (0, 10_000):
                            if state in FINISHED and not keep_ms:
                                continue
                            for attempts_max in (0, 1):
                                self.one(
                                    event, state, {"end": end, "delay_ms": delay_ms}, keep_ms, attempts_max, seen[event]
                                )
        for event in Event:
            if event not in (Event.DUE, Event.EXPIRE, Event.FORGET):  # These are tried by time below.
                self.assertEqual(seen[event], (set(TRANSITIONS[event][0]), set(TRANSITIONS[event][1])), event)

    def one(
        self: Any, event: Event, state: State, chosen: dict[str, Any], keep_ms: int, attempts_max: int, seen: Any
    ) -> None:
        fields: dict[str, Any] = {"keep_ms": keep_ms}
        if attempts_max:
            fields["attempts_max"] = attempts_max
        task = self.in_state(state, **fields)
        before = self.get(task)
        self.event(event, task, chosen)
        after = self.get(task)
        if after != before:
            self.assertIn(state, sources(event), event)
            target = GONE if after is None else after.state
            self.assertIn(target, TRANSITIONS[event][1], (event, state))
            seen[0].add(state)
            seen[1].add(target)
        self.of(self.store.remove(LOCAL, [task.id]))

    def test_by_time(self: Any) -> None:
        """What time does to a task in each state is in the table too."""
        for state, event in (
            (State.DELAYED, Event.DUE),
            (State.LEASED, Event.RETRY),
            (State.DONE, Event.FORGET),
            (State.FAILED, Event.FORGET),
            (State.DEAD, Event.FORGET),
        ):
            task = self.in_state(state)
            self.later(100_000)
            self.sweep()
            after = self.get(task)
            self.assertIn(GONE if after is None else after.state, TRANSITIONS[event][1], state)
            self.of(self.store.remove(LOCAL, [task.id]))
        for state in sources(Event.EXPIRE):
            task = self.in_state(state, expires=self.now() + 5000)
            self.later(5000)
            self.sweep()
            self.assertIsNone(self.get(task), state)


class MemoryGridTests(GridMixin, StoreCase):
    """The store in memory."""

    def make_store(self, **options: Any) -> IStore:
        return MemoryStore(self.now, bits=random.Random(1))


class SqliteGridTests(GridMixin, StoreCase):
    """The store in a file."""

    def make_store(self, **options: Any) -> IStore:
        return SqliteStore(self.mktemp(), Clock(), self.now, durability="process", threads=False)
