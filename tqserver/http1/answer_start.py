"""
How a worker's answer may begin. Pure.

The parser skips line ends before a status line, takes other protocols and versions, and any three digits for a status.
So the beginning is looked at before the parser reads it: one comparison in the usual case. For that, interim answers
are cut off, exactly, for what follows each of them begins an answer again.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from ..errors import UpstreamFault

HEAD_BYTES_MAX = 64 * 1024
"""An answer's head; frameworks with many cookies stay far below."""

HEADERS_MAX = 256
"""Header fields of one answer, and trailer fields."""

INTERIMS_MAX = 64
"""Interim answers (1xx) to one request. Who sends one a second to say that it is still at work has a minute."""

PLAIN_STARTS = tuple(b"HTTP/1.%d %d" % (minor, digit) for minor in (1, 0) for digit in (2, 4, 3, 5))
"""Of final answers (RFC 9112 section 4)."""

_SWITCH = b"HTTP/1.1 101"
"""What follows it is not HTTP, and it is nobody's business here where that begins."""

_INTERIM = b"HTTP/1.1 1"
"""HTTP/1.0 has none (RFC 9110 section 15.2)."""

_STARTS = (*PLAIN_STARTS, _SWITCH)

USUAL_REASONS = frozenset([b"", *(status.phrase.encode("ascii") for status in HTTPStatus)])

no_reason = re.compile(rb"[^\t -~\x80-\xff]").search
"""Finds what no reason phrase holds (RFC 9112 section 4)."""


def interim_bytes(data: bytes) -> int:
    """
    Look at the beginning of an answer.

    @return: the size of an interim answer that stands there, 0 if a final one begins or a switch to another protocol,
        or -1 to be asked again when more has come.
    @raise UpstreamFault: no answer begins like this.
    """
    if data.startswith(_STARTS):
        return 0
    if any(start.startswith(data) for start in _STARTS):
        return -1
    if not data.startswith(_INTERIM):
        raise UpstreamFault("The worker's answer is malformed.", f"it begins with {data[:12]!r}")
    end = data.find(b"\r\n\r\n")
    if end < 0 and len(data) <= HEAD_BYTES_MAX:
        return -1
    if not 0 <= end <= HEAD_BYTES_MAX:
        raise too_large()
    return end + 4


def too_large() -> UpstreamFault:
    """A head is larger than L{HEAD_BYTES_MAX}."""
    return UpstreamFault("The worker's answer has too large a header.", f"more than {HEAD_BYTES_MAX} bytes")
