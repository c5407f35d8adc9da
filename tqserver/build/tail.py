"""The last lines of a tool's output, fit to be shown to people. Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

LINES_MAX = 500
"""Lines that are kept: a compiler's first screen of errors, and more."""

BYTES_MAX = 64 * 1024
"""Bytes of those lines, because they travel to the fronts and into status."""

LINE_CHARACTERS_MAX = 2000
"""Of a longer line (minified sources in an error) the beginning is kept."""

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""Escape sequences: colours, cursor movements, titles."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def clean(line: bytes) -> str:
    """A line as text: without what terminals would obey, and of bounded length."""
    text = line.decode("utf-8", "replace").rpartition("\r")[2] or line.decode("utf-8", "replace")
    return _CONTROL.sub("", _TERMINAL.sub("", text))[:LINE_CHARACTERS_MAX].rstrip()


class Tail:
    """Keeps the last lines that it is given."""

    def __init__(self, lines_max: int = LINES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._lines: deque[str] = deque()
        self._lines_max = lines_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Some more lines."""
        for line in lines:
            text = clean(line)
            self._lines.append(text)
            self._bytes += len(text.encode("utf-8", "replace")) + 1
            while len(self._lines) > self._lines_max or self._bytes > self._bytes_max:
                self._bytes -= len(self._lines.popleft().encode("utf-8", "replace")) + 1

    def lines(self) -> tuple[str, ...]:
        """What is kept, oldest first."""
        return tuple(self._lines)
