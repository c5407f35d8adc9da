"""
All files and folders below a folder, as the watcher and the fingerprints see them.

A folder is yielded before it is listed, so that whoever watches it can begin to do so in between and miss
nothing. Links to folders outside the tree are followed, each target once; links to folders inside it are
not, because their files are met there anyway; nor are links to a folder that holds the tree, which would be
a walk through everything.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator

from attrs import frozen

from .ignore import Ignore

DEPTH_MAX = 64
"""Folders within folders; more is a mistake, or a file system that lies."""


@frozen
class Found:
    """
    One file or folder.

    @ivar path: absolute, below the tree's top as it was given, even if a link led there.
    @ivar relative: the same from the top; empty for the top.
    @ivar folder: whether it is a folder that the walk enters.
    @ivar status: of the file itself, or of what a link leads to; of the link if that is missing or is not
        entered.
    @ivar link: what a symbolic link says, or empty.
    """

    path: str
    relative: str
    folder: bool
    status: os.stat_result
    link: str = ""


class Walk:
    """
    One walk.

    @ivar failed: folders that could not be read, with the reason.
    """

    def __init__(self, top: str, ignore: Ignore, follow: Callable[[str], bool] | None = None) -> None:
        """
        @param top: absolute path of the tree's top.
        @param ignore: what is neither yielded nor entered.
        @param follow: asked with a relative path before a folder is yielded; false leaves it out with all
            below.
        """
        self._top = top
        self._real = os.path.realpath(top)
        self._ignore = ignore
        self._follow = follow
        self._seen: set[tuple[int, int]] = set()
        self._links: deque[Found] = deque()
        self.failed: list[tuple[str, OSError]] = []

    def below(self, relative: str = "") -> Iterator[Found]:
        """
        Everything from this folder downwards, the folder first: then its files by name, then its folders.

        @param relative: a folder's path from the top; empty for the whole tree. Nothing is yielded if it is
            missing.
        """
        path = os.path.join(self._top, relative) if relative else self._top
        try:
            status = os.stat(path)
        except OSError as error:
            self.failed.append((path, error))
            return
        if not stat.S_ISDIR(status.st_mode):
            return
        if relative and os.path.islink(path) and not self._leads_out(path):
            return
        yield from self._folder(Found(path, relative, True, status))
        while self._links:
            # Links come after what is really in the tree, so that nothing is met under a link first.
            yield from self._folder(self._links.popleft())

    def _folder(self, first: Found) -> Iterator[Found]:
        """This folder and all below it, but for links."""
        folders = [first]
        while folders:
            folder = folders.pop()
            identity = (folder.status.st_dev, folder.status.st_ino)
            if identity in self._seen or folder.relative.count("/") > DEPTH_MAX:
                continue
            if self._follow is not None and not self._follow(folder.relative):
                continue
            self._seen.add(identity)
            yield folder
            deeper: list[Found] = []
            for entry in self._entries(folder):
                if not entry.folder:
                    yield entry
                elif entry.link:
                    self._links.append(entry)
                else:
                    deeper.append(entry)
            folders.extend(reversed(deeper))

    def _entries(self, folder: Found) -> list[Found]:
        """What is in one folder and is not ignored, sorted by name."""
        try:
            with os.scandir(folder.path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            self.failed.append((folder.path, error))
            return []
        prefix = f"{folder.relative}/" if folder.relative else ""
        found = (self._entry(entry, prefix + entry.name) for entry in entries)
        return [entry for entry in found if entry is not None]

    def _entry(self, entry: os.DirEntry[str], relative: str) -> Found | None:
        """One entry; L{None} if it is ignored or has gone in the meantime."""
        try:
            if not entry.is_symlink():
                folder = entry.is_dir(follow_symlinks=False)
                if self._ignore.ignores_entry(relative, folder):
                    return None
                return Found(entry.path, relative, folder, entry.stat(follow_symlinks=False))
            link = os.readlink(entry.path)
            folder = entry.is_dir()
            if self._ignore.ignores_entry(relative, folder):
                return None
            if folder and self._leads_out(entry.path):
                return Found(entry.path, relative, True, entry.stat(), link)
            try:
                status = entry.stat(follow_symlinks=not folder)
            except OSError:
                # It leads nowhere. That it is there, and where it points, still counts.
                status = entry.stat(follow_symlinks=False)
            return Found(entry.path, relative, False, status, link)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.failed.append((entry.path, error))
            return None

    def _leads_out(self, path: str) -> bool:
        """Whether a link's target is neither within the tree nor around it."""
        target = os.path.realpath(path)
        return not (target + "/").startswith(self._real + "/") and not (self._real + "/").startswith(
            target.rstrip("/") + "/"
        )
