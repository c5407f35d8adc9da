"""Starting processes, as far as it can be seen without any."""

from __future__ import annotations

import errno
import os
import resource

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tqserver.config.model import ProcessLimits
from tqserver.process.interfaces import Exit, IRunningProcess, ISpawner
from tqserver.process.output import WINDOW_COST_MAX
from tqserver.process.spawn import (
    OUTPUT_AFTER_EXIT_BYTES_MAX,
    OUTPUT_AFTER_EXIT_S,
    Spawner,
    find_tools,
    identity_of,
    signal_name,
    signal_number,
)
from tqserver.process.spec import Identity, ProcessSpec, SpawnFault, Tools

from .fakes import Diary, FakeProcessReactor, FakeTransport

SPEC = ProcessSpec(("/bin/true",), "/", (("PATH", "/bin"),), notify=True)


class FakeGuard:
    """Writes down whom to watch."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def add(self, pid: int) -> None:
        self.told.append(("+", pid))

    def remove(self, pid: int) -> None:
        self.told.append(("-", pid))


class SpawnCase(SynchronousTestCase):
    """A spawner on a fake reactor, whose signals go nowhere."""

    def setUp(self) -> None:
        self.reactor = FakeProcessReactor()
        self.guard = FakeGuard()
        self.spawner = Spawner(self.reactor, self.guard, lambda: 1000.5, Tools(), privileged=False)
        self.diary = Diary()
        self.signals: list[tuple[str, int, int]] = []
        self.groups_gone = False
        self.patch(os, "killpg", self.killpg)
        self.patch(os, "kill", lambda pid, number: self.signals.append(("process", pid, number)))
        self.addCleanup(lambda: [transport.close() for transport in self.reactor.transports])

    def killpg(self, pid: int, number: int) -> None:
        if self.groups_gone:
            raise ProcessLookupError(errno.ESRCH, "no such group")
        self.signals.append(("group", pid, number))

    def start(self) -> tuple[IRunningProcess, FakeTransport]:
        process = self.spawner.spawn(SPEC, self.diary)
        return process, self.reactor.transports[-1]


class Running(SpawnCase):
    """What I hear of a process."""

    def test_life(self) -> None:
        """Output comes in lines, then the end, in a later turn, once."""
        _, transport = self.start()
        transport.say(b"one\ntw")
        transport.say(b"err\r\n", 2)
        transport.say(b"o\nrest")
        transport.end(code=3)
        heard = [("stdout", b"one"), ("stderr", b"err"), ("stdout", b"two"), ("stdout", b"rest")]
        self.assertEqual(self.diary.entries, heard)
        self.reactor.advance(0)
        self.assertEqual(self.diary.entries, [*heard, ("exited", Exit(3, None, 1000.5))])
        self.reactor.advance(100)
        self.assertEqual(len(self.diary.entries), 5)

    def test_interfaces(self) -> None:
        """Spawner and process provide what they claim."""
        verifyObject(ISpawner, self.spawner)
        verifyObject(IRunningProcess, self.start()[0])

    def test_how_it_ended(self) -> None:
        """I see the exit code or the signal."""
        for arguments, expected in (
            ({}, Exit(0, None, 1000.5)),
            ({"code": 1}, Exit(1, None, 1000.5)),
            ({"signal": 9}, Exit(None, "KILL", 1000.5)),
            ({"signal": 11}, Exit(None, "SEGV", 1000.5)),
        ):
            _, transport = self.start()
            transport.end(**arguments)
            self.reactor.advance(0)
            self.assertEqual(self.diary.entries[-1], ("exited", expected))

    def test_ready(self) -> None:
        """Ready is a newline on descriptor 3, and is told once."""
        _, transport = self.start()
        transport.say(b"x", 3)
        self.assertEqual(self.diary.entries, [])
        transport.say(b"y\n\n", 3)
        transport.say(b"\n", 3)
        self.assertEqual(self.diary.entries, [("notified",)])

    def test_guarded(self) -> None:
        """The guard knows of it for as long as it lives."""
        process, transport = self.start()
        self.assertEqual(self.guard.told, [("+", process.pid)])
        transport.die()
        self.assertEqual(self.guard.told, [("+", process.pid), ("-", process.pid)])

    def test_rest_of_the_group(self) -> None:
        """As the leader ends, its group is killed, and never signalled again."""
        process, transport = self.start()
        self.assertTrue(process.signal_group("TERM"))
        transport.die()
        self.assertFalse(process.alive)
        self.assertFalse(process.signal_group("KILL"))
        self.assertEqual(self.signals, [("group", process.pid, 15), ("group", process.pid, 9)])

    def test_group_is_gone(self) -> None:
        """That nobody is left is as it should be."""
        _, transport = self.start()
        self.groups_gone = True
        transport.end()
        self.reactor.advance(0)
        self.assertEqual(self.diary.entries, [("exited", Exit(0, None, 1000.5))])

    def test_no_group_yet(self) -> None:
        """A process that is just being started has no group yet, and is signalled itself."""
        process, _ = self.start()
        self.groups_gone = True
        self.assertTrue(process.signal_group("TERM"))
        self.assertEqual(self.signals, [("process", process.pid, 15)])

    def test_unknown_signal(self) -> None:
        """A misspelt signal is an error, whether or not the process lives."""
        process, _ = self.start()
        self.assertRaises(ValueError, process.signal_group, "SIGTERM")
        self.assertRaises(ValueError, process.signal_group, "NONE")

    def test_pipes_held_open(self) -> None:
        """A daemon that keeps the output open delays the news by a second, and is then left alone."""
        _, transport = self.start()
        transport.die()
        self.reactor.advance(OUTPUT_AFTER_EXIT_S - 0.1)
        transport.say(b"late\n")
        self.assertEqual(self.diary.entries, [("stdout", b"late")])
        self.reactor.advance(0.1)
        self.reactor.advance(0)
        self.assertEqual(self.diary.entries[1:], [("exited", Exit(0, None, 1000.5))])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_flood_after_the_end(self) -> None:
        """A daemon that floods is cut off earlier."""
        _, transport = self.start()
        transport.die()
        transport.say(b"x" * OUTPUT_AFTER_EXIT_BYTES_MAX)
        self.assertIn(1, transport.pipes)
        transport.say(b"x")
        self.assertEqual(transport.pipes, {})

    def test_flood(self) -> None:
        """All pipes of a flooder are paused, and read on later."""
        _, transport = self.start()
        transport.say(b"x" * WINDOW_COST_MAX)
        self.assertEqual([pipe.paused for pipe in transport.pipes.values()], [True] * 3)
        self.reactor.advance(1)
        self.assertEqual([pipe.paused for pipe in transport.pipes.values()], [False] * 3)

    def test_flood_and_death(self) -> None:
        """A flooder that dies is heard to the end."""
        _, transport = self.start()
        transport.say(b"x" * WINDOW_COST_MAX)
        transport.closeChildFD(3)
        transport.die()
        self.assertEqual([pipe.paused for pipe in transport.pipes.values()], [False] * 2)

    def test_last_lines(self) -> None:
        """The last lines are kept beyond the end."""
        process, transport = self.start()
        transport.say(b"panic:\x07 \xff\n")
        transport.end(code=2)
        self.assertEqual(process.last_lines(), ("panic:\\x07 \\xff",))


class Refusing(SpawnCase):
    """What cannot be started."""

    def refused(self, spec: ProcessSpec) -> SpawnFault:
        """Nothing is started, nobody is told, and no descriptor is left open."""
        before = len(os.listdir("/proc/self/fd"))
        fault = self.assertRaises(SpawnFault, self.spawner.spawn, spec, self.diary)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual((self.reactor.transports, self.guard.told, self.diary.entries), ([], [], []))
        self.assertTrue(fault.reason and fault.remedy)
        return fault

    def test_no_directory(self) -> None:
        """A folder that is gone is named."""
        self.assertIn("/none", self.refused(ProcessSpec(("true",), "/none", ())).reason)

    def test_no_program(self) -> None:
        """A program that is not where it should be is named; an empty command is told."""
        self.assertIn("/bin/none", self.refused(ProcessSpec(("bin/none",), "/", ())).reason)
        self.assertIn("no program", self.refused(ProcessSpec((), "/", ())).reason)

    def test_the_workers_own_path(self) -> None:
        """A program is looked for in the worker's PATH, not in the server's."""
        spec = ProcessSpec(("true",), "/", (("PATH", "/nowhere:/nothing"),))
        self.assertIn("/nowhere:/nothing", self.refused(spec).reason)
        self.spawner.spawn(ProcessSpec(("true",), "/", (("PATH", "bin"),)), self.diary)
        self.assertEqual(len(self.reactor.transports), 1)

    def test_not_executable(self) -> None:
        """A file that cannot be run is told apart from one that is not there."""
        path = self.mktemp()
        with open(path, "w"):
            pass
        path = os.path.abspath(path)
        self.assertEqual(self.refused(ProcessSpec((path,), "/", ())).remedy, f"chmod +x {path}")

    def test_limit_above_ours(self) -> None:
        """A limit above the server's own is told, as only root may raise it."""
        self.patch(resource, "getrlimit", lambda which: (10, 100))
        spec = ProcessSpec(("/bin/true",), "/", (), limits=ProcessLimits(open_files=101))
        self.assertIn("limits.open_files is 101", self.refused(spec).reason)
        Spawner(self.reactor, self.guard, lambda: 0.0, Tools(), privileged=True).spawn(spec, self.diary)

    def test_user(self) -> None:
        """Another user needs root; one that does not exist is told."""
        self.assertIn("root", self.refused(ProcessSpec(("/bin/true",), "/", (), user="4711")).reason)
        self.assertIn("no user", self.refused(ProcessSpec(("/bin/true",), "/", (), user="no-such")).reason)
        self.assertIn("no group", self.refused(ProcessSpec(("/bin/true",), "/", (), group="no-such")).reason)

    def test_system_refuses(self) -> None:
        """When the system has no more processes, or the environment is impossible, that is a fault."""
        for refusal in (OSError(errno.EAGAIN, "Resource temporarily unavailable"), ValueError("embedded null byte")):
            self.reactor.refusal = refusal
            self.assertIn("cannot be started", self.refused(SPEC).reason)


class Names(SynchronousTestCase):
    """Signals, users and tools by name."""

    def test_signals(self) -> None:
        """Names lead to numbers and back; a realtime signal without name is its number."""
        for name in ("TERM", "KILL", "QUIT", "CONT", "USR2"):
            self.assertEqual(signal_name(signal_number(name)), name)
        self.assertEqual(signal_name(40), "40")

    def test_identity(self) -> None:
        """Who asks for nobody, or for who we are, changes nothing; a number needs no entry."""
        self.assertIsNone(identity_of(None, None))
        self.assertIsNone(identity_of(str(os.geteuid()), str(os.getegid())))
        self.assertIsNone(identity_of(None, str(os.getegid())))
        self.assertEqual(identity_of("4711", None), Identity(4711, 4711, known=False))
        self.assertEqual(identity_of(None, "4711"), Identity(None, 4711, known=False))
        self.assertEqual(identity_of("root", "4711"), Identity(0, 4711, known=True))

    def test_tools(self) -> None:
        """A missing tool is named with its package."""
        fault = self.assertRaises(SpawnFault, find_tools, self.mktemp())
        self.assertEqual(str(fault), "setsid is not installed (apt install util-linux)")
        self.assertTrue(os.path.isabs(find_tools().setpriv))
