"""Shapes of requests, each with what must become of it, and how a table of them becomes tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.functional.strict import Client, Ended, Note, Reply, StrictCase

GOOD = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"

Method = Callable[["ShapeCase"], None]


@dataclass(frozen=True)
class Refused:
    """
    The front answers with a status and closes; the worker sees none of it.

    @ivar says: in a user's words, with the section of the RFC.
    @ivar sent: what the client sends.
    @ivar good: so many requests before it are answered as if nothing were wrong.
    @ivar begun: the worker may have seen the beginning, but can tell that it is not whole.
    @ivar later: what the client sends when the worker has seen the beginning.
    """

    says: str
    status: int
    sent: bytes
    good: int = 0
    begun: bool = False
    later: bytes = b""


@dataclass(frozen=True)
class Accepted:
    """
    The worker sees what the client meant.

    @ivar sent: requests, all at once.
    @ivar seen: of each, some of what the worker notes: C{method}, C{target}, C{host}, C{body} (bytes), and fields by
        their names in lower case: a value, or L{None} for none.
    @ivar kept: whether the connection lives on.
    """

    says: str
    sent: bytes
    seen: tuple[Mapping[str, Any], ...] = field(default=({},))
    kept: bool = True


Shape = Refused | Accepted

Case = TypeVar("Case", bound="type[ShapeCase]")


class ShapeCase(StrictCase):
    """Shapes against the front."""

    shapes: Mapping[str, Shape] = {}

    def check_refused(self, shape: Refused) -> None:
        """Send a shape that is refused."""
        with self.client() as client:
            client.send(shape.sent)
            for _ in range(shape.good):
                self.assertEqual(client.reply().status, 200)
            if shape.later:
                self._begun(shape)
                client.send(shape.later)
            reply = self._reply(client)
            self.assertEqual((reply.status, reply.headers.get("connection")), (shape.status, "close"), reply)
            self.assertEqual(client.rest(), b"", "the connection ends after the refusal")
        notes = self.seen()
        if shape.begun:
            notes = [note for note in notes if "piece" not in note]
        self.assertEqual([note.get("target") for note in notes], ["/good"] * shape.good, notes)

    def _reply(self, client: Client) -> Reply:
        try:
            return client.reply()
        except (Ended, TimeoutError) as error:
            raise self.failureException(f"no answer: {error!r}") from error

    def _begun(self, shape: Refused) -> None:
        """Wait until the front has read the beginning, and given it to the worker."""
        self.assertEqual(self.seen(), [])

    def check_accepted(self, shape: Accepted) -> None:
        """Send a shape that is understood."""
        with self.client() as client:
            client.send(shape.sent)
            for expected in shape.seen:
                method = expected.get("method", "GET")
                reply = client.reply(method)
                self.assertEqual(reply.status, 200, reply)
            if shape.kept:
                client.send(GOOD)
                self.assertEqual(client.reply().status, 200)
            else:
                self.assertEqual(client.rest(), b"")
        notes = self.seen()
        self.assertEqual(len(notes), len(shape.seen) + shape.kept, notes)
        for note, expected in zip(notes, shape.seen, strict=False):
            self._compare(note, expected)

    def _compare(self, note: Note, expected: Mapping[str, Any]) -> None:
        for name, value in expected.items():
            if name in ("method", "target"):
                self.assertEqual(note[name], value)
            elif name == "body":
                self.assertEqual(bytes.fromhex(note["body"]), value)
            else:
                found = [text for key, text in note["headers"] if key == name]
                self.assertEqual(found, [] if value is None else [value], (name, note["headers"]))


def each_a_test(case: Case) -> Case:
    """Make a test of every shape of a class."""
    for name, shape in case.shapes.items():

        def method(self: ShapeCase, shape: Shape = shape) -> None:
            if isinstance(shape, Refused):
                self.check_refused(shape)
            else:
                self.check_accepted(shape)

        method.__name__ = f"test_{name}"
        method.__qualname__ = f"{case.__qualname__}.test_{name}"
        method.__doc__ = shape.says
        assert not hasattr(case, method.__name__), name
        setattr(case, method.__name__, method)
    return case
