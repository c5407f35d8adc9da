"""Tests for L{tqserver.supervisor.scaling}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import ScalingConfig
from tqserver.supervisor.scaling import Demand, count

SCALING = ScalingConfig(workers_min=1, workers_max=3, queue_threshold=10, wait_max_s=0.05, scale_down_delay_s=60.0)


class CountTests(SynchronousTestCase):
    """How many instances."""

    def test_at_least_the_minimum(self) -> None:
        """My worker has its minimum without any request."""
        self.assertEqual(count(SCALING, 0, 0, Demand(), float("-inf"), 0.0), 1)

    def test_bounds_that_change(self) -> None:
        """I lower the maximum: the number follows at once, whatever the load."""
        demand = Demand(waiting=100, wanted_at=99.0, crowded_at=99.0, used_at=99.0)
        self.assertEqual(count(SCALING, 9, 9, demand, 0.0, 100.0), 3)

    def test_more_when_many_wait(self) -> None:
        """More requests wait than the threshold: one more instance."""
        demand = Demand(waiting=11, wanted_at=5.0)
        self.assertEqual(count(SCALING, 1, 1, demand, 1.0, 5.0), 2)

    def test_more_when_one_waits_long(self) -> None:
        """A single request waits longer than C{max_wait_ms}: one more instance."""
        demand = Demand(waiting=1, oldest_s=0.06, wanted_at=5.0)
        self.assertEqual(count(SCALING, 1, 1, demand, 1.0, 5.0), 2)

    def test_a_short_line_is_no_reason(self) -> None:
        """A few requests wait for a moment: nothing happens."""
        demand = Demand(waiting=3, oldest_s=0.01, wanted_at=5.0)
        self.assertEqual(count(SCALING, 1, 1, demand, 1.0, 5.0), 1)

    def test_no_more_while_one_is_starting(self) -> None:
        """Requests wait while an instance is still starting: that is no reason to start yet another one."""
        demand = Demand(waiting=100, oldest_s=3.0, wanted_at=5.0)
        self.assertEqual(count(SCALING, 2, 1, demand, 1.0, 5.0), 2)

    def test_old_news_is_no_reason(self) -> None:
        """What was said before the last instance came up says nothing about the line now."""
        demand = Demand(waiting=100, oldest_s=3.0, wanted_at=5.0)
        self.assertEqual(count(SCALING, 2, 2, demand, 5.0, 6.0), 2)

    def test_never_beyond_the_maximum(self) -> None:
        """However many wait, the maximum holds."""
        demand = Demand(waiting=1000, oldest_s=30.0, wanted_at=5.0)
        self.assertEqual(count(SCALING, 3, 3, demand, 1.0, 5.0), 3)

    def test_fewer_after_idleness(self) -> None:
        """When for a minute fewer would have done, there is one fewer; not before, and not two."""
        demand = Demand(crowded_at=100.0, used_at=159.0)
        self.assertEqual(count(SCALING, 3, 3, demand, 0.0, 159.9), 3)
        self.assertEqual(count(SCALING, 3, 3, demand, 0.0, 160.0), 2)

    def test_steps_down_are_a_delay_apart(self) -> None:
        """After one step down the next one waits its own delay."""
        self.assertEqual(count(SCALING, 2, 2, Demand(), 150.0, 160.0), 2)

    def test_first_request_starts_the_first(self) -> None:
        """With C{min_workers: 0} the first request starts an instance at once, however short the line."""
        scaling = ScalingConfig(workers_min=0, workers_max=3)
        self.assertEqual(count(scaling, 0, 0, Demand(), float("-inf"), 5.0), 0)
        self.assertEqual(count(scaling, 0, 0, Demand(waiting=1, wanted_at=5.0), float("-inf"), 5.0), 1)

    def test_last_one_stops_when_unused(self) -> None:
        """With C{min_workers: 0} the last instance stops when nobody used it, not when it was merely not crowded."""
        scaling = ScalingConfig(workers_min=0, workers_max=3, scale_down_delay_s=60.0)
        self.assertEqual(count(scaling, 1, 1, Demand(used_at=50.0), 0.0, 100.0), 1)
        self.assertEqual(count(scaling, 1, 1, Demand(used_at=40.0), 0.0, 100.0), 0)
