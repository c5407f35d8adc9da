"""
All that the supervisor knows of one worker: what it should be, what there is of it, and the way from here to there.

It shows itself to the pure modules as values, and carries out the changes that they ask for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..build import Build, BuildFault
from ..config.diff import process_key
from ..config.model import ScalingConfig, ServerConfig, WorkerConfig
from .changes import Generation
from .history import DEATHS_KEPT_MAX, Death
from .instance import Instance
from .instance_machine import make_machine as make_instance_machine
from .interfaces import EndpointTotals, FrontLoad, ILauncher, IWorkerLogs, Order, WorkerTotals
from .plan import SlotState, SlotView, WorkerDesired, WorkerObserved, serving
from .recycle import due, limits
from .routing import OPEN, Closed, Picture
from .scaling import Demand
from .slot import Slot
from .slot import make_machine as make_slot_machine

_log = Logger("tqserver.supervisor.worker")

HUSH_SIGNAL = "USR1"
"""Asks a queue's process to let nobody wait for tasks any more, and to serve on."""

TOOL_AGAIN_S = 10.0
"""How often a tool that was not installed is looked for again: installing it is all that a person has to do."""


@frozen(kw_only=True)
class Surroundings:
    """
    What all workers share.

    @ivar clock: monotonic.
    @ivar wall_clock: seconds since the epoch.
    @ivar chance: gives random numbers from [0, 1).
    @ivar leave_routing: see L{Instance}.
    @ivar stop_giving: likewise, but fires when no front gives it anything new.
    @ivar load: what the fronts carry.
    @ivar wake: have the plan made again soon.
    """

    clock: IReactorTime
    wall_clock: Callable[[], float]
    chance: Callable[[], float]
    launcher: ILauncher
    logs: IWorkerLogs
    leave_routing: Callable[[str], Deferred[None]]
    stop_giving: Callable[[str], Deferred[None]]
    load: Callable[[], FrontLoad]
    wake: Callable[[], None]


@frozen
class Good:
    """A configuration together with a build that was made by it: what a generation is started from."""

    config: WorkerConfig
    build: Build


