"""Tests for L{bench.ledger}: the account must not be kinder than the truth."""

from __future__ import annotations

import random
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from bench.clients import Account, LostRequest, next_call
from bench.excuses import FrontKill, WorkerKill, excused_by_fronts, excused_by_worker
from bench.ledger import Report, table
from bench.project import KINDS, with_block
from bench.wire import Response

LOST = LostRequest("go", "POST", "/echo", "502", "", began=10.0, ended=10.1)


class ExcuseTests(SynchronousTestCase):
    """Of the kills alone, a POST may be lost."""

    kills = [WorkerKill("go", 10.05)]

    def test_post_to_the_killed(self) -> None:
        """A POST that was under way at the kill, or began just after it, is excused."""
        self.assertTrue(excused_by_worker(LOST, self.kills))
        self.assertTrue(excused_by_worker(replace(LOST, began=11.0, ended=12.0), self.kills))

    def test_nothing_else(self) -> None:
        """Not a GET, not another worker's, not a reset or a 503, not before or long after."""
        for other in (
            replace(LOST, method="GET"),
            replace(LOST, kind="bun"),
            replace(LOST, how="reset"),
            replace(LOST, how="503"),
            replace(LOST, began=9.0, ended=10.0),
            replace(LOST, began=11.1, ended=11.2),
        ):
            self.assertFalse(excused_by_worker(other, self.kills), other)


class FrontExcuseTests(SynchronousTestCase):
    """Of the kill of a front, what was on its connections may be lost."""

    cut = replace(LOST, how="reset", method="GET")

    def test_on_its_connections(self) -> None:
        """A request whose connection broke at the kill or right after it is excused, whatever its method."""
        kills = [FrontKill(10.05, 3)]
        lost = [self.cut, replace(self.cut, how="cut"), replace(self.cut, began=10.5, ended=10.6)]
        self.assertEqual(excused_by_fronts(lost, kills), lost)

    def test_no_more_than_it_had(self) -> None:
        """No more are excused than it had connections, and none twice."""
        lost = [replace(self.cut, path=f"/{number}") for number in range(5)]
        self.assertEqual(excused_by_fronts(lost, [FrontKill(10.05, 2)]), lost[:2])
        self.assertEqual(excused_by_fronts(lost, [FrontKill(10.05, 2), FrontKill(10.06, 2)]), lost[:4])

    def test_nothing_else(self) -> None:
        """Not an answer of ours, not a refusal, not a timeout, not before or long after."""
        for other in (
            replace(self.cut, how="502"),
            replace(self.cut, how="refused"),
            replace(self.cut, how="timeout"),
            replace(self.cut, began=9.0, ended=10.0),
            replace(self.cut, began=10.6, ended=10.7),
        ):
            self.assertEqual(excused_by_fronts([other], [FrontKill(10.05, 9)]), [], other)


class ReportTests(SynchronousTestCase):
    """What counts as good."""

    good = Report(account=Account(sent=3, answered={"200": 2, "201": 1}, by_call={"GET /": 3}))

    def test_good(self) -> None:
        """Everything answered, a clean stop, nothing left."""
        self.assertTrue(self.good.good)

    def test_not_good(self) -> None:
        """One lost request, a request that is in no column, a process that was left, or no request at all."""
        for bad in (
            replace(self.good, lost_count=1),
            replace(self.good, account=replace(self.good.account, sent=4)),
            replace(self.good, account=Account()),
            replace(self.good, left=(17,)),
            replace(self.good, stop_code=1),
        ):
            self.assertFalse(bad.good, bad)

    def test_table(self) -> None:
        """The table names what was lost and how long each action took."""
        report = replace(self.good, lost=[LOST], lost_count=1, took_s={"save go (write)": [0.2, 0.4]})
        text = table(report)
        self.assertIn("LOST 502: POST /echo", text)
        self.assertRegex(text, r"save go \(write\) +2 +300 +400")


class CallTests(SynchronousTestCase):
    """The requests that clients make."""

    def test_all_are_checked(self) -> None:
        """Every request of every kind finds fault with an error page and with another request's answer."""
        chance = random.Random(1)
        for kind in KINDS:
            for _ in range(60):
                call = next_call(kind, chance)
                self.assertNotEqual(call.check(Response(502, {}, b"")), "", call)
                if call.path not in ("/style.css", "/blog/posts/saving-is-enough"):
                    self.assertNotEqual(call.check(Response(200, {}, b"another's")), "", call)


class BlockTests(SynchronousTestCase):
    """Editing a C{worker.yaml} as a person would."""

    def test_replace(self) -> None:
        """A block is replaced whole, and what is around it stays."""
        text = "path: /\nscaling:\n  min_workers: 1\n\n  max_workers: 2\ngo:\n  tags: []\n"
        self.assertEqual(
            with_block(text, "scaling:\n  min_workers: 3\n"),
            "path: /\ngo:\n  tags: []\nscaling:\n  min_workers: 3\n",
        )

    def test_add(self) -> None:
        """A block that is not there is added."""
        self.assertEqual(with_block("path: /\n", "environment:\n  A: b\n"), "path: /\nenvironment:\n  A: b\n")
