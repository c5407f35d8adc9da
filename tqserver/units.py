"""
Sizes and durations as people write them. Pure.

One rule for sizes, because nginx, PHP and systemd have it too and because C{256M} must not mean two things in
two keys: every prefix is a power of 1024, whether it is written C{K}, C{KB} or C{KiB}.
"""

from __future__ import annotations

import re
from math import isfinite

_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) ?(?:([kmgt])(?:i?b)?|b)?", re.IGNORECASE | re.ASCII)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d)?", re.IGNORECASE | re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZE_BYTES_MAX = 2**62
"""The largest size that is accepted: it still fits the signed 64 bits of setrlimit(2) and of Go's runtime."""

_GO_UNITS = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


def size_bytes(text: str) -> int:
    """
    Read a size such as C{256M}, C{16KiB}, C{1.5G} or C{4096}.

    @param text: a decimal number, perhaps with a fraction, and perhaps a unit in any case.
    @return: bytes; a fraction of a byte is dropped.
    @raise ValueError: if it is no size, or more than L{SIZE_BYTES_MAX}.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a size")
    number, prefix = found.groups()
    scale: int = 1024 ** _POWERS.get((prefix or "").lower(), 0)
    whole, _, fraction = number.partition(".")
    # In integers: a float loses bytes above 2**53.
    size = int(whole) * scale
    if fraction:
        size += int(fraction) * scale // 10 ** len(fraction)
    if size > SIZE_BYTES_MAX:
        raise ValueError(f"{text[:40]!r} is too large")
    return size


def size_text(size: int) -> str:
    """
    Write a size shortly and without loss: the largest unit that divides it.

    @param size: bytes.
    @return: text that L{size_bytes} reads as the same size and that Go understands, such as C{256MiB}.
    """
    for unit, scale in _GO_UNITS:
        if size and size % scale == 0:
            return f"{size // scale}{unit}"
    return f"{size}B"


def go_memory_limit(text: str) -> str:
    """
    Read a limit for Go's C{GOMEMLIMIT} (documented in Go's C{runtime} package).

    Go itself knows only whole numbers with C{B}, C{KiB} to C{TiB}, and ends a program at start that is given
    another spelling; so what is more is translated.

    @param text: a size as of L{size_bytes}, C{off}, or empty for no limit.
    @return: the text to put in the environment; empty for none.
    @raise ValueError: if it is neither.
    """
    text = text.strip()
    if text.lower() in ("", "off"):
        return text.lower()
    return size_text(size_bytes(text))


def duration_s(text: str) -> float:
    """
    Read a duration such as C{500ms}, C{60s}, C{2m}, C{1h} or a plain number of seconds.

    @return: seconds.
    @raise ValueError: if it is no duration.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a duration")
    number, unit = found.groups()
    seconds = float(number) * _SECONDS[(unit or "s").lower()]
    assert isfinite(seconds), "15 digits of days are finite"
    return seconds
