"""When schedules fire."""

from __future__ import annotations

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.schedule import Schedule, following, missed

BERLIN = ZoneInfo("Europe/Berlin")
"""Where clocks go forward on 29 March 2026 at 2:00, and back on 25 October at 3:00."""

CRONS = [
    "* * * * *",
    "*/7 * * * *",
    "30 * * * *",
    "30 2 * * *",
    "15 1,2,3 * * *",
    "0 */2 * * *",
    "0 0 * * MON",
    "0 12 29 2 *",
    "0 0 L * *",
    "5 4 1-7 * SUN",
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]


def schedule(cron: str, zone: str = "Europe/Berlin") -> Schedule:
    """A schedule."""
    return Schedule(name="nightly", cron=cron, queue="jobs", timezone=zone)


def moment(*parts: int, fold: int = 0) -> int:
    """A moment of Berlin's clocks, in milliseconds."""
    return int(datetime(*parts, tzinfo=BERLIN, fold=fold).timestamp() * 1000)  # type: ignore[arg-type, misc]


def shown(at: int) -> str:
    """A moment by Berlin's clocks."""
    return datetime.fromtimestamp(at / 1000, BERLIN).strftime("%m-%d %H:%M %z")


class ClockTests(SynchronousTestCase):
    """The clocks of a time zone."""

    def slots(self, cron: str, at: int, count: int) -> list[str]:
        """The next slots."""
        found = []
        for _ in range(count):
            at = following(schedule(cron), at)
            found.append(shown(at))
        return found

    def test_summer_and_winter(self) -> None:
        """At half past two is at half past two, in summer and in winter."""
        self.assertEqual(self.slots("30 2 * * *", moment(2026, 1, 1), 1), ["01-01 02:30 +0100"])
        self.assertEqual(self.slots("30 2 * * *", moment(2026, 7, 1), 1), ["07-01 02:30 +0200"])

    def test_gap(self) -> None:
        """In the night in which there is no half past two it fires at three, once, and then as ever."""
        self.assertEqual(
            self.slots("30 2 * * *", moment(2026, 3, 28, 12), 2), ["03-29 03:00 +0200", "03-30 02:30 +0200"]
        )

    def test_twice(self) -> None:
        """In the night in which there are two it fires at the first, and only then, whenever I ask."""
        self.assertEqual(
            self.slots("30 2 * * *", moment(2026, 10, 24, 12), 2), ["10-25 02:30 +0200", "10-26 02:30 +0100"]
        )
        for asked in (moment(2026, 10, 25, 2, 30), moment(2026, 10, 25, 2, 10, fold=1)):
            self.assertEqual(self.slots("30 2 * * *", asked, 1), ["10-26 02:30 +0100"])

    def test_every_hour(self) -> None:
        """What fires every hour does so in both hours that are called two, and leaves out the one that is not there."""
        self.assertEqual(
            self.slots("0 * * * *", moment(2026, 10, 25, 1), 3),
            ["10-25 02:00 +0200", "10-25 02:00 +0100", "10-25 03:00 +0100"],
        )
        self.assertEqual(self.slots("0 * * * *", moment(2026, 3, 29, 1), 1), ["03-29 03:00 +0200"])

    def test_seconds(self) -> None:
        """With six fields the first is the second."""
        at = moment(2026, 1, 1)
        self.assertEqual(following(schedule("*/15 * * * * *"), at), at + 15_000)


class MissedTests(SynchronousTestCase):
    """After a downtime."""

    def test_last_only(self) -> None:
        """Of all that were missed the last fires."""
        since, now = moment(2026, 5, 1, 3), moment(2026, 5, 4, 1)
        self.assertEqual(shown(missed(schedule("30 2 * * *"), since, now)), "05-03 02:30 +0200")
        self.assertEqual(shown(missed(schedule("* * * * *"), since, now)), "05-04 01:00 +0200")

    def test_none(self) -> None:
        """What was not missed does not fire."""
        at = moment(2026, 5, 1, 2, 30)
        self.assertEqual(missed(schedule("30 2 * * *"), at, at), 0)
        self.assertEqual(missed(schedule("30 2 * * *"), at, at + 3_600_000), 0)

    def test_rare(self) -> None:
        """A day that comes every four years is found."""
        now = moment(2026, 1, 1)
        self.assertEqual(shown(missed(schedule("0 12 29 2 *"), moment(2019, 1, 1), now)), "02-29 12:00 +0100")

    @given(
        st.sampled_from(CRONS),
        st.sampled_from(ZONES),
        st.integers(1_700_000_000, 1_800_000_000),
        st.integers(0, 40 * 86_400),
    )
    @settings(max_examples=60, deadline=None)
    def test_one_or_none(self, cron: str, zone: str, since_s: int, length_s: int) -> None:
        """What fires is a slot, not before I looked last and not in the future; after it there is none until now."""
        made = schedule(cron, zone)
        since, now = since_s * 1000, (since_s + length_s) * 1000
        slot = missed(made, since, now)
        first = following(made, since)
        if slot:
            self.assertTrue(since < first <= slot <= now)
            self.assertEqual(following(made, slot - 1000), slot)
            self.assertGreater(following(made, slot), now)
        else:
            self.assertTrue(first == 0 or first > now)

    @given(st.sampled_from(CRONS), st.sampled_from(ZONES), st.integers(1_700_000_000, 1_800_000_000))
    @settings(max_examples=60, deadline=None)
    def test_time_goes_on(self, cron: str, zone: str, at_s: int) -> None:
        """The next slot is after the one before, always."""
        made, at = schedule(cron, zone), at_s * 1000
        for _ in range(5):
            after = following(made, at)
            self.assertTrue(after == 0 or after > at)
            if not after:
                break
            at = after


class WordTests(SynchronousTestCase):
    """Words for usual times."""

    def test_word(self) -> None:
        """A word is what it stands for."""
        at = moment(2026, 5, 1, 13)
        self.assertEqual(shown(following(schedule("@daily"), at)), "05-02 00:00 +0200")
        self.assertEqual(shown(following(schedule("@Hourly"), at)), "05-01 14:00 +0200")

    def test_utc(self) -> None:
        """Without a time zone it is UTC."""
        at = int(datetime(2026, 3, 29, tzinfo=timezone.utc).timestamp() * 1000)
        made = Schedule(name="n", cron="30 2 * * *", queue="q")
        self.assertEqual(following(made, at), at + 150 * 60_000)
