"""Tests for L{tqserver.plane.status}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.plane.messages import LATENCY_BOUNDS_S
from tqserver.plane.status import quantile_s


class QuantileTests(SynchronousTestCase):
    """p50 and p99 of a histogram."""

    def test_nothing_counted(self) -> None:
        """Before the first request there is nothing to say."""
        self.assertEqual(quantile_s((), 0.5), 0.0)
        self.assertEqual(quantile_s((0, 0), 0.99), 0.0)

    def test_median_and_tail(self) -> None:
        """98 quick requests and 2 slow ones: the median is quick, the 99th percentile is not."""
        counts = (98, *[0] * 9, 2)
        self.assertEqual(quantile_s(counts, 0.5), LATENCY_BOUNDS_S[0])
        self.assertEqual(quantile_s(counts, 0.98), LATENCY_BOUNDS_S[0])
        self.assertEqual(quantile_s(counts, 0.99), LATENCY_BOUNDS_S[10])

    def test_beyond_the_last_bound(self) -> None:
        """What took longer than the last bound is told as that bound."""
        self.assertEqual(quantile_s((*[0] * len(LATENCY_BOUNDS_S), 5), 0.5), LATENCY_BOUNDS_S[-1])
