"""
Whether a client sends a body fast enough: judged by windows of time in which we would have taken more. Pure.
"""

from __future__ import annotations

PACE_WINDOW_S = 10.0
"""A client may rest for a moment, if it makes up for it within this."""


class Pace:
    """
    The pace of one body.

    @ivar took: bytes of the body since the window began.
    @ivar due: when it is to be judged; infinite while we do not want to read, for that we are slow is not its fault.
    """

    __slots__ = ("_began", "due", "took")

    def __init__(self) -> None:
        self.took = 0
        self.due = float("inf")
        self._began = 0.0

    def go(self, now: float) -> float:
        """
        We wait for the client, from now on or still.

        @return: when it is to be judged.
        """
        if self.due == float("inf"):
            self._begin(now)
        return self.due

    def _begin(self, now: float) -> None:
        self.took = 0
        self._began = now
        self.due = now + PACE_WINDOW_S

    def stop(self) -> None:
        """We do not wait for the client."""
        self.due = float("inf")

    def kept(self, now: float, bytes_per_s: int) -> bool:
        """
        Whether the window is over and enough has come in it; if so, the next one begins.

        @param bytes_per_s: so much is enough.
        """
        if now < self.due or self.took < bytes_per_s * (now - self._began):
            return False
        self._begin(now)
        return True
