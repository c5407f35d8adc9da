"""A strict reader of HTTP/1.1 answers, of the same kind as L{tests.functional.strict_reader}."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.functional.strict_reader import Refused, read_coded, read_fields

STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t -~\x80-\xff]*))?")
"""RFC 9112 section 4; many leave out the space when there is no reason."""

CHUNK = re.compile(r"([0-9A-Fa-f]+)(?:;[\t -~\x80-\xff]*)?")
"""What stands in extensions, nobody passes on."""


@dataclass
class Answer:
    """
    A whole answer.

    @ivar interim: statuses and fields of those before it.
    @ivar headers: names in lower case, in order.
    """

    status: int
    version: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    interim: list[tuple[int, list[tuple[str, str]]]] = field(default_factory=list)


def read_answer(data: bytes, method: str, ended: bool) -> tuple[Answer, int] | None:
    """
    Read the answer to a request.

    @param ended: nothing comes behind these bytes: the connection was closed.
    @return: it, and where it ends; L{None}: it is not whole.
    @raise Refused: it is none.
    """
    interim = []
    at = 0
    while True:
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            return None
        first, *lines = data[at:end].decode("latin-1").split("\r\n")
        line = STATUS_LINE.fullmatch(first)
        if line is None:
            raise Refused(f"status line {first!r}")
        answer = Answer(int(line[2]), int(line[1]), read_fields(lines), interim=interim)
        length = framing(answer)
        at = end + 4
        if answer.status >= 200:
            break
        if answer.status == 101 or answer.version == 0:
            raise Refused(f"an interim answer {first!r}")
        interim.append((answer.status, answer.headers))
    if method == "HEAD" or answer.status in (204, 304):
        return answer, at
    if length is None:
        coded = read_coded(data, at, CHUNK)
        if coded is None:
            return None
        answer.body, _, at = coded
        return answer, at
    if length < 0:
        answer.body = data[at:]
        return (answer, len(data)) if ended else None
    answer.body = data[at : at + length]
    return (answer, at + length) if len(answer.body) == length else None


def framing(answer: Answer) -> int | None:
    """How long the body is (RFC 9112 section 6.3); L{None}: chunked; -1: to the end of the connection."""
    codings = [value for name, value in answer.headers if name == "transfer-encoding"]
    lengths = [value for name, value in answer.headers if name == "content-length"]
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != "chunked" or answer.version == 0:
            raise Refused(f"Transfer-Encoding {codings} with Content-Length {lengths} in HTTP/1.{answer.version}")
        return None
    if not lengths:
        return -1
    if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise Refused(f"Content-Length {lengths}")
    return int(lengths[0])
