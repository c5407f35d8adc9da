"""Tests for L{bench.deliveries} and the account of L{bench.queue_clients}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.deliveries import COMMIT_S, ON_THE_WAY_S, Delivery, judge, read_book
from bench.queue_clients import Account

BOOK = """\
begin a t1 1 10.0
begin b t2 1 10.1
end a t1 1 10.2
begin b t2 2 11.0
end b t2 2 11.1
begin c t3 1 12
"""


class BookTests(SynchronousTestCase):
    """What the worker wrote down."""

    def test_attempts(self) -> None:
        """Each attempt by itself, with its end if it had one; a line that was cut counts for nothing."""
        book = read_book(BOOK + "end c t")
        self.assertEqual(
            [(one.body, one.attempt, one.began, one.ended) for one in book][:2],
            [
                ("a", "1", 10.0, 10.2),
                ("b", "1", 10.1, 0.0),
            ],
        )
        self.assertEqual(book[3].ended, 0.0)


class JudgeTests(SynchronousTestCase):
    """Whether it may be."""

    def test_good(self) -> None:
        """A task whose worker was killed comes again, and that is right."""
        book = read_book(BOOK)
        self.assertEqual(judge(book, {"a", "b"}, {"c"}, [10.5]), (1, []))

    def test_lost(self) -> None:
        """What never came, and what never ended."""
        _, problems = judge(read_book(BOOK), {"a", "b", "c", "d"}, set(), [10.5])
        self.assertEqual(problems, ["1 stored and never delivered: ['d']", "2 stored and never ended: ['c', 'd']"])

    def test_needless(self) -> None:
        """Who has ended may come again only if something was killed before anybody could know."""
        book = [Delivery("a", "1", 1.0, 2.0), Delivery("a", "2", 9.0, 9.5)]
        needless = ["1 delivered again though nothing had been killed: ['a']"]
        self.assertEqual(judge(book, {"a"}, set(), []), (1, needless))
        self.assertEqual(judge(book, {"a"}, set(), [0.9 - ON_THE_WAY_S]), (1, needless))
        self.assertEqual(judge(book, {"a"}, set(), [1.1 - ON_THE_WAY_S]), (1, []))
        self.assertEqual(judge(book, {"a"}, set(), [2.1 + COMMIT_S]), (1, needless))
        self.assertEqual(judge(book, {"a"}, set(), [1.9 + COMMIT_S]), (1, []))

    def test_phantom(self) -> None:
        """Nothing comes that was not put."""
        self.assertEqual(
            judge([Delivery("z", "1", 1.0, 2.0)], set(), set(), [])[1], ["1 delivered and never put: ['z']"]
        )


class AccountTests(SynchronousTestCase):
    """Messages that consumers take themselves."""

    def test_balanced(self) -> None:
        """All that was stored was done, or perhaps done; what was not answered may have come or not."""
        account = Account({"a", "b"}, {"c", "d"}, {"e"}, {"a": 1, "b": 2, "c": 1}, {"a": 1.0}, {"b"})
        self.assertEqual(account.problems(), [])

    def test_problems(self) -> None:
        """Each kind of mistake is told."""
        account = Account({"a", "b"}, set(), {"e"}, {"a": 1, "e": 1}, {}, {"a"}, {"a"}, ["GET: 500"])
        self.assertEqual(
            account.problems(),
            [
                "1 stored and never delivered: ['b']",
                "1 stored and never ended: ['b']",
                "1 delivered after its end was confirmed: ['a']",
                "1 delivered though it was refused: ['e']",
                "a strange answer: GET: 500",
            ],
        )
