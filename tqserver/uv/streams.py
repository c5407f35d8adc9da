"""Streams of the two families: TCP and UNIX. They differ in their names, and in what a UNIX socket has no use for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IListeningPort, IProtocol, ITCPTransport, ITLSTransport
from zope.interface import classImplements, implementer

from .tls import TLSStream
from .transport import Stream
from .writing import StreamReactor


def named(address: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    """
    A socket's name as an address.

    @param address: (host, port), or (host, port, flow, scope) for IPv6, as the socket module has it.
    """
    if len(address) == 2:
        return IPv4Address("TCP", *address)
    if address[3]:
        # The host with its scope, which getsockname leaves out.
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        address = (socket.getnameinfo(address, flags)[0], *address[1:])
    return IPv6Address("TCP", *address)


def _accepted(stream: Stream, number: int) -> str:
    """How connections of ports are shown."""
    name = type(stream.protocol).__name__
    if stream.disconnected:
        return f"<{name} #{number}, disconnected>"
    where = stream.socket.getsockname()
    return f"<{name} #{number} on {where[1] if isinstance(where, tuple) else where}>"


@implementer(ITCPTransport, ITLSTransport)
class TCPStream(TLSStream):
    """
    A TCP connection.

    @ivar peer: the peer's address, if it was made from its name already.
    """

    _host: IPv4Address | IPv6Address | None = None
    peer: IPv4Address | IPv6Address | None = None
    _no_delay = True
    """As uvloop sets it."""

    def __init__(
        self, skt: socket.socket, protocol: IProtocol, peer: tuple[Any, ...], is_client: bool, reactor: StreamReactor
    ) -> None:
        """
        @param peer: the name of the other side, as accept(2) tells it.
        """
        self._peer_name = peer
        super().__init__(skt, protocol, is_client, reactor)

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        Our address.

        @raise OSError: if the connection is closed and nobody asked before.
        """
        if self._host is None:
            self._host = named(self.socket.getsockname())
        return self._host

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The peer's address."""
        if self.peer is None:
            self.peer = named(self._peer_name)
        return self.peer

    def getTcpNoDelay(self) -> bool:
        """@return: whether small writes are sent at once (tcp(7))."""
        return bool(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Have small writes sent at once, or gathered (tcp(7))."""
        if enabled is not self._no_delay:
            self._no_delay = enabled
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)


class AcceptedTCP(TCPStream):
    """A TCP connection that somebody made to one of our ports."""

    def __init__(
        self,
        skt: socket.socket,
        protocol: IProtocol,
        peer: tuple[Any, ...],
        server: IListeningPort | None,
        number: int,
        reactor: StreamReactor,
    ) -> None:
        """
        The signature is that of L{twisted.internet.tcp.Server}, whose place we take in a port.

        @param server: the port, or L{None} for an adopted connection.
        @param number: how many connections the port accepted before.
        """
        self.server = server
        self.sessionno = number
        super().__init__(skt, protocol, peer, False, reactor)

    def __repr__(self) -> str:
        return _accepted(self, self.sessionno)

    def logPrefix(self) -> str:
        """@return: what log lines about us begin with."""
        return f"{self._protocol_prefix()},{self.sessionno},{self.getPeer().host}"


class UNIXStream(TLSStream):
    """A connection of UNIX stream sockets."""

    def __init__(
        self,
        skt: socket.socket,
        protocol: IProtocol,
        peer: str | bytes | None,
        is_client: bool,
        reactor: StreamReactor,
    ) -> None:
        """
        @param peer: the path of the other side, if it has one.
        """
        self._peer_name = peer
        super().__init__(skt, protocol, is_client, reactor)

    def getHost(self) -> UNIXAddress:
        """
        Our path, if we are a server.

        @raise OSError: if the connection is closed.
        """
        return UNIXAddress(None if self.is_client else self.socket.getsockname())

    def getPeer(self) -> UNIXAddress:
        """The peer's path, if it has one."""
        return UNIXAddress(self._peer_name or None)

    def getTcpNoDelay(self) -> bool:
        """@return: L{False}: a UNIX socket has no such option."""
        return False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """A UNIX socket has no such option; protocols that run on TCP too need not know."""


# Not by the decorator: these interfaces speak of IP addresses only, but protocols look for them.
_declare: Callable[..., None] = classImplements
_declare(UNIXStream, ITCPTransport, ITLSTransport)


class AcceptedUNIX(UNIXStream):
    """A UNIX connection that somebody made to one of our ports."""

    def __init__(
        self,
        skt: socket.socket,
        protocol: IProtocol,
        peer: str | bytes | None,
        server: IListeningPort | None,
        number: int,
        reactor: StreamReactor,
    ) -> None:
        """As L{AcceptedTCP}."""
        self.server = server
        self.sessionno = number
        super().__init__(skt, protocol, peer, False, reactor)

    def __repr__(self) -> str:
        return _accepted(self, self.sessionno)

    def logPrefix(self) -> str:
        """@return: what log lines about us begin with."""
        return f"{self._protocol_prefix()},{self.sessionno},{self.socket.getsockname()}"
