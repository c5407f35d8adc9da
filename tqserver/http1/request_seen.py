"""
Header fields of requests that were read before, byte for byte. Pure, but for what it remembers.

A client that asks for one thing after the other says the same of itself with each: only the request line differs. What
the parser and all rules make of the fields follows from their bytes alone, as long as they do not ask for another
protocol; so the same bytes need not be read again. Nor if they announce a body of known length: whoever sends one
thing after the other often sends as much with each.
"""

from __future__ import annotations

import re

from attrs import frozen

from .head import Headers, RequestHead
from .recurring import Recurring
from .strict import origin_form

FIELDS_REMEMBERED_MAX = 512
"""When there are more, all are forgotten and it begins anew."""

FIELDS_BYTES_REMEMBERED_MAX = 2048
"""Of all fields of one request. Those of a browser are shorter, unless it has many cookies."""

_METHODS = frozenset([b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"])
"""Known to the parser, and without rules of their own."""

_PER_REQUEST = frozenset(
    [
        b"expect",
        b"if-modified-since",
        b"if-none-match",
        b"range",
        b"traceparent",
        b"transfer-encoding",
        b"upgrade",
        b"x-correlation-id",
        b"x-request-id",
    ]
)
"""What is about one request alone: either its meaning depends on the method, or it will hardly come again."""

_MEANS_MORE = _PER_REQUEST | {b"content-length"}
"""The same for requests without a body."""


RECURRING = Recurring()
RECURRING_BEFORE_BODY = Recurring()


@frozen
class Seen:
    """What some fields mean."""

    fields: bytes
    headers: Headers
    host: bytes
    version: tuple[int, int]
    keep_alive: bool
    body_bytes: int


FIELDS: dict[bytes, Seen] = {}
"""By the bytes of a head from the minor version on, to the empty line."""

FIELDS_BEFORE_BODY: dict[bytes, Seen] = {}
"""The same for heads that announce a body; apart, as of these there are many more."""


def remember(line: re.Match[bytes], fields: bytes, head: RequestHead) -> None:
    """
    Remember fields, if it is worth it: they came before, and may come again.

    @param line: the request line that was before them.
    @param fields: all of them, after the minor version, with the empty line and nothing else.
    @param head: what the parser and all rules made of both.
    """
    length = head.content_length
    if length is None or len(fields) > FIELDS_BYTES_REMEMBERED_MAX:
        return
    into, recurring, unwanted = (
        (FIELDS_BEFORE_BODY, RECURRING_BEFORE_BODY, _PER_REQUEST) if length else (FIELDS, RECURRING, _MEANS_MORE)
    )
    if recurring.again(fields) and line[2][:1] == b"/" and unwanted.isdisjoint([name for name, _ in head.headers]):
        if len(into) >= FIELDS_REMEMBERED_MAX:
            into.clear()
        # What others remember by the fields is of requests without a body.
        kept = b"" if length else fields
        into[fields] = Seen(kept, head.headers, head.host, head.version, head.keep_alive, length)


def head_seen(line: re.Match[bytes], seen: Seen) -> RequestHead | None:
    """
    The head of a request whose fields were read before.

    @param line: its request line.
    @param seen: what the rest of it means.
    @return: L{None} if the line needs a closer look.
    """
    method, target, _ = line.groups()
    if method not in _METHODS or not origin_form(target):
        return None
    path, mark, query = target.partition(b"?")
    return RequestHead(
        method,
        target,
        path,
        query if mark else None,
        seen.headers,
        seen.host,
        seen.version,
        seen.body_bytes,
        seen.keep_alive,
        False,
        b"",
        seen.fields,
    )