@define(eq=False, kw_only=True)
class Worker:
    """
    One worker.

    @ivar removed: whether its folder or its configuration is gone.
    @ivar stopped: whether an operator stopped it.
    @ivar pinned: the number of instances that an operator asked for; L{None} for what the configuration says.
    @ivar source: number of the latest reason to build.
    @ivar built: number of the reason that was last built for, or is being built for.
    @ivar building: whether that build still runs.
    @ivar fault: why the latest build failed, if it did; C{fault_at} is when, in wall clock seconds, and
        C{fault_after_s} how long it had taken.
    @ivar good: what the target generation is started from.
    @ivar target: the latest good generation.
    @ivar deaths: the last ones, of all slots; C{died} is how many there were.
    @ivar problems: what is wrong with its configuration file, if an older configuration is in force.
    """

    config: WorkerConfig
    server: ServerConfig
    around: Surroundings
    removed: bool = False
    stopped: bool = False
    pinned: int | None = None
    source: int = 1
    built: int = 0
    building: bool = False
    fault: BuildFault | None = None
    fault_at: float = 0.0
    fault_after_s: float = 0.0
    good: Good | None = None
    target: Generation | None = None
    slots: dict[str, Slot] = field(factory=dict)
    deaths: deque[Death] = field(factory=lambda: deque(maxlen=DEATHS_KEPT_MAX))
    died: int = 0
    problems: tuple[str, ...] = ()
    _count: int = 0
    _scaled_at: float = float("-inf")
    _demand: Demand = field(factory=Demand)
    _requests: int = 0
    _restarts: int = 0
    _build_began: float = 0.0
    _tool_missed_at: float = 0.0
    _generations: int = 0
    _slots_made: int = 0
    _instances_made: int = 0

    @property
    def name(self) -> str:
        """The name of the worker's folder."""
        return self.config.name

    @property
    def off(self) -> str:
        """Why it should have no process, or an empty string."""
        if self.removed:
            return "the worker was removed"
        if not self.config.enabled:
            return "the worker is disabled"
        if self.config.type == "static":
            return "a static worker needs no process"
        return "the worker was stopped by an operator" if self.stopped else ""

    @property
    def count(self) -> int:
        """The number of instances that should be there."""
        return 0 if self.off else self._count

    # For the plan.

    def desired(self) -> WorkerDesired:
        """What should be."""
        bounds = self.config.scaling
        if self.pinned is not None:
            bounds = ScalingConfig(workers_min=self.pinned, workers_max=self.pinned)
        return WorkerDesired(
            name=self.name,
            target=self.target,
            source=self.source,
            scaling=bounds,
            single=self.config.single,
            off=self.off,
        )

    def observed(self, now: float) -> WorkerObserved:
        """What is."""
        self._take_notice(now)
        return WorkerObserved(
            name=self.name,
            source=self.built,
            count=self._count,
            scaled_at=self._scaled_at,
            demand=self._demand,
            slots=self.views(),
        )

    def views(self) -> tuple[SlotView, ...]:
        """The slots, as the plan sees them, in the order of their making."""
        load = self.around.load()
        return tuple(_view(slot, load) for slot in self.slots.values())

    def totals(self) -> WorkerTotals:
        """What the fronts told of its requests."""
        return self.around.load().workers.get(self.name) or WorkerTotals()

    def wanted(self, waiting: int, oldest_s: float) -> None:
        """A front says that requests wait."""
        self._demand = evolve(self._demand, waiting=waiting, oldest_s=oldest_s, wanted_at=self.around.clock.seconds())

    def _take_notice(self, now: float) -> None:
        """Keep when there was last a use for the instances; look again for a tool that was not installed."""
        missed = self.fault is not None and self.fault.kind == "missing-tool" and not self.building
        if missed and now - self._tool_missed_at >= TOOL_AGAIN_S and self.source == self.built:
            self.ask_build()
        load, totals = self.around.load(), self.totals()
        in_flight = sum(_endpoint(slot, load).in_flight for slot in self.slots.values())
        if in_flight or totals.waiting or totals.requests != self._requests:
            self._demand = evolve(self._demand, used_at=now)
        if totals.waiting or (in_flight and in_flight >= self._count):
            self._demand = evolve(self._demand, crowded_at=now)
        self._requests = totals.requests

    # Carrying out.

    def set_count(self, count: int) -> None:
        """From now on there should be so many instances."""
        self._count = count
        self._scaled_at = self.around.clock.seconds()

    def start_slot(self, generation: Generation) -> None:
        """Start one more instance of the target generation."""
        if generation != self.target or self.good is None:
            return
        self._slots_made += 1
        slot = Slot(
            id=f"{self.name}#{self._slots_made}",
            serial=self._slots_made,
            generation=generation,
            config=self.good.config,
            build=self.good.build,
            make=self._make_instance,
            clock=self.around.clock,
            wall_clock=self.around.wall_clock,
            chance=self.around.chance,
            owner=self,
        )
        slot.inputs = make_slot_machine(slot)
        self.slots[slot.id] = slot
        slot.inputs.start()

    def retire_slot(self, slot_id: str, reason: str) -> None:
        """Let a slot end gracefully."""
        slot = self.slots.get(slot_id)
        if slot is not None:
            _log.info("{instance} is retired: {reason}", instance=slot.told, reason=reason)
            slot.inputs.retire()

    def stop_slot(self, slot_id: str) -> None:
        """Let a slot end now."""
        slot = self.slots.get(slot_id)
        if slot is not None:
            slot.inputs.stop_now()

    def artefacts_in_use(self) -> frozenset[str]:
        """Artefacts that instances run from, or will. May be asked on another thread."""
        builds = [slot.build for slot in tuple(self.slots.values())]
        good = self.good
        if good is not None:
            builds.append(good.build)
        return frozenset(build.artefact for build in builds if build.artefact)

    def hush(self) -> None:
        """Have a queue answer at once all who wait for tasks: the server stops, and would wait for them."""
        for slot in self.slots.values():
            if slot.instance is not None and slot.instance.ready_at is not None and slot.config.single:
                slot.instance.signal(HUSH_SIGNAL)

    def stop_all(self) -> None:
        """Let all slots end now."""
        for slot in list(self.slots.values()):
            slot.inputs.stop_now()

    def _make_instance(self, slot: Slot) -> Instance:
        """The next instance of a slot."""
        self._instances_made += 1
        instance_id = f"{self.name}.{slot.generation.serial}.{self._instances_made}"
        instance = Instance(
            id=instance_id,
            order=Order(slot.config, slot.build, instance_id, slot.generation.serial),
            config=slot.config,
            pool=self.server.workers,
            clock=self.around.clock,
            wall_clock=self.around.wall_clock,
            launcher=self.around.launcher,
            logs=self.around.logs,
            leave_routing=self.around.stop_giving if slot.config.single else self.around.leave_routing,
            answered=lambda endpoint: _answered(self.around.load(), endpoint),
            owner=slot,
            limits=limits(slot.config.recycle, self.around.chance()),
        )
        instance.inputs = make_instance_machine(instance)
        return instance

    # What befalls it.

    def slot_moved(self, slot: Slot) -> None:
        """A slot, or its instance, is in another state."""
        if slot.state == "gone":
            self.slots.pop(slot.id, None)
        elif slot.shown is SlotState.READY:
            self._scaled_at = max(self._scaled_at, self.around.clock.seconds())
        self.around.wake()

    def slot_died(self, slot: Slot, death: Death) -> None:
        """An instance has died."""
        _log.warn("{instance} died: {reason}", instance=death.instance, reason=death.reason)
        self.deaths.append(death)
        self.died += 1

    def build_started(self, source: int) -> WorkerConfig:
        """
        A build begins.

        @return: the configuration to build by.
        """
        self.built = source
        self.building = True
        self._build_began = self.around.clock.seconds()
        return self.config

    def build_ended(self, source: int, config: WorkerConfig, build: Build) -> None:
        """A build is there; unless it was superseded, it is what the worker should run from now on."""
        if source != self.built:
            return
        self.building = False
        mended, self.fault = self.fault is not None, None
        self.good = Good(config, build)
        if mended or not build.reused:
            _log.info("{worker} was built in {seconds:.2f} s", worker=self.name, seconds=build.seconds)
        self._aim()

    def build_failed(self, source: int, fault: BuildFault) -> None:
        """A build failed. What runs goes on."""
        if source != self.built:
            return
        self.building = False
        if fault.kind == "superseded":
            pass
        elif self.fault is not None and self.fault.told == fault.told and fault.kind == "missing-tool":
            self._tool_missed_at = self.around.clock.seconds()
        else:
            remedy = f"; {fault.remedy}" if fault.remedy else ""
            _log.error(
                "{worker} {told}{remedy}{output}",
                worker=self.name,
                told=fault.told,
                remedy=remedy,
                output="".join(f"\n{line}" for line in fault.output),
            )
            self.fault = fault
            self.fault_at = self.around.wall_clock()
            self.fault_after_s = self.around.clock.seconds() - self._build_began
            self._tool_missed_at = self.around.clock.seconds()
        self.around.wake()

    def _aim(self) -> None:
        """Make what is good the target, as a new generation if a new process is needed for it."""
        if self.good is None:
            return
        generation = Generation(
            worker=self.name,
            serial=self._generations + 1,
            process_key=self._process_key(self.good.config),
            fingerprint=self.good.build.fingerprint,
            restart=self._restarts,
        )
        if self.target is None or self.target.identity != generation.identity:
            self._generations += 1
            self.target = generation
        self.around.wake()

    def _process_key(self, config: WorkerConfig) -> str:
        """What needs no new process has the same key."""
        return f"{process_key(config)}-{self.server.mode}"

    # What is asked of it.

    def reconfigure(self, config: WorkerConfig, server: ServerConfig) -> None:
        """Go by a new configuration: with new processes only if they are made from what has changed."""
        before = self._process_key(self.config)
        if config.scaling != self.config.scaling:
            self.pinned = None
        reopened = (self.removed or not self.config.enabled) and config.enabled
        self.config, self.server = config, server
        self.removed = False
        self.problems = ()
        key = self._process_key(config)
        if key != before or reopened or self.fault is not None:
            self.source += 1
        elif self.good is not None and self._process_key(self.good.config) == key:
            self.good = Good(config, self.good.build)
        for slot in self.slots.values():
            if slot.generation.process_key == key:
                slot.reconfigure(config, server.workers)
        self.around.wake()

    def remove(self) -> None:
        """It is no more."""
        self.removed = True
        self.around.wake()

    def ask_build(self) -> None:
        """Something that it is built from may have changed."""
        self.source += 1
        self.around.wake()

    def restart(self) -> None:
        """Replace all its instances."""
        self.stopped = False
        self._restarts += 1
        if self.good is None:
            self.ask_build()
        self._aim()

    def stop(self) -> None:
        """Have no instances until it is started."""
        self.stopped = True
        self.around.wake()

    def start(self) -> None:
        """Have instances again."""
        self.stopped = False
        self.around.wake()

    def release(self) -> None:
        """Try again whatever was given up."""
        if self.fault is not None:
            self.ask_build()
        for slot in list(self.slots.values()):
            slot.inputs.release()
        self.around.wake()

    def scale(self, count: int | None) -> None:
        """Have exactly so many instances; L{None}: as many as the configuration says."""
        self.pinned = count
        self.around.wake()

    # For the fronts.

    def picture(self) -> Picture:
        """What the fronts should know."""
        if self.off:
            return Picture(closed=self._closed())
        ready = serving(self.views(), self.target)
        slots = [self.slots[view.id] for view in ready]
        if not slots:
            return Picture(closed=self._closed())
        return Picture(
            generation=slots[0].generation.serial,
            served_by=slots[0].config,
            addresses=tuple(
                (slot.instance.id, slot.instance.launched.address)
                for slot in slots
                if slot.instance is not None and slot.instance.launched is not None
            ),
        )

    def _closed(self) -> Closed:
        """Why requests need not wait, if they need not."""
        if self.off:
            if self.config.type == "static" and self.config.enabled:
                return OPEN
            return Closed(self.off, "" if self.stopped and self.config.enabled else "enabled: true")
        if self.pinned == 0:
            return Closed("the worker was scaled to no instances by an operator")
        if self.building or self.source > self.built:
            return OPEN
        fresh = [slot for slot in self.slots.values() if slot.generation == self.target]
        held = [slot for slot in fresh if slot.held is not None and slot.state == "held"]
        if held and len(held) == len(fresh):
            hold, last = held[-1].held, held[-1].history.last
            if hold is not None:
                return Closed(f"does not stay up: {hold.reason}", hold.remedy, last.output if last is not None else ())
        if self.target is None and self.fault is not None:
            return Closed(self.fault.told, self.fault.remedy, self.fault.output)
        return OPEN


def _endpoint(slot: Slot, load: FrontLoad) -> EndpointTotals:
    """What the fronts told of a slot's instance."""
    if slot.instance is None:
        return EndpointTotals()
    return load.endpoints.get(slot.instance.id) or EndpointTotals()


def _answered(load: FrontLoad, endpoint: str) -> int:
    """Requests that an endpoint has answered."""
    totals = load.endpoints.get(endpoint)
    return totals.answered if totals is not None else 0


def _view(slot: Slot, load: FrontLoad) -> SlotView:
    """A slot as the plan sees it."""
    totals, instance, reason = _endpoint(slot, load), slot.instance, ""
    if instance is not None:
        reason = due(instance.limits, totals.answered, instance.uptime_s, instance.memory_bytes)
    return SlotView(
        id=slot.id,
        serial=slot.serial,
        generation=slot.generation,
        state=slot.shown,
        proven=slot.proven,
        due=reason,
        in_flight=totals.in_flight,
        cut=slot.cut,
    )
