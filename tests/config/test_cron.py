"""Cron expressions, as people write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.cron import WORDS, cron_fields, cron_mistake


class CronTests(SynchronousTestCase):
    """Good ones and bad ones."""

    def test_good(self) -> None:
        """What crontab(5) has, with names in any case, a last day, a nth weekday, and seconds."""
        for cron in (
            "* * * * *",
            "*/5 8-18 * * mon-fri",
            "0 0 1 jan,JUL *",
            "0 0 L * *",
            "0 12 29 2 *",
            "0 0 * * 5#2",
            "*/15 * * * * *",
            *WORDS,
            "@Daily",
        ):
            self.assertEqual(cron_mistake(cron), "", cron)

    def test_bad(self) -> None:
        """Others have a reason."""
        for cron in (
            "",
            "* * * *",
            "60 * * * *",
            "* 25 * * *",
            "0 0 30 2 *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@reboot",
            "@",
        ):
            self.assertNotEqual(cron_mistake(cron), "", cron)

    @given(st.lists(st.text("0123456789*/-,#L@monfri", max_size=8), min_size=1, max_size=7).map(" ".join))
    def test_any(self, cron: str) -> None:
        """Whatever is written, it is good or has a reason; a word is no more than its fields."""
        cron_mistake(cron)
        self.assertEqual(cron_fields(cron_fields(cron)), cron_fields(cron))
