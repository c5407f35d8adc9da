"""Connections to workers: how they begin, and why they cannot."""

from __future__ import annotations

import errno
import socket

from attrs import frozen
from twisted.internet.error import ConnectBindError, ConnectionRefusedError, TimeoutError
from twisted.internet.protocol import ClientFactory
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ScarceFault
from tqserver.http1.connecting import READ_AHEAD_BYTES, bound_read_ahead, connect, connect_fault, is_scarce


@frozen
class Where:
    """An address."""

    host: str = ""
    port: int = 0
    path: str = ""


class Telling(ClientFactory):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.failures.append(reason)


class NoSockets(MemoryReactorClock):
    """A reactor that cannot make a UNIX client's socket."""

    def connectUNIX(self, address: str, factory: ClientFactory, timeout: float = 30, checkPID: int = 0) -> None:
        raise OSError(errno.EMFILE, "Too many open files")


class ConnectTests(SynchronousTestCase):
    """Beginning."""

    def test_kinds(self) -> None:
        """A path is a UNIX socket, everything else a TCP port."""
        reactor = MemoryReactorClock()
        factory = Telling()
        self.assertIsNotNone(connect(reactor, Where(path="/x"), factory, 5))  # type: ignore[arg-type]
        self.assertIsNotNone(connect(reactor, Where("127.0.0.1", 9000), factory, 5))  # type: ignore[arg-type]
        self.assertEqual((len(reactor.unixClients), reactor.tcpClients[0][:2]), (1, ("127.0.0.1", 9000)))

    def test_no_socket(self) -> None:
        """If not even a socket can be made, that is heard as any other failure: later, and once."""
        reactor, factory = NoSockets(), Telling()
        self.assertIsNone(connect(reactor, Where(path="/x"), factory, 5))  # type: ignore[arg-type]
        self.assertEqual(factory.failures, [])
        reactor.advance(0)
        (failure,) = factory.failures
        self.assertIsInstance(connect_fault(failure), ScarceFault)


class FaultTests(SynchronousTestCase):
    """Why not."""

    def test_whose(self) -> None:
        """A worker that refuses is broken, one that says nothing is late, and without descriptors it is we."""
        for error, status, scarce in (
            (ConnectionRefusedError(), 502, False),
            (TimeoutError(), 504, False),
            (ConnectBindError(errno.EMFILE, "Too many open files"), 503, True),
            (ConnectBindError(errno.EADDRNOTAVAIL, "Cannot assign"), 502, False),
            (OSError(errno.ENFILE, "Too many open files in system"), 503, True),
        ):
            fault = connect_fault(Failure(error))
            self.assertEqual((fault.status, isinstance(fault, ScarceFault)), (status, scarce), error)

    def test_scarce(self) -> None:
        """What has no number is not scarcity."""
        self.assertFalse(is_scarce(ValueError("x")))


class ReadAheadTests(SynchronousTestCase):
    """What the kernel takes of a worker's answer before we read it."""

    def test_bounded(self) -> None:
        """A worker that sends much and is not read has to wait soon."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
            theirs = server.accept()[0]
            self.addCleanup(theirs.close)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, READ_AHEAD_BYTES)
            theirs.setblocking(False)
            transport = StringTransport()
            transport.getHandle = lambda: ours  # type: ignore[attr-defined]
            bound_read_ahead(transport)
            sent = 0
            try:
                while sent < 100 * READ_AHEAD_BYTES:
                    sent += theirs.send(b"x" * READ_AHEAD_BYTES)
            except BlockingIOError:
                pass
            self.assertLess(sent, 8 * READ_AHEAD_BYTES)

    def test_no_socket(self) -> None:
        """A transport that is no socket is left alone."""
        bound_read_ahead(StringTransport())
