"""
What clients of TQS send, checked. Pure.

In a query a number above its range is cut to it; below it, or no number, it is an error. In a body everything that is
out of range is an error.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import msgspec

from ...errors import ClientFault
from ..model import LOCAL, NewTask, QueueName
from .call import decode, parse_query

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,78}[A-Za-z0-9])?")
"""Of a queue."""

TYPES = ("text/plain", "application/json", "application/octet-stream")
_HEADS = {name: name.encode() for name in TYPES}

DELAY_S_MAX = 900
RETENTION_S = 345_600
RETENTION_S_MIN = 60
RETENTION_S_MAX = 1_209_600
PRIORITY_MAX = 100

MESSAGES_MAX = 10_000
"""Of one request: so many are put in one step, while which everybody else waits."""

LEASES_MAX = 100
"""Of one request."""

TRUE = frozenset(["1", "true", "yes"])
FALSE = frozenset(["", "0", "false", "no"])

_DIGITS_MAX = 18
"""More digits are more than any range."""


class NewMessage(msgspec.Struct, gc=False):
    """A message as it is sent; durations in seconds."""

    body: str
    type: str = TYPES[0]
    delay: int = 0
    retention: int = RETENTION_S
    priority: int = 50


class _Messages(msgspec.Struct, gc=False):
    messages: list[NewMessage]


class _NewQueue(msgspec.Struct, gc=False):
    name: str


class _Leases(msgspec.Struct, gc=False):
    leases: list[str]


_messages = msgspec.json.Decoder(_Messages)
_new_queue = msgspec.json.Decoder(_NewQueue)
_leases = msgspec.json.Decoder(_Leases)


def queue_name(body: bytes) -> QueueName:
    """
    The name of a queue that is to be made.

    @raise ClientFault: it cannot have that one.
    """
    name = decode(_new_queue, body).name
    if not NAME.fullmatch(name):
        raise ClientFault("A queue's name is 1 to 80 letters, digits, - and _; a letter or digit first and last.")
    return QueueName(LOCAL, name)


def tasks(body: bytes, queue: QueueName, now: int, chars_max: int) -> list[NewTask]:
    """
    The messages that are to be put.

    @param now: in milliseconds.
    @param chars_max: of the body of a message.
    @raise ClientFault: one of them is bad.
    """
    messages = decode(_messages, body).messages
    if len(messages) > MESSAGES_MAX:
        raise ClientFault(f"There are more than {MESSAGES_MAX} messages.", status=413)
    new: list[NewTask] = []
    for message in messages:
        head = _HEADS.get(message.type)
        delay, retention = message.delay, message.retention
        if (
            head is None
            or not 0 <= delay <= DELAY_S_MAX
            or not RETENTION_S_MIN <= retention <= RETENTION_S_MAX
            or not 0 <= message.priority <= PRIORITY_MAX
            or len(message.body) > chars_max
        ):
            raise ClientFault(f"Message {len(new)}: {_wrong(message, chars_max)}")
        new.append(
            NewTask(
                queue=queue,
                payload=message.body.encode(),
                head=head,
                priority=message.priority,
                ready=now + delay * 1000 if delay else 0,
                expires=now + retention * 1000,
            )
        )
    return new


def _wrong(message: NewMessage, chars_max: int) -> str:
    """What is wrong with a message."""
    if len(message.body) > chars_max:
        return f"body is longer than {chars_max} characters."
    if message.type not in _HEADS:
        return f"type is none of {', '.join(TYPES)}."
    if not 0 <= message.delay <= DELAY_S_MAX:
        return f"delay is not between 0 and {DELAY_S_MAX} seconds."
    if not 0 <= message.priority <= PRIORITY_MAX:
        return f"priority is not between 0 and {PRIORITY_MAX}."
    return f"retention is not between {RETENTION_S_MIN} and {RETENTION_S_MAX} seconds."


def leases(body: bytes) -> list[str]:
    """
    The leases that are to end.

    @raise ClientFault: there are none, or too many.
    """
    found = decode(_leases, body).leases
    if not 1 <= len(found) <= LEASES_MAX:
        raise ClientFault(f"There must be 1 to {LEASES_MAX} leases.")
    return found


COUNT_MAX = 100
LEASE_S = 30
LEASE_S_MIN = 5
LEASE_S_MAX = 43_200
WAIT_S_MAX = 60

WANTS_REMEMBERED = 256
"""What so many queries ask for is at hand: clients ask for the same again and again."""

WANTS_BYTES_REMEMBERED_MAX = 256
"""Longer queries are not remembered."""


class Want(NamedTuple):
    """
    What somebody wants who gets messages.

    @ivar limit: so many at most.
    @ivar take: not to be leased, but to be done.
    """

    limit: int
    lease_s: int
    wait_s: int
    take: bool


def want(raw: bytes | None) -> Want:
    """
    What a query asks for.

    @raise ClientFault: it is malformed, or out of range.
    """
    if raw is None or len(raw) <= WANTS_BYTES_REMEMBERED_MAX:
        return _want_again(raw)
    return _want(raw)


def _want(raw: bytes | None) -> Want:
    query = parse_query(raw) if raw else {}
    if "visibility_timeout" not in query and "visibilty_timeout" in query:
        query["visibility_timeout"] = query["visibilty_timeout"]
    lease_s = number(query, "visibility_timeout", LEASE_S, LEASE_S_MIN, LEASE_S_MAX)
    take = flag(query, "delete")
    limit = number(query, "message_count", 1, 1, COUNT_MAX)
    return Want(limit, lease_s, number(query, "wait_time", 0, 0, WAIT_S_MAX), take)


_want_again = lru_cache(maxsize=WANTS_REMEMBERED)(_want)


def number(query: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    """
    A number of a query.

    @return: the default if it is not given; at most C{most}.
    @raise ClientFault: it is none, or too small.
    """
    text = query.get(name)
    if text is None:
        return default
    digits = text[1:] if text.startswith("-") else text
    if not digits.isdigit() or not digits.isascii():
        raise ClientFault(f"{name} is not a whole number.")
    digits = digits.lstrip("0")
    value = int(digits or "0") if len(digits) <= _DIGITS_MAX else 10**_DIGITS_MAX
    if text.startswith("-"):
        value = -value
    if value < least:
        raise ClientFault(f"{name} is less than {least}.")
    return min(value, most)


def flag(query: dict[str, str], name: str) -> bool:
    """
    A yes or no of a query.

    @raise ClientFault: it is neither.
    """
    text = query.get(name, "").lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ClientFault(f"{name} is neither yes nor no.")
