"""
Which file a name means, looked up on the disk.

Nothing outside of the place is ever found: no symbolic link that leads out is followed, nor one to a source.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from ..http1.head import Headers
from .content_type import content_type, is_compressed
from .static_files import Content, Folder, StaticFile, Variant, etag_of, siblings
from .static_names import ABSENT, SETTLED_NS
from .static_path import is_source
from .static_places import Place

STALE_S = 1
"""A compressed sibling may be older than its original by this (one tool wrote both); more, and it is of
another one."""

NOT_OURS = ABSENT | {errno.EACCES}
"""Errors that mean that there is no such file for us."""


class Finder:
    """Looks for files."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        """
        @param now_ns: the time of the file system's stamps.
        """
        self._now_ns = now_ns

    def find(self, place: Place, name: bytes) -> StaticFile | None:
        """
        The file that a name means.

        @param name: decoded, beginning with a slash, without dot segments (L{tqserver.front.static_path}).
        @raise OSError: something is wrong that is more than that there is none.
        """
        if not os.access(place.base + name, os.R_OK):
            # What most that get here end with; stat(2) would cost an exception.
            return None
        try:
            return self._step_by_step(place, name)
        except OSError as error:
            if error.errno in NOT_OURS:
                return None
            raise

    def _step_by_step(self, place: Place, name: bytes) -> StaticFile | None:
        """Look at every folder on the way: if none is a link, the file is where its name says."""
        path = place.base
        status = os.stat(path)
        folders: list[tuple[bytes, os.stat_result]] = [(path, status)]
        steps = name.strip(b"/").split(b"/") if name != b"/" else []
        for step in steps:
            if not stat.S_ISDIR(status.st_mode):
                return None
            path += b"/" + step
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                return self._through_links(place, name)
            if stat.S_ISDIR(status.st_mode):
                folders.append((path, status))
        directory = stat.S_ISDIR(status.st_mode)
        found = name
        if directory:
            index = self._index(place, path)
            if index is None:
                return None
            index_name, status = index
            path += b"/" + index_name
            found = name.rstrip(b"/") + b"/" + index_name
            if stat.S_ISLNK(status.st_mode):
                return self._through_links(place, name)
        elif name.endswith(b"/"):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return self._file(place, name, found, directory, path, status, folders)

    def _index(self, place: Place, folder: bytes) -> tuple[bytes, os.stat_result] | None:
        """The name of the file that stands for a folder, and its status as it is."""
        for index in place.indexes:
            try:
                return index, os.lstat(folder + b"/" + index)
            except OSError as error:
                if error.errno not in NOT_OURS:
                    raise
        return None

    def _through_links(self, place: Place, name: bytes) -> StaticFile | None:
        """Follow symbolic links, and see whether they lead out."""
        path = place.base + name
        status = os.stat(path)
        directory = stat.S_ISDIR(status.st_mode)
        found = name
        if directory:
            index = self._index(place, path.rstrip(b"/"))
            if index is None:
                return None
            found = name.rstrip(b"/") + b"/" + index[0]
            path = place.base + found
            status = os.stat(path)
        elif name.endswith(b"/"):
            return None
        file = os.path.realpath(path)
        inside = os.path.realpath(place.base).rstrip(b"/") + b"/"
        if not stat.S_ISREG(status.st_mode) or not file.startswith(inside):
            return None
        if not place.sources and is_source(file, len(inside) - 1):
            return None
        return self._file(place, name, found, directory, file, status, None)

    def _file(
        self,
        place: Place,
        key: bytes,
        name: bytes,
        directory: bool,
        path: bytes,
        status: os.stat_result,
        folders: list[tuple[bytes, os.stat_result]] | None,
    ) -> StaticFile:
        """
        Put together what is known.

        @param folders: those on the way, from the place on; L{None} if there are links among them.
        """
        now_ns = self._now_ns()
        compressible = not place.sources and not is_compressed(name)
        beside = siblings(path, status.st_mtime - STALE_S) if compressible else []
        newest_ns = max([status.st_ctime_ns, *(other.st_ctime_ns for _, _, other in beside)])
        stamps: list[Folder] = []
        if folders is not None:
            stamps = [(step, known.st_ino, known.st_dev, 0) for step, known in folders[1:]]
            if compressible or directory:
                # Which siblings and which index a folder has depends on what is in it.
                step, known = folders[-1] if stamps else (path[: path.rindex(b"/") + 1], folders[0][1])
                newest_ns = max(newest_ns, known.st_ctime_ns)
                stamps[-1:] = [(step, known.st_ino, known.st_dev, known.st_ctime_ns)]
        validators = [(b"Cache-Control", place.rules.value(name))]
        if beside:
            validators.append((b"Vary", b"Accept-Encoding"))
        kind = content_type(name)
        return StaticFile(
            place,
            key,
            name,
            directory,
            self._variant(path, status, b"", kind, validators),
            tuple(self._variant(file, known, coding, kind, validators) for file, coding, known in beside),
            tuple(stamps),
            certain=folders is not None and now_ns - newest_ns > SETTLED_NS,
        )

    def _variant(self, file: bytes, status: os.stat_result, coding: bytes, kind: bytes, validators: Headers) -> Variant:
        others = [(b"Content-Type", kind), (b"X-Content-Type-Options", b"nosniff"), (b"Accept-Ranges", b"bytes")]
        return Variant(
            Content(file, status), coding, self.etag(status, coding), int(status.st_mtime), kind, validators, others
        )

    def etag(self, status: os.stat_result, coding: bytes) -> bytes:
        """The entity tag of what stat(2) says, in a coding."""
        now_ns = self._now_ns()
        return etag_of(status, coding, 0 if now_ns - status.st_ctime_ns > SETTLED_NS else now_ns)

    def renewed(self, old: Variant, status: os.stat_result) -> Variant:
        """The same representation of a file that turned out to be another one when it was opened."""
        known = len(old.validators)
        others = [field for field in old.head.headers[known:] if field[0] != b"Content-Encoding"]
        return Variant(
            Content(old.content.file, status),
            old.encoding,
            self.etag(status, old.encoding),
            int(status.st_mtime),
            old.kind,
            old.validators[2:],
            others,
            old.head.status,
            old.head.reason,
        )


def open_regular(file: bytes) -> tuple[int, os.stat_result]:
    """
    Open a regular file that is no symbolic link, without waiting for anything.

    @return: its descriptor and status.
    @raise OSError: there is none.
    """
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ENOENT, "not a regular file", file)
    except BaseException:
        os.close(fd)
        raise
    return fd, status
