"""
The program of the guard: it outlives the server by a few seconds, and the workers by none.

Started by L{tqserver.process.guard} as a plain script with nothing but the standard library, so that it is
small and depends on nothing that an upgrade could take away. It reads lines from its standard input:

    - C{+PID}: the process leads a session that must not outlive the server;
    - C{-PID}: the leader has ended and was waited for: kill what is left of its session, and forget it;
    - C{bye}: the server has stopped in good order.

The end of the input means that the server is gone, however that came about: everything known is told to
terminate, and a second later killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import NamedTuple

GRACE_S = 1.0
"""From TERM to KILL, in seconds."""

GIVE_UP_S = 4.0
"""From TERM to giving up on what even KILL does not end (uninterruptible sleep), in seconds."""

POLL_S = 0.05
"""Between two looks at the process table, in seconds."""

LEFTOVER_LOOKS_MAX = 10
"""Looks at the process table for what is left of a session; more than one, because it may be forking."""

READ_BYTES_MAX = 65536
"""A pipe's usual capacity, in bytes."""


class Entry(NamedTuple):
    """One process, from its C{/proc/PID/stat} (proc_pid_stat(5)). C{started} is in clock ticks since boot."""

    pid: int
    dead: bool
    group: int
    session: int
    started: int


def parse_stat(text: str) -> Entry | None:
    """
    Read a line of C{/proc/PID/stat}; L{None} if it is not one. The name in it may hold anything, even
    brackets.
    """
    number, _, rest = text.partition(" (")
    fields = rest.rpartition(")")[2].split()
    try:
        return Entry(int(number), fields[0] in "ZX", int(fields[2]), int(fields[3]), int(fields[19]))
    except (IndexError, ValueError):
        return None


def read_stat(pid: int) -> Entry | None:
    """What the kernel says of a process; L{None} if there is none (any more)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return parse_stat(file.read())
    except OSError:
        return None


def process_table() -> list[Entry]:
    """Every process there is."""
    entries = [read_stat(int(name)) for name in os.listdir("/proc") if name.isdigit()]
    return [entry for entry in entries if entry is not None]


def members(table: list[Entry], leaders: dict[int, int | None]) -> list[int]:
    """
    The living processes that belong to leaders.

    A process id is not given out again while a group or session still has it as its number. So if another
    process than the one we knew has a leader's id now, nothing is left of that leader, and the id is somebody
    else's.

    @param leaders: when each leader was started, by its process id; L{None} if it had ended before one could
        look.
    """
    others = {
        entry.pid
        for entry in table
        if entry.pid in leaders and leaders[entry.pid] is not None and leaders[entry.pid] != entry.started
    }
    ours = leaders.keys() - others
    return [
        entry.pid
        for entry in table
        if not entry.dead and (entry.pid in ours or entry.group in ours or entry.session in ours)
    ]


def tell_one(pid: int, number: int) -> None:
    """Signal a process; one that is gone, or may not be signalled, is passed over."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def tell(pids: list[int], *numbers: int) -> None:
    """Send each process each signal."""
    for pid in pids:
        for number in numbers:
            tell_one(pid, number)


def finish(leaders: dict[int, int | None]) -> None:
    """Kill what is left of sessions whose leaders have ended."""
    for _ in range(LEFTOVER_LOOKS_MAX):
        left = members(process_table(), leaders)
        if not left:
            return
        tell(left, signal.SIGKILL)
        time.sleep(POLL_S)


def end_all(leaders: dict[int, int | None]) -> None:
    """The server is gone: end everything."""
    began = time.monotonic()
    told: set[int] = set()
    while time.monotonic() - began < GIVE_UP_S:
        left = members(process_table(), leaders)
        if not left:
            return
        if time.monotonic() - began < GRACE_S:
            # A stopped process takes its TERM only when it is continued.
            tell([pid for pid in left if pid not in told], signal.SIGTERM, signal.SIGCONT)
            told.update(left)
        else:
            tell(left, signal.SIGKILL)
        time.sleep(POLL_S)


def watch(source: int) -> None:
    """Read what the server says until it says no more."""
    leaders: dict[int, int | None] = {}
    begun = b""
    while True:
        data = os.read(source, READ_BYTES_MAX)
        if not data:
            end_all(leaders)
            return
        *lines, begun = (begun + data).split(b"\n")
        ended: dict[int, int | None] = {}
        for line in lines:
            if line == b"bye":
                return
            pid = int(line[1:])
            if line[:1] == b"+":
                entry = read_stat(pid)
                leaders[pid] = entry.started if entry is not None else None
            elif pid in leaders:
                ended[pid] = leaders.pop(pid)
        if ended:
            finish(ended)


def main() -> None:
    """Leave the server's session, be deaf to its signals, and watch."""
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
    ):
        signal.signal(number, signal.SIG_IGN)
    if os.getpid() != os.getpgrp():
        os.setsid()
    watch(sys.stdin.fileno())


if __name__ == "__main__":
    main()
