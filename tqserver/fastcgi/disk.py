"""Looks at the disk, for L{tqserver.fastcgi.scripts}."""

from __future__ import annotations

import os
import stat

from ..errors import ScarceFault
from ..http1.connecting import is_scarce
from .scripts import Found, Identity


class DiskFiles:
    """
    The file system. A look is four system calls, because C{realpath} would be two for each folder on the way; an
    identity is one.
    """

    def look(self, path: bytes) -> Found | None:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if is_scarce(error):
                # Nothing was looked at: that it is not there would be a lie.
                raise ScarceFault("The server is busy.", str(error))
            return None
        try:
            mode = os.fstat(descriptor).st_mode
            directory = stat.S_ISDIR(mode)
            if not directory and not stat.S_ISREG(mode):
                return None
            # The kernel has resolved the path once and for all; asking it where it got leaves no room for a
            # race.
            return Found(directory, os.readlink(b"/proc/self/fd/%d" % descriptor))
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def exists(self, path: bytes) -> bool:
        return os.access(path, os.F_OK)

    def identity(self, path: bytes) -> Identity | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_ctime_ns
