"""The part of a connection to a worker that sends requests."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer, ITransport

from ..errors import UpstreamFault
from .head import RequestHead
from .outbox import Outbox
from .receiver import Receiver

_BODY_EXPECTED = frozenset([b"POST", b"PUT", b"PATCH"])
"""Methods whose requests say how long their body is even if there is none (RFC 9110 section 8.6)."""


class Asking:
    """
    What is there for few connections is of the class until then.
    """

    transport: ITransport | None
    _outbox: Outbox

    _body_producer: IPushProducer | None = None
    _chunked = False
    _unsent_bytes = 0
    """Of a body of known length."""
    _request_ended = True
    _write_paused = False

    def _begin(self, method: bytes, receiver: Receiver) -> None:
        """A request begins."""
        raise NotImplementedError

    def _fail(self, fault: UpstreamFault) -> None:
        """Give the connection up, and tell the receiver why."""
        raise NotImplementedError

    def ask(self, method: bytes, fields: list[bytes], receiver: Receiver) -> None:
        """Send a request without a body; see L{request}."""
        self._begin(method, receiver)
        fields.append(b"content-length: 0\r\n\r\n" if method in _BODY_EXPECTED else b"\r\n")
        self._outbox.write(self.transport, b"".join(fields))  # type: ignore[arg-type]

    def send(self, method: bytes, request: bytes, receiver: Receiver) -> None:
        """
        Send a request that is whole.

        @param request: its head and its body as they go over the wire.
        """
        self._begin(method, receiver)
        self._outbox.write(self.transport, request)  # type: ignore[arg-type]

    def request(
        self,
        head: RequestHead,
        fields: list[bytes],
        receiver: Receiver,
        body: list[bytes] | None = None,
        whole: bool = False,
    ) -> None:
        """
        Send a request with a body, in one write: its head, made from the parsed form alone, and what there is of its
        body. The rest follows by L{body_data} and L{body_end}.

        @param fields: request line and end-to-end fields as they go over the wire, without any that frame the body
            and without the empty line.
        @param body: the beginning of the body.
        @param whole: that is all of it.
        """
        self._begin(head.method, receiver)
        self._request_ended = whole
        length = head.content_length
        self._chunked = length is None
        if length is None:
            fields.append(b"transfer-encoding: chunked\r\n\r\n")
        else:
            fields.append(b"content-length: %d\r\n\r\n" % length)
        self._unsent_bytes = length or 0
        if body:
            if length is None:
                for data in body:
                    fields += (b"%x\r\n" % len(data), data, b"\r\n")
            else:
                fields += body
                self._unsent_bytes -= sum(map(len, body))
        if whole and length is None:
            fields.append(b"0\r\n\r\n")
        if self._unsent_bytes < 0 or (whole and self._unsent_bytes):
            # The worker would take the next request for the rest of this one, or the rest of this for the next.
            self._fail(UpstreamFault("The request's body is not as long as it said."))
            return
        assert self.transport is not None
        self._outbox.write(self.transport, b"".join(fields))

    def body_data(self, data: bytes) -> None:
        """Send some of the request's body."""
        if self.transport is None or self._request_ended:
            return
        if self._chunked:
            self._outbox.write_sequence(self.transport, (b"%x\r\n" % len(data), data, b"\r\n"))
        else:
            self._unsent_bytes -= len(data)
            if self._unsent_bytes < 0:
                # More than was declared would be taken for the next request.
                self._fail(UpstreamFault("The request's body is longer than it said."))
                return
            self._outbox.write(self.transport, data)

    def body_end(self) -> None:
        """The request's body is whole."""
        if self._request_ended:
            return
        if self._unsent_bytes:
            # The worker would take the next request for the rest of this one.
            self._fail(UpstreamFault("The request's body is shorter than it said."))
            return
        self._request_ended = True
        if self._chunked and self.transport is not None:
            self._outbox.write(self.transport, b"0\r\n\r\n")

    def set_body_producer(self, producer: IPushProducer | None) -> None:
        """Who is paused while the worker reads slowly."""
        self._body_producer = producer

    # The transport's side: an IPushProducer.

    def pauseProducing(self) -> None:
        self._write_paused = True
        if self._body_producer is not None:
            self._body_producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._write_paused = False
        if self._body_producer is not None:
            self._body_producer.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is closing; C{connectionLost} tells everybody."""
