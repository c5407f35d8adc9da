"""
Accepting clients: no more than there is room for, and none that could not be served.

Clients that we do not accept wait in the kernel, which is better than to accept them and close. There are two reasons
to leave them there: as many are here as may be, or there is no file descriptor left. What the reactor would do about
the latter is to accept with one that it has kept for this, and to close: to those clients, nobody would be here.

Those who are here need descriptors, too: for connections to workers, for files. Else all of them would go to clients,
and each would wait for one that nobody gives back. So some are kept in reserve for that, and nobody is accepted until
the reserve is whole again.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorSocket, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from ..http1.adopted import adopt_unix_port
from ..http1.connecting import SCARCE

_log = Logger()

SCARCE_PAUSE_S = 0.1
"""When there were no descriptors, it is tried again after this: seldom enough to cost nothing."""

RESERVE_PAUSE_S = 1.0
"""When the reserve was given up it is not taken back before this: whoever needed it has not opened anything yet."""

COMPLAIN_PERIOD_S = 60.0
"""The operator is told of that at most this often."""

ACCEPTS_TURN_MAX = 16
"""
So many a port accepts in one go, of those that wait. Each costs 0.1 ms and brings work with it: when more come than can
be served, they wait in the kernel, and not everybody with them.
"""

ACCEPTS_MAX = 65536
"""More than the kernel lets wait."""


RESERVED = 16
"""Descriptors for the needs of those who are here: so many of them make progress at once, whatever happens."""


def _open_nothing() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class Reserve:
    """Descriptors that are open for nothing, so that they can be closed when others are needed."""

    def __init__(self, count: int = RESERVED, take: Callable[[], int] = _open_nothing) -> None:
        """
        @param take: opens something, or raises C{OSError}.
        """
        self._count = count
        self._take = take
        self._held: list[int] = []

    def fill(self) -> bool:
        """
        Take what is missing.

        @return: whether nothing is any more.
        """
        try:
            while len(self._held) < self._count:
                self._held.append(self._take())
        except OSError:
            return False
        return True

    def release(self) -> bool:
        """
        Give back all.

        @return: whether there was anything.
        """
        held, self._held = self._held, []
        for fd in held:
            os.close(fd)
        return bool(held)


class IAcceptingReactor(IReactorSocket, IReactorTime):
    """What is needed of a reactor."""


class _Accepted(socket.socket):
    """
    A socket that does not look up the enumerations of families and types whenever somebody asks for its own.

    It has to be a C{socket.socket}, as its base is not: that one is told by uvloop that its descriptor is closed, while
    any other object is closed once more, when the descriptor may be somebody else's.
    """

    __slots__ = ()

    family: int = _socket.socket.family  # type: ignore[assignment]
    type: int = _socket.socket.type  # type: ignore[assignment]


def _nobody() -> BlockingIOError:
    """What accept(2) says when nobody waits."""
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


class ScarceSocket:
    """
    A listening socket as a port sees it: nobody waits there when there is no room, or no descriptor, for anybody, or
    when the port has accepted enough in one go.

    @ivar room: how many there is room for.
    @ivar turn_max: how many may be accepted in one go.
    """

    def __init__(self, listening: socket.socket, scarce: Callable[[OSError], None]) -> None:
        """
        @param scarce: is told the kernel's error.
        """
        self._listening = listening
        self._accept: Callable[[], tuple[int, Any]] = listening._accept  # type: ignore[attr-defined]
        self._kind = int(listening.family), int(listening.type), listening.proto
        self._scarce = scarce
        self._taken = 0
        self.room = ACCEPTS_MAX
        self.turn_max = ACCEPTS_TURN_MAX

    def accept(self) -> tuple[socket.socket, Any]:
        """
        Accept somebody (accept(2)).

        C{socket.socket.accept} looks up the enumerations of families and types five times, and makes an object with
        much that no transport wants; its base does.

        @raise BlockingIOError: nobody waits, or nobody can be accepted.
        """
        if self._taken >= self.turn_max or self.room <= 0:
            self._taken = 0
            raise _nobody()
        try:
            fd, address = self._accept()
        except OSError as error:
            self._taken = 0
            if error.errno not in SCARCE:
                raise
            self._scarce(error)
            raise _nobody()
        self._taken += 1
        return _Accepted(*self._kind, fd), address

    def __getattr__(self, name: str) -> Any:
        """Everything else is the socket's own."""
        return getattr(self._listening, name)


