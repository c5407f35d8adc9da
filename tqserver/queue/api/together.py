"""
What clients ask for in one turn of the reactor, asked of the store as one step.

A step costs the store much the same whether it is about one task or about ten, and so does its way there and back. So
a request waits until the end of the turn in which it came, and goes with those that came in the same turn; when there
are none it goes alone. Nobody waits for somebody who is not there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..store import FullFault, StoreFault
from .answer import Answer
from .call import Call

TASKS_MAX = 256
"""Tasks of requests that go together. A request about more goes alone."""

BYTES_MAX = 1024 * 1024
"""Of the bodies of requests that go together. A larger one goes alone."""

Soon = Callable[[Callable[[], None]], object]
"""Has something called at the end of this turn."""

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")


@define
class _Party(Generic[Item]):
    """
    Requests that go together.

    @ivar calls: them, and about how many tasks each is.
    @ivar items: what they bring, in the same order.
    @ivar tasks: about how many tasks they are.
    """

    calls: list[tuple[Call, int, Sequence[Item]]] = field(factory=list)
    tasks: int = 0
    bytes: int = 0


class Together(Generic[Key, Item, Result]):
    """Requests of one kind."""

    def __init__(
        self,
        soon: Soon | None,
        ask: Callable[[Key, list[Item], int], Deferred[list[Result]]],
        answer: Callable[[Key, list[Result]], Answer],
        left: Callable[[Key, list[Result]], None] | None = None,
    ) -> None:
        """
        @param soon: L{None}: nobody waits for anybody.
        @param ask: asks the store for all; is given what the requests have in common, what they bring, and about how
            many tasks they are. What it gives is shared among them in their order: each gets as many as it is about,
            as long as there are any.
        @param answer: makes the answer to one of them, see L{Call.answer}.
        @param left: called in place of that if the client has left.
        """
        self._soon = soon
        self._ask = ask
        self._answer = answer
        self._left = left
        self._parties: dict[Key, _Party[Item]] = {}

    def add(self, call: Call, key: Key, items: Sequence[Item], tasks: int) -> None:
        """
        Have a request answered.

        @param key: those with the same go together.
        @param items: what it brings: as many as there are tasks, or nothing.
        @param tasks: about how many tasks it is.
        """
        parties, size = self._parties, len(call.body)
        party = parties.get(key)
        if party is not None and (party.tasks + tasks > TASKS_MAX or party.bytes + size > BYTES_MAX):
            del parties[key]
            self._go(key, party)
            party = None
        if party is None:
            if not parties and self._soon is not None:
                self._soon(self.flush)
            party = parties[key] = _Party()
        party.calls.append((call, tasks, items))
        party.tasks += tasks
        party.bytes += size
        if self._soon is None:
            self.flush()

    def flush(self) -> None:
        """Ask for all that there is."""
        parties, self._parties = self._parties, {}
        for key, party in parties.items():
            self._go(key, party)

    def _go(self, key: Key, party: _Party[Item]) -> None:
        calls = party.calls
        items = [item for _, _, items in calls for item in items]
        self._ask(key, items, party.tasks).addCallbacks(
            self._done, self._failed, (key, party), errbackArgs=(key, party)
        )

    def _done(self, results: list[Result], key: Key, party: _Party[Item]) -> None:
        at = 0
        for call, tasks, _ in party.calls:
            its = results[at : at + tasks]
            at += tasks
            if self._left is not None and call.exchange.over:
                self._left(key, its)
            else:
                call.answer(self._answer, key, its)

    def _failed(self, failure: Failure, key: Key, party: _Party[Item]) -> None:
        calls = party.calls
        if len(calls) > 1 and (failure.check(FullFault) or not failure.check(StoreFault)):
            # Nothing has happened; it may be too much together, or one of them alone may be to blame.
            for call, tasks, items in calls:
                self._go(key, _Party([(call, tasks, items)], tasks))
            return
        for call, _, _ in calls:
            call.fail(failure)
