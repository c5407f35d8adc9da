"""Tests for L{tqserver.supervisor.instance} and its machine."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.build import Build
from tqserver.config.model import HealthConfig, WorkerConfig
from tqserver.process.interfaces import IProcessObserver
from tqserver.process.spec import Address, ProcessSpec
from tqserver.supervisor.instance import Ending, Instance, InstanceInputs
from tqserver.supervisor.instance_machine import REKILL_S, make_machine
from tqserver.supervisor.interfaces import Launched, LaunchFault, Order
from tqserver.testing import FakeProbe, FakeProcess, FakeSpawner

from .world import FakeLogs, server_config, worker_config

STATES = ("idle", "starting", "ready", "unhealthy", "draining", "stopping", "killing", "gone")


class Owner:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.moves = 0

    def instance_moved(self) -> None:
        """See L{IInstanceOwner}."""
        self.moves += 1

    def instance_gone(self, ending: Ending) -> None:
        """See L{IInstanceOwner}."""
        self.endings.append(ending)


class OneLauncher:
    """Launches at one address."""

    def __init__(self, clock: Clock) -> None:
        self.spawner = FakeSpawner(clock)
        self.probe = FakeProbe()
        self.cleared = 0
        self.fault: LaunchFault | None = None

    def launch(self, order: Order, observer: IProcessObserver) -> Launched:
        """See L{ILauncher}."""
        if self.fault is not None:
            raise self.fault
        spec = ProcessSpec(("run",), "/", (), notify=order.config.health.type == "notify")
        return Launched(self.spawner.spawn(spec, observer), Address("127.0.0.1", 9000), self.probe)

    def clear(self, launched: Launched) -> None:
        """See L{ILauncher}."""
        self.cleared += 1


class InstanceTestCase(SynchronousTestCase):
    """One instance, on a fake clock."""

    health = HealthConfig(interval_s=5.0, timeout_s=0.5, failures=2)

    def setUp(self) -> None:
        self.clock = Clock()
        self.launcher = OneLauncher(self.clock)
        self.owner = Owner()
        self.left: Deferred[None] = Deferred()
        self.asked: list[str] = []
        self.answered = 0
        self.instance = self.make(worker_config(health=self.health))

    def make(self, config: WorkerConfig) -> Instance:
        """An instance that has not started."""
        build = Build("api", "f", ("run",), "/")
        instance = Instance(
            id="api.1.1",
            order=Order(config, build, "api.1.1", 1),
            config=config,
            pool=server_config().workers,
            clock=self.clock,
            wall_clock=self.clock.seconds,
            launcher=self.launcher,  # type: ignore[arg-type]
            logs=FakeLogs(),  # type: ignore[arg-type]
            leave_routing=self.leave,
            answered=lambda endpoint: self.answered,
            owner=self.owner,
        )
        instance.inputs = make_machine(instance)
        return instance

    def leave(self, endpoint: str) -> Deferred[None]:
        """The instance wants to leave routing."""
        self.asked.append(endpoint)
        return self.left

    @property
    def inputs(self) -> InstanceInputs:
        """Of the instance."""
        return self.instance.inputs

    @property
    def process(self) -> FakeProcess:
        """Of the instance."""
        return self.launcher.spawner.processes[0]

    def come_up(self) -> None:
        """Start, and answer the first check well."""
        self.inputs.start()
        self.clock.advance(0.01)
        self.launcher.probe.answer()

    def reach(self, state: str) -> None:
        """Bring the instance into a state."""
        if state == "idle":
            return
        if state == "starting":
            self.inputs.start()
        elif state == "gone":
            self.reach("ready")
            self.process.exit(code=0)
            self.clock.advance(0)
        else:
            self.come_up()
            if state == "unhealthy":
                self.inputs.became_unwell("silent")
            if state == "draining":
                self.inputs.retire()
            if state in ("stopping", "killing"):
                self.inputs.stop_now()
            if state == "killing":
                self.process.alive = False  # hangs in the kernel: no signal reaches it
                self.clock.advance(0.5)
        self.assertEqual(self.instance.state, state)


class StartTests(InstanceTestCase):
    """From the launch to the first request."""

    def test_ready_within_milliseconds(self) -> None:
        """My worker listens after 3 ms: it is ready at the first look, 5 ms after its start."""
        self.inputs.start()
        self.assertEqual(self.instance.state, "starting")
        self.clock.advance(0.0051)
        self.launcher.probe.answer()
        self.assertEqual(self.instance.state, "ready")
        self.assertEqual(self.instance.ready_at, self.clock.seconds())

    def test_refused_while_booting(self) -> None:
        """My worker needs a while to boot: refused checks in the meantime do not count against it."""
        self.inputs.start()
        for _ in range(20):
            self.clock.advance(0.1)
            self.launcher.probe.answer("refused")
        self.assertEqual(self.instance.state, "starting")
        self.clock.advance(0.1)
        self.launcher.probe.answer()
        self.assertEqual(self.instance.state, "ready")

    def test_never_ready(self) -> None:
        """My worker never answers: after the limit it is stopped, and that is a death with its reason."""
        self.inputs.start()
        self.clock.advance(0.006)
        self.launcher.probe.answer("connection refused")
        self.clock.advance(5.0)
        self.assertEqual(self.process.signals, ["TERM", "CONT"])
        self.process.exit(signal="TERM")
        self.clock.advance(0)
        (ending,) = self.owner.endings
        self.assertFalse(ending.asked)
        self.assertFalse(ending.started_up)
        self.assertEqual(ending.reason, "not ready within 5 s: connection refused")

    def test_dies_while_starting(self) -> None:
        """My worker has a mistake and exits: the exit code and its last words are kept."""
        self.inputs.start()
        self.process.say("cannot bind")
        self.process.exit(code=3)
        self.clock.advance(0)
        (ending,) = self.owner.endings
        self.assertEqual((ending.asked, ending.reason), (False, "exit code 3"))
        self.assertEqual(ending.output, ("cannot bind",))
        self.assertEqual(self.launcher.cleared, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cannot_be_launched(self) -> None:
        """There is no such program: reason and remedy are kept, and nothing is left behind."""
        self.launcher.fault = LaunchFault("no such program", "install it")
        self.inputs.start()
        self.assertEqual(self.instance.state, "gone")
        (ending,) = self.owner.endings
        self.assertEqual((ending.asked, ending.reason, ending.remedy), (False, "no such program", "install it"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_check_that_never_ends(self) -> None:
        """A check hangs: it is given up after C{health.timeout_ms}, and the next one is made."""
        self.inputs.start()
        self.clock.advance(0.006)
        self.clock.advance(0.5)
        self.assertEqual(self.launcher.probe.cancelled, 1)
        self.clock.advance(0.1)
        self.launcher.probe.answer()
        self.assertEqual(self.instance.state, "ready")

    def test_retired_while_starting(self) -> None:
        """It is not needed any more before it was ready: stopped at once, nothing to drain, and no death."""
        self.inputs.start()
        self.inputs.retire()
        self.assertEqual(self.process.signals, ["TERM", "CONT"])
        self.assertEqual(self.asked, [])
        self.process.exit(signal="TERM")
        self.clock.advance(0)
        self.assertTrue(self.owner.endings[0].asked)


class NoHealthTests(InstanceTestCase):
    """C{health.type: none}."""

    health = HealthConfig(type="none")

    def test_startup_delay(self) -> None:
        """Without a health check my worker is given requests after C{startup_delay_ms}, and is never asked."""
        self.inputs.start()
        self.clock.advance(0.09)
        self.assertEqual(self.instance.state, "starting")
        self.clock.advance(0.02)
        self.assertEqual(self.instance.state, "ready")
        self.clock.advance(100.0)
        self.assertEqual(self.launcher.probe.checks, 0)


class NotifyTests(InstanceTestCase):
    """C{health.type: notify}."""

    health = HealthConfig(type="notify")

    def test_ready_when_it_says_so(self) -> None:
        """My worker writes a newline on descriptor 3: it is ready in that moment."""
        self.inputs.start()
        self.clock.advance(1.0)
        self.assertEqual(self.instance.state, "starting")
        self.process.notify()
        self.assertEqual(self.instance.state, "ready")

    def test_silent(self) -> None:
        """It never does: that is a failed start."""
        self.inputs.start()
        self.clock.advance(5.0)
        self.assertEqual(self.instance.state, "stopping")


class HealthTests(InstanceTestCase):
    """While it serves."""

    def fail_once(self) -> None:
        """One check is not answered well."""
        self.clock.advance(5.0)
        self.launcher.probe.answer("status 500")

    def test_one_failure_is_forgiven(self) -> None:
        """One failed check out of C{failures: 2} changes nothing."""
        self.come_up()
        self.fail_once()
        self.assertEqual(self.instance.state, "ready")

    def test_unhealthy_and_back(self) -> None:
        """Enough failed checks take it out of routing; it comes back as soon as it answers."""
        self.come_up()
        self.fail_once()
        self.fail_once()
        self.assertEqual(self.instance.state, "unhealthy")
        self.clock.advance(5.0)
        self.launcher.probe.answer()
        self.assertEqual(self.instance.state, "ready")
        self.assertEqual(self.process.signals, [])

    def test_unhealthy_for_good(self) -> None:
        """As many failures again: it is stopped, and that is a death."""
        self.come_up()
        for _ in range(4):
            self.fail_once()
        self.assertEqual(self.instance.state, "stopping")
        self.process.exit(signal="TERM")
        self.clock.advance(0)
        self.assertEqual(self.owner.endings[0].reason, "unhealthy: status 500")
        self.assertFalse(self.owner.endings[0].asked)

    def test_busy_is_healthy(self) -> None:
        """My single-threaded worker is too busy for checks, but answers requests: it is not even asked."""
        self.come_up()
        checks = self.launcher.probe.checks
        for _ in range(10):
            self.answered += 1
            self.clock.advance(5.0)
        self.assertEqual(self.instance.state, "ready")
        self.assertEqual(self.launcher.probe.checks, checks)


class EndTests(InstanceTestCase):
    """How it goes."""

    def test_drain_then_stop(self) -> None:
        """A retired instance gets its stop signal when no front holds it any more, and not before."""
        self.come_up()
        self.inputs.retire()
        self.assertEqual(self.asked, ["api.1.1"])
        self.clock.advance(10.0)
        self.assertEqual(self.process.signals, [])
        self.left.callback(None)
        self.assertEqual(self.process.signals, ["TERM", "CONT"])

    def test_restart_delay(self) -> None:
        """Even if nothing is in flight, C{restart_delay_ms} passes first."""
        self.left.callback(None)
        self.come_up()
        self.inputs.retire()
        self.clock.advance(0.09)
        self.assertEqual(self.process.signals, [])
        self.clock.advance(0.02)
        self.assertEqual(self.process.signals, ["TERM", "CONT"])

    def test_drain_limit(self) -> None:
        """A WebSocket is open for ever: at the limit the instance is stopped all the same."""
        self.come_up()
        self.inputs.retire()
        self.clock.advance(30.0)
        self.assertEqual(self.process.signals, ["TERM", "CONT"])
        self.left.callback(None)  # too late, and harmless

    def test_escalation(self) -> None:
        """My worker ignores TERM: after its grace its whole group is killed."""
        self.come_up()
        self.inputs.stop_now()
        self.clock.advance(0.4)
        self.assertEqual(self.process.signals, ["TERM", "CONT"])
        self.clock.advance(0.2)
        self.assertEqual(self.process.signals, ["TERM", "CONT", "KILL"])
        self.clock.advance(0)
        self.assertEqual(self.instance.state, "gone")
        self.assertEqual(self.launcher.cleared, 1)

    def test_unkillable(self) -> None:
        """A process hangs in the kernel: its port stays its own until it is really gone."""
        self.reach("killing")
        self.clock.advance(10 * REKILL_S)
        self.assertEqual(self.instance.state, "killing")
        self.assertEqual(self.launcher.cleared, 0)
        self.inputs.exited()
        self.assertEqual(self.launcher.cleared, 1)

    def test_php_quits(self) -> None:
        """php-fpm is asked with QUIT, and has time to let its children finish."""
        self.instance = self.make(worker_config(type="php", health=self.health))
        self.come_up()
        self.inputs.stop_now()
        self.assertEqual(self.process.signals, ["QUIT", "CONT"])
        self.clock.advance(4.9)
        self.assertEqual(self.process.signals, ["QUIT", "CONT"])

    def test_other_stop_signal(self) -> None:
        """C{signals.stop} says which signal is the first."""
        config = worker_config(health=self.health)
        self.instance = self.make(evolve(config, process=evolve(config.process, stop_signal="INT")))
        self.come_up()
        self.inputs.stop_now()
        self.assertEqual(self.process.signals, ["INT", "CONT"])

    def test_dies_while_draining(self) -> None:
        """It dies while it drains: gone, once, and it is no death that counts."""
        self.come_up()
        self.inputs.retire()
        self.process.exit(signal="KILL")
        self.clock.advance(0)
        self.left.callback(None)
        self.assertEqual([ending.asked for ending in self.owner.endings], [True])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class GridTests(InstanceTestCase):
    """Every input in every state."""

    def test_everything_is_declared(self) -> None:
        """Whatever happens in whatever state, the machine knows what to do, and at the end nothing is left."""
        happenings = {
            "start": (),
            "launched": (),
            "launch_failed": ("x",),
            "became_well": (),
            "became_unwell": ("x",),
            "timeout": (),
            "retire": (),
            "stop_now": (),
            "drained": (),
            "exited": (),
        }
        for state in STATES:
            for name, arguments in happenings.items():
                self.setUp()
                self.reach(state)
                getattr(self.inputs, name)(*arguments)
                self.assertIn(self.instance.state, STATES)
                self.inputs.stop_now()
                self.inputs.exited()
                self.clock.advance(0)
                self.assertEqual(self.instance.state, "gone", (state, name))
                self.assertEqual(len(self.owner.endings), 1, (state, name))
                self.assertEqual(self.clock.getDelayedCalls(), [], (state, name))
