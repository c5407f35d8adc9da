"""
The kernel's inotify queue, as a Twisted file descriptor.

L{twisted.internet.inotify} gives the constants, but its C{INotify} is not used: it drops overflow events,
which have no watch descriptor; it closes itself altogether when any watched folder is deleted; it knows one
path for each watch, where two names may lead to one folder; and it hides C{errno}, without which a full
table of watches (C{ENOSPC}) looks like a missing folder. See inotify(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.abstract import FileDescriptor
from twisted.internet.inotify import (
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
)
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure

MASK = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_ONLYDIR
"""
What is a change. C{IN_MODIFY} is not among them: a file that is being written changes when it is closed,
not with every piece; nor is anything about reading.
"""

READ_BYTES_MAX = 64 * 1024
"""
One read: some thousand events, so that a burst does not hold up the reactor; the rest comes in the next
turn.
"""

_HEAD = struct.Struct("=iIII")
"""
C{struct inotify_event} without the name: watch descriptor, mask, cookie, length of the name with its
padding.
"""


class Event(NamedTuple):
    """
    One event.

    @ivar wd: the watch descriptor, or -1 for an overflow of the queue.
    @ivar mask: C{IN_*} flags.
    @ivar name: the entry of the watched folder; empty for the folder itself.
    """

    wd: int
    mask: int
    name: str


def parse_events(data: bytes) -> list[Event]:
    """
    The events of one read. The kernel never splits an event over two reads.

    @return: in order; bytes at the end that hold no whole event are left out.
    """
    events: list[Event] = []
    position = 0
    while position + _HEAD.size <= len(data):
        wd, mask, _, length = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        name = data[position : position + length].partition(b"\0")[0]
        position += length
        if position > len(data):
            break
        events.append(Event(wd, mask, os.fsdecode(name)))
    return events


class Inotify(FileDescriptor):
    """One inotify instance. It reads from the moment it is made until L{close}."""

    def __init__(
        self,
        reactor: IReactorFDSet,
        events: Callable[[list[Event]], None],
        lost: Callable[[str], None],
    ) -> None:
        """
        @param events: called with what was read, in the order of the kernel.
        @param lost: called with a reason if reading fails for good.
        @raise OSError: with C{EMFILE} if this user has too many instances
            (C{fs.inotify.max_user_instances}) or the process too many files.
        """
        super().__init__(reactor)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = events
        self._lost = lost
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise self._error("inotify")
        self.connected = 1
        self.startReading()  # type: ignore[no-untyped-call]

    def _error(self, path: str) -> OSError:
        """The failure of the last call."""
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number), path)

    def add(self, path: str, mask: int = MASK) -> int:
        """
        Watch a folder, or whatever else C{mask} is good for.

        @param mask: what to be told (C{IN_*}), and how the path is to be understood.
        @return: the watch descriptor; the same one if the folder is watched already, under whatever path.
        @raise OSError: with C{ENOSPC} if this user has too many watches (C{fs.inotify.max_user_watches}).
        """
        wd = self._libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask))
        if wd < 0:
            raise self._error(path)
        return int(wd)

    def remove(self, wd: int) -> None:
        """Watch no more. A watch that has gone in the meantime, with its folder, is no error."""
        self._libc.inotify_rm_watch(self._fd, wd)

    def close(self) -> None:
        """Give the instance back to the kernel; nothing is called any more."""
        if self._fd >= 0:
            self.connectionLost(Failure(CONNECTION_DONE))

    def fileno(self) -> int:
        """The file descriptor for the reactor."""
        return int(self._fd)

    def doRead(self) -> Failure | None:
        """Called by the reactor when there are events."""
        try:
            data = os.read(self._fd, READ_BYTES_MAX)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self._lost(str(error))
            return Failure(CONNECTION_LOST)
        self._events(parse_events(data))
        return None

    def connectionLost(self, reason: Failure) -> None:
        """Called by the reactor after a failed read, and by L{close}."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def writeSomeData(self, data: bytes) -> int:
        """Nothing is ever written."""
        return 0

    def doWrite(self) -> None:
        """Nothing is ever written."""
