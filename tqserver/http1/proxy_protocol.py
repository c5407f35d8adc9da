"""
Whose connection it is, in the words of a proxy that opened it for somebody else: the PROXY protocol, versions 1 and 2,
as HAProxy's C{doc/proxy-protocol.txt} has it. Pure: bytes in, a L{Told} out.

A header comes first of all on a connection and only once. Version 1 is a line of text; version 2 is binary and carries
records of type, length and value (TLVs), of which only two mean something to us: the checksum, and whether the client's
own connection was encrypted. Whatever is not exactly as it should be is refused: who cannot tell whose connection it
is, cannot tell what may be believed.
"""

from __future__ import annotations

import re
import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from attrs import frozen

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""Version 2 begins with these 12 bytes, which are nothing in any protocol that could be meant (section 2.2)."""

V1_BYTES_MAX = 107
"""Of a line of version 1 with its end (section 2.1)."""

V2_BYTES_MAX = 8 * 1024
"""Of a header of version 2. It could be 64 KiB; what proxies send is some hundred bytes, more with a certificate."""

_V1_BEGIN = b"PROXY "
_V1_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9a-fA-F:.]{2,39}) ([0-9a-fA-F:.]{2,39}) ([0-9]{1,5}) ([0-9]{1,5})")
_FIXED = struct.Struct("!12sBBH")
_PORT_MAX = 65535

_CRC32C = 0x03
_SSL = 0x20
_CLIENT_SSL = 0x01
"""The bit of a C{PP2_TYPE_SSL} record that says that the client's connection was encrypted (section 2.2.6)."""


class ProxyFault(Exception):
    """What came is no header of the PROXY protocol; the text says why, for a log."""


@frozen
class Name:
    """One end of a connection."""

    host: str
    port: int


@frozen(kw_only=True)
class Told:
    """
    What a header says.

    @ivar source: who connected to the proxy; L{None} if it does not say: the connection is the proxy's own (a check of
        its own, for one), or came over something that has no addresses of ours.
    @ivar destination: where to; L{None} likewise.
    @ivar secure: whether the client's own connection was encrypted.
    """

    source: Name | None = None
    destination: Name | None = None
    secure: bool = False


NOTHING = Told()


class HeaderReader:
    """
    Reads a header that comes in pieces of any size. Nothing is kept but the header itself, and nothing is looked at
    twice but the little that has come of it so far.

    @ivar rest: what came after the header, when it is whole.
    """

    __slots__ = ("_data", "_wanted", "rest")

    def __init__(self) -> None:
        self._data = b""
        self._wanted = 0
        self.rest = b""

    def feed(self, data: bytes) -> Told | None:
        """
        Some bytes have come.

        @return: L{None} if the header is not whole yet.
        @raise ProxyFault: it never will be. Feed no more then.
        """
        data = self._data = self._data + data
        if data.startswith(SIGNATURE):
            return self._feed_binary(data)
        if data.startswith(_V1_BEGIN):
            return self._feed_line(data)
        if SIGNATURE.startswith(data) or _V1_BEGIN.startswith(data):
            return None
        raise ProxyFault("it does not begin with a PROXY protocol header")

    def _feed_line(self, data: bytes) -> Told | None:
        end = data.find(b"\n", 0, V1_BYTES_MAX)
        if end < 0:
            if len(data) >= V1_BYTES_MAX:
                raise ProxyFault(f"the line is longer than {V1_BYTES_MAX} bytes")
            return None
        if data[end - 1 : end] != b"\r":
            raise ProxyFault("the line does not end with CR and LF")
        self.rest = data[end + 1 :]
        return parse_line(data[: end - 1])

    def _feed_binary(self, data: bytes) -> Told | None:
        if not self._wanted:
            if len(data) < _FIXED.size:
                return None
            length = _FIXED.size + _FIXED.unpack_from(data)[3]
            if length > V2_BYTES_MAX:
                raise ProxyFault(f"the header has {length} bytes, of which at most {V2_BYTES_MAX} are taken")
            self._wanted = length
        if len(data) < self._wanted:
            return None
        self.rest = data[self._wanted :]
        return parse_binary(data[: self._wanted])


