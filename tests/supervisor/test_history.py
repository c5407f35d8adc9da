"""Tests for L{tqserver.supervisor.history}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import RestartConfig
from tqserver.supervisor.history import OUTPUT_LINES_MAX, Death, History, Hold, Retry, consequence

RESTART = RestartConfig(backoff_initial_s=0.1, backoff_max_s=30.0, window_s=60.0, deaths_max=3)


def death(ended: float, **changes: object) -> Death:
    """A crash shortly after becoming ready."""
    values: dict[str, object] = {"reason": "exit code 1", "started_up": True, "uptime_s": 1.0, **changes}
    return Death(instance="api.1.1", at=ended, ended=ended, **values)  # type: ignore[arg-type]


def after(*deaths: Death, restart: RestartConfig = RESTART) -> History:
    """The history of these deaths."""
    history = History()
    for one in deaths:
        history = history.after(one, restart)
    return history


class ConsequenceTests(SynchronousTestCase):
    """What follows from a death."""

    def test_pauses_grow(self) -> None:
        """My worker crashes again and again: the pauses double."""
        restart = RestartConfig(backoff_initial_s=0.1, deaths_max=100)
        pauses = []
        history = History()
        for index in range(4):
            history = history.after(death(float(index)), restart)
            follows = consequence(history, restart, float(index), 0.999999)
            assert isinstance(follows, Retry)
            pauses.append(round(follows.pause_s, 3))
        self.assertEqual(pauses, [0.1, 0.2, 0.4, 0.8])

    def test_stable_run_resets_the_pause(self) -> None:
        """My worker crashed a few times last night and ran well since: it is started again quickly."""
        history = after(death(0), death(1), death(2), death(1000, uptime_s=900.0))
        self.assertEqual(consequence(history, RESTART, 1000.0, 0.0), Retry(0.05))

    def test_held_after_too_many_deaths(self) -> None:
        """My worker crashes all the time: it is given up, and I am told why and what to do."""
        history = after(death(0), death(1), death(2), death(3))
        follows = consequence(history, RESTART, 3.0, 0.5)
        assert isinstance(follows, Hold)
        self.assertEqual(follows.reason, "4 deaths within 60 s; the last: exit code 1")
        self.assertIn("save it", follows.remedy)

    def test_old_deaths_are_forgotten(self) -> None:
        """A crash every half minute is no crash loop."""
        history = after(*(death(30.0 * index) for index in range(20)))
        self.assertIsInstance(consequence(history, RESTART, 570.0, 0.5), Retry)

    def test_slow_failing_starts_are_held_too(self) -> None:
        """My worker needs half a minute to fail each start: it is not tried for ever."""
        history = after(*(death(40.0 * index, started_up=False, uptime_s=0.0) for index in range(4)))
        follows = consequence(history, RESTART, 120.0, 0.5)
        assert isinstance(follows, Hold)
        self.assertIn("4 starts failed", follows.reason)

    def test_many_deaths_allowed_are_all_counted(self) -> None:
        """C{restart.max_deaths: 50} means fifty, though fewer deaths are kept for status."""
        restart = RestartConfig(deaths_max=50)
        history = after(*(death(index / 10) for index in range(50)), restart=restart)
        self.assertIsInstance(consequence(history, restart, 5.0, 0.5), Retry)
        history = history.after(death(5.0), restart)
        self.assertIsInstance(consequence(history, restart, 5.0, 0.5), Hold)

    def test_policy_never(self) -> None:
        """With C{restart.policy: never} my worker is not started again."""
        restart = RestartConfig(policy="never")
        self.assertIsInstance(consequence(after(death(0)), restart, 0.0, 0.5), Hold)

    def test_policy_on_failure(self) -> None:
        """With C{on-failure} only an exit with code 0 is final."""
        restart = RestartConfig(policy="on-failure")
        self.assertIsInstance(consequence(after(death(0)), restart, 0.0, 0.5), Retry)
        self.assertIsInstance(consequence(after(death(0, clean=True)), restart, 0.0, 0.5), Hold)

    def test_output_is_bounded(self) -> None:
        """A worker that dies with a thousand lines leaves the last ones."""
        history = after(death(0, output=tuple(str(number) for number in range(1000))))
        assert history.last is not None
        self.assertEqual(len(history.last.output), OUTPUT_LINES_MAX)
        self.assertEqual(history.last.output[-1], "999")
