"""
What should be, what is, and the difference. Pure.

L{plan} looks at one worker after the other; none of its rules needs to know of two workers. The order of a worker's
changes is the order in which they are carried out.
"""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from ..config.model import ScalingConfig
from . import scaling
from .changes import Change, Generation, RetireSlot, SetCount, StartBuild, StartSlot, StopSlot
from .scaling import Demand

RETIRING_MAX = 8
"""
Slots of one worker that may be draining at once. Saving a file every second while a long download runs would else
leave a process per save until the drain limit.
"""


class SlotState(Enum):
    """What a slot is doing."""

    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    BACKOFF = "backoff"
    HELD = "held"
    RETIRING = "retiring"


@frozen(kw_only=True)
class SlotView:
    """
    What the plan needs to know of a slot.

    @ivar id: the slot's name.
    @ivar serial: counts the worker's slots; younger slots have larger ones.
    @ivar generation: of its instances.
    @ivar proven: whether an instance of it was ever ready.
    @ivar due: why its instance should be replaced though it is well, or empty.
    @ivar in_flight: requests that it is serving.
    @ivar cut: whether a retiring slot waits no longer for its requests.
    """

    id: str
    serial: int
    generation: Generation
    state: SlotState
    proven: bool = False
    due: str = ""
    in_flight: int = 0
    cut: bool = False

    @property
    def ready(self) -> bool:
        """Whether its instance may be given requests."""
        return self.state is SlotState.READY


@frozen(kw_only=True)
class WorkerDesired:
    """
    What should be of one worker.

    @ivar target: the latest good generation; L{None} while there is none.
    @ivar source: number of the latest reason to build; 0 if nothing is to be built.
    @ivar scaling: the configured bounds.
    @ivar single: whether there can be only one process of it at a time, so that one ends before the next is started.
    @ivar off: why it should have no process at all (disabled, stopped, removed), or empty.
    """

    name: str
    target: Generation | None = None
    source: int = 0
    scaling: ScalingConfig = field(factory=ScalingConfig)
    single: bool = False
    off: str = ""


@frozen(kw_only=True)
class WorkerObserved:
    """
    What is of one worker.

    @ivar source: number of the reason that was last built for, or is being built for.
    @ivar count: instances that should be there, as decided before.
    @ivar scaled_at: when C{count} changed, or when an instance last became ready; monotonic seconds.
    """

    name: str
    source: int = 0
    count: int = 0
    scaled_at: float = float("-inf")
    demand: Demand = field(factory=Demand)
    slots: tuple[SlotView, ...] = ()


@frozen
class Desired:
    """All workers that should be."""

    workers: tuple[WorkerDesired, ...] = ()


@frozen
class Observed:
    """All workers of which something is there."""

    workers: tuple[WorkerObserved, ...] = ()


def plan(desired: Desired, observed: Observed, now: float) -> tuple[Change, ...]:
    """
    The changes that make what is what should be.

    @param now: the reactor's monotonic clock, in seconds.
    """
    changes: list[Change] = []
    wanted = {worker.name: worker for worker in desired.workers}
    for seen in observed.workers:
        if seen.name not in wanted:
            changes += _cut(seen.slots, _retire(seen.slots, "the worker was removed"))
    present = {worker.name: worker for worker in observed.workers}
    for worker in desired.workers:
        changes += _plan_worker(worker, present.get(worker.name) or WorkerObserved(name=worker.name), now)
    return tuple(changes)


def serving(slots: tuple[SlotView, ...], target: Generation | None) -> tuple[SlotView, ...]:
    """
    The slots that may be given requests: one generation at a time, and the old one until the new one is complete
    (which is when the old one's slots are retired).
    """
    ready = tuple(slot for slot in slots if slot.ready)
    old = [slot for slot in ready if slot.generation != target]
    if not old:
        return ready
    serial = _stand_in(old)
    return tuple(slot for slot in old if slot.generation.serial == serial)


def _stand_in(old: list[SlotView]) -> int:
    """The serial of the generation that serves until the target is complete; 0 if none ever could."""

    def worth(serial: int) -> tuple[int, int, int]:
        slots = [slot for slot in old if slot.generation.serial == serial]
        return (sum(slot.ready for slot in slots), sum(slot.proven for slot in slots), serial)

    return max((slot.generation.serial for slot in old if slot.proven), key=worth, default=0)


