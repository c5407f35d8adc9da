"""What processes use, while processes vanish."""

from __future__ import annotations

import os

import psutil
from twisted.trial.unittest import SynchronousTestCase

from tqserver.process.usage import Usage, measure


class Vanishing(SynchronousTestCase):
    """Measuring never fails because something ended meanwhile."""

    def test_ended_before_the_look(self) -> None:
        """A process that ends between the list and the look is not counted."""
        self.patch(psutil, "pids", lambda: [999_999_998, os.getpid()])
        mine = os.getsid(0)
        self.assertEqual(measure([mine])[mine].processes, 1)

    def test_ended_within_the_look(self) -> None:
        """Nor one that ends while it is looked at, or must not be looked at."""
        mine = os.getsid(0)
        for error in (psutil.NoSuchProcess(1), psutil.ZombieProcess(1), psutil.AccessDenied(1)):

            def vanish(pid: int, error: Exception = error) -> psutil.Process:
                raise error

            self.patch(psutil, "Process", vanish)
            self.assertEqual(measure([mine]), {})

    def test_sum(self) -> None:
        """Usages add up."""
        self.assertEqual(Usage(1, 2.0, 3) + Usage(10, 20.0, 30), Usage(11, 22.0, 33))
