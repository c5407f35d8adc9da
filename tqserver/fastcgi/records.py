"""
FastCGI 1.0 records, both ways. Pure.

The specification is U{https://fastcgi-archives.github.io/FastCGI_Specification.html}; C{section} in
docstrings means its sections. Writing is functions from values to bytes, reading is L{RecordParser}, which
takes bytes in any split.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from ..errors import ServerFault, UpstreamFault

VERSION = 1

_HEADER = struct.Struct(">BBHHBx")
"""Version, type, request id, content length, padding length, a reserved byte (section 3.3)."""

HEADER_BYTES = _HEADER.size

CONTENT_BYTES_MAX = 65535
"""What the 16 bits of C{contentLength} can say."""

STDIN_BYTES = 65528
"""Content of a full STDIN record: the largest multiple of 8 that fits, so that it needs no padding."""

PARAMS_BYTES = 65528
"""Content of a PARAMS record. php-fpm refuses one whose content I{and padding} are more than 65,535 bytes."""

_LONG = 0x80
_LENGTH_MAX = 0x7FFFFFFF

Pairs = Sequence[tuple[bytes, bytes]]


class RecordType(IntEnum):
    """What a record is for (section 8)."""

    BEGIN_REQUEST = 1
    ABORT_REQUEST = 2
    END_REQUEST = 3
    PARAMS = 4
    STDIN = 5
    STDOUT = 6
    STDERR = 7
    DATA = 8
    GET_VALUES = 9
    GET_VALUES_RESULT = 10
    UNKNOWN_TYPE = 11


class ProtocolStatus(IntEnum):
    """How a request ended on the level of the protocol (section 5.5)."""

    REQUEST_COMPLETE = 0
    CANT_MPX_CONN = 1
    OVERLOADED = 2
    UNKNOWN_ROLE = 3


_RESPONDER = 1
_KEEP_CONN = 1

_TYPES = {int(each): each for each in RecordType}


class Record(NamedTuple):
    """
    One record, without its padding.

    @ivar request_id: 0 for management records.
    """

    type: RecordType
    request_id: int
    content: bytes


def encode(type: RecordType, request_id: int, content: bytes) -> bytes:
    """
    One record, padded to a multiple of 8 bytes (section 3.3 recommends it).

    @param content: at most L{CONTENT_BYTES_MAX} bytes.
    @raise ValueError: there are more.
    """
    length = len(content)
    if length > CONTENT_BYTES_MAX:
        raise ValueError(f"{length} bytes do not fit in one record")
    padding = -length % 8
    return _HEADER.pack(VERSION, type, request_id, length, padding) + content + bytes(padding)


def begin_request(request_id: int, keep_connection: bool) -> bytes:
    """The record that begins a request in the role of a responder (section 5.1)."""
    flags = _KEEP_CONN if keep_connection else 0
    return encode(RecordType.BEGIN_REQUEST, request_id, struct.pack(">HB5x", _RESPONDER, flags))


def abort_request(request_id: int) -> bytes:
    """The record that gives a request up (section 5.4)."""
    return encode(RecordType.ABORT_REQUEST, request_id, b"")


def end_request(request_id: int, app_status: int = 0, protocol_status: int = 0) -> bytes:
    """The record by which an application ends a request (section 5.5)."""
    return encode(RecordType.END_REQUEST, request_id, struct.pack(">IB3x", app_status, protocol_status))


def get_values(names: Iterable[bytes]) -> bytes:
    """The record that asks an application for variables of its own (section 4.1)."""
    return encode(RecordType.GET_VALUES, 0, b"".join(encode_pair(name, b"") for name in names))


def stream(type: RecordType, request_id: int, data: bytes, record_bytes: int = STDIN_BYTES) -> bytes:
    """
    Some bytes of a stream as one or more records; nothing for no bytes, because an empty record is the
    stream's end.

    @param record_bytes: content of each record but the last.
    """
    if len(data) <= record_bytes:
        return encode(type, request_id, data) if data else b""
    view = memoryview(data)
    return b"".join(
        encode(type, request_id, bytes(view[at : at + record_bytes])) for at in range(0, len(data), record_bytes)
    )


def stdin(request_id: int, data: bytes) -> bytes:
    """Some of a request's body as STDIN records (section 5.3)."""
    return stream(RecordType.STDIN, request_id, data)


def stdin_end(request_id: int) -> bytes:
    """The end of a request's body."""
    return encode(RecordType.STDIN, request_id, b"")


