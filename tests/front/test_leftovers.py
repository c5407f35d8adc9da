"""Nothing of an exchange that is over waits for the garbage collector, however it ended: abuse must not fill memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from weakref import ref

from twisted.internet.testing import StringTransport

from tests.front.fakes import FakeExchange, request_head
from tests.front.test_site import SiteCase, endpoint
from tqserver.errors import ClientFault
from tqserver.front.site import CLIENT_LEFT
from tqserver.http1.idle import IDLE_S


class LeftoverTests(SiteCase):
    """Ways to end."""

    def setUp(self) -> None:
        super().setUp()
        self.lost: list[StringTransport] = []
        gc.disable()
        self.addCleanup(gc.enable)

    def lose(self, wire: StringTransport) -> None:
        self.lost.append(wire)
        super().lose(wire)

    def lose_all(self) -> None:
        """All connections are lost, and the fakes let go of what they know."""
        for wire in self.wires:
            if wire not in self.lost:
                self.lose(wire)
            wire.protocol = wire.producer = None  # type: ignore[attr-defined]
        self.wires.clear()
        self.lost.clear()
        self.reactor.tcpClients.clear()
        self.reactor.connectors.clear()
        self._connected = 0

    def check(self, what: str, end: Callable[[FakeExchange, StringTransport], None], method: bytes = b"GET") -> None:
        """
        See that nothing is left of a request.

        @param end: ends it, given the exchange and the worker's connection.
        """
        self.route(endpoint(1), request_timeout_s=1.0)
        exchange = FakeExchange(
            request_head(method, b"/api/x", content_length=0 if method == b"GET" else 10),
            started=self.reactor.seconds(),
        )
        self.site.serve(exchange)
        wire = self.connect()
        connection = ref(wire.protocol)  # type: ignore[attr-defined]
        end(exchange, wire)
        self.assertTrue(exchange.over, what)
        exchange.sink = exchange.producer = None
        left = ref(exchange)
        del exchange, wire
        self.lose_all()
        self.assertIsNone(left(), what)
        self.assertIsNone(connection(), what)

    def test_worker(self) -> None:
        """The worker answers, answers nothing in time, breaks, or talks nonsense, before the answer or in it."""
        part = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"
        self.check("answers", lambda exchange, wire: self.reply(wire))
        self.check("is silent", lambda exchange, wire: self.reactor.pump([0.25] * 8))
        self.check("breaks", lambda exchange, wire: self.lose(wire), b"POST")
        self.check("nonsense", lambda exchange, wire: self.reply(wire, b"what?\r\n\r\n"))

        def breaks_within(exchange: FakeExchange, wire: StringTransport) -> None:
            self.reply(wire, part)
            self.lose(wire)

        self.check("breaks within", breaks_within)

    def test_client(self) -> None:
        """The client leaves before the answer or in it, or its body goes wrong."""
        self.check("leaves", lambda exchange, wire: exchange.client_leaves())
        self.check("leaves in its body", lambda exchange, wire: exchange.client_leaves(), b"POST")
        self.check("body", lambda exchange, wire: exchange.client_fails(ClientFault("late", status=408)), b"POST")

        def leaves_within(exchange: FakeExchange, wire: StringTransport) -> None:
            self.reply(wire, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
            exchange.client_leaves()

        self.check("leaves within", leaves_within)

    def test_never_connected(self) -> None:
        """Nobody accepts the connection, and the client waits until it is sent away, or leaves."""
        self.route(endpoint(1))
        refused, left = self.ask(), self.ask()
        self.refuse()
        self.refuse()
        self.route(waiting_timeout_s=1.0)
        left.client_leaves()
        self.reactor.pump([0.25] * 8)
        self.assertEqual((refused.status, left.status), (504, CLIENT_LEFT))
        gone = [ref(refused), ref(left)]
        del refused, left
        self.lose_all()
        self.assertEqual([each() for each in gone], [None, None])

    def test_kept(self) -> None:
        """A connection that was kept for the next request keeps nothing of the last one, and ends when it is old."""
        self.route(endpoint(1))
        exchange = self.ask()
        wire = self.connect()
        self.reply(wire)
        left = ref(exchange)
        del exchange
        self.assertIsNone(left())
        self.reactor.pump([0.25] * int(IDLE_S * 4 + 2))
        self.assertTrue(wire.disconnected)
