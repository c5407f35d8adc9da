"""
What the answer to a delivered task means. Pure.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from enum import Enum, auto

RETRY_AFTER_DIGITS_MAX = 9
"""More seconds than that are malformed."""

SHOWN_CHARS_MAX = 200
"""Of an answer's body, where it says why a task failed."""


class Verdict(Enum):
    """What becomes of a task."""

    DONE = auto()
    """The answer is its result."""
    FAILED = auto()
    """It will not be any better another time."""
    LATER = auto()
    """The worker does not want it now. That was not a try."""
    AGAIN = auto()
    """The try has gone wrong; another may not."""


_LATER = frozenset([409, 425, 429, 503])
_BUSY = frozenset([429, 503])

_AGAIN = frozenset([408])
"""Of the 4xx: the request did not arrive whole, and may be sent again (RFC 9110 section 15.5.9)."""


def of_task(status: int) -> Verdict:
    """What a status means for a task of a queue."""
    if 200 <= status < 300:
        return Verdict.DONE
    if status in _LATER:
        return Verdict.LATER
    if status >= 500 or status in _AGAIN:
        return Verdict.AGAIN
    return Verdict.FAILED


def of_request(status: int) -> Verdict:
    """
    What a status means for a request whose client asks later: redirections and conflicts are answers, too, and the
    client's to look at.
    """
    verdict = of_task(status)
    if verdict is Verdict.LATER and status == 409:
        return Verdict.FAILED
    return Verdict.DONE if 300 <= status < 400 else verdict


def is_busy(status: int) -> bool:
    """Whether a worker says of itself, and not of the task, that it cannot take more (RFC 6585 section 4)."""
    return status in _BUSY


def retry_after_ms(value: bytes | None, now: int) -> int | None:
    """
    Read C{Retry-After}: seconds or a date (RFC 9110 section 10.2.3).

    @param now: milliseconds since 1970.
    @return: milliseconds from now, perhaps 0; L{None} if it is missing or malformed.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isdigit():
        return int(value) * 1000 if len(value) <= RETRY_AFTER_DIGITS_MAX else None
    try:
        date = parsedate_to_datetime(value.decode("ascii"))
        moment = int(date.timestamp() * 1000)
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return max(moment - now, 0)


def reason(status: int, phrase: bytes, body: bytes) -> str:
    """Why a task failed, from the answer to it, in one line."""
    text = f"{status} {phrase.decode('latin-1')}".rstrip()
    said = " ".join(body[: 4 * SHOWN_CHARS_MAX].decode("utf-8", "replace").split())
    said = "".join(character for character in said if character.isprintable())
    return f"{text}: {said[:SHOWN_CHARS_MAX]}" if said else text
