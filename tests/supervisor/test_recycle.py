"""Tests for L{tqserver.supervisor.recycle}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import RecycleConfig
from tqserver.supervisor.recycle import Limits, due, limits


class RecycleTests(SynchronousTestCase):
    """When an instance is replaced though it is well."""

    def test_off(self) -> None:
        """Without limits nothing is ever due."""
        self.assertEqual(due(limits(RecycleConfig(), 0.5), 10**9, 10.0**9, 10**12), "")

    def test_each_limit(self) -> None:
        """Each limit alone is a reason, and the reason is named."""
        self.assertEqual(due(Limits(requests_max=10), 9, 0, 0), "")
        self.assertEqual(due(Limits(requests_max=10), 10, 0, 0), "served 10 requests")
        self.assertEqual(due(Limits(age_max_s=60), 0, 60.0, 0), "ran for 60 s")
        self.assertEqual(due(Limits(memory_max_bytes=100), 0, 20.0, 101), "uses 101 bytes of memory")

    def test_too_much_memory_from_the_start(self) -> None:
        """My worker needs more memory than its limit from the start: it is not replaced as fast as it boots."""
        self.assertEqual(due(Limits(memory_max_bytes=100), 0, 1.0, 101), "")

    def test_jitter(self) -> None:
        """Instances that started together are due at different counts, none outside of the jitter."""
        config = RecycleConfig(requests_max=100, requests_jitter=20)
        drawn = [limits(config, chance / 100).requests_max for chance in range(100)]
        self.assertEqual((min(drawn), max(drawn)), (80, 120))

    def test_jitter_larger_than_the_count(self) -> None:
        """A jitter larger than the count never switches the limit off."""
        config = RecycleConfig(requests_max=5, requests_jitter=50)
        self.assertEqual(limits(config, 0.0).requests_max, 1)
