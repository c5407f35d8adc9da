"""A listening UNIX socket that is not ours alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort, IReactorSocket
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure


class SharedUNIXPort(unix.Port):
    """
    A UNIX socket that other fronts and the supervisor have open, too, and go on with when we close it. C{unix.Port}
    would shut it down for all of them, and remove its path, which is the supervisor's to remove.
    """

    _shouldShutdown = False

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)


def adopt_unix_port(reactor: IReactorSocket, fd: int, factory: ServerFactory) -> IListeningPort:
    """
    Accept from a listening UNIX socket, as C{adoptStreamPort} does.

    @param fd: of the socket; it is duplicated.
    """
    adopt = cast("Callable[[object, int, ServerFactory], unix.Port]", SharedUNIXPort._fromListeningDescriptor)
    port = adopt(reactor, fd, factory)
    port.startListening()
    return cast(IListeningPort, port)
