"""What a request says of the representation it wants."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.front.static_conditions import accepted, asked, date_s, is_navigation, precondition, range_holds

TAG = b'"1"'
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
DATE_S = 784111777


class AskedTests(SynchronousTestCase):
    """Which fields count."""

    def test_none(self) -> None:
        """Most requests have no condition and want the whole."""
        self.assertIsNone(asked([(b"host", b"a"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip")]))

    def test_all_values(self) -> None:
        """A field may come more than once."""
        fields = asked([(b"if-match", b"a"), (b"host", b"b"), (b"if-match", b"c"), (b"range", b"d")])
        self.assertEqual(fields, {b"if-match": [b"a", b"c"], b"range": [b"d"]})


class DateTests(SynchronousTestCase):
    """RFC 9110 section 5.6.7."""

    def test_forms(self) -> None:
        """All three forms are read, in whatever time zone we are."""
        for value in (DATE, b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"):
            self.assertEqual(date_s(value), DATE_S, value)

    def test_nonsense(self) -> None:
        """What is no date is none."""
        for value in (b"", b"yesterday", b"\xff", b"Mon, 99 Foo 2020 00:00:00 GMT", b"0", b"1" * 500):
            self.assertIsNone(date_s(value), value)


class PreconditionTests(SynchronousTestCase):
    """The order of RFC 9110 section 13.2.2."""

    def test_order(self) -> None:
        """A tag goes before a date; what must not have changed before what must have."""
        earlier = b"Sun, 06 Nov 1994 08:49:36 GMT"
        for fields, status in [
            ({b"if-match": [TAG]}, 0),
            ({b"if-match": [b'"2"']}, 412),
            ({b"if-match": [b'"2", "1"']}, 0),
            ({b"if-match": [b'"2"'], b"if-unmodified-since": [DATE]}, 412),
            ({b"if-match": [TAG], b"if-unmodified-since": [earlier]}, 0),
            ({b"if-unmodified-since": [earlier]}, 412),
            ({b"if-unmodified-since": [b"nonsense"]}, 0),
            ({b"if-none-match": [TAG]}, 304),
            ({b"if-none-match": [b'W/"1"']}, 304),
            ({b"if-none-match": [b'"2"'], b"if-modified-since": [DATE]}, 0),
            ({b"if-modified-since": [DATE]}, 304),
            ({b"if-modified-since": [earlier]}, 0),
            ({b"if-unmodified-since": [earlier], b"if-none-match": [TAG]}, 412),
        ]:
            self.assertEqual(precondition(fields, TAG, DATE_S), status, fields)


class RangeHoldsTests(SynchronousTestCase):
    """RFC 9110 section 13.1.5."""

    def test_validators(self) -> None:
        """A part is sent of what the client has, and of nothing else; a weak tag is no proof."""
        for value, holds in [
            (TAG, True),
            (b'"2"', False),
            (b'W/"1"', False),
            (DATE, True),
            (b"Sun, 06 Nov 1994 08:49:38 GMT", False),
            (b"nonsense", False),
        ]:
            self.assertEqual(range_holds({b"if-range": [value]}, TAG, DATE_S, DATE_S + 100), holds, value)
        self.assertTrue(range_holds({}, TAG, DATE_S, DATE_S))

    def test_fresh_date(self) -> None:
        """A date proves nothing for a file that can still change within the same second."""
        self.assertFalse(range_holds({b"if-range": [DATE]}, TAG, DATE_S, DATE_S + 0.5))
        self.assertTrue(range_holds({b"if-range": [TAG]}, TAG, DATE_S, DATE_S + 0.5))


class AcceptedTests(SynchronousTestCase):
    """RFC 9110 section 12.5.3."""

    def test_codings(self) -> None:
        """Those that are named, with a weight above zero."""
        for values, codings in [
            ([], set()),
            ([b""], set()),
            ([b"gzip"], {b"gzip"}),
            ([b"gzip, deflate, br, zstd"], {b"gzip", b"br", b"zstd"}),
            ([b"gzip", b"BR"], {b"gzip", b"br"}),
            ([b"br;q=0, *"], {b"gzip", b"zstd"}),
            ([b"*;q=0"], set()),
            ([b"gzip; q=0.001, br;q=0.000"], {b"gzip"}),
            ([b"gzip;q=nonsense, br;q=1.5"], set()),
            ([b"gzip" + b", x" * 5000], {b"gzip"}),
        ]:
            self.assertEqual(accepted(values), codings, values)


class NavigationTests(SynchronousTestCase):
    """Who is looking for a page."""

    def test_browsers(self) -> None:
        """A browser says that it wants HTML, and what for."""
        accept = (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        self.assertTrue(is_navigation([accept]))
        self.assertTrue(is_navigation([accept, (b"sec-fetch-mode", b"navigate")]))
        self.assertFalse(is_navigation([accept, (b"sec-fetch-mode", b"cors")]))

    def test_programs(self) -> None:
        """Programs, scripts and images take anything, or something else."""
        for value in (b"*/*", b"application/json", b"image/*", b"text/html;q=0", b"text/htmlx", b""):
            self.assertFalse(is_navigation([(b"accept", value)]), value)
        self.assertFalse(is_navigation([]))
        self.assertTrue(is_navigation([(b"accept", b"application/json, text/html;q=0.5")]))
