"""
What must be the same of a request at both sides of the front, found without any of its code.
"""

from __future__ import annotations

import re
from typing import Any

from tests.functional.mutations import Meant
from tests.functional.strict_reader import Request

Meaning = tuple[str, str, str, list[tuple[str, str]], bytes]
"""Method, target, host, end-to-end fields in order, body."""

STATUSES = (400, 405, 413, 414, 417, 431, 501, 505)
"""Of refusals."""

OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"}
    | {"proxy", "forwarded", "x-real-ip", "x-request-id", "x-correlation-id", "traceparent", "tracestate"}
)
"""Names, in lower case, that the front answers, replaces or keeps to itself."""

CANONICAL = re.compile(
    rb"[A-Z-]+ (?:/[!-~]*|\*) HTTP/1\.1"
    rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9a-z]+: (?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?)+"
)
"""How the front writes a head: nothing in it can be spelled in two ways."""


def is_ours(name: str) -> bool:
    """Whether a field of this name need not arrive; what only differs by an underscore is the same to many."""
    name = name.lower().replace("_", "-")
    return name in OURS or name.startswith(("x-forwarded", "proxy-"))


def end_to_end(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields that go all the way."""
    nominated = {
        option.strip(" \t").lower()
        for name, value in headers
        if name.lower() == "connection"
        for option in value.split(",")
    }
    return [(name.lower(), value) for name, value in headers if not is_ours(name) and name.lower() not in nominated]


def of_meant(meant: Meant) -> Meaning:
    """What a client means."""
    headers = end_to_end(list(meant.headers))
    return meant.method, meant.target, meant.host, headers, meant.body


def of_request(request: Request) -> Meaning:
    """What a strict reader understands."""
    return request.method, request.target, request.host, end_to_end(request.headers), request.body


def of_note(note: dict[str, Any]) -> Meaning:
    """What a worker says that it has understood."""
    headers = [(name, value) for name, value in note["headers"]]
    return note["method"], note["target"], note["host"], end_to_end(headers), bytes.fromhex(note["body"])
