"""Requests that are answered later, on their way through a front."""

from __future__ import annotations

from twisted.internet.testing import StringTransport

from tests.front.fakes import FakeExchange, request_head
from tests.front.test_site import SiteCase, endpoint
from tqserver.front.asynchronous import prefers_later
from tqserver.plane.messages import Endpoint, Route, Routing, WorkerRouting

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nLocation: /queue/async/1\r\nContent-Length: 2\r\n\r\n{}"


class AsynchronousTests(SiteCase):
    """A worker at C{/api} whose requests may wait, one at C{/now} whose may not, and a queue."""

    def publish(self, queue: str = "queue", mount_at: str = "/queue", host: str = "") -> None:
        """Publish a routing."""
        self.version += 1
        keeper = Endpoint(id="queue.1.1", host="127.0.0.1", port=9100)
        self.site.apply(
            Routing(
                version=self.version,
                queue=queue,
                routes=(
                    Route(prefix="/api", worker="api", asynchronous=True),
                    Route(prefix="/api/now", worker="api"),
                    Route(prefix="/now", worker="now"),
                    Route(prefix=mount_at, worker="queue", host=host),
                ),
                workers=(
                    WorkerRouting(name="api", type="go", endpoints=(endpoint(1),)),
                    WorkerRouting(name="now", type="go", endpoints=(endpoint(2),)),
                    WorkerRouting(name="queue", type="queue", endpoints=(keeper,)),
                ),
            )
        )

    def asks(
        self, target: bytes = b"/api/x?y=1", prefer: bytes = b"respond-async", **options: object
    ) -> tuple[FakeExchange, StringTransport]:
        """A client asks, and somebody takes its connection."""
        body = options.pop("body", None)
        headers = [(b"prefer", prefer)] if prefer else []
        exchange = FakeExchange(
            request_head(b"PUT", target, headers, content_length=len(body or b""), **options),  # type: ignore[arg-type]
            body=body,  # type: ignore[arg-type]
            started=self.reactor.seconds(),
        )
        self.site.serve(exchange)
        return exchange, self.connect()

    def test_kept(self) -> None:
        """The queue gets the request as it is, with where clients ask for it, and who the client is."""
        self.publish()
        exchange, wire = self.asks(body=b"hello")
        self.assertEqual(wire.port, 9100)  # type: ignore[attr-defined]
        head, _, body = wire.value().partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[:2], [b"PUT /api/x?y=1 HTTP/1.1", b"x-task-async: /queue"])
        for line in (b"host: example.test", b"prefer: respond-async", b"x-forwarded-prefix: /", b"content-length: 5"):
            self.assertIn(line, lines)
        self.assertEqual(len([line for line in lines if line.startswith(b"x-forwarded-for: ")]), 1)
        self.assertEqual(body, b"hello")
        self.reply(wire, ACCEPTED)
        self.assertEqual((exchange.status, exchange.header(b"location")), (202, b"/queue/async/1"))
        self.assertEqual(self.logged.lines, [(202, "queue", "queue.1.1")])

    def test_not_kept(self) -> None:
        """Who does not prefer it, or asks for something that is answered at once, is."""
        self.publish()
        for target, prefer in [
            (b"/api/x", b""),
            (b"/api/x", b"return=minimal"),
            (b"/api/now/x", b"respond-async"),
            (b"/now/x", b"respond-async"),
        ]:
            _, wire = self.asks(target, prefer)
            self.assertNotEqual(wire.port, 9100, target)  # type: ignore[attr-defined]
            self.assertNotIn(b"x-task-async", wire.value())

    def test_no_queue(self) -> None:
        """Without a queue, or one that nobody reaches, there is nobody to keep anything."""
        self.publish(queue="")
        _, wire = self.asks()
        self.assertEqual(wire.port, 9001)  # type: ignore[attr-defined]
        self.publish(queue="gone")
        _, wire = self.asks()
        self.assertEqual(wire.port, 9001)  # type: ignore[attr-defined]

    def test_mount(self) -> None:
        """A queue at the root, or at one host only, is told as what it is."""
        self.publish(mount_at="/")
        _, wire = self.asks()
        self.assertIn(b"\r\nx-task-async: /\r\n", wire.value())

    def test_upgrade(self) -> None:
        """A WebSocket is nothing to wait for."""
        self.publish()
        _, wire = self.asks(upgrade=b"websocket")
        self.assertEqual(wire.port, 9001)  # type: ignore[attr-defined]

    def test_cost(self) -> None:
        """A worker without such requests is no special one."""
        self.publish()
        workers = self.site._workers
        self.assertEqual([workers[name].special for name in ("api", "now", "queue")], [True, False, False])

    def test_preferences(self) -> None:
        """What says respond-async, and what only looks like it."""
        for value, wanted in [
            (b"respond-async", True),
            (b"Respond-Async", True),
            (b"wait=10, respond-async", True),
            (b"respond-async;x=1", True),
            (b"return=minimal,\trespond-async ,wait=1", True),
            (b"respond-asynchronously", False),
            (b"x-respond-async", False),
            (b'x="a, respond-async"', False),
            (b'x="\\", respond-async"', False),
            (b"x=respond-async", False),
            (b"", False),
        ]:
            head = request_head(headers=[(b"accept", b"*/*"), (b"prefer", value)])
            self.assertEqual(prefers_later(head), wanted, value)
