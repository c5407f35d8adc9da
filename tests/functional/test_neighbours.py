"""What counts as the server's doing when a neighbour of abusers is answered late."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.neighbours import Owed, own_s


class OwnTests(SynchronousTestCase):
    """One answer."""

    def test_stall(self) -> None:
        """A server that had a core and did something else is to blame for all of the time."""
        self.assertAlmostEqual(own_s(0.3, 0.0, 0.0, 0.0, 0.02), 0.3)

    def test_after_a_stall(self) -> None:
        """And those who would have asked meanwhile have waited, too."""
        self.assertAlmostEqual(own_s(0.001, 0.0, 0.0, 0.3, 0.02), 0.281)

    def test_no_core(self) -> None:
        """A server that had no core is not to blame for that."""
        self.assertAlmostEqual(own_s(0.3, 0.28, 0.0, 0.0, 0.02), 0.02)
        self.assertEqual(own_s(0.3, 0.4, 0.0, 0.01, 0.02), 0.0)

    def test_behind(self) -> None:
        """One that had none before has that to make good first."""
        self.assertAlmostEqual(own_s(0.3, 0.0, 0.2, 0.0, 0.02), 0.1)


class OwedTests(SynchronousTestCase):
    """What was lost, and is made good."""

    def test_busy(self) -> None:
        """A machine that has others wait a little, all the time, is no excuse."""
        owed = Owed()
        for turn in range(1000):
            owed.note(turn * 0.02, 0.004)
        self.assertEqual(owed.before(19.0), 0.0)

    def test_frozen(self) -> None:
        """A machine that stood still for two seconds has nothing to show for the next few."""
        owed = Owed()
        owed.note(0.0, 0.0)
        owed.note(2.0, 2.0)
        for turn in range(1, 1000):
            owed.note(2.0 + turn * 0.01, 0.0)
        self.assertEqual(owed.before(1.9), 0.0)
        self.assertAlmostEqual(owed.before(2.0), 1.5)
        self.assertAlmostEqual(owed.before(4.005), 1.0)
        self.assertEqual(owed.before(8.1), 0.0)

    def test_starved(self) -> None:
        """One that never lets others run much shows nothing."""
        owed = Owed()
        for turn in range(1000):
            owed.note(turn * 0.02, 0.015)
        self.assertGreater(owed.before(19.0), 4.0)
