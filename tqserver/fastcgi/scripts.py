"""
Which PHP script answers a path: the jail, the split into script and C{PATH_INFO}, index files, the front
controller.

L{find_script} decides and is pure but for the look-ups of files, which it is given:
L{DiskFiles<tqserver.fastcgi.disk.DiskFiles>}, or a fake. A request never reaches a script outside the document root,
whatever it encodes and whatever links there are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import unquote_to_bytes

from attrs import frozen

from ..errors import ClientFault, ServerFault
from ..plane.messages import FastCGITarget

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_SLASHES = re.compile(rb"/{2,}")

PUBLIC_DOT_FOLDER = b".well-known"
"""The one name with a leading dot that the public may ask for (RFC 8615)."""


@frozen
class Found:
    """
    Something on the disk.

    @ivar directory: a directory; else a regular file.
    @ivar real: its absolute path without any symbolic link.
    """

    directory: bool
    real: bytes


Identity = tuple[int, int, int]
"""What tells one state of one file from all others."""


class Files(Protocol):
    """Looks files up, links followed. All paths are absolute."""

    def look(self, path: bytes) -> Found | None:
        """
        What is at a path.

        @return: L{None} if there is nothing that can be reached, or neither a file nor a directory.
        """

    def exists(self, path: bytes) -> bool:
        """Whether anything is at a path."""

    def identity(self, path: bytes) -> Identity | None:
        """
        Which file is at a path, and in which state. It is another one when the file was written to, moved or replaced.

        @return: L{None} if there is nothing.
        """


@frozen
class Script:
    """
    A script and the part of the path that it is told.

    @ivar root: the document root's real path.
    @ivar filename: the script's real path, somewhere below C{root}.
    @ivar name: its URL path below the mount point, beginning with a slash, decoded.
    @ivar info: what follows the script in the path: empty, or beginning with a slash.
    """

    root: bytes
    filename: bytes
    name: bytes
    info: bytes = b""


@frozen
class MissingSlash:
    """The path is a folder with an index, asked for without the slash that its relative links need."""


def decode_path(path: bytes) -> bytes:
    """
    Percent-decode a path, once, and refuse what nobody asks for in earnest.

    @param path: beginning with a slash, as the client sent it.
    @raise ClientFault: (404) a NUL, a C{.} or C{..} segment however it was encoded, or a dot file.
    """
    decoded = unquote_to_bytes(path) if b"%" in path else path
    if b"/." in decoded or b"\\" in decoded or b"\0" in decoded:
        if b"\0" in decoded:
            raise ClientFault("There is no such page.", "a NUL in the path", status=404)
        for segment in decoded.replace(b"\\", b"/").split(b"/"):
            if segment.startswith(b".") and segment != PUBLIC_DOT_FOLDER:
                raise ClientFault("There is no such page.", "a dot segment or dot file in the path", status=404)
    return decoded


def below(mount: bytes, decoded: bytes) -> bytes:
    """
    The path below a mount point.

    @param mount: such as C{/blog}, or empty for a worker that sees whole paths.
    @param decoded: a decoded path.
    @return: beginning with a slash.
    """
    if mount and decoded.startswith(mount):
        rest = decoded[len(mount) :]
        if not rest:
            return b"/"
        if rest.startswith(b"/"):
            return rest
    return decoded


def split_path(extension: bytes, path: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    The ways in which a path may be a script and its C{PATH_INFO}, the shortest script first.

    Bytes are compared as they are: no case is folded, because folding beyond ASCII changes lengths, and then
    the split lands in another place than where the match was.

    @param extension: C{.php}.
    """
    at = path.find(extension)
    while at >= 0:
        end = at + len(extension)
        is_name = at > 0 and path[at - 1 : at] != b"/"
        if is_name and (end == len(path) or path[end : end + 1] == b"/"):
            yield path[:end], path[end:]
        at = path.find(extension, end)


def names_file(path: bytes, decoded: bytes) -> bool:
    """
    Whether a path can name a file at all.

    An encoded slash is data to a framework and a separator to the disk, a line feed splits configurations'
    regular expressions in two (CVE-2019-11043): such paths are only ever the front controller's, which reads
    C{REQUEST_URI}.
    """
    if not decoded.startswith(b"/") or _CONTROL.search(decoded) or b"\\" in decoded:
        return False
    return not (b"%" in path and b"%2f" in path.lower())


def without_double_slashes(path: bytes) -> bytes:
    """The path as the disk reads it."""
    return _SLASHES.sub(b"/", path) if b"//" in path else path


def find_script(target: FastCGITarget, path: bytes, plain: bool, files: Files) -> Script | MissingSlash:
    """
    The script for a path.

    In this order: the script that the path names, with C{PATH_INFO} behind it; the index of the folder that
    it names; the front controller, without C{PATH_INFO} (as C{try_files} does: frameworks read
    C{REQUEST_URI}).

    @param path: below the mount point, from L{decode_path}.
    @param plain: what L{names_file} said.
    @raise ClientFault: (404) nothing answers this path.
    @raise ServerFault: (500) the document root is not there.
    """
    found = files.look(os.fsencode(target.document_root))
    if found is None or not found.directory:
        raise ServerFault("The application is not complete.", f"no document root: {target.document_root}", status=500)
    root = found.real
    if plain:
        script = _named(target, root, without_double_slashes(path), files)
        if script is not None:
            return script
    if target.front_controller:
        name = b"/" + os.fsencode(target.front_controller).lstrip(b"/")
        script = _script(root, name, b"", files)
        if script is not None:
            return script
    raise ClientFault("There is no such page.", f"no script answers it below {target.document_root}", status=404)


def _named(target: FastCGITarget, root: bytes, path: bytes, files: Files) -> Script | MissingSlash | None:
    extension = target.split_path.encode()
    for name, info in split_path(extension, path):
        found = files.look(root + name)
        if found is None:
            return None  # And so there is nothing below it.
        if not found.directory:
            return _jailed(root, found, name, info)
    found = files.look(root + path)
    if found is None or not found.directory:
        return None
    index = _script(root, path.rstrip(b"/") + b"/index" + extension, b"", files)
    if index is not None and not path.endswith(b"/"):
        return MissingSlash()
    return index


def _script(root: bytes, name: bytes, info: bytes, files: Files) -> Script | None:
    found = files.look(root + name)
    if found is None or found.directory:
        return None
    return _jailed(root, found, name, info)


def _jailed(root: bytes, found: Found, name: bytes, info: bytes) -> Script:
    if not found.real.startswith(root.rstrip(b"/") + b"/"):
        raise ClientFault("There is no such page.", "the script is a link out of the document root", status=404)
    return Script(root, found.real, name, info)
