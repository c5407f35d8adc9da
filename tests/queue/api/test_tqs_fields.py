"""Tests of L{tqserver.queue.api.tqs_fields}."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ClientFault
from tqserver.queue.api import tqs_fields as fields
from tqserver.queue.model import LOCAL, NewTask, QueueName

QUEUE = QueueName(LOCAL, "q")
NOW = 1_000_000


def tasks(*messages: object) -> list[NewTask]:
    return fields.tasks(json.dumps({"messages": messages}).encode(), QUEUE, NOW, 4096)


class NameTests(SynchronousTestCase):
    """Names of queues."""

    def name(self, value: object) -> str:
        return fields.queue_name(json.dumps({"name": value}).encode()).name

    def test_good(self) -> None:
        """Letters, digits, dashes and underscores; letters and digits at both ends."""
        for name in ("a", "A9", "a-b_c", "0", "a" * 80, "a--__b"):
            self.assertEqual(self.name(name), name)

    def test_bad(self) -> None:
        """Everything else is refused, look-alikes and line ends among it."""
        for name in (
            "",
            "-a",
            "a-",
            "_a",
            "a_",
            "a b",
            "a/b",
            "ä",
            "a\n",
            "\u212a",
            "\u017f",
            "a" * 81,
            "a\0",
            ".",
            5,
            None,
            True,
        ):
            self.assertRaises(ClientFault, self.name, name)
        for body in (b"", b"{}", b"[]", b'"a"', b"null"):
            self.assertRaises(ClientFault, fields.queue_name, body)


class MessageTests(SynchronousTestCase):
    """Messages that are sent."""

    def test_usual(self) -> None:
        """What is not said is as it usually is."""
        (task,) = tasks({"body": "hällo"})
        self.assertEqual(
            task,
            NewTask(queue=QUEUE, payload="hällo".encode(), head=b"text/plain", priority=50, expires=NOW + 345_600_000),
        )

    def test_all(self) -> None:
        """Everything that is said counts."""
        (task,) = tasks({"body": "", "type": "application/json", "delay": 3, "retention": 60, "priority": 0, "more": 1})
        self.assertEqual(
            (task.head, task.ready, task.expires, task.priority), (b"application/json", NOW + 3000, NOW + 60_000, 0)
        )

    def test_none(self) -> None:
        """No messages are fine."""
        self.assertEqual(tasks(), [])

    def test_ranges(self) -> None:
        """What is within the range is taken, and what is outside is refused, by name."""
        ranges = {"delay": (0, 900), "retention": (60, 1_209_600), "priority": (0, 100)}
        for name, (least, most) in ranges.items():
            for value in (least, most):
                self.assertEqual(len(tasks({"body": "", name: value})), 1)
            for value in (least - 1, most + 1, -(10**30), 10**30):
                fault = self.assertRaises(ClientFault, tasks, {"body": ""}, {"body": "", name: value})
                self.assertEqual(fault.status, 400)
                self.assertIn(name, fault.reason)
                self.assertIn("Message 1", fault.reason)

    def test_types(self) -> None:
        """What is of another type is refused: no boolean, text or fraction is a number."""
        for name in ("delay", "retention", "priority"):
            for value in (True, False, "60", 60.0, None, [60], {}):
                self.assertRaises(ClientFault, tasks, {"body": "", name: value})
        for value in (1, None, True, [], {}):
            self.assertRaises(ClientFault, tasks, {"body": value})
            self.assertRaises(ClientFault, tasks, {"body": "", "type": value})
        self.assertRaises(ClientFault, tasks, {"body": "", "type": "text/html"})
        self.assertRaises(ClientFault, tasks, {})
        self.assertRaises(ClientFault, tasks, "text")

    def test_length(self) -> None:
        """A body has so many characters, however many bytes they are."""
        self.assertEqual(len(tasks({"body": "\U0001f600" * 4096})[0].payload), 4 * 4096)
        self.assertRaises(ClientFault, tasks, {"body": "a" * 4097})

    def test_many(self) -> None:
        """One request cannot bring more messages than can be put in one step."""
        fault = self.assertRaises(ClientFault, tasks, *[{"body": ""}] * (fields.MESSAGES_MAX + 1))
        self.assertEqual(fault.status, 413)

    def test_leases(self) -> None:
        """One to a hundred leases end at once."""
        self.assertEqual(fields.leases(b'{"leases":["a","b"]}'), ["a", "b"])
        for body in (b"{}", b'{"leases":[]}', b'{"leases":[1]}', json.dumps({"leases": ["a"] * 101}).encode()):
            self.assertRaises(ClientFault, fields.leases, body)


class QueryTests(SynchronousTestCase):
    """Numbers and flags in queries."""

    def number(self, text: str | None) -> int:
        return fields.number({} if text is None else {"n": text}, "n", 30, 5, 100)

    def test_numbers(self) -> None:
        """What is too large is cut; what is too small or no number is refused."""
        cases = {None: 30, "5": 5, "007": 7, "100": 100, "101": 100, "9" * 5000: 100, "0" * 5000 + "6": 6}
        for text, value in cases.items():
            self.assertEqual(self.number(text), value)
        for bad in (
            "",
            "4",
            "0",
            "-5",
            "-" + "9" * 5000,
            "5.0",
            "+5",
            " 5",
            "5 ",
            "1e2",
            "0x10",
            "1_0",
            "\uff15",
            "²",
            "-",
            "x",
        ):
            self.assertRaises(ClientFault, self.number, bad)
        self.assertEqual(fields.number({"n": "-0"}, "n", 1, 0, 9), 0)

    def test_flags(self) -> None:
        """Yes and no can be said in a few ways, and in no others."""
        for text in ("1", "true", "yes", "TRUE", "Yes"):
            self.assertTrue(fields.flag({"f": text}, "f"))
        for text in ("0", "false", "no", "", "False"):
            self.assertFalse(fields.flag({"f": text}, "f"))
        self.assertFalse(fields.flag({}, "f"))
        for text in ("maybe", "2", "on", " 1"):
            self.assertRaises(ClientFault, fields.flag, {"f": text}, "f")

    @given(st.text())
    def test_anything(self, text: str) -> None:
        """Whatever is said is in the range, or the client's fault."""
        try:
            self.assertTrue(5 <= self.number(text) <= 100)
        except ClientFault:
            pass
