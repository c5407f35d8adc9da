"""From what the supervisor knows of its workers to the status that outsiders see."""

from __future__ import annotations

from ..plane.status import BuildStatus, ExitStatus, InstanceStatus, WorkerStatus, quantile_s
from .history import Death
from .interfaces import EndpointTotals
from .plan import SlotState
from .slot import Slot
from .worker import Worker

SHOWN = {
    SlotState.STARTING: "starting",
    SlotState.READY: "healthy",
    SlotState.UNHEALTHY: "unhealthy",
    SlotState.BACKOFF: "starting",
    SlotState.HELD: "held",
    SlotState.RETIRING: "stopping",
}
"""The words of the contract for the states of a slot."""

BEST_FIRST = ("healthy", "unhealthy", "starting", "held", "stopping")
"""A worker is as well as its best slot."""


def worker_status(worker: Worker, watched: str) -> WorkerStatus:
    """
    One worker as outsiders see it.

    @param watched: the folder that is watched, or empty.
    """
    totals = worker.totals()
    picture = worker.picture()
    state, reason, remedy = _state(worker)
    return WorkerStatus(
        name=worker.name,
        type=worker.config.type,
        route=worker.config.route,
        state=state,
        reason=reason,
        remedy=remedy,
        generation=picture.generation or (worker.target.serial if worker.target is not None else 0),
        serving=picture.generation,
        wanted=worker.count,
        instances=tuple(_instance(worker, slot) for slot in worker.slots.values()),
        build=_build(worker),
        watched=watched,
        waiting=totals.waiting,
        requests=totals.requests,
        errors=totals.errors,
        deaths=worker.died,
        p50_s=quantile_s(totals.latency, 0.5),
        p99_s=quantile_s(totals.latency, 0.99),
    )


def broken_status(name: str, problems: tuple[str, ...], watched: str) -> WorkerStatus:
    """A worker that never had a configuration which could be used."""
    return WorkerStatus(
        name=name,
        type="",
        route="",
        state="broken",
        reason=problems[0] if problems else "its configuration cannot be used",
        remedy="mend the file and save it",
        watched=watched,
    )


def _state(worker: Worker) -> tuple[str, str, str]:
    """State, reason and remedy of a worker."""
    slots = [SHOWN[slot.shown] for slot in worker.slots.values()]
    if worker.off:
        closed = worker.picture().closed
        if worker.config.type == "static" and worker.config.enabled:
            return ("static", "", "")
        idle = "stopped" if worker.stopped and worker.config.enabled else "disabled"
        return ("stopping" if slots else idle, worker.off, closed.remedy)
    best = next((state for state in BEST_FIRST if state in slots), "")
    reason, remedy = _trouble(worker)
    if best == "healthy" or worker.target is not None:
        return (best or ("starting" if worker.count else "idle"), reason, remedy)
    return ("building" if worker.building or worker.fault is None else "failed", reason, remedy)


def _trouble(worker: Worker) -> tuple[str, str]:
    """What is wrong with a worker though it may be serving, and what would mend it."""
    if worker.problems:
        return (f"an older configuration is in force: {worker.problems[0]}", "mend the file and save it")
    if worker.fault is not None:
        return (worker.fault.told, worker.fault.remedy)
    for slot in worker.slots.values():
        if slot.state == "held" and slot.held is not None:
            return (slot.held.reason, slot.held.remedy)
    for slot in worker.slots.values():
        if slot.state == "backoff" and slot.history.last is not None:
            return (f"died: {slot.history.last.reason}", slot.history.last.remedy)
        if slot.shown is SlotState.UNHEALTHY and slot.instance is not None:
            return (f"unhealthy: {slot.instance.checked}", "")
    return ("", "")


def _instance(worker: Worker, slot: Slot) -> InstanceStatus:
    """One slot and the instance in it."""
    instance = slot.instance
    launched = instance.launched if instance is not None else None
    totals = EndpointTotals()
    if instance is not None:
        totals = worker.around.load().endpoints.get(instance.id) or totals
    alive = launched is not None and instance is not None and instance.state != "gone"
    return InstanceStatus(
        id=instance.id if instance is not None else slot.id,
        pid=launched.process.pid if launched is not None and alive else 0,
        port=launched.address.port if launched is not None and alive else 0,
        socket=launched.address.path if launched is not None and alive else "",
        generation=slot.generation.serial,
        started_at=instance.launched_at if instance is not None else 0.0,
        state=SHOWN[slot.shown],
        last_health_check=instance.checked_at if instance is not None else 0.0,
        health=instance.checked if instance is not None else "",
        in_flight=totals.in_flight,
        served=totals.answered,
        ejected=totals.ejected,
        memory=instance.memory_bytes if instance is not None and alive else 0,
        restarts=max(slot.restarts, 0),
        last_exit=_exit(slot.history.last),
    )


def _exit(death: Death | None) -> ExitStatus | None:
    """A death as outsiders see it."""
    return ExitStatus(reason=death.reason, at=death.at, output=death.output) if death is not None else None


def _build(worker: Worker) -> BuildStatus:
    """The latest build of a worker."""
    good = worker.good.build if worker.good is not None else None
    if worker.building:
        return BuildStatus(state="building", fingerprint=good.fingerprint if good is not None else "")
    if worker.fault is not None:
        return BuildStatus(
            state="failed",
            seconds=worker.fault_after_s,
            output=worker.fault.output,
            at=worker.fault_at,
            fingerprint=good.fingerprint if good is not None else "",
            reason=worker.fault.reason,
            remedy=worker.fault.remedy,
        )
    if good is None:
        return BuildStatus()
    return BuildStatus(
        state="ok",
        seconds=good.seconds,
        output=good.output,
        at=good.at,
        path=good.artefact,
        fingerprint=good.fingerprint,
    )
