"""
A worker's sources as a short name: the same content gives the same name, whatever its times.

Content is read once: what was learnt of a file holds as long as its size, times and inode do. A file that
was changed only a moment ago is read again, because it could change once more within the resolution of its
times.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from hashlib import blake2b
from itertools import islice

from ..config.model import WorkerConfig
from ..watch.ignore import Ignore
from ..watch.kinds import Kind, classify
from ..watch.walk import Found, Walk
from .model import Sources

FILES_MAX = 50_000
"""
Entries of one worker that are looked at. Sources are hundreds; beyond this somebody forgot to ignore a
folder.
"""

READ_FILES_MAX = 20_000
"""Files whose content counts; of further ones size and time do."""

READ_BYTES_MAX = 256 * 1024 * 1024
"""
Bytes of content that are read in one go, for the same reason: a quarter of a second from the page cache.
"""

FILE_BYTES_MAX = 32 * 1024 * 1024
"""Of larger files, which are data rather than source, size and time count."""

SETTLED_NS = 100_000_000
"""A file is known by its times once they are this old; the clocks of file systems tick every 1 to 10 ms."""

DIGEST_BYTES = 16
CHUNK_BYTES = 1024 * 1024

Mark = tuple[int, int, int, int, int]


def digest_of(*parts: str | bytes) -> str:
    """
    A short name for these values, in hexadecimal; different values, or other borders between them, differ.
    """
    digest = blake2b(digest_size=DIGEST_BYTES // 2)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


class Fingerprints:
    """
    Takes fingerprints, and remembers what it read. One worker is looked at by one thread at a time.
    """

    def __init__(self, wall_ns: Callable[[], int]) -> None:
        """
        @param wall_ns: the time that files are stamped with, in nanoseconds since the epoch.
        """
        self._wall_ns = wall_ns
        self._known: dict[str, dict[str, tuple[Mark, bytes]]] = {}

    def take(self, worker: WorkerConfig, ignore: Ignore, beyond: Iterable[str] = (), pages: bool = False) -> Sources:
        """
        The fingerprints of a worker's files now. Blocks; meant for a thread.

        @param beyond: absolute paths of files outside the worker's folder that it is built from as well.
        @param pages: whether what is read anew for each request in development counts as well (L{Kind.PAGE}): in
            production it is read once by each process.
        """
        reading = _Reading(self._known.get(worker.name, {}), self._wall_ns())
        source = blake2b(digest_size=DIGEST_BYTES)
        settings = blake2b(digest_size=DIGEST_BYTES)
        names: list[str] = []
        newest_ns = 0

        def enters(relative: str) -> bool:
            kind = classify(worker, relative)
            if pages and (kind is Kind.PAGE or kind is Kind.PUBLIC):
                return True
            return kind is Kind.CONFIG or kind is Kind.SOURCE or kind is Kind.SETTINGS

        for found in islice(Walk(worker.directory, ignore, enters).below(), FILES_MAX):
            kind = Kind.NOTHING if found.folder else classify(worker, found.relative)
            if kind is Kind.SOURCE:
                names.append(found.relative)
                newest_ns = max(newest_ns, found.status.st_mtime_ns)
                source.update(reading.entry(found.relative, found))
            elif kind is Kind.SETTINGS or (pages and kind is Kind.PAGE):
                settings.update(reading.entry(found.relative, found))
        for path in sorted(beyond):
            status = _status(path)
            if status is not None:
                newest_ns = max(newest_ns, status.st_mtime_ns)
                source.update(reading.entry(path, Found(path, path, False, status)))
        self._known[worker.name] = reading.learnt
        return Sources(
            source=source.hexdigest(),
            settings=settings.hexdigest(),
            names=tuple(names),
            newest_s=newest_ns / 1e9,
            exact=reading.exact,
        )

    def forget(self, name: str) -> None:
        """A worker is no more."""
        self._known.pop(name, None)


def _status(path: str) -> os.stat_result | None:
    """What a file is, or L{None} if it is gone."""
    try:
        return os.stat(path)
    except OSError:
        return None


class _Reading:
    """One look at all files of a worker."""

    def __init__(self, known: dict[str, tuple[Mark, bytes]], now_ns: int) -> None:
        self._known = known
        self._settled_ns = now_ns - SETTLED_NS
        self._files = 0
        self._bytes = 0
        self.learnt: dict[str, tuple[Mark, bytes]] = {}
        self.exact = True

    def entry(self, name: str, found: Found) -> bytes:
        """What stands for one file: name, permission to execute, link and content."""
        status = found.status
        digest = blake2b(digest_size=DIGEST_BYTES)
        executable = b"x" if status.st_mode & 0o111 else b"-"
        for part in (os.fsencode(name), executable, os.fsencode(found.link), self._content(found)):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()

    def _content(self, found: Found) -> bytes:
        """What stands for a file's content."""
        status = found.status
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe or a socket could block for ever, and a link says what it is by its text.
            return b"special"
        mark = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev)
        known = self._known.get(found.path)
        if known is not None and known[0] == mark:
            self.learnt[found.path] = known
            return known[1]
        self._files += 1
        self._bytes += status.st_size
        if status.st_size > FILE_BYTES_MAX or self._files > READ_FILES_MAX or self._bytes > READ_BYTES_MAX:
            self.exact = False
            return f"{status.st_size} {status.st_mtime_ns}".encode()
        try:
            content = file_digest(found.path)
        except OSError as error:
            # It went away, or may not be read: a build will say so, if it needs the file.
            return f"error {error.errno}".encode()
        if max(status.st_mtime_ns, status.st_ctime_ns) < self._settled_ns:
            self.learnt[found.path] = (mark, content)
        return content


def file_digest(path: str) -> bytes:
    """
    The digest of a file's content. Blocks.

    @raise OSError: it cannot be read.
    """
    digest = blake2b(digest_size=DIGEST_BYTES)
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
