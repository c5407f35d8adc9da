"""
The pipe between the supervisor and a front: length-prefixed MessagePack over a UNIX socket pair.

The codec is a value machine without a socket; L{Link} is the thin protocol around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from .messages import Downward, Message, Upward

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""A routing of ten thousand endpoints stays far below; more is not ours."""

_LENGTH_BYTES = 4

M = TypeVar("M")


class LinkFault(Exception):
    """What came over the pipe is not what the other plane says."""


_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """A message as it travels."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Decoder(Generic[M]):
    """Bytes in, messages out, however the bytes are split."""

    def __init__(self, decode: Callable[[bytes], M]) -> None:
        self._decode = decode
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[M]:
        """
        Take some bytes.

        @return: the messages that are whole now.
        @raise LinkFault: for anything that is not a message.
        """
        buffer = self._buffer
        buffer += data
        messages: list[M] = []
        at = 0
        while len(buffer) - at >= _LENGTH_BYTES:
            length = int.from_bytes(buffer[at : at + _LENGTH_BYTES], "big")
            if length > MESSAGE_BYTES_MAX:
                raise LinkFault(f"a message of {length} bytes")
            end = at + _LENGTH_BYTES + length
            if len(buffer) < end:
                break
            try:
                messages.append(self._decode(bytes(buffer[at + _LENGTH_BYTES : end])))
            except msgspec.MsgspecError as error:
                raise LinkFault(str(error))
            at = end
        del buffer[:at]
        return messages


def downward() -> Decoder[Downward]:
    """A decoder of what the supervisor says."""
    return Decoder(msgspec.msgpack.Decoder(Downward).decode)


def upward() -> Decoder[Upward]:
    """A decoder of what a front says."""
    return Decoder(msgspec.msgpack.Decoder(Upward).decode)


@implementer(IPushProducer)
class Link(Protocol, Generic[M]):
    """
    One end of the pipe.

    @ivar congested: the other end does not read as fast as we write. What is sent is kept all the same.
    """

    def __init__(self, decoder: Decoder[M], received: Callable[[M], None], lost: Callable[[], None]) -> None:
        """
        @param received: is given each message.
        @param lost: is called once when the other end has gone.
        """
        self._decoder = decoder
        self._received = received
        self._lost = lost
        self.congested = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]

    def pauseProducing(self) -> None:
        self.congested = True

    def resumeProducing(self) -> None:
        self.congested = False

    def stopProducing(self) -> None:
        """The pipe is closing; C{connectionLost} tells."""

    def send(self, message: Message) -> None:
        """Say something to the other end, if it is still there."""
        if self.transport is not None and self.connected:
            self.transport.write(encode(message))

    def dataReceived(self, data: bytes) -> None:
        for message in self._decoder.feed(data):
            self._received(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost()


class OneLink(ServerFactory, Generic[M]):
    """A factory of a link that exists already, for C{adoptStreamConnection}."""

    noisy = False

    def __init__(self, link: Link[M]) -> None:
        self._link = link

    def buildProtocol(self, addr: IAddress | None) -> Link[M]:
        """The link."""
        return self._link
