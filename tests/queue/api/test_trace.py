"""Tests of L{tqserver.queue.api.trace}."""

from __future__ import annotations

import os
from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange, request_head
from tqserver.http1.head import ResponseHead
from tqserver.queue.api.trace import FLUSH_S, LINES_MAX, Trace, to_stderr


class TraceTests(SynchronousTestCase):
    """Trace ids."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.written: list[bytes] = []
        self.trace = Trace(self.clock, self.written.append)

    def begin(self, *headers: tuple[bytes, bytes], target: bytes = b"/x") -> FakeExchange:
        exchange = FakeExchange(request_head(target=target, headers=headers))
        self.trace.begin(exchange, target)  # type: ignore[arg-type]
        return exchange

    def named(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        exchange = self.begin(*headers)
        ((name, value),) = exchange.response_headers
        self.assertEqual(name, b"X-Trace-Id")
        return value

    def test_kept(self) -> None:
        """An id that the client has is kept."""
        self.assertEqual(self.named([(b"x-trace-id", b"abc/1:2")]), b"abc/1:2")

    def test_made(self) -> None:
        """Where there is none, or one that would spoil the log, one is made; no two are the same."""
        made = [self.named(headers) for headers in ([], [], [(b"x-trace-id", b"a b")], [(b"x-trace-id", b"a" * 129)])]
        self.assertEqual(len(set(made)), 4)
        self.assertTrue(all(each.isalnum() for each in made))

    def test_others(self) -> None:
        """Headers that others add stay."""
        exchange = FakeExchange()
        exchange.response_headers = [(b"X-A", b"1")]
        self.trace.begin(exchange, b"/")  # type: ignore[arg-type]
        self.assertEqual([name for name, _ in exchange.response_headers], [b"X-A", b"X-Trace-Id"])

    def test_logged(self) -> None:
        """A line tells of each request, a moment after it; nothing in it can pretend to be another line."""
        exchange = self.begin((b"x-trace-id", b"abc"), target=b"/x\n\x1b y")
        self.clock.advance(0.001)
        exchange.answer(ResponseHead(200, b"", []), b"four")
        self.assertEqual(self.written, [])
        self.clock.advance(FLUSH_S)
        self.assertEqual(self.written, [b"trace_id=abc method=GET target=/x???y status=200 bytes=4 us=1000\n"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """Many lines are not kept waiting, but written together."""
        for _ in range(LINES_MAX):
            self.begin().client_leaves()
        self.assertEqual([text.count(b"\n") for text in self.written], [LINES_MAX])

    def test_close(self) -> None:
        """At the end nothing is lost."""
        self.begin().client_leaves()
        self.trace.close()
        self.assertEqual((len(self.written), self.clock.getDelayedCalls()), (1, []))

    def test_slow_reader(self) -> None:
        """Whole lines are written, as many as there is room for; nobody waits for who does not read."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        line = b"x" * 99 + b"\n"
        for _ in range(20):
            to_stderr(line * 300, writing)
        os.set_blocking(reading, False)
        read = os.read(reading, 10_000_000)
        self.assertGreater(len(read), 10_000)
        self.assertEqual(set(read.splitlines(keepends=True)), {line})
        to_stderr(b"y" * 10_000, writing)
        self.assertEqual(os.read(reading, 20_000), b"y" * 10_000)
