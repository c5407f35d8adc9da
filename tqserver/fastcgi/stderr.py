"""What a script writes to STDERR, as lines of bounded length. Pure."""

from __future__ import annotations

from collections.abc import Callable

LINE_BYTES_MAX = 8192
"""A longer line of STDERR is cut in pieces."""

SAID_BYTES_MAX = 256 * 1024
"""What one request may write to STDERR; a script in a loop of warnings must not fill the disk."""


_SEPARATOR = b"; PHP message: "
"""What php-fpm puts between two messages of one request, in place of a line feed."""


class ErrorLines:
    """STDERR of one request, as lines."""

    def __init__(self, said: Callable[[str], None]) -> None:
        self._said = said
        self._rest = b""
        self._bytes = 0

    def add(self, data: bytes) -> None:
        """Some of STDERR."""
        if self._bytes > SAID_BYTES_MAX:
            return
        self._bytes += len(data)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LINE_BYTES_MAX:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._tell(line)
        if self._bytes > SAID_BYTES_MAX:
            self._rest = b""
            self._said(f"(more than {SAID_BYTES_MAX} bytes in one request: the rest is left out)")

    def end(self) -> None:
        """There is no more."""
        rest, self._rest = self._rest, b""
        self._tell(rest)

    def _tell(self, line: bytes) -> None:
        for part in line.rstrip(b"\r").split(_SEPARATOR):
            for at in range(0, len(part), LINE_BYTES_MAX):
                self._said(part[at : at + LINE_BYTES_MAX].decode("utf-8", "replace"))
