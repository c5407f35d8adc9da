"""
Where the files of a request may lie, and whether it is of any use to look there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .static_files import StaticFile
from .static_names import Root
from .static_path import Rules

PATTERN_NAMES_MAX = 64
"""With more names than this, sets are faster than the alternatives of a regular expression."""

LOOKS_BEFORE_PATTERN = 2000
"""A regular expression costs about a thousand times what it saves in one request: it has to last for some."""

_NEVER: Callable[[bytes], object] = ().__contains__
_ALWAYS: Callable[[bytes], object] = len
"""Of a path, which is never empty."""


class Place:
    """
    A folder whose files are served, and how.

    @ivar base: the folder.
    @ivar root: what is known of the names in it; L{None} where nobody asks.
    @ivar indexes: names of the file that a folder means, the first that is there.
    @ivar rules: the values of C{Cache-Control}.
    @ivar sources: whether sources may be sent, because whoever asks for the file is no stranger.
    @ivar files: those that are kept in memory, by name.
    """

    def __init__(self, base: bytes, root: Root | None, indexes: tuple[bytes, ...], rules: Rules, sources: bool) -> None:
        self.base = base
        self.root = root
        self.indexes = indexes
        self.rules = rules
        self.sources = sources
        self.files: dict[bytes, StaticFile] = {}

    def may_begin(self, path: bytes) -> bool:
        """
        Whether there may be a file with this path, going by its first segment.

        @param path: not encoded; empty for the place itself.
        """
        root = self.root
        if root is None:
            return True
        end = path.find(b"/", 1)
        first = path[1:end] if end > 0 else path[1:]
        if first:
            return root.has(first)
        return len(path) < 2 and any(map(root.has, self.indexes))


class Places:
    """
    Where the files for the requests of one route may lie.

    @ivar may_hold: given a request's path, says false (or nothing) if no file is meant, for certain; else the places
        have to be looked at. Another function whenever something has changed, so it is looked up for each request.
    @ivar fallback: the name of the file in the worker's own place that answers navigations which mean no file.
    """

    may_hold: Callable[[bytes], object]

    def __init__(self, prefix: bytes, own: Place | None, shared: Place | None, fallback: bytes | None = None) -> None:
        """
        @param prefix: of the route, without a slash at its end.
        @param own: the worker's.
        @param shared: the server's.
        """
        self._prefix = prefix
        self._own = own
        self._shared = shared
        self.fallback = fallback
        self._looks = 0
        for place in self._places():
            if place.root is not None:
                place.root.listeners.add(self.changed)
        self.changed()

    def _places(self) -> list[Place]:
        return [place for place in (self._own, self._shared) if place is not None]

    @property
    def own(self) -> Place | None:
        """The worker's own place."""
        return self._own

    def close(self) -> None:
        """They are not needed any more."""
        for place in self._places():
            if place.root is not None:
                place.root.listeners.discard(self.changed)

    def candidates(self, path: bytes, matched_bytes: int) -> list[tuple[Place, bytes]]:
        """
        Where to look, in this order: in the worker's place without and with the prefix, in the server's.

        @param matched_bytes: how much of the path is the route's prefix.
        """
        own, shared = self._own, self._shared
        found: list[tuple[Place, bytes]] = []
        if own is not None:
            if matched_bytes:
                found.append((own, path[matched_bytes:] or b"/"))
            found.append((own, path))
        if shared is not None:
            found.append((shared, path))
        return found

    # What may_hold is.

    def changed(self) -> None:
        """Some names have changed."""
        self._looks = 0
        places = self._places()
        if self.fallback is not None or any(place.root is None for place in places):
            self.may_hold = _ALWAYS
        elif any(place.root.names or not place.root.told for place in places if place.root is not None):
            self.may_hold = self._look
        else:
            self.may_hold = _NEVER

    def _look(self, path: bytes) -> bool:
        """Ask the sets of names."""
        self._looks += 1
        if self._looks == LOOKS_BEFORE_PATTERN:
            self._use_pattern()
        if b"%" in path:
            return True
        own, shared, prefix = self._own, self._shared, self._prefix
        if own is not None and (own.may_begin(path) or (prefix and own.may_begin(path[len(prefix) :]))):
            return True
        return shared is not None and shared.may_begin(path)

    def _use_pattern(self) -> None:
        """One regular expression for all, called without any Python in between."""
        total = 0
        for place in self._places():
            if place.root is None or not place.root.told:
                return
            total += len(place.root.names)
        if total > PATTERN_NAMES_MAX:
            return
        # What is encoded is looked at in the long way.
        parts = [rb"[^%]*%"]
        if self._prefix and self._own is not None:
            parts.append(re.escape(self._prefix) + _below(self._own, rb"/?"))
        parts += [_below(place, rb"/") for place in self._places()]
        self.may_hold = re.compile(b"|".join(parts)).match


def _below(place: Place, itself: bytes) -> bytes:
    """
    An expression for paths in a place.

    @param itself: what the place itself is asked for by.
    """
    assert place.root is not None
    names = place.root.names
    expressions = [rb"/(?:" + b"|".join(map(re.escape, sorted(names))) + rb")(?:/|\Z)"] if names else [rb"(?!)"]
    if any(index in names for index in place.indexes):
        expressions.append(itself + rb"\Z")
    return rb"(?:" + b"|".join(expressions) + rb")"
