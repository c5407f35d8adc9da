"""Tests of L{tqserver.fastcgi.cgi}."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import request_head
from tqserver.fastcgi.cgi import (
    METHODS_REMEMBERED_MAX,
    Client,
    _methods,
    client_variables,
    header_variables,
    request_variables,
    script_variables,
    variable,
)
from tqserver.fastcgi.records import decode_pairs
from tqserver.fastcgi.scripts import Script
from tqserver.http1.head import RequestHead

CLIENT = Client(host="192.0.2.7", asked=b"", server_host="192.0.2.1", server_port=8080, secure=False)

SCRIPT = Script(b"/srv/public", b"/srv/public/index.php", b"/index.php")


def variables(
    head: RequestHead, *, body_bytes: int = 0, script: Script = SCRIPT, mount: bytes = b"/blog", client: Client = CLIENT
) -> dict[bytes, bytes]:
    """The variables of a request; none may be there twice."""
    pairs = decode_pairs(
        b"".join(
            [
                client_variables(evolve(client, asked=head.host)),
                header_variables(head.headers),
                script_variables(script, mount),
                *request_variables(head, 4711, body_bytes),
            ]
        )
    )
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
            self.assertEqual([name for name, _ in headers if variable(name) is None], [b"x_forwarded_for"])
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
        """An encrypted connection is told; otherwise C{HTTPS} is not there."""
        secure = evolve(CLIENT, secure=True, server_port=0)
        found = variables(request_head(), client=secure)
        self.assertEqual(found[b"HTTPS"], b"on")
        self.assertEqual((found[b"REQUEST_SCHEME"], found[b"SERVER_PORT"]), (b"https", b"443"))
        self.assertNotIn(b"HTTPS", variables(request_head(headers=[(b"https", b"on")])))

    def test_names(self) -> None:
        """The server's name is the host without its port, brackets and all."""
        for host, name in ((b"[::1]:80", b"[::1]"), (b"[::1]", b"[::1]"), (b"a.test", b"a.test"), (b"a:1", b"a")):
            self.assertEqual(variables(request_head(host=host))[b"SERVER_NAME"], name)
        found = variables(request_head(host=b"", version=(1, 0)))
        self.assertEqual((found[b"SERVER_NAME"], found[b"SERVER_PROTOCOL"]), (b"192.0.2.1", b"HTTP/1.0"))
        self.assertNotIn(b"HTTP_HOST", found)

    def test_long(self) -> None:
        """Whatever lengths there are: a path and a query of more than 127 bytes have lengths of four."""
        for size in (0, 1, 126, 127, 128, 5000):
            found = variables(request_head(target=b"/" + b"p" * size + b"?" + b"q" * size))
            self.assertEqual(found[b"REQUEST_URI"], b"/" + b"p" * size + b"?" + b"q" * size)
            self.assertEqual(found[b"QUERY_STRING"], b"q" * size)

    def test_content_type_twice(self) -> None:
        """Of two content types a script is told the first, not a list that is none."""
        found = variables(request_head(headers=[(b"content-type", b"a/b"), (b"content-type", b"c/d")]))
        self.assertEqual(found[b"CONTENT_TYPE"], b"a/b")

    def test_invented_methods(self) -> None:
        """Methods that a client invents are told, and not remembered for ever."""
        for number in range(METHODS_REMEMBERED_MAX + 10):
            method = b"X%d" % number
            self.assertEqual(variables(request_head(method))[b"REQUEST_METHOD"], method)
        self.assertLessEqual(len(_methods), METHODS_REMEMBERED_MAX)
