"""What the uv reactor has besides what Twisted tests of every reactor."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.reactors import IReactorInstaller
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, UnsupportedAddressFamily
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.internet.unix import Server
from twisted.logger import formatEvent, globalLogPublisher
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tqserver.uv import reactor as module
from tqserver.uv.transport import Stream

from .making import UVReactor

CHECKOUT = Path(__file__).parents[2]

LOOKS_MAX = 500
"""How often a test looks, every few milliseconds, before it gives up."""


class Told(Protocol):
    """Keeps what it is told."""

    def __init__(self, case: RunningTestCase) -> None:
        self.case = case
        self.data = b""
        self.reason: type | None = None

    def connectionMade(self) -> None:
        """Another connection."""
        self.case.servers.append(self)

    def dataReceived(self, data: bytes) -> None:
        """Data."""
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        """The end."""
        self.reason = reason.type


@implementer(IFileDescriptorReceiver)
class Receiver(Told):
    """Wants descriptors."""

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """One came."""
        os.close(descriptor)
        self.data += b"fd "


class RunningTestCase(ReactorBuilder, SynchronousTestCase):  # type: ignore[misc]
    """Runs a reactor until what is expected has come."""

    reactorFactory = UVReactor
    timeout = 8

    def setUp(self) -> None:
        super().setUp()
        self.servers: list[Told] = []
        self.reactor: Any = self.buildReactor()
        self.factory = Factory.forProtocol(lambda: Told(self))  # type: ignore[arg-type]

    def until(self, *steps: Callable[[], object]) -> None:
        """
        Run until each of the steps, one after the other, says that it is content.
        """
        left = list(steps)
        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1
            while left and left[0]():
                del left[0]
            if not left or looks > LOOKS_MAX:
                self.reactor.stop()
            else:
                self.reactor.callLater(0.005, look)

        self.reactor.callWhenRunning(look)
        self.runReactor(self.reactor)
        self.assertEqual(left, [], "gave up waiting")

    def after(self, delay_s: float) -> Callable[[], bool]:
        """A step that is content after a while, counted from when it is asked first."""
        due: list[float] = []

        def passed() -> bool:
            due.append(self.reactor.seconds() + delay_s)
            return self.reactor.seconds() >= due[0]

        return passed

    def client(self, port: Any) -> socket.socket:
        """Connect, from outside of the reactor."""
        skt = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(skt.close)
        return skt


class ConnectNowTests(RunningTestCase):
    """UNIX sockets are connected to without waiting."""

    def test_both_ways(self) -> None:
        """The connection is there at once, both sides can speak, and both hear of its end."""
        path = self.mktemp()
        self.reactor.listenUNIX(path, self.factory)
        client = Told(self)
        stream = self.reactor.connect_unix_now(path, client)
        self.assertIs(client.transport, stream)
        self.assertEqual(self.servers, [client])
        stream.write(b"question")
        self.until(
            lambda: len(self.servers) == 2 and self.servers[1].data == b"question",
            lambda: self.servers[1].transport.write(b"answer") or True,  # type: ignore[union-attr, func-returns-value]
            lambda: client.data == b"answer",
            lambda: stream.loseConnection() or True,
            lambda: client.reason and self.servers[1].reason,
        )
        self.assertEqual((client.reason, self.servers[1].reason), (ConnectionDone, ConnectionDone))

    def test_cannot(self) -> None:
        """What cannot be connected to is an error at once, and costs no descriptor."""
        path = self.mktemp()

        def refused(error: type[OSError]) -> None:
            before = os.listdir("/proc/self/fd")
            self.assertRaises(error, self.reactor.connect_unix_now, path, Told(self))
            self.assertEqual(os.listdir("/proc/self/fd"), before)

        refused(FileNotFoundError)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            refused(ConnectionRefusedError)
            listening.listen(0)
            self.reactor.connect_unix_now(path, Told(self))
            refused(BlockingIOError)
        self.until(self.after(0))


class AdoptTests(RunningTestCase):
    """Sockets that come as descriptors."""

    def test_connection(self) -> None:
        """A protocol on an adopted socket can write at once; the descriptor stays the caller's to close."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        stream = self.reactor.adoptStreamConnection(theirs.fileno(), socket.AF_UNIX, self.factory)
        self.servers[0].transport.write(b"hello")  # type: ignore[union-attr]
        theirs.close()
        ours.sendall(b"hi")
        self.until(lambda: self.servers[0].data)
        self.assertEqual((ours.recv(9), self.servers[0].data), (b"hello", b"hi"))
        self.assertIsInstance(stream, Stream)

    def test_connection_ends(self) -> None:
        """When we hang up the peer sees it, although somebody else still has the socket."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        stream = self.reactor.adoptStreamConnection(theirs.fileno(), socket.AF_UNIX, self.factory)
        stream.loseConnection()
        self.until(lambda: self.servers[0].reason)
        ours.settimeout(1)
        self.assertEqual((ours.recv(9), self.servers[0].reason), (b"", ConnectionDone))

    def test_port(self) -> None:
        """An adopted port has connections of uvloop's."""
        listening = socket.create_server(("127.0.0.1", 0))
        port = self.reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, self.factory)
        listening.close()
        self.client(port).sendall(b"x")
        self.until(lambda: self.servers and self.servers[0].data)
        self.assertIsInstance(self.servers[0].transport, Stream)

    def test_family(self) -> None:
        """A family that cannot be is refused."""
        for adopt in self.reactor.adoptStreamPort, self.reactor.adoptStreamConnection:
            self.assertRaises(UnsupportedAddressFamily, adopt, 0, socket.AF_PACKET, self.factory)

    def test_descriptors(self) -> None:
        """A protocol that wants descriptors over a UNIX connection gets Twisted's own transport, and them."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        wanting = Factory.forProtocol(lambda: Receiver(self))  # type: ignore[arg-type]
        transport = self.reactor.adoptStreamConnection(theirs.fileno(), socket.AF_UNIX, wanting)
        theirs.close()
        socket.send_fds(ours, [b"x"], [0])
        self.until(lambda: self.servers[0].data)
        self.assertEqual(self.servers[0].data, b"fd x")
        self.assertIsInstance(transport, Server)


class LoopTests(RunningTestCase):
    """The event loop, which asyncio code may use."""

    def test_large(self) -> None:
        """Much data is passed through sockets whose readers are slower than their writers."""
        size_bytes = 8 * 1024 * 1024
        port = self.reactor.listenTCP(0, self.factory, interface="127.0.0.1")

        class Client(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"x" * size_bytes)
                self.transport.loseConnection()

        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port)
        connectProtocol(endpoint, Client())
        self.until(lambda: self.servers and self.servers[0].reason)
        self.assertEqual((len(self.servers[0].data), self.servers[0].reason), (size_bytes, ConnectionDone))

    def test_errors_are_logged(self) -> None:
        """What goes wrong in asyncio code is reported in Twisted's log."""
        self.reactor.event_loop.call_soon(lambda: 1 // 0)
        self.until(self.after(0.01))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_error_without_exception(self) -> None:
        """So is what asyncio only has words for."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.reactor.event_loop.call_exception_handler({"message": "odd"})
        self.assertIn("odd", [formatEvent(event) for event in events])

    def test_child_signal(self) -> None:
        """The default of SIGCHLD is back when the reactor has stopped."""
        self.until(lambda: True)
        self.reactor._uninstallHandler()
        self.assertEqual(signal.getsignal(signal.SIGCHLD), signal.SIG_DFL)


class TimeTests(RunningTestCase):
    """Timed calls."""

    def test_one_timer(self) -> None:
        """A later call needs no new timer of the loop's, an earlier one does."""
        first = self.reactor.callLater(10, lambda: None)
        timer = self.reactor._timer
        self.reactor.callLater(20, lambda: None)
        self.assertIs(self.reactor._timer, timer)
        self.reactor.callLater(5, lambda: None)
        self.assertIsNot(self.reactor._timer, timer)
        first.reset(1)
        self.assertAlmostEqual(self.reactor._timer_due, first.getTime(), 3)

    def test_order(self) -> None:
        """Calls are made in the order of their times, however they were moved."""
        made: list[str] = []
        late = self.reactor.callLater(5, made.append, "moved sooner")
        self.reactor.callLater(0.02, made.append, "second")
        gone = self.reactor.callLater(0.01, made.append, "cancelled")
        moved = self.reactor.callLater(0.001, made.append, "moved later")
        late.reset(0.005)
        moved.delay(0.03)
        gone.cancel()
        self.until(lambda: len(made) == 3)
        self.assertEqual(made, ["moved sooner", "second", "moved later"])

    def test_raises(self) -> None:
        """A call that raises does not stop those after it."""
        made: list[int] = []
        self.reactor.callLater(0, lambda: 1 // 0)
        self.reactor.callLater(0.001, made.append, 1)
        self.until(lambda: made)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class InstallTests(SynchronousTestCase):
    """How it becomes the reactor."""

    def test_plugin(self) -> None:
        """Twisted's commands know it as uv."""
        found = [plugin for plugin in getPlugins(IReactorInstaller) if plugin.shortName == "uv"]
        self.assertEqual([plugin.moduleName for plugin in found], ["tqserver.uv.reactor"])

    def test_commands(self) -> None:
        """It can be chosen on a command line."""
        code = (
            "from twisted.application.reactors import installReactor; r = installReactor('uv');"
            "r.callWhenRunning(r.stop); r.run(); print(type(r).__name__)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, timeout=30, check=True)
        self.assertEqual(done.stdout, b"UVReactor\n")

    def test_without_uvloop(self) -> None:
        """Where there is no uvloop, it says what is missing."""
        self.patch(module, "uvloop", None)
        error = self.assertRaises(ImportError, module.install)
        self.assertIn("pip install uvloop", str(error))
