"""
Listening and connecting.

Both are Twisted's own code: they are not on the hot path, and it knows every error, option and race. uvloop's servers
cannot be paused, cannot be told to accept what waits before they close, and close themselves when there is no
descriptor left. A connection is given to uvloop when it is there.
"""

from __future__ import annotations

import os
import socket
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IFileDescriptorReceiver, IListeningPort, IProtocol, IProtocolFactory, ITransport
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from .streams import AcceptedTCP, AcceptedUNIX, TCPStream, UNIXStream, named
from .transport import Stream
from .writing import StreamReactor

ACCEPTS_STEP = 20
"""By so many a port raises what it accepts in one go, when that were not all."""

_log = Logger()


def _accepted_unix(
    skt: socket.socket,
    protocol: IProtocol,
    peer: str | bytes | None,
    server: IListeningPort | None,
    number: int,
    reactor: Any,
) -> Stream | unix.Server:
    """
    The transport of an accepted UNIX connection: uvloop's, or Twisted's for a protocol that wants to receive
    descriptors, which uvloop cannot.
    """
    kind: Any = unix.Server if IFileDescriptorReceiver.providedBy(protocol) else AcceptedUNIX
    transport: Stream | unix.Server = kind(skt, protocol, peer, server, number, reactor)
    return transport


class TCPPort(tcp.Port):
    """A TCP port whose connections are uvloop's."""

    transport = AcceptedTCP  # type: ignore[assignment]

    def doRead(self) -> None:
        """Accept those who wait, with fewer steps than Twisted's own, which sees to whatever is not usual."""
        port = cast(Any, self)
        accept, accepted, limit = port.socket.accept, 0, port.numberAccepts
        while accepted < limit:
            try:
                skt, name = accept()
            except BlockingIOError:
                break
            except OSError:
                super().doRead()  # type: ignore[no-untyped-call]
                return
            accepted += 1
            try:
                self._accepted(skt, name)
            except Exception:
                _log.failure("A connection could not be made")
                break
        port.numberAccepts = limit + ACCEPTS_STEP if accepted == limit else max(1, accepted)

    def _accepted(self, skt: socket.socket, name: tuple[Any, ...]) -> None:
        """Somebody has come."""
        port = cast(Any, self)
        address = named(name)
        protocol = port.factory.buildProtocol(address)
        if protocol is None:
            skt.close()
            return
        number = port.sessionno
        port.sessionno = number + 1
        transport = AcceptedTCP(skt, protocol, name, self, number, port.reactor)
        transport.peer = address
        protocol.makeConnection(transport)


class UNIXPort(unix.Port):
    """A UNIX port whose connections are uvloop's."""

    transport = staticmethod(_accepted_unix)  # type: ignore[assignment]


class _Connecting:
    """The part of an attempt to connect that comes after it has succeeded."""

    def _connectDone(self) -> None:
        attempt = cast(Any, self)
        connector = attempt.connector
        protocol: IProtocol | None = connector.buildProtocol(attempt.getPeer())
        if attempt.addressFamily == socket.AF_UNIX and IFileDescriptorReceiver.providedBy(protocol):
            # uvloop cannot receive descriptors: this stays a connection of Twisted's.
            attempt.protocol = protocol
            attempt.connected = 1
            attempt.logstr = f"{attempt._getLogPrefix(protocol)},client"
            attempt.startReading()
            protocol.makeConnection(attempt)
            return
        skt = attempt.socket
        attempt._collectSocketDetails()
        attempt.connected = 1
        accepted = protocol is not None
        stream = self._make_stream(skt, protocol if protocol is not None else Protocol())
        stream.connector = connector
        stream.addr = attempt.addr
        connector.transport = stream
        if accepted:
            stream.protocol.makeConnection(cast(ITransport, stream))
        else:
            stream.loseConnection()

    def _make_stream(self, skt: socket.socket, protocol: IProtocol) -> _Connected:
        raise NotImplementedError


