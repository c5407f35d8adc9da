"""
The usual request and the usual answer, each in one go: no object for a record, and no call for a variable.

What L{records} says of the format holds here; what is not usual is written and read there. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ..errors import ClientFault
from .records import (
    HEADER_BYTES,
    PARAMS_BYTES,
    Pairs,
    RecordType,
    begin_request,
    decode_pairs,
    encode,
    encode_pair,
    end_request,
    params,
    stdin_end,
)

REQUEST_ID = 1
"""php-fpm does not multiplex, so the id says nothing; it is always the same."""

SHORT = 128
"""Lengths of names and values below this are one byte (section 3.4)."""

LENGTHS = tuple(bytes((length,)) for length in range(SHORT))

_BEGIN = begin_request(REQUEST_ID, True)
_STDIN_END = stdin_end(REQUEST_ID)
_PARAMS_END = encode(RecordType.PARAMS, REQUEST_ID, b"")

_OPENING = struct.Struct(">20sHBx")
_BEGIN_PARAMS = _BEGIN + _PARAMS_END[:4]
"""BEGIN_REQUEST, and the head of the only PARAMS record, up to its sizes."""

_MORE = tuple(bytes(-size % 8) + _PARAMS_END for size in range(8))
"""What follows the variables, by the last three bits of their size: padding, and the end of them."""
_LAST = tuple(end + _STDIN_END for end in _MORE)
"""Likewise, and the end of a body that is empty."""

_HEAD = struct.Struct(">IHB")
"""Version, type and request id; content length, padding length."""
_STDOUT, _, _ = _HEAD.unpack_from(encode(RecordType.STDOUT, REQUEST_ID, b""))
_END_BYTES = len(end_request(REQUEST_ID))
_END = end_request(REQUEST_ID)[:-3]
"""Without the reserved bytes, in which php-fpm leaves whatever was there before."""


def length(size: int) -> bytes:
    """The length of a name or value."""
    return LENGTHS[size] if size < SHORT else struct.pack(">I", size | 0x80000000)


def encode_pairs(pairs: Pairs) -> bytes:
    """Variables that are the same for many requests, in one piece."""
    return b"".join(encode_pair(name, value) for name, value in pairs)


def opening(variables: Iterable[bytes], whole: bool) -> bytes:
    """
    The records that begin a request on a connection that is to be kept.

    @param variables: name-value pairs as they go over the wire (section 3.4), in pieces that may be cut anywhere.
    @param whole: there is no body, and the request is whole. If not, STDIN records have to follow.
    @raise ClientFault: (431) a variable is larger than php-fpm can be told.
    """
    content = b"".join(variables)
    size = len(content)
    if size > PARAMS_BYTES:
        return _large_opening(content, whole)
    ends = _LAST if whole else _MORE
    return b"".join((_OPENING.pack(_BEGIN_PARAMS, size, -size & 7), content, ends[size & 7]))


def _large_opening(content: bytes, whole: bool) -> bytes:
    pairs = decode_pairs(content)
    for name, value in pairs:
        if len(name) + len(value) + 8 > PARAMS_BYTES:
            raise ClientFault(
                "A header field is too large.", f"{name.decode('ascii', 'replace')}: {len(value)} bytes", status=431
            )
    return _BEGIN + params(REQUEST_ID, pairs) + (_STDIN_END if whole else b"")


def usual_output(data: bytes) -> bytes | None:
    """
    The output of a script, if some bytes are its whole answer in the usual form: one record of output, and the end that
    says that all went well.

    @return: L{None} for all other answers, and parts of them.
    """
    at = len(data) - _END_BYTES
    if at <= HEADER_BYTES or not data.startswith(_END, at):
        return None
    kind, size, padding = _HEAD.unpack_from(data)
    if kind != _STDOUT or not size or HEADER_BYTES + size + padding != at:
        return None
    return data[HEADER_BYTES : HEADER_BYTES + size]
