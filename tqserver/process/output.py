"""
A process's output: bytes become lines of bounded length, the last ones are kept, and a flood slows the
flooder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..printable import printable

LINE_BYTES_MAX = 16 * 1024
"""Longest line, in bytes: far more than anybody reads, and little enough to keep one for each stream."""

CONTINUED = b" [continued]"
"""Ends every piece but the last of a line that was too long."""

TAIL_LINES_MAX = 50
"""Lines kept of each process: a traceback or a panic fits in."""

TAIL_LINE_BYTES_MAX = 1024
"""What is kept of each of them, in bytes; with L{TAIL_LINES_MAX} this bounds the memory per process."""

WINDOW_S = 0.05
"""The stretch of time that L{WINDOW_COST_MAX} is for, in seconds: short, so that a pause goes unnoticed."""

WINDOW_COST_MAX = 128 * 1024
"""Output of one process that is read in one window, in bytes: 2.5 MiB a second in long lines."""

LINE_COST = 64
"""
What a line costs besides its bytes: most of the work is done per line, not per byte. 40,000 empty lines a
second.
"""


class LineSplitter:
    """
    Finds the lines in a stream of bytes, however that is cut. A carriage return before a line end goes with
    it.
    """

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """
        Take what was read.

        @return: lines, and pieces of lines, that are known now, without line ends.
        """
        *whole, begun = data.split(b"\n")
        lines: list[bytes] = []
        for rest in whole:
            self._extend(rest, lines)
            lines.append(self._take())
        self._extend(begun, lines)
        return lines

    def end(self) -> list[bytes]:
        """The stream has ended: what there is of a line that was not."""
        return [self._take()] if self._begun else []

    def _extend(self, data: bytes, lines: list[bytes]) -> None:
        """Go on with the line, and cut from it what is too long."""
        self._begun += data
        start = 0
        while len(self._begun) - start > LINE_BYTES_MAX:
            lines.append(bytes(self._begun[start : start + LINE_BYTES_MAX]) + CONTINUED)
            start += LINE_BYTES_MAX
        del self._begun[:start]

    def _take(self) -> bytes:
        """The line is whole."""
        line = bytes(self._begun)
        self._begun.clear()
        return line[:-1] if line.endswith(b"\r") else line


class Tail:
    """The last lines of a process."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES_MAX)

    def extend(self, lines: Iterable[bytes]) -> None:
        """Keep lines, and forget older ones."""
        self._lines.extend(line[:TAIL_LINE_BYTES_MAX] for line in lines)

    def lines(self) -> tuple[str, ...]:
        """The lines, oldest first, without control characters."""
        return tuple(printable(line) for line in self._lines)


class Throttle:
    """
    Lets so much be read, and no more.

    What was read fills a bucket that leaks L{WINDOW_COST_MAX} in each L{WINDOW_S}. When it is full, reading
    is paused until it is empty again. Then the pipe fills, and whoever writes into it waits.
    """

    def __init__(self, clock: IReactorTime, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._clock = clock
        self._pause = pause
        self._resume = resume
        self._level = 0.0
        self._at = clock.seconds()
        self._call: IDelayedCall | None = None
        self._ended = False

    @property
    def paused(self) -> bool:
        """Whether reading is paused now."""
        return self._call is not None

    def spend(self, size_bytes: int, lines: int) -> None:
        """So much was read."""
        if self._ended:
            return
        now = self._clock.seconds()
        # The reactor's clock may be set back; the bucket then leaks nothing for once.
        leaked = max(now - self._at, 0.0) * WINDOW_COST_MAX / WINDOW_S
        self._at = now
        self._level = max(self._level - leaked, 0.0) + size_bytes + lines * LINE_COST
        if self._level >= WINDOW_COST_MAX and self._call is None:
            self._pause()
            self._call = self._clock.callLater(self._level / WINDOW_COST_MAX * WINDOW_S, self._turn)

    def end(self) -> None:
        """Limit no more: read on if reading was paused."""
        self._ended = True
        if self._call is not None:
            self._call.cancel()
            self._turn()

    def _turn(self) -> None:
        """The bucket is empty."""
        self._call = None
        self._resume()
