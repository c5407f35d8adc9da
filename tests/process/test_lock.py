"""One server per project."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import tqserver
from tqserver.process.lock import Locked, ProjectLock

HOLD = (
    "import sys; from tqserver.process.lock import ProjectLock; "
    "ProjectLock(sys.argv[1]).take(); print('held', flush=True); "
)


class LockTests(SynchronousTestCase):
    """The lock of a project directory."""

    def setUp(self) -> None:
        self.path = os.path.abspath(os.path.join(self.mktemp(), "var", "tqserver.lock"))

    def holder(self, then: str) -> subprocess.Popen[bytes]:
        """Another process that takes the lock and goes on as told."""
        environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(tqserver.__file__))}
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD + then, self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert process.stdin is not None
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.assertEqual(process.stdout.readline(), b"held\n")
        return process

    def test_take_and_release(self) -> None:
        """The lock is taken, refreshed, given back, and can be taken again; nothing but the guard file is left."""
        lock = ProjectLock(self.path)
        lock.take()
        self.assertTrue(lock.refresh())
        lock.release()
        self.assertFalse(lock.refresh())
        ProjectLock(self.path).take()
        self.assertTrue(os.path.exists(self.path))

    def test_second_server(self) -> None:
        """A second server is refused with the holder's process and host; the holder goes on holding."""
        process = self.holder("sys.stdin.read()")
        error = self.assertRaises(Locked, ProjectLock(self.path).take)
        self.assertIn(f"process {process.pid} on {socket.getfqdn()}", str(error))
        self.assertRaises(Locked, ProjectLock(self.path).take)

    def test_dead_holder(self) -> None:
        """The lock of a holder that was killed is taken over at once."""
        process = self.holder("sys.stdin.read()")
        process.kill()
        process.wait()
        lock = ProjectLock(self.path)
        lock.take()
        self.assertTrue(lock.refresh())
        self.assertEqual([name for name in os.listdir(os.path.dirname(self.path)) if str(process.pid) in name], [])
