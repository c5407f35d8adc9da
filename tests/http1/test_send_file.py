"""Bodies that the kernel sends from a file."""

from __future__ import annotations

from collections.abc import Callable

from tests.http1.test_server import GET, ConnectionCase, Wire, answer
from tqserver.http1.exchange import ServerExchange
from tqserver.http1.head import ResponseHead


class FileWire(Wire):
    """A transport that can have the kernel send; a test says how it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, int, int]] = []
        self.told: Callable[[int, bool], None] | None = None
        self.cancelled = 0

    def send_file(self, fd: int, at: int, length: int, told: Callable[[int, bool], None]) -> bool:
        """Begin."""
        self.asked.append((fd, at, length))
        self.told = told
        return True

    def cancel_file(self) -> None:
        """Send no more."""
        self.cancelled += 1


class SendFileTests(ConnectionCase):
    """A response whose body, or some of it, comes from a file."""

    def connect(self, **limits: float) -> None:
        super().connect(**limits)
        self.wire = self.files = FileWire()
        self.connection = self.factory.buildProtocol(None)
        self.connection.makeConnection(self.wire)
        self.ended: list[bool] = []

    def begin(self, length: int | None = 10, request: bytes = GET) -> ServerExchange:
        """A request is answered with a head."""
        self.connection.dataReceived(request)
        exchange = self.recorder.exchanges[-1]
        exchange.respond(ResponseHead(200, b"OK", [], length), None)
        return exchange

    def tell(self, sent: int, last: bool) -> None:
        """The transport says how it goes on."""
        assert self.files.told is not None
        self.files.told(sent, last)

    def test_whole(self) -> None:
        """What the kernel sends counts as the body; then the response is whole, and the next request comes."""
        exchange = self.begin()
        self.assertTrue(exchange.send_file(7, 100, 10, self.ended.append))
        self.assertEqual(self.files.asked, [(7, 100, 10)])
        self.tell(4, False)
        self.assertEqual((exchange.sent_bytes, self.ended), (4, []))
        self.tell(6, True)
        self.assertEqual((exchange.sent_bytes, self.ended), (10, [True]))
        exchange.finish()
        self.assertTrue(exchange.over)
        self.assertFalse(self.wire.disconnecting)
        self.sent()
        self.connection.dataReceived(GET)
        answer(self.recorder.exchanges[-1])
        self.assertIn(b"ok", self.sent())

    def test_in_between(self) -> None:
        """It goes together with what is written before and after."""
        exchange = self.begin(6)
        exchange.write(b"ab")
        exchange.send_file(7, 0, 2, self.ended.append)
        self.tell(2, True)
        exchange.write(b"yz")
        exchange.finish()
        self.assertTrue(self.sent().endswith(b"abyz"))
        self.assertTrue(exchange.over)
        self.assertFalse(self.wire.disconnecting or self.files.disconnected)  # type: ignore[attr-defined]

    def test_too_short(self) -> None:
        """A file that ends before its time is said to have failed, and the response cannot end well."""
        exchange = self.begin()
        exchange.send_file(7, 0, 10, self.ended.append)
        self.tell(4, True)
        self.assertEqual(self.ended, [False])
        exchange.finish()
        self.assertTrue(self.files.disconnected)  # type: ignore[attr-defined]

    def test_not_here(self) -> None:
        """Where the body has no known length, or none at all, or less than that, the kernel is not asked."""
        self.assertFalse(self.begin(None).send_file(7, 0, 10, self.ended.append))
        self.connect()
        self.assertFalse(self.begin(9).send_file(7, 0, 10, self.ended.append))
        self.connect()
        head = self.begin(10, GET.replace(b"GET", b"HEAD"))
        self.assertFalse(head.send_file(7, 0, 10, self.ended.append))
        head.finish()
        self.assertFalse(head.send_file(7, 0, 10, self.ended.append))
        self.assertEqual(self.files.asked, [])

    def test_other_transports(self) -> None:
        """A transport that knows nothing of files is written to."""
        super().connect()
        exchange = self.begin()
        self.assertFalse(exchange.send_file(7, 0, 10, self.ended.append))
        exchange.write(b"0123456789")
        exchange.finish()
        self.assertTrue(exchange.over)

    def test_client_leaves(self) -> None:
        """When the exchange is over the kernel is told to stop, before the file can be another one."""
        exchange = self.begin()
        exchange.send_file(7, 0, 10, self.ended.append)
        self.lose()
        self.assertEqual((self.files.cancelled, self.ended, exchange.over), (1, [], True))
