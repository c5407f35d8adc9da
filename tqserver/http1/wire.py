"""
Where one request ends and the next begins.

httptools reads heads, and reads them strictly but for their first line, before which it skips any number of line ends
and in which it allows more spaces than one, and other protocols' names. It also does not say how far it came. So heads
are cut out here, exactly, and bodies are read here.

The usual case, a head and perhaps a body behind it, is told by one search and one match.
"""

from __future__ import annotations

import enum
import re

import httptools
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import ClientFault, Fault, ServerFault
from .chunked import ChunkReader
from .strict import check_line_size, line_fault, line_so_far, request_line

_log = Logger()

_END = b"\r\n\r\n"


class _Place(enum.Enum):
    """What the next byte belongs to."""

    LINE = enum.auto()
    """A request line, or the one empty line that may come before it (RFC 9112 section 2.2)."""
    LINE_ONLY = enum.auto()
    """A request line, after an empty line."""
    FIELDS = enum.auto()
    """The rest of a head."""
    LENGTH = enum.auto()
    """A body of known length."""
    CHUNKS = enum.auto()
    """A chunked body, or its trailer."""
    AHEAD = enum.auto()
    """The next request, or another protocol: the answer to a request for that will tell."""
    NOWHERE = enum.auto()
    """Nothing more is read."""


_LINE, _LINE_ONLY, _FIELDS, _LENGTH, _CHUNKS, _AHEAD, _NOWHERE = _Place

_NO_HEAD = (_CHUNKS, _AHEAD)
"""What is held back there is not of a head."""


def _parser_fault(error: httptools.HttpParserError, head: bytes) -> Fault:
    """What the parser does not understand, as the client is told; or a mistake of whoever it called."""
    if isinstance(error, httptools.HttpParserCallbackError):
        _log.failure("reading a request", Failure(error.__context__ or error))
        return ServerFault("Something went wrong on our side.", str(error), status=500)
    if "nvalid method" in str(error):
        # Well formed, as we know by now, but unknown, or another protocol's.
        return line_fault(head.partition(b"\r\n")[0])
    return ClientFault("The request is malformed.", str(error))


