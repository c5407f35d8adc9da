"""A listening UNIX socket that is not ours alone."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import IListeningPort, IReactorSocket
from twisted.internet.protocol import ServerFactory

NO_PATH = b"\0"
"""The name of a UNIX socket that has none in the file system (unix(7))."""


def adopt_unix_port(reactor: IReactorSocket, fd: int, factory: ServerFactory) -> IListeningPort:
    """
    Accept from a listening UNIX socket that others (fronts, the supervisor) have open, too, and go on with when we
    close it. C{twisted.internet.unix.Port} takes every socket for its own: it would shut it down, for all of them, and
    remove its path, which is the supervisor's to remove. That is taken from it here, whatever class the reactor has.

    @param fd: of the socket; it is duplicated.
    """
    port: IListeningPort = reactor.adoptStreamPort(fd, socket.AF_UNIX, factory)
    port._shouldShutdown = False  # type: ignore[attr-defined]
    port._bindPath = NO_PATH  # type: ignore[attr-defined]
    return port
