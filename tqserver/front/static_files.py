"""
What is known of a file: where it lies, what its response's head says, perhaps what is in it, and whether all that still
holds.

Whether it does is looked up, not believed: the file, and every folder between it and the folder that is served, must be
what they were, by their inode and time of change. A folder that has become a symbolic link is another inode.
"""

from __future__ import annotations

import os
import stat
from email.utils import formatdate
from typing import TYPE_CHECKING

from ..http1.head import Headers, ResponseHead
from .static_conditions import CODINGS

if TYPE_CHECKING:
    from .static_places import Place

Stamp = tuple[int, int, int, int, int]
"""Everything that changes when a file's content does, and when its rights do: time of change and of modification (ns),
inode, device, size."""

Folder = tuple[bytes, int, int, int]
"""A folder on the way to a file: its path, inode, device, and its time of change (ns) if that matters, else 0."""


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of what stat(2) says."""
    return (status.st_ctime_ns, status.st_mtime_ns, status.st_ino, status.st_dev, status.st_size)


class Content:
    """
    Some bytes on the disk.

    @ivar file: absolute path.
    @ivar stamp: says whether they are still the same.
    @ivar size: how many.
    @ivar body: the bytes, if they are kept in memory.
    """

    __slots__ = ("body", "file", "size", "stamp")

    def __init__(self, file: bytes, status: os.stat_result) -> None:
        self.file = file
        self.stamp = stamp_of(status)
        self.size: int = status.st_size
        self.body: bytes | None = None

    def is_fresh(self) -> bool:
        """Whether the file is still the same."""
        try:
            status = os.lstat(self.file)
        except OSError:
            return False
        return (
            status.st_ctime_ns,
            status.st_mtime_ns,
            status.st_ino,
            status.st_dev,
            status.st_size,
        ) == self.stamp


class Variant:
    """
    One representation of a file: itself, or a compressed sibling.

    @ivar encoding: the coding of a compressed sibling; empty for the file itself.
    @ivar kind: the C{Content-Type}.
    @ivar validators: header fields that a 304 has as well.
    @ivar head: of a response with the whole.
    """

    __slots__ = ("content", "encoding", "etag", "head", "kind", "modified_s", "validators")

    def __init__(
        self,
        content: Content,
        encoding: bytes,
        etag: bytes,
        modified_s: int,
        kind: bytes,
        validators: Headers,
        others: Headers,
        status: int = 200,
        reason: bytes = b"OK",
    ) -> None:
        """
        @param validators: besides C{ETag} and C{Last-Modified}.
        @param others: what else a response with a body has.
        """
        self.content = content
        self.encoding = encoding
        self.etag = etag
        self.modified_s = modified_s
        self.kind = kind
        self.validators: Headers = [
            (b"ETag", etag),
            (b"Last-Modified", formatdate(modified_s, usegmt=True).encode("ascii")),
            *validators,
        ]
        headers = [*self.validators, *others]
        if encoding:
            headers.append((b"Content-Encoding", encoding))
        self.head = ResponseHead(status, reason, headers, content.size)


def etag_of(status: os.stat_result, encoding: bytes, unsettled_ns: int) -> bytes:
    """
    A strong entity tag (RFC 9110 section 8.8.3): it differs whenever the bytes do.

    @param unsettled_ns: the present time if the file may still change without another stamp, so that the tag is never
        taken for that of what it becomes; else 0.
    """
    tag = b'"%x-%x-%x-%x' % (
        status.st_mtime_ns,
        status.st_size,
        status.st_ino,
        abs(status.st_ctime_ns - status.st_mtime_ns),
    )
    if unsettled_ns:
        tag += b"-%x" % unsettled_ns
    if encoding:
        tag += b"-" + encoding
    return tag + b'"'


class StaticFile:
    """
    A file that a name means.

    @ivar place: where it was found.
    @ivar key: the name that was asked for.
    @ivar name: the name of the file itself: that of an index, if the key is that of a folder.
    @ivar directory: it was found as the index of a folder.
    @ivar plain: the file as it is.
    @ivar coded: compressed siblings, the best first.
    @ivar folders: between the place and the file; and the place itself, if there is no other. Its path ends in a slash
        then: it may be a link, for it is what the configuration says.
    @ivar certain: L{is_fresh} can tell whether all this still holds: there is no symbolic link on the way, and nothing
        has changed so lately that it could change again with the same stamp.
    @ivar kept: it is in the cache.
    @ivar used: it was used since the cache last looked.
    """

    __slots__ = ("certain", "coded", "directory", "folders", "kept", "key", "name", "place", "plain", "used")

    def __init__(
        self,
        place: Place,
        key: bytes,
        name: bytes,
        directory: bool,
        plain: Variant,
        coded: tuple[Variant, ...],
        folders: tuple[Folder, ...],
        certain: bool,
    ) -> None:
        self.place = place
        self.key = key
        self.name = name
        self.directory = directory
        self.plain = plain
        self.coded = coded
        self.folders = folders
        self.certain = certain
        self.kept = False
        self.used = False

    def is_fresh(self) -> bool:
        """Whether the name still means this file, and it has the same siblings. Those have to be asked themselves."""
        lstat = os.lstat
        try:
            for path, inode, device, changed_ns in self.folders:
                status = lstat(path)
                if (
                    status.st_ino != inode
                    or status.st_dev != device
                    or (changed_ns and status.st_ctime_ns != changed_ns)
                ):
                    return False
            content = self.plain.content
            status = lstat(content.file)
        except OSError:
            return False
        return (
            status.st_ctime_ns,
            status.st_mtime_ns,
            status.st_ino,
            status.st_dev,
            status.st_size,
        ) == content.stamp

    def variant(self, accepted: frozenset[bytes]) -> Variant:
        """What suits the client best."""
        for variant in self.coded:
            if variant.encoding in accepted:
                return variant
        return self.plain


def siblings(file: bytes, newest_s: float) -> list[tuple[bytes, bytes, os.stat_result]]:
    """
    The compressed forms of a file that lie beside it.

    @param newest_s: older ones are of something else.
    @return: path, coding and status of each.
    """
    found = []
    for coding, suffix in CODINGS:
        try:
            status = os.lstat(file + suffix)
        except OSError:
            # That there is none is the rule.
            continue
        if stat.S_ISREG(status.st_mode) and status.st_mtime >= newest_s:
            found.append((file + suffix, coding, status))
    return found
