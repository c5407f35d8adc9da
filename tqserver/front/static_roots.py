"""
The folders whose files a front serves, watched.

A folder is watched for the names in it, and its path, step by step and through symbolic links, for where it leads: the
folder may not be there yet, may go and come again, and may be another one tomorrow because somebody turned a link.

All roots share one inotify(7) instance. Where none can be had, or where the kernel does not hear of every change
(network and user-space file systems), a root asks its folder by itself.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet import inotify
from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from ..watch.kernel import Event, Inotify
from .static_names import ABSENT, Root, visible_names

LINKS_MAX = 40
"""Symbolic links on the way to a folder: as many as the kernel follows (path_resolution(7))."""

_ITSELF = inotify.IN_MOVE_SELF | inotify.IN_DELETE_SELF
_APPEARS = inotify.IN_CREATE | inotify.IN_MOVED_TO
_DISAPPEARS = inotify.IN_DELETE | inotify.IN_MOVED_FROM
_GONE = _ITSELF | inotify.IN_UNMOUNT | inotify.IN_IGNORED
_DONT_FOLLOW = 0x02000000
"""C{IN_DONT_FOLLOW}: watch a symbolic link itself."""
_MASK_ADD = 0x20000000
"""C{IN_MASK_ADD}: several roots may watch one folder for different reasons."""

_FOLDER_MASK = _ITSELF | _APPEARS | _DISAPPEARS | inotify.IN_ATTRIB | inotify.IN_ONLYDIR | _MASK_ADD
_STEP_MASK = _ITSELF | _DONT_FOLLOW | _MASK_ADD
_MISSING_MASK = _ITSELF | _APPEARS | inotify.IN_ONLYDIR | _MASK_ADD

LOCAL_FILE_SYSTEMS = frozenset(
    [
        "bcachefs",
        "btrfs",
        "erofs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "iso9660",
        "jfs",
        "overlay",
        "ramfs",
        "reiserfs",
        "squashfs",
        "tmpfs",
        "xfs",
        "zfs",
    ]
)
"""Those whose every change goes through this kernel, which tells of it."""

MOUNTS_FILE = "/proc/self/mountinfo"


class Notifier(Protocol):
    """What tells of changes: L{Inotify<tqserver.watch.kernel.Inotify>}."""

    def add(self, path: str, mask: int) -> int:
        """See there."""

    def remove(self, wd: int) -> None:
        """See there."""

    def close(self) -> None:
        """See there."""


MakeNotifier = Callable[[Callable[[list[Event]], None], Callable[[str], None]], Notifier]
"""Makes a notifier of who is told events, and of who is told that there will be none any more. @raise OSError: it
cannot."""


def is_local(folder: str, mounts: str) -> bool:
    """
    Whether the kernel hears of every change in a folder.

    @param folder: absolute, without symbolic links.
    @param mounts: the content of L{MOUNTS_FILE} (proc(5)).
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        # Of several on one point, the last is on top.
        if inside and len(point) >= best:
            best, kind = len(point), after.split(" ", 1)[0]
    return kind in LOCAL_FILE_SYSTEMS


