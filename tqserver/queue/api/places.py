"""
Files that clients name, inside one directory and nowhere else.

A name is followed step by step from the directory's descriptor, and no step follows a symbolic link, so that nothing
that happens to the tree meanwhile leads out of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import ClientFault, ServerFault

NAME_BYTES_MAX = 255
DEPTH_MAX = 16

TEMPORARY = ".zapq-"
"""How the names of files begin that are being written."""

FILE_MODE = 0o600


def parts_of(name: str) -> list[str]:
    """
    The steps to a file.

    @raise ClientFault: the name is none, or would lead out of the directory.
    """
    parts = name.split("/")
    if len(parts) > DEPTH_MAX or any(
        part in ("", ".", "..") or "\0" in part or len(part.encode("utf-8", "replace")) > NAME_BYTES_MAX
        for part in parts
    ):
        raise ClientFault("file must be a name, or a path below the folder of snapshots.")
    if parts[-1].startswith(TEMPORARY):
        raise ClientFault(f"The names of snapshots do not begin with {TEMPORARY}.")
    return parts


@contextmanager
def folder_of(data: str, parts: list[str]) -> Iterator[int]:
    """
    The directory that a file is in, for as long as it is needed.

    @param data: where all files are.
    @return: its descriptor.
    @raise ClientFault: the way there has a symbolic link.
    @raise ServerFault: there is no such directory.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    fd = -1
    try:
        fd = os.open(data, flags)
        for part in parts[:-1]:
            try:
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=fd)
            except OSError as error:
                # A link is no directory, as far as O_NOFOLLOW is concerned.
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise ClientFault("The path of the file has something in it that is no folder.")
                raise
            os.close(fd)
            fd = below
        yield fd
    except OSError as error:
        raise failed(error)
    finally:
        if fd >= 0:
            os.close(fd)


def failed(error: OSError) -> ServerFault:
    """What to say of a file that could not be read or written."""
    return ServerFault(f"The file cannot be used: {error.strerror or error}.", status=500)


def open_to_read(folder: int, name: str) -> int:
    """
    Open a file.

    @raise ClientFault: it is a link, or no file.
    @raise OSError: it cannot be opened.
    """
    try:
        # Not to wait for whoever opens the other end of a pipe.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _no_file()
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_file()
    return fd


def _no_file() -> ClientFault:
    return ClientFault("That is not a regular file.")


@contextmanager
def replacing(folder: int, name: str) -> Iterator[int]:
    """
    Write a file anew: it is there under its name, whole and on the disk, when this ends well, and as it was before if
    not.

    @return: descriptor to write to.
    @raise ClientFault: there is something with that name that is no file.
    @raise OSError: it cannot be written.
    """
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _no_file()
    except FileNotFoundError:
        pass
    _remove_left(folder)
    temporary = f"{TEMPORARY}{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, FILE_MODE, dir_fd=folder)
    try:
        # Who finds it without a lock knows that its writer is gone.
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
        os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(fd)
    os.fsync(folder)


def _remove_left(folder: int) -> None:
    """Remove what others left half written when they were killed."""
    for name in os.listdir(folder):
        if not name.startswith(TEMPORARY):
            continue
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=folder)
        except OSError:
            pass  # It is being written.
        finally:
            os.close(fd)
