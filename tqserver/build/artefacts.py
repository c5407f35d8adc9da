"""
The builds of a worker that are kept in C{var/builds/NAME/KEY}, so that an older generation can still be
started.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection

KEPT = 3
"""Builds of one worker that are kept: the one that runs, the one that drains and one to go back to."""


def link_or_copy(source: str, target: str) -> None:
    """
    Give a file a second name, or a copy of it if that is on another file system; atomically.

    @raise OSError: neither was possible.
    """
    temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.new")
    _remove(temporary)
    try:
        os.link(source, temporary)
    except OSError:
        # Another file system, one without links, or a file of somebody else (protected_hardlinks).
        shutil.copy2(source, temporary)
    os.replace(temporary, target)
    # rename(2) does nothing, and leaves the old name, if both are the same file already.
    _remove(temporary)


def copy(source: str, target: str) -> None:
    """
    Copy a program, atomically: what becomes of the source later changes nothing.

    @raise OSError: it was not possible.
    """
    temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.new")
    _remove(temporary)
    shutil.copy2(source, temporary)
    os.replace(temporary, target)


def is_one_of(path: str, directory: str, name: str) -> bool:
    """Whether a file is, by another name, the file C{name} of one of the builds in a directory."""
    try:
        keys = os.listdir(directory)
    except FileNotFoundError:
        return False
    return any(_same(path, os.path.join(directory, key, name)) for key in keys)


def prune(directory: str, keep: Collection[str]) -> None:
    """
    Remove the builds of a directory but for the latest and those in C{keep}.

    @param keep: absolute paths of builds, or of files in them.
    @raise OSError: the directory cannot be read. That something in it cannot be removed is no error.
    """
    aged: list[tuple[int, str]] = []
    for key in os.listdir(directory):
        try:
            aged.append((os.stat(os.path.join(directory, key)).st_mtime_ns, key))
        except FileNotFoundError:
            continue
    for _, key in sorted(aged, reverse=True)[KEPT:]:
        path = os.path.join(directory, key)
        if not any((kept + "/").startswith(path + "/") for kept in keep):
            shutil.rmtree(path, ignore_errors=True)


def _same(one: str, other: str) -> bool:
    """Whether two paths lead to one file."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _remove(path: str) -> None:
    """Remove a file if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
