"""Which protocols a connection may be switched to."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.http1.upgrade import choice, members, offer

UPGRADE = frozenset([b"upgrade"])


class OfferTests(SynchronousTestCase):
    """What a worker is offered."""

    def offered(self, *values: bytes, method: bytes = b"GET", length: int | None = 0, minor: int = 1) -> bytes:
        """Of a request with these C{Upgrade} fields."""
        return offer(method, (1, minor), length, values)

    def test_offered(self) -> None:
        """What can be tunnelled, as the client has spelled it, from however many fields (RFC 9110 section 7.8)."""
        self.assertEqual(self.offered(b"WebSocket"), b"WebSocket")
        self.assertEqual(self.offered(b"a/1,b ,, c/2"), b"a/1, b, c/2")
        self.assertEqual(self.offered(b"a", b"b"), b"a, b")
        self.assertEqual(self.offered(b"tcp", method=b"POST"), b"tcp")

    def test_not_offered(self) -> None:
        """Never HTTP or TLS, nothing in HTTP/1.0 or with a body; a WebSocket with GET alone (RFC 6455 section 4.1)."""
        self.assertEqual(self.offered(b"h2c, HTTP/2.0, TLS/1.0, http/1.1, H2C"), b"")
        self.assertEqual(self.offered(b"h2c, websocket"), b"websocket")
        self.assertEqual(self.offered(b"websocket", minor=0), b"")
        self.assertEqual(self.offered(b"websocket", length=1), b"")
        self.assertEqual(self.offered(b"websocket", length=None), b"")
        self.assertEqual(self.offered(b"websocket, tcp", method=b"POST"), b"tcp")

    def test_malformed(self) -> None:
        """What is not a protocol is left out."""
        self.assertEqual(self.offered(b'web socket, a/b/c, /1, x/, "q", ok'), b"ok")

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(st.lists(st.binary(max_size=20), max_size=4))
    def test_anything(self, values: list[bytes]) -> None:
        """Whatever a client writes, what is offered is a clean list, and stays what it is when it is read again."""
        offered = self.offered(*values)
        self.assertEqual(b", ".join(members([offered])), offered)
        self.assertFalse(set(offered) & set(b"\r\n\0"))


class ChoiceTests(SynchronousTestCase):
    """What a worker may choose."""

    def test_chosen(self) -> None:
        """One of those that it was offered, whatever the case."""
        self.assertEqual(choice(b"websocket", [b"WebSocket"], UPGRADE), b"WebSocket")
        self.assertEqual(choice(b"a/1, b", [b"b"], UPGRADE), b"b")
        self.assertEqual(choice(b"a, b", [b"a, b"], UPGRADE), b"a, b")

    def test_not_chosen(self) -> None:
        """Not another one, or another version, or none, or without C{Connection} saying so."""
        for offered, values, options in (
            (b"websocket", [b"h2c"], UPGRADE),
            (b"websocket", [b"websocket, h2c"], UPGRADE),
            (b"a/1", [b"a/2"], UPGRADE),
            (b"a/1", [b"a"], UPGRADE),
            (b"a", [], UPGRADE),
            (b"a", [b""], UPGRADE),
            (b"", [b"a"], UPGRADE),
            (b"", [], UPGRADE),
            (b"a", [b"a"], frozenset([b"close"])),
        ):
            self.assertEqual(choice(offered, values, options), b"", (offered, values))
