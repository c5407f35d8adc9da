"""
The listening sockets. They are opened here, stay open here, and are inherited by the fronts.

Each front slot has a TCP socket of its own for each listener (C{SO_REUSEPORT}, socket(7)), so that the kernel spreads
connections over the fronts. Because the supervisor holds the sockets too, what waits in them to be accepted
survives the front. A UNIX socket cannot be opened twice: the fronts share it.

One UNIX socket is for processes of the server alone, such as queues: only its own user may connect there, and who does
is believed.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Sequence

from attrs import frozen
from twisted.logger import Logger

from ..config.model import ListenConfig
from ..config.places import UNIX_PATH_BYTES_MAX

_log = Logger()

BACKLOG = 4096
"""Connections that may wait to be accepted, bounded further by C{net.core.somaxconn}."""


class ListenFault(Exception):
    """A listener cannot be opened; the text says which, why and what would mend it."""


@frozen
class Listening:
    """
    One listening socket.

    @ivar proxy_protocol: whether each connection on it begins by telling whose it is.
    @ivar private: whether it is the one for processes of the server.
    """

    socket: socket.socket
    proxy_protocol: bool = False
    private: bool = False


class Listeners:
    """
    All listening sockets, by front slot.

    @ivar slots: for each front slot its sockets.
    @ivar addresses: what was opened, for people: C{http://…} or the path of a socket.
    @ivar private: path of the socket for processes of the server, or empty.
    """

    def __init__(self, listen: Sequence[ListenConfig], fronts: int, private: str = "") -> None:
        """
        Open them all, or none.

        @param private: where to open a socket for processes of the server, in a folder of its own; if that is too long
            for the path of a socket, it is elsewhere. Empty: there is none.
        @raise ListenFault: one of them cannot be opened.
        """
        self.slots: list[list[Listening]] = [[] for _ in range(fronts)]
        self.addresses: list[str] = []
        self.private = ""
        self._folder = ""
        self._paths: list[tuple[str, int]] = []
        try:
            for config in listen:
                if config.unix is not None:
                    self._open_unix(config.unix, config.proxy_protocol)
                else:
                    self._open_tcp(config.address, config.port, config.proxy_protocol)
            if private:
                self._open_private(private)
        except BaseException:
            self.close()
            raise

    def _open_tcp(self, address: str, port: int, proxy_protocol: bool) -> None:
        try:
            family, _, _, _, sockaddr = socket.getaddrinfo(
                address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
            )[0]
        except socket.gaierror as error:
            raise ListenFault(f"server.host {address!r} is no address to listen on: {error.strerror}")
        probe = socket.socket(family, socket.SOCK_STREAM)
        try:
            # Without SO_REUSEPORT: a socket that another program (or an older server of ours) has open is found out
            # here, instead of sharing its connections.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(probe, sockaddr, address, port)
        finally:
            probe.close()
        for sockets in self.slots:
            listening = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(Listening(listening, proxy_protocol))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
            _bind(listening, (sockaddr[0], port, *sockaddr[2:]), address, port)
            listening.listen(BACKLOG)
            listening.setblocking(False)
            port = listening.getsockname()[1]
        host = f"[{address}]" if ":" in address else address
        self.addresses.append(f"http://{'localhost' if address in ('0.0.0.0', '::') else host}:{port}")

    def _open_private(self, path: str) -> None:
        """
        Open the socket for processes of the server. It is the folder that keeps others out: the reactor of a front
        makes the socket itself anybody's when it takes it over.
        """
        if len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX:
            self._folder = tempfile.mkdtemp(prefix="tqserver-", dir="/tmp")
            path = f"{self._folder}/{os.path.basename(path)}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.chmod(os.path.dirname(path), 0o700)
        self._share(self._bind_unix(path), private=True)
        self.private = path

    def _open_unix(self, path: str, proxy_protocol: bool) -> None:
        self._share(self._bind_unix(path), proxy_protocol)
        self.addresses.append(path)

    def _share(self, listening: socket.socket, proxy_protocol: bool = False, private: bool = False) -> None:
        """Give each slot a descriptor of one socket."""
        for sockets in self.slots:
            sockets.append(Listening(listening.dup(), proxy_protocol, private))
        listening.close()

    def _bind_unix(self, path: str) -> socket.socket:
        try:
            listening, inode = open_unix(path)
        except OSError as error:
            raise ListenFault(f"Cannot listen on {path}: {error.strerror}.")
        self._paths.append((path, inode))
        return listening

    def refuse_new(self) -> None:
        """
        Have the kernel take no new connection, while those that it has taken wait on to be accepted.

        Closing a socket resets what waits in it, so before that can happen nothing more may come. A TCP socket gets
        a filter that drops C{SYN} (socket(7), C{SO_ATTACH_FILTER}): a client repeats it and is refused when the socket
        is closed. A UNIX socket loses its name.
        """
        for sockets in self.slots:
            for listening in sockets:
                if listening.socket.family != socket.AF_UNIX:
                    _drop_syn(listening.socket)
        self._unlink()

    def close(self) -> None:
        """Close our copies of the sockets; a front that still has its own goes on."""
        for sockets in self.slots:
            for listening in sockets:
                listening.socket.close()
            sockets.clear()
        self._unlink()

    def _unlink(self) -> None:
        for path, inode in self._paths:
            remove_unix(path, inode)
        self._paths.clear()
        if self._folder:
            try:
                os.rmdir(self._folder)
            except OSError:
                pass
            self._folder = ""


_SO_ATTACH_FILTER = 26

_DROP_SYN = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of the flags (RFC 9293 section 3.1)
        (0x54, 0, 0, 0x12),  # only SYN and ACK of them
        (0x15, 0, 1, 0x02),  # SYN alone:
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # anything else: keep
    )
)
"""A classic BPF program on the TCP header; what belongs to a handshake that has begun still passes."""


def _drop_syn(listening: socket.socket) -> None:
    program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    try:
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_DROP_SYN) // 8, ctypes.addressof(program))
        )
    except OSError as error:
        _log.warn("cannot refuse new connections before the stop: {error}", error=str(error))


def open_unix(path: str) -> tuple[socket.socket, int]:
    """
    Listen at a path. A socket that a killed server has left there is replaced: the lock of the project says that nobody
    else is here.

    @return: the socket, and the inode of its path, for L{remove_unix}.
    @raise OSError: it cannot be.
    """
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        listening.bind(path)
        inode = os.stat(path).st_ino
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening, inode


def remove_unix(path: str, inode: int) -> None:
    """Remove the path of a socket, unless it is somebody else's by now."""
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        pass


def _bind(listening: socket.socket, sockaddr: tuple[object, ...], address: str, port: int) -> None:
    try:
        listening.bind(sockaddr)
    except OSError as error:
        hint = ""
        if isinstance(error, PermissionError) and port < 1024:
            hint = " Ports below 1024 need the capability CAP_NET_BIND_SERVICE."
        elif port:
            hint = f" Who has it: ss -ltnp 'sport = :{port}'. Another port: server.port."
        raise ListenFault(f"Cannot listen on {address} port {port}: {error.strerror}.{hint}")
