"""
The place that one instance of a generation fills, and fills again after a death:

    idle → starting → running → retiring → gone
              ↑   ↘      ↓
              └─ backoff / held

A slot is of one generation for all its life. Another generation is other slots, started beside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field
from automat import TypeMachineBuilder
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..build import Build
from ..config.model import PoolConfig, WorkerConfig
from .changes import Generation
from .history import Death, History, Hold, consequence
from .instance import Ending, Instance, Phase
from .plan import SlotState

_log = Logger("tqserver.supervisor.slot")


class SlotInputs(Protocol):
    """What can happen to a slot. All are accepted in every state."""

    def start(self) -> None:
        """Begin, or begin again after a pause."""

    def came_up(self) -> None:
        """The instance is ready for the first time."""

    def fell(self) -> None:
        """The instance has ended; another one may follow."""

    def gave_up(self) -> None:
        """The instance has ended; no other one will follow by itself."""

    def retire(self) -> None:
        """Let the instance finish what it has, and end for good."""

    def stop_now(self) -> None:
        """End for good without waiting for what the instance has."""

    def release(self) -> None:
        """An operator says: try again now, and forget the deaths."""


class ISlotOwner(Protocol):
    """Who is told about a slot. The calls come while its machine moves: remember, and act later."""

    def slot_moved(self, slot: Slot) -> None:
        """It, or its instance, is in another state."""

    def slot_died(self, slot: Slot, death: Death) -> None:
        """Its instance has died."""


@define(eq=False, kw_only=True)
class Slot:
    """
    One slot. Its machine's inputs are L{inputs}; the rest is for reading, and for the machine.

    @ivar id: such as C{api#4}; never used again.
    @ivar make: makes the next instance.
    @ivar chance: gives random numbers from [0, 1).
    @ivar proven: whether an instance of it was ever ready.
    @ivar restarts: instances after the first.
    @ivar held: why no other instance follows, if none does.
    @ivar cut: whether it was told to wait for nothing.
    """

    id: str
    serial: int
    generation: Generation
    config: WorkerConfig
    build: Build
    make: Callable[[Slot], Instance]
    clock: IReactorTime
    wall_clock: Callable[[], float]
    chance: Callable[[], float]
    owner: ISlotOwner
    inputs: SlotInputs = field(init=False)
    state: str = "idle"
    phase: Phase = field(init=False)
    instance: Instance | None = None
    history: History = field(factory=History)
    proven: bool = False
    restarts: int = -1
    pause_s: float = 0.0
    held: Hold | None = None
    cut: bool = False

    def __attrs_post_init__(self) -> None:
        self.phase = Phase(self.clock)

    @property
    def shown(self) -> SlotState:
        """The state as the plan sees it: that of the slot, or of the instance that fills it."""
        if self.state in ("retiring", "gone"):
            return SlotState.RETIRING
        if self.state == "running":
            ready = self.instance is not None and self.instance.state == "ready"
            return SlotState.READY if ready else SlotState.UNHEALTHY
        return {"backoff": SlotState.BACKOFF, "held": SlotState.HELD}.get(self.state, SlotState.STARTING)

    @property
    def told(self) -> str:
        """What the log calls it: its instance, if it has one."""
        return self.instance.id if self.instance is not None else self.id

    def reconfigure(self, config: WorkerConfig, pool: PoolConfig) -> None:
        """Go by a new configuration that asks for no new process."""
        self.config = config
        if self.instance is not None:
            self.instance.config = config
            self.instance.pool = pool

    def enter(self, state: str) -> Phase:
        """Leave one state's data behind and begin another's."""
        self.phase.leave()
        self.phase = Phase(self.clock)
        self.state = state
        self.owner.slot_moved(self)
        return self.phase

    def fill(self) -> None:
        """Start the next instance."""
        self.restarts += 1
        self.instance = self.make(self)
        self.instance.inputs.start()

    # IInstanceOwner

    def instance_moved(self) -> None:
        """Its instance is in another state."""
        self.owner.slot_moved(self)
        if self.instance is not None and self.instance.state == "ready" and not self.proven:
            self.proven = True
        if self.instance is not None and self.instance.state == "ready" and self.state == "starting":
            self.inputs.came_up()

    def instance_gone(self, ending: Ending) -> None:
        """Its instance has ended: decide what follows, and tell the machine."""
        if ending.asked:
            self.inputs.fell()
            return
        death = Death(
            instance=self.instance.id if self.instance is not None else self.id,
            at=self.wall_clock(),
            ended=self.clock.seconds(),
            reason=ending.reason,
            remedy=ending.remedy,
            clean=ending.exit is not None and ending.exit.well,
            started_up=ending.started_up,
            uptime_s=ending.uptime_s,
            output=ending.output,
        )
        self.history = self.history.after(death, self.config.restart)
        self.owner.slot_died(self, death)
        follows = consequence(self.history, self.config.restart, self.clock.seconds(), self.chance())
        if isinstance(follows, Hold):
            self.held = follows
            self.inputs.gave_up()
        else:
            self.pause_s = follows.pause_s
            self.inputs.fell()


# What begins with each state.


def _starting(inputs: SlotInputs, slot: Slot, /) -> Phase:
    """An instance is on its way."""
    return slot.enter("starting")


def _running(inputs: SlotInputs, slot: Slot, /) -> Phase:
    """An instance is there."""
    launched = slot.instance.launched if slot.instance is not None else None
    _log.info("{instance} is ready at {address}", instance=slot.told, address=launched.address if launched else "")
    return slot.enter("running")


def _backoff(inputs: SlotInputs, slot: Slot, /) -> Phase:
    """Try again after a pause."""
    phase = slot.enter("backoff")
    phase.after(slot.pause_s, inputs.start)
    return phase


def _held(inputs: SlotInputs, slot: Slot, /) -> Phase:
    """Wait for a change or a command."""
    if slot.held is not None:
        _log.error("{slot} is held: {reason}", slot=slot.id, reason=slot.held.reason)
    return slot.enter("held")


def _retiring(inputs: SlotInputs, slot: Slot, /) -> Phase:
    """The instance is on its way out."""
    return slot.enter("retiring")


def _gone(inputs: SlotInputs, slot: Slot, /) -> Phase:
    """Nothing is left."""
    _log.info("{instance} has ended", instance=slot.told)
    return slot.enter("gone")


def _build() -> Callable[[Slot], SlotInputs]:
    """Write the whole table."""
    machine = TypeMachineBuilder(SlotInputs, Slot)
    happens = SlotInputs

    idle = machine.state("idle")
    starting = machine.state("starting", _starting)
    running = machine.state("running", _running)
    backoff = machine.state("backoff", _backoff)
    held = machine.state("held", _held)
    retiring = machine.state("retiring", _retiring)
    gone = machine.state("gone", _gone)

    starting.upon(happens.came_up).to(running).returns(None)
    for filled in (starting, running):
        filled.upon(happens.fell).to(backoff).returns(None)
        filled.upon(happens.gave_up).to(held).returns(None)
    retiring.upon(happens.fell).to(gone).returns(None)
    retiring.upon(happens.gave_up).to(gone).returns(None)

    @idle.upon(happens.start).to(starting)
    def fill(inputs: SlotInputs, slot: Slot) -> None:
        slot.fill()

    @backoff.upon(happens.start).to(starting)
    def fill_again(inputs: SlotInputs, slot: Slot, phase: Phase) -> None:
        slot.fill()

    @backoff.upon(happens.release).to(starting)
    @held.upon(happens.release).to(starting)
    def forgive(inputs: SlotInputs, slot: Slot, phase: Phase) -> None:
        slot.history = History()
        slot.held = None
        slot.fill()

    @starting.upon(happens.retire).to(retiring)
    @running.upon(happens.retire).to(retiring)
    def retire(inputs: SlotInputs, slot: Slot, phase: Phase) -> None:
        if slot.instance is not None:
            slot.instance.inputs.retire()

    @starting.upon(happens.stop_now).to(retiring)
    @running.upon(happens.stop_now).to(retiring)
    @retiring.upon(happens.stop_now).loop()
    def stop_now(inputs: SlotInputs, slot: Slot, phase: Phase) -> None:
        slot.cut = True
        if slot.instance is not None:
            slot.instance.inputs.stop_now()

    idle.upon(happens.retire).to(gone).returns(None)
    idle.upon(happens.stop_now).to(gone).returns(None)
    for empty in (backoff, held):
        empty.upon(happens.retire).to(gone).returns(None)
        empty.upon(happens.stop_now).to(gone).returns(None)

    # What is too late, or would change nothing.
    retiring.upon(happens.retire).loop().returns(None)
    gone.upon(happens.retire).loop().returns(None)
    gone.upon(happens.stop_now).loop().returns(None)
    idle.upon(happens.release).loop().returns(None)
    for state in (starting, running, held, retiring, gone):
        state.upon(happens.start).loop().returns(None)
    for state in (starting, running, retiring, gone):
        state.upon(happens.release).loop().returns(None)
    for state in (running, backoff, held, retiring, gone):
        state.upon(happens.came_up).loop().returns(None)
    for state in (backoff, held, gone):
        state.upon(happens.fell).loop().returns(None)
        state.upon(happens.gave_up).loop().returns(None)
    idle.upon(happens.came_up).loop().returns(None)
    idle.upon(happens.fell).loop().returns(None)
    idle.upon(happens.gave_up).loop().returns(None)

    return machine.build()


make_machine = _build()
