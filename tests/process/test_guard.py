"""The guard, as far as it can be seen without processes."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from tqserver.process.guard import RESTART_MAX_S, STOP_S, Guard

from .fakes import FakeProcessReactor, FakeTransport


class Guards(SynchronousTestCase):
    """The watchman is kept, and told everything."""

    def setUp(self) -> None:
        self.reactor = FakeProcessReactor()
        self.guard = Guard(self.reactor)
        self.addCleanup(self.end)

    def end(self) -> None:
        """Leave no descriptor open."""
        for transport in self.reactor.transports:
            transport.close()
        self.guard._hang_up()

    def told(self, transport: FakeTransport) -> list[str]:
        """What a watchman could read by now."""
        os.set_blocking(transport.inherited[0], False)
        try:
            return os.read(transport.inherited[0], 65536).decode().splitlines()
        except BlockingIOError:
            return []

    @property
    def watchman(self) -> FakeTransport:
        """The present one."""
        return self.reactor.transports[-1]

    def test_told_at_once(self) -> None:
        """The watchman hears of each process before the server does anything else."""
        self.guard.start()
        self.guard.add(11)
        self.guard.add(12)
        self.guard.remove(11)
        self.assertEqual(self.told(self.watchman), ["+11", "+12", "-11"])

    def test_plain_script(self) -> None:
        """It runs isolated from my Python paths, and inherits nothing but the pipe."""
        self.guard.start()
        self.assertEqual(self.watchman.argv[1:3], ["-I", "-S"])
        self.assertTrue(os.path.isabs(self.watchman.argv[3]))
        self.assertEqual(sorted(self.watchman.inherited), [0, 1])
        self.assertFalse(os.get_inheritable(self.guard._pipe))

    def test_replaced(self) -> None:
        """When it dies another one is started, and told who is there now."""
        self.guard.start()
        for pid in (11, 12, 13):
            self.guard.add(pid)
        self.watchman.end(signal=9)
        self.guard.remove(12)
        self.guard.add(14)
        self.assertIsNone(self.guard.pid)
        self.reactor.advance(RESTART_MAX_S)
        self.assertEqual(len(self.reactor.transports), 2)
        self.assertEqual(self.told(self.watchman), ["+11", "+13", "+14"])
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_dead_but_not_noticed(self) -> None:
        """Telling a watchman whose death is not known yet is no error."""
        self.guard.start()
        self.watchman.close()
        self.guard.add(11)
        self.watchman.end(code=1)
        self.reactor.advance(RESTART_MAX_S)
        self.assertEqual(self.told(self.watchman), ["+11"])

    def test_dies_again_and_again(self) -> None:
        """A watchman that cannot live is tried less and less often, and not for ever at once."""
        self.guard.start()
        for _ in range(50):
            self.watchman.end(code=1)
            self.reactor.advance(RESTART_MAX_S)
        count = len(self.reactor.transports)
        self.watchman.end(code=1)
        self.reactor.advance(0.5)
        self.assertEqual(len(self.reactor.transports), count)

    def test_cannot_be_started(self) -> None:
        """A server that cannot start its guard works on, and tries again."""
        self.reactor.refusal = OSError(errno.EAGAIN, "no more processes")
        self.guard.start()
        self.guard.add(11)
        self.reactor.refusal = None
        self.reactor.advance(RESTART_MAX_S)
        self.assertEqual(self.told(self.watchman), ["+11"])

    def test_deaf(self) -> None:
        """A watchman that does not read is killed before its pipe is closed, and replaced."""
        self.guard.start()
        pids = range(1_000_000, 1_020_000)
        for pid in pids:
            self.guard.add(pid)
            if self.watchman.signals:
                break
        self.assertEqual(self.watchman.signals, ["KILL"])

    def test_stop(self) -> None:
        """At an orderly stop it is sent home, and I am told when it has gone."""
        self.guard.start()
        self.guard.add(11)
        stopped = self.guard.stop()
        self.assertNoResult(stopped)
        self.assertEqual(self.told(self.watchman), ["+11", "bye"])
        self.watchman.end()
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_is_not_heard(self) -> None:
        """One that does not go is killed."""
        self.guard.start()
        stopped = self.guard.stop()
        self.reactor.advance(STOP_S)
        self.assertEqual(self.watchman.signals, ["KILL"])
        self.watchman.end(signal=9)
        self.successResultOf(stopped)

    def test_stop_without_watchman(self) -> None:
        """Stopping while there is none ends the wish for one."""
        self.guard.start()
        self.watchman.end(code=1)
        self.successResultOf(self.guard.stop())
        self.reactor.advance(RESTART_MAX_S)
        self.assertEqual(len(self.reactor.transports), 1)

    def test_descriptors(self) -> None:
        """Neither a start that failed nor a death leaves a descriptor open."""
        before = len(os.listdir("/proc/self/fd"))
        self.reactor.refusal = OSError(errno.EAGAIN, "no more processes")
        self.guard.start()
        self.reactor.refusal = None
        self.reactor.advance(RESTART_MAX_S)
        self.watchman.close()
        self.watchman.end(code=1)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
