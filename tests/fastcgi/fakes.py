"""A php-fpm on fake wires."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from tqserver.fastcgi.records import Record, RecordParser, RecordType, decode_pairs, encode, end_request


class Wire(StringTransport):
    """
    One connection, seen from the application's side.

    @ivar protocol: what was connected.
    @ivar writes: how many writes there were.
    @ivar closed: whether it is no more.
    @ivar aborted: whether it was closed without regard to what was not yet written.
    """

    def __init__(self, reactor: MemoryReactorClock, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.writes = 0
        self.closed = False
        self.aborted = False
        self._reactor = reactor
        self._records = RecordParser()

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._reactor.callLater(0, self.lose)

    def abortConnection(self) -> None:
        self.aborted = True
        self._reactor.callLater(0, self.lose)

    def lose(self, clean: bool = True) -> None:
        """The connection is gone."""
        if not self.closed:
            self.closed = True
            self.protocol.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))

    def records(self) -> list[Record]:
        """What was written since the last time."""
        data = self.value()
        self.clear()
        return self._records.feed(data)

    def request(self) -> tuple[dict[bytes, bytes], bytes, bool]:
        """Variables, body so far and whether it is whole, of what was written since the last time."""
        variables = b""
        body = b""
        whole = False
        for record in self.records():
            if record.type is RecordType.PARAMS:
                variables += record.content
            elif record.type is RecordType.STDIN:
                body += record.content
                whole = not record.content
        return dict(decode_pairs(variables)), body, whole

    def answer(self, *pieces: bytes, end: bool = True, error: bytes = b"") -> None:
        """Send a response."""
        data = encode(RecordType.STDERR, 1, error) if error else b""
        data += b"".join(encode(RecordType.STDOUT, 1, piece) for piece in pieces)
        self.protocol.dataReceived(data + (end_request(1) if end else b""))


class FakeFPM:
    """
    What listens at the other end of a reactor's connections.

    @ivar wires: connections in the order in which they were accepted.
    """

    def __init__(self, reactor: MemoryReactorClock) -> None:
        self.reactor = reactor
        self.wires: list[Wire] = []
        self._seen = 0

    def _next(self) -> ClientFactory:
        factory: ClientFactory = self.reactor.unixClients[self._seen][1]
        self._seen += 1
        return factory

    @property
    def pending(self) -> int:
        """Connections that are being made."""
        return len(self.reactor.unixClients) - self._seen

    def accept(self) -> Wire:
        """Accept the oldest connection that is being made."""
        protocol = self._next().buildProtocol(None)  # type: ignore[arg-type]
        assert protocol is not None
        return self.connected(protocol)

    def connected(self, protocol: Protocol) -> Wire:
        """A connection is there."""
        wire = Wire(self.reactor, protocol)
        self.wires.append(wire)
        protocol.makeConnection(wire)
        return wire

    def refuse(self) -> None:
        """Refuse it."""
        self._next().clientConnectionFailed(None, Failure(ConnectionRefusedError()))  # type: ignore[arg-type]
