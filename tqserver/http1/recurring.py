"""
What comes again and again, told from what comes once.

It is of no use to remember what will not come again, and costs more than not to remember anything: so nothing is worth
it before it has come a second time.
"""

from __future__ import annotations

HASHES_MAX = 4096
"""Of what has come once; when there are more, all are forgotten and it begins anew."""


class Recurring:
    """Knows what has come before, by hashes: of what came once, no more than a number is kept."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def again(self, data: bytes) -> bool:
        """
        Whether these bytes have come before.

        @return: the truth, but that it may be long ago, or that other bytes may have had the same hash. Who relies on
            it for more than a guess compares the bytes.
        """
        hashes, number = self._hashes, hash(data)
        if number in hashes:
            return True
        if len(hashes) >= HASHES_MAX:
            hashes.clear()
        hashes.add(number)
        return False

    def forget(self) -> None:
        """Nothing has come before."""
        self._hashes.clear()
