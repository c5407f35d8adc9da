"""
Connections to workers: how they are begun, and what it means that one cannot be made.

A process has only so many file descriptors, and so has the system. That there is none left is nobody's fault but ours:
the worker is as well as before.
"""

from __future__ import annotations

import errno
import socket
from typing import Protocol

from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IConnector, IReactorTCP, IReactorTime, IReactorUNIX
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from ..errors import ScarceFault, Unreachable

SCARCE = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
"""What the kernel says when there are no descriptors left, or no memory for sockets (accept(2), socket(2), open(2))."""

READ_AHEAD_BYTES = 64 * 1024
"""
How much of an answer the kernel takes in before we read it; it makes twice as much of it (socket(7), SO_RCVBUF). Left
to itself it takes megabytes, and we read 250 kB at a time: as much stays with us for each client that does not take it,
and with a few hundred large answers at once a turn of the reactor lasts half a second. A worker is on this host, so
that more would not be any faster.
"""


class Where(Protocol):
    """An address; an L{Endpoint<tqserver.plane.messages.Endpoint>} for one."""

    @property
    def host(self) -> str:
        """Of a TCP address."""

    @property
    def port(self) -> int:
        """Of a TCP address."""

    @property
    def path(self) -> str:
        """Of a UNIX socket, or empty."""


class IConnecting(IReactorTCP, IReactorUNIX, IReactorTime):
    """What is needed of a reactor."""


def connect(reactor: IConnecting, where: Where, factory: ClientFactory, timeout_s: float) -> IConnector | None:
    """
    Begin to connect.

    @param factory: hears how it went, always in a later turn.
    @return: L{None} if it has failed already.
    """
    try:
        if where.path:
            return reactor.connectUNIX(where.path, factory, timeout=timeout_s)
        return reactor.connectTCP(where.host, where.port, factory, timeout=timeout_s)
    except OSError:
        # A UNIX client makes its socket before anything can hear of its failure.
        reactor.callLater(0, factory.clientConnectionFailed, None, Failure())
        return None


def bound_read_ahead(transport: object) -> None:
    """Have the kernel keep less of what a worker sends ahead of us."""
    handle = getattr(transport, "getHandle", None)
    if handle is not None:
        handle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_AHEAD_BYTES)


def is_scarce(error: BaseException) -> bool:
    """Whether an error says that we are out of descriptors or memory: the kernel's own, or one of Twisted's."""
    return (getattr(error, "errno", None) or getattr(error, "osError", None)) in SCARCE


def connect_fault(reason: Failure) -> Unreachable:
    """Why no connection to a worker could be made."""
    error, detail = reason.value, reason.getErrorMessage()
    assert error is not None
    if is_scarce(error):
        return ScarceFault("The server is busy.", detail)
    late = isinstance(error, ConnectTimeout)
    return Unreachable("The worker does not accept connections.", detail, status=504 if late else 502)
