"""What a worker has written down of the tasks that it was sent, and whether that may be. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COMMIT_S = 1.0
"""So long after a worker has ended a task, a kill may keep anybody from knowing."""
ON_THE_WAY_S = 0.5
"""So long before a worker begins a task, that may have left the queue."""
KEPT_MAX = 20


@dataclass
class Delivery:
    """
    One attempt at a task.

    @ivar body: the message.
    @ivar began: seconds, monotonic.
    @ivar ended: when the worker was done; 0 if it never was.
    """

    body: str
    attempt: str
    began: float
    ended: float = 0.0


def read_book(text: str) -> list[Delivery]:
    """
    The deliveries, in the order in which they began.

    @param text: lines of C{begin} or C{end}, body, task, attempt and moment; the last may be cut.
    """
    found: dict[tuple[str, str], Delivery] = {}
    every: list[Delivery] = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) != 5:
            continue
        what, body, task, attempt, moment = parts
        if what == "begin":
            every.append(Delivery(body, attempt, float(moment)))
            found[task, attempt] = every[-1]
        elif (task, attempt) in found:
            found[task, attempt].ended = float(moment)
    return every


def judge(
    book: Sequence[Delivery], stored: set[str], unsure: set[str], kills: Iterable[float]
) -> tuple[int, list[str]]:
    """
    Whether every task was done, and none again without need.

    @param stored: bodies whose put was confirmed.
    @param unsure: bodies whose put was not answered.
    @param kills: when something was killed.
    @return: how many deliveries were repeats, and what must not be.
    """
    moments = sorted(kills)
    done: dict[str, Delivery] = {}
    needless: set[str] = set()
    tried: set[str] = set()
    repeats = 0
    for delivery in sorted(book, key=lambda delivery: delivery.began):
        body = delivery.body
        repeats += body in tried
        tried.add(body)
        before = done.get(body)
        if before is not None and before.ended <= delivery.began:
            at = bisect_left(moments, before.began - ON_THE_WAY_S)
            if at == len(moments) or moments[at] > before.ended + COMMIT_S:
                needless.add(body)
        if delivery.ended:
            done[body] = delivery
    problems = {
        "stored and never delivered": stored - tried,
        "stored and never ended": stored - done.keys(),
        "delivered again though nothing had been killed": needless,
        "delivered and never put": tried - stored - unsure,
    }
    return repeats, [
        f"{len(bodies)} {what}: {sorted(bodies)[:KEPT_MAX]}" for what, bodies in problems.items() if bodies
    ]
