"""The admin socket: who may open it."""

from __future__ import annotations

import os
import socket
import stat

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.admin.site import SOCKET_MODE, listen_admin, metrics_site


class SocketTests(SynchronousTestCase):
    """The socket itself."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.site = metrics_site(lambda: b"")
        self.path = os.path.join(self.mktemp(), "var", "admin.sock")

    def test_opened(self) -> None:
        """The socket is for our own user alone, its folder is made, and the umask is as before."""
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        listen_admin(self.reactor, self.path, self.site)
        address, factory, _, mode, _ = self.reactor.unixServers[0]
        self.assertEqual((address, mode), (self.path, SOCKET_MODE))
        self.assertIs(factory, self.site)
        self.assertTrue(os.path.isdir(os.path.dirname(self.path)))
        self.assertEqual(os.umask(0o022), 0o022)

    def test_left_behind(self) -> None:
        """A socket that a killed server left behind is replaced; a file that is none is not touched."""
        os.makedirs(os.path.dirname(self.path))
        with socket.socket(socket.AF_UNIX) as dead:
            directory = os.open(os.path.dirname(self.path), os.O_RDONLY)
            try:
                # The path of a socket is short; that of a test's folder is not.
                dead.bind(f"/proc/self/fd/{directory}/admin.sock")
            finally:
                os.close(directory)
        self.assertTrue(stat.S_ISSOCK(os.stat(self.path).st_mode))
        listen_admin(self.reactor, self.path, self.site)
        self.assertFalse(os.path.exists(self.path))
        with open(self.path, "w") as file:
            file.write("precious")
        listen_admin(self.reactor, self.path, self.site)
        self.assertTrue(os.path.exists(self.path))
