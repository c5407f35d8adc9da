"""Random bits that nobody can foretell, many times a millisecond."""

from __future__ import annotations

import os
import random
import struct
from typing import Any

STOCK = 512
"""Numbers that are had from the kernel at once: a system call for each costs more than all the rest of an id."""

_NUMBERS = struct.Struct(f"{STOCK}Q")


class Chances(random.SystemRandom):
    """
    The system's random numbers, in stock. For one thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stock: list[int] = []

    def getrandbits(self, k: int) -> int:
        """So many random bits, up to 64."""
        stock = self._stock
        if not stock:
            stock.extend(_NUMBERS.unpack(os.urandom(_NUMBERS.size)))
        return stock.pop() >> (64 - k)

    def random(self) -> float:
        """A number from [0, 1)."""
        return self.getrandbits(53) * 2.0**-53

    def __reduce__(self) -> Any:
        raise TypeError("random numbers in stock are not copied")
