"""The listening sockets."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import ListenConfig
from tqserver.supervisor.listening import Listeners, ListenFault


class ListeningTests(SynchronousTestCase):
    """Opened once, inherited by many."""

    def open(self, *listen: ListenConfig, fronts: int = 2) -> Listeners:
        """Open listeners for the time of the test."""
        listeners = Listeners(listen, fronts)
        self.addCleanup(listeners.close)
        return listeners

    def folder(self) -> str:
        """A folder for the time of the test; below the test's own, paths would be too long for sockets."""
        folder = tempfile.mkdtemp(prefix="tqserver-test-")
        self.addCleanup(shutil.rmtree, folder)
        return folder

    def test_a_socket_for_each_front(self) -> None:
        """Each front has a socket of its own, all at the same port, so that the kernel spreads connections."""
        listeners = self.open(ListenConfig(address="127.0.0.1", port=0), fronts=3)
        ports = {listening.socket.getsockname()[1] for sockets in listeners.slots for listening in sockets}
        self.assertEqual(([len(sockets) for sockets in listeners.slots], len(ports)), ([1, 1, 1], 1))
        (port,) = ports
        self.assertEqual(listeners.addresses, [f"http://127.0.0.1:{port}"])

    def test_proxy_protocol(self) -> None:
        """It is known of each socket whether its connections tell whose they are."""
        listeners = self.open(
            ListenConfig(address="127.0.0.1", port=0),
            ListenConfig(address="127.0.0.1", port=0, proxy_protocol=True),
            ListenConfig(unix=os.path.join(self.folder(), "a.sock"), proxy_protocol=True),
        )
        self.assertEqual(
            [[listening.proxy_protocol for listening in sockets] for sockets in listeners.slots],
            [[False, True, True]] * 2,
        )

    def test_waiting_connections_survive(self) -> None:
        """A connection that nobody has accepted waits as long as the socket is open here."""
        listeners = self.open(ListenConfig(address="127.0.0.1", port=0), fronts=1)
        listening = listeners.slots[0][0].socket
        inherited = listening.dup()
        client = socket.create_connection(listening.getsockname(), 5)
        self.addCleanup(client.close)
        client.sendall(b"x")
        inherited.close()
        connection, _ = listening.accept()
        self.addCleanup(connection.close)
        self.assertEqual(connection.recv(1), b"x")

    def test_no_new_ones(self) -> None:
        """Before the end new connections are kept out, and those that wait are not harmed, whatever they send."""
        for config in (ListenConfig(address="127.0.0.1", port=0), ListenConfig(unix=f"{self.folder()}/a.sock")):
            listeners = self.open(config, fronts=1)
            listening = listeners.slots[0][0].socket
            address = listening.getsockname()
            client = socket.socket(listening.family)
            self.addCleanup(client.close)
            client.connect(address)
            listeners.refuse_new()
            late = socket.socket(listening.family)
            self.addCleanup(late.close)
            late.settimeout(0.1)
            self.assertRaises(OSError, late.connect, address)
            client.sendall(b"x" * 1000)
            connection, _ = listening.accept()
            self.addCleanup(connection.close)
            self.assertEqual(connection.recv(1000), b"x" * 1000)
            connection.sendall(b"y")
            self.assertEqual(client.recv(1), b"y")
            self.assertRaises(BlockingIOError, listening.accept)

    def test_taken(self) -> None:
        """A port that somebody listens on is refused, with what would mend it, even if he would share it."""
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            error = self.assertRaises(ListenFault, Listeners, [ListenConfig(address="127.0.0.1", port=port)], 1)
        self.assertIn(f"port {port}: Address already in use. Who has it: ss", str(error))

    def test_all_or_none(self) -> None:
        """When one cannot be opened, none stays open."""
        path = os.path.abspath(self.mktemp())
        bad = ListenConfig(address="192.0.2.1", port=0)
        self.assertRaises(ListenFault, Listeners, [ListenConfig(unix=path), bad], 1)
        self.assertFalse(os.path.exists(path))
        self.assertRaises(ListenFault, Listeners, [ListenConfig(address="not an address", port=0)], 1)

    def test_unix(self) -> None:
        """A UNIX socket is shared by the fronts, replaces one that was left behind, and is removed at the end."""
        path = os.path.abspath(self.mktemp())
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        listeners = self.open(ListenConfig(unix=path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        listeners.close()
        self.assertFalse(os.path.exists(path))

    def test_private(self) -> None:
        """The socket for the server's own processes is in a folder that is closed to others, and goes with it."""
        folder = self.folder()
        path = f"{folder}/run/.front/front.sock"
        listeners = Listeners((ListenConfig(address="127.0.0.1", port=0),), 2, path)
        self.addCleanup(listeners.close)
        self.assertEqual(listeners.private, path)
        self.assertEqual(os.stat(os.path.dirname(path)).st_mode & 0o777, 0o700)
        self.assertEqual([[each.private for each in sockets] for sockets in listeners.slots], [[False, True]] * 2)
        self.assertNotIn(path, listeners.addresses)
        listeners.refuse_new()
        self.assertFalse(os.path.exists(path))

    def test_private_and_long(self) -> None:
        """A path that no socket can have is replaced by a shorter one, as closed to others."""
        listeners = Listeners((), 1, os.path.join(self.folder(), "x" * 100, "front.sock"))
        self.addCleanup(listeners.close)
        folder = os.path.dirname(listeners.private)
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)
        listeners.close()
        self.assertFalse(os.path.exists(folder))