def parse_line(line: bytes) -> Told:
    """
    Read a header of version 1 (section 2.1).

    @param line: without its end.
    @raise ProxyFault: it is none.
    """
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        # What follows is to be ignored.
        return NOTHING
    found = _V1_LINE.fullmatch(line)
    if found is None:
        raise ProxyFault("the line is not of the form PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT")
    family, source, destination, source_port, destination_port = found.groups()
    read = IPv4Address if family == b"TCP4" else IPv6Address
    names = []
    for written, written_port in ((source, source_port), (destination, destination_port)):
        try:
            host = str(read(written.decode("ascii")))
        except AddressValueError:
            raise ProxyFault(f"an address is none of {family.decode()}")
        port = int(written_port)
        if port > _PORT_MAX or (len(written_port) > 1 and written_port.startswith(b"0")):
            raise ProxyFault("a port is none")
        names.append(Name(host, port))
    return Told(source=names[0], destination=names[1])


_FAMILY_BYTES = {0x0: 0, 0x1: 12, 0x2: 36, 0x3: 216}
"""Bytes of addresses by family: none, IPv4, IPv6, UNIX (section 2.2)."""


def parse_binary(header: bytes) -> Told:
    """
    Read a header of version 2 (section 2.2).

    @param header: all of it.
    @raise ProxyFault: it is none.
    """
    _, version_and_command, family_and_transport, length = _FIXED.unpack_from(header)
    assert len(header) == _FIXED.size + length
    version, command = version_and_command >> 4, version_and_command & 0xF
    if version != 2:
        raise ProxyFault(f"version {version} is unknown")
    if command > 1:
        raise ProxyFault(f"command {command} is unknown")
    if command == 0:
        # LOCAL: all else is to be ignored.
        return NOTHING
    family, transport = family_and_transport >> 4, family_and_transport & 0xF
    if family not in _FAMILY_BYTES or transport > 2:
        raise ProxyFault(f"family {family} with transport {transport} is unknown")
    if length < _FAMILY_BYTES[family]:
        raise ProxyFault("the addresses are cut short")
    secure = _records(header, _FIXED.size + _FAMILY_BYTES[family])
    at = _FIXED.size
    if family == 0x1:
        one, other = IPv4Address(header[at : at + 4]), IPv4Address(header[at + 4 : at + 8])
        source_port, destination_port = struct.unpack_from("!HH", header, at + 8)
    elif family == 0x2:
        one, other = IPv6Address(header[at : at + 16]), IPv6Address(header[at + 16 : at + 32])  # type: ignore[assignment]
        source_port, destination_port = struct.unpack_from("!HH", header, at + 32)
    else:
        return Told(secure=secure)
    return Told(source=Name(str(one), source_port), destination=Name(str(other), destination_port), secure=secure)


def _records(header: bytes, at: int) -> bool:
    """
    Go through the TLVs.

    @param at: where they begin.
    @return: whether one says that the client's connection was encrypted.
    @raise ProxyFault: one of them is cut short, or the checksum is wrong.
    """
    secure = False
    end = len(header)
    while at < end:
        if end - at < 3:
            raise ProxyFault("a record is cut short")
        kind, length = struct.unpack_from("!BH", header, at)
        at += 3
        if end - at < length:
            raise ProxyFault("a record is cut short")
        if kind == _CRC32C:
            if length != 4:
                raise ProxyFault("the checksum is not of 4 bytes")
            (said,) = struct.unpack_from("!I", header, at)
            if crc32c(header[:at] + b"\0\0\0\0" + header[at + 4 :]) != said:
                raise ProxyFault("the checksum is wrong")
        elif kind == _SSL and length >= 5:
            secure = bool(header[at] & _CLIENT_SSL)
        at += length
    return secure


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The checksum of Castagnoli (RFC 9260 appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
