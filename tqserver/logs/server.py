"""
What the server says: events of L{twisted.logger} as lines that a person reads.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from zope.interface import implementer

from ..printable import printable_text
from .files import LogFile, timestamp

EVENT_LINES_MAX = 200
"""
Lines of one event that are written; a traceback of endless recursion is a thousand, and nobody reads them.
"""


def server_observer(log_file: LogFile | None, quiet: bool, stdout: TextIO | None = None) -> ServerObserver:
    """
    The observer for C{globalLogPublisher}.

    @param log_file: where to write; L{None} for no file.
    @param quiet: whether to keep off C{stdout}.
    @param stdout: L{None} for the real one.
    """
    stream = stdout if stdout is not None else sys.stdout
    return ServerObserver(log_file, None if quiet else stream)


def event_lines(event: LogEvent) -> list[str]:
    """
    An event as lines: time, level, namespace and text; a traceback, and whatever else follows, is indented
    below.

    @param event: see L{twisted.logger}; C{log_time} is in seconds since the epoch.
    """
    level = event.get("log_level")
    name = level.name if level is not None else "info"
    moment = event.get("log_time")
    when = timestamp(moment if isinstance(moment, float) else time.time())
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    first, *others = text.split("\n") if text else [""]
    if len(others) > EVENT_LINES_MAX:
        left_out = len(others) - EVENT_LINES_MAX
        half = EVENT_LINES_MAX // 2
        others = [*others[:half], f"[{left_out} lines left out]", *others[-half:]]
    namespace = printable_text(str(event.get("log_namespace", "-")))
    lines = [f"{when} {name:<8} {namespace}: {printable_text(first)}"]
    lines += [f"    {printable_text(line)}" for line in others if line.strip()]
    return lines


def worth_telling(event: LogEvent) -> bool:
    """
    Whether an operator wants to read an event. Not: debugging, and what Twisted itself remarks in passing (a
    connection that begins, a factory that stops).
    """
    level = event.get("log_level", LogLevel.info)
    if level is LogLevel.debug:
        return False
    namespace = str(event.get("log_namespace", ""))
    return level is not LogLevel.info or not namespace.startswith(("twisted.", "log_legacy"))


@implementer(ILogObserver)
class ServerObserver:
    """Writes events that are L{worth telling<worth_telling>} to a file and a stream."""

    def __init__(self, log_file: LogFile | None, stream: TextIO | None) -> None:
        """
        @param stream: L{None} for none. One that breaks is written to no more.
        """
        self._file = log_file
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        if not worth_telling(event):
            return
        lines = event_lines(event)
        if self._file is not None:
            self._file.write(lines)
        if self._stream is not None:
            self._print("".join(f"{line}\n" for line in lines))

    def reopen(self) -> None:
        """Open the file anew (USR1)."""
        if self._file is not None:
            self._file.reopen()

    def close(self) -> None:
        """Close the file; a later event would open it again."""
        if self._file is not None:
            self._file.close()

    def _print(self, text: str) -> None:
        """Write to the stream, whose encoding may not know every character."""
        stream = self._stream
        if stream is None:
            return
        encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except (OSError, ValueError):
            # Its reader has gone, or it is closed. There is nobody to tell, except the file.
            self._stream = None
            if self._file is not None:
                when = timestamp(time.time())
                self._file.write([f"{when} warn     tqserver.logs: stdout cannot be written any more"])
