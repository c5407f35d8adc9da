"""Tests for L{bench.proxy.rows}: nobody is praised for what was not measured."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.proxy.phases import PHASES
from bench.proxy.rows import GO, NGINX, ONE_FRONT, OURS, Figures, Outcome, Row, Verdict, all_met, all_rows, judge

CPU = Row("cpu", "CPU", "cpu_us", "µs", 1.6, peer=NGINX)
RATE = Row("rps", "requests", "rps", "1/s", 3.0, at_most=False, peer=GO)
MEMORY = Row("idle", "memory", "kib", "KiB", 6.0)


def figures(name: str, *values: float, trouble: str = "", **others: float) -> Figures:
    """Figures of so many rounds."""
    found = Figures()
    for value in values:
        found.add({name: value, **others}, trouble)
    return found


class FiguresTests(SynchronousTestCase):
    """Rounds."""

    def test_median(self) -> None:
        """One round that was disturbed does not decide."""
        self.assertEqual(figures("cpu_us", 10.0, 11.0, 90.0).median("cpu_us"), 11.0)

    def test_nothing(self) -> None:
        """What was not measured is not zero."""
        self.assertIsNone(Figures().median("cpu_us"))
        self.assertIsNone(Figures().spread("cpu_us"))

    def test_spread(self) -> None:
        """The round that is furthest from the median, on either side."""
        spread = figures("cpu_us", 10.0, 5.0, 12.0).spread("cpu_us")
        assert spread is not None
        self.assertAlmostEqual(spread, 0.5)


class JudgeTests(SynchronousTestCase):
    """Verdicts."""

    def verdict(self, row: Row, **measured: Figures) -> Outcome:
        """Judge what was measured of ours, nginx and Go."""
        names = {"ours": OURS, "nginx": NGINX, "go": GO}
        return judge(row, {names[name]: found for name, found in measured.items()})

    def test_at_most(self) -> None:
        """Exactly the limit is kept, more is not."""
        nginx = figures("cpu_us", 10.0)
        self.assertIs(self.verdict(CPU, ours=figures("cpu_us", 16.0), nginx=nginx).verdict, Verdict.MET)
        self.assertIs(self.verdict(CPU, ours=figures("cpu_us", 16.1), nginx=nginx).verdict, Verdict.MISSED)

    def test_at_least(self) -> None:
        """Fewer requests than promised are too few."""
        go = figures("rps", 100.0)
        self.assertIs(self.verdict(RATE, ours=figures("rps", 300.0), go=go).verdict, Verdict.MET)
        self.assertIs(self.verdict(RATE, ours=figures("rps", 299.0), go=go).verdict, Verdict.MISSED)

    def test_alone(self) -> None:
        """Without a peer the figure itself is held against the limit."""
        outcome = self.verdict(MEMORY, ours=figures("kib", 3.5))
        self.assertIs(outcome.verdict, Verdict.MET)
        self.assertEqual(outcome.ratio, 3.5)
        self.assertIs(self.verdict(MEMORY, ours=figures("kib", 6.5)).verdict, Verdict.MISSED)

    def test_trouble(self) -> None:
        """A single wrong answer, ours or the peer's, makes the row invalid, however good it looks."""
        good, bad = figures("cpu_us", 10.0), figures("cpu_us", 10.0, trouble="3 timeouts")
        for measured in ({"ours": bad, "nginx": good}, {"ours": good, "nginx": bad}):
            outcome = self.verdict(CPU, **measured)
            self.assertIs(outcome.verdict, Verdict.INVALID)
            self.assertIn("3 timeouts", " ".join(outcome.notes))

    def test_trouble_of_a_bystander(self) -> None:
        """Trouble of somebody whom the row is not about is told, and no more."""
        outcome = self.verdict(
            CPU, ours=figures("cpu_us", 10.0), nginx=figures("cpu_us", 10.0), go=figures("cpu_us", 1.0, trouble="reset")
        )
        self.assertIs(outcome.verdict, Verdict.MET)
        self.assertEqual(outcome.notes, (f"{GO}: reset",))

    def test_missing(self) -> None:
        """What cannot be measured, or was not, is neither met nor missed."""
        refused = Figures(missing="an upgrade is answered with 426")
        outcome = self.verdict(MEMORY, ours=refused)
        self.assertIs(outcome.verdict, Verdict.NOT_AVAILABLE)
        self.assertIn("426", " ".join(outcome.notes))
        self.assertIs(self.verdict(CPU, ours=figures("cpu_us", 10.0)).verdict, Verdict.NOT_AVAILABLE)
        self.assertIs(self.verdict(CPU, nginx=figures("cpu_us", 10.0)).verdict, Verdict.NOT_AVAILABLE)

    def test_restless(self) -> None:
        """Rounds that differ much are told of."""
        outcome = self.verdict(CPU, ours=figures("cpu_us", 10.0, 10.0, 15.0), nginx=figures("cpu_us", 9.0))
        self.assertEqual(outcome.notes, (f"{OURS}: rounds are up to 50% from the median",))

    def test_room(self) -> None:
        """Who was not at the limit could have done more, and that is said."""
        outcome = self.verdict(RATE, ours=figures("rps", 300.0, busy=0.6), go=figures("rps", 100.0, busy=0.99))
        self.assertEqual(len(outcome.notes), 1)
        self.assertIn(f"{OURS} took only 60%", outcome.notes[0])

    def test_no_room(self) -> None:
        """Where the load was too small, CPU time tells how far ours could have gone; it may not make a promise kept."""
        go = figures("rps", 100.0, busy=1.0, cpu_us=100.0)
        for cpu_us, busy, verdict in (
            (30.0, 0.6, Verdict.NO_ROOM),
            (40.0, 0.6, Verdict.MISSED),
            (30.0, 1.0, Verdict.MISSED),
        ):
            outcome = self.verdict(RATE, ours=figures("rps", 200.0, busy=busy, cpu_us=cpu_us), go=go)
            self.assertIs(outcome.verdict, verdict)
            self.assertFalse(all_met([outcome]))

    def test_crowded(self) -> None:
        """Who had to share the core has figures that say little, and that is said; threads may wait for each other."""
        measured = {
            "ours": figures("rps", 300.0, busy=1.0, waited=0.2),
            "go": figures("rps", 9.0, busy=1.0, waited=0.5),
        }
        outcome = self.verdict(RATE, **measured)
        self.assertEqual(outcome.notes, (f"{OURS} waited for its core 20% of the time: other programs ran there",))

    def test_remark(self) -> None:
        """What has to be known stands there once."""
        ours, nginx = figures("cpu_us", 10.0), figures("cpu_us", 10.0)
        ours.remarks = nginx.remarks = ["9,500 of them"]
        self.assertEqual(self.verdict(CPU, ours=ours, nginx=nginx).notes, ("9,500 of them",))

    def test_all_met(self) -> None:
        """Whatever is not met is not kept."""
        met = self.verdict(MEMORY, ours=figures("kib", 1.0))
        self.assertTrue(all_met([met]))
        for other in (Figures(missing="no"), figures("kib", 9.0), figures("kib", 1.0, trouble="x")):
            self.assertFalse(all_met([met, self.verdict(MEMORY, ours=other)]))


class RowsTests(SynchronousTestCase):
    """The table's rows."""

    def test_promises(self) -> None:
        """They are said in words."""
        self.assertEqual(CPU.promise, "<= 1.6 x nginx")
        self.assertEqual(RATE.promise, ">= 3 x Go proxy")
        self.assertEqual(MEMORY.promise, "<= 6 KiB")

    def test_each_is_measured(self) -> None:
        """Every row has something that measures it, and nothing is measured for no row."""
        self.assertEqual({row.key for row in all_rows(2)}, set(PHASES))

    def test_fronts(self) -> None:
        """Where there is no core for the load, a second front must not make requests dearer."""
        small, large = all_rows(2)[-1], all_rows(4)[-1]
        self.assertEqual((small.figure, small.at_most, small.peer), ("cpu_us", True, ONE_FRONT))
        self.assertEqual((large.figure, large.at_most, large.limit), ("rps", False, 1.6))
