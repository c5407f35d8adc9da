"""Tests of L{tqserver.fastcgi.cgi}."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import request_head
from tqserver.errors import ClientFault, UpstreamFault
from tqserver.fastcgi.cgi import Client, ResponseHeadParser, aliases, environment, response_head
from tqserver.fastcgi.scripts import Script
from tqserver.http1.head import RequestHead, ResponseHead

FEW = settings(derandomize=True, deadline=None, max_examples=100)

CLIENT = Client(host="192.0.2.7", port=4711, server_host="192.0.2.1", server_port=8080, secure=False)

SCRIPT = Script(b"/srv/public", b"/srv/public/index.php", b"/index.php")


def variables(
    head: RequestHead, *, body_bytes: int = 0, script: Script = SCRIPT, mount: bytes = b"/blog", client: Client = CLIENT
) -> dict[bytes, bytes]:
    """The variables of a request; none may be there twice."""
    pairs = environment(head, body_bytes, script, mount, client)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


class EnvironmentTests(SynchronousTestCase):
    """What a script learns of a request."""

    def test_front_controller(self) -> None:
        """A framework behind a mount prefix can build its URLs: path as sent, script below the prefix."""
        found = variables(request_head(b"GET", b"/blog/posts/1?page=2%20", host=b"shop.test:8443"))
        self.assertEqual(
            found,
            {
                b"GATEWAY_INTERFACE": b"CGI/1.1",
                b"SERVER_SOFTWARE": b"tqserver",
                b"SERVER_PROTOCOL": b"HTTP/1.1",
                b"SERVER_NAME": b"shop.test",
                b"SERVER_ADDR": b"192.0.2.1",
                b"SERVER_PORT": b"8080",
                b"REMOTE_ADDR": b"192.0.2.7",
                b"REMOTE_PORT": b"4711",
                b"REQUEST_METHOD": b"GET",
                b"REQUEST_SCHEME": b"http",
                b"REQUEST_URI": b"/blog/posts/1?page=2%20",
                b"QUERY_STRING": b"page=2%20",
                b"DOCUMENT_URI": b"/blog/index.php",
                b"DOCUMENT_ROOT": b"/srv/public",
                b"SCRIPT_NAME": b"/blog/index.php",
                b"SCRIPT_FILENAME": b"/srv/public/index.php",
                b"REDIRECT_STATUS": b"200",
                b"HTTP_HOST": b"shop.test:8443",
            },
        )

    def test_path_info(self) -> None:
        """What follows a script in the path is told; when there is nothing, neither variable is there."""
        found = variables(request_head(), script=evolve(SCRIPT, info=b"/a b"))
        self.assertEqual(found[b"PATH_INFO"], b"/a b")
        self.assertEqual(found[b"PATH_TRANSLATED"], b"/srv/public/a b")
        self.assertEqual(found[b"DOCUMENT_URI"], b"/blog/index.php/a b")
        found = variables(request_head())
        self.assertNotIn(b"PATH_INFO", found)
        self.assertNotIn(b"PATH_TRANSLATED", found)

    def test_no_voice_of_others(self) -> None:
        """Names with an underscore are dropped, and so cannot be taken for those with a hyphen."""
        for order in (1, -1):
            headers = [(b"x-forwarded-for", b"192.0.2.7"), (b"x_forwarded_for", b"127.0.0.1")][::order]
            found = variables(request_head(headers=headers))
            self.assertEqual(found[b"HTTP_X_FORWARDED_FOR"], b"192.0.2.7")
            self.assertEqual(aliases(headers), [b"x_forwarded_for"])
        for name in (b"x_real_ip", b"x.real.ip", b"content_length", b"x!real"):
            before = variables(request_head())
            self.assertEqual(variables(request_head(headers=[(name, b"1")])), before)

    def test_httpoxy(self) -> None:
        """C{Proxy} does not become C{HTTP_PROXY}."""
        self.assertNotIn(b"HTTP_PROXY", variables(request_head(headers=[(b"proxy", b"http://evil.test")])))

    def test_hop_by_hop(self) -> None:
        """What is between two neighbours goes no further, also when C{Connection} names it."""
        headers = [(b"connection", b"close, X-Secret"), (b"x-secret", b"1"), (b"te", b"trailers"), (b"upgrade", b"h2c")]
        self.assertEqual(variables(request_head(headers=headers)), variables(request_head()))

    def test_repeated(self) -> None:
        """A field that came twice is one variable with both values."""
        found = variables(
            request_head(headers=[(b"cookie", b"a=1"), (b"accept", b"x"), (b"cookie", b"b=2"), (b"accept", b"y")])
        )
        self.assertEqual((found[b"HTTP_COOKIE"], found[b"HTTP_ACCEPT"]), (b"a=1; b=2", b"x, y"))

    def test_body(self) -> None:
        """Type and length of a body have variables of their own; the length is that of the body that is sent."""
        head = request_head(b"POST", headers=[(b"content-type", b"text/x"), (b"content-length", b"5")])
        found = variables(head, body_bytes=5)
        self.assertEqual((found[b"CONTENT_TYPE"], found[b"CONTENT_LENGTH"]), (b"text/x", b"5"))
        self.assertNotIn(b"HTTP_CONTENT_TYPE", found)
        self.assertNotIn(b"HTTP_CONTENT_LENGTH", found)
        self.assertEqual(variables(request_head(b"POST", content_length=None), body_bytes=7)[b"CONTENT_LENGTH"], b"7")

    def test_https(self) -> None:
        """An encrypted connection is told, ours or that of a proxy in front of us; otherwise C{HTTPS} is not there."""
        secure = evolve(CLIENT, secure=True, server_port=0)
        found = variables(request_head(), client=secure)
        self.assertEqual(found[b"HTTPS"], b"on")
        self.assertEqual((found[b"REQUEST_SCHEME"], found[b"SERVER_PORT"]), (b"https", b"443"))
        self.assertEqual(variables(request_head(headers=[(b"x-forwarded-proto", b"https")]))[b"HTTPS"], b"on")
        self.assertNotIn(b"HTTPS", variables(request_head(headers=[(b"https", b"on")])))

    def test_names(self) -> None:
        """The server's name is the host without its port, brackets and all."""
        for host, name in ((b"[::1]:80", b"[::1]"), (b"[::1]", b"[::1]"), (b"a.test", b"a.test"), (b"a:1", b"a")):
            self.assertEqual(variables(request_head(host=host))[b"SERVER_NAME"], name)
        found = variables(request_head(host=b"", version=(1, 0)))
        self.assertEqual((found[b"SERVER_NAME"], found[b"SERVER_PROTOCOL"]), (b"192.0.2.1", b"HTTP/1.0"))
        self.assertNotIn(b"HTTP_HOST", found)

    def test_too_large(self) -> None:
        """A field that does not fit in a record is the client's fault."""
        fault = self.assertRaises(ClientFault, variables, request_head(headers=[(b"x-large", b"x" * 65_536)]))
        self.assertEqual(fault.status, 431)


