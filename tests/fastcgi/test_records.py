"""Tests of L{tqserver.fastcgi.records}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ServerFault, UpstreamFault
from tqserver.fastcgi.records import (
    PARAMS_BYTES,
    STDIN_BYTES,
    Record,
    RecordParser,
    RecordType,
    abort_request,
    begin_request,
    check_end,
    decode_pairs,
    encode,
    end_request,
    get_values,
    params,
    stdin,
    stdin_end,
)

FEW = settings(derandomize=True, deadline=None, max_examples=60)

SIZES = (0, 1, 7, 8, 126, 127, 128, 129, 65_527, 65_528, 65_529, 65_535, 65_536, 200_000)

records = st.builds(
    Record,
    st.sampled_from(list(RecordType)),
    st.integers(0, 65535),
    st.one_of(st.binary(max_size=40), st.sampled_from([127, 128, 300, 65_535]).map(bytes)),
)


def parse(data: bytes) -> list[Record]:
    """All records of some bytes, which must end with one."""
    parser = RecordParser()
    found = parser.feed(data)
    assert not parser.pending
    return found


def content(data: bytes, type: RecordType) -> bytes:
    """What the records of one stream hold together; the last must be the empty one that ends it."""
    found = [record.content for record in parse(data) if record.type is type]
    assert found[-1] == b"" and b"" not in found[:-1]
    return b"".join(found)


class EncodingTests(SynchronousTestCase):
    """What we tell an application."""

    def test_bytes(self) -> None:
        """The records are those of the specification, byte by byte."""
        self.assertEqual(begin_request(1, True), bytes.fromhex("0101000100080000 0001010000000000"))
        self.assertEqual(begin_request(258, False), bytes.fromhex("0101010200080000 0001000000000000"))
        self.assertEqual(abort_request(1), bytes.fromhex("0102000100000000"))
        self.assertEqual(stdin_end(1), bytes.fromhex("0105000100000000"))
        self.assertEqual(stdin(1, b"abc"), bytes.fromhex("0105000100030500") + b"abc" + bytes(5))
        self.assertEqual(get_values([b"X"]), bytes.fromhex("0109000000030500 0100") + b"X" + bytes(5))

    def test_body_sizes(self) -> None:
        """A body of any size arrives whole, in records that are each a multiple of eight bytes."""
        for size in SIZES:
            body = bytes(index % 251 for index in range(size))
            written = stdin(1, body) + stdin_end(1)
            self.assertEqual(content(written, RecordType.STDIN), body)
            self.assertEqual(len(written) % 8, 0)
            for record in parse(written):
                self.assertLessEqual(len(record.content), STDIN_BYTES)

    def test_no_end_by_accident(self) -> None:
        """No bytes of a body make no record: an empty one would end the body."""
        self.assertEqual(stdin(1, b""), b"")

    def test_too_large(self) -> None:
        """What does not fit in a record is refused, not cut."""
        self.assertRaises(ValueError, encode, RecordType.STDIN, 1, bytes(65_536))

    def test_pair_sizes(self) -> None:
        """Names and values of any size come back."""
        for size in SIZES:
            pairs = [(b"N" * min(size, 300), b"v" * size), (b"A", b"B")]
            self.assertEqual(decode_pairs(content(params(1, pairs), RecordType.PARAMS)), pairs)

    def test_pairs_stay_whole(self) -> None:
        """php-fpm reads every PARAMS record by itself, so no pair is spread over two."""
        pairs = [(b"NAME%d" % index, b"v" * 30_000) for index in range(7)]
        found: list[tuple[bytes, bytes]] = []
        for record in parse(params(1, pairs)):
            self.assertLessEqual(len(record.content), PARAMS_BYTES)
            found += decode_pairs(record.content)
        self.assertEqual(found, pairs)

    @FEW
    @given(st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=300))))
    def test_any_pairs(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """Whatever the pairs are, they come back."""
        self.assertEqual(decode_pairs(content(params(1, pairs), RecordType.PARAMS)), pairs)


class RecordParserTests(SynchronousTestCase):
    """What an application tells us, as the network cuts it."""

    @FEW
    @given(st.lists(records, max_size=5), st.lists(st.integers(1, 70_000), max_size=20))
    def test_split(self, sent: list[Record], cuts: list[int]) -> None:
        """However the bytes are split, the records are the same."""
        data = b"".join(encode(record.type, record.request_id, record.content) for record in sent)
        parser = RecordParser()
        found: list[Record] = []
        at = 0
        for cut in cuts:
            found += parser.feed(data[at : at + cut])
            at += cut
        found += parser.feed(data[at:])
        self.assertEqual(found, sent)
        self.assertFalse(parser.pending)

    def test_byte_by_byte(self) -> None:
        """Also one byte at a time."""
        sent = [Record(RecordType.STDOUT, 1, b"x" * size) for size in (0, 1, 7, 8, 9, 300)] + [
            Record(RecordType.END_REQUEST, 1, bytes(8))
        ]
        data = b"".join(encode(record.type, record.request_id, record.content) for record in sent)
        parser = RecordParser()
        found = [record for index in range(len(data)) for record in parser.feed(data[index : index + 1])]
        self.assertEqual(found, sent)

    def test_padding(self) -> None:
        """Padding of any length, with anything in it, is left out."""
        data = bytes.fromhex("01060001 0002ff00") + b"ab" + b"\x01" * 255 + end_request(1)
        self.assertEqual([record.content for record in parse(data)], [b"ab", bytes(8)])

    @FEW
    @given(st.lists(st.binary(min_size=1, max_size=60), max_size=8))
    def test_garbage(self, pieces: list[bytes]) -> None:
        """Garbage is the application's fault, said so, and stays so."""
        parser = RecordParser()
        faulty = False
        for piece in pieces:
            try:
                parser.feed(piece)
                self.assertFalse(faulty)
            except UpstreamFault as fault:
                self.assertEqual(fault.status, 502)
                faulty = True

    def test_http(self) -> None:
        """An application that speaks HTTP instead is recognised as faulty at once."""
        parser = RecordParser()
        self.assertRaises(UpstreamFault, parser.feed, b"HTTP/1.1 400 Bad Request\r\n")
        self.assertRaises(UpstreamFault, parser.feed, end_request(1))


class DecodingTests(SynchronousTestCase):
    """The contents of records."""

    @FEW
    @given(st.binary(max_size=80))
    def test_garbage_pairs(self, data: bytes) -> None:
        """Bytes that are no pairs are the application's fault, and those that are can be written again."""
        try:
            pairs = decode_pairs(data)
        except UpstreamFault:
            return
        self.assertEqual(decode_pairs(content(params(1, pairs), RecordType.PARAMS)), pairs)

    def test_cut_pairs(self) -> None:
        """Pairs that promise more than there is are refused."""
        for data in (b"\x01", b"\x01\x01a", b"\x80\x00\x00", b"\xff\xff\xff\xff\xff\xff\xff\xffab"):
            self.assertRaises(UpstreamFault, decode_pairs, data)

    def test_end(self) -> None:
        """The status of a program is no fault; a refusal is."""
        self.assertEqual(check_end(parse(end_request(1, 7))[0].content), 7)
        overloaded = self.assertRaises(ServerFault, check_end, parse(end_request(1, 0, 2))[0].content)
        self.assertEqual(overloaded.status, 503)
        for status in (1, 3, 9):
            fault = self.assertRaises(UpstreamFault, check_end, parse(end_request(1, 0, status))[0].content)
            self.assertEqual(fault.status, 502)
        self.assertRaises(UpstreamFault, check_end, b"")
