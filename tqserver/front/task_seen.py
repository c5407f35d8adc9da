"""
Tasks that a queue sends one after the other. Pure, but for what it remembers.

Tasks of one queue say the same of themselves but for some fields at the end of their head, which the queue writes last
and in one way: which task it is, which try, and how long its body is. What the parser and all rules make of the rest
follows from its bytes alone; so that need not be read again.
"""

from __future__ import annotations

import re

from attrs import define, frozen

from ..http1.head import Headers, RequestHead
from .claims import is_claim

BEGINNINGS_REMEMBERED_MAX = 256
"""When there are more, all are forgotten and it begins anew: queues times content types."""

BEGINNING_BYTES_REMEMBERED_MAX = 2048
"""Of a head, up to what differs from task to task."""

_MARK = b"\r\nx-task-id: "

_END = re.compile(
    rb"(x-task-id: ([A-Za-z0-9._-]{1,128})\r\nx-request-id: (\2)\r\nx-task-attempt: ([0-9]{1,9})\r\n)"
    rb"content-length: ([0-9]{1,9})\r\n\r\n"
).match
"""What differs, as L{tqserver.queue.requests.ToWorker} writes it, and as it goes on to the worker."""

_NOT_BEFORE = frozenset([b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade", b"x-task-id"])
"""The message is framed by its end alone."""


@define(eq=False)
class TaskHead(RequestHead):
    """
    The head of a task whose beginning was read before.

    @ivar beginning: the request line and the fields before those that differ, as they came. None of these says who the
        client is.
    @ivar told: the fields that name the task, as they go over the wire; C{X-Request-ID} is among them.
    @ivar request_id: the task's.
    """

    beginning: bytes = b""
    told: bytes = b""
    request_id: bytes = b""


@frozen
class _Beginning:
    """What the request line and the fields that follow it mean."""

    data: bytes
    headers: Headers
    target: bytes
    path: bytes
    query: bytes | None
    host: bytes


_beginnings: dict[bytes, _Beginning] = {}


def task_seen(data: bytes, head_bytes_max: int, body_bytes_max: int) -> tuple[TaskHead, bytes] | None:
    """
    A task, if there is nothing but one, whole, and tasks that begin like this were read before.

    @param data: of which nothing was read.
    @param head_bytes_max: larger heads need a closer look.
    @param body_bytes_max: larger bodies are for others to refuse; 0 if there is no limit.
    @return: with its body.
    """
    at = data.find(_MARK) + 2
    known = _beginnings.get(data[:at]) if at <= BEGINNING_BYTES_REMEMBERED_MAX else None
    if known is None:
        return None
    end = _END(data, at)
    if end is None:
        return None
    told, name, again, attempt, size = end.groups()
    length = int(size)
    start = end.end()
    if start + length != len(data) or start > head_bytes_max or 0 < body_bytes_max < length:
        return None
    headers = [
        *known.headers,
        (b"x-task-id", name),
        (b"x-request-id", again),
        (b"x-task-attempt", attempt),
        (b"content-length", size),
    ]
    head = TaskHead(
        b"POST",
        known.target,
        known.path,
        known.query,
        headers,
        known.host,
        (1, 1),
        length,
        True,
        False,
        b"",
        b"",
        known.data,
        told,
        name,
    )
    return head, data[start:]


def remember(data: bytes, head: RequestHead) -> None:
    """
    Remember how a task begins, if it is a usual one.

    @param data: the whole request, or at least its whole head.
    @param head: what the parser and all rules made of it.
    """
    at = data.find(_MARK) + 2
    if (
        2 <= at <= BEGINNING_BYTES_REMEMBERED_MAX
        and data.startswith(b"POST /")
        and data.find(b"\r\n\r\n") > at
        and _END(data, at)
        and head.keep_alive
        and head.version == (1, 1)
        and not head.upgrade
    ):
        headers = head.headers[:-4]
        if not any(name in _NOT_BEFORE or is_claim(name) for name, _ in headers):
            if len(_beginnings) >= BEGINNINGS_REMEMBERED_MAX:
                _beginnings.clear()
            beginning = data[:at]
            _beginnings[beginning] = _Beginning(beginning, headers, head.target, head.path, head.query, head.host)
