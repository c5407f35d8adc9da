"""What makes a request's head valid."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ClientFault
from tqserver.http1.head import Headers, RequestHead
from tqserver.http1.strict import HOST_BYTES_MAX, request_head

HOST = (b"host", b"example.test")


def head(
    url: bytes = b"/",
    *headers: tuple[bytes, bytes],
    method: bytes = b"GET",
    version: tuple[int, int] = (1, 1),
    host: bool = True,
) -> RequestHead:
    """The head of a request."""
    fields: Headers = [HOST, *headers] if host else list(headers)
    return request_head(method, url, version, fields, True)


class StrictTests(SynchronousTestCase):
    """Rules of RFC 9112 and RFC 9110."""

    def refused(
        self,
        status: int,
        url: bytes = b"/",
        *headers: tuple[bytes, bytes],
        method: bytes = b"GET",
        version: tuple[int, int] = (1, 1),
        host: bool = True,
    ) -> None:
        """Check that a head is refused with a status."""
        with self.assertRaises(ClientFault) as caught:
            head(url, *headers, method=method, version=version, host=host)
        self.assertEqual(caught.exception.status, status, (url, headers))

    def test_targets(self) -> None:
        """Origin, absolute and asterisk form are told apart (RFC 9112 section 3.2); nothing else is a target."""
        for url, method, target, host in (
            (b"/a/b?c=d?e", b"GET", b"/a/b?c=d?e", b"example.test"),
            (b"/a%2Fb//c", b"GET", b"/a%2Fb//c", b"example.test"),
            (b"http://other:81/x?y", b"GET", b"/x?y", b"other:81"),
            (b"HTTPS://other", b"GET", b"/", b"other"),
            (b"http://other?q", b"GET", b"/?q", b"other"),
            (b"http://[::1]:8/", b"GET", b"/", b"[::1]:8"),
            (b"*", b"OPTIONS", b"*", b"example.test"),
            (b"http://other", b"OPTIONS", b"*", b"other"),
            (b"http://other/", b"OPTIONS", b"/", b"other"),
            (b"//a/%7e[0]|^", b"GET", b"//a/%7e[0]|^", b"example.test"),
            (b"/?a[]=100%&b={\\}^`|", b"GET", b"/?a[]=100%&b={\\}^`|", b"example.test"),
        ):
            made = head(url, method=method)
            self.assertEqual((made.target, made.host), (target, host))
            self.assertEqual(made.path + (b"" if made.query is None else b"?" + made.query), target)
        for url in (
            b"",
            b"*",
            b"a",
            b"/a b",
            b"/a#b",
            b"/\x00",
            b"/\x7f",
            b"http://",
            b"http://u@h/",
            b"ftp://h/",
            b"h:80",
            b"/100%",
            b"/%0",
            b"/%zz",
            b"/%00",
            b"/a\\b",
            b"/{a}",
            b"/<a>",
            b'/?"',
            b"/?<",
            b"/\xc3\xa4",
            b"http://h/a\\b",
            b"http://h:99999/",
            b"http://a,b/",
            b"http:/a",
        ):
            self.refused(400, url)

    def test_hosts(self) -> None:
        """One Host, well formed; HTTP/1.0 may have none (RFC 9112 section 3.2)."""
        for value in (b"a", b"a:", b"a:80", b"a:65535", b"a.b-c_d", b"[::1]", b"[::1]:80", b"1.2.3.4:5", b"a%2Db"):
            self.assertEqual(head(b"/", (b"host", value), host=False).host, value)
        for value in (b"", b"a b", b"a/b", b"a:b", b"a:65536", b"a:123456", b"u@a", b"[::1", b"a\\b", b'"a"', b"a?b"):
            self.refused(400, b"/", (b"host", value), host=False)
        for value in (b"a#b", b"a,b", b"a, b", b":80", b"[::1::]", b"[]", b"[::1]80", b"a%2", b"a%zz", b"\xc3\xa4"):
            self.refused(400, b"/", (b"host", value), host=False)
        longest = b"a" * HOST_BYTES_MAX
        self.assertEqual(head(b"/", (b"host", longest + b":65535"), host=False).host, longest + b":65535")
        self.refused(400, b"/", (b"host", longest + b"a"), host=False)
        self.refused(400, b"http://a" + longest + b"/")
        self.refused(400, b"/", HOST)
        self.refused(400, b"/", host=False)
        for headers in ((), ((b"host", b""),)):
            self.assertEqual(head(b"/", *headers, version=(1, 0), host=False).host, b"")
        self.refused(400, b"/", (b"host", b"a b"), version=(1, 0), host=False)

    def test_lengths(self) -> None:
        """A body has one length or is chunked, and nobody can read it in two ways (RFC 9112 section 6)."""
        self.assertEqual(head().content_length, 0)
        self.assertEqual(head(b"/", (b"content-length", b"0012")).content_length, 12)
        self.assertIsNone(head(b"/", (b"transfer-encoding", b"Chunked")).content_length)
        for value in (b"", b"-1", b"+1", b"1 ", b"1,1", b"0x1", b"1_0", b"9" * 19, "\u0661".encode()):
            self.refused(400, b"/", (b"content-length", value))
        self.refused(400, b"/", (b"content-length", b"1"), (b"content-length", b"1"))
        self.refused(400, b"/", (b"content-length", b"1"), (b"transfer-encoding", b"chunked"))
        self.refused(400, b"/", (b"transfer-encoding", b"chunked"), version=(1, 0))
        for value in (b"gzip", b"chunked, chunked", b"identity", b"", b"\x0bchunked", b"chunked, gzip", b",chunked"):
            self.refused(400, b"/", (b"transfer-encoding", value))
        self.refused(400, b"/", (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked"))
        self.refused(501, b"/", (b"transfer-encoding", b"gzip, chunked"))
        self.refused(501, b"/", (b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked"))

    def test_expectations(self) -> None:
        """Only 100-continue can be met, nothing without a body or in HTTP/1.0 (RFC 9110 section 10.1.1)."""
        body = (b"content-length", b"1")
        self.assertTrue(head(b"/", body, (b"expect", b"100-Continue")).expect_continue)
        self.assertFalse(head(b"/", (b"expect", b"100-continue")).expect_continue)
        self.assertFalse(head(b"/", body, (b"expect", b"tea"), version=(1, 0)).expect_continue)
        for value in (b"tea", b"100-continue, tea", b"", b"100-continue;q=1"):
            self.refused(417, b"/", (b"expect", value))
        self.refused(417, b"/", (b"expect", b"100-continue"), (b"expect", b"tea"))

    def test_upgrades(self) -> None:
        """An upgrade is asked for only where Connection names it (RFC 9110 section 7.8)."""
        upgrade = (b"upgrade", b"websocket")
        self.assertEqual(head(b"/", upgrade, (b"connection", b"keep-alive, Upgrade")).upgrade, b"websocket")
        self.assertEqual(head(b"/", upgrade).upgrade, b"")
        asks = (b"connection", b"Upgrade")
        self.assertEqual(head(b"/", upgrade, asks, version=(1, 0)).upgrade, b"")
        for value in (b"h2c", b"H2C", b"HTTP/2.0", b"TLS/1.0"):
            self.assertEqual(head(b"/", (b"upgrade", value), asks).upgrade, b"", value)
        self.assertEqual(head(b"/", (b"upgrade", b"h2c, websocket"), asks).upgrade, b"websocket")

    def test_persistence(self) -> None:
        """A connection is kept in HTTP/1.1 unless, and in HTTP/1.0 only if it is asked for (RFC 9112 section 9.3)."""
        for value, version, kept in (
            (b"", (1, 1), True),
            (b"close", (1, 1), False),
            (b"Close", (1, 1), False),
            (b"keep-alive, close", (1, 1), False),
            (b"closed", (1, 1), True),
            (b"", (1, 0), False),
            (b"Keep-Alive", (1, 0), True),
            (b"keep-alive, close", (1, 0), False),
        ):
            self.assertEqual(head(b"/", (b"connection", value), version=version).keep_alive, kept, (value, version))
        self.assertFalse(request_head(b"GET", b"/", (1, 1), [HOST], False).keep_alive)

    def test_what_is_not_spoken(self) -> None:
        """Other versions are 505, tunnels and echoes 405."""
        for version in ((0, 9), (1, 2), (2, 0)):
            self.refused(505, version=version)
        for method in (b"CONNECT", b"TRACE"):
            self.refused(405, method=method)

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(
        st.binary(max_size=30),
        st.lists(
            st.tuples(
                st.sampled_from(
                    [b"host", b"content-length", b"transfer-encoding", b"expect", b"connection", b"upgrade", b"x"]
                ),
                st.one_of(st.binary(max_size=12), st.sampled_from([b"chunked", b"1", b"100-continue", b"upgrade"])),
            ),
            max_size=5,
        ),
    )
    def test_garbage(self, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Whatever is asked for, it is a head that can be written again, or a fault of the client's."""
        try:
            made = request_head(b"GET", url, (1, 1), headers, True)
        except ClientFault:
            return
        self.assertRegex(made.target, rb"\A(?:/[!-~\x80-\xff]*)\Z")
        self.assertEqual(made.headers, headers)
