"""
What the instances of one worker say: one line, one record, in a file, for followers, and a little of it kept.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from twisted.logger import Logger

from ..printable import printable
from .files import LogFile, timestamp

TAIL_RECORDS_MAX = 200
"""Records kept for status and for new followers: a few screens."""

TAIL_RECORD_CHARACTERS_MAX = 2048
"""What is kept of each, so that the memory per worker is bounded by half a megabyte."""

FOLLOWERS_MAX = 32
"""Followers of one worker at once; each costs a call per batch."""

Follower = Callable[[Sequence[str]], None]


class WorkerLog:
    """
    The log of one worker.

    A record is C{2026-11-22T10:11:12.123Z api.3.1 stdout text}, without control characters.
    """

    _log = Logger()

    def __init__(self, file: LogFile | None, now: Callable[[], float] = time.time) -> None:
        """
        @param file: where to write; L{None} for nowhere.
        @param now: the time of day, in seconds since the epoch.
        """
        self._file = file
        self._now = now
        self._tail: deque[str] = deque(maxlen=TAIL_RECORDS_MAX)
        self._followers: list[Follower] = []

    def write(self, instance: str, stream: str, lines: Sequence[bytes]) -> None:
        """
        Take down what an instance said.

        @param instance: its name, such as C{api.3.1}.
        @param stream: C{stdout}, C{stderr}, or another name for where the lines came from.
        @param lines: without line ends.
        """
        if not lines:
            return
        prefix = f"{timestamp(self._now())} {instance} {stream} "
        records = [prefix + printable(line) for line in lines]
        if self._file is not None:
            self._file.write(records)
        self._tail.extend(record[:TAIL_RECORD_CHARACTERS_MAX] for record in records)
        for follower in tuple(self._followers):
            self._hand(follower, records)

    def tail(self) -> tuple[str, ...]:
        """The last records, oldest first."""
        return tuple(self._tail)

    def follow(self, follower: Follower) -> Callable[[], None]:
        """
        Have records handed over as they come. A follower that raises is followed by no more.

        @return: ends it; may be called more than once.
        @raise ValueError: there are L{FOLLOWERS_MAX} already.
        """
        if len(self._followers) >= FOLLOWERS_MAX:
            raise ValueError(f"no more than {FOLLOWERS_MAX} can follow one log")
        self._followers.append(follower)

        def leave() -> None:
            if follower in self._followers:
                self._followers.remove(follower)

        return leave

    def move(self, file: LogFile | None) -> None:
        """Write elsewhere from now on: the configuration has changed."""
        if self._file is not None:
            self._file.close()
        self._file = file

    def reopen(self) -> None:
        """Open the file anew (USR1)."""
        if self._file is not None:
            self._file.reopen()

    def close(self) -> None:
        """Close the file; a later record would open it again."""
        if self._file is not None:
            self._file.close()

    def _hand(self, follower: Follower, records: Sequence[str]) -> None:
        """Hand records to one follower."""
        try:
            follower(records)
        except Exception:
            # Whatever is wrong with one reader is no reason to lose a record for the others.
            self._log.failure("a follower of a worker's log failed, and is dropped")
            if follower in self._followers:
                self._followers.remove(follower)
