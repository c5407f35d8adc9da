"""Parts of files: what is understood of a Range field, and how several parts are laid out."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.front.static_ranges import GAP_BYTES, RANGES_MAX, Span, content_range, multipart, wanted_spans

SIZE = 100_000


def spans(value: bytes, size: int = SIZE) -> list[tuple[int, int]] | None:
    """First and last bytes of what is wanted."""
    wanted = wanted_spans(value, size)
    return None if wanted is None else [(span.at, span.end - 1) for span in wanted]


class WantedTests(SynchronousTestCase):
    """RFC 9110 section 14.1.1 and 14.2."""

    def test_forms(self) -> None:
        """From, from to, and the last so many; the end of the file ends them all."""
        for value, wanted in [
            (b"bytes=0-0", [(0, 0)]),
            (b"bytes=10-19", [(10, 19)]),
            (b"bytes=99990-", [(99990, 99999)]),
            (b"bytes=-10", [(99990, 99999)]),
            (b"bytes=-999999", [(0, 99999)]),
            (b"bytes=99999-999999", [(99999, 99999)]),
            (b"bytes= 0-0", [(0, 0)]),
            (b"Bytes=0-0", [(0, 0)]),
        ]:
            self.assertEqual(spans(value), wanted, value)

    def test_several(self) -> None:
        """Several parts stay in the order in which they were asked for."""
        self.assertEqual(spans(b"bytes=5000-5009, 0-9,-10"), [(5000, 5009), (0, 9), (99990, 99999)])

    def test_empty_members(self) -> None:
        """A list may have empty members (RFC 9110 section 5.6.1.2)."""
        self.assertEqual(spans(b"bytes=,0-9, ,,5000-5009,"), [(0, 9), (5000, 5009)])

    def test_coalesced(self) -> None:
        """What overlaps, touches or nearly touches is one part."""
        self.assertEqual(spans(b"bytes=0-9,5-20"), [(0, 20)])
        self.assertEqual(spans(b"bytes=10-19,0-9"), [(0, 19)])
        self.assertEqual(spans(b"bytes=0-9,%d-%d" % (10 + GAP_BYTES, 20 + GAP_BYTES)), [(0, 20 + GAP_BYTES)])
        self.assertEqual(
            spans(b"bytes=0-9,%d-%d" % (11 + GAP_BYTES, 20 + GAP_BYTES)), [(0, 9), (11 + GAP_BYTES, 20 + GAP_BYTES)]
        )
        self.assertEqual(spans(b"bytes=9000-9009,5000-5009,8950-9020"), [(8950, 9020), (5000, 5009)])

    def test_not_there(self) -> None:
        """Parts beyond the end are left out; if there are no others, there is none."""
        self.assertEqual(spans(b"bytes=100000-"), [])
        self.assertEqual(spans(b"bytes=-0"), [])
        self.assertEqual(spans(b"bytes=100000-,0-0,-0"), [(0, 0)])

    def test_ignored(self) -> None:
        """What makes no sense is as if it were not there."""
        for value in (
            b"",
            b"bytes",
            b"bytes=",
            b"bytes=,",
            b"bytes=-",
            b"bytes=a-b",
            b"bytes=2-1",
            b"bytes=0-1,2-1",
            b"bytes=0-1,x",
            b"bytes=1",
            b"bytes=+1-2",
            b"bytes=0x1-2",
            b"bytes=0--1",
            b"lines=0-1",
            b"bytes=" + b"9" * 19 + b"-",
        ):
            self.assertIsNone(spans(value), value)

    def test_too_many(self) -> None:
        """A list that is longer than anybody needs is ignored, however it is written."""
        each = [b"%d-%d" % (at, at) for at in range(0, 90_000, 1000)]
        many = b"bytes=" + b",".join(each[:RANGES_MAX])
        self.assertEqual(len(spans(many) or ()), RANGES_MAX)
        self.assertIsNone(spans(many + b",90000-90000"))
        self.assertIsNone(spans(b"bytes=0-0" + b"," * 10_000))
        self.assertIsNone(spans(b"bytes=" + b"0-," * 1300))

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.integers(0, 60), st.integers(0, 60)),
                st.tuples(st.integers(0, 60), st.none()),
                st.tuples(st.none(), st.integers(0, 60)),
            ),
            min_size=1,
            max_size=5,
        ),
        st.integers(1, 50),
        st.integers(1, 400),
    )
    def test_covers(self, asked: list[tuple[int | None, int | None]], size: int, scale: int) -> None:
        """All that was asked for is there, once; hardly more than that; and nothing beyond the end."""
        size *= scale
        scaled = [(None if low is None else low * scale, None if high is None else high * scale) for low, high in asked]
        value = b"bytes=" + b",".join(
            b"%s-%s" % (b"" if low is None else b"%d" % low, b"" if high is None else b"%d" % high)
            for low, high in scaled
        )
        found = wanted_spans(value, size)
        if any(low is not None and high is not None and high < low for low, high in scaled):
            self.assertIsNone(found)
            return
        wanted: set[int] = set()
        for low, high in scaled:
            if low is None:
                wanted.update(range(max(0, size - (high or 0)), size))
            else:
                wanted.update(range(low, size if high is None else min(high + 1, size)))
        assert found is not None
        sent = [byte for span in found for byte in range(span.at, span.end)]
        self.assertEqual(len(sent), len(set(sent)))
        self.assertLessEqual(wanted, set(sent))
        self.assertTrue(all(0 <= span.at < span.end <= size for span in found))
        self.assertLessEqual(len(sent) - len(wanted), GAP_BYTES * len(asked))

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.one_of(st.binary(max_size=40), st.text("bytes=0123-, \t", max_size=40).map(str.encode)))
    def test_garbage(self, value: bytes) -> None:
        """Whatever comes, it is understood or ignored."""
        for span in wanted_spans(value, 7) or ():
            self.assertTrue(0 <= span.at < span.end <= 7)


class MultipartTests(SynchronousTestCase):
    """RFC 9110 section 14.6."""

    def test_layout(self) -> None:
        """Each part says where it belongs and what it is; the length is that of all."""
        pieces, length = multipart([Span(0, 2), Span(7, 3)], 10, b"text/plain", b"MARK")
        body = b"".join(b"0123456789"[piece.at : piece.end] if isinstance(piece, Span) else piece for piece in pieces)
        self.assertEqual(len(body), length)
        self.assertEqual(
            body,
            b"--MARK\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01"
            b"\r\n--MARK\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-9/10\r\n\r\n789"
            b"\r\n--MARK--\r\n",
        )

    def test_gap(self) -> None:
        """Two parts are joined where that is shorter than the head of another part."""
        pieces, _ = multipart([Span(0, 1), Span(1 << 40, 1)], 1 << 41, b"text/html; charset=utf-8", b"x" * 24)
        head = pieces[2]
        assert isinstance(head, bytes)
        self.assertLess(len(head), GAP_BYTES * 1.3)
        self.assertTrue(re.search(rb"\r\n\r\n\Z", head))

    def test_content_range(self) -> None:
        """Where a part belongs."""
        self.assertEqual(content_range(Span(5, 5), 100), b"bytes 5-9/100")
