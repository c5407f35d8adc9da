"""
What a request's path means as the name of a file, decided on its text alone. Pure.

A name is a path below some folder, decoded, beginning with a slash; by its text, nothing of it leads out of the folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from urllib.parse import unquote_to_bytes

PATH_BYTES_MAX = 4096
"""PATH_MAX (limits.h): nothing longer can be opened."""

_SOURCE = re.compile(
    rb"\.(?:php[3-8s]?|pht|phtml|phar)"
    rb"(?:[~_ -][^/.]*)?(?:\.(?:bak|old|orig|save|sw[a-p]|tmp|dist|gz|br|zst|[0-9]+)~?)*\.?(?:/|$)",
    re.IGNORECASE,
)
"""Names of PHP sources, and of what editors and tools leave beside them."""


def is_source(path: bytes, start: int = 0) -> bool:
    """
    Whether a path names a source that would be run, not read, or a copy of one.

    @param start: where in the path to begin.
    """
    return _SOURCE.search(path, start) is not None


def decoded(path: bytes) -> bytes | None:
    """
    Decode a path once.

    @param path: as the client, or a worker, sent it, without a query.
    @return: the name, or L{None} if it could mean anything but a plain name below the folder: dot segments, empty
        segments, names with a leading dot, backslashes, encoded separators.
    """
    if b"%" in path:
        lower = path.lower()
        if b"%2f" in lower or b"%5c" in lower or b"%00" in lower:
            return None
        path = unquote_to_bytes(path)
    path = path or b"/"
    # "/." takes care of ".", "..", and names with a leading dot, at any depth.
    if (
        not path.startswith(b"/")
        or len(path) > PATH_BYTES_MAX
        or b"/." in path
        or b"//" in path
        or b"\0" in path
        or b"\\" in path
    ):
        return None
    return path


def public_name(path: bytes) -> bytes | None:
    """Like L{decoded}, for files that anybody may have: no sources."""
    name = decoded(path)
    return None if name is None or _SOURCE.search(name) else name


class NamePattern:
    """
    A pattern of names, with the wildcards of L{fnmatch}: without a slash it is matched against the last part of a name,
    with one against the whole name, part by part; C{**} stands for any number of parts. A slash at the end means all
    that is in a folder.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        parts = pattern.strip("/").split("/")
        if "/" not in pattern.rstrip("/"):
            parts.insert(0, "**")
        if pattern.endswith("/"):
            parts.append("**")
        self._parts: list[re.Pattern[str] | None] = []
        for part in parts:
            if part != "**":
                self._parts.append(re.compile(translate(part)))
            elif not self._parts or self._parts[-1] is not None:
                self._parts.append(None)

    def matches(self, name: bytes) -> bool:
        """Whether a name, which begins with a slash, is one of these."""
        names = name.decode("utf-8", "surrogateescape").lstrip("/").split("/")
        # Which prefixes of the pattern match the parts so far: nothing is looked at twice.
        alive = self._skipping({0})
        for part in names:
            alive = self._skipping({follower for at in alive for follower in self._followers(at, part)})
        return len(self._parts) in alive

    def _followers(self, at: int, part: str) -> Sequence[int]:
        if at == len(self._parts):
            return ()
        pattern = self._parts[at]
        if pattern is None:
            return (at,)
        return (at + 1,) if pattern.match(part) else ()

    def _skipping(self, alive: set[int]) -> set[int]:
        """C{**} may stand for nothing."""
        return alive | {at + 1 for at in alive if at < len(self._parts) and self._parts[at] is None}


class Rules:
    """Header values by patterns of names: the first pattern that matches decides."""

    def __init__(self, rules: Sequence[tuple[str, str]], default: bytes) -> None:
        """
        @param rules: patterns and values.
        @param default: the value where none matches.
        """
        self._rules = [(NamePattern(pattern), value.encode("latin-1")) for pattern, value in rules]
        self._default = default

    def value(self, name: bytes) -> bytes:
        """The value for a name."""
        for pattern, value in self._rules:
            if pattern.matches(name):
                return value
        return self._default
