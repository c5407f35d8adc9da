"""
Fakes of the data plane's seam: an exchange that records what is done to it, and heads to begin with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from tqserver.errors import Fault
from tqserver.front.exchange import IBodySink, IExchange
from tqserver.http1.handover import Taker
from tqserver.http1.head import Headers, RequestHead, ResponseHead, has_body


def request_head(
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: Sequence[tuple[bytes, bytes]] = (),
    *,
    host: bytes = b"example.test",
    version: tuple[int, int] = (1, 1),
    content_length: int | None = 0,
    expect_continue: bool = False,
    upgrade: bytes = b"",
) -> RequestHead:
    """
    A request's head as the parser would make it.

    @param headers: names in lower case; C{Host} is put before them unless C{host} is empty or they have one.
    """
    path, mark, query = target.partition(b"?")
    fields = list(headers)
    if host and not any(name == b"host" for name, _ in fields):
        fields.insert(0, (b"host", host))
    return RequestHead(
        method,
        target,
        path,
        query if mark else None,
        fields,
        host,
        version,
        content_length,
        version >= (1, 1),
        expect_continue,
        upgrade,
    )


@implementer(IExchange)
class FakeExchange:
    """
    An exchange without a client. The test plays the client with the methods C{client_...}; what was done to
    the exchange is in the attributes below. Whoever breaks the contract of L{IExchange} gets an
    C{AssertionError} on the spot.

    @ivar response: the final response's head, or L{None}.
    @ivar body: the bytes of the response's body so far.
    @ivar writes: how the body came, piece by piece.
    @ivar interim: heads given to C{inform}.
    @ivar replayable: as the exchange says; a test may set it to false before the answer does.
    @ivar finished: the response was ended well.
    @ivar aborted: the exchange was cut, by us.
    @ivar producer: what C{respond} was given.
    @ivar sink: what C{receive} was given.
    @ivar body_paused: whether no more of the request's body is wanted at present.
    @ivar kernel_sends: whether files are sent by the kernel, as L{kernel_goes_on} says.
    @ivar kernel_file: the file that is being sent, if any: descriptor, where, how much, whom to tell.
    @ivar client: the transport that C{upgrade} gives away; a test may put one there.
    @ivar protocol: what C{upgrade} was told that is spoken on it.
    @ivar events: names of the calls, in order: C{receive}, C{respond}, C{send_file}, C{finish}, C{abort}, C{inform},
        C{upgrade}.
    """

    def __init__(
        self,
        head: RequestHead | None = None,
        *,
        body: bytes | None = None,
        request_id: str = "test-1",
        client_host: str = "192.0.2.7",
        started: float = 0.0,
        write_paused: bool = False,
    ) -> None:
        """
        @param body: the whole of the request's body, already there; L{None}: it comes by C{client_sends}.
        @param write_paused: the client is slow from the beginning.
        """
        self.head = head if head is not None else request_head()
        self.request_id = request_id
        self.response_headers: Headers = []
        self.client_host = client_host
        self.client_port = 4711
        self.server_host = "192.0.2.1"
        self.server_port = 8080
        self.secure = False
        self.mount = b""
        self.started = started
        self.status = 0
        self.sent_bytes = 0
        self.over = False
        self.replayable = True
        self.body_fault: Fault | None = None

        self.response: ResponseHead | None = None
        self.body = b""
        self.writes: list[bytes] = []
        self.interim: list[ResponseHead] = []
        self.finished = False
        self.aborted = False
        self.producer: IPushProducer | None = None
        self.sink: IBodySink | None = None
        self.body_paused = False
        self.write_paused = write_paused
        self.kernel_sends = False
        self.kernel_file: tuple[int, int, int, Callable[[bool], None]] | None = None
        self.client: Any = None
        self.protocol = b""
        self.events: list[str] = []

        self._callbacks: list[Callable[[], None]] = []
        self._pending: list[bytes] = [body] if body else []
        self._ended = body is not None or self.head.content_length == 0
        self._told: list[bytes] = []
        self._end_told = False
        self._fault: Fault | None = None

    # The client's side, for tests.

    def client_sends(self, data: bytes) -> None:
        """Some of the request's body comes; it is kept while nobody wants it."""
        assert not self._ended, "the request's body has ended already"
        self._pending.append(data)
        self._deliver()

    def client_ends(self) -> None:
        """The request's body is whole."""
        self._ended = True
        self._deliver()

    def client_fails(self, fault: Fault) -> None:
        """The request's body goes wrong."""
        self._fault = fault
        self._deliver()

    def client_pauses(self) -> None:
        """The client stops reading the response."""
        self.write_paused = True
        if self.producer is not None and not self.over:
            self.producer.pauseProducing()

    def client_resumes(self) -> None:
        """The client reads on."""
        self.write_paused = False
        if self.producer is not None and not self.over:
            self.producer.resumeProducing()

    def client_leaves(self) -> None:
        """The client's connection is lost."""
        self._end()

    # IExchange.

    def receive(self, sink: object) -> None:
        if self.sink is not None:
            assert self.replayable, "receive() was called again, though the body cannot be told again"
            self._pending = self._told + self._pending
            self._told = []
            self._end_told = False
            self.body_paused = False
        self.events.append("receive")
        self.sink = IBodySink(sink)
        self._deliver()

    def pause_body(self) -> None:
        self.body_paused = True

    def resume_body(self) -> None:
        self.body_paused = False
        self._deliver()

    def answer(self, head: ResponseHead, body: bytes) -> None:
        if has_body(head.status, self.head.method):
            head.content_length = len(body)
        self.respond(head, None)
        self.write(body)
        self.finish()

    def respond(self, head: ResponseHead, producer: IPushProducer | None, first: bytes = b"") -> None:
        if self.over:
            return
        assert self.response is None, "respond() was called twice"
        assert head.status >= 200 or head.status == 101, "respond() takes the final response"
        for name, value in head.headers:
            assert isinstance(name, bytes) and isinstance(value, bytes), (name, value)
            ours = (b"content-length", b"transfer-encoding", *([b"connection"] if head.status != 426 else []))
            assert name.lower() not in ours, name
            assert b"\r" not in value and b"\n" not in value, value
        self.events.append("respond")
        self.response = head
        self.replayable = False
        self.status = head.status
        self.producer = producer
        if first:
            self.write(first)
        if producer is not None and self.write_paused:
            producer.pauseProducing()

    def upgrade(self, head: ResponseHead, protocol: bytes, taker: Taker) -> bool:
        if self.over or not self.head.upgrade or self.client is None:
            return False
        assert self.response is None, "upgrade() after respond()"
        self.events.append("upgrade")
        self.response = head
        self.protocol = protocol
        self.status = head.status
        self.client.protocol = taker
        taker.makeConnection(self.client)
        return True

    def inform(self, head: ResponseHead) -> None:
        self.events.append("inform")
        self.interim.append(head)

    def write(self, data: bytes) -> None:
        if self.over or not data:
            return
        assert self.response is not None, "write() before respond()"
        assert self.kernel_file is None, "write() while a file is being sent"
        if not has_body(self.status, self.head.method):
            return
        self.writes.append(data)
        self.body += data
        self.sent_bytes += len(data)
        length = self.response.content_length
        assert length is None or len(self.body) <= length, "more was written than Content-Length promised"

    def send_file(self, fd: int, at: int, length: int, ended: Callable[[bool], None]) -> bool:
        """Done if C{kernel_sends}; the test plays the kernel with L{kernel_goes_on}."""
        if not self.kernel_sends:
            return False
        assert self.kernel_file is None, "send_file() was called while a file is being sent"
        self.events.append("send_file")
        self.kernel_file = (fd, at, length, ended)
        return True

    def kernel_goes_on(self, limit: int = 1 << 30) -> None:
        """The kernel sends so much of the file, or what there is."""
        assert self.kernel_file is not None
        fd, at, length, ended = self.kernel_file
        data = os.pread(fd, min(length, limit), at)
        self.kernel_file = None
        self.write(data)
        if len(data) == length or not data:
            ended(bool(data))
        else:
            self.kernel_file = (fd, at + len(data), length - len(data), ended)

    def finish(self) -> None:
        if self.over:
            return
        assert self.response is not None, "finish() before respond()"
        length = self.response.content_length
        if length is not None and has_body(self.status, self.head.method) and len(self.body) < length:
            self.abort()
            return
        self.events.append("finish")
        self.finished = True
        self._end()

    def abort(self) -> None:
        if self.over:
            return
        self.events.append("abort")
        self.aborted = True
        self._end()

    def when_over(self, callback: Callable[[], None]) -> None:
        if self.over:
            callback()
        else:
            self._callbacks.append(callback)

    # Our own.

    def header(self, name: bytes) -> bytes | None:
        """A header of the response (name in lower case), or L{None}."""
        assert self.response is not None, "there is no response yet"
        return self.response.get(name)

    def _deliver(self) -> None:
        sink = self.sink
        if sink is None or self.over:
            return
        while self._pending and not self.body_paused and not self.over:
            data = self._pending.pop(0)
            self._told.append(data)
            sink.body_data(data)
        if self._fault is not None:
            fault, self._fault = self._fault, None
            self._end_told = True
            sink.body_failed(fault)
        elif self._ended and not self._pending and not self.body_paused and not self._end_told and not self.over:
            self._end_told = True
            sink.body_end()

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
