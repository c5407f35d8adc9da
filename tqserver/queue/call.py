"""
One task on its way to a worker and back.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IConnector

from ..errors import Fault, UpstreamFault
from ..http1.client import HTTPClientConnection
from ..http1.head import ResponseHead
from .model import Task
from .requests import Request

if TYPE_CHECKING:
    from .front_line import FrontLine


class Step(Enum):
    """Where a call is."""

    SPARE = auto()
    """Its turn has not come yet."""
    SENDING = auto()
    """It is on its way, or the worker has it."""
    ANSWERED = auto()
    """It is over, however it went; what follows from that is not stored yet."""
    STORED = auto()


class Told(Protocol):
    """Hears how calls end; each ends once."""

    def answered(self, call: Call, head: ResponseHead, body: bytes, cut: bool) -> None:
        """
        A worker has answered.

        @param cut: the body was larger than it may be, and is not there.
        """

    def broken(self, call: Call, reason: str) -> None:
        """There is no answer, and nobody knows what the worker has done."""

    def unsent(self, call: Call, reason: str) -> None:
        """Nobody was there to take it."""


class Call:
    """
    A task that is being delivered.

    It takes the answer itself, as the connection's receiver.

    @ivar until: when its lease ends.
    @ivar step: where it is.
    @ivar began: when it was sent, by the sweep's clock, which is coarse.
    """

    __slots__ = (
        "_body_bytes",
        "_body_bytes_max",
        "_connection",
        "_head",
        "_line",
        "_pieces",
        "_repeated",
        "_request",
        "_timeout_s",
        "began",
        "connector",
        "step",
        "task",
        "told",
        "until",
    )

    def __init__(
        self, task: Task, told: Told, line: FrontLine, request: Request, timeout_s: float, body_bytes_max: int
    ) -> None:
        """
        @param told: hears how it ends.
        @param timeout_s: longest from sending to the end of the answer.
        @param body_bytes_max: of the answer.
        """
        self.task = task
        self.told = told
        self.until = task.due
        self.step = Step.SPARE
        self.began = 0.0
        self.connector: IConnector | None = None
        self._line = line
        self._request = request
        self._timeout_s = timeout_s
        self._body_bytes_max = body_bytes_max
        self._connection: HTTPClientConnection | None = None
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._repeated = False

    # On its way.

    def connected(self, connection: HTTPClientConnection) -> None:
        """A connection was opened for it."""
        self.connector = None
        if self.step is Step.SENDING:
            self.begin(connection)
        else:
            connection.on_idle(connection)

    def begin(self, connection: HTTPClientConnection) -> None:
        """There is a connection: send it."""
        self._connection = connection
        self.began = now = self._line.sweep.now
        connection.deadline = now + self._timeout_s
        method, fields, body = self._request
        if body:
            connection.send(method, b"".join([*fields, b"content-length: %d\r\n\r\n" % len(body), body]), self)
        else:
            connection.ask(method, list(fields), self)

    def refused(self, fault: Fault) -> None:
        """No connection could be opened for it."""
        self.connector = None
        if self._end():
            self.told.unsent(self, fault.detail or fault.reason)

    def cancel(self) -> bool:
        """
        Wait for it no longer: the worker is told by the end of its connection.

        @return: whether it was still on its way. Nobody is told.
        """
        if not self._end():
            return False
        connection, self._connection = self._connection, None
        connector, self.connector = self.connector, None
        if connection is not None:
            connection.close()
        elif connector is not None:
            connector.disconnect()
        return True

    def _end(self) -> bool:
        """@return: whether it had not ended before."""
        if self.step is not Step.SENDING:
            return False
        self.step = Step.ANSWERED
        return True

    # The answer; see L{tqserver.http1.receiver.Receiver}.

    def response_interim(self, head: ResponseHead) -> None:
        """Nothing follows from it."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        self._connection = None
        if self._end():
            cut = len(body) > self._body_bytes_max
            self.told.answered(self, head, b"" if cut else body, cut)

    def response_head(self, head: ResponseHead, first: bytes) -> None:
        self._head = head
        if first:
            self.response_data(first)

    def response_data(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes <= self._body_bytes_max:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def response_end(self) -> None:
        self._connection = None
        if self._head is not None and self._end():
            cut = self._body_bytes > self._body_bytes_max
            self.told.answered(self, self._head, b"".join(self._pieces), cut)

    def response_late(self) -> None:
        if self.cancel():
            self.told.broken(self, f"no answer in {self._timeout_s:g} s")

    def response_switched(self, head: ResponseHead, protocol: bytes, ahead: bytes) -> None:
        raise AssertionError("nothing was offered")

    def response_failed(self, fault: UpstreamFault, untouched: bool) -> None:
        connection, self._connection = self._connection, None
        if untouched and connection is not None and connection.used > 1 and not self._repeated:
            # A front that leaves closes the connections that nobody uses: it had not seen this request.
            self._repeated = True
            self._line.drop_idle()
            if self.step is Step.SENDING:
                self._line.connect(self)
            return
        if self._end():
            self.told.broken(self, fault.detail or fault.reason)
