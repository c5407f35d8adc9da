"""The fakes that we ship behave as the real things do."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.process.fakes import Diary
from tqserver.process.interfaces import Exit, IProbe, IRunningProcess, ISpawner, ProbeFault
from tqserver.process.spec import ProcessSpec, SpawnFault
from tqserver.testing import FakeProbe, FakeProcess, FakeSpawner

SPEC = ProcessSpec(("api",), "/", (), notify=True)


class Spawners(SynchronousTestCase):
    """Processes that do what I say."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.spawner = FakeSpawner(self.clock)
        self.diary = Diary()

    def start(self) -> FakeProcess:
        return self.spawner.spawn(SPEC, self.diary)

    def test_interfaces(self) -> None:
        """They provide what they claim."""
        verifyObject(ISpawner, self.spawner)
        verifyObject(IRunningProcess, self.start())
        verifyObject(IProbe, FakeProbe())

    def test_life(self) -> None:
        """A process speaks, is ready, and ends in a later turn."""
        process = self.start()
        process.say("one\ntwo", "stderr")
        process.notify()
        process.exit(code=3)
        self.assertEqual(self.diary.entries, [("stderr", b"one", b"two"), ("notified",)])
        self.assertFalse(process.signal_group("TERM"))
        self.clock.advance(0)
        self.assertEqual(self.diary.entries[2:], [("exited", Exit(3, None, 0.0))])
        self.assertEqual(process.last_lines(), ("one", "two"))
        self.assertRaises(AssertionError, process.exit)

    def test_signals(self) -> None:
        """KILL ends it, TERM only if it obeys; all are written down."""
        process = self.start()
        self.assertTrue(process.signal_group("TERM"))
        self.assertEqual(self.spawner.running, [process])
        self.assertTrue(process.signal_group("KILL"))
        self.clock.advance(0)
        self.assertEqual(process.signals, ["TERM", "KILL"])
        self.assertEqual(process.exit_told, Exit(None, "KILL", 0.0))
        self.spawner.obeys = {"TERM"}
        process = self.start()
        process.signal_group("TERM")
        self.assertFalse(process.alive)
        self.assertRaises(ValueError, process.signal_group, "SIGTERM")

    def test_faults(self) -> None:
        """A spawn that I want to fail does, and the next one does not."""
        self.spawner.fail_next("no go")
        self.assertRaises(SpawnFault, self.start)
        self.assertEqual(self.start().pid, 1000)
        self.assertEqual(self.start().pid, 1001)

    def test_watched(self) -> None:
        """I can act on every process that is started."""
        self.spawner.on_spawn = lambda process: process.exit(code=1)
        self.assertFalse(self.start().alive)


class Probes(SynchronousTestCase):
    """Probes that find what I say."""

    def test_answers(self) -> None:
        """Checks are answered in order."""
        probe = FakeProbe()
        first, second, third = probe.check(), probe.check(), probe.check()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        probe.answer()
        probe.answer("broken")
        self.successResultOf(first)
        self.assertEqual(self.failureResultOf(third, ProbeFault).value.reason, "broken")
        self.assertEqual((probe.checks, probe.cancelled, probe.waiting), (3, 1, []))
        self.assertRaises(AssertionError, probe.answer)
