"""What a C{kill -9} may take with it, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.clients import LostRequest

KILL_NOTICED_S = 1.0
"""A POST written to a dead connection so soon after a kill may answer 502: nobody can know whether to repeat it."""

FRONT_KILL_NOTICED_S = 0.5
"""So soon after a front was killed a client may still write to the connection that it had with it."""


@dataclass(frozen=True)
class WorkerKill:
    """An instance of a kind of worker was killed at a moment of C{time.monotonic}."""

    kind: str
    at: float


@dataclass(frozen=True)
class FrontKill:
    """A front was killed that had so many connections."""

    at: float
    held: int


def excused_by_worker(lost: LostRequest, kills: Iterable[WorkerKill]) -> bool:
    """Whether a kill explains this: a POST to the killed worker that was answered with 502 just then."""
    return (
        lost.method == "POST"
        and lost.how == "502"
        and any(
            kill.kind == lost.kind and lost.ended >= kill.at and lost.began <= kill.at + KILL_NOTICED_S
            for kill in kills
        )
    )


def excused_by_fronts(lost: Sequence[LostRequest], kills: Iterable[FrontKill]) -> list[LostRequest]:
    """
    What went with the killed fronts: a request on a connection that broke just then, and of each front no more than it
    had connections.
    """
    excused: list[LostRequest] = []
    for kill in kills:
        broken = [
            each
            for each in lost
            if each.how in ("reset", "cut")
            and each.ended >= kill.at
            and each.began <= kill.at + FRONT_KILL_NOTICED_S
            and each not in excused
        ]
        excused += broken[: kill.held]
    return excused
