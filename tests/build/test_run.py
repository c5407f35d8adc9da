"""Tests of L{tqserver.build.run}."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tqserver.build.model import BuildFault
from tqserver.build.recipe import Step
from tqserver.build.run import KILL_S, ToolRun
from tqserver.build.tail import Tail
from tqserver.process.interfaces import IProcessObserver
from tqserver.testing.spawning import FakeSpawner


class ToolRunTests(SynchronousTestCase):
    """What becomes of one tool."""

    def setUp(self) -> None:
        """A compiler that does what it is told."""
        self.clock = Clock()
        self.spawner = FakeSpawner(self.clock)
        self.tail = Tail()
        step = Step(
            title="cc", argv=("/bin/cc", "x.c"), directory="/w", environment={"B": "2", "A": "1"}, stop_signal="INT"
        )
        self.run_ = ToolRun(self.clock, step, self.tail)

    def start(self) -> Deferred[None]:
        """Start it, for ten seconds at most."""
        return self.run_.start(self.spawner, 10.0)

    def settle(self) -> None:
        """Let later turns of the reactor come."""
        self.clock.pump([0, 0, 0])

    def test_well(self) -> None:
        """A tool that ends well is that; its environment is what was said."""
        ended = self.start()
        verifyObject(IProcessObserver, self.run_)
        (process,) = self.spawner.processes
        self.assertEqual(process.spec.environment, (("A", "1"), ("B", "2")))
        process.say("compiling")
        process.exit(0)
        self.settle()
        self.successResultOf(ended)
        self.assertEqual(self.tail.lines(), ("compiling",))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failed(self) -> None:
        """A tool that fails is a fault with its last lines, from both streams."""
        ended = self.start()
        (process,) = self.spawner.processes
        process.say("x.c:1: error", "stderr")
        process.exit(2)
        self.settle()
        fault = self.failureResultOf(ended, BuildFault).value
        self.assertEqual((fault.kind, fault.reason), ("failed", "cc failed with exit code 2"))
        self.assertEqual(fault.output, ("x.c:1: error",))

    def test_killed_by_others(self) -> None:
        """A tool that somebody kills, such as the kernel without memory, is a fault that says so."""
        ended = self.start()
        self.spawner.processes[0].exit(signal="KILL")
        self.settle()
        self.assertIn("SIGKILL", self.failureResultOf(ended, BuildFault).value.reason)

    def test_missing(self) -> None:
        """A tool that cannot be started is missing, with the spawner's remedy."""
        self.spawner.fail_next("no cc", "apt install gcc")
        fault = self.failureResultOf(self.start(), BuildFault).value
        self.assertEqual((fault.kind, fault.reason, fault.remedy), ("missing-tool", "no cc", "apt install gcc"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_long(self) -> None:
        """A tool that takes too long is asked to end, then made to, and is a fault only once it is gone."""
        ended = self.start()
        (process,) = self.spawner.processes
        self.clock.advance(10)
        self.assertEqual(process.signals, ["INT"])
        self.assertNoResult(ended)
        self.clock.advance(KILL_S)
        self.assertEqual(process.signals, ["INT", "KILL"])
        self.settle()
        fault = self.failureResultOf(ended, BuildFault).value
        self.assertEqual(fault.kind, "timeout")
        self.assertIn("build_timeout_seconds", fault.remedy)

    def test_not_wanted(self) -> None:
        """A tool that nobody wants any more is ended, once, and killed if it does not go."""
        ended = self.start()
        (process,) = self.spawner.processes
        self.run_.end()
        self.run_.end()
        self.assertEqual(process.signals, ["INT"])
        self.clock.advance(KILL_S)
        self.settle()
        self.assertEqual(process.signals, ["INT", "KILL"])
        self.failureResultOf(ended, BuildFault)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_obedient(self) -> None:
        """A tool that goes when it is asked to is not killed."""
        self.spawner.obeys = {"INT"}
        ended = self.start()
        self.run_.end()
        self.settle()
        self.failureResultOf(ended, BuildFault)
        self.assertEqual(self.spawner.processes[0].signals, ["INT"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
