"""What PHP workers answer, byte by byte through a real front."""

from __future__ import annotations

from tests.functional.strict_answering import EVIL, AnswerCase


class FastCGITests(AnswerCase):
    """The same for what a PHP worker writes (RFC 3875 section 6)."""

    path = "/php/answer"

    def test_good(self) -> None:
        """A CGI answer becomes one of HTTP (RFC 3875 section 6.3)."""
        reply = self.passed(b"Status: 201 Made\r\nX: y\r\nContent-Type: text/plain\r\n\r\nok")
        self.assertEqual((reply.status, reply.headers["x"], reply.body), (201, "y", b"ok"))

    def test_malformed(self) -> None:
        """What is no head of CGI is none of HTTP (RFC 3875 section 6.3)."""
        for head in (
            b"X : y",
            b"X y: z",
            b": y",
            b"X",
            b"X\0: y",
            b"X: y\0z",
            b"X: y\rX-Evil: yes",
            b"X: \x01",
            b"X: y\r\n z",
            b"HTTP/1.1 200 OK\r\nX: y",
            b"Status: 20",
            b"Status: 600 No",
            b"Status: 101 Switch",
            b"Status: 200 O\0K",
            b"Status: 200\r\nStatus: 201",
            b"Content-Length: x",
            b"Content-Length: -2",
            b"Content-Length: 2\r\nContent-Length: 3",
        ):
            self.refused(head + b"\r\n" + EVIL + b"\r\n\r\nok")
        self.refused(EVIL + b"\r\n")
        self.refused(b"X: " + b"y" * 70000 + b"\r\n" + EVIL + b"\r\n\r\nok")

    def test_framing_is_ours(self) -> None:
        """A script does not say how its answer is framed, nor speaks to our neighbour (RFC 3875 section 6.3.4)."""
        reply = self.passed(
            b"Transfer-Encoding: chunked\r\nConnection: x-evil\r\nX-Evil: yes\r\nUpgrade: x\r\nX: y\r\n\r\n"
            b"2\r\nok\r\n0\r\n\r\n"
        )
        self.assertEqual((reply.headers["x"], reply.body), ("y", b"2\r\nok\r\n0\r\n\r\n"))
        self.assertNotIn("upgrade", reply.headers)

    def test_bodies(self) -> None:
        """A body is no longer than it says, and if it is shorter the client can tell (RFC 3875 section 6.3.4)."""
        evil = b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\n\r\n"
        self.assertEqual(self.passed(b"Content-Length: 2\r\n\r\nok" + evil).body, b"ok")
        self.cut(b"Content-Length: 5\r\n\r\nok")
        self.assertEqual(self.passed(b"Status: 204 No\r\n\r\n" + evil).body, b"")
        self.assertEqual(self.passed(b"Content-Length: 2\r\n\r\nok", b"HEAD").body, b"")
