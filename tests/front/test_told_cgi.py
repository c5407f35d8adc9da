"""Tests of L{tqserver.front.told_cgi}."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange, request_head
from tests.front.test_forwarded import PEER, PROXY, Fields, entropy
from tqserver.fastcgi.cgi import Client, client_variables, header_variables
from tqserver.fastcgi.records import decode_pairs
from tqserver.front.forwarded import Forwarding
from tqserver.front.told_cgi import CLIENTS_REMEMBERED_MAX, NAMES_REMEMBERED_MAX, CGIWords

NAMES = [
    b"accept",
    b"connection",
    b"content-length",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"keep-alive",
    b"proxy",
    b"te",
    b"traceparent",
    b"tracestate",
    b"user-agent",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-other",
    b"x-real-ip",
    b"x-request-id",
    b"x.other",
    b"x_forwarded_for",
    b"x_other",
]

VALUES = [
    b"",
    b"1",
    b"203.0.113.77",
    b"https",
    b"close",
    b"keep-alive",
    b"close, X-Other",
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"y" * 127,
    b"y" * 128,
]


class Told:
    """What scripts are told by one front."""

    def __init__(self, *trusted: str) -> None:
        self.forwarding = Forwarding(trusted, entropy)
        self.words = CGIWords(self.forwarding)

    def exchange(self, fields: Fields, peer: str, host: bytes = b"shop.test:8080") -> FakeExchange:
        """A request."""
        exchange = FakeExchange(request_head(headers=fields, host=host))
        exchange.request_id, exchange.client_host = self.forwarding.identify(exchange.head, peer)
        return exchange

    def variables(
        self, fields: Fields = (), peer: str = PEER, scheme: bytes = b"http", prefix: bytes = b"/blog"
    ) -> dict[bytes, bytes]:
        """What a script is told; nothing twice."""
        pairs = decode_pairs(b"".join(self.words.variables(self.exchange(fields, peer), peer, scheme, prefix)))
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    def expected(self, fields: Fields, peer: str, scheme: bytes, prefix: bytes) -> dict[bytes, bytes]:
        """The same from the fields that a worker gets that speaks HTTP."""
        exchange = self.exchange(fields, peer)
        headers, _, client = self.forwarding.rewrite(exchange.head, peer, scheme, prefix, exchange.request_id)
        secure = dict(headers)[b"x-forwarded-proto"] == b"https"
        told = client_variables(
            Client(host=client, asked=exchange.head.host, server_host="192.0.2.1", server_port=8080, secure=secure)
        )
        return dict(decode_pairs(told + header_variables(headers)))


class ToldTests(SynchronousTestCase):
    """What scripts learn of clients."""

    def test_stranger(self) -> None:
        """A script learns who asks, for what address, and gets the header fields; once and once more."""
        told = Told("10.0.0.0/8")
        for number in (1, 2):
            found = told.variables([(b"accept", b"text/html"), (b"x-forwarded-for", b"127.0.0.1"), (b"x_other", b"1")])
            identity = found.pop(b"HTTP_X_REQUEST_ID")
            self.assertEqual(found.pop(b"HTTP_X_CORRELATION_ID"), identity)
            self.assertTrue(identity.endswith(b"-%d" % number))
            self.assertRegex(found.pop(b"HTTP_TRACEPARENT"), rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01")
            self.assertEqual(
                found,
                {
                    b"GATEWAY_INTERFACE": b"CGI/1.1",
                    b"SERVER_SOFTWARE": b"tqserver",
                    b"SERVER_NAME": b"shop.test",
                    b"SERVER_ADDR": b"192.0.2.1",
                    b"SERVER_PORT": b"8080",
                    b"REMOTE_ADDR": b"203.0.113.9",
                    b"REQUEST_SCHEME": b"http",
                    b"REDIRECT_STATUS": b"200",
                    b"HTTP_HOST": b"shop.test:8080",
                    b"HTTP_X_FORWARDED_FOR": b"203.0.113.9",
                    b"HTTP_X_REAL_IP": b"203.0.113.9",
                    b"HTTP_X_FORWARDED_PROTO": b"http",
                    b"HTTP_X_FORWARDED_HOST": b"shop.test:8080",
                    b"HTTP_X_FORWARDED_PREFIX": b"/blog",
                    b"HTTP_ACCEPT": b"text/html",
                },
            )

    def test_trusted_proxy(self) -> None:
        """A trusted proxy's word is taken about the client, and that the client's connection is encrypted."""
        found = Told("10.0.0.0/8").variables(
            [(b"x-forwarded-for", b"203.0.113.77"), (b"x-forwarded-proto", b"https"), (b"x-request-id", b"abc")], PROXY
        )
        self.assertEqual(found[b"REMOTE_ADDR"], b"203.0.113.77")
        self.assertEqual((found[b"HTTPS"], found[b"REQUEST_SCHEME"]), (b"on", b"https"))
        self.assertEqual(found[b"HTTP_X_FORWARDED_FOR"], b"203.0.113.77, 10.0.0.5")
        self.assertEqual(found[b"HTTP_X_REQUEST_ID"], b"abc")

    def test_httpoxy(self) -> None:
        """C{Proxy} does not become C{HTTP_PROXY}, and no header field is C{HTTPS} or a variable of PHP's own."""
        found = Told().variables([(b"proxy", b"http://evil.test"), (b"https", b"on"), (b"document-root", b"/")])
        self.assertNotIn(b"HTTP_PROXY", found)
        self.assertNotIn(b"HTTPS", found)
        self.assertNotIn(b"DOCUMENT_ROOT", found)

    def test_named_by_connection(self) -> None:
        """What C{Connection} names goes no further; the usual values of it name nothing."""
        for value, there in ((b"close, X-Other", False), (b"keep-alive", True)):
            found = Told().variables([(b"x-other", b"1"), (b"connection", value)])
            self.assertEqual(b"HTTP_X_OTHER" in found, there)
            self.assertNotIn(b"HTTP_CONNECTION", found)

    def test_repeated(self) -> None:
        """Fields that came twice are one variable each."""
        found = Told().variables([(b"cookie", b"a=1"), (b"accept", b"x"), (b"cookie", b"b=2"), (b"accept", b"y")])
        self.assertEqual((found[b"HTTP_COOKIE"], found[b"HTTP_ACCEPT"]), (b"a=1; b=2", b"x, y"))

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(
        st.lists(
            st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=6), min_size=1, max_size=3
        ),
        st.sampled_from([PEER, PROXY, ""]),
        st.sampled_from([b"http", b"https"]),
        st.sampled_from([b"/", b"/blog"]),
    )
    def test_as_over_http(
        self, requests: list[list[tuple[bytes, bytes]]], peer: str, scheme: bytes, prefix: bytes
    ) -> None:
        """Whatever is asked, a script is told what a worker is that speaks HTTP: no two can disagree."""
        one, other = Told("10.0.0.0/8"), Told("10.0.0.0/8")
        for fields in requests:
            found, expected = one.variables(fields, peer, scheme, prefix), other.expected(fields, peer, scheme, prefix)
            self.assertEqual(found, expected)

    def test_bounded(self) -> None:
        """Hosts and names that a client invents are not remembered for ever."""
        told = Told()
        for number in range(CLIENTS_REMEMBERED_MAX + 10):
            fields: Sequence[tuple[bytes, bytes]] = [(b"x-%d" % number, b"1"), (b"host", b"h%d" % number)]
            exchange = told.exchange(fields, PEER, b"h%d" % number)
            told.words.variables(exchange, PEER, b"http", b"/")
        self.assertLessEqual(len(told.words._clients), CLIENTS_REMEMBERED_MAX)
        self.assertLessEqual(len(told.words._names), NAMES_REMEMBERED_MAX)

    def test_long_names(self) -> None:
        """Nor are names that nobody uses, which may have kilobytes, remembered at all."""
        told = Told()
        name = b"x-" + b"a" * 8000
        told.words.variables(told.exchange([(name, b"1")], PEER), PEER, b"http", b"/")
        told.words.forwarding.lines(request_head(headers=[(name, b"1")]), PEER, b"http", b"/", "1")
        self.assertNotIn(name, told.words._names)
        self.assertNotIn(name, told.words.forwarding._fates)
