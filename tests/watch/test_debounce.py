"""Tests of L{tqserver.watch.debounce}."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.watch.debounce import (
    PATHS_MAX,
    SETTLE_MAX_S,
    SETTLE_S,
    WAIT_FACTOR,
    Debounce,
    State,
)

DEBOUNCE_S = 0.05


class DebounceTests(SynchronousTestCase):
    """When changes are reported."""

    def setUp(self) -> None:
        """A debounce of 50 ms that nothing has happened to."""
        self.debounce = Debounce("/w", DEBOUNCE_S)

    def test_a_single_save_is_told_at_once(self) -> None:
        """After a quiet time one saved file is reported 5 ms later, not 50."""
        self.debounce.changed("/w/a", 1.0)
        self.assertEqual(self.debounce.due, 1.0 + SETTLE_S)
        self.assertEqual(self.debounce.take(1.0), frozenset())
        self.assertEqual(self.debounce.take(1.0 + SETTLE_S), {"/w/a"})

    def test_the_events_of_one_save_arrive_together(self) -> None:
        """Write, rename and chmod of one save are one report."""
        self.debounce.changed("/w/.a.tmp", 1.0)
        self.debounce.changed("/w/a", 1.003)
        self.assertEqual(self.debounce.take(1.0 + SETTLE_S), frozenset())
        self.assertEqual(self.debounce.take(1.003 + SETTLE_S), {"/w/.a.tmp", "/w/a"})

    def test_settling_has_an_end(self) -> None:
        """Events every 4 ms do not hold back the first report beyond 20 ms."""
        for step in range(6):
            self.debounce.changed("/w/a", 1.0 + step * 0.004)
        self.assertAlmostEqual(self.debounce.due or 0, 1.0 + SETTLE_MAX_S)

    def test_what_follows_a_report_is_gathered(self) -> None:
        """After a report, further changes wait for 50 ms of quiet and come once."""
        self.debounce.changed("/w/a", 1.0)
        self.debounce.take(1.005)
        self.debounce.changed("/w/b", 1.01)
        self.debounce.changed("/w/c", 1.04)
        self.assertEqual(self.debounce.take(1.06), frozenset())
        self.assertEqual(self.debounce.take(1.04 + DEBOUNCE_S), {"/w/b", "/w/c"})

    def test_gathering_has_an_end(self) -> None:
        """One who writes all the time cannot keep the news back: half a second later they are told."""
        self.debounce.changed("/w/a", 1.0)
        self.debounce.take(1.005)
        now = 1.01
        while not self.debounce.take(now):
            self.debounce.changed("/w/a", now)
            now += 0.02
            self.assertLess(now, 2.0)
        self.assertAlmostEqual(now, 1.01 + DEBOUNCE_S * WAIT_FACTOR, delta=0.021)

    def test_quiet_returns(self) -> None:
        """Once nothing has happened for 50 ms after a report, the next save is told at once again."""
        self.debounce.changed("/w/a", 1.0)
        self.debounce.take(1.005)
        self.assertEqual(self.debounce.take(1.005 + DEBOUNCE_S), frozenset())
        self.assertIs(self.debounce.state, State.QUIET)
        self.assertIsNone(self.debounce.due)
        self.debounce.changed("/w/a", 2.0)
        self.assertEqual(self.debounce.due, 2.0 + SETTLE_S)

    def test_very_many_paths_become_the_whole(self) -> None:
        """A checkout of a thousand and more files is reported as the folder, not as a huge set."""
        for number in range(PATHS_MAX + 5):
            self.debounce.changed(f"/w/{number}", 1.0)
        paths = self.debounce.take(1.0 + SETTLE_MAX_S)
        self.assertIn("/w", paths)
        self.assertLessEqual(len(paths), PATHS_MAX)

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.lists(st.tuples(st.floats(0, 0.2), st.booleans()), max_size=40))
    def test_nothing_is_lost_and_nothing_waits_for_ever(self, steps: list[tuple[float, bool]]) -> None:
        """
        Whatever the timing: each change is in exactly one later report, which comes within the longest
        wait, and two reports are at least a debounce apart.
        """
        now, pending, reports = 0.0, {}, []
        longest = max(SETTLE_MAX_S, DEBOUNCE_S * WAIT_FACTOR) + 1e-9

        def run_until(end: float) -> None:
            while self.debounce.due is not None and self.debounce.due <= end:
                due = self.debounce.due
                paths = self.debounce.take(due)
                if paths:
                    reports.append(due)
                    for path in paths:
                        self.assertLessEqual(due - pending.pop(path), longest)
                    self.assertEqual(pending, {})

        self.debounce = Debounce("/w", DEBOUNCE_S)
        for index, (pause, change) in enumerate(steps):
            run_until(now + pause)
            now += pause
            if change:
                pending[f"/w/{index}"] = now
                self.debounce.changed(f"/w/{index}", now)
        run_until(now + 10)
        self.assertEqual(pending, {})
        self.assertIs(self.debounce.state, State.QUIET)
        for first, second in pairwise(reports):
            self.assertGreaterEqual(second - first, DEBOUNCE_S - 1e-9)
