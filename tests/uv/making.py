"""How tests make a reactor."""

from __future__ import annotations

from asyncio import set_event_loop

from twisted.trial.unittest import SynchronousTestCase

from tqserver.uv import reactor


def UVReactor(case: SynchronousTestCase) -> reactor.UVReactor:
    """
    Make a reactor on a loop of its own, and close that after the test.

    It has the name of the class because Twisted names the test cases after it.
    """
    made = reactor.UVReactor()

    def close() -> None:
        made.event_loop.close()
        set_event_loop(None)

    case.addCleanup(close)
    return made
