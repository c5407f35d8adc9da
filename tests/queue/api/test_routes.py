"""Tests of L{tqserver.queue.api.routes}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.api.answer import Answer, plain_answer
from tqserver.queue.api.call import Call
from tqserver.queue.api.routes import PATH_BYTES_MAX, Routes, Row


def act(call: Call) -> Answer:
    return plain_answer("")


ROUTES = Routes(
    [
        Row("GET", "/", act),
        Row("GET HEAD", "/queues", act),
        Row("POST", "/queues", act, 10),
        Row("GET", "/queues/*", act),
        Row("DELETE", "/queues/*/leases/*", act),
        Row("GET", "/queues/*/leases", act),
    ]
)


def found(path: bytes) -> tuple[bytes, tuple[str, ...]] | None:
    result = ROUTES.find(path)
    return None if result is None else (result[0].allow, result[1])


class RoutesTests(SynchronousTestCase):
    """Where requests go."""

    def test_exact(self) -> None:
        """A path that is written out is found, with all its methods."""
        self.assertEqual(found(b"/"), (b"GET", ()))
        self.assertEqual(found(b"/queues"), (b"GET, HEAD, POST", ()))

    def test_body(self) -> None:
        """Each method has its own limit of the body."""
        result = ROUTES.find(b"/queues")
        assert result is not None
        self.assertEqual({name: route.body_bytes_max for name, route in result[0].methods.items()}[b"POST"], 10)

    def test_variable(self) -> None:
        """Names in paths are had decoded, a slash that was encoded among them."""
        self.assertEqual(found(b"/queues/emails"), (b"GET", ("emails",)))
        self.assertEqual(found(b"/queues/a%2Fb/leases/x%20y"), (b"DELETE", ("a/b", "x y")))
        self.assertEqual(found(b"/queues/leases/leases"), (b"GET", ("leases",)))

    def test_nothing(self) -> None:
        """There is nothing at other paths, nor below or beside those that there are."""
        for path in (b"", b"/x", b"/queues/", b"/queues//leases/x", b"/queues/a/", b"/queues/a/x", b"queues", b"//"):
            self.assertIsNone(found(path), path)

    def test_no_text(self) -> None:
        """What is no UTF-8 names nothing."""
        self.assertIsNone(found(b"/queues/%ff"))
        self.assertIsNone(found(b"/queues/\xff"))

    def test_long(self) -> None:
        """A path that is longer than any name names nothing."""
        self.assertIsNone(found(b"/queues/" + b"a" * PATH_BYTES_MAX))

    @given(st.binary(max_size=60))
    def test_anything(self, path: bytes) -> None:
        """Whatever a path is, it is found or not."""
        found(path)
        found(b"/queues/" + path)
