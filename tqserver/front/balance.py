"""Which of several endpoints takes a request. Pure: chance and keys come in as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
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
    its own share of the keys. All fronts agree.
    """
    if len(available) == 1:
        return available[0]
    hashed = _hashed(key)
    best, highest = available[0], -1
    for endpoint in available:
        score = _mixed(hashed ^ _seed(endpoint.id))
        if score > highest:
            best, highest = endpoint, score
    return best


_WORD = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: a multiplier that spreads each bit over all that are above it."""


def _hashed(data: bytes) -> int:
    """64 bits that are the same in every process, which those of C{hash()} are not."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


@lru_cache(maxsize=4096)
def _seed(endpoint_id: str) -> int:
    return _hashed(endpoint_id.encode())


def _mixed(word: int) -> int:
    """
    A number in which every bit depends on every bit of C{word}. To compare C{key ^ seed} as it is would not do: which
    of two seeds wins would hang on a single bit, and of three endpoints one would get half of all keys.
    """
    word = (word ^ word >> 32) * _ODD & _WORD
    word = (word ^ word >> 29) * _ODD & _WORD
    return word ^ word >> 32