class RequestWire:
    """
    Tells the heads and bodies of requests apart in one client's bytes, in any split.

    A subclass takes them: httptools calls its C{on_header} and C{on_headers_complete}, of which the last says with
    L{_expect} that a body follows, or with L{_refuse_all} that nothing more is wanted; nothing that these raise is
    heard. Bodies go to L{_body_data} and L{_body_end}, which may raise L{ClientFault}.

    What is set for few connections, or late, is of the class until then: most connections are idle.
    """

    _parser: httptools.HttpRequestParser | None = None
    """Made when there is something to read for it."""
    _place = _LINE
    _held = b""
    """What cannot be judged before more has come."""
    _line: re.Match[bytes] | None = None
    """The request line of the head that is being read."""
    _left_bytes = 0
    """Of a body of known length, still to come."""
    _chunks: ChunkReader | None = None
    _holding = False
    """Everything is held back, until it is known what it is."""
    _spent = False
    """The parser waits for a body that it will not get."""
    _head_begun = False
    """Some of a head has come, and not all of it."""
    _fault: Fault | None = None
    """Why nothing more is read."""
    _head_bytes = 0
    """The size of the head that is being read, as far as it has come; of a small head, 0 will do."""

    @property
    def between_requests(self) -> bool:
        """Whether all was read that has come, and the next byte is of a request line."""
        return self._place is _LINE and not self._held and self._fault is None

    def _read_before(self, line: re.Match[bytes], fields: bytes) -> bool:
        """
        A head stands here alone: take it, if its fields were read before and it can be.

        @param fields: all that follows the line, and before it the minor version.
        """
        return False

    def _read_before_body(self, line: re.Match[bytes], fields: bytes) -> int:
        """
        A head stands here with something behind it: take it, if its fields were read before, announced a body of known
        length, and it can be.

        @param fields: all that follows the line, and before it the minor version.
        @return: the length of the body; 0 if it was not taken.
        """
        return 0

    def _read_first(self, line: re.Match[bytes], fields: bytes) -> None:
        """The parser has read such a head, all at once, and found nothing wrong with it."""

    def _body_data(self, data: bytes) -> None:
        """Some of a body; never empty."""
        raise NotImplementedError

    def _body_end(self) -> None:
        """The end of a body."""
        raise NotImplementedError

    def _expect(self, body_bytes: int | None, trailer_bytes_max: int = 0) -> None:
        """
        A body follows the head that was just read.

        @param body_bytes: its length; L{None} if it is chunked.
        @param trailer_bytes_max: of a chunked body's trailer.
        """
        self._spent = True
        if body_bytes is None:
            self._chunks = ChunkReader(trailer_bytes_max)
            self._place = _CHUNKS
        elif body_bytes:
            self._left_bytes = body_bytes
            self._place = _LENGTH

    def _hold(self) -> None:
        """What follows the head that was just read is perhaps no request; hold it back."""
        self._holding = True
        self._place = _AHEAD

    def _take_held(self) -> bytes:
        """It is known now what it is. What follows is a request line, if anything."""
        held, self._held = self._held, b""
        self._holding = False
        self._place = _LINE
        return held

    def _refuse_all(self, fault: Fault) -> None:
        """Read nothing more, for a reason, of which the first counts."""
        if self._fault is None:
            self._fault = fault.bare()
        self._stop()

    def _stop(self) -> None:
        """Read nothing more, not even the rest of what is being read."""
        self._place = _NOWHERE
        self._held = b""
        self._chunks = None

    def _read(self, data: bytes, head_bytes_max: int) -> None:
        """
        Read some bytes. What is wrong with them is in C{_fault}; nothing more is read then.

        @param data: not empty.
        @param head_bytes_max: of a request's head; half of it may be the request line.
        """
        size = len(data)
        if (
            self._place is _LINE
            and data.find(_END) == size - 4
            and (line := request_line(data))
            and size <= head_bytes_max // 2
            and not self._held
            and not self._spent
        ):
            fields = data[line.start(3) :]
            if self._read_before(line, fields):
                return
            self._line = line
            try:
                (self._parser or self._new_parser()).feed_data(data)
            except httptools.HttpParserUpgrade:
                self._spent = True
            except httptools.HttpParserError as error:
                self._refuse_all(_parser_fault(error, data))
            else:
                if self._fault is None:
                    self._read_first(line, fields)
            return
        try:
            at = 0
            while self._place is _LINE and not self._held and at < size:
                end = data.find(_END, at) + 4
                line = request_line(data, at)
                if end < 4 or end - at > head_bytes_max // 2 or not line:
                    break
                fields = data[line.start(3) : end]
                self._left_bytes = self._read_before_body(line, fields)
                if self._left_bytes:
                    self._place = _LENGTH
                else:
                    self._line = line
                    self._parse(data[at:end])
                    if self._fault is None:
                        self._read_first(line, fields)
                at = end
            if self._place is _LENGTH:
                at = self._read_length(data, at)
            if at < size:
                self._cut(data, at, head_bytes_max)
        except Fault as fault:
            self._refuse_all(fault)

    def _new_parser(self) -> httptools.HttpRequestParser:
        """Begin to read heads, or begin anew."""
        self._spent = False
        parser = self._parser = httptools.HttpRequestParser(self)
        return parser

    def _parse(self, data: bytes) -> None:
        """
        Have the parser read some of a head.

        @param data: the beginning of the head, with the whole request line; or more of it.
        """
        parser = self._parser
        if parser is None or self._spent:
            parser = self._new_parser()
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # What it means that another protocol is asked for is not for the parser to say.
            self._spent = True
        except httptools.HttpParserError as error:
            raise _parser_fault(error, data)

    def _cut(self, data: bytes, at: int, head_bytes_max: int) -> None:
        """Read the bytes from C{at} on, whatever they are."""
        if self._held:
            data, self._held = self._held + data, b""
        end = len(data)
        while at < end:
            place = self._place
            if place is _LENGTH:
                at = self._read_length(data, at)
            elif place is _CHUNKS:
                at = self._read_chunks(data, at)
                if self._place is _CHUNKS:
                    self._held = data[at:]
                    break
            elif place is _LINE or place is _LINE_ONLY:
                read = self._read_line(data, at, head_bytes_max)
                if read < 0:
                    self._held = data[at:]
                    break
                at = read
            elif place is _FIELDS:
                at = self._read_fields(data, at, at, head_bytes_max)
            elif place is _AHEAD:
                self._held = data[at:]
                break
            else:
                break
        place = self._place
        self._head_begun = place is _FIELDS or (bool(self._held) and place not in _NO_HEAD)

    def _read_line(self, data: bytes, at: int, head_bytes_max: int) -> int:
        """
        Begin a head.

        @return: where it went on, or -1 to wait for more.
        """
        end = data.find(b"\r\n", at)
        first = self._place is _LINE
        if end == at and first:
            self._place = _LINE_ONLY
            return at + 2
        if end < 0:
            if data[at:] != b"\r" or not first:
                line_so_far(data[at:], head_bytes_max // 2)
            return -1
        check_line_size(end - at, head_bytes_max // 2)
        line = request_line(data, at)
        if not line:
            raise line_fault(data[at:end])
        self._line = line
        self._place = _FIELDS
        return self._read_fields(data, at, end, head_bytes_max)

    def _read_fields(self, data: bytes, at: int, search: int, head_bytes_max: int) -> int:
        """
        Read on in a head, and to its end if it is there.

        @param search: where to look for the end from.
        """
        end = data.find(_END, search)
        if end < 0:
            # The beginning of the end waits for the rest of it, so that the end is always found whole.
            stop = len(data) - next(size for size in (3, 2, 1, 0) if data.endswith(_END[:size]))
            self._held = data[stop:]
        else:
            stop = end + 4
        self._head_bytes += stop - at
        if self._head_bytes > head_bytes_max:
            raise ClientFault("The request's header is too large.", f"more than {head_bytes_max} bytes", status=431)
        if end >= 0:
            # Unless we are told otherwise.
            self._place = _LINE
        if stop > at:
            self._parse(data[at:stop])
        if end < 0:
            return len(data)
        self._head_bytes = 0
        return stop

    def _read_length(self, data: bytes, at: int) -> int:
        """Read on in a body of known length."""
        piece = data[at : at + self._left_bytes]
        self._left_bytes -= len(piece)
        self._body_data(piece)
        if not self._left_bytes and self._place is _LENGTH:
            self._place = _LINE
            self._body_end()
        return at + len(piece)

    def _read_chunks(self, data: bytes, at: int) -> int:
        """Read on in a chunked body."""
        chunks = self._chunks
        assert chunks is not None
        at = chunks.read(data, at)
        pieces = chunks.pieces
        if pieces:
            piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._body_data(piece)
        if chunks.done and self._place is _CHUNKS:
            self._chunks = None
            self._place = _LINE
            self._body_end()
        return at