def _length(length: int) -> bytes:
    return bytes((length,)) if length < _LONG else struct.pack(">I", length | 0x80000000)


def encode_pair(name: bytes, value: bytes) -> bytes:
    """One name-value pair (section 3.4)."""
    return _length(len(name)) + _length(len(value)) + name + value


def params(request_id: int, pairs: Pairs) -> bytes:
    """
    A request's variables as PARAMS records, with the empty one that ends them (section 5.2).

    PARAMS is a stream, which may be cut anywhere; php-fpm however decodes every record by itself. So a pair
    begins a new record rather than being cut, and only a pair that is larger than a record is.
    """
    records: list[bytes] = []
    gathered: list[bytes] = []
    size = 0
    for name, value in pairs:
        pair = encode_pair(name, value)
        if size and size + len(pair) > PARAMS_BYTES:
            records.append(stream(RecordType.PARAMS, request_id, b"".join(gathered), PARAMS_BYTES))
            gathered.clear()
            size = 0
        gathered.append(pair)
        size += len(pair)
    if gathered:
        records.append(stream(RecordType.PARAMS, request_id, b"".join(gathered), PARAMS_BYTES))
    records.append(encode(RecordType.PARAMS, request_id, b""))
    return b"".join(records)


def _read_length(content: bytes, at: int) -> tuple[int, int]:
    if at < len(content) and content[at] < _LONG:
        return content[at], at + 1
    if at + 4 > len(content):
        raise _garbage("a name-value pair is cut")
    return int.from_bytes(content[at : at + 4], "big") & _LENGTH_MAX, at + 4


def decode_pairs(content: bytes) -> list[tuple[bytes, bytes]]:
    """
    All name-value pairs of a whole stream.

    @raise UpstreamFault: the bytes are no such pairs.
    """
    pairs: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(content):
        name_bytes, at = _read_length(content, at)
        value_bytes, at = _read_length(content, at)
        end = at + name_bytes + value_bytes
        if end > len(content):
            raise _garbage("a name-value pair is cut")
        pairs.append((content[at : at + name_bytes], content[at + name_bytes : end]))
        at = end
    return pairs


def check_end(content: bytes) -> int:
    """
    Read the content of an END_REQUEST record.

    @return: the application's status, like the exit code of a program.
    @raise UpstreamFault: the request was refused, or the record is malformed.
    @raise ServerFault: the application said that it is overloaded.
    """
    if len(content) != 8:
        raise _garbage(f"END_REQUEST with {len(content)} bytes")
    app_status, protocol_status = struct.unpack(">IB3x", content)
    if protocol_status == ProtocolStatus.OVERLOADED:
        raise ServerFault("The application is overloaded.", "FastCGI: OVERLOADED", retry_after_s=1)
    if protocol_status != ProtocolStatus.REQUEST_COMPLETE:
        known = [each.name for each in ProtocolStatus if each == protocol_status]
        raise _garbage(f"the request was refused: {known[0] if known else protocol_status}")
    return int(app_status)


def _garbage(detail: str) -> UpstreamFault:
    return UpstreamFault("The application's answer cannot be understood.", f"FastCGI: {detail}")


class RecordParser:
    """
    Bytes in, records out.

    What it keeps is less than one record, which is less than 66 KB. A stream that was garbage once stays
    garbage.

    @ivar pending: a record that has begun and is not whole.
    """

    def __init__(self) -> None:
        self.pending = bytearray()
        self._fault: UpstreamFault | None = None

    def feed(self, data: bytes) -> list[Record]:
        """
        Take the next bytes.

        @return: the records that are whole now, in order.
        @raise UpstreamFault: these bytes are not FastCGI. Records before the bad one in the same bytes are
            lost, which is well: a response that continues with garbage must not be taken for whole.
        """
        if self._fault is not None:
            raise self._fault
        source: bytes | bytearray = data
        if self.pending:
            self.pending += data
            source = self.pending
        records: list[Record] = []
        at = 0
        size = len(source)
        while size - at >= HEADER_BYTES:
            version, number, request_id, length, padding = _HEADER.unpack_from(source, at)
            type = _TYPES.get(number)
            if version != VERSION or type is None:
                self.pending.clear()
                self._fault = _garbage(f"a record of version {version} and type {number}")
                raise self._fault
            content = at + HEADER_BYTES
            end = content + length + padding
            if end > size:
                break
            records.append(Record(type, request_id, bytes(source[content : content + length])))
            at = end
        if source is data:
            self.pending += data[at:]
        elif at:
            del self.pending[:at]
        return records
