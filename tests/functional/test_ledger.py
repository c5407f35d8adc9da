"""The ledger as a test: saves, changed configurations, HUP, scaling and kills under load lose nothing."""

from __future__ import annotations

import os

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.actions import SMALL
from bench.ledger import run, table
from bench.project import missing_tools


class LedgerTests(SynchronousTestCase):
    """A small round with real workers of every kind."""

    def test_nothing_is_lost(self) -> None:
        """While workers are saved, configured, scaled and killed, every request is answered as it should be."""
        missing = missing_tools(SMALL.kinds)
        if missing and not os.environ.get("CI"):
            raise SkipTest(f"needs {', '.join(missing.values())}")
        said: list[str] = []
        report = run(SMALL, said.append)
        self.assertTrue(report.good, "\n".join([*said, table(report)]))
        self.assertGreater(report.account.sent, 500, "too few requests to prove anything")
        self.assertEqual(len(report.took_s["save go (write)"]) + len(report.took_s["save go (rename)"]), SMALL.go_saves)