class Roots:
    """All roots of a front."""

    _log = Logger()

    def __init__(self, make_notifier: MakeNotifier | None, now_ns: Callable[[], int] = time.time_ns) -> None:
        """
        @param make_notifier: L{None}: there is nobody who would tell of changes.
        @param now_ns: the time of the file system's stamps.
        """
        self._make_notifier = make_notifier
        self._now_ns = now_ns
        self._notifier: Notifier | None = None
        self._roots: dict[str, Root] = {}
        self._users: dict[int, set[Root]] = {}
        """The roots that want to know, by watch descriptor."""
        self._complained: set[str] = set()

    def open(self, path: str) -> Root:
        """
        The root at a path; L{close} it as often.

        @param path: absolute.
        """
        root = self._roots.get(path)
        if root is None:
            root = self._roots[path] = Root(path, self._now_ns)
            self._look(root)
        root.users += 1
        return root

    def close(self, root: Root) -> None:
        """A root is not needed any more."""
        root.users -= 1
        if root.users:
            return
        del self._roots[root.path]
        self._forget(root, root.watches)
        root.watches = set()
        if not self._roots and self._notifier is not None:
            self._notifier.close()
            self._notifier = None

    def retry(self) -> None:
        """Try again to be told of changes, where that was not possible: limits are raised, file systems mounted."""
        for root in self._roots.values():
            if not root.told and not root.many:
                self._look(root)

    # What the kernel tells.

    def _events(self, events: list[Event]) -> None:
        again: set[Root] = set()
        changed: set[Root] = set()
        for event in events:
            if event.wd < 0 or event.mask & inotify.IN_Q_OVERFLOW:
                # Some were lost, and nobody knows which.
                again.update(self._roots.values())
                continue
            for root in self._users.get(event.wd, ()):
                if event.mask & _GONE or (event.mask & inotify.IN_ATTRIB and not event.name):
                    again.add(root)
                elif event.wd == root.folder_wd:
                    name = os.fsencode(event.name)
                    if (event.mask & _APPEARS and root.add(name)) or (event.mask & _DISAPPEARS and root.remove(name)):
                        changed.add(root)
                elif event.mask & _APPEARS and (event.wd, os.fsencode(event.name)) == root.missing:
                    again.add(root)
        for root in again:
            if root.users:
                self._look(root)
        for root in changed - again:
            root.changed()

    def _lost(self, reason: str) -> None:
        """We will not be told any more."""
        self._notifier = None
        self._make_notifier = None
        self._users.clear()
        self._complain(reason)
        for root in self._roots.values():
            root.watches, root.folder_wd, root.missing = set(), -1, (-1, b"")
            root.forget()
            root.changed()

    # Beginning to watch.

    def _look(self, root: Root) -> None:
        """Watch a root and its way, and read its names anew."""
        before = root.watches
        root.watches = set()
        root.forget()
        root.folder_wd, root.missing = -1, (-1, b"")
        try:
            self._watch(root)
        except OSError as error:
            self._complain(error.strerror or str(error))
            # What is left of the watches would only wake us up.
            before |= root.watches
            root.watches = set()
        self._forget(root, before - root.watches)
        root.changed()

    def _watch(self, root: Root) -> None:
        """
        @raise OSError: we cannot be told of changes.
        """
        if self._notifier is None:
            if self._make_notifier is None:
                return
            self._notifier = self._make_notifier(self._events, self._lost)
        folder = self._follow(root)
        if folder is None:
            root.names, root.told = set(), True
            return
        with open(MOUNTS_FILE, encoding="utf-8", errors="surrogateescape") as file:
            if not is_local(folder, file.read()):
                return
        root.folder_wd = self._add(root, folder, _FOLDER_MASK)
        # Watched first, then read: what changes in between is told, and being told twice does no harm.
        names = visible_names(os.fsencode(folder))
        if names is None:
            root.too_many()
        else:
            root.names, root.told = names, True

    def _follow(self, root: Root) -> str | None:
        """
        Watch every step of a root's path, through symbolic links.

        @return: where it leads, without links; L{None} if it leads nowhere. Then we are told when it does.
        @raise OSError: a step cannot be watched, or cannot be seen.
        """
        at, links = "/", 0
        steps = root.path.split("/")[::-1]
        while steps:
            name = steps.pop()
            if name in ("", "."):
                continue
            if name == "..":
                at = os.path.dirname(at)
                continue
            step = os.path.join(at, name)
            status = self._step(root, at, name)
            if status is None:
                return None
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(step)
                links += 1
                if links > LINKS_MAX:
                    return None
                if target.startswith("/"):
                    at = "/"
                steps += target.split("/")[::-1]
            elif stat.S_ISDIR(status.st_mode):
                at = step
            else:
                return None
        return at

    def _step(self, root: Root, at: str, name: str) -> os.stat_result | None:
        """Watch one step, or the place where it will appear."""
        step = os.path.join(at, name)
        for last in (False, True):
            try:
                self._add(root, step, _STEP_MASK)
                return os.lstat(step)
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
            if not last:
                try:
                    root.missing = (self._add(root, at, _MISSING_MASK), os.fsencode(name))
                except OSError as error:
                    if error.errno not in ABSENT:
                        raise
                    # The folder above went this very moment; its own watch tells.
                    return None
        return None

    def _add(self, root: Root, path: str, mask: int) -> int:
        assert self._notifier is not None
        wd = self._notifier.add(path, mask)
        root.watches.add(wd)
        self._users.setdefault(wd, set()).add(root)
        return wd

    def _forget(self, root: Root, watches: Iterable[int]) -> None:
        for wd in watches:
            users = self._users.get(wd)
            if users is None:
                continue
            users.discard(root)
            if not users:
                del self._users[wd]
                if self._notifier is not None:
                    self._notifier.remove(wd)

    def _complain(self, reason: str) -> None:
        """Say once why requests cost more than they need."""
        if reason not in self._complained:
            self._complained.add(reason)
            self._log.warn("Folders of static files are asked each time, for they cannot be watched: {why}", why=reason)


def kernel_notifier(reactor: IReactorFDSet) -> MakeNotifier:
    """The kernel's inotify, read by a reactor."""
    return lambda events, lost: Inotify(reactor, events, lost)
