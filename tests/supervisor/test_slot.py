"""Tests for L{tqserver.supervisor.slot}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.build import Build
from tqserver.supervisor.changes import Generation
from tqserver.supervisor.history import Death
from tqserver.supervisor.instance import Ending, Instance
from tqserver.supervisor.plan import SlotState
from tqserver.supervisor.slot import Slot, make_machine

from .world import worker_config


class FakeInputs:
    """Remembers what an instance was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> object:
        return lambda: self.heard.append(name)


class FakeInstance:
    """An instance that does what the test says."""

    def __init__(self, number: int) -> None:
        self.id = f"api.1.{number}"
        self.state = "starting"
        self.inputs = FakeInputs()
        self.launched = None


class SlotTestCase(SynchronousTestCase):
    """One slot on a fake clock; it is its own owner."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.made: list[FakeInstance] = []
        self.deaths: list[Death] = []
        self.slot = Slot(
            id="api#1",
            serial=1,
            generation=Generation("api", 1, "k", "f"),
            config=worker_config(),
            build=Build("api", "f", ("run",), "/"),
            make=self.make,
            clock=self.clock,
            wall_clock=self.clock.seconds,
            chance=lambda: 0.5,
            owner=self,
        )
        self.slot.inputs = make_machine(self.slot)

    def make(self, slot: Slot) -> Instance:
        """The next instance."""
        self.made.append(FakeInstance(len(self.made) + 1))
        return self.made[-1]  # type: ignore[return-value]

    def slot_moved(self, slot: Slot) -> None:
        """See L{ISlotOwner}."""

    def slot_died(self, slot: Slot, death: Death) -> None:
        """See L{ISlotOwner}."""
        self.deaths.append(death)

    def come_up(self) -> None:
        """The instance is ready."""
        self.made[-1].state = "ready"
        self.slot.instance_moved()

    def end(self, asked: bool = False, uptime_s: float = 1.0) -> None:
        """The instance ends."""
        self.made[-1].state = "gone"
        self.slot.instance_gone(Ending(asked=asked, reason="exit code 1", started_up=True, uptime_s=uptime_s))


class SlotTests(SlotTestCase):
    """A slot's life."""

    def test_refilled_after_a_pause(self) -> None:
        """My worker crashes: a new instance follows after the backoff."""
        self.slot.inputs.start()
        self.come_up()
        self.assertIs(self.slot.shown, SlotState.READY)
        self.end()
        self.assertIs(self.slot.shown, SlotState.BACKOFF)
        self.clock.advance(0.05)
        self.assertEqual(len(self.made), 1)
        self.clock.advance(0.05)
        self.assertEqual(len(self.made), 2)
        self.assertEqual(self.slot.restarts, 1)
        self.assertIs(self.slot.shown, SlotState.STARTING)
        self.assertEqual([death.instance for death in self.deaths], ["api.1.1"])

    def crash_until_held(self) -> None:
        """Crash more often than is allowed."""
        self.slot.inputs.start()
        for _ in range(4):
            self.end()
            self.clock.advance(1.0)

    def test_held(self) -> None:
        """It crashes too often: no more tries, and no timer is left."""
        self.crash_until_held()
        self.assertIs(self.slot.shown, SlotState.HELD)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.made), 4)

    def test_released(self) -> None:
        """I release it: it tries again, with all its tries."""
        self.crash_until_held()
        self.slot.inputs.release()
        self.assertEqual(len(self.made), 5)
        self.assertIsNone(self.slot.held)
        self.end()
        self.assertIs(self.slot.shown, SlotState.BACKOFF)

    def test_released_from_a_long_backoff(self) -> None:
        """I have mended what was wrong and do not want to wait for the backoff: release starts it at once, once."""
        self.slot.inputs.start()
        self.end()
        self.slot.inputs.release()
        self.assertEqual(len(self.made), 2)
        self.clock.advance(10.0)
        self.assertEqual(len(self.made), 2)

    def test_retired(self) -> None:
        """A retired slot is gone when its instance is."""
        self.slot.inputs.start()
        self.come_up()
        self.slot.inputs.retire()
        self.assertEqual(self.made[0].inputs.heard, ["start", "retire"])
        self.assertIs(self.slot.shown, SlotState.RETIRING)
        self.end(asked=True)
        self.assertEqual(self.slot.state, "gone")

    def test_retired_during_backoff(self) -> None:
        """It is retired while it waits to try again: nothing is started any more."""
        self.slot.inputs.start()
        self.end()
        self.slot.inputs.retire()
        self.assertEqual(self.slot.state, "gone")
        self.clock.advance(100.0)
        self.assertEqual(len(self.made), 1)

    def test_dies_while_retiring(self) -> None:
        """It crashes on its way out: gone, and not started again."""
        self.slot.inputs.start()
        self.come_up()
        self.slot.inputs.retire()
        self.end()
        self.assertEqual(self.slot.state, "gone")
        self.clock.advance(100.0)
        self.assertEqual(len(self.made), 1)

    def test_every_input_in_every_state(self) -> None:
        """Whatever happens in whatever state, the machine knows what to do, and it can always be ended."""
        ways = {
            "idle": [],
            "starting": ["start"],
            "running": ["start", "came_up"],
            "backoff": ["start", "fell"],
            "held": ["start", "gave_up"],
            "retiring": ["start", "retire"],
            "gone": ["retire"],
        }
        for state, way in ways.items():
            for happening in ("start", "came_up", "fell", "gave_up", "retire", "stop_now", "release"):
                self.setUp()
                for step in [*way, happening, "stop_now", "fell"]:
                    getattr(self.slot.inputs, step)()
                self.assertEqual(self.slot.state, "gone", (state, happening))
                self.assertEqual(self.clock.getDelayedCalls(), [])