class Accepting:
    """
    The listening ports of a front.
    """

    def __init__(
        self,
        reactor: IAcceptingReactor,
        reserve: Reserve | None = None,
        spare: Callable[[], None] = lambda: None,
    ) -> None:
        """
        @param reserve: of descriptors.
        @param spare: closes what is only kept in case that it is needed, as somebody cannot be accepted.
        """
        self._reactor = reactor
        self._spare = spare
        self._reserve = reserve or Reserve()
        self._ports: list[Any] = []
        self._sockets: list[ScarceSocket] = []
        self._room = ACCEPTS_MAX
        self._reading = True
        self._again: IDelayedCall | None = None
        self._quiet_until = 0.0

    def listen(self, fd: int, factory: ServerFactory) -> None:
        """
        Accept from a listening socket.

        @param fd: its descriptor; it is ours from now on.
        """
        with socket.socket(fileno=os.dup(fd)) as listening:
            family = listening.family
        port: Any
        if family == socket.AF_UNIX:
            port = adopt_unix_port(self._reactor, fd, factory)
        else:
            port = self._reactor.adoptStreamPort(fd, family, factory)
        os.close(fd)
        self._reserve.fill()
        port.socket = scarce = ScarceSocket(port.socket, self._out_of_descriptors)
        scarce.room = self._room
        self._sockets.append(scarce)
        self._ports.append(port)
        if not self._reading:
            port.stopReading()

    def set_room(self, room: int) -> None:
        """
        Accept so many more at most. Need be told whenever it changes.
        """
        self._room = room
        for listening in self._sockets:
            listening.room = room
        self._decide()

    def _decide(self) -> None:
        """Read from the ports, or not."""
        reading = self._room > 0 and self._again is None
        if reading is not self._reading:
            self._reading = reading
            for port in self._ports:
                if reading:
                    port.startReading()
                else:
                    port.stopReading()

    # No descriptors.

    def make_room(self) -> bool:
        """
        Somebody who is here needs a descriptor, and there was none: give up the reserve, and accept nobody until it is
        whole again.

        @return: whether there was anything left in it.
        """
        self._pause(RESERVE_PAUSE_S)
        return self._reserve.release()

    def _pause(self, delay_s: float) -> None:
        if self._again is None:
            self._again = self._reactor.callLater(delay_s, self._try_again)
            self._decide()
        elif self._again.getTime() < self._reactor.seconds() + delay_s:
            self._again.reset(delay_s)

    def _out_of_descriptors(self, error: OSError) -> None:
        self._pause(SCARCE_PAUSE_S)
        self._spare()
        now = self._reactor.seconds()
        if now >= self._quiet_until:
            self._quiet_until = now + COMPLAIN_PERIOD_S
            _log.warn("new clients have to wait: {error}", error=error.strerror)

    def _try_again(self) -> None:
        self._again = None
        if not self._reserve.fill():
            self._pause(SCARCE_PAUSE_S)
        self._decide()

    # The end.

    def accept_waiting(self) -> bool:
        """
        Accept everybody who waits, room or not: closing a socket resets what waits in it.

        @return: whether nobody waits any more; else there were no descriptors, and it can be tried again.
        """
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._reserve.release()
        # They are told of no limits from now on.
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            listening.room = listening.turn_max = ACCEPTS_MAX
        for port in self._ports:
            port.numberAccepts = ACCEPTS_MAX
            port.doRead()
        return self._again is None

    def close(self) -> None:
        """Accept nobody any more."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._reserve.release()
        ports, self._ports, self._sockets = self._ports, [], []
        for port in ports:
            port.stopListening()
