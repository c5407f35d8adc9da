"""
Tasks as requests: what is sent to a worker, and what is kept of its answer. Pure.

A task of a queue is POSTed. What stands for a client's request, which is answered later, is that request again.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

import msgspec

from ..http1.head import Headers, RequestHead, ResponseHead
from ..plane.task_fields import TASK_FIELDS
from . import verdict
from .model import Task
from .verdict import Verdict

HOST = b"localhost"
"""C{Host} of tasks: whoever asks is of this server."""

OCTETS = b"application/octet-stream"

_MEDIA_TYPE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;[ -~]*)?")
"""RFC 9110 section 8.3.1, near enough for what nobody but us reads before it is sent."""

_FIELD_VALUE = re.compile(r"[^!-~]")

TYPE_BYTES_MAX = 256
"""Of a C{Content-Type}; what is longer is something else."""

TYPES_REMEMBERED_MAX = 256


class Request(NamedTuple):
    """
    What is sent.

    @ivar fields: the request line and all fields but those that frame the body, as they go over the wire.
    """

    method: bytes
    fields: list[bytes]
    body: bytes


class Manner(Protocol):
    """How tasks of one kind are sent, and what answers mean to them."""

    def compose(self, task: Task) -> Request:
        """
        The request for a task.

        @raise ValueError: it can not be one.
        """

    def judge(self, status: int) -> Verdict:
        """What a status means."""

    @property
    def whole(self) -> bool:
        """Whether a task with an answer that is too large to be kept has failed; if not, the answer is dropped."""


def _word(text: str) -> bytes:
    """Text as it can be in a header field."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text.encode("ascii")  # As nearly all are.
    return _FIELD_VALUE.sub("?", text).encode("ascii")


class ToWorker:
    """Tasks of a queue, POSTed to a path of this server."""

    whole = False

    def __init__(self, queue: str, to: str) -> None:
        """
        @param to: the path, perhaps with a query.
        """
        self._line = b"POST %b HTTP/1.1\r\nhost: %b\r\n" % (to.encode("ascii"), HOST)
        self._queue = b"x-task-queue: %b\r\n" % _word(queue)
        self._beginnings: dict[bytes, bytes] = {}
        """What is the same for all tasks of a content type."""

    def compose(self, task: Task) -> Request:
        """See L{Manner}."""
        beginning = self._beginnings.get(task.head)
        if beginning is None:
            beginning = self._begin(task.head)
        name = _word(task.id)
        told = b"x-task-id: %b\r\nx-request-id: %b\r\nx-task-attempt: %d\r\n" % (name, name, task.attempts)
        return Request(b"POST", [beginning, told], task.payload)

    def _begin(self, head: bytes) -> bytes:
        media_type = head if len(head) <= TYPE_BYTES_MAX and _MEDIA_TYPE.fullmatch(head) else OCTETS
        beginning = b"%bcontent-type: %b\r\n%b" % (self._line, media_type, self._queue)
        if len(self._beginnings) >= TYPES_REMEMBERED_MAX:
            self._beginnings.clear()
        self._beginnings[head] = beginning
        return beginning

    def judge(self, status: int) -> Verdict:
        """See L{Manner}."""
        return verdict.of_task(status)


_NOT_THEIRS = frozenset([b"host", b"content-length", b"expect"]) | TASK_FIELDS
"""Fields of a client's request that are written anew, or are not the client's."""


class StoredRequest(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """
    A client's request, without its body, as the C{head} of a task.

    @ivar fields: names in lower case; those that told something to the server alone are not among them.
    """

    method: bytes
    target: bytes
    host: bytes
    fields: list[tuple[bytes, bytes]]


_requests = msgspec.msgpack.Decoder(StoredRequest)
_encode = msgspec.msgpack.Encoder().encode

_PREFERENCE = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
"""One of the preferences of a C{Prefer} (RFC 7240 section 2)."""

_LATER_ON = frozenset([b"respond-async", b"wait"])
"""Preferences that were heard already."""


def stored(head: RequestHead) -> bytes:
    """A client's request as it is stored."""
    fields: list[tuple[bytes, bytes]] = []
    for name, value in head.headers:
        if name == b"prefer":
            value = _without_waiting(value)
            if not value:
                continue
        elif name in _NOT_THEIRS:
            continue
        fields.append((name, value))
    return _encode(StoredRequest(head.method, head.target, head.host, fields))


def _without_waiting(value: bytes) -> bytes:
    kept = [
        part
        for part in (each.strip(b" \t") for each in _PREFERENCE.findall(value))
        if part and preference_name(part) not in _LATER_ON
    ]
    return b", ".join(kept)


def preference_name(part: bytes) -> bytes:
    """What one preference is about, in lower case."""
    return re.split(rb"[=; \t]", part, maxsplit=1)[0].lower()


def preferences(values: list[bytes]) -> dict[bytes, bytes]:
    """
    What a client prefers, from the values of its C{Prefer} fields: names in lower case. The first of a name counts.
    """
    found: dict[bytes, bytes] = {}
    for value in values:
        for part in _PREFERENCE.findall(value):
            part = part.strip(b" \t")
            if part:
                said = part.partition(b";")[0].partition(b"=")[2].strip(b' \t"')
                found.setdefault(preference_name(part), said)
    return found


class Replayed:
    """Clients' requests, sent as the clients sent them."""

    whole = True

    def compose(self, task: Task) -> Request:
        """See L{Manner}."""
        try:
            request = _requests.decode(task.head)
        except msgspec.MsgspecError as error:
            raise ValueError(f"what was stored is no request: {error}")
        name = _word(task.id)
        fields = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (request.method, request.target, request.host)]
        fields += [b"%b: %b\r\n" % field for field in request.fields]
        fields.append(
            b"x-task-id: %b\r\nx-task-attempt: %d\r\nx-task-queue: %b\r\n"
            % (name, task.attempts, _word(task.queue.name))
        )
        return Request(request.method, fields, task.payload)

    def judge(self, status: int) -> Verdict:
        """See L{Manner}."""
        return verdict.of_request(status)


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """
    A worker's answer, without its body, as the C{result_head} of a task.

    @ivar cut: the body was too large to be kept.
    """

    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    cut: bool = False


_answers = msgspec.msgpack.Decoder(StoredAnswer)


def kept_answer(head: ResponseHead, cut: bool) -> bytes:
    """An answer as it is stored."""
    return _encode(StoredAnswer(head.status, head.reason, head.headers, cut))


def answer_of(task: Task) -> StoredAnswer | None:
    """The answer that is stored with a task; L{None} if nobody has answered."""
    try:
        return _answers.decode(task.result_head) if task.result_head else None
    except msgspec.MsgspecError:
        return None


def plain_fields(answer: StoredAnswer) -> Headers:
    """The fields of a stored answer, but those for developers: a front adds them to this answer, too."""
    return [(name, value) for name, value in answer.fields if not name.lower().startswith(b"x-tqserver-")]
