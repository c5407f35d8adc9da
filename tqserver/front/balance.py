"""Which of several endpoints takes a request. Pure: chance and keys come in as arguments."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    """An endpoint, as far as balancing is concerned."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def in_flight(self) -> int:
        """Exchanges it has in hand."""


L = TypeVar("L", bound=Loaded)


def least_in_flight(available: Sequence[L], turn: int) -> L:
    """
    The one with the least to do; among equals, they take turns.

    @param turn: a number that grows by one with each request.
    """
    count = len(available)
    if count == 1:
        return available[0]
    start = turn % count
    best = available[start]
    for offset in range(1, count):
        candidate = available[(start + offset) % count]
        if candidate.in_flight < best.in_flight:
            best = candidate
    return best


def round_robin(available: Sequence[L], turn: int) -> L:
    """One after the other."""
    return available[turn % len(available)]


def random_two(available: Sequence[L], first: float, second: float) -> L:
    """
    The less busy of two drawn at random: nearly as even as looking at all, without the herd that runs to the one that
    just became idle.

    @param first: a random number from [0, 1).
    @param second: another.
    """
    count = len(available)
    if count == 1:
        return available[0]
    one = int(first * count)
    other = int(second * (count - 1))
    if other >= one:
        other += 1
    return min(available[one], available[other], key=lambda endpoint: endpoint.in_flight)


def by_hash(available: Sequence[L], key: bytes) -> L:
    """
    The same endpoint for the same key as long as it is there (rendezvous hashing): one that comes or goes moves only
    its own share of the keys.
    """
    return max(available, key=lambda endpoint: (zlib.crc32(key + b"\0" + endpoint.id.encode()), endpoint.id))
