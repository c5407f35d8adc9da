"""
The watcher that the kernel tells.

Each tree has a watch on every folder that counts, and one on the nearest folder above its top, by which we
learn that the top itself came, went or was replaced. A folder is watched first and listed then, so that
nothing made in between is missed. What inotify cannot watch is handed to a L{PollingWatcher}.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_ISDIR,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
)
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from .ignore import Ignore
from .interfaces import IWatcher, Report, Tree
from .kernel import Event
from .news import News
from .walk import Walk

log = Logger()

FOLDERS_MAX = 8192
"""
Watched folders of one tree. A worker with more has a folder that should be ignored; the kernel allows about
a hundred thousand for all programs of a user, each of which takes a kilobyte of its memory.
"""

ANCHOR_TRIES_MAX = 100
"""Tries to find the nearest existing folder above a tree's top while folders come and go."""

CAME = IN_CREATE | IN_MOVED_TO
WENT = IN_DELETE | IN_MOVED_FROM


class IKernel(Protocol):
    """What is needed of L{tqserver.watch.kernel.Inotify}."""

    def add(self, path: str) -> int:
        """Watch a folder; C{OSError} if it cannot be."""

    def remove(self, wd: int) -> None:
        """Watch it no more."""

    def close(self) -> None:
        """Give everything back."""


class _TooMany(Exception):
    """A tree cannot be watched whole."""


@define(eq=False)
class _Branch:
    """
    A tree that is watched.

    @ivar folders: watched folders below the top, and the top; path to watch descriptor.
    @ivar anchor: the watch on the folder above the top, or -1.
    @ivar anchor_name: the entry of that folder through which the top is reached.
    """

    tree: Tree
    ignore: Ignore
    news: News
    callback: Report
    folders: dict[str, int] = field(factory=dict)
    anchor: int = -1
    anchor_name: str = ""

    @property
    def top(self) -> str:
        """The tree's top."""
        return self.tree.directory


@frozen
class _Use:
    """Why a folder is watched: as a folder of a branch, or (with an empty path) as its anchor."""

    branch: _Branch
    path: str


