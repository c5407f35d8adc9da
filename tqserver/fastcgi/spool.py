"""
A request body of unknown length, kept until its length is known: small ones in memory, others in a temporary
file.
"""

from __future__ import annotations

import errno
import tempfile

from ..errors import Fault, ScarceFault, ServerFault
from ..http1.connecting import is_scarce

MEMORY_BYTES_MAX = 64 * 1024
"""Bodies up to this size never see the disk."""

READ_BYTES = 65528
"""One full STDIN record."""


def _fault(error: OSError) -> Fault:
    if is_scarce(error):
        return ScarceFault("The server is busy.", str(error))
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ServerFault("There is no room for the request's body.", str(error), status=507)
    return ServerFault("The request's body could not be kept.", str(error), status=500)


class BodySpool:
    """
    Written once, then read, as often as need be. The file has no name: whatever happens, nothing is left of
    it.

    Every method raises a L{ServerFault} if the disk fails, of status 507 when it is full.

    @ivar size: bytes written.
    """

    def __init__(self, directory: str | None) -> None:
        """
        @param directory: where the file goes, L{None} for the system's directory of temporary files.
        """
        self.size = 0
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES_MAX, dir=directory)  # noqa: SIM115 - closed by close()

    def write(self, data: bytes) -> None:
        """Some of the body."""
        try:
            self._file.write(data)
        except OSError as error:
            raise _fault(error)
        self.size += len(data)

    def rewind(self) -> None:
        """Read from the beginning."""
        try:
            self._file.seek(0)
        except OSError as error:
            raise _fault(error)

    def read(self) -> bytes:
        """The next L{READ_BYTES} bytes; fewer at the end, none behind it."""
        try:
            return self._file.read(READ_BYTES)
        except OSError as error:
            raise _fault(error)

    def close(self) -> None:
        """Forget all."""
        try:
            self._file.close()
        except OSError:
            # Python flushes what is buffered when it closes a file; that it cannot does not matter any more.
            pass
