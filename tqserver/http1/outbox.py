"""
What is written in one turn of the reactor is handed to the kernel at its end.

A write wakes whoever reads at the other end. While many connections are busy, it costs less to wake them one after the
other than to go back and forth between reading, deciding and waking: the code and data of the kernel stay in the cache,
and a peer that is awake need not be woken for its second message. Nobody waits longer for it: the turn ends before the
reactor looks for anything new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol as Shape

from twisted.logger import Logger

_log = Logger()

BATCH_BYTES_MAX = 64 * 1024
"""More than this is handed over at once: the writer must learn that its peer is slow."""


class Wire(Shape):
    """A transport."""

    def write(self, data: bytes) -> None: ...

    def writeSequence(self, pieces: Sequence[bytes]) -> None: ...


class Outbox:
    """Keeps what is written until the turn ends. What one connection writes stays in order."""

    def __init__(self, soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        """
        @param soon: has something called at the end of this turn. L{None} for transports that wait by themselves, as
            most of Twisted's do: then nothing is kept here.
        """
        self._soon = soon
        self._kept: list[tuple[Wire, bytes | Sequence[bytes]]] = []
        self._bytes = 0

    def write(self, wire: Wire, data: bytes) -> None:
        """Write to a transport."""
        kept = self._kept
        if not kept:
            if self._soon is None:
                wire.write(data)
                return
            self._soon(self.flush)
        kept.append((wire, data))
        self._bytes += len(data)
        if self._bytes > BATCH_BYTES_MAX:
            self.flush()

    def write_sequence(self, wire: Wire, pieces: Sequence[bytes]) -> None:
        """Write several pieces to a transport at once."""
        kept = self._kept
        if not kept:
            if self._soon is None:
                wire.writeSequence(pieces)
                return
            self._soon(self.flush)
        kept.append((wire, pieces))
        self._bytes += sum(map(len, pieces))
        if self._bytes > BATCH_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Hand everything over now. Whoever closes a transport does so first."""
        while self._kept:
            kept, self._kept = self._kept, []
            self._bytes = 0
            for wire, data in kept:
                try:
                    if isinstance(data, bytes):
                        wire.write(data)
                    else:
                        wire.writeSequence(data)
                except Exception:
                    # A mistake with one must not silence the others.
                    _log.failure("writing to {wire!r}", wire=wire)
