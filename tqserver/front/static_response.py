"""
Which response a request for a file gets: the whole, some parts, that it has not changed, or that it is not what was
expected. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..http1.head import Headers, ResponseHead
from .static_conditions import Asked, precondition, range_holds
from .static_files import Variant
from .static_ranges import Span, content_range, multipart, wanted_spans

Pieces = Sequence[bytes | Span]
"""A body: parts of the file, and what stands between them."""

WHOLE: Pieces = ()
"""The body is the file as it is."""

_REASONS = {304: b"Not Modified", 412: b"Precondition Failed"}


def response_for(
    method: bytes, fields: Asked | None, variant: Variant, now_ns: Callable[[], int], boundary: Callable[[], bytes]
) -> tuple[ResponseHead, Pieces | None]:
    """
    Decide.

    @param method: C{GET} or C{HEAD}.
    @param fields: conditions and ranges; L{None} for none.
    @param now_ns: the time of day.
    @param boundary: makes a boundary for several parts, which occurs nowhere in the file.
    @return: the head, and what its body is made of; L{None} if it has none.
    """
    if fields is not None:
        status = precondition(fields, variant.etag, variant.modified_s)
        if status:
            length = None if status == 304 else 0
            return ResponseHead(status, _REASONS[status], variant.validators, length), None
        if b"range" in fields and method == b"GET":
            partial = _partial(fields, variant, now_ns, boundary)
            if partial is not None:
                return partial
    if method == b"HEAD" or not variant.content.size:
        return variant.head, None
    return variant.head, WHOLE


def _partial(
    fields: Asked, variant: Variant, now_ns: Callable[[], int], boundary: Callable[[], bytes]
) -> tuple[ResponseHead, Pieces | None] | None:
    """The response to a request for parts (RFC 9110 section 14.2); L{None} if it gets the whole."""
    ranges, size = fields[b"range"], variant.content.size
    if len(ranges) != 1 or not size or not range_holds(fields, variant.etag, variant.modified_s, now_ns() / 1e9):
        return None
    spans = wanted_spans(ranges[0], size)
    if spans is None or (len(spans) > 1 and variant.encoding):
        # Content-Encoding would be taken for that of the message with all parts.
        return None
    headers: Headers
    if not spans:
        headers = [(b"Content-Range", b"bytes */%d" % size), (b"Accept-Ranges", b"bytes")]
        return ResponseHead(416, b"Range Not Satisfiable", headers, 0), None
    if len(spans) == 1:
        span = spans[0]
        headers = [*variant.head.headers, (b"Content-Range", content_range(span, size))]
        return ResponseHead(206, b"Partial Content", headers, span.length), spans
    mark = boundary()
    pieces, length = multipart(spans, size, variant.kind, mark)
    headers = [field for field in variant.head.headers if field[0].lower() != b"content-type"]
    headers.append((b"Content-Type", b"multipart/byteranges; boundary=" + mark))
    return ResponseHead(206, b"Partial Content", headers, length), pieces
