"""
What happened between one status and the next, for those who follow: events with a name and plain JSON values. Pure.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from attrs import asdict, evolve

from ..plane.status import InstanceStatus, ServerStatus, WorkerStatus

Event = tuple[str, dict[str, object]]
"""Name, and what it tells."""

STEADY: dict[str, Any] = {"waiting": 0, "requests": 0, "errors": 0, "p50_s": 0.0, "p99_s": 0.0}
"""What of a worker changes all the time, and is told as C{load}."""


def differences(old: ServerStatus, new: ServerStatus) -> list[Event]:
    """
    What changed.

    @return: C{server}, C{config}, C{front}, C{removed} and C{worker} events, in this order; numbers that change with
        each request are no event.
    """
    events: list[Event] = []
    if old.stopping != new.stopping:
        events.append(("server", {"stopping": new.stopping}))
    if old.config != new.config:
        events.append(("config", plain(new.config)))
    if [(front.pid, front.state) for front in old.fronts] != [(front.pid, front.state) for front in new.fronts]:
        events.append(("front", {"fronts": [plain(front) for front in new.fronts]}))
    before = {worker.name: worker for worker in old.workers}
    names = {worker.name for worker in new.workers}
    events += [("removed", {"name": name}) for name in before if name not in names]
    for worker in new.workers:
        was = before.get(worker.name)
        if was is None or _steady(was) != _steady(worker):
            state = was.state if was is not None else ""
            events.append(("worker", {"name": worker.name, "was": state, "worker": plain(worker)}))
    return events


def load(status: ServerStatus) -> dict[str, object]:
    """What changes with each request: totals, and the same by worker."""
    return {
        "requests_total": sum(worker.requests for worker in status.workers),
        "errors_total": sum(worker.errors for worker in status.workers),
        "in_flight": sum(front.in_flight for front in status.fronts),
        "connections": sum(front.connections for front in status.fronts),
        "workers": {
            worker.name: {
                "requests": worker.requests,
                "errors": worker.errors,
                "waiting": worker.waiting,
                "in_flight": sum(instance.in_flight for instance in worker.instances),
                "memory": sum(instance.memory for instance in worker.instances),
                "p50_s": worker.p50_s,
                "p99_s": worker.p99_s,
            }
            for worker in status.workers
        },
    }


def plain(value: Any) -> dict[str, object]:
    """A frozen value as JSON has it."""
    return cast("dict[str, object]", msgspec.to_builtins(asdict(value)))


def settled(worker: WorkerStatus) -> bool:
    """
    Whether a worker has come to where its last command or change leads: nothing is built, started or stopped, and what
    runs is of one generation, or was given up.
    """
    if worker.build.state == "building" or worker.state in ("building", "starting", "stopping"):
        return False
    return all(
        instance.state == "held"
        or (instance.state in ("healthy", "unhealthy") and instance.generation == worker.generation)
        for instance in worker.instances
    )


def _steady(worker: WorkerStatus) -> WorkerStatus:
    """A worker without what changes with each request and each check."""
    return evolve(worker, instances=tuple(map(_steady_instance, worker.instances)), **STEADY)


def _steady_instance(instance: InstanceStatus) -> InstanceStatus:
    return evolve(instance, last_health_check=0.0, in_flight=0, served=0, memory=0)