class _Connected(Stream):
    """
    A connection that we made, with somebody else to tell when it is lost.

    @ivar connector: who.
    @ivar addr: what we connected to, as it was given: for people.
    """

    connector: Any = None
    addr: Any = None

    def __repr__(self) -> str:
        return f"<{type(self)} to {self.addr} at {id(self):x}>"

    def connectionLost(self, reason: Failure) -> None:
        """Tell the protocol, then the connector, which may connect anew."""
        if self.disconnected:
            return
        try:
            super().connectionLost(reason)
        finally:
            connector, self.connector = self.connector, None
            if connector is not None:
                connector.connectionLost(reason)


class ConnectedTCP(_Connected, TCPStream):
    """A TCP connection that we made."""


class ConnectedUNIX(_Connected, UNIXStream):
    """A UNIX connection that we made."""


class _TCPAttempt(_Connecting, tcp.Client):
    """An attempt to connect to a TCP port."""

    def _make_stream(self, skt: socket.socket, protocol: IProtocol) -> _Connected:
        return ConnectedTCP(skt, protocol, self.realAddress, True, cast(Any, self.reactor))


class _UNIXAttempt(_Connecting, unix.Client):
    """An attempt to connect to a UNIX socket."""

    def _make_stream(self, skt: socket.socket, protocol: IProtocol) -> _Connected:
        return ConnectedUNIX(skt, protocol, self.addr, True, cast(Any, self.reactor))


class TCPConnector(tcp.Connector):
    """Who connects, and connects again, to a TCP port."""

    def _makeTransport(self) -> tcp.Client:
        return cast(Any, _TCPAttempt)(self.host, self.port, self.bindAddress, self, self.reactor)  # type: ignore[no-any-return]


class UNIXConnector(unix.Connector):
    """Who connects, and connects again, to a UNIX socket."""

    def _makeTransport(self) -> unix.Client:  # type: ignore[override]
        return cast(Any, _UNIXAttempt)(self.address, self, self.reactor, self.checkPID)  # type: ignore[no-any-return]


class _Adopted(Stream):
    """A connection whose descriptor others may have too, so that closing ours is not enough to end it."""

    def connectionLost(self, reason: Failure) -> None:
        """Tell the peer that it is over, whoever else has the socket open."""
        if not self.disconnected and self._reason is None and self.socket.fileno() != -1:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                # The peer was first.
                pass
        super().connectionLost(reason)


class _AdoptedTCP(_Adopted, AcceptedTCP):
    """A TCP connection that came with its descriptor."""


class _AdoptedUNIX(_Adopted, AcceptedUNIX):
    """A UNIX connection that came with its descriptor."""


def adopt(fd: int, family: int, factory: IProtocolFactory, reactor: StreamReactor) -> ITransport | None:
    """
    Take over a connected socket.

    @param fd: its descriptor; it is duplicated and stays the caller's.
    @param family: C{AF_UNIX}, C{AF_INET} or C{AF_INET6}.
    @return: the connection, or L{None} if the factory did not want it.
    """
    skt = socket.socket(family, socket.SOCK_STREAM, fileno=os.dup(fd))
    peer = skt.getpeername()
    is_unix = family == socket.AF_UNIX
    protocol = factory.buildProtocol(UNIXAddress(skt.getsockname()) if is_unix else named(peer))
    if protocol is None:
        skt.close()
        return None
    stream: Any
    if not is_unix:
        stream = _AdoptedTCP(skt, protocol, peer, None, peer[1], reactor)
    elif IFileDescriptorReceiver.providedBy(protocol):
        stream = _accepted_unix(skt, protocol, peer, None, 0, reactor)
    else:
        stream = _AdoptedUNIX(skt, protocol, peer, None, 0, reactor)
    protocol.makeConnection(stream)
    return cast(ITransport, stream)
