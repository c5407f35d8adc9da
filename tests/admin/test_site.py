"""What an operator is told on the admin socket."""

from __future__ import annotations

import json
import os
import socket
import stat

from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tqserver.admin.site import SOCKET_MODE, admin_site, listen_admin


class SiteTests(SynchronousTestCase):
    """Documents."""

    def setUp(self) -> None:
        self.healthy = True
        self.site = admin_site(self.status, lambda: self.healthy)

    def status(self) -> dict[str, object]:
        """The status tree."""
        return {"mode": "development", "workers": []}

    def ask(self, path: bytes, method: bytes = b"GET") -> tuple[bytes, bytes]:
        """Ask for a document; the head and the body of the answer."""
        wire = StringTransport()
        channel = self.site.buildProtocol(None)
        channel.makeConnection(wire)
        channel.dataReceived(method + b" " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        head, _, body = wire.value().partition(b"\r\n\r\n")
        return head, body

    def test_status(self) -> None:
        """The status is JSON, as it is at the moment."""
        head, body = self.ask(b"/status")
        self.assertTrue(head.startswith(b"HTTP/1.1 200 "))
        self.assertIn(b"application/json", head)
        self.assertIn(b"no-store", head)
        self.assertEqual(json.loads(body), self.status())

    def test_health(self) -> None:
        """Health is 200 while every worker serves, and 503 when one does not."""
        head, body = self.ask(b"/health")
        self.assertEqual((head[:12], body), (b"HTTP/1.1 200", b"ok\n"))
        self.healthy = False
        self.assertEqual(self.ask(b"/health")[0][:12], b"HTTP/1.1 503")

    def test_nothing_else(self) -> None:
        """There is nothing else, and nothing that changes anything."""
        self.assertEqual(self.ask(b"/other")[0][:12], b"HTTP/1.1 404")
        self.assertEqual(self.ask(b"/status", b"POST")[0][:12], b"HTTP/1.1 405")

    def test_status_that_fails(self) -> None:
        """When the status cannot be told the answer is 500 and shows nothing of the inside."""

        def broken() -> dict[str, object]:
            raise RuntimeError("a secret")

        self.site = admin_site(broken, lambda: True)
        head, body = self.ask(b"/status")
        self.assertEqual(head[:12], b"HTTP/1.1 500")
        self.assertNotIn(b"secret", body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class SocketTests(SynchronousTestCase):
    """The socket itself."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.site = admin_site(dict, lambda: True)
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
