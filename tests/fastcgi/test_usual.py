"""Tests of L{tqserver.fastcgi.usual}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fastcgi.test_records import parse
from tqserver.errors import ClientFault, UpstreamFault
from tqserver.fastcgi.records import (
    PARAMS_BYTES,
    RecordParser,
    RecordType,
    begin_request,
    check_end,
    decode_pairs,
    encode,
    encode_pair,
    end_request,
    params,
    stdin_end,
)
from tqserver.fastcgi.usual import REQUEST_ID, encode_pairs, opening, usual_output

FEW = settings(derandomize=True, deadline=None, max_examples=200)

PAIRS = st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=300)))


class OpeningTests(SynchronousTestCase):
    """How a request begins."""

    @FEW
    @given(PAIRS, st.booleans())
    def test_like_any_other(self, pairs: list[tuple[bytes, bytes]], whole: bool) -> None:
        """Written in one go or record by record, the bytes are the same."""
        expected = begin_request(REQUEST_ID, True) + params(REQUEST_ID, pairs)
        if not pairs:
            # A stream may begin with its end; here it has an empty record before.
            expected = begin_request(REQUEST_ID, True) + 2 * encode(RecordType.PARAMS, REQUEST_ID, b"")
        pieces = [encode_pair(name, value) for name, value in pairs]
        self.assertEqual(opening(pieces, whole), expected + (stdin_end(REQUEST_ID) if whole else b""))
        self.assertEqual(encode_pairs(pairs), b"".join(pieces))

    def test_large(self) -> None:
        """Variables that do not fit in one record are spread over several, none of them cut."""
        pairs = [(b"NAME%d" % index, b"v" * 30_000) for index in range(5)]
        for whole in (True, False):
            data = opening([encode_pairs(pairs)], whole)
            self.assertEqual(
                data, begin_request(1, True) + params(1, pairs) + (stdin_end(REQUEST_ID) if whole else b"")
            )
        found = [decode_pairs(record.content) for record in parse(data) if record.type is RecordType.PARAMS]
        self.assertEqual([pair for record in found for pair in record], pairs)

    def test_too_large(self) -> None:
        """A variable that does not fit in a record is the client's fault."""
        fault = self.assertRaises(ClientFault, opening, [encode_pair(b"HTTP_X", b"x" * PARAMS_BYTES)], True)
        self.assertEqual(fault.status, 431)


class OutputTests(SynchronousTestCase):
    """The usual answer."""

    def test_usual(self) -> None:
        """One record of output and the end, with whatever is in the bytes that mean nothing."""
        for size in (1, 7, 8, 9, 255, 256, 65_535):
            data = encode(RecordType.STDOUT, 1, b"x" * size) + end_request(1)
            self.assertEqual(usual_output(data), b"x" * size)
            self.assertEqual(usual_output(data[:-3] + b"00:"), b"x" * size)

    def test_unusual(self) -> None:
        """Everything else is somebody else's: parts, more than one record, refusals, other requests, other types."""
        usual = encode(RecordType.STDOUT, 1, b"output") + end_request(1)
        for data in (
            b"",
            usual[:-1],
            usual[1:],
            usual + b"\0",
            usual + end_request(1),
            end_request(1),
            encode(RecordType.STDOUT, 1, b"") + end_request(1),
            encode(RecordType.STDOUT, 2, b"output") + end_request(1),
            encode(RecordType.STDOUT, 1, b"output") + end_request(2),
            encode(RecordType.STDERR, 1, b"output") + end_request(1),
            encode(RecordType.STDOUT, 1, b"output") + end_request(1, 1),
            encode(RecordType.STDOUT, 1, b"output") + end_request(1, 0, 1),
            encode(RecordType.STDOUT, 1, b"output") * 2 + end_request(1),
            b"\2" + usual[1:],
        ):
            self.assertIsNone(usual_output(data), data)

    @FEW
    @given(
        st.lists(
            st.sampled_from(
                [
                    encode(RecordType.STDOUT, 1, b"output"),
                    encode(RecordType.STDOUT, 1, end_request(1)),
                    encode(RecordType.STDOUT, 1, b""),
                    encode(RecordType.STDERR, 1, b"oh"),
                    end_request(1),
                    end_request(1, 0, 2),
                    end_request(1)[:8],
                    b"\x01\x06\x00\x01\x00\x08\x08\x00",
                    b"\0" * 8,
                ]
            ),
            max_size=5,
        )
    )
    def test_like_the_parser(self, pieces: list[bytes]) -> None:
        """Whatever is taken for a usual answer is one, when it is read record by record."""
        data = b"".join(pieces)
        output = usual_output(data)
        if output is not None:
            first, last = parse(data)
            self.assertEqual((first.type, first.request_id, first.content), (RecordType.STDOUT, 1, output))
            self.assertEqual((last.type, last.request_id, check_end(last.content)), (RecordType.END_REQUEST, 1, 0))

    @FEW
    @given(st.binary(max_size=40))
    def test_garbage(self, data: bytes) -> None:
        """Garbage is no usual answer, or one that the parser reads likewise."""
        if usual_output(data) is not None:
            try:
                RecordParser().feed(data)
            except UpstreamFault:
                self.fail("not FastCGI")
