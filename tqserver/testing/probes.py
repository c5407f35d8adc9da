"""A probe that finds what the test says."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from ..process.interfaces import IProbe, ProbeFault


@implementer(IProbe)
class FakeProbe:
    """
    Every C{check} waits for the test to L{answer} it.

    @ivar waiting: checks that have no answer yet, oldest first.
    @ivar checks: how many checks there have been.
    @ivar cancelled: how many of them were cancelled.
    """

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []
        self.checks = 0
        self.cancelled = 0

    def check(self) -> Deferred[None]:
        """Ask; see L{IProbe}."""
        self.checks += 1
        check: Deferred[None] = Deferred(self._cancel)
        self.waiting.append(check)
        return check

    def answer(self, reason: str = "") -> None:
        """
        Answer the oldest check.

        @param reason: what is wrong; empty when all is well.
        @raise AssertionError: nobody asked.
        """
        assert self.waiting, "no check waits for an answer"
        check = self.waiting.pop(0)
        if reason:
            check.errback(Failure(ProbeFault(reason)))
        else:
            check.callback(None)

    def _cancel(self, check: Deferred[None]) -> None:
        """Forget a check that the caller cancelled."""
        self.cancelled += 1
        self.waiting.remove(check)
        check.errback(Failure(CancelledError()))
