"""
The names in a folder, known without asking: so that a request that means no file costs no system call.

Each L{Root} is a folder whose files are served, and the set of the names right in it, which
L{tqserver.front.static_roots} fills once and keeps true. Where it cannot, a root asks the folder each time, with one
stat(2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from .static_path import is_source

NAMES_MAX = 20_000
"""Of one folder: some megabytes. The names of a larger one are not known."""

SETTLED_NS = 50_000_000
"""Time stamps of files are as coarse as the kernel's tick, 10 ms at most. What is older than this changes no more
without getting another one."""

ABSENT = frozenset([errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG])
"""Errors that mean that something is not there."""


class Root:
    """
    A folder and the names in it.

    @ivar path: absolute, as it was configured.
    @ivar names: the names right in it, without those that are never served, see L{visible_names}. Complete if C{told}.
    @ivar told: whether we are told of every change, so that a name which is not in C{names} is not in the folder.
    @ivar many: there are more than L{NAMES_MAX}.
    @ivar listeners: are called when C{names} or C{told} has changed.
    """

    def __init__(self, path: str, now_ns: Callable[[], int]) -> None:
        self.path = path
        self.base = os.fsencode(path)
        self.names: set[bytes] = set()
        self.told = False
        self.listeners: set[Callable[[], None]] = set()
        self.users = 0
        self.folder_wd = -1
        self.missing: tuple[int, bytes] = (-1, b"")
        """Where the next step of the path will appear, and its name."""
        self.watches: set[int] = set()
        self.many = False
        self._now_ns = now_ns
        self._stamp: tuple[int, ...] = ()

    def forget(self) -> None:
        """Nothing is known of the names."""
        self.names = set()
        self.told = self.many = False
        self._stamp = ()

    def too_many(self) -> None:
        """There are more names than we want to know."""
        self.forget()
        self.many = True

    def add(self, name: bytes) -> bool:
        """
        A name has appeared.

        @return: whether that is news.
        """
        if not self.told or name in self.names or not name or not is_visible(name):
            return False
        self.names.add(name)
        if len(self.names) > NAMES_MAX:
            self.too_many()
        return True

    def remove(self, name: bytes) -> bool:
        """
        A name has gone, unless it has come again since.

        @return: whether that is news.
        """
        if name not in self.names or os.path.lexists(self.base + b"/" + name):
            return False
        self.names.remove(name)
        return True

    def has(self, name: bytes) -> bool:
        """
        Whether there may be an entry with this name. False is certain.

        @param name: as it is on disk; one that is never served counts as not there.
        """
        return name in self.names if self.told else self._ask(name)

    def _ask(self, name: bytes) -> bool:
        """Look, with one stat(2) if nothing has changed since the last time."""
        if self.many:
            return True
        try:
            status = os.stat(self.base)
            stamp = (status.st_ino, status.st_dev, status.st_ctime_ns)
            if stamp != self._stamp:
                names = visible_names(self.base)
                if names is None:
                    self.too_many()
                    return True
                self.names = names
                self._stamp = stamp if self._now_ns() - status.st_ctime_ns > SETTLED_NS else ()
        except OSError as error:
            return error.errno not in ABSENT
        return name in self.names

    def changed(self) -> None:
        """Tell the listeners."""
        for listener in list(self.listeners):
            listener()


def is_visible(name: bytes) -> bool:
    """
    Whether a file or folder with this name is ever served: none is that begins with a dot, or is called like a source.
    """
    return not name.startswith(b".") and not is_source(b"/" + name)


def visible_names(folder: bytes) -> set[bytes] | None:
    """
    The names in a folder that may be served.

    @return: L{None} if they are too many.
    @raise OSError: it cannot be read.
    """
    names: set[bytes] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_visible(entry.name):
                names.add(entry.name)
                if len(names) > NAMES_MAX:
                    return None
    return names
