"""
What the process of a queue has to say about itself, as text for Prometheus (its text format, version 0.0.4).
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Mapping

from ..http1.head import ResponseHead
from .api.answer import Answer
from .model import State
from .store import IStore
from .waiting import Waiting

QUEUES_MAX = 200
"""Queues that are told apart; what the others have is one sum, under a name that no queue can have."""

OTHERS = "_others"

_HEAD = ResponseHead(200, b"", [(b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8")])

Counters = Mapping[str, int]
Sample = tuple[str, float]
"""Labels as they are written, with their braces, or nothing; and the value."""


class Metrics:
    """All of it."""

    def __init__(self, store: IStore, waiting: Waiting, stats: Callable[[], object | None]) -> None:
        """
        @param stats: what the store has done; its numbers C{commits}, C{steps}, C{faults} and C{commit_s} are shown if
            it has them.
        """
        self._store = store
        self._waiting = waiting
        self._stats = stats
        self._operations: dict[str, Callable[[], Counters]] = {}

    def count(self, api: str, counters: Callable[[], Counters]) -> None:
        """Show how often a service did what."""
        self._operations[api] = counters

    def answer(self, call: object) -> Answer:
        """The answer to whoever asks."""
        return _HEAD, self.text().encode()

    def text(self) -> str:
        """All of it as text."""
        lines: list[str] = []
        store = self._store
        _add(lines, "tqserver_queue_tasks", "gauge", "Tasks, by queue and state.", self._tasks())
        _add(lines, "tqserver_queue_queues", "gauge", "Queues.", [("", len(store.queues))])
        _add(lines, "tqserver_queue_waiting", "gauge", "Clients that wait for tasks.", [("", len(self._waiting))])
        _add(
            lines, "tqserver_queue_store_up", "gauge", "Whether the last step was stored.", [("", store.fault is None)]
        )
        operations = [
            (f'{{api="{api}",operation="{name}"}}', float(value))
            for api, counters in self._operations.items()
            for name, value in counters().items()
        ]
        _add(lines, "tqserver_queue_operations_total", "counter", "What clients had done.", operations)
        stats = self._stats()
        for name, what in _STATS.items():
            value = getattr(stats, name, None)
            if value is not None:
                _add(lines, f"tqserver_queue_store_{name}_total", "counter", what, [("", value)])
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = usage.ru_utime + usage.ru_stime
        _add(lines, "process_cpu_seconds_total", "counter", "CPU time.", [("", cpu_s)])
        lines.append("")
        return "\n".join(lines)

    def _tasks(self) -> list[Sample]:
        samples: list[Sample] = []
        others = [0] * len(State)
        states = [state.name.lower() for state in State]
        for index, name in enumerate(self._store.queues):
            counts = self._store.counts(name)
            numbers = [getattr(counts, state) for state in states]
            if index < QUEUES_MAX:
                tenant, queue = _quoted(name.tenant), _quoted(name.name)
                samples += [
                    (f'{{tenant="{tenant}",queue="{queue}",state="{state}"}}', number)
                    for state, number in zip(states, numbers, strict=True)
                ]
            else:
                others = [sum(pair) for pair in zip(others, numbers, strict=True)]
        if len(self._store.queues) > QUEUES_MAX:
            samples += [
                (f'{{tenant="",queue="{OTHERS}",state="{state}"}}', number)
                for state, number in zip(states, others, strict=True)
            ]
        return samples


_STATS = {
    "commits": "Transactions of the store.",
    "steps": "Steps in them.",
    "faults": "Batches of steps that could not be stored.",
    "commit_s": "Time that commits took, in seconds.",
}


def _add(lines: list[str], name: str, kind: str, what: str, samples: Iterable[Sample]) -> None:
    lines.append(f"# HELP {name} {what}")
    lines.append(f"# TYPE {name} {kind}")
    lines.extend(f"{name}{labels} {_number(value)}" for labels, value in samples)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _quoted(text: str) -> str:
    """A label's value."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
