"""Random bits that nobody can foretell, many times a millisecond."""

from __future__ import annotations

import os
import random
from typing import Any

STOCK_BYTES = 4096
"""Had from the kernel at once: a system call for each number costs more than all the rest of an id."""


class Chances(random.SystemRandom):
    """
    The system's random numbers, in stock. For one thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stock = b""
        self._used = 0

    def getrandbits(self, k: int) -> int:
        """So many random bits, up to 64."""
        used = self._used
        if used >= len(self._stock):
            self._stock = os.urandom(STOCK_BYTES)
            used = 0
        self._used = used + 8
        return int.from_bytes(self._stock[used : used + 8], "big") >> (64 - k)

    def random(self) -> float:
        """A number from [0, 1)."""
        return self.getrandbits(53) * 2.0**-53

    def __reduce__(self) -> Any:
        raise TypeError("random numbers in stock are not copied")