def _plan_worker(desired: WorkerDesired, observed: WorkerObserved, now: float) -> list[Change]:
    """The changes of one worker that should be there."""
    changes: list[Change] = []
    if desired.off:
        return _cut(observed.slots, _retire(observed.slots, desired.off))
    if desired.source > observed.source:
        changes.append(StartBuild(desired.name, desired.source))
    if desired.target is not None and desired.single:
        changes += _plan_single(desired.target, desired.scaling, observed)
    elif desired.target is not None:
        changes += _plan_slots(desired.target, desired.scaling, observed, now)
    return _cut(observed.slots, changes)


def _plan_slots(target: Generation, bounds: ScalingConfig, observed: WorkerObserved, now: float) -> list[Change]:
    """Start what is missing, retire what is too much, old or superseded."""
    changes: list[Change] = []
    slots = tuple(slot for slot in observed.slots if slot.state is not SlotState.RETIRING)
    fresh, tired = _sort(slots, target)
    ready = sum(1 for slot in fresh if slot.ready)
    number = scaling.count(bounds, observed.count, ready, observed.demand, observed.scaled_at, now)
    kept = min(observed.count, bounds.workers_max)
    if len(fresh) <= kept and any(slot.state is SlotState.HELD for slot in fresh):
        number = max(number, kept)  # a held slot is not forgotten by idleness
    if number != observed.count:
        changes.append(SetCount(observed.name, number))
    changes += [StartSlot(target)] * (number - len(fresh))
    old = [slot for slot in slots if slot.generation != target]
    if ready >= number:
        changes += _retire(tired, f"replaced by {target}")
        changes += _retire(old, f"replaced by {target}")
    else:
        keep = _stand_in(old)
        changes += _retire([slot for slot in old if slot.generation.serial != keep], f"superseded by {target}")
    surplus = sorted(fresh, key=_worth)[: max(len(fresh) - number, 0)]
    changes += _retire(surplus, "not needed")
    return changes


def _plan_single(target: Generation, bounds: ScalingConfig, observed: WorkerObserved) -> list[Change]:
    """
    End what is old or due; start what should be when nothing at all is left of it.

    An unhealthy one is left to recover or to be given up: what keeps it from answering, a disk perhaps, would keep its
    successor as well.
    """
    number = min(bounds.workers_max, 1)
    changes: list[Change] = [] if number == observed.count else [SetCount(observed.name, number)]
    slots = [slot for slot in observed.slots if slot.state is not SlotState.RETIRING]
    wanted = [slot for slot in slots if slot.generation == target and not (slot.due and slot.ready)][:number]
    changes += _retire([slot for slot in slots if slot not in wanted], f"makes room for {target}")
    if number and not observed.slots:
        changes.append(StartSlot(target))
    return changes


def _sort(slots: tuple[SlotView, ...], target: Generation) -> tuple[list[SlotView], list[SlotView]]:
    """
    The slots of the target generation: those that count, and those that want a successor.

    Unhealthy ones all want one; of those that are merely due only the oldest does, so that a worker's instances are
    recycled one at a time.
    """
    current = [slot for slot in slots if slot.generation == target]
    due = sorted((slot for slot in current if slot.due and slot.ready), key=lambda slot: slot.serial)[:1]
    tired = [slot for slot in current if slot.state is SlotState.UNHEALTHY] + due
    return [slot for slot in current if slot not in tired], tired


def _worth(slot: SlotView) -> tuple[bool, bool, int, int]:
    """Sort key: what is of least use comes first; among equals the youngest."""
    return (slot.ready, slot.state is SlotState.STARTING, slot.in_flight, -slot.serial)


def _retire(slots: tuple[SlotView, ...] | list[SlotView], reason: str) -> list[Change]:
    """Retire those that are not retiring already; the reason of one that is due is its own."""
    return [RetireSlot(slot.id, slot.due or reason) for slot in slots if slot.state is not SlotState.RETIRING]


def _cut(slots: tuple[SlotView, ...], changes: list[Change]) -> list[Change]:
    """The changes, and with them the oldest of too many retiring slots hurried."""
    leaving = {change.slot for change in changes if isinstance(change, RetireSlot)}
    retiring = [slot for slot in slots if slot.state is SlotState.RETIRING or slot.id in leaving]
    retiring.sort(key=lambda slot: slot.serial)
    excess = retiring[: max(len(retiring) - RETIRING_MAX, 0)]
    return changes + [StopSlot(slot.id, "too many are draining") for slot in excess if not slot.cut]
