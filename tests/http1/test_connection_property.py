"""One connection under everything at once: however it goes, each exchange ends once and answers come in order."""

from __future__ import annotations

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.http1.test_server import Recorder, Wire
from tqserver.errors import Fault
from tqserver.http1.exchange import ServerExchange
from tqserver.http1.factory import HTTPServerFactory, ServerSettings
from tqserver.http1.head import ResponseHead
from tqserver.http1.sweep import Sweep


@define
class Served:
    """A request in somebody's hands: reads its body when it is asked to, and answers."""

    exchange: ServerExchange
    data: bytes = b""
    ended: int = 0
    failed: list[Fault] = field(factory=list)
    over: int = 0
    paused: bool = False

    def body_data(self, data: bytes) -> None:
        assert data and not self.ended and not self.paused and not self.over
        self.data += data

    def body_end(self) -> None:
        assert not self.paused and not self.over
        self.ended += 1

    def body_failed(self, fault: Fault) -> None:
        self.failed.append(fault)


def encode(number: int, body: bytes | None, chunks: list[int] | None) -> bytes:
    """A request on the wire: a GET without a body, else a POST, in chunks of these sizes if there are any."""
    if body is None:
        return b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number
    head = b"POST /%d HTTP/1.1\r\nHost: a\r\n" % number
    if chunks is None:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    encoded = b""
    at = 0
    for size in [*chunks, len(body)]:
        piece = body[at : at + size]
        at += size
        if piece:
            encoded += b"%x\r\n%b\r\n" % (len(piece), piece)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + encoded + b"0\r\nX-Trailer: t\r\n\r\n"


BODIES = st.one_of(st.none(), st.binary(max_size=40), st.integers(65000, 140000).map(lambda size: b"z" * size))
REQUESTS = st.lists(
    st.tuples(BODIES, st.one_of(st.none(), st.lists(st.integers(1, 30000), max_size=4))), min_size=1, max_size=5
)
STEPS = st.lists(
    st.one_of(
        st.integers(1, 50000),
        st.sampled_from(["small", "receive", "pause", "resume", "answer", "full", "drained", "time"]),
    ),
    max_size=40,
)


class PropertyTests(SynchronousTestCase):
    """Random requests, splits, pauses and departures."""

    @settings(max_examples=120, derandomize=True, deadline=None)
    @given(REQUESTS, STEPS, st.booleans())
    def test_anything(
        self, requests: list[tuple[bytes | None, list[int] | None]], steps: list[int | str], leaves: bool
    ) -> None:
        """Bodies are right, answers in order, nothing is served ahead, and every exchange that began ends once."""
        clock = Clock()
        served: list[Served] = []

        class Server(Recorder):
            """Keeps what is to be served."""

            def serve(self, exchange: ServerExchange) -> None:
                assert all(each.over for each in served), "two exchanges at once"
                each = Served(exchange)
                served.append(each)

                def over() -> None:
                    each.over += 1

                exchange.when_over(over)

        recorder = Server()
        factory = HTTPServerFactory(clock, recorder, ServerSettings(), Sweep(clock))
        wire = Wire()
        connection = factory.buildProtocol(None)
        connection.makeConnection(wire)
        stream = b"".join(encode(number, *request) for number, request in enumerate(requests))
        at = 0

        def send(size: int) -> None:
            """The kernel hands over some bytes, if it is asked for any."""
            nonlocal at
            if wire.producerState == "producing" and at < len(stream) and not wire.disconnected:
                size = min(size, 65536)
                connection.dataReceived(stream[at : at + size])
                at += size

        def act(step: str) -> None:
            each = served[-1] if served and not served[-1].over else None
            if step == "full" and not connection.write_paused:
                connection.pauseProducing()
            elif step == "drained" and connection.write_paused:
                connection.resumeProducing()
            elif step == "time":
                clock.advance(1)
            elif each is None:
                return
            elif step == "receive" and each.exchange._sink is None:
                each.exchange.receive(each)
            elif step == "pause" and each.exchange._sink is not None and not each.paused and not each.ended:
                each.paused = True
                each.exchange.pause_body()
            elif step == "resume" and each.paused:
                each.paused = False
                each.exchange.resume_body()
            elif step == "answer" and each.ended:
                body = each.exchange.head.target
                each.exchange.respond(ResponseHead(200, b"", [], len(body)), None)
                each.exchange.write(body)
                each.exchange.finish()

        for step in steps:
            if isinstance(step, int):
                send(step)
            else:
                send(1) if step == "small" else act(step)
        if leaves:
            connection.connectionLost(connectionDone)
        else:
            for _ in range(len(requests) * 12 + 5):
                for step in ("drained", "receive", "resume", "answer"):
                    act(step)
                send(65536)
        self.assertEqual(recorder.faults, [])
        self.assertTrue(all(not each.failed for each in served))
        self.assertEqual([each.over for each in served], [1] * len(served))
        for number, each in enumerate(served):
            self.assertEqual(each.exchange.head.target, b"/%d" % number)
            body = requests[number][0] or b""
            self.assertTrue(body.startswith(each.data))
            if each.ended:
                self.assertEqual((each.data, each.ended), (body, 1))
            self.assertFalse(any(name.startswith(b"x-") for name, _ in each.exchange.head.headers))
        answers = wire.value().split(b"HTTP/1.1 200 OK\r\n")[1:]
        self.assertEqual(
            [reply.rpartition(b"\r\n\r\n")[2] for reply in answers], [b"/%d" % number for number in range(len(answers))]
        )
        if not leaves:
            self.assertEqual((len(served), len(answers)), (len(requests), len(requests)))
