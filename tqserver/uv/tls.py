"""A stream that can begin to speak TLS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from twisted.internet.interfaces import IProducer, ISSLTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import directlyProvides

from .transport import SHADOWED_BY_TLS, Stream


class _Plain:
    """The stream as it was before TLS: what the TLS protocol has as its transport."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, data: bytes) -> None:
        """Send what TLS made of what was written."""
        self._stream.plain_write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send what TLS made of what was written."""
        self._stream.plain_write_sequence(iovec)

    def loseConnection(self) -> None:
        """Close the connection below TLS."""
        Stream.loseConnection(self._stream)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """TLS wants to be paused when the stream below is full."""
        Stream.registerProducer(self._stream, producer, streaming)

    def unregisterProducer(self) -> None:
        """TLS has no more to write."""
        Stream.unregisterProducer(self._stream)


class TLSStream(Stream):
    """A stream that can begin to speak TLS."""

    def startTLS(self, contextFactory: object, normal: bool = True) -> None:
        """
        Speak TLS from here on. See L{ITLSTransport.startTLS}.

        @param normal: the TLS client is who asked for the connection; otherwise it is the other side.
        """
        start_tls(self, contextFactory, self.is_client is bool(normal))


def start_tls(stream: Stream, context_factory: object, is_client: bool) -> None:
    """
    Put TLS between a stream and its protocol, which keeps its transport.

    @param context_factory: as L{TLSMemoryBIOFactory} takes it.
    @param is_client: we begin the handshake.
    """
    producer, streaming = stream.producer, stream.streamingProducer
    if producer is not None:
        stream.unregisterProducer()
    factory = TLSMemoryBIOFactory(cast(Any, context_factory), is_client, cast(Any, None), cast(Any, stream.reactor))
    tls: TLSMemoryBIOProtocol = factory.protocol(factory, stream.protocol, False)
    stream.protocol = tls
    directlyProvides(stream, ISSLTransport)
    stream.TLS = True
    for name in SHADOWED_BY_TLS:
        setattr(stream, name, getattr(tls, name))
    stream._settle()
    tls.makeConnection(cast(Any, _Plain(stream)))
    if producer is not None:
        stream.registerProducer(producer, streaming)
