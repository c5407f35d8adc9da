"""
Everything in any order: a supervisor under hypothesis.

The machine does to a supervisor what saves, crashes, probes, clients, operators and time can do to it, and looks after
each step at what must hold whatever happened.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import RecycleConfig, ScalingConfig, WorkerConfig
from tqserver.supervisor.instance import Instance
from tqserver.supervisor.interfaces import EndpointTotals
from tqserver.supervisor.service import Life
from tqserver.supervisor.slot import Slot
from tqserver.testing import FakeProcess

from .world import World, server_config, worker_config

SLOTS_MAX = 40
"""More slots of one worker than this leak: 8 may drain, 2 times 5 are current and next, the rest are being stopped."""

CALM_S = 90.0
"""So long after the last trouble everything has found its place: backoffs, starts, drain limits, health intervals."""

CONFIGS: dict[str, tuple[WorkerConfig | None, ...]] = {
    "api": (
        worker_config("api", scaling=ScalingConfig(workers_min=1, workers_max=3, scale_down_delay_s=5.0)),
        worker_config("api", scaling=ScalingConfig(workers_min=2, workers_max=3, scale_down_delay_s=5.0)),
        worker_config("api", run=("./other", "{port}"), recycle=RecycleConfig(requests_max=5)),
        worker_config("api", enabled=False),
        None,
    ),
    "lazy": (
        worker_config("lazy", scaling=ScalingConfig(workers_min=0, workers_max=2, scale_down_delay_s=5.0)),
        worker_config("lazy", balance="random_two", recycle=RecycleConfig(age_max_s=7.0)),
        None,
    ),
}
"""What the files of each worker may say; L{None}: the worker is removed."""

names = st.sampled_from(sorted(CONFIGS))
index = st.integers(0, 10)


class Races(RuleBasedStateMachine):
    """One run."""

    def __init__(self) -> None:
        super().__init__()
        server = server_config()
        # So few ports that a leak, or too many at once, meets the end of the pool.
        server = evolve(server, workers=evolve(server.workers, port_last=9011, drain_timeout_s=10.0))
        self.chosen = dict.fromkeys(CONFIGS, 0)
        self.world = World(*self.configs(), server=server)
        self.stopped: Deferred[None] | None = None
        self.builds = 0

    def configs(self) -> list[WorkerConfig]:
        """What the files say."""
        found = [CONFIGS[name][choice] for name, choice in self.chosen.items()]
        return [config for config in found if config is not None]

    def slots(self) -> list[Slot]:
        """All slots of all workers."""
        return [slot for worker in self.world.supervisor.workers.values() for slot in worker.slots.values()]

    def instances(self) -> dict[str, Instance]:
        """All instances by id."""
        return {slot.instance.id: slot.instance for slot in self.slots() if slot.instance is not None}

    def pick(self, number: int) -> FakeProcess | None:
        """One of the processes that run."""
        running = self.world.spawner.running
        return running[number % len(running)] if running else None

    @initialize(serves=st.booleans())
    def begin(self, serves: bool) -> None:
        """The server starts; or it has run well for a while."""
        self.world.start()
        if serves:
            self.world.fronts.want("lazy")
            self.all_goes_well(1)

    @rule(steps=st.integers(1, 10))
    def all_goes_well(self, steps: int) -> None:
        """For a while builds end well, checks are answered, and time passes."""
        for _ in range(steps):
            for name in list(self.world.builds.waiting):
                self.world.built(name, f"f{self.builds}")
            for _ in range(4):
                self.world.leap(0.05)
                self.world.answer()

    # What may happen.

    @rule(name=names)
    def save(self, name: str) -> None:
        """Somebody saves a source file."""
        if f"worker:{name}" in self.world.watcher.trees:
            self.world.save(name)

    @rule(name=names, choice=index)
    def configure(self, name: str, choice: int) -> None:
        """Somebody saves, makes or removes a worker.yaml."""
        self.chosen[name] = choice % len(CONFIGS[name])
        self.world.project = evolve(self.world.project, workers=tuple(self.configs()))
        if "workers" in self.world.watcher.trees:
            self.world.watcher.changed("workers", name)
        self.world.settle()

    @precondition(lambda self: self.world.builds.waiting)
    @rule(name=names, new=st.booleans())
    def build_ends_well(self, name: str, new: bool) -> None:
        """A build ends, with a new result or with the old one."""
        if name in self.world.builds.waiting:
            self.builds += new
            self.world.built(name, f"f{self.builds}")

    @precondition(lambda self: self.world.builds.waiting)
    @rule(name=names)
    def build_ends_badly(self, name: str) -> None:
        """A build fails."""
        if name in self.world.builds.waiting:
            self.world.builds.fail(name)
            self.world.settle()

    @precondition(lambda self: any(probe.waiting for probe in self.world.probes.values()))
    @rule(well=st.booleans())
    def checks_are_answered(self, well: bool) -> None:
        """All checks that wait are answered."""
        self.world.answer("" if well else "status 500")

    @precondition(lambda self: any(probe.waiting for probe in self.world.probes.values()))
    @rule(number=index, well=st.booleans())
    def one_check_is_answered(self, number: int, well: bool) -> None:
        """One check is answered."""
        waiting = [probe for probe in self.world.probes.values() if probe.waiting]
        if waiting:
            waiting[number % len(waiting)].answer("" if well else "status 500")
            self.world.settle()

    @precondition(lambda self: self.world.spawner.running)
    @rule(number=index, code=st.sampled_from([0, 1, None]))
    def process_ends(self, number: int, code: int | None) -> None:
        """A process exits, or is killed from outside."""
        process = self.pick(number)
        if process is not None:
            process.exit(code=code, signal="KILL" if code is None else None)
            self.world.settle()

    @precondition(lambda self: self.world.spawner.running)
    @rule(number=index)
    def process_ends_unnoticed(self, number: int) -> None:
        """A process exits, and something else happens in the same turn of the reactor."""
        process = self.pick(number)
        if process is not None:
            process.exit(code=1)

    @precondition(lambda self: self.world.spawner.running)
    @rule(number=index)
    def process_turns_deaf(self, number: int) -> None:
        """A process ignores its stop signal from now on."""
        process = self.pick(number)
        if process is not None:
            process.obeys = set()

    @rule()
    def next_start_fails(self) -> None:
        """The program is missing for a moment."""
        self.world.spawner.fail_next()

    @rule(seconds=st.sampled_from([0.001, 0.006, 0.05, 0.11, 0.5, 1.0, 5.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        """Nothing happens for a while."""
        self.world.leap(seconds)

    @precondition(lambda self: self.world.serving)
    @rule(number=index)
    def long_request(self, number: int) -> None:
        """A long request begins on an endpoint."""
        serving = self.world.serving
        if serving:
            endpoint = serving[number % len(serving)]
            self.world.fronts.busy.add(endpoint)
            self.world.fronts.tell({endpoint: EndpointTotals(in_flight=1)})
            self.world.settle()

    @precondition(lambda self: self.world.fronts.busy)
    @rule(number=index)
    def long_request_ends(self, number: int) -> None:
        """It ends."""
        busy = sorted(self.world.fronts.busy)
        if busy:
            endpoint = busy[number % len(busy)]
            self.world.fronts.tell({endpoint: EndpointTotals(answered=1)})
            if endpoint in self.world.fronts.asked:
                self.world.fronts.drain(endpoint)
            self.world.fronts.busy.discard(endpoint)
            self.world.settle()

    @precondition(lambda self: self.world.serving)
    @rule(number=index, answered=st.integers(1, 9))
    def requests_are_answered(self, number: int, answered: int) -> None:
        """An endpoint has answered requests."""
        serving = self.world.serving
        if serving:
            self.world.fronts.tell({serving[number % len(serving)]: EndpointTotals(answered=answered)})
            self.world.settle()

    @rule(name=names, waiting=st.sampled_from([1, 50]))
    def requests_wait(self, name: str, waiting: int) -> None:
        """Requests wait for a worker."""
        self.world.fronts.want(name, waiting, 0.1)
        self.world.settle()

    @rule(name=names, command=st.sampled_from(["restart", "stop", "start", "release", "build"]))
    def command(self, name: str, command: str) -> None:
        """An operator asks for something."""
        worker = self.world.supervisor.workers.get(name)
        if worker is not None and not worker.removed:
            getattr(self.world.supervisor.commands, command)(name)
            self.world.settle()

    @rule(name=names, count=st.sampled_from([None, 0, 1, 3]))
    def scale(self, name: str, count: int | None) -> None:
        """An operator asks for a number of instances."""
        worker = self.world.supervisor.workers.get(name)
        if worker is not None and not worker.removed:
            self.world.supervisor.commands.scale(name, count)
            self.world.settle()

    @rule()
    def hup(self) -> None:
        """HUP."""
        self.world.supervisor.reload()
        self.world.settle()

    @precondition(lambda self: self.stopped is None)
    @rule(at_once=st.booleans(), dice=st.integers(0, 9))
    def stop(self, at_once: bool, dice: int) -> None:
        """The server is stopped, in the midst of all this."""
        if dice == 0:
            self.world.fronts.stop_at_once = at_once
            self.stopped = self.world.supervisor.stopService()
            self.world.settle()

    # What must hold.

    @invariant()
    def no_port_has_two_owners(self) -> None:
        """Two processes that run never have the same port, and each has a lease on its own."""
        ports = [int(process.spec.argv[-1]) for process in self.world.spawner.running]
        assert len(ports) == len(set(ports)), ports
        assert set(ports) <= self.world.ports.leased, (ports, self.world.ports.leased)

    @invariant()
    def routed_is_ready(self) -> None:
        """Every endpoint of the published routing is a ready instance, and of one generation for each worker."""
        if self.world.supervisor.life in (Life.ENDING, Life.ENDED):
            return
        self.world.settle()
        instances = self.instances()
        for worker in self.world.fronts.routing.workers:
            for endpoint in worker.endpoints:
                assert endpoint.id in instances, endpoint
                assert instances[endpoint.id].state == "ready", (endpoint.id, instances[endpoint.id].state)
            assert len({endpoint.id.rsplit(".", 1)[0] for endpoint in worker.endpoints}) <= 1

    @invariant()
    def nothing_is_left_to_do(self) -> None:
        """After the plan was made and carried out, a second one without news is empty."""
        if self.world.supervisor.life is Life.RUNNING:
            self.world.supervisor.wake()
            self.world.settle()
            assert self.world.supervisor.plan(self.world.clock.seconds()) == ()

    @invariant()
    def requests_wait_or_are_told(self) -> None:
        """Without an endpoint there is a reason in the routing, or something is on its way."""
        if self.world.supervisor.life is not Life.RUNNING:
            return
        self.world.settle()
        for routing in self.world.fronts.routing.workers:
            if routing.endpoints or routing.closed:
                continue
            worker = self.world.supervisor.workers[routing.name]
            coming = worker.building or worker.count == 0
            coming = coming or any(slot.state in ("starting", "backoff", "running") for slot in worker.slots.values())
            assert coming, (routing.name, [slot.state for slot in worker.slots.values()])

    @invariant()
    def no_slot_leaks(self) -> None:
        """There are never more slots than the rules allow, and none without an instance, a timer or a reason."""
        for worker in self.world.supervisor.workers.values():
            assert len(worker.slots) <= SLOTS_MAX
        for slot in self.slots():
            assert slot.state != "gone"
            if slot.state in ("starting", "running", "retiring"):
                assert slot.instance is not None
                assert slot.instance.state != "gone", slot.id

    def teardown(self) -> None:
        """At the end: peace first, then a stop, which ends everything within its limits."""
        world = self.world
        if self.stopped is None:
            self.calm_down()
            self.stopped = world.supervisor.stopService()
        if world.fronts.stopping is not None and not world.fronts.stopping.called:
            world.fronts.gone()
        world.leap(1.0)
        assert self.stopped.called, "the stop never ended"
        assert world.supervisor.life is Life.ENDED
        assert world.spawner.running == [], "a process was left"
        assert self.slots() == []
        assert world.ports.leased == frozenset(), world.ports.leased
        assert world.clock.getDelayedCalls() == [], "a timer was left"
        world.leap(100.0)
        assert world.spawner.running == []

    def calm_down(self) -> None:
        """All builds and checks end well and nobody asks for anything: everything finds its place."""
        world = self.world
        world.fronts.busy.clear()
        for endpoint in list(world.fronts.asked):
            world.fronts.drain(endpoint)
        end = world.clock.seconds() + CALM_S
        while world.clock.seconds() < end:
            for name in list(world.builds.waiting):
                world.built(name, f"f{self.builds}")
            world.answer()
            world.leap(0.2)
        for worker in world.supervisor.workers.values():
            states = {slot.state for slot in worker.slots.values()}
            assert states <= {"running", "held", "starting", "retiring"}, states
            ready = [slot for slot in worker.slots.values() if slot.shown.value == "ready"]
            assert len({slot.generation for slot in ready}) <= 1
            if "held" not in states and not worker.off:
                assert len([slot for slot in ready if slot.generation == worker.target]) >= worker.count


class RaceTests(SynchronousTestCase):
    """Everything in any order."""

    def test_any_order(self) -> None:
        """Whatever happens in whatever order: no port twice, nothing routed that is not ready, always an end."""
        run_state_machine_as_test(
            Races,
            settings=settings(derandomize=True, deadline=None, max_examples=50, stateful_step_count=40),
        )
