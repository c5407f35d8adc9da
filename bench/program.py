"""How programs that measure for long begin."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType


def begin(quiet: bool) -> Callable[[str], None]:
    """
    Have TERM end this program as an exception does, so that it ends what it has started.

    @param quiet: nobody wants to know how far it is.
    @return: tells how far it is, in a line on stderr.
    """
    signal.signal(signal.SIGTERM, _terminated)

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    return say


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
