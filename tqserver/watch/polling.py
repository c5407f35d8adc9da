"""
Looking at everything again and again: for trees that inotify cannot watch (too many folders, a network file
system).

Each look runs in a thread and remembers size, times and inode of every file; the differences between two
looks are the changes. It is slower to notice and dearer than inotify, and is never the first choice.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .ignore import Ignore
from .interfaces import IWatcher, Report, Tree
from .news import News
from .walk import Walk

log = Logger()

INTERVAL_S = 1.0
"""Pause between two looks at a tree."""

SHARE = 20.0
"""
The pause is at least this many times what the look took, so that a large tree costs a twentieth of a core.
"""

FILES_MAX = 50_000
"""Entries of one look; changes of further files go unseen, and the log says so."""

Mark = tuple[int, ...]
"""What of a file is compared."""

InThread = Callable[[Callable[[], dict[str, Mark]]], "Deferred[dict[str, Mark]]"]
"""Runs a function off the reactor's thread."""


def look(tree: Tree, ignore: Ignore) -> dict[str, Mark]:
    """
    The state of a tree. Blocks; meant for a thread.

    @return: absolute path to a mark that differs when the file was changed or replaced. Folders' marks hold
        no time: a folder changes by what is in it.
    """
    walk = Walk(tree.directory, ignore, None if tree.recursive else lambda relative: not relative)
    marks: dict[str, Mark] = {}
    for found in islice(walk.below(), FILES_MAX):
        if tree.only and found.relative.partition("/")[0] not in tree.only | {""}:
            continue
        status = found.status
        if found.folder:
            marks[found.path] = (status.st_ino,)
        else:
            marks[found.path] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return marks


def differences(directory: str, before: dict[str, Mark], after: dict[str, Mark]) -> set[str]:
    """
    The paths that changed between two looks; the directory itself is among them if it came, went or was
    replaced.
    """
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return {directory} if directory in changed else changed


@define(eq=False)
class _Polled:
    """A tree, and the last look at it."""

    tree: Tree
    ignore: Ignore
    news: News
    marks: dict[str, Mark] | None = None
    timer: IDelayedCall | None = None


@implementer(IWatcher)
class PollingWatcher:
    """Watches by looking."""

    def __init__(
        self, clock: IReactorTime, in_thread: InThread, debounce_s: float, interval_s: float = INTERVAL_S
    ) -> None:
        """
        @param in_thread: how a look is run without blocking the reactor.
        """
        self._clock = clock
        self._in_thread = in_thread
        self._debounce_s = debounce_s
        self._interval_s = interval_s
        self._polled: dict[str, _Polled] = {}

    def watch(self, tree: Tree, callback: Report) -> None:
        """See L{IWatcher.watch}. What changed before the first look has ended goes unseen."""
        self.unwatch(tree.name)
        news = News(self._clock, tree, callback, self._debounce_s)
        polled = self._polled[tree.name] = _Polled(tree, Ignore(tree.ignore), news)
        self._look(polled)

    def unwatch(self, name: str) -> None:
        """See L{IWatcher.unwatch}."""
        polled = self._polled.pop(name, None)
        if polled is None:
            return
        polled.news.close()
        if polled.timer is not None:
            polled.timer.cancel()
            polled.timer = None

    def how(self, name: str) -> str:
        """See L{IWatcher.how}."""
        return "polling" if name in self._polled else ""

    def stop(self) -> None:
        """See L{IWatcher.stop}."""
        for name in list(self._polled):
            self.unwatch(name)

    def _look(self, polled: _Polled) -> None:
        """Begin one look."""
        polled.timer = None
        started = self._clock.seconds()
        looking = self._in_thread(lambda: look(polled.tree, polled.ignore))
        looking.addCallbacks(
            self._looked,
            self._failed,
            callbackArgs=(polled, started),
            errbackArgs=(polled, started),
        )
        looking.addErrback(lambda failure: log.failure("A look at files failed", failure))

    def _looked(self, marks: dict[str, Mark], polled: _Polled, started: float) -> None:
        """A look has ended."""
        if self._polled.get(polled.tree.name) is not polled:
            return
        if polled.marks is None:
            if len(marks) >= FILES_MAX:
                log.warn(
                    "{directory} has more than {max} files; changes of the rest are not noticed",
                    directory=polled.tree.directory,
                    max=FILES_MAX,
                )
        else:
            for path in differences(polled.tree.directory, polled.marks, marks):
                polled.news.changed(path)
        polled.marks = marks
        self._again(polled, started)

    def _failed(self, failure: Failure, polled: _Polled, started: float) -> None:
        """A look broke; the next may not."""
        log.failure("Looking at {directory} failed", failure, directory=polled.tree.directory)
        if self._polled.get(polled.tree.name) is polled:
            self._again(polled, started)

    def _again(self, polled: _Polled, started: float) -> None:
        """Arrange the next look."""
        took_s = self._clock.seconds() - started
        polled.timer = self._clock.callLater(max(self._interval_s, took_s * SHARE), self._look, polled)
