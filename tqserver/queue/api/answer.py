"""
Answers as values, and the shapes that services give to errors. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...errors import Fault
from ...http1.head import Headers, ResponseHead

Answer = tuple[ResponseHead, bytes]
"""The head, and all of the body. Heads without headers of their own are shared: nobody changes one."""

Shape = Callable[[str], tuple[bytes, bytes]]
"""Makes of the reason of a fault the C{Content-Type} and the body of the answer."""

_JSON: Headers = [(b"Content-Type", b"application/json")]
_PLAIN: Headers = [(b"Content-Type", b"text/plain; charset=utf-8")]

_JSON_200 = ResponseHead(200, b"", _JSON)
_PLAIN_200 = ResponseHead(200, b"", _PLAIN)
_NOTHING_200 = ResponseHead(200, b"", _JSON, 2)
for _head in (_JSON_200, _PLAIN_200, _NOTHING_200):
    _head.write()

_encode = msgspec.json.Encoder().encode

NOTHING: Answer = (_NOTHING_200, b"{}")
"""An empty object: it was done, and there is nothing to say about it."""


def json_answer(value: object, status: int = 200, headers: Headers | None = None) -> Answer:
    """An answer in JSON."""
    if status == 200 and headers is None:
        return _JSON_200, _encode(value)
    return ResponseHead(status, b"", _JSON + (headers or [])), _encode(value)


def plain_answer(text: str, status: int = 200) -> Answer:
    """An answer in words."""
    return _PLAIN_200 if status == 200 else ResponseHead(status, b"", _PLAIN), text.encode()


def json_error(reason: str) -> tuple[bytes, bytes]:
    """The shape C{{"error": "…"}}."""
    return b"application/json", _encode({"error": reason})


def plain_error(reason: str) -> tuple[bytes, bytes]:
    """The reason, as a line of text."""
    return b"text/plain; charset=utf-8", reason.encode("utf-8", "replace") + b"\n"


def refusal(shape: Shape, fault: Fault, headers: Headers | None = None) -> Answer:
    """
    The answer to a fault.

    @param headers: besides the usual ones.
    """
    content_type, body = shape(fault.reason)
    fields = [(b"Content-Type", content_type)]
    retry_after_s = fault.retry_after_s
    if retry_after_s is None and fault.status == 503:
        retry_after_s = RETRY_AFTER_S
    if retry_after_s is not None:
        fields.append((b"Retry-After", b"%d" % retry_after_s))
    if headers:
        fields += headers
    return ResponseHead(fault.status, b"", fields), body


RETRY_AFTER_S = 1
"""When to come again after a 503 that says nothing else, in seconds."""
