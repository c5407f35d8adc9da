"""Clients' requests as tasks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import request_head
from tqserver.queue.lifecycle import born
from tqserver.queue.model import NewTask, Task
from tqserver.queue.own import REQUESTS
from tqserver.queue.requests import Replayed, preferences, stored

VALUES = st.binary(max_size=30).map(lambda value: bytes(byte for byte in value if 32 < byte < 127))


def task(head: bytes, payload: bytes = b"") -> Task:
    """A stored request."""
    return born(NewTask(queue=REQUESTS, payload=payload, head=head), 1, 1, "id-1")


class ReplayTests(SynchronousTestCase):
    """Requests that are sent again."""

    def test_as_it_was(self) -> None:
        """The worker sees my request as I sent it: method, target, host, and my fields in their order."""
        head = request_head(
            b"PATCH",
            b"/a%20b?c=d",
            [(b"cookie", b"a"), (b"authorization", b"x"), (b"x-forwarded-for", b"1.2.3.4"), (b"cookie", b"b")],
            host=b"me.example:81",
            content_length=2,
        )
        request = Replayed().compose(task(stored(head), b"{}"))
        self.assertEqual((request.method, request.body), (b"PATCH", b"{}"))
        self.assertEqual(
            b"".join(request.fields).split(b"\r\n"),
            [
                b"PATCH /a%20b?c=d HTTP/1.1",
                b"host: me.example:81",
                b"cookie: a",
                b"authorization: x",
                b"x-forwarded-for: 1.2.3.4",
                b"cookie: b",
                b"x-task-id: id-1",
                b"x-task-attempt: 0",
                b"x-task-queue: async",
                b"",
            ],
        )

    def test_what_is_not_mine(self) -> None:
        """What was said to the server alone, or is said anew, is not told twice."""
        names = [b"x-task-async", b"x-task-id", b"content-length", b"expect"]
        head = request_head(headers=[(name, b"7") for name in names])
        sent = b"".join(Replayed().compose(task(stored(head))).fields)
        self.assertEqual(sent.count(b"7"), 0)

    def test_preferences(self) -> None:
        """What I prefer besides is told the worker; that I do not wait is not."""
        for value, wanted in [
            (b"respond-async", b""),
            (b"respond-async, wait=10", b""),
            (b"Respond-Async,return=minimal ; x=1", b"return=minimal ; x=1"),
            (b'handling="a, respond-async", wait=1', b'handling="a, respond-async"'),
        ]:
            sent = b"".join(Replayed().compose(task(stored(request_head(headers=[(b"prefer", value)])))).fields)
            self.assertEqual(sent.partition(b"prefer: ")[2].partition(b"\r\n")[0], wanted, value)

    def test_no_request(self) -> None:
        """What is no request is not sent."""
        self.assertRaises(ValueError, Replayed().compose, task(b"text/plain"))

    @given(st.lists(st.tuples(VALUES, VALUES), max_size=8), st.binary(max_size=200))
    def test_any(self, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Any fields survive, and the body to the byte."""
        fields = [(b"x-" + name.lower(), value) for name, value in fields]
        head = request_head(b"PUT", b"/x", fields, content_length=len(body))
        request = Replayed().compose(task(stored(head), body))
        lines = b"".join(request.fields).split(b"\r\n")
        self.assertEqual(lines[2:-4], [b"%b: %b" % field for field in fields])
        self.assertEqual(request.body, body)

    @given(st.binary(max_size=80))
    def test_any_preference(self, value: bytes) -> None:
        """Whatever is in the field, it is read without harm."""
        preferences([value])
