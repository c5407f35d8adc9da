"""Clients that mean no good, or are only very slow: nothing piles up, nothing is mistaken for something else."""

from __future__ import annotations

from twisted.internet.testing import StringTransport

from tests.http1.test_server import GET, Body, ConnectionCase, Recorder, answer
from tqserver.errors import Fault
from tqserver.http1.exchange import ServerExchange
from tqserver.http1.head import ResponseHead
from tqserver.http1.reading import PIPELINE_MAX
from tqserver.http1.server import LINGER_S

UPGRADE = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class AtOnce(Recorder):
    """Answers every request as soon as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[bytes] = []

    def serve(self, exchange: ServerExchange) -> None:
        super().serve(exchange)
        exchange.when_over(lambda: self.ended.append(exchange.head.target))
        answer(exchange)


class SmugglingTests(ConnectionCase):
    """Nothing of one request becomes a part of another."""

    def test_trailers_end_with_their_request(self) -> None:
        """A trailer is no header of the request that follows on the connection."""
        self.connection.dataReceived(CHUNKED + b"0\r\nX-Evil: y\r\n\r\n" + GET)
        answer(self.recorder.exchanges[0])
        self.assertEqual(self.recorder.exchanges[1].head.headers, [(b"host", b"example.test")])

    def test_body_of_an_upgrade_request(self) -> None:
        """The body of a request that asks for an upgrade is its body, not the next request, however it is split."""
        body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        for framing, payload in (
            (b"Content-Length: %d\r\n\r\n" % len(body), body),
            (b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)),
        ):
            stream = b"POST /up HTTP/1.1\r\n" + UPGRADE + framing + payload + GET
            for size in (1, 7, len(stream)):
                self.connect()
                for at in range(0, len(stream), size):
                    self.connection.dataReceived(stream[at : at + size])
                first = Body()
                self.recorder.exchanges[0].receive(first)
                self.assertEqual((first.data, first.ended), (body, True))
                answer(self.recorder.exchanges[0])
                self.assertEqual([each.head.path for each in self.recorder.exchanges], [b"/up", b"/a"])
                self.assertEqual(self.recorder.faults, [])

    def test_refused_upgrade_with_something_behind(self) -> None:
        """A malformed request that asks for an upgrade is refused, though more follows it."""
        self.connection.dataReceived(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + GET)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.recorder.exchanges, [])


class PileTests(ConnectionCase):
    """Nothing grows without a limit."""

    def pause(self) -> None:
        """The client takes no more of what is written."""
        self.connection.pauseProducing()

    def test_endless_trailer(self) -> None:
        """Trailers and chunk extensions have a limit, whether or not they ever end."""
        for beginning, status in ((b"0\r\nX: ", 431), (b"1;x=", 400)):
            self.connect()
            self.connection.dataReceived(CHUNKED + beginning)
            body = Body()
            self.recorder.exchanges[0].receive(body)
            for _ in range(40):
                self.connection.dataReceived(b"a" * 1000)
            fault: Fault | None = body.fault
            assert fault is not None, beginning
            self.assertEqual(fault.status, status)

    def test_small_chunks_are_no_trailer(self) -> None:
        """Many small chunks have much framing and are a body all the same."""
        self.connection.dataReceived(CHUNKED)
        body = Body()
        self.recorder.exchanges[0].receive(body)
        for _ in range(5000):
            self.connection.dataReceived(b"1\r\nx\r\n")
        self.assertEqual((len(body.data), body.fault), (5000, None))

    def test_asks_and_does_not_read(self) -> None:
        """Who asks on and on and reads no answer is not answered, nor read, and is cut at last."""
        self.connection.dataReceived(GET)
        self.pause()
        answer(self.recorder.exchanges[0])
        self.assertEqual(self.wire.producerState, "paused")
        self.connection.dataReceived(GET + GET)
        self.assertEqual(len(self.recorder.exchanges), 1)
        self.clock.pump([1] * 62)
        self.assertTrue(self.wire.disconnected)

    def test_reads_at_last(self) -> None:
        """Once the client has taken the answers so far, its next request is served."""
        self.connection.dataReceived(GET + GET)
        self.pause()
        answer(self.recorder.exchanges[0])
        self.assertEqual(len(self.recorder.exchanges), 1)
        self.connection.resumeProducing()
        answer(self.recorder.exchanges[1])
        self.assertEqual(self.wire.producerState, "producing")
        self.clock.pump([1] * 100)
        self.assertFalse(self.wire.disconnecting)

    def test_many_ahead(self) -> None:
        """Requests sent ahead are answered in order without going ever deeper, and each ends before the next."""
        recorder = self.factory.observer = AtOnce()
        depths: list[int] = []
        serve = recorder.serve

        def measured(exchange: ServerExchange) -> None:
            import inspect

            depths.append(len(inspect.stack(0)))
            serve(exchange)

        self.factory.serve = measured
        self.connection.dataReceived(
            b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % at for at in range(PIPELINE_MAX))
        )
        self.assertEqual(recorder.ended, [b"/%d" % at for at in range(PIPELINE_MAX)])
        self.assertEqual(len(set(depths)), 1)


class PatienceTests(ConnectionCase):
    """Limits meet those whose fault it is."""

    def test_part_of_a_head_behind_a_request(self) -> None:
        """A head of which some came with the request before has the time of a head, and is not taken for idleness."""
        self.connection.dataReceived(GET + b"GET /b HT")
        answer(self.recorder.exchanges[0])
        self.sent()
        self.assertFalse(self.connection.close_if_idle(self.clock.seconds()))
        self.clock.pump([1] * 32)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 408 "))

    def test_part_of_a_head_behind_a_body(self) -> None:
        """Likewise behind a body."""
        self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        self.connection.dataReceived(b"okGET /b HT")
        answer(self.recorder.exchanges[0])
        self.assertFalse(self.connection.close_if_idle(self.clock.seconds()))

    def test_body_behind_a_long_request(self) -> None:
        """A body that we do not read because the request before it takes long is not late."""
        self.connection.dataReceived(GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
        self.connection.dataReceived(b"x" * 70000)
        self.assertEqual(self.wire.producerState, "paused")
        self.clock.pump([1] * 100)
        answer(self.recorder.exchanges[0])
        body = Body()
        self.recorder.exchanges[1].receive(body)
        self.assertEqual((body.fault, len(body.data)), (None, 70000))

    def test_upload_is_no_progress_in_reading(self) -> None:
        """A client that sends and does not read is cut, though it goes on sending."""
        self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n")
        exchange = self.recorder.exchanges[0]
        exchange.receive(Body())
        exchange.respond(ResponseHead(200, b"", []), None)
        self.connection.pauseProducing()
        for _ in range(70):
            self.connection.dataReceived(b"x")
            self.clock.advance(1)
        self.assertTrue(self.wire.disconnected)

    def test_slow_reader_of_the_last_answer(self) -> None:
        """A client that reads the last answer slowly gets the whole of it; one that stops reading is cut."""
        for request in (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
        ):
            self.connect()
            self.connection.dataReceived(request)
            answer(self.recorder.exchanges[0])
            for left in range(100, 90, -1):
                self.wire.dataBuffer = b"x" * left  # type: ignore[attr-defined]
                self.clock.pump([1] * 20)
                self.assertFalse(self.wire.disconnected)
            self.clock.pump([1] * 62)
            self.assertTrue(self.wire.disconnected)

    def test_lingers_no_longer_than_it_must(self) -> None:
        """A client that has read everything is let go after the linger."""
        self.connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        answer(self.recorder.exchanges[0])
        self.clock.pump([0.25] * int(LINGER_S * 4 + 2))
        self.assertTrue(self.wire.disconnecting)

    def test_told_to_continue_once(self) -> None:
        """A body that is told again is asked of the client only once."""
        self.connection.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        exchange = self.recorder.exchanges[0]
        exchange.receive(Body())
        exchange.receive(Body())
        self.assertEqual(self.sent().count(b"100 Continue"), 1)

    def test_nothing_begins_after_the_last(self) -> None:
        """When an answer ends the connection while its request's body ends, what is behind that body is not begun."""

        class Last(Body):
            """Answers at once when the body is whole."""

            def body_end(self) -> None:
                answer(exchange)

        self.connection.dataReceived(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n")
        exchange = self.recorder.exchanges[0]
        exchange.receive(Last())
        self.connection.dataReceived(b"ok" + GET + GET)
        self.assertEqual(len(self.recorder.exchanges), 1)
        self.assertTrue(exchange.over)
        self.assertEqual(self.sent().count(b"HTTP/1.1 "), 1)
        self.assertTrue(self.wire.disconnecting)

    def test_nothing_begins_after_a_cut(self) -> None:
        """When an answer was cut, what was sent behind its request is not begun."""

        class Later(StringTransport):
            """A transport that tells of its end in a later turn, as real ones do."""

            def abortConnection(self) -> None:
                self.disconnected = True

            def setTcpNoDelay(self, enabled: bool) -> None:
                """As TCP has it."""

        self.wire = Later()  # type: ignore[assignment]
        self.connection = self.factory.buildProtocol(None)
        self.connection.makeConnection(self.wire)
        self.connection.dataReceived(GET + GET)
        exchange = self.recorder.exchanges[0]
        exchange.respond(ResponseHead(200, b"", []), None)
        exchange.abort()
        exchange.finish()
        self.assertEqual(len(self.recorder.exchanges), 1)
        self.lose()
        self.assertTrue(exchange.over)
