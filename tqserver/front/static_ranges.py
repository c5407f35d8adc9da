"""
Parts of a file: what a C{Range} field wants, and how several parts are sent (RFC 9110 section 14). Pure.

A server may ignore a range that makes no sense or would cost too much; the client gets the whole then.
"""

from __future__ import annotations

import re

from attrs import frozen

RANGES_MAX = 32
"""Of one request. A reader of a document asks for some ten at once; nobody has a use for hundreds."""

GAP_BYTES = 160
"""Parts that are nearer to each other than this are one: the head of another part is about as long."""

_UNIT = re.compile(rb"bytes[ \t]*=", re.IGNORECASE)
_RANGE = re.compile(rb"([0-9]{0,18})-([0-9]{0,18})")


@frozen
class Span:
    """
    A part of a file.

    @ivar at: its first byte.
    @ivar length: bytes, at least one.
    """

    at: int
    length: int

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.at + self.length


def wanted_spans(value: bytes, size: int) -> list[Span] | None:
    """
    Understand a C{Range} field.

    @param size: of the file, at least one byte.
    @return: the parts, none of which overlap, in the order in which they were asked for; none if there are no such
        parts; L{None} if the field is to be ignored.
    """
    unit = _UNIT.match(value)
    if unit is None or value.count(b",") >= RANGES_MAX * 2:
        return None
    spans: list[Span] = []
    count = 0
    for member in value[unit.end() :].split(b","):
        member = member.strip(b" \t")
        if not member:
            # A list may have empty members (RFC 9110 section 5.6.1.2).
            continue
        count += 1
        match = _RANGE.fullmatch(member)
        if match is None or count > RANGES_MAX:
            return None
        first, last = match.groups()
        if not first:
            if not last:
                return None
            length = min(int(last), size)
            if length:
                spans.append(Span(size - length, length))
        elif last and int(last) < int(first):
            return None
        elif int(first) < size:
            end = min(int(last) + 1, size) if last else size
            spans.append(Span(int(first), end - int(first)))
    return _coalesced(spans) if count else None


def _coalesced(spans: list[Span]) -> list[Span]:
    """Make one of what overlaps or nearly touches; each stands where the first that went into it stood."""
    if len(spans) < 2:
        return spans
    order = sorted(range(len(spans)), key=lambda index: spans[index].at)
    merged: list[tuple[int, Span]] = []
    for index in order:
        span = spans[index]
        if merged and span.at <= merged[-1][1].end + GAP_BYTES:
            place, before = merged[-1]
            merged[-1] = (min(place, index), Span(before.at, max(before.end, span.end) - before.at))
        else:
            merged.append((index, span))
    return [span for _, span in sorted(merged, key=lambda entry: entry[0])]


def content_range(span: Span, size: int) -> bytes:
    """The value of C{Content-Range} for a part."""
    return b"bytes %d-%d/%d" % (span.at, span.end - 1, size)


def multipart(spans: list[Span], size: int, kind: bytes, boundary: bytes) -> tuple[list[bytes | Span], int]:
    """
    Lay out several parts as C{multipart/byteranges} (RFC 9110 section 14.6).

    @param kind: the file's C{Content-Type}.
    @param boundary: occurs nowhere in the file.
    @return: what is to be sent, in order, and how many bytes it is.
    """
    pieces: list[bytes | Span] = []
    length = 0
    for number, span in enumerate(spans):
        head = b"%b--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % (
            b"\r\n" if number else b"",
            boundary,
            kind,
            content_range(span, size),
        )
        pieces += [head, span]
        length += len(head) + span.length
    end = b"\r\n--" + boundary + b"--\r\n"
    pieces.append(end)
    return pieces, length + len(end)
