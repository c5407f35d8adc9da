"""What answers to delivered tasks mean."""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.verdict import Verdict, is_busy, of_request, of_task, reason, retry_after_ms

NOW_MS = 1_760_000_000_500


class StatusTests(SynchronousTestCase):
    """Statuses."""

    def test_table(self) -> None:
        """Each status means one thing to a task."""
        wanted = {
            Verdict.DONE: [200, 201, 202, 204, 206, 299],
            Verdict.LATER: [409, 425, 429, 503],
            Verdict.AGAIN: [408, 500, 501, 502, 504, 507, 599],
            Verdict.FAILED: [300, 302, 304, 400, 401, 403, 404, 405, 410, 413, 415, 422, 451, 499],
        }
        for verdict, statuses in wanted.items():
            for status in statuses:
                self.assertIs(of_task(status), verdict, status)

    def test_requests(self) -> None:
        """To a client that asks later a redirection is an answer, and a conflict is its own."""
        self.assertIs(of_request(303), Verdict.DONE)
        self.assertIs(of_request(409), Verdict.FAILED)
        for status in (200, 404, 408, 425, 429, 500, 503):
            self.assertIs(of_request(status), of_task(status), status)

    def test_busy(self) -> None:
        """Only 429 and 503 are about the worker."""
        self.assertEqual([status for status in range(100, 600) if is_busy(status)], [429, 503])


class RetryAfterTests(SynchronousTestCase):
    """Retry-After."""

    def test_seconds(self) -> None:
        """Seconds, and nothing else that looks like them."""
        for value, wanted in [
            (b"0", 0),
            (b"120", 120_000),
            (b" 5 ", 5000),
            (b"-1", None),
            (b"1.5", None),
            (b"", None),
            (b"9" * 40, None),
            (None, None),
            ("٣".encode(), None),
        ]:
            self.assertEqual(retry_after_ms(value, NOW_MS), wanted, value)

    def test_date(self) -> None:
        """A date; one in the past is now."""
        self.assertEqual(retry_after_ms(b"Thu, 09 Oct 2025 08:53:30 GMT", NOW_MS), 9500)
        self.assertEqual(retry_after_ms(b"Thu, 09 Oct 2025 08:00:00 GMT", NOW_MS), 0)
        self.assertIsNone(retry_after_ms(b"Thu, 99 Oct 2025 08:00:00 GMT", NOW_MS))

    @given(st.integers(0, 4_000_000_000))
    def test_any_date(self, moment: int) -> None:
        """Every date is as far away as it is."""
        value = formatdate(moment, usegmt=True).encode()
        self.assertEqual(retry_after_ms(value, NOW_MS), max(moment * 1000 - NOW_MS, 0))

    @given(st.binary(max_size=60))
    def test_anything(self, value: bytes) -> None:
        """Whatever a worker says, it is a time or nothing."""
        said = retry_after_ms(value, NOW_MS)
        self.assertTrue(said is None or said >= 0)


class ReasonTests(SynchronousTestCase):
    """Why a task failed."""

    @given(st.integers(100, 599), st.binary(max_size=20), st.binary(max_size=2000))
    def test_one_line(self, status: int, phrase: bytes, body: bytes) -> None:
        """It is one line of bounded length, whatever the worker says."""
        told = reason(status, b"", body)
        self.assertLessEqual(len(told), 210)
        self.assertTrue(told.isprintable())
        self.assertTrue(reason(status, phrase, b"").startswith(str(status)))
