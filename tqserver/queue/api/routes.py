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

Act = Callable[["Call"], "Answer | Deferred[Answer]"]
"""
Does what a request asks for. To cancel the Deferred is to say that the client has left.

@raise Fault: (or by the Deferred) if it cannot be done; that is answered.
"""

PATH_BYTES_MAX = 8 * 1024
"""Of a path with variable segments: longer names there are none."""


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


class Routes:
    """The table."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._exact: dict[bytes, Place] = {}
        self._root = _Branch()
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
        branch = self._root
        found: list[bytes] = []
        for segment in path.split(b"/")[1:]:
            after = branch.after.get(segment)
            if after is None:
                after = branch.after.get(None)
                if after is None or not segment:
                    return None
                found.append(segment)
            branch = after
        if branch.place is None:
            return None
        try:
            return branch.place, tuple([_decoded(segment) for segment in found])
        except UnicodeDecodeError:
            return None  # Nothing has such a name.


def _decoded(segment: bytes) -> str:
    return (unquote_to_bytes(segment) if b"%" in segment else segment).decode()
