"""
Who changed which file, told within milliseconds, and only if it matters.

L{make_watcher} gives an L{IWatcher}: inotify where the kernel has watches to give (L{inotify}, on
L{kernel}'s queue), looking again and again where it has not (L{polling}). Both know trees of folders rather
than files, follow what editors do when they save (L{debounce}), and do not even watch what is ignored
(L{ignore}). L{kinds} says what a change means for a worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from .ignore import Ignore
from .inotify import InotifyWatcher
from .interfaces import IWatcher, Report, Tree
from .kernel import Inotify
from .kinds import Kind, classify, foremost, source_patterns
from .polling import PollingWatcher

log = Logger()

_T = TypeVar("_T")


class IWatchingReactor(IReactorFDSet, IReactorThreads, IReactorTime):
    """What a watcher needs of a reactor."""


def make_watcher(reactor: IWatchingReactor, debounce_s: float) -> IWatcher:
    """
    The best watcher that this machine offers.

    @param debounce_s: C{file_watcher.debounce_ms} in seconds; see L{tqserver.watch.debounce}.
    """

    def in_thread(function: Callable[[], _T]) -> Deferred[_T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function)

    polling = PollingWatcher(reactor, in_thread, debounce_s)
    try:
        return InotifyWatcher(
            reactor, lambda watcher: Inotify(reactor, watcher.events, watcher.lost), polling, debounce_s
        )
    except OSError as error:
        log.warn(
            "Files are looked at every second instead of being watched: {error}; "
            "the limit is fs.inotify.max_user_instances",
            error=str(error),
        )
        return polling


def file_tree(name: str, path: str) -> Tree:
    """A L{Tree} that is one file, which need not exist, in whatever way it is saved."""
    directory, _, entry = path.rpartition("/")
    return Tree(name=name, directory=directory or "/", recursive=False, only=frozenset({entry}))


__all__ = [
    "IWatcher",
    "Ignore",
    "Kind",
    "PollingWatcher",
    "Report",
    "Tree",
    "classify",
    "file_tree",
    "foremost",
    "make_watcher",
    "source_patterns",
]
