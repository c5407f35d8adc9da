"""What a worker may answer, byte by byte: whatever two readers could understand in two ways is no answer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import connectionDone

from tests.http1.test_client import Answer, ClientCase
from tqserver.http1.answer_start import HEAD_BYTES_MAX, INTERIMS_MAX

FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
TEXT = frozenset(b"\t") | frozenset(range(0x20, 0x7F)) | frozenset(range(0x80, 0x100))

SPLITS = (1, 2, 5, 11, 1 << 20)


class AnswerCase(ClientCase):
    """One connection, and answers in any split."""

    def answered(self, data: bytes, size: int = 1 << 20, method: bytes = b"GET", ends: bool = True) -> Answer:
        """What becomes of an answer that comes in segments of a size."""
        self.connect()
        answer = self.ask(method)
        for at in range(0, len(data), size):
            if not self.wire.disconnected:
                self.connection.dataReceived(data[at : at + size])
        if ends:
            self.connection.connectionLost(connectionDone)
        return answer

    def refused(self, data: bytes, method: bytes = b"GET") -> None:
        """Check that an answer is none, however it comes, and that nothing of it is taken for one."""
        for size in SPLITS if len(data) < 1000 else (1000, 1 << 20):
            answer = self.answered(data, size, method, ends=False)
            self.assertIsNotNone(answer.fault, (data[:80], size))
            self.assertTrue(self.wire.disconnected)
            self.assertFalse(answer.ended)


class HeadTests(AnswerCase):
    """RFC 9112 sections 4 and 5."""

    def test_status_lines(self) -> None:
        """A status line is of HTTP/1, has three digits of a class that there is, and begins with the first byte."""
        for line in (
            b"HTTP/1.1 200 OK",
            b"HTTP/1.0 404 Not Found",
            b"HTTP/1.1 599 \xe4h",
            b"HTTP/1.1 200 ",
            b"HTTP/1.1 200",
        ):
            for size in SPLITS:
                answer = self.answered(line + b"\r\nContent-Length: 5\r\n\r\nhello", size)
                self.assertEqual((answer.body, answer.ended), (b"hello", True), (line, size))
        for line in (
            b"HTTP/2.0 200 OK",
            b"HTTP/0.9 200 OK",
            b"HTTP/1.2 200 OK",
            b"HTTP/1.10 200 OK",
            b"http/1.1 200 OK",
            b"ICE/1.0 200 OK",
            b"RTSP/1.0 200 OK",
            b"ICY 200 OK",
            b"HTTP/1.1 000 OK",
            b"HTTP/1.1 099 OK",
            b"HTTP/1.1 600 OK",
            b"HTTP/1.1 999 OK",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 2xx OK",
            b"HTTP/1.1 +20 OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1 200\tOK",
            b"HTTP/1.1 200OK",
            b" HTTP/1.1 200 OK",
            b"\r\nHTTP/1.1 200 OK",
            b"\nHTTP/1.1 200 OK",
            b"\rHTTP/1.1 200 OK",
            b"X: y\r\nHTTP/1.1 200 OK",
            b"HTTP/1.0 103 Early Hints",
        ):
            self.refused(line + b"\r\nContent-Length: 5\r\n\r\nhello")

    def test_half_a_start_and_a_whole_one(self) -> None:
        """What came first counts, also if what comes next would be an answer by itself."""
        for length in range(1, 12):
            self.connect()
            answer = self.ask()
            self.connection.dataReceived(FINAL[:length])
            self.connection.dataReceived(FINAL)
            self.assertIsNotNone(answer.fault, length)
            self.connect()
            answer = self.ask()
            self.connection.dataReceived(FINAL[:length])
            self.connection.dataReceived(FINAL[length:])
            self.assertEqual((answer.body, answer.ended), (b"hello", True), length)

    def test_every_byte(self) -> None:
        """Names are tokens, values and reasons are text: no control character gets through, so no line can be added."""
        for value in range(256):
            byte = bytes([value])
            for expected, head in (
                (value in TOKEN, b"HTTP/1.1 200 OK\r\nX" + byte + b"Y: z\r\n"),
                (value in TOKEN, b"HTTP/1.1 200 OK\r\n" + byte + b": z\r\n"),
                (value in TEXT, b"HTTP/1.1 200 OK\r\nX: y" + byte + b"z\r\n"),
                (value in TEXT, b"HTTP/1.1 200 OK\r\nX: " + byte + b"\r\n"),
                (value in TEXT, b"HTTP/1.1 200 O" + byte + b"K\r\n"),
                (value in TEXT, b"HTTP/1.1 103 O" + byte + b"K\r\nContent-Length: 5\r\n\r\n" + FINAL[:17]),
            ):
                if value == ord(":") and b"X:Y" in head:
                    continue  # It ends the name earlier.
                answer = self.answered(head + b"Content-Length: 5\r\n\r\nhello")
                self.assertEqual(answer.fault is None, expected, (head, value))

    def test_line_ends(self) -> None:
        """Lines end with CRLF and with nothing else; no line goes on in the next."""
        for data in (
            FINAL.replace(b"\r\n", b"\n"),
            FINAL.replace(b"\r\n", b"\r"),
            FINAL.replace(b"OK\r\n", b"OK\n"),
            FINAL.replace(b"5\r\n", b"5\n"),
            b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 5\r\n\r\nhello",
        ):
            self.refused(data)

    def test_framing(self) -> None:
        """There is one length or chunks, never both, and none of it in two ways (RFC 9112 section 6)."""
        for fields in (
            b"Content-Length: 5\r\nContent-Length: 5",
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Content-Length: 5, 5",
            b"Content-Length: +5",
            b"Content-Length: -5",
            b"Content-Length: 0x5",
            b"Content-Length: 5 5",
            b"Content-Length:",
            b"Content-Length: " + b"9" * 19,
            b"Content-Length: " + b"9" * 40,
            b"Content-Length : 5",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: chunked, gzip",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding: xchunked",
            b'Transfer-Encoding: "chunked"',
            b"Transfer-Encoding : chunked",
        ):
            self.refused(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        self.refused(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")

    def test_limits(self) -> None:
        """A head has a size and a number of fields."""
        self.refused(b"HTTP/1.1 200 OK\r\nX: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n")
        self.refused(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 257 + b"\r\n")
        self.refused(b"HTTP/1.1 103 Early Hints\r\nX: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n" + FINAL)
        self.refused(b"HTTP/1.1 103 Early Hints\r\nX: " + b"a" * HEAD_BYTES_MAX * 2)


class InterimTests(AnswerCase):
    """RFC 9110 section 15.2."""

    def test_every_split(self) -> None:
        """Interim answers and the final one come through in every split."""
        data = HINTS + b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + FINAL
        for size in range(1, len(data), 2):
            answer = self.answered(data, size)
            self.assertEqual([head.status for head in answer.interim], [103, 100, 103])
            self.assertEqual((answer.body, answer.ended), (b"hello", True))

    def test_what_follows(self) -> None:
        """What follows an interim answer begins one, with its first byte."""
        for rest in (
            b"\r\n" + FINAL,
            b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 999 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"body" + FINAL,
            b"\0" + FINAL,
        ):
            self.refused(HINTS + rest)
        self.refused(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\n\r\nbody" + FINAL)

    def test_flood(self) -> None:
        """There is an end to them."""
        self.assertTrue(self.answered(HINTS * INTERIMS_MAX + FINAL).ended)
        self.refused(HINTS * (INTERIMS_MAX + 1) + FINAL)

    def test_nothing_else(self) -> None:
        """Without a final answer, there is none."""
        answer = self.answered(HINTS)
        self.assertIsNotNone(answer.fault)
        self.assertFalse(answer.ended)

    def test_unasked_switch(self) -> None:
        """A switch to another protocol that nobody asked for is no answer (RFC 9110 section 7.8)."""
        for data in (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + FINAL,
        ):
            self.refused(data)
            self.refused(HINTS + data)


class BodyTests(AnswerCase):
    """RFC 9112 sections 6 and 7, RFC 9110 section 6.4."""

    def test_chunks(self) -> None:
        """Chunks that are none spoil the answer, also when its head was passed on."""
        for body in (
            b"g\r\n",
            b"\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"5;a\x00\r\nhello\r\n0\r\n\r\n",
            b"10000000000000000\r\nhello",
            b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
            b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
            b"5\r\nhello\r\n0\r\nX: \0\r\n\r\n",
        ):
            self.refused(CHUNKED + body)

    def test_cut(self) -> None:
        """A body that does not come to its end is told from one that does."""
        for data in (FINAL[:-1], CHUNKED + b"5\r\nhello\r\n", CHUNKED + b"5\r\nhel", CHUNKED + b"5\r\nhello\r\n0\r\n"):
            answer = self.answered(data)
            self.assertFalse(answer.ended)
            self.assertIsNotNone(answer.fault)

    def test_endless(self) -> None:
        """Chunk extensions and trailers do not go on for ever, nor pile up."""
        for beginning, more in ((b"5;x=", b"a" * 1000), (b"0\r\nX: ", b"a" * 1000), (b"0\r\n", b"X: y\r\n" * 20)):
            self.connect()
            answer = self.ask()
            self.connection.dataReceived(CHUNKED + beginning)
            for _ in range(100):
                if not self.wire.disconnected:
                    self.connection.dataReceived(more)
            self.assertIsNotNone(answer.fault, beginning)
        self.connect()
        answer = self.ask()
        self.connection.dataReceived(CHUNKED)
        for _ in range(HEAD_BYTES_MAX):
            self.connection.dataReceived(b"1;x\r\n")
            self.connection.dataReceived(b"y\r\n")
        self.assertIsNone(answer.fault, "many small chunks are a body")

    def test_where_there_is_none(self) -> None:
        """What follows an answer that has no body is not passed on, and the connection is not used again."""
        for method, head in (
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            (b"HEAD", CHUNKED),
            (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
            (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
            (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ):
            for behind in (b"hello", b"5\r\nhello\r\n0\r\n\r\n", FINAL):
                answer = self.answered(head + behind, method=method, ends=False)
                self.assertEqual((answer.ended, answer.body, answer.fault), (True, b"", None), (method, head))
                self.assertTrue(self.wire.disconnected)
                self.assertEqual(self.idle, [])

    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [HINTS, FINAL, CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n", b"\r\n", b"\0", b"HTTP/1.1 ", b"200"]
            ),
            min_size=1,
            max_size=5,
        )
    )
    def test_any_split(self, pieces: list[bytes]) -> None:
        """The split of the bytes does not decide what the answer is."""
        data = b"".join(pieces)
        outcomes = []
        for size in SPLITS:
            answer = self.answered(data, size)
            head = answer.head
            # What is behind a fault in the same segment may have come to nothing.
            whole = (head.status if head is not None else 0, answer.body) if answer.ended else None
            outcomes.append((whole, answer.fault is None))
        self.assertEqual(outcomes, [outcomes[0]] * len(SPLITS))
