"""How slow a client may be: heads, bodies, and the reading of answers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http1.test_server import GET, Body, ConnectionCase, answer
from tqserver.http1.exchange import BODY_BUFFER_BYTES
from tqserver.http1.head import ResponseHead
from tqserver.http1.pace import PACE_WINDOW_S, Pace

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"


class PaceTests(SynchronousTestCase):
    """Windows of time."""

    def test_kept(self) -> None:
        """Who sends enough in a window may go on to the next; before its end nobody is judged."""
        pace = Pace()
        self.assertEqual(pace.go(5.0), 5.0 + PACE_WINDOW_S)
        pace.took = 1000
        self.assertFalse(pace.kept(5.0 + PACE_WINDOW_S - 0.1, 100))
        self.assertTrue(pace.kept(5.0 + PACE_WINDOW_S, 100))
        self.assertEqual((pace.took, pace.due), (0, 5.0 + 2 * PACE_WINDOW_S))
        pace.took = 999
        self.assertFalse(pace.kept(5.0 + 2 * PACE_WINDOW_S, 100))

    def test_judged_late(self) -> None:
        """Who is judged late has to have sent for all of the time."""
        pace = Pace()
        pace.go(0.0)
        pace.took = 1500
        self.assertFalse(pace.kept(PACE_WINDOW_S * 2, 100))

    def test_our_own_slowness(self) -> None:
        """Time in which we do not want to read does not count, nor what came before it."""
        pace = Pace()
        pace.go(0.0)
        pace.stop()
        self.assertFalse(pace.kept(1000.0, 100))
        self.assertEqual(pace.go(1000.0), 1000.0 + PACE_WINDOW_S)

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.integers(1, 1000), st.lists(st.floats(0.01, 3.0), min_size=1, max_size=100))
    def test_fast_enough(self, rate: int, pauses: list[float]) -> None:
        """Who sends at the pace, in whatever pieces, is never found too slow."""
        pace, now = Pace(), 0.0
        pace.go(now)
        for pause in pauses:
            now += pause
            pace.took += int(rate * pause) + 1
            if now >= pace.due:
                self.assertTrue(pace.kept(now, rate))


class HeadTests(ConnectionCase):
    """Heads that come slowly."""

    def test_dripped(self) -> None:
        """A head that comes byte by byte has the same time as any, all of it together: then 408, and the end."""
        self.connect(read_timeout_s=30.0)
        for byte in GET[:40]:
            self.connection.dataReceived(bytes([byte]))
            self.clock.advance(1.0)
            if self.wire.half_closed:
                break
        self.assertIn(self.clock.seconds(), (30.0, 31.0, 32.0))
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 408 "))
        self.assertEqual(self.recorder.exchanges, [])

    def test_dripped_behind_another(self) -> None:
        """So has one that follows an answered request, from its first byte on."""
        self.connect(read_timeout_s=30.0)
        self.connection.dataReceived(GET)
        answer(self.recorder.exchanges[0])
        self.sent()
        self.clock.pump([1] * 100)
        for byte in GET[:40]:
            self.connection.dataReceived(bytes([byte]))
            self.clock.advance(1.0)
            if self.wire.half_closed:
                break
        self.assertIn(self.clock.seconds(), (130.0, 131.0, 132.0))
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 408 "))

    def test_nothing(self) -> None:
        """Who connects and says nothing is let go after the same time, without an answer to what was not asked."""
        self.connect(read_timeout_s=30.0)
        self.clock.pump([1] * 32)
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(self.sent(), b"")


class BodyTests(ConnectionCase):
    """Bodies that come slowly."""

    def post(self, **limits: float) -> Body:
        """A client begins to send a body that is wanted."""
        self.connect(read_timeout_s=30.0, **limits)
        self.connection.dataReceived(POST)
        body = Body()
        self.recorder.exchanges[0].receive(body)
        return body

    def drip(self, seconds: int, size: int = 1, every_s: float = 1.0) -> None:
        """Some bytes now and then."""
        for _ in range(int(seconds / every_s)):
            if self.recorder.exchanges[0].body_fault is None:
                self.connection.dataReceived(b"x" * size)
            self.clock.advance(every_s)

    def test_dripped(self) -> None:
        """A body that keeps coming may take as long as it likes: only silence counts."""
        body = self.post()
        self.drip(1000)
        self.assertIsNone(body.fault)
        self.clock.pump([1] * 32)
        assert body.fault is not None
        self.assertEqual(body.fault.status, 408)

    def test_too_slow(self) -> None:
        """With a least pace, one that comes more slowly is 408 after a while."""
        body = self.post(read_bytes_min_per_s=100)
        self.drip(int(PACE_WINDOW_S) + 1, 99)
        assert body.fault is not None
        self.assertEqual(body.fault.status, 408)

    def test_fast_enough(self) -> None:
        """One that keeps the pace goes on, evenly or in gusts; when it falls behind, it ends."""
        body = self.post(read_bytes_min_per_s=100)
        self.drip(60, 101)
        self.drip(60, 550, 5.0)
        self.assertIsNone(body.fault)
        self.drip(int(2 * PACE_WINDOW_S) + 1, 10)
        self.assertIsNotNone(body.fault)

    def test_silence_first(self) -> None:
        """A silence that is shorter than the window and too long is told of as ever."""
        self.connect(read_timeout_s=2.0, read_bytes_min_per_s=1)
        self.connection.dataReceived(POST + b"x" * 1000)
        body = Body()
        self.recorder.exchanges[0].receive(body)
        self.clock.pump([0.25] * 10)
        self.assertIsNotNone(body.fault)

    def test_slow_worker(self) -> None:
        """While it is the worker who is slow, the client's pace is nobody's business."""
        body = self.post(read_bytes_min_per_s=100)
        exchange = self.recorder.exchanges[0]
        for _ in range(20):
            exchange.pause_body()
            self.clock.pump([1] * 30)
            exchange.resume_body()
            self.drip(3, 1)
        self.assertIsNone(body.fault)

    def test_nobody_asks_for_it(self) -> None:
        """A request that waits with its buffer full is in no hurry."""
        self.connect(read_timeout_s=30.0, read_bytes_min_per_s=100)
        self.connection.dataReceived(POST + b"x" * BODY_BUFFER_BYTES)
        self.clock.pump([1] * 100)
        self.assertIsNone(self.recorder.exchanges[0].body_fault)

    def test_slow_answer(self) -> None:
        """When the body is whole the client has done its part: how long the answer takes is not held against it."""
        for pace in (0, 100):
            self.connect(read_timeout_s=30.0, read_bytes_min_per_s=pace)
            self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
            body = Body()
            self.recorder.exchanges[0].receive(body)
            self.connection.dataReceived(b"ok")
            self.assertTrue(body.ended)
            self.clock.pump([1] * 100)
            answer(self.recorder.exchanges[0])
            reply = self.sent()
            self.assertEqual((reply.count(b"HTTP/1.1 200 "), reply.count(b"HTTP/1.1 ")), (1, 1))
            self.connection.dataReceived(GET)
            answer(self.recorder.exchanges[1])
            self.assertTrue(self.sent().startswith(b"HTTP/1.1 200 "))

    def test_each_anew(self) -> None:
        """The next body on the connection is judged by itself."""
        self.connect(read_timeout_s=30.0, read_bytes_min_per_s=100)
        for _ in range(3):
            self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
            body = Body()
            exchange = self.recorder.exchanges[-1]
            exchange.receive(body)
            self.connection.dataReceived(b"ab")
            self.clock.pump([1] * 8)
            self.connection.dataReceived(b"cd")
            self.assertEqual((body.fault, body.ended), (None, True))
            answer(exchange)
            self.clock.pump([1] * 8)


class AnswerTests(ConnectionCase):
    """Answers that are read slowly."""

    def unread(self, request: bytes = GET) -> None:
        """An answer is on its way that the client does not take."""
        self.connect(write_timeout_s=30.0)
        self.connection.dataReceived(request)
        self.recorder.exchanges[0].respond(ResponseHead(200, b"", [], 100_000), None)
        self.connection.pauseProducing()

    def test_not_at_all(self) -> None:
        """A client that takes nothing is cut when it has taken nothing for so long."""
        self.unread()
        self.wire.dataBuffer = b"x" * 1000  # type: ignore[attr-defined]
        self.clock.pump([1] * 62)
        self.assertTrue(self.wire.disconnected)

    def test_little_by_little(self) -> None:
        """A client that takes a byte now and then is served for as long as it takes."""
        self.unread()
        for left in range(50, 0, -1):
            self.wire.dataBuffer = b"x" * left  # type: ignore[attr-defined]
            self.clock.pump([1] * 20)
        self.assertFalse(self.wire.disconnected)
        self.connection.resumeProducing()
        self.clock.pump([1] * 200)
        self.assertFalse(self.wire.disconnected)
