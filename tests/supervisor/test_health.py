"""Tests for L{tqserver.supervisor.health}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.supervisor.health import FIRST_PAUSE_S, PAUSE_MAX_S, Tally, Verdict, judge, next_pause_s


class JudgeTests(SynchronousTestCase):
    """From checks to verdicts."""

    def judged(self, checks: str, successes: int = 2, failures: int = 3) -> list[Verdict]:
        """The verdicts after each check: C{+} is well, C{-} is not."""
        tally, verdicts = Tally(), []
        for check in checks:
            tally, verdict = judge(tally, check == "+", successes, failures)
            verdicts.append(verdict)
        return verdicts

    def test_one_slow_answer_does_not_condemn(self) -> None:
        """My worker misses one check under load and nothing happens to it."""
        self.assertEqual(self.judged("-+-+--+"), [Verdict.OPEN] * 7)

    def test_enough_failures_in_a_row(self) -> None:
        """My worker hangs: the third failed check in a row says so, and three more say it again."""
        self.assertEqual(
            self.judged("------"),
            [Verdict.OPEN, Verdict.OPEN, Verdict.UNWELL] * 2,
        )

    def test_enough_successes_in_a_row(self) -> None:
        """With C{successes: 2} my worker is well at the second good answer in a row."""
        self.assertEqual(self.judged("+-++"), [Verdict.OPEN, Verdict.OPEN, Verdict.OPEN, Verdict.WELL])

    def test_default_is_the_first_success(self) -> None:
        """With C{successes: 1} the first good answer is enough."""
        self.assertEqual(self.judged("+", successes=1), [Verdict.WELL])


class PauseTests(SynchronousTestCase):
    """How often a starting instance is looked at."""

    def test_readiness_is_seen_soon_after_it_comes(self) -> None:
        """However long my worker boots, looking adds at most 40 % to that and 5 ms, and never more than 100 ms."""
        pause_s, at_s = 0.0, 0.0
        for _ in range(40):
            pause_s = next_pause_s(pause_s)
            self.assertLessEqual(pause_s, min(0.4 * at_s + FIRST_PAUSE_S + 1e-9, PAUSE_MAX_S))
            at_s += pause_s
        self.assertEqual(pause_s, PAUSE_MAX_S)
