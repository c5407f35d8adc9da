"""Tests for L{bench.queue.table} and L{bench.queue.rows}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.proxy.rows import OURS, Figures, Outcome, Verdict, judge
from bench.queue.rows import BEANSTALK, BEANSTALK_FSYNC, CPU_US, FEW, P50_MS, P99_MS, PER_S, RAW, ROWS
from bench.queue.table import as_rst, as_text, cycles, notes, promises

BATCH, POLL = ROWS[0], next(row for row in ROWS if row.key == "poll")
OUTCOMES = [
    Outcome(BATCH, {OURS: 9000.4, RAW: 30000.0}, 0.3, Verdict.MET),
    Outcome(POLL, {OURS: 7.25}, 7.25, Verdict.MISSED, ("tqserver: rounds are far apart",)),
]
MEASURED = {
    OURS: Figures({PER_S: [1000.0, 3000.0, 2000.0], CPU_US: [50.0], P50_MS: [1.234], P99_MS: [9.0]}),
    BEANSTALK: Figures(missing="no beanstalkd here"),
}
MACHINE = ["1 May 2026, some processor", "Python 3"]


class RowTests(SynchronousTestCase):
    """What is promised."""

    def test_keys(self) -> None:
        """Every row has a name of its own on the command line."""
        self.assertEqual(len({row.key for row in ROWS}), len(ROWS))

    def test_peer_is_missing(self) -> None:
        """Without the peer there is no verdict, and the row says what to install."""
        row = next(row for row in ROWS if row.key == "one")
        absent = Figures(missing="no beanstalkd here: apt-get install beanstalkd")
        outcome = judge(row, {OURS: Figures({PER_S: [1.0]}), BEANSTALK_FSYNC: absent})
        self.assertIs(outcome.verdict, Verdict.NOT_AVAILABLE)
        self.assertIn("apt-get install beanstalkd", outcome.notes[0])

    def test_most(self) -> None:
        """Where less is better, more than is promised is missed."""
        row = next(row for row in ROWS if row.key == "depth")
        figures = {OURS: Figures({CPU_US: [160.0]}), FEW: Figures({CPU_US: [100.0]})}
        self.assertIs(judge(row, figures).verdict, Verdict.MISSED)

    def test_wrong_count(self) -> None:
        """A row whose counts do not agree is worth nothing, however fast it was."""
        figures = {OURS: Figures({PER_S: [9e9]}, ["it has 3 messages and should have 0"]), RAW: Figures({PER_S: [1.0]})}
        self.assertIs(judge(BATCH, figures).verdict, Verdict.INVALID)


class TextTests(SynchronousTestCase):
    """For a terminal."""

    def test_lines(self) -> None:
        """A line for each row, with what it is compared with; where that is nobody, nothing stands there."""
        lines = as_text([promises(OUTCOMES)], MACHINE, notes(OUTCOMES)).splitlines()
        self.assertEqual(lines[:2], MACHINE)
        self.assertRegex(lines[4], r"1/s +9,000 +30,000 +0\.30 +>= 0\.25 x raw SQLite +met$")
        self.assertRegex(lines[5], r"ms +7\.25 +<= 5 ms +missed$")
        self.assertEqual(lines[-1], f"{POLL.title}: tqserver: rounds are far apart")

    def test_candidates(self) -> None:
        """Below, everybody who was measured: medians; and who was not there."""
        lines = as_text([cycles([("one", MEASURED)])], MACHINE, []).splitlines()
        self.assertEqual(lines[-2].split(), [OURS, "2,000", "50", "1.23", "9.00"])
        self.assertIn("no beanstalkd here", lines[-1])


class RstTests(SynchronousTestCase):
    """For a page."""

    def test_simple_tables(self) -> None:
        """Every line of a table fits its rules, and no first cell is empty."""
        text = as_rst([promises(OUTCOMES), cycles([("one", MEASURED)])], MACHINE, notes(OUTCOMES))
        lines = text.splitlines()
        self.assertEqual(lines[0], "1 May 2026, some processor; Python 3.")
        rules = [number for number, line in enumerate(lines) if line.startswith("==")]
        self.assertEqual(len(rules), 6)
        for first, last in ((rules[0], rules[2]), (rules[3], rules[5])):
            for line in lines[first : last + 1]:
                self.assertTrue(line[0].strip(), line)
                self.assertLessEqual(len(line), len(lines[first]))
