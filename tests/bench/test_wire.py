"""Tests for L{bench.wire}: the ledger's client takes nothing for an answer that is not one."""

from __future__ import annotations

import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.wire import Connection, Lost, Response

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class ConnectionTests(SynchronousTestCase):
    """What came over the wire is in the socket before we ask, so that nothing here waits."""

    def connect(self, answer: bytes, *, ended: bool = False) -> tuple[Connection, list[bytes]]:
        """A connection whose server answers its first request with this, and the bytes that the server got."""
        got: list[bytes] = []

        class Wire:
            """A socket that gives its answer when it has been asked."""

            def __init__(self) -> None:
                self.near, self.far = socket.socketpair()
                self.near.settimeout(1)

            def fileno(self) -> int:
                return self.near.fileno()

            def sendall(self, data: bytes) -> None:
                got.append(data)
                self.far.sendall(answer)
                if ended:
                    self.far.close()

            def recv(self, count: int) -> bytes:
                return self.near.recv(count)

            def close(self) -> None:
                self.near.close()
                self.far.close()

        wire = Wire()
        self.addCleanup(wire.close)
        connection = Connection(("127.0.0.1", 1))
        connection._socket = wire  # type: ignore[assignment]
        return connection, got

    def lost(self, answer: bytes, *, ended: bool = True, method: str = "GET") -> str:
        """How a request was lost that got this answer."""
        connection, _ = self.connect(answer, ended=ended)
        lost = self.assertRaises(Lost, connection.ask, method, "/")
        self.assertIsNone(connection._socket, "a connection that lost something is not used again")
        return lost.how

    def test_whole(self) -> None:
        """A response with a length is read to its end, and the connection is kept."""
        connection, got = self.connect(WHOLE)
        self.assertEqual(connection.ask("POST", "/x", b"abc"), Response(200, {"content-length": "5"}, b"hello"))
        self.assertEqual(got, [b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"])
        self.assertIsNotNone(connection._socket)

    def test_chunked(self) -> None:
        """Chunks are put together; a body can be sent in chunks as well."""
        connection, got = self.connect(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"
        )
        response = connection.ask("POST", "/", b"body", "Transfer-Encoding: chunked\r\n")
        self.assertEqual(response.body, b"abc0123456789")
        self.assertTrue(got[0].endswith(b"\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"))
        self.assertNotIn(b"Content-Length", got[0])

    def test_interim(self) -> None:
        """Interim responses are passed over."""
        connection, _ = self.connect(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE)
        self.assertEqual(connection.ask("GET", "/").status, 200)

    def test_without_body(self) -> None:
        """HEAD, 204 and 304 have no body, whatever their heads say."""
        for method, status in (("HEAD", 200), ("GET", 204), ("GET", 304)):
            connection, _ = self.connect(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)
            self.assertEqual(connection.ask(method, "/").body, b"")

    def test_close(self) -> None:
        """When the server says that it closes, we do too."""
        connection, _ = self.connect(WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        connection.ask("GET", "/")
        self.assertIsNone(connection._socket)

    def test_reset(self) -> None:
        """A connection that ends without a byte of an answer is a reset."""
        self.assertEqual(self.lost(b""), "reset")

    def test_cut(self) -> None:
        """A connection that ends anywhere within an answer has cut it."""
        for length in range(1, len(WHOLE)):
            self.assertEqual(self.lost(WHOLE[:length]), "cut", WHOLE[:length])

    def test_cut_chunks(self) -> None:
        """A chunked answer without its last chunk is cut."""
        self.assertEqual(self.lost(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), "cut")

    def test_malformed(self) -> None:
        """What does not say clearly where it ends is not counted as an answer."""
        for answer in (
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\n folded\r\n\r\n",
            WHOLE + b"more",
        ):
            self.assertEqual(self.lost(answer), "malformed", answer)

    def test_idle_close(self) -> None:
        """A connection that the server closed between two requests is no loss: a new one is opened."""
        connection, _ = self.connect(WHOLE, ended=True)
        connection.ask("GET", "/")
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
            connection.address = nobody.getsockname()
            lost = self.assertRaises(Lost, connection.ask, "GET", "/")
        self.assertEqual(lost.how, "refused")

    def test_stray(self) -> None:
        """Bytes that come when nothing was asked are an error of the server's."""
        connection, _ = self.connect(WHOLE)
        connection.ask("GET", "/")
        wire = connection._socket
        assert wire is not None
        wire.far.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")  # type: ignore[attr-defined]
        lost = self.assertRaises(Lost, connection.ask, "GET", "/")
        self.assertEqual(lost.how, "malformed")

    @given(st.binary(max_size=200))
    @settings(derandomize=True, deadline=None, max_examples=200)
    def test_garbage(self, answer: bytes) -> None:
        """Whatever a server sends, it is a response or a loss, and no other exception."""
        connection, _ = self.connect(b"HTTP/1.1 200 OK\r\n" + answer, ended=True)
        try:
            response = connection.ask("GET", "/")
        except Lost:
            return
        self.assertEqual(response.status, 200)
