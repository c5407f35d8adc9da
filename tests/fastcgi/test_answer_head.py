"""Tests of L{tqserver.fastcgi.answer_head}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import UpstreamFault
from tqserver.fastcgi import answer_head
from tqserver.fastcgi.answer_head import HEAD_BYTES_MAX, LINES_REMEMBERED_MAX, ResponseHeadParser, read_head
from tqserver.http1.head import ResponseHead

FEW = settings(derandomize=True, deadline=None, max_examples=100)


def whole(data: bytes) -> tuple[ResponseHead, bytes]:
    """A head and what follows, from bytes that hold all of it."""
    found = read_head(data)
    assert found is not None
    return found


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
        for data in (b"\nbody", b"\r\nbody"):
            head, rest = whole(data)
            self.assertEqual((head.status, head.headers, rest), (200, [], b"body"))

    def test_first_empty_line(self) -> None:
        """The head ends with the first empty line, however the lines before and after it end."""
        for data in (b"A: b\n\n\r\n", b"A: b\n\r\n\n\n", b"A: b\r\n\r\nx\n\n", b"A: b\r\n\nx\r\n\r\n"):
            head, rest = whole(data)
            self.assertEqual(head.headers, [(b"A", b"b")], data)
            self.assertTrue(data.endswith(rest), data)
            self.assertIn(data[: len(data) - len(rest)], (b"A: b\n\n", b"A: b\n\r\n", b"A: b\r\n\r\n", b"A: b\r\n\n"))
        self.assertIsNone(read_head(b"A: b\r\n\r"))

    def test_connection_names_location(self) -> None:
        """A location that goes no further is no redirection either."""
        head, _ = whole(b"Connection: location\nLocation: /x\n\n")
        self.assertEqual((head.status, head.headers), (200, []))

    def test_too_large(self) -> None:
        """A head that came at once is held to the same limit."""
        self.assertRaises(UpstreamFault, whole, b"A: " + b"x" * HEAD_BYTES_MAX + b"\n\n")

    def test_remembered(self) -> None:
        """
        Lines are remembered as they were written; what only one client should know is not, and there is a limit.
        """
        lines = answer_head._LINES
        for _ in range(2):
            head, _ = whole(b"x-a:  1 \t\r\nX-A: 1\nset-cookie: secret\nX-Long: " + b"y" * 300 + b"\n\n")
            self.assertEqual(head.headers[:3], [(b"x-a", b"1"), (b"X-A", b"1"), (b"set-cookie", b"secret")])
        self.assertIn(b"X-A: 1", lines)
        self.assertEqual([line for line in lines if b"secret" in line or b"yyy" in line], [])
        for number in range(LINES_REMEMBERED_MAX + 10):
            whole(b"X-Number: %d\n\n" % number)
        self.assertLessEqual(len(lines), LINES_REMEMBERED_MAX)
