"""
The chunked transfer coding, as clients send it (RFC 9112 section 7.1). Pure.

Ours, where the parser of heads could do it too, for three reasons: it lets pass extensions that are none, it does not
say where a body ends when more follows in the same bytes, and it tells of every chunk by itself, however small.
"""

from __future__ import annotations

import re

from ..errors import ClientFault

SIZE_LINE_BYTES_MAX = 1024
"""A chunk's size and its extensions, which nobody is known to use."""

TRAILERS_MAX = 64
"""Fields of a trailer."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"

_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'

_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*\r\n"
).match
"""
C{chunk-size [ chunk-ext ] CRLF}. Fifteen digits stay clear of every integer's overflow. The whitespace that RFC 9112
section 7.1.1 calls bad is refused: readers that stop at it and readers that skip it would not see the same.
"""

_SIZE_SO_FAR = re.compile(rb"[0-9A-Fa-f]{0,15}(?:;[\t -~\x80-\xff]*)?\r?").fullmatch

_FIELD = re.compile(rb"(" + _TOKEN + rb"):[\t -~\x80-\xff]*")

_FIELD_SO_FAR = re.compile(rb"(?:" + _TOKEN + rb"(?::[\t -~\x80-\xff]*)?)?\r?").fullmatch

_FORBIDDEN = frozenset(
    [
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ]
)
"""What frames or routes a message comes before its body or not at all (RFC 9110 section 6.5.1)."""


def _malformed(detail: str) -> ClientFault:
    return ClientFault("The request's body is malformed.", f"{detail}; RFC 9112 section 7.1")


class ChunkReader:
    """
    One chunked body, in any split.

    @ivar pieces: of the body, as they were read; whoever takes them empties the list.
    @ivar done: the body and its trailer are whole.
    """

    __slots__ = ("_between", "_left", "_trailer_bytes", "_trailer_bytes_max", "_trailers", "done", "pieces")

    def __init__(self, trailer_bytes_max: int) -> None:
        self.pieces: list[bytes] = []
        self.done = False
        self._left = 0
        """Bytes of a chunk that are still to come."""
        self._between = False
        """A chunk's data were read, but not their line end."""
        self._trailers = -1
        """Fields of the trailer that were read; -1 before the last chunk."""
        self._trailer_bytes = 0
        self._trailer_bytes_max = trailer_bytes_max

    def read(self, data: bytes, at: int) -> int:
        """
        Read as much as there is.

        @param data: some bytes, of which those before C{at} are somebody else's.
        @return: where it stopped: behind the body if C{done}, else at something incomplete, which is to be given again
            with more behind it.
        @raise ClientFault: it is malformed (400), or its trailer too large (431).
        """
        end = len(data)
        while at < end:
            if self._left:
                piece = data[at : at + self._left]
                self.pieces.append(piece)
                self._left -= len(piece)
                at += len(piece)
                self._between = not self._left
                continue
            if self._between:
                if not data.startswith(b"\r\n", at):
                    if data[at:] == b"\r":
                        return at
                    raise _malformed("a chunk is longer than its size says")
                self._between = False
                at += 2
                continue
            if self._trailers >= 0:
                return self._trailer(data, at)
            line = _SIZE_LINE(data, at)
            if line is None or line.end() - at > SIZE_LINE_BYTES_MAX:
                self._no_size(data[at : at + SIZE_LINE_BYTES_MAX])
                return at
            at = line.end()
            self._left = int(line[1], 16)
            if not self._left:
                self._trailers = 0
        return at

    def _no_size(self, line: bytes) -> None:
        """Whether this may become a chunk's size when more of it has come."""
        if len(line) == SIZE_LINE_BYTES_MAX:
            raise _malformed("a chunk's extensions are too long")
        if not _SIZE_SO_FAR(line):
            raise _malformed("a chunk has no proper size")

    def _trailer(self, data: bytes, at: int) -> int:
        """Read fields, which are nobody's: a recipient may discard them (RFC 9110 section 6.5.1)."""
        while True:
            eol = data.find(b"\r\n", at)
            size = self._trailer_bytes + (len(data) if eol < 0 else eol) - at
            if size > self._trailer_bytes_max:
                raise ClientFault(
                    "The request's trailer is too large.", f"more than {self._trailer_bytes_max} bytes", status=431
                )
            if eol < 0:
                if not _FIELD_SO_FAR(data, at):
                    raise _malformed("not a trailer field")
                return at
            if eol == at:
                self.done = True
                return at + 2
            field = _FIELD.fullmatch(data, at, eol)
            if field is None:
                raise _malformed("not a trailer field")
            if field[1].lower() in _FORBIDDEN:
                raise _malformed(f"{field[1].decode()} in a trailer")
            self._trailers += 1
            if self._trailers > TRAILERS_MAX:
                raise ClientFault("The request's trailer has too many fields.", f"more than {TRAILERS_MAX}", status=431)
            self._trailer_bytes = size + 2
            at = eol + 2
