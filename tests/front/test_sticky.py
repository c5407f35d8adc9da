"""Clients that come back to the same endpoint."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import request_head
from tqserver.front.cookies import cookie_path, cookie_values, set_cookie
from tqserver.front.sticky import Homes, token, with_cookie
from tqserver.http1.head import RequestHead
from tqserver.plane.messages import StickyRule

SECRET = b"s" * 16


def asking(*cookies: bytes) -> RequestHead:
    """A request with these fields C{Cookie}."""
    return request_head(headers=[(b"cookie", each) for each in cookies])


class CookieTests(SynchronousTestCase):
    """Cookies as they are sent and set."""

    def test_values(self) -> None:
        """All of a name are found, wherever they are; names that only resemble it are others."""
        head = asking(b"a=1; b=2;c=3", b" b = x=y ", b"B=4; bb=5; b; =6")
        self.assertEqual(list(cookie_values(head, b"b")), [b"2", b"x=y", b""])
        self.assertEqual(list(cookie_values(asking(), b"b")), [])

    def test_set(self) -> None:
        """Scripts cannot read it, other sites cannot use it, and it lives as long as it should."""
        self.assertEqual(
            set_cookie(b"at", b"x", b"/api", False, 0),
            (b"Set-Cookie", b"at=x; Path=/api; HttpOnly; SameSite=Lax"),
        )
        self.assertEqual(
            set_cookie(b"at", b"x", b"/", True, 60)[1], b"at=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        )

    def test_path(self) -> None:
        """A path cannot end the attribute and begin another."""
        for prefix, path in ((b"/", b"/"), (b"/a/b", b"/a/b"), (b"/a/b;c/d", b"/a"), (b"/;Domain=evil", b"/")):
            self.assertEqual(cookie_path(prefix), path)


class TokenTests(SynchronousTestCase):
    """What an endpoint is called in a cookie."""

    def test_opaque(self) -> None:
        """It is short, can stand in a cookie, and tells nothing of names."""
        made = token(SECRET, "shop", "shop.1.2")
        self.assertTrue(re.fullmatch(rb"[A-Za-z0-9_-]{22}", made), made)

    def test_agreed(self) -> None:
        """All fronts that know the secret make the same; those that do not, another; and each endpoint has its own."""
        made = [
            token(SECRET, "shop", "shop.1.2"),
            token(SECRET, "shop", "shop.1.2"),
            token(b"another", "shop", "shop.1.2"),
            token(SECRET, "shop", "shop.1.3"),
            token(SECRET, "blog", "shop.1.2"),
        ]
        self.assertEqual(len(set(made)), 4)


class HomeTests(SynchronousTestCase):
    """Finding home."""

    def homes(self, *ids: str, rule: StickyRule | None = None) -> Homes:
        """Of a worker with these endpoints."""
        homes = Homes(rule or StickyRule(cookie="at"), SECRET, "shop")
        homes.update(ids)
        return homes

    def cookie(self, homes: Homes, endpoint_id: str, scheme: bytes = b"http", prefix: bytes = b"/shop") -> str:
        """The cookie that is set for an endpoint."""
        cookie = homes.cookie(endpoint_id, scheme, prefix)
        assert cookie is not None
        return cookie[1].decode()

    def test_there_and_back(self) -> None:
        """Who has the cookie of an endpoint finds it, also through another front."""
        value = self.cookie(self.homes("shop.1.1", "shop.1.2"), "shop.1.2").partition(";")[0].encode()
        self.assertEqual(self.homes("shop.1.2", "shop.1.3").home(asking(b"x=y; " + value)), "shop.1.2")

    def test_gone(self) -> None:
        """Nobody is at home where an endpoint is gone, or in a cookie that was made up."""
        value = self.cookie(self.homes("shop.1.1"), "shop.1.1").partition(";")[0].encode()
        homes = self.homes("shop.2.1")
        for cookie in (value, b"at=shop.2.1", b"at=", b"at", value.lower()):
            self.assertEqual(homes.home(asking(cookie)), "", cookie)

    def test_several(self) -> None:
        """Of several cookies of the name that counts which one of ours made."""
        homes = self.homes("shop.1.1")
        value = self.cookie(homes, "shop.1.1").partition(";")[0].encode()
        self.assertEqual(homes.home(asking(b"at=other; " + value)), "shop.1.1")

    def test_attributes(self) -> None:
        """The cookie is for what the client asked for: its path, its scheme."""
        homes = self.homes("shop.1.1")
        self.assertIn("; Path=/shop;", self.cookie(homes, "shop.1.1"))
        self.assertNotIn("Secure", self.cookie(homes, "shop.1.1"))
        told = b"https", b"/mount/shop"
        self.assertIn("; Path=/mount/shop;", self.cookie(homes, "shop.1.1", *told))
        self.assertTrue(self.cookie(homes, "shop.1.1", *told).endswith("; Secure"))
        never = self.homes("shop.1.1", rule=StickyRule(cookie="at", secure=False))
        self.assertNotIn("Secure", self.cookie(never, "shop.1.1", *told))
        always = self.homes("shop.1.1", rule=StickyRule(cookie="at", secure=True, age_max_s=60))
        self.assertIn("; Max-Age=60; HttpOnly; SameSite=Lax; Secure", self.cookie(always, "shop.1.1"))

    def test_taken_away(self) -> None:
        """No cookie is set for an endpoint that has been taken away."""
        self.assertIsNone(self.homes("shop.1.1").cookie("shop.1.2", b"http", b"/"))

    def test_one_cookie(self) -> None:
        """An answer sets one cookie of ours, whatever was tried before, and keeps all others."""
        other, first, second = (b"X", b"1"), (b"Set-Cookie", b"1"), (b"Set-Cookie", b"1")
        headers = with_cookie([other], first, None)
        self.assertEqual(headers, [other, first])
        headers = with_cookie(headers, second, first)
        self.assertEqual(len(headers), 2)
        self.assertIs(headers[1], second)
        self.assertEqual(with_cookie(headers, None, second), [other])
