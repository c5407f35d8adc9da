"""Which worker a request is for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.front.routes import RouteTable
from tqserver.plane.messages import Route


def table(*routes: str) -> RouteTable:
    """A table of C{prefix} or C{host/prefix}; the worker is called like the route."""
    made = []
    for route in routes:
        host, slash, rest = route.partition("/")
        made.append(Route(prefix=slash + rest, host=host, worker=route))
    return RouteTable(made)


class RouteTests(SynchronousTestCase):
    """The longest prefix on segment boundaries."""

    def check(self, routes: RouteTable, path: bytes, worker: str | None, host: bytes = b"x.test") -> None:
        """Check who gets a path."""
        match = routes.match(host, path)
        self.assertEqual(match.worker if match else None, worker, path)

    def test_segment_boundaries(self) -> None:
        """/api takes /api and /api/x, never /apifoo."""
        routes = table("/api")
        for path in (b"/api", b"/api/", b"/api/x", b"/api//x"):
            self.check(routes, path, "/api")
        for path in (b"/apifoo", b"/", b"/ap", b"//api", b"/x/api", b"*", b""):
            self.check(routes, path, None)

    def test_longest_wins(self) -> None:
        """The most specific prefix takes a request, the root what is left."""
        routes = table("/", "/api", "/api/v2")
        self.check(routes, b"/api/v2/x", "/api/v2")
        self.check(routes, b"/api/v20", "/api")
        self.check(routes, b"/other", "/")
        self.check(routes, b"/", "/")

    def test_hosts(self) -> None:
        """The routes of the request's host go first, whatever its case, port and last dot; then those of any host."""
        routes = table("/", "/api", "a.test/", "b.test/api")
        self.check(routes, b"/api/x", "a.test/", b"A.test:8080")
        self.check(routes, b"/api/x", "a.test/", b"a.test.:8080")
        self.check(routes, b"/api/x", "b.test/api", b"b.test")
        self.check(routes, b"/x", "/", b"b.test")
        self.check(routes, b"/api", "/api", b"[::1]:80")

    def test_encoded(self) -> None:
        """An unreserved character means the same encoded; an encoded slash is none; the rest stays as sent."""
        routes = table("/", "/api")
        match = routes.match(b"", b"/%61pi/%2F%61")
        assert match is not None
        self.assertEqual((match.worker, match.matched_bytes), ("/api", 6))
        self.check(routes, b"/api%2Fx", "/")
        self.check(table("/caf%C3%A9"), b"/caf%c3%a9/x", "/caf%C3%A9")

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(
        st.lists(st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/b", "/ab"]), unique=True), st.text("ab/", max_size=8)
    )
    def test_as_told_by_the_definition(self, prefixes: list[str], rest: str) -> None:
        """The table finds what the definition of the longest prefix says."""
        path = "/" + rest
        fitting = [p for p in prefixes if p == "/" or path == p or path.startswith(p + "/")]
        self.check(table(*prefixes), path.encode(), max(fitting, key=len, default=None))
