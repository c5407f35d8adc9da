"""Nothing of a connection that is over waits for the garbage collector, however it ended."""

from __future__ import annotations

import gc
from collections.abc import Callable
from weakref import ref

from tests.http1.test_server import GET, Body, ConnectionCase, answer

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"


class LeftoverTests(ConnectionCase):
    """Ways to end."""

    def setUp(self) -> None:
        super().setUp()
        gc.disable()
        self.addCleanup(gc.enable)

    def check(self, what: str, data: bytes, end: Callable[[], None] = lambda: None) -> None:
        """
        See that nothing is left of a connection and its requests.

        @param data: what the client sends.
        @param end: what happens then, before the client leaves.
        """
        self.connect()
        self.connection.dataReceived(data)
        for exchange in self.recorder.exchanges:
            exchange.receive(Body())
            del exchange
        end()
        self.lose()
        left = [ref(exchange) for exchange in self.recorder.exchanges]
        left.append(ref(self.connection))  # type: ignore[arg-type]
        del self.connection
        self.recorder.exchanges.clear()
        self.wire.producer = None  # type: ignore[assignment]
        self.assertEqual([each() for each in left], [None] * len(left), what)

    def test_client_leaves(self) -> None:
        """The client leaves in a head, in a body, before the answer, behind requests that wait, or when all is done."""
        self.check("in a head", GET[:20])
        self.check("in a body", POST + b"x")
        self.check("in a pipelined body", GET + POST + b"x")
        self.check("before the answer", GET)
        self.check("while others wait", GET * 3)
        self.check("idle", GET, lambda: answer(self.recorder.exchanges[0]))

    def test_sent_away(self) -> None:
        """The client is refused, or is too late with its head or its body."""
        self.check("nonsense", b"what?\r\n\r\n")
        self.check("late head", GET[:20], lambda: self.clock.pump([1] * 40))
        self.check("late body", POST + b"x", lambda: self.clock.pump([1] * 40))
        self.check("nonsense in a body", POST.replace(b"Content-Length: 9", b"Transfer-Encoding: chunked") + b"xyz\r\n")
        self.check("answered early", POST, lambda: answer(self.recorder.exchanges[0]))
        self.check("cut", GET, lambda: self.connection.cut())
