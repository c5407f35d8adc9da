"""
Ask php-fpm whether it is well: its own C{ping.path}, which one of its children answers without running any
script.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConnector, IDelayedCall
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure

from ..errors import Fault, Unreachable, UpstreamFault
from ..http1.connecting import IConnecting
from .answer_head import ResponseHeadParser
from .client import Wire
from .records import RecordParser, RecordType, begin_request, check_end, params, stdin_end
from .usual import REQUEST_ID

PING_PATH = "/.tqserver/ping"
"""No client can ask for it: a dot folder is refused before php-fpm sees the path."""


class _Ping(Protocol):
    """One question."""

    def __init__(self, factory: _PingFactory) -> None:
        self._factory = factory
        self._records = RecordParser()
        self._head = ResponseHeadParser()
        self._status = 0

    def connectionMade(self) -> None:
        wire = cast(Wire, self.transport)
        self._factory.wire = wire
        path = self._factory.path
        variables = [
            (b"REQUEST_METHOD", b"GET"),
            (b"REQUEST_URI", path),
            (b"SCRIPT_NAME", path),
            (b"SCRIPT_FILENAME", path),
            (b"QUERY_STRING", b""),
            (b"SERVER_PROTOCOL", b"HTTP/1.1"),
            (b"GATEWAY_INTERFACE", b"CGI/1.1"),
        ]
        wire.write(begin_request(REQUEST_ID, False) + params(REQUEST_ID, variables) + stdin_end(REQUEST_ID))

    def dataReceived(self, data: bytes) -> None:
        try:
            for record in self._records.feed(data):
                if record.type is RecordType.STDOUT and not self._status:
                    head = self._head.feed(record.content)
                    if head is not None:
                        self._status = head.status
                elif record.type is RecordType.END_REQUEST:
                    check_end(record.content)
                    if self._status != 200:
                        raise UpstreamFault(
                            "The application is not well.", f"php-fpm answered its ping with {self._status}"
                        )
                    self._factory.over(None)
        except Fault as fault:
            self._factory.over(fault)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.over(
            UpstreamFault("The application is not well.", f"no answer to the ping: {reason.getErrorMessage()}")
        )


class _PingFactory(ClientFactory):
    """Makes the connection for one question, and sees that there is one answer."""

    noisy = False

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.wire: Wire | None = None
        self.connector: IConnector | None = None
        self.timer: IDelayedCall | None = None
        self.answer: Deferred[None] = Deferred(lambda _: self._stop())

    def buildProtocol(self, addr: IAddress | None) -> _Ping:
        return _Ping(self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self.connector = None
        self.over(Unreachable("The application cannot be reached.", reason.getErrorMessage()))

    def timed_out(self) -> None:
        """There was no answer in time."""
        self.timer = None
        self.over(UpstreamFault("The application is not well.", "no answer to the ping in time", status=504))

    def over(self, fault: Fault | None) -> None:
        """Give the answer, if it was not given before."""
        if self.answer.called:
            return
        answer = self.answer
        self._stop()
        if fault is None:
            answer.callback(None)
        else:
            answer.errback(fault)

    def _stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.wire is not None:
            self.wire.abortConnection()
        elif self.connector is not None:
            self.connector.stopConnecting()


def ping(
    reactor: IConnecting, address: str | tuple[str, int], timeout_s: float, path: str = PING_PATH
) -> Deferred[None]:
    """
    Ask once.

    @param address: the path of a UNIX socket, or host and port.
    @param timeout_s: limit of the whole, in seconds.
    @param path: C{ping.path} of the pool.
    @return: fires when php-fpm has answered well; fails with an L{UpstreamFault} that says what was wrong.
        May be cancelled.
    """
    factory = _PingFactory(path.encode())
    answer = factory.answer
    if isinstance(address, str):
        connector = reactor.connectUNIX(address, factory, timeout=max(timeout_s, 1.0))
    else:
        connector = reactor.connectTCP(address[0], address[1], factory, timeout=max(timeout_s, 1.0))
    if not answer.called:
        factory.connector = connector
        factory.timer = reactor.callLater(timeout_s, factory.timed_out)
    return answer
