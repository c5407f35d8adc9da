"""What a watcher does, whichever way it looks."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from zope.interface import Interface

Report = Callable[[frozenset[str]], None]
"""Is given absolute paths that changed. The tree's own directory among them means: look at everything."""


@frozen
class Tree:
    """
    What to watch.

    @ivar name: by which L{IWatcher.unwatch} knows it; unique within a watcher.
    @ivar directory: absolute path of the top. It need not exist, and may go and come again.
    @ivar ignore: patterns of L{tqserver.watch.ignore}; what they match is not watched at all.
    @ivar recursive: whether folders below count. If not, only the entries of C{directory} do.
    @ivar only: names of the only entries of C{directory} that count; empty for all. For single files.
    """

    name: str
    directory: str
    ignore: tuple[str, ...] = ()
    recursive: bool = True
    only: frozenset[str] = frozenset()


class IWatcher(Interface):
    """Tells what changed in trees of files. What is only read is not a change."""

    def watch(tree: Tree, callback: Report) -> None:
        """
        Watch a tree from now on; one of the same name is no longer watched.

        @param callback: called in a later turn, each time something changed, after debouncing. Files of a
            folder that is new are among the changed ones, even if they were there before we saw the folder.
            When changes may have been missed, or the directory came or went, the directory's own path is
            among them. Removed files are changed files.
        """

    def unwatch(name: str) -> None:
        """Stop watching. What was not reported yet never is. Nothing happens if there is no such tree."""

    def how(name: str) -> str:
        """How the tree is watched, for status: C{inotify}, C{polling}, or empty if it is not watched."""

    def stop() -> None:
        """
        Stop watching everything, and give back what the kernel gave. The watcher cannot be used any more.
        """
