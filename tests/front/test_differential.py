"""
Random requests, and random damage to them, in exactly the segments that are meant, through everything that reads and
writes requests: what a strict reader understands of what goes in is what it understands of what comes out.

L{tests.functional.test_differential} does the same with processes and sockets, more slowly.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.functional import meaning
from tests.functional.looking import look
from tests.functional.mutations import CONVERSATIONS, CUTS, MUTATIONS, Meant, mutated, segments
from tests.functional.strict_reader import Request, read
from tests.http1.test_client import Answer
from tests.http1.test_server import Wire, answer
from tqserver.errors import Fault
from tqserver.front.forwarded import Forwarding
from tqserver.http1.client import HTTPClientConnection
from tqserver.http1.exchange import ServerExchange
from tqserver.http1.factory import HTTPServerFactory, ServerSettings
from tqserver.http1.head import ResponseHead
from tqserver.http1.outbox import Outbox
from tqserver.http1.server import HTTPServerConnection
from tqserver.http1.sweep import Sweep

BYTE_BY_BYTE_MAX = 1000
"""So much of a stream comes in segments of a byte, when it does."""


class Passage:
    """Reads one request's body, and writes the request to a worker when it is whole; answers it."""

    def __init__(self, front: Front, exchange: ServerExchange) -> None:
        self._front = front
        self._exchange = exchange
        self._body: list[bytes] = []

    def body_data(self, data: bytes) -> None:
        self._body.append(data)

    def body_end(self) -> None:
        exchange, head = self._exchange, self._exchange.head
        lines = self._front.forwarding.lines(head, "127.0.0.1", b"http", b"/", "id")
        wire = StringTransport()
        connection = HTTPClientConnection(Outbox())
        connection.makeConnection(wire)
        fields = [head.method, b" ", head.target, b" HTTP/1.1\r\n", *lines]
        connection.request(head, fields, Answer(), self._body, whole=True)
        self._front.written.append(wire.value())
        answer(exchange)

    def body_failed(self, fault: Fault) -> None:
        self._front.faults.append(fault)
        self._exchange.head.keep_alive = False
        self._exchange.respond(ResponseHead(fault.status, b"", [], 0), None)
        self._exchange.finish()


class Front:
    """
    One client's connection, and what is written to workers.

    @ivar written: of each request.
    """

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.faults: list[Fault] = []
        self.forwarding = Forwarding((), lambda count: b"\1" * count)
        clock = Clock()
        self.wire = Wire()
        self.connection = HTTPServerFactory(clock, self, ServerSettings(), Sweep(clock)).buildProtocol(None)
        self.connection.makeConnection(self.wire)

    def serve(self, exchange: ServerExchange) -> None:
        passage = Passage(self, exchange)
        if exchange.body_fault is not None:
            passage.body_failed(exchange.body_fault)
        else:
            exchange.receive(passage)

    def refuse(self, fault: Fault, connection: HTTPServerConnection) -> tuple[ResponseHead, bytes]:
        self.faults.append(fault)
        return ResponseHead(fault.status, b"", []), b""

    def send(self, pieces: list[bytes]) -> None:
        """The client sends some bytes, in these segments, for as long as anybody listens."""
        for piece in pieces:
            if not (self.wire.half_closed or self.wire.disconnecting or self.wire.disconnected):
                self.connection.dataReceived(piece)


class DifferentialTests(SynchronousTestCase):
    """From the client's bytes to the worker's."""

    def test_meant(self) -> None:
        """What a client sends in good order is written as it was meant."""
        look(300, {"conversation": CONVERSATIONS, "cuts": CUTS}, self.check_meant)

    def test_damaged(self) -> None:
        """What was damaged is refused, or understood by everybody in the same way; the segments do not matter."""
        look(500, {"conversation": CONVERSATIONS, "steps": MUTATIONS, "cuts": CUTS}, self.check_damaged)

    def check_meant(self, conversation: list[Meant], cuts: list[int]) -> None:
        """Send requests in good order."""
        front = Front()
        front.send(segments(b"".join(meant.on_the_wire() for meant in conversation), cuts))
        self.assertEqual(front.faults, [])
        written = self.understood(front.written)
        self.assertEqual(list(map(meaning.of_request, written)), list(map(meaning.of_meant, conversation)))
        self.assertEqual(front.wire.value().count(b"HTTP/1.1 200 OK\r\n"), len(conversation))

    def check_damaged(self, conversation: list[Meant], steps: list[tuple[str, int, object]], cuts: list[int]) -> None:
        """Send damaged requests."""
        data = mutated(b"".join(meant.on_the_wire() for meant in conversation), steps)
        expected, _, why = read(data)
        ends = bool(expected) and expected[-1].last
        outcomes = []
        for pieces in (segments(data, []), segments(data, cuts), segments(data, list(range(BYTE_BY_BYTE_MAX)))):
            front = Front()
            front.send(pieces)
            written = self.understood(front.written)
            for request, other in zip(written, expected, strict=False):
                self.assertEqual(meaning.of_request(request), meaning.of_request(other))
            self.assertLessEqual(len(written), len(expected))
            if not ends:
                self.assertGreaterEqual(bool(front.faults), bool(why) or len(written) < len(expected), why)
            # What is wrong may be seen sooner, and be called something else, when less has come.
            outcomes.append((list(map(meaning.of_request, written)), bool(front.faults)))
        self.assertEqual(outcomes, [outcomes[0]] * 3)

    def understood(self, written: list[bytes]) -> list[Request]:
        """What a worker reads in what was written to it."""
        requests = []
        for data in written:
            (request,), end, why = read(data)
            self.assertEqual((end, why), (len(data), ""))
            self.assertRegex(request.head, meaning.CANONICAL.pattern + rb"\Z")
            requests.append(request)
        return requests
