"""
The names in a folder, known without asking: so that a request that means no file costs no system call.

Each L{Root} is a folder whose files are served, and the set of the names right in it. The set is filled once and kept
true by what inotify(7) tells of the folder. Its path is watched as well, step by step and through symbolic links: the
folder may not be there yet, may go and come again, and may be another one tomorrow because somebody turned a link.

All roots of a front share one inotify instance. Where none can be had, or where the kernel does not hear of every
change (network and user-space file systems), a root asks the folder each time, with one stat(2).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet import inotify
from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from ..watch.kernel import Event, Inotify

NAMES_MAX = 20_000
"""Of one folder: some megabytes. The names of a larger one are not known."""

LINKS_MAX = 40
"""Symbolic links on the way to a folder: as many as the kernel follows (path_resolution(7))."""

SETTLED_NS = 50_000_000
"""Time stamps of files are as coarse as the kernel's tick, 10 ms at most. What is older than this changes no more
without getting another one."""

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

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

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


class Root:
    """
    A folder and the names in it.

    @ivar path: absolute, as it was configured.
    @ivar names: the names right in it, without those that begin with a dot. Complete if C{told}.
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

    def has(self, name: bytes) -> bool:
        """
        Whether there may be an entry with this name. False is certain.

        @param name: as it is on disk; one that begins with a dot counts as not there.
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
            return error.errno not in _ABSENT
        return name in self.names

    def changed(self) -> None:
        """Tell the listeners."""
        for listener in list(self.listeners):
            listener()


def visible_names(folder: bytes) -> set[bytes] | None:
    """
    The names in a folder that do not begin with a dot.

    @return: L{None} if they are too many.
    @raise OSError: it cannot be read.
    """
    names: set[bytes] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(b"."):
                names.add(entry.name)
                if len(names) > NAMES_MAX:
                    return None
    return names


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
                    if self._apply(root, event):
                        changed.add(root)
                elif event.mask & _APPEARS and (event.wd, os.fsencode(event.name)) == root.missing:
                    again.add(root)
        for root in again:
            if root.users:
                self._look(root)
        for root in changed - again:
            root.changed()

    def _apply(self, root: Root, event: Event) -> bool:
        """Take over one event of the folder itself."""
        name = os.fsencode(event.name)
        if not name or name.startswith(b".") or not root.told:
            return False
        if event.mask & _APPEARS:
            if name in root.names:
                return False
            root.names.add(name)
            if len(root.names) > NAMES_MAX:
                root.too_many()
            return True
        # It may have come again since: then the event of that is on its way, but the name is never missing.
        if event.mask & _DISAPPEARS and name in root.names and not os.path.lexists(root.base + b"/" + name):
            root.names.remove(name)
            return True
        return False

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
                if error.errno not in _ABSENT:
                    raise
            if not last:
                try:
                    root.missing = (self._add(root, at, _MISSING_MASK), os.fsencode(name))
                except OSError as error:
                    if error.errno not in _ABSENT:
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