def whole(data: bytes) -> tuple[ResponseHead, bytes]:
    """A head and what follows, from bytes that hold all of it."""
    parser = ResponseHeadParser()
    head = parser.feed(data)
    assert head is not None
    return head, parser.rest


class ResponseHeadTests(SynchronousTestCase):
    """How a script's answer becomes an HTTP response."""

    def test_plain(self) -> None:
        """Without a status it is 200."""
        head, rest = whole(b"X-Powered-By: PHP\r\nContent-type: text/html\r\n\r\n\r\nbody")
        self.assertEqual((head.status, head.reason, head.content_length), (200, b"OK", None))
        self.assertEqual(head.headers, [(b"X-Powered-By", b"PHP"), (b"Content-type", b"text/html")])
        self.assertEqual(rest, b"\r\nbody")

    def test_status_anywhere(self) -> None:
        """The status may stand first, as php-fpm has it, or last, with line feeds alone, and is no header field."""
        for data in (
            b"Status: 404 Not Found\r\nA: b\r\n\r\nx",
            b"A: b\nstatus:404   Not Found \n\nx",
        ):
            head, rest = whole(data)
            self.assertEqual((head.status, head.reason, head.headers), (404, b"Not Found", [(b"A", b"b")]))
            self.assertEqual(rest, b"x")

    def test_cookies(self) -> None:
        """Every cookie is kept, in order."""
        head, _ = whole(b"Status: 302\nSet-Cookie: a=1\nLocation: /x\nSet-Cookie: b=2\n\n")
        self.assertEqual(head.status, 302)
        self.assertEqual([value for name, value in head.headers if name == b"Set-Cookie"], [b"a=1", b"b=2"])

    def test_location(self) -> None:
        """A location without a status is a redirection, whether it is a URL or a path; with one, the status counts."""
        for location in (b"https://a.test/", b"/path?x"):
            self.assertEqual(whole(b"Location: " + location + b"\n\n")[0].status, 302)
        self.assertEqual(whole(b"Location: /new\nStatus: 201 Created\n\n")[0].status, 201)

    def test_framing_is_ours(self) -> None:
        """What a script says of connections and codings is left out; its length is a number."""
        head, _ = whole(
            b"Content-Length: 12\nTransfer-Encoding: chunked\nConnection: X-Own, keep-alive\n"
            b"X-Own: 1\nKeep-Alive: 5\nA: b\n\n"
        )
        self.assertEqual(head.headers, [(b"A", b"b")])
        self.assertEqual(head.content_length, 12)

    def test_malformed(self) -> None:
        """What is malformed is the script's fault: 502."""
        for data in (
            b"Status: 42\n\n",
            b"Status: 200OK\n\n",
            b"Status: garbage\n\n",
            b"Status: 101 Switching\n\n",
            b"Status: 999\n\n",
            b"Status:\n\n",
            b"Status: 200\nStatus: 404\n\n",
            b"no colon\n\n",
            b"A: b\n folded\n\n",
            b"A b: c\n\n",
            b": c\n\n",
            b"A: b\rSet-Cookie: x\n\n",
            b"A: b\0\n\n",
            b"Status: 200 a\rB: c\n\n",
            b"Content-Length: -1\n\n",
            b"Content-Length: 1, 1\n\n",
            b"Content-Length: 1\nContent-Length: 2\n\n",
            b"Content-Length: \n\n",
            b"HTTP/1.1 200 OK\n\n",
            b"<html>\n\n",
            b"A: b\n" * 513 + b"\n",
        ):
            fault = self.assertRaises(UpstreamFault, whole, data)
            self.assertEqual(fault.status, 502, data)

    def test_bounded(self) -> None:
        """A head that does not end is given up, whether its lines end or not."""
        for piece in (b"x" * 1000, b"X-Header: " + b"y" * 300 + b"\n"):
            parser = ResponseHeadParser(bytes_max=10_000)
            fed = 0
            with self.assertRaises(UpstreamFault):
                while fed < 20_000:
                    self.assertIsNone(parser.feed(piece))
                    fed += len(piece)
            self.assertLess(fed, 11_000)

    @FEW
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"A", b"Status", b"Location", b"Set-Cookie", b"Content-Length"]),
                st.sampled_from([b"", b"1", b"200 OK", b"404", b"/x", b"a=b; c"]),
            ),
            max_size=6,
        ),
        st.sampled_from([b"\n", b"\r\n"]),
        st.binary(max_size=20),
        st.lists(st.integers(1, 12), max_size=30),
    )
    def test_split(self, fields: list[tuple[bytes, bytes]], end: bytes, body: bytes, cuts: list[int]) -> None:
        """However the bytes are split, head and body are the same, or the same fault."""
        data = b"".join(name + b": " + value + end for name, value in fields) + end + body

        def pieces() -> tuple[object, ...]:
            parser = ResponseHeadParser()
            at = 0
            for cut in [*cuts, len(data)]:
                head = parser.feed(data[at : at + cut])
                at += cut
                if head is not None:
                    return head.status, head.reason, head.headers, head.content_length, parser.rest + data[at:]
            raise AssertionError("no head")

        def at_once() -> tuple[object, ...]:
            head, rest = whole(data)
            return head.status, head.reason, head.headers, head.content_length, rest

        try:
            expected = at_once()
        except UpstreamFault:
            self.assertRaises(UpstreamFault, pieces)
        else:
            self.assertEqual(pieces(), expected)

    @FEW
    @given(st.lists(st.binary(max_size=40), max_size=10))
    def test_garbage(self, pieces: list[bytes]) -> None:
        """Garbage is a fault or a head that can be sent on: no line break, no NUL in any field."""
        parser = ResponseHeadParser()
        try:
            for piece in pieces:
                head = parser.feed(piece)
                if head is not None:
                    break
            else:
                return
        except UpstreamFault:
            return
        self.assertTrue(200 <= head.status <= 599)
        for name, value in [*head.headers, (b"reason", head.reason)]:
            self.assertNotRegex(name + value, rb"[\r\n\0]")

    def test_of_no_fields(self) -> None:
        """A script that says nothing of itself answers 200."""
        self.assertEqual(response_head([]).status, 200)
        self.assertEqual(whole(b"\r\nbody")[1], b"body")
