"""Replacing all fronts, one by one, as often as somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

_log = Logger()

ROUNDS_MAX = 2
"""One that goes on and one that waits for its end: whoever asks meanwhile is served by the latter as well."""


class Replacing:
    """
    Rounds of replacement. A round ends early when a new front does not start: the older ones serve on, and another that
    fails as well would help nobody.
    """

    def __init__(self, slots: int, replace: Callable[[int], Deferred[bool]]) -> None:
        """
        @param replace: replaces the front of one slot, and tells whether that went well.
        """
        self._slots = slots
        self._replace = replace
        self._rounds: list[Deferred[None]] = []

    def ask(self) -> Deferred[None]:
        """
        Replace every front that there is now.

        @return: fires when that is over, well or not.
        """
        if len(self._rounds) < ROUNDS_MAX:
            before = self._when_over(self._rounds[-1]) if self._rounds else succeed(None)
            done: Deferred[None] = Deferred()
            self._rounds.append(done)
            before.addCallback(lambda _: self._round(done))
        return self._when_over(self._rounds[-1]) if self._rounds else succeed(None)

    def _round(self, done: Deferred[None]) -> None:
        _log.info("replacing the fronts one by one")
        self._go_on(True, 0, done)

    def _go_on(self, well: bool, slot: int, done: Deferred[None]) -> None:
        if not well:
            _log.error("a new front did not start; those that were not replaced yet stay")
        if well and slot < self._slots:
            self._replace(slot).addCallback(self._go_on, slot + 1, done)
            return
        self._rounds.remove(done)
        done.callback(None)

    @staticmethod
    def _when_over(round: Deferred[None]) -> Deferred[None]:
        """One for each who asks."""
        copy: Deferred[None] = Deferred()
        round.addCallback(lambda _: copy.callback(None))
        return copy
