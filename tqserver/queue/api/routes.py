"""
Which function answers which path and method. Pure, but for the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from attrs import define, field
from twisted.internet.defer import Deferred

from .answer import Answer

if TYPE_CHECKING:
    from .call import Call

Act = Callable[["Call"], "Answer | Deferred[Answer] | None"]
"""
Does what a request asks for. To cancel the Deferred is to say that the client has left. L{None}: the answer comes by
L{Call.answer_with}.

@raise Fault: (or by the Deferred) if it cannot be done; that is answered.
"""

PATH_BYTES_MAX = 8 * 1024
"""Of a path with variable segments: longer names there are none."""

BEGINNINGS_MAX = 1024
"""Beginnings of paths that are remembered; when there are more, all are forgotten and it begins anew."""

BEGINNING_BYTES_MAX = 256
"""Longer ones are not remembered."""


class Row(NamedTuple):
    """
    One request that a service knows.

    @ivar methods: one or several, separated by spaces. HEAD is only for what changes nothing.
    @ivar path: in which C{*} is any one segment that is not empty.
    @ivar act: what is done.
    @ivar body_bytes_max: of the request's body; 0: it is of no interest and not read.
    """

    methods: str
    path: str
    act: Act
    body_bytes_max: int = 0


class Route(NamedTuple):
    """What is done, and how large a body it takes."""

    act: Act
    body_bytes_max: int


@define
class Place:
    """
    A path, or all paths of one pattern.

    @ivar methods: what is done, by method.
    @ivar allow: the methods, as C{Allow} has them.
    """

    methods: dict[bytes, Route] = field(factory=dict)
    allow: bytes = b""


@define
class _Branch:
    """What may follow after the segments before; L{None} stands for any segment."""

    place: Place | None = None
    after: dict[bytes | None, _Branch] = field(factory=dict)


_Reached = tuple[_Branch, tuple[str, ...]]
"""Where some segments lead, and those that are variable, decoded."""


class Routes:
    """The table."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._exact: dict[bytes, Place] = {}
        self._root = _Branch()
        self._beginnings: dict[bytes, _Reached] = {}
        """Where paths lead up to their last segment: that differs, what is before it comes again and again."""
        for row in rows:
            place = self._place(row.path.encode("ascii"))
            for method in row.methods.encode("ascii").split():
                place.methods[method] = Route(row.act, row.body_bytes_max)
            place.allow = b", ".join(place.methods)

    def _place(self, path: bytes) -> Place:
        if b"*" not in path:
            return self._exact.setdefault(path, Place())
        branch = self._root
        for segment in path.split(b"/")[1:]:
            branch = branch.after.setdefault(None if segment == b"*" else segment, _Branch())
        branch.place = branch.place or Place()
        return branch.place

    def find(self, path: bytes) -> tuple[Place, tuple[str, ...]] | None:
        """
        Look a path up.

        @param path: as it was sent, encoded.
        @return: the place, and the variable segments decoded; L{None} if there is nothing.
        """
        place = self._exact.get(path)
        if place is not None:
            return place, ()
        if len(path) > PATH_BYTES_MAX:
            return None
        beginning, _, last = path.rpartition(b"/")
        try:
            reached = self._beginnings.get(beginning) or self._reach(beginning)
            if reached is not None:
                reached = _step(reached, last)
        except UnicodeDecodeError:
            return None  # Nothing has such a name.
        if reached is None or reached[0].place is None:
            return None
        return reached[0].place, reached[1]

    def _reach(self, beginning: bytes) -> _Reached | None:
        """Go all but the last step."""
        reached: _Reached = (self._root, ())
        for segment in beginning.split(b"/")[1:]:
            after = _step(reached, segment)
            if after is None:
                return None
            reached = after
        if len(beginning) <= BEGINNING_BYTES_MAX:
            if len(self._beginnings) >= BEGINNINGS_MAX:
                self._beginnings.clear()
            self._beginnings[beginning] = reached
        return reached


def _step(reached: _Reached, segment: bytes) -> _Reached | None:
    """
    Follow a path one segment further.

    @raise UnicodeDecodeError: what is variable is no text.
    """
    branch, found = reached
    after = branch.after.get(segment)
    if after is not None:
        return after, found
    after = branch.after.get(None)
    if after is None or not segment:
        return None
    return after, (*found, _decoded(segment))


def _decoded(segment: bytes) -> str:
    return (unquote_to_bytes(segment) if b"%" in segment else segment).decode()
