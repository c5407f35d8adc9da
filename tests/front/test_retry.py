"""What is sent again, and how often."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.front.retry import WINDOW_S, RetryBudget, repeatable
from tqserver.plane.messages import RetryRule


class RepeatTests(SynchronousTestCase):
    """Which requests can be sent again at all."""

    def test_rules(self) -> None:
        """What was never sent always; else what may be repeated, was not answered and is still here."""
        self.assertTrue(repeatable(b"POST", False, True, False))
        self.assertTrue(repeatable(b"GET", True, True, True))
        for method, untouched, replayable in ((b"POST", True, True), (b"GET", False, True), (b"PUT", True, False)):
            self.assertFalse(repeatable(method, True, untouched, replayable), method)


class BudgetTests(SynchronousTestCase):
    """How much is sent again."""

    def taken(self, budget: RetryBudget, now: float, requests: int, rule: RetryRule, wanted: int = 10_000) -> int:
        """How many of the wanted are granted."""
        return sum(budget.take(now, requests, rule) for _ in range(wanted))

    def test_share(self) -> None:
        """A fifth of the requests of the last seconds may be sent again."""
        rule = RetryRule(budget_percent=20, min_per_s=0)
        budget = RetryBudget(0.0, rule)
        self.assertEqual(self.taken(budget, 5.0, 1000, rule), 200)
        self.assertEqual(self.taken(budget, 5.0, 1000, rule), 0)
        self.assertEqual(self.taken(budget, 5.1, 1010, rule), 2)

    def test_old_requests(self) -> None:
        """Those of an hour ago do not count: what is known is how many came in between, on the average."""
        rule = RetryRule(budget_percent=20, min_per_s=0)
        self.assertEqual(self.taken(RetryBudget(0.0, rule), 3600.0, 3600, rule), int(WINDOW_S * 0.2))

    def test_seldom_asked(self) -> None:
        """A worker that is seldom asked has some to spare each second, and those of the last seconds at once."""
        rule = RetryRule(budget_percent=0, min_per_s=10)
        budget = RetryBudget(0.0, rule)
        self.assertEqual(self.taken(budget, 0.0, 0, rule), 100)
        self.assertEqual(self.taken(budget, 1.0, 0, rule), 10)
        self.assertEqual(self.taken(budget, 100.0, 0, rule), 100)

    def test_none(self) -> None:
        """It can be switched off."""
        rule = RetryRule(budget_percent=0, min_per_s=0)
        self.assertEqual(self.taken(RetryBudget(0.0, rule), 10.0, 10_000, rule), 0)

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(
        st.integers(0, 100),
        st.integers(0, 20),
        st.lists(st.tuples(st.floats(0.001, 2.0), st.integers(0, 200)), min_size=1, max_size=60),
    )
    def test_broken_worker(self, percent: int, least: int, steps: list[tuple[float, int]]) -> None:
        """However requests come, if all are broken no more are sent again than the share and what is to spare."""
        rule = RetryRule(budget_percent=percent, min_per_s=least)
        budget = RetryBudget(0.0, rule)
        now, requests, retried = 0.0, 0, 0
        for wait_s, come in steps:
            now += wait_s
            requests += come
            retried += self.taken(budget, now, requests, rule, come * 2)
        self.assertLessEqual(retried, requests * percent / 100 + least * (WINDOW_S + now) + 1)