@implementer(IWatcher)
class InotifyWatcher:
    """Watches by inotify, and by polling what inotify cannot."""

    def __init__(
        self,
        clock: IReactorTime,
        kernel: Callable[[InotifyWatcher], IKernel],
        polling: IWatcher,
        debounce_s: float,
    ) -> None:
        """
        @param kernel: opens the kernel's queue, whose events come to L{events} and whose end comes to
            L{lost}.
        @param debounce_s: see L{tqserver.watch.debounce}.
        @raise OSError: if there can be no queue.
        """
        self._clock = clock
        self._polling = polling
        self._debounce_s = debounce_s
        self._branches: dict[str, _Branch] = {}
        self._uses: dict[int, list[_Use]] = {}
        self._kernel = kernel(self)

    def watch(self, tree: Tree, callback: Report) -> None:
        """See L{IWatcher.watch}."""
        self.unwatch(tree.name)
        news = News(self._clock, tree, callback, self._debounce_s)
        branch = self._branches[tree.name] = _Branch(tree, Ignore(tree.ignore), news, callback)
        try:
            self._plant(branch)
        except _TooMany as error:
            self._poll(branch, str(error))

    def unwatch(self, name: str) -> None:
        """See L{IWatcher.unwatch}."""
        self._polling.unwatch(name)
        branch = self._branches.pop(name, None)
        if branch is not None:
            branch.news.close()
            self._uproot(branch)

    def how(self, name: str) -> str:
        """See L{IWatcher.how}."""
        return "inotify" if name in self._branches else self._polling.how(name)

    def stop(self) -> None:
        """See L{IWatcher.stop}."""
        for name in list(self._branches):
            self.unwatch(name)
        self._polling.stop()
        self._kernel.close()

    def lost(self, reason: str) -> None:
        """The kernel's queue broke: everything is polled from now on."""
        for branch in list(self._branches.values()):
            self._poll(branch, f"inotify broke: {reason}")
            self._tell_whole(branch)

    # Watches, and who uses them.

    def _use(self, path: str, use: _Use) -> int | None:
        """
        Watch a folder for this use.

        @return: the watch descriptor, or L{None} if the folder has gone or may not be read.
        @raise _TooMany: if the kernel's table is full.
        """
        try:
            wd = self._kernel.add(path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                raise _TooMany(
                    "the kernel allows no more watches; raise the limit with: "
                    "sysctl fs.inotify.max_user_watches=524288 (and put it into /etc/sysctl.d/)"
                )
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                log.warn("{path} is not watched: {error}", path=path, error=str(error))
            return None
        uses = self._uses.setdefault(wd, [])
        if use not in uses:
            uses.append(use)
        return wd

    def _disuse(self, wd: int, use: _Use) -> None:
        """Watch it no longer for this use, and not at all if there is no other."""
        uses = self._uses.get(wd)
        if uses is None or use not in uses:
            return
        uses.remove(use)
        if not uses:
            del self._uses[wd]
            self._kernel.remove(wd)

    # Trees.

    def _tend(self, branch: _Branch, act: Callable[..., None], *args: object) -> None:
        """Do something about news that adds watches, and turn to polling if there are too many."""
        try:
            act(*args)
        except _TooMany as error:
            self._poll(branch, str(error))
            self._tell_whole(branch)

    def _poll(self, branch: _Branch, reason: str) -> None:
        """Have a tree polled from now on."""
        log.warn(
            "{directory} is looked at every second instead of being watched: {reason}",
            directory=branch.top,
            reason=reason,
        )
        self.unwatch(branch.tree.name)
        self._polling.watch(branch.tree, branch.callback)

    def _tell_whole(self, branch: _Branch) -> None:
        """Tell in a later turn that changes may have been lost on the way from inotify to polling."""

        def tell() -> None:
            if self.how(branch.tree.name):
                branch.callback(frozenset({branch.top}))

        self._clock.callLater(0, tell)

    def _plant(self, branch: _Branch) -> None:
        """Watch a tree from the top, and the folder by which the top is reached."""
        self._anchor(branch)
        self._grow(branch, "", quiet=True)

    def _uproot(self, branch: _Branch) -> None:
        """Watch nothing of a tree."""
        self._prune(branch, branch.top)
        if branch.anchor >= 0:
            self._disuse(branch.anchor, _Use(branch, ""))
            branch.anchor = -1

    def _anchor(self, branch: _Branch) -> None:
        """Watch the nearest existing folder above the top."""
        if branch.anchor >= 0:
            self._disuse(branch.anchor, _Use(branch, ""))
            branch.anchor = -1
        for _ in range(ANCHOR_TRIES_MAX):
            folder = os.path.dirname(branch.top)
            while not os.path.isdir(folder) and folder != os.path.dirname(folder):
                folder = os.path.dirname(folder)
            name = os.path.relpath(branch.top, folder).split(os.sep)[0]
            wd = self._use(folder, _Use(branch, ""))
            if wd is None:
                continue
            branch.anchor, branch.anchor_name = wd, name
            below = os.path.join(folder, name)
            if below == branch.top or not os.path.isdir(below):
                return
            # A folder nearer to the top came before our watch did.
            self._disuse(wd, _Use(branch, ""))
            branch.anchor = -1
        log.warn("It will not be noticed if {directory} is replaced", directory=branch.top)

    def _grow(self, branch: _Branch, relative: str, quiet: bool = False) -> None:
        """
        Watch a folder of a tree and what is below it.

        @param quiet: whether the files in it are not to be reported as changed.
        """
        if relative and not branch.tree.recursive:
            return
        walk = Walk(branch.top, branch.ignore, self._limit(branch))
        for found in walk.below(relative):
            if found.folder:
                wd = self._use(found.path, _Use(branch, found.path))
                if wd is None:
                    continue
                old = branch.folders.get(found.path)
                if old is not None and old != wd:
                    self._disuse(old, _Use(branch, found.path))
                branch.folders[found.path] = wd
                if len(branch.folders) > FOLDERS_MAX:
                    raise _TooMany(f"it has more than {FOLDERS_MAX} folders; should one be in file_watcher.ignore?")
            elif not quiet:
                branch.news.changed(found.path)
        for path, error in walk.failed:
            if error.errno != errno.ENOENT:
                log.warn("{path} is not watched: {error}", path=path, error=str(error))

    def _limit(self, branch: _Branch) -> Callable[[str], bool] | None:
        """Which folders a walk enters."""
        return None if branch.tree.recursive else lambda relative: not relative

    def _prune(self, branch: _Branch, path: str) -> None:
        """Watch a folder and those below it no longer."""
        gone = [folder for folder in branch.folders if folder == path or folder.startswith(path + "/")]
        for folder in gone:
            self._disuse(branch.folders.pop(folder), _Use(branch, folder))

    def _replant(self, branch: _Branch) -> None:
        """Begin anew with a tree whose top came, went or was replaced, or of which events were lost."""
        self._uproot(branch)
        branch.news.changed(branch.top)
        self._tend(branch, self._plant, branch)

    # Events.

    def events(self, events: list[Event]) -> None:
        """What the kernel tells."""
        overflowed = False
        for event in events:
            if event.mask & IN_Q_OVERFLOW:
                overflowed = True
            elif event.mask & IN_IGNORED:
                self._watch_gone(event.wd)
            elif event.name:
                for use in list(self._uses.get(event.wd, ())):
                    self._tend(use.branch, self._event, use, event)
        if overflowed:
            self._overflowed()

    def _overflowed(self) -> None:
        """Events were lost: of new folders, too, so that all watches are made anew."""
        log.warn("The kernel dropped file events (fs.inotify.max_queued_events); everything is looked at again")
        for branch in list(self._branches.values()):
            self._replant(branch)

    def _watch_gone(self, wd: int) -> None:
        """The kernel removed a watch, because its folder is gone or its file system was unmounted."""
        for use in self._uses.pop(wd, []):
            branch = use.branch
            if not use.path:
                branch.anchor = -1
            elif branch.folders.get(use.path) == wd:
                del branch.folders[use.path]
            if not use.path or use.path == branch.top:
                self._replant(branch)
            else:
                branch.news.changed(use.path)

    def _event(self, use: _Use, event: Event) -> None:
        """One event of one tree."""
        branch = use.branch
        if self._branches.get(branch.tree.name) is not branch:
            return
        if not use.path:
            if event.name == branch.anchor_name and event.mask & (CAME | WENT):
                self._replant(branch)
            return
        path = os.path.join(use.path, event.name)
        relative = os.path.relpath(path, branch.top)
        if branch.tree.only and use.path == branch.top and event.name not in branch.tree.only:
            return
        folder = bool(event.mask & IN_ISDIR) or (bool(event.mask & CAME) and os.path.isdir(path))
        if branch.ignore.ignores(relative, folder or path in branch.folders):
            return
        if folder or path in branch.folders:
            self._folder_event(branch, path, relative, event.mask)
        elif not (event.mask & IN_CREATE and _unfinished(path)):
            branch.news.changed(path)

    def _folder_event(self, branch: _Branch, path: str, relative: str, mask: int) -> None:
        """A folder, or a link to one, came, went or got other permissions."""
        if mask & WENT:
            self._prune(branch, path)
            branch.news.changed(path)
        elif mask & CAME:
            # It may have been replaced faster than we read: what is known of the old one is forgotten.
            self._prune(branch, path)
            branch.news.changed(path)
            self._grow(branch, relative)
        elif path not in branch.folders:
            self._grow(branch, relative)


def _unfinished(path: str) -> bool:
    """
    Whether a file that was just created is still empty: its writer will close it, and only that is the
    change.

    A link has its content from the start, symbolic or not.
    """
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0 and status.st_nlink == 1
