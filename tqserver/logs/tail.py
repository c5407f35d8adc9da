"""The last lines of a log file, read from its end."""

from __future__ import annotations

import os

BLOCK_BYTES = 64 * 1024
READ_BYTES_MAX = 64 * 1024 * 1024
"""Of one file: what lies further back is for other tools."""

LINE_CHARACTERS_MAX = 16 * 1024
"""What is told of each line."""


def last_lines(path: str, count: int, since: str = "", containing: str = "") -> list[str]:
    """
    The last lines of a file, oldest first. To be called on a thread: it reads as much as it has to.

    @param count: at most so many.
    @param since: an ISO 8601 moment in UTC, as our logs write it; lines that begin with an earlier one end the search.
        Empty: any.
    @param containing: only lines with this text in them.
    @raise OSError: the file cannot be read. One that is not there has no lines.
    """
    found: list[str] = []
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return found
    try:
        at = os.fstat(fd).st_size
        stop = max(0, at - READ_BYTES_MAX)
        rest = b""
        while at > stop and len(found) < count:
            start = max(stop, at - BLOCK_BYTES)
            rest = os.pread(fd, at - start, start) + rest
            at = start
            first, *lines = rest.split(b"\n")
            rest = first
            if at == stop:
                lines, rest = ([first, *lines] if not stop else lines), b""
            for line in reversed(lines):
                text = line.decode("utf-8", "replace")
                if since and text[:4].isdigit() and text[10:11] == "T" and text[:24] < since:
                    return found[::-1]
                if text and containing in text:
                    found.append(text[:LINE_CHARACTERS_MAX])
                    if len(found) == count:
                        break
            if len(rest) > LINE_CHARACTERS_MAX * 4:
                rest = rest[:LINE_CHARACTERS_MAX]
    finally:
        os.close(fd)
    return found[::-1]
