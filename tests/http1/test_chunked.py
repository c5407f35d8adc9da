"""Chunked bodies, in any split."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ClientFault
from tqserver.http1.chunked import SIZE_LINE_BYTES_MAX, TRAILERS_MAX, ChunkReader


def read(data: bytes, size: int = 1 << 30, trailer_bytes_max: int = 4096) -> tuple[bytes, bytes, bool]:
    """
    Read a body that comes in segments of some size.

    @return: the body, what was not read, and whether the body is whole.
    """
    reader = ChunkReader(trailer_bytes_max)
    rest = b""
    for start in range(0, len(data), size):
        if reader.done:
            return b"".join(reader.pieces), rest + data[start:], True
        rest += data[start : start + size]
        rest = rest[reader.read(rest, 0) :]
    return b"".join(reader.pieces), rest, reader.done


class ChunkTests(SynchronousTestCase):
    """RFC 9112 section 7.1."""

    def refused(self, status: int, data: bytes) -> None:
        """Check that a body is refused, however it is split."""
        for size in (1, 2, 3, 5, 1 << 30):
            with self.assertRaises(ClientFault) as caught:
                read(data, size)
                self.fail(f"{data!r} by {size}")
            self.assertEqual(caught.exception.status, status, data)

    def test_bodies(self) -> None:
        """Chunks of any size, with extensions, and a trailer; what is behind is not touched."""
        for data, body in (
            (b"0\r\n\r\n", b""),
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
            (b"003\r\nabc\r\nA\r\n0123456789\r\n000\r\n\r\n", b"abc0123456789"),
            (b'3;a;b=c;d="e \\" f"\r\n\r\n\r\r\n0;x\r\n\r\n', b"\r\n\r"),
            (b"1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n", b"x"),
        ):
            for behind in (b"", b"G", b"0\r\n\r\n"):
                for size in (1, 2, 3, 7, 1 << 30):
                    self.assertEqual(read(data + behind, size), (body, behind, True), (data, size))

    def test_unfinished(self) -> None:
        """Half a body is not whole, and never refused for what has not come yet."""
        whole = b'3;a="b c";d\r\nabc\r\n0\r\nName: value\r\n\r\n'
        for length in range(len(whole)):
            self.assertFalse(read(whole[:length])[2])

    def test_sizes(self) -> None:
        """A size is hexadecimal digits and nothing else, and not too many."""
        for line in (
            b"",
            b"+3",
            b"-3",
            b"0x3",
            b" 3",
            b"3 ",
            b"3\t",
            b"g",
            b"3_0",
            b"\xd9\xa3",
            b"3,",
            b"3\x00",
            b"f" * 16,
            b"0" * 15 + b"3",
        ):
            self.refused(400, line + b"\r\nabc\r\n0\r\n\r\n")

    def test_line_ends(self) -> None:
        """Every line ends with CRLF, and so do the data of a chunk."""
        for data in (
            b"3\nabc\r\n0\r\n\r\n",
            b"3\rabc\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabc\r0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3\r\n\r\nabc\r\n0\r\n\r\n",
            b"0\n\r\n",
            b"0\r\n\n",
            b"0\r\n\rX",
            b"0\r\nA: b\n\r\n",
            b"0\r\nA: b\r\r\n\r\n",
        ):
            self.refused(400, data)

    def test_extensions(self) -> None:
        """An extension is a token, perhaps with a token or a quoted string (RFC 9112 section 7.1.1)."""
        for extension in (
            b";",
            b";;",
            b";=b",
            b";a=",
            b"; a",
            b";a ",
            b" ;a",
            b";a =b",
            b";a= b",
            b";a=b c",
            b';a="b',
            b';a="b"c',
            b';a="\n"',
            b';a="\x00"',
            b";a\x00",
            b";a\nb",
            b";a\rb",
            b";a\x7f",
            b";\xff",
            b';a="\r\n"',
        ):
            self.refused(400, b"3" + extension + b"\r\nabc\r\n0\r\n\r\n")
        self.refused(400, b"3;" + b"a" * SIZE_LINE_BYTES_MAX + b"\r\nabc\r\n0\r\n\r\n")
        self.refused(400, b"3;" + b"a" * SIZE_LINE_BYTES_MAX)

    def test_trailers(self) -> None:
        """A trailer holds fields, none of which says where or how long the message is (RFC 9110 section 6.5.1)."""
        for field in (b"A", b"A : b", b" A: b", b": b", b"A: b\r\n c", b"A: \x00", b"A: b\rc", b"A\x00: b", b"(A): b"):
            self.refused(400, b"0\r\n" + field + b"\r\n\r\n")
        for name in (b"Content-Length", b"transfer-encoding", b"HOST", b"Connection", b"Trailer", b"TE", b"Expect"):
            self.refused(400, b"0\r\n" + name + b": 1\r\n\r\n")
        self.refused(431, b"0\r\n" + b"A: b\r\n" * (TRAILERS_MAX + 1) + b"\r\n")
        self.assertTrue(read(b"0\r\n" + b"A: b\r\n" * TRAILERS_MAX + b"\r\n")[2])
        self.refused(431, b"0\r\n" + b"A: " + b"b" * 4096 + b"\r\n\r\n")
        self.refused(431, b"0\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 5 + b"\r\n")
        self.refused(431, b"0\r\n" + b"A: " + b"b" * 5000)

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(
        st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.just(b"x" * 300)), max_size=6),
        st.lists(st.integers(1, 60), max_size=30),
    )
    def test_any_split(self, chunks: list[bytes], sizes: list[int]) -> None:
        """The same body comes out of every split."""
        data = b"".join(b"%x;n=%d\r\n%b\r\n" % (len(chunk), len(chunk), chunk) for chunk in chunks)
        data += b"0\r\nT: t\r\n\r\nNEXT"
        reader = ChunkReader(100)
        rest = b""
        at = 0
        for size in [*sizes, len(data)]:
            rest += data[at : at + size]
            at += size
            if not reader.done:
                rest = rest[reader.read(rest, 0) :]
        self.assertEqual((b"".join(reader.pieces), rest, reader.done), (b"".join(chunks), b"NEXT", True))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text('0123456789abcF\r\n;="\\: aX\x00', max_size=40).map(str.encode), st.integers(1, 40))
    def test_garbage(self, data: bytes, size: int) -> None:
        """Garbage is refused, or read in the same way however it comes."""
        try:
            whole = read(data)
        except ClientFault:
            with self.assertRaises(ClientFault):
                read(data, size)
                # Perhaps the rest of a line would only be known to be wrong when it has come.
                raise ClientFault("")
            return
        self.assertEqual(read(data, size), whole)
