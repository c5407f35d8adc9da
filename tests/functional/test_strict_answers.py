"""What workers answer, byte by byte through a real front: what is malformed is a 502 or a cut, and goes no further."""

from __future__ import annotations

from tests.functional.strict_answering import EVIL, AnswerCase


class HeadTests(AnswerCase):
    """The first line and the fields."""

    def test_no_http(self) -> None:
        """An answer is one of HTTP (RFC 9112 section 4)."""
        self.refused(b"hello, this is no HTTP\r\n" + EVIL + b"\r\n\r\n")

    def test_nothing(self) -> None:
        """A worker that closes without a word has not answered (RFC 9112 section 8)."""
        self.refused(b"", b"POST", close=True)

    def test_bad_status(self) -> None:
        """A status has three digits, of a class that there is (RFC 9110 section 15)."""
        for status in (b"20", b"2000", b"2x0", b"000", b"099", b"600", b"999", b"-20", b" 200", b"200OK"):
            self.refused(b"HTTP/1.1 " + status + b" OK\r\n" + EVIL + b"\r\nContent-Length: 0\r\n\r\n")

    def test_bad_version(self) -> None:
        """And a version that we speak (RFC 9112 section 2.3)."""
        for version in (
            b"HTTP/2.0",
            b"HTTP/0.9",
            b"HTTP/1.2",
            b"HTTP/1.10",
            b"http/1.1",
            b"RTSP/1.0",
            b"ICE/1.0",
            b"ICY",
        ):
            self.refused(version + b" 200 OK\r\n" + EVIL + b"\r\nContent-Length: 0\r\n\r\n")

    def test_something_before(self) -> None:
        """It begins with its first byte (RFC 9112 section 2.1)."""
        for before in (b"\r\n", b"\n", b"\r", b" ", b"\0"):
            self.refused(before + b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\nContent-Length: 0\r\n\r\n")

    def test_control_characters_in_the_reason(self) -> None:
        """A reason is text (RFC 9112 section 4)."""
        for byte in (b"\0", b"\x01", b"\x1b", b"\x7f"):
            self.refused(b"HTTP/1.1 200 O" + byte + b"K\r\n" + EVIL + b"\r\nContent-Length: 0\r\n\r\n")

    def test_line_ends(self) -> None:
        """Lines end with CRLF (RFC 9112 section 2.2)."""
        good = b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\nContent-Length: 0\r\n\r\n"
        for end in (b"\n", b"\r", b"\n\r", b"\r\r\n"):
            self.refused(good.replace(b"\r\n", end), close=True)
            self.refused(good.replace(b"yes\r\n", b"yes" + end))

    def test_splitting(self) -> None:
        """A value ends no line, so that no field, and no answer, is added to another (RFC 9112 section 11.1)."""
        for value in (
            b"a\nX-Evil: yes",
            b"a\rX-Evil: yes",
            b"a\0\r\nX-Evil: yes",
            b"a\n\nHTTP/1.1 200 OK\r\nX-Evil: yes\r\nContent-Length: 0",
            b"a\r\rHTTP/1.1 200 OK\r\nX-Evil: yes\r\nContent-Length: 0",
        ):
            self.refused(b"HTTP/1.1 302 Found\r\nLocation: " + value + b"\r\nContent-Length: 0\r\n\r\n")

    def test_folded(self) -> None:
        """A value does not go on in the next line (RFC 9112 section 5.2)."""
        for fold in (b" ", b"\t"):
            self.refused(b"HTTP/1.1 200 OK\r\nX: y\r\n" + fold + EVIL + b"\r\nContent-Length: 0\r\n\r\n")

    def test_names(self) -> None:
        """A name is a token, at once followed by its colon (RFC 9112 section 5.1)."""
        for field in (b"X : y", b"X\t: y", b": y", b"X y: z", b"X\0: y", b"X\xe4: y", b"(X): y", b"X", b' "X": y'):
            self.refused(b"HTTP/1.1 200 OK\r\n" + field + b"\r\n" + EVIL + b"\r\nContent-Length: 0\r\n\r\n")

    def test_control_characters_in_a_value(self) -> None:
        """A value is text (RFC 9110 section 5.5)."""
        for byte in (b"\0", b"\x01", b"\x0b", b"\x1b", b"\x7f"):
            self.refused(b"HTTP/1.1 200 OK\r\nX: a" + byte + b"b\r\n" + EVIL + b"\r\nContent-Length: 0\r\n\r\n")

    def test_other_text(self) -> None:
        """Other text than ASCII is let through, as it is (RFC 9110 section 5.5)."""
        reply = self.passed(b"HTTP/1.1 200 Sch\xf6n\r\nX: \xc3\xa4\xff\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual((reply.status, reply.headers["x"], reply.body), (200, "\xc3\xa4\xff", b"ok"))

    def test_many_fields(self) -> None:
        """The number of fields is limited (RFC 9110 section 5.4)."""
        self.refused(b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\n" + b"X: y\r\n" * 256 + b"Content-Length: 0\r\n\r\n")

    def test_large_head(self) -> None:
        """So is the size of the head (RFC 9110 section 5.4)."""
        self.refused(b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\nX: " + b"y" * 70000 + b"\r\nContent-Length: 0\r\n\r\n")

    def test_endless_head(self) -> None:
        """Whether or not it has an end (RFC 9110 section 5.4)."""
        self.refused(b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\nX: " + b"y" * 90000)

    def test_half_a_head(self) -> None:
        """Half a head is none (RFC 9112 section 8)."""
        self.refused(b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\nContent-Le", close=True)

    def test_between_the_worker_and_us(self) -> None:
        """What the worker says to us stays here (RFC 9110 section 7.6.1)."""
        reply = self.passed(
            b"HTTP/1.1 200 OK\r\nConnection: x-evil, keep-alive\r\nX-Evil: yes\r\nKeep-Alive: timeout=1\r\n"
            b"Upgrade: h2c\r\nTrailer: x\r\nProxy-Connection: close\r\nContent-Length: 2\r\n\r\nok"
        )
        self.assertFalse({"keep-alive", "upgrade", "trailer", "proxy-connection", "connection"} & set(reply.headers))


class InterimTests(AnswerCase):
    """Interim answers (RFC 9110 section 15.2)."""

    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def test_hints(self) -> None:
        """They are passed on before the final one (RFC 9110 section 15.2)."""
        reply = self.passed(self.hints + self.hints + self.final)
        self.assertEqual((reply.status, reply.interim, reply.body), (200, (103, 103), b"ok"))

    def test_continue(self) -> None:
        """100 is for us, who had the body (RFC 9110 section 15.2.1)."""
        reply = self.passed(b"HTTP/1.1 100 Continue\r\n\r\n" + self.final)
        self.assertEqual((reply.status, reply.interim), (200, ()))

    def test_flood(self) -> None:
        """They have an end (RFC 9110 section 15.2)."""
        self.refused(self.hints * 100 + self.final)

    def test_nothing_behind(self) -> None:
        """And something behind them (RFC 9110 section 15.2)."""
        self.refused(self.hints, close=True)

    def test_body(self) -> None:
        """They have no body (RFC 9110 section 15.2), so that what follows begins an answer."""
        evil = b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\nContent-Length: 0\r\n\r\n"
        self.refused(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\n\r\nbody" + evil)
        self.refused(self.hints + b"\r\n" + evil)

    def test_malformed(self) -> None:
        """They are held to the same rules (RFC 9112 section 4)."""
        for interim in (
            b"HTTP/1.1 103 Early\0\r\n" + EVIL + b"\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nX : y\r\n" + EVIL + b"\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nX: y\n" + EVIL + b"\r\n\r\n",
            b"HTTP/1.0 103 Early Hints\r\n" + EVIL + b"\r\n\r\n",
        ):
            self.refused(interim + self.final)

    def test_unasked_switch(self) -> None:
        """Nobody switches protocols who was not asked to (RFC 9110 section 15.2.2)."""
        for fields in (
            b"Upgrade: websocket\r\nConnection: upgrade\r\n",
            b"Upgrade: h2c\r\nConnection: upgrade\r\n",
            b"",
        ):
            self.refused(b"HTTP/1.1 101 Switching Protocols\r\n" + EVIL + b"\r\n" + fields + b"\r\n" + self.final)


class BodyTests(AnswerCase):
    """Where an answer ends."""

    def test_lengths(self) -> None:
        """There is one length, a number (RFC 9112 section 6.3)."""
        for fields in (
            b"Content-Length: 2\r\nContent-Length: 3",
            b"Content-Length: 2\r\nContent-Length: 2",
            b"Content-Length: 2, 2",
            b"Content-Length: +2",
            b"Content-Length: -2",
            b"Content-Length: 0x2",
            b"Content-Length: 2 2",
            b"Content-Length:",
            b"Content-Length: " + b"9" * 19,
            b"Content-Length: \r\n 2",
        ):
            self.refused(b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\n" + fields + b"\r\n\r\nok")

    def test_length_and_chunks(self) -> None:
        """Or chunks; not both (RFC 9112 section 6.3)."""
        for fields in (
            b"Content-Length: 2\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 2",
            b"Content-Length: 2\r\nTransfer-Encoding: x",
        ):
            self.refused(b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\n" + fields + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    def test_codings(self) -> None:
        """No other coding is known, nor chunks in HTTP/1.0 (RFC 9112 section 6.1)."""
        for coding in (b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"identity", b"xchunked", b""):
            head = b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
            self.refused(head + b"2\r\nok\r\n0\r\n\r\n", close=True)
        self.refused(
            b"HTTP/1.0 200 OK\r\n" + EVIL + b"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", close=True
        )

    def test_chunks(self) -> None:
        """Chunks that are none do not become a whole body (RFC 9112 section 7.1)."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for body in (
            b"2\r\nok\r\ng\r\n",
            b"+2\r\nok\r\n0\r\n\r\n",
            b"0x2\r\nok\r\n0\r\n\r\n",
            b"2 \r\nok\r\n0\r\n\r\n",
            b"2\nok\r\n0\r\n\r\n",
            b"2\r\nokay\r\n0\r\n\r\n",
            b"2\r\nok\n0\r\n\r\n",
            b"2;a\rb\r\nok\r\n0\r\n\r\n",
            b"2;a\nb\r\nok\r\n0\r\n\r\n",
            b"10000000000000002\r\nok\r\n0\r\n\r\n",
            b"2\r\nok\r\n0\r\nContent-Length: 3\r\n\r\n",
            b"2\r\nok\r\n0\r\nX: a\r\n b\r\n\r\n",
        ):
            self.cut(head + body)

    def test_no_last_chunk(self) -> None:
        """A body without its last chunk is not whole (RFC 9112 section 8)."""
        for body in (b"", b"2\r\nok", b"2\r\nok\r\n", b"2\r\nok\r\n0\r\n"):
            self.cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body, close=True)

    def test_endless_extension(self) -> None:
        """Nor is one whose chunk has no end of extensions, or whose trailer has none (RFC 9112 section 7.1)."""
        for body in (b"2;" + b"a" * 400000, b"0\r\nX: " + b"y" * 400000):
            self.cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)

    def test_trailer(self) -> None:
        """A trailer becomes nobody's header (RFC 9110 section 6.5.1)."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = self.passed(head + b"2;a=b\r\nok\r\n0\r\n" + EVIL + b"\r\n\r\n")
        self.assertEqual(reply.body, b"ok")

    def test_short_body(self) -> None:
        """A body that is shorter than it said is cut (RFC 9112 section 8)."""
        self.cut(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", close=True)

    def test_long_body(self) -> None:
        """What is behind a body is not passed on, nor taken for the next answer (RFC 9112 section 6.3)."""
        evil = b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\nContent-Length: 0\r\n\r\n"
        for behind in (b"X-Evil: yes", evil, b"\r\n" + evil):
            reply = self.passed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + behind)
            self.assertEqual((reply.status, reply.body), (200, b"ok"))

    def test_body_of_head(self) -> None:
        """The answer to a HEAD has no body, whatever its fields say (RFC 9110 section 9.3.2)."""
        for framing in (b"Content-Length: 11", b"Transfer-Encoding: chunked"):
            for behind in (b"", b"X-Evil: yes", b"2\r\nok\r\n0\r\n\r\n"):
                reply = self.passed(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + behind, b"HEAD")
                self.assertEqual((reply.status, reply.body), (200, b""))

    def test_body_where_there_is_none(self) -> None:
        """Nor has a 204 or a 304 (RFC 9112 section 6.3)."""
        for status in (b"204 No Content", b"304 Not Modified"):
            for framing in (b"", b"Content-Length: 11\r\n", b"Transfer-Encoding: chunked\r\n"):
                for behind in (b"", b"X-Evil: yes", b"HTTP/1.1 200 OK\r\n" + EVIL + b"\r\n\r\n"):
                    reply = self.passed(b"HTTP/1.1 " + status + b"\r\n" + framing + b"\r\n" + behind)
                    self.assertEqual((reply.status, reply.body), (int(status[:3]), b""))
                    self.assertNotIn("transfer-encoding", reply.headers)
                    if status.startswith(b"204"):
                        self.assertNotIn("content-length", reply.headers)

    def test_until_the_end(self) -> None:
        """A body without a length ends with the connection, and is one with a length, or chunks, for the client."""
        for version in (b"1.0", b"1.1"):
            reply = self.passed(b"HTTP/" + version + b" 200 OK\r\n\r\nok", close=True)
            self.assertEqual((reply.status, reply.body), (200, b"ok"))
            self.assertTrue({"content-length", "transfer-encoding"} & set(reply.headers))
