"""
The table of the keys that make a worker a queue, and what their values may be. Pure, but for the names of time zones,
which the system knows.

C{apis} and C{async} can be said in two ways (a list of names or a section, a word or a section), so that each is one
key here, whose reader reads all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from attrs import evolve

from .cron import cron_mistake
from .nodes import Mistake, Wrong, has_tag, is_null, line_of, mapping, mistake, pairs, shown
from .places import address, entry, port, socket_path, url_path
from .queue_model import (
    ApiListen,
    ApiSettings,
    AsyncSettings,
    DeliverySettings,
    ScheduleSettings,
    TqsSettings,
    ZapqSettings,
)
from .queue_payload import Payload, payload
from .shape import Key
from .values import Read, boolean, choice, each, file_path, or_none, plain, seconds, size, text, whole

T = TypeVar("T")
Reads = dict[str, tuple[str, Read[object]]]

DELIVERIES_MAX = 100
SCHEDULES_MAX = 200

BODY_CHARS_MAX = 256 * 1024
"""Of a message of TQS."""

STORED_BODY_BYTES_MAX = 64 * 1024 * 1024
"""Of an asynchronous request: it is kept in one row."""

CONCURRENCY_MAX = 1000
ATTEMPTS_MAX = 1000
YEAR_S = 31_536_000.0

TOKEN_CHARS_MIN = 8
"""A shorter one is guessed."""

queue_name = text(
    "the name of a queue",
    "1 to 80 letters, digits, - and _, the first and the last a letter or digit",
    r"[A-Za-z0-9](?:[A-Za-z0-9_\-]{0,78}[A-Za-z0-9])?",
)
_schedule_name = text("a name", "1 to 80 letters, digits, -, _ and .", r"[A-Za-z0-9_.\-]{1,80}")
_cron_text = text(
    "the times of a schedule",
    'five fields (minute, hour, day of month, month, day of week) such as "*/5 * * * *", or @hourly, @daily',
    r"@[A-Za-z]{3,20}|[^ @]{1,60}(?: +[^ ]{1,60}){4,5}",
)


def _cron(node: yaml.Node, path: str) -> str:
    """Read the times of a schedule."""
    value = _cron_text(node, path)
    wrong = cron_mistake(value)
    if wrong:
        raise mistake(
            node, path, f"{wrong}: {shown(value)}", 'minute, hour, day, month, weekday, as in "30 2 * * mon-fri"'
        )
    return value


def _token(node: yaml.Node, path: str) -> str:
    """Read a secret. It is never repeated in a message."""
    if not isinstance(node, yaml.ScalarNode) or not has_tag(node, "str"):
        raise mistake(node, path, "must be text", 'quote it, such as "b7…"; make one with: openssl rand -hex 16')
    value = node.value
    if len(value) < TOKEN_CHARS_MIN or len(value) > 1000 or not all("!" <= character <= "~" for character in value):
        message = f"must be {TOKEN_CHARS_MIN} to 1000 characters of ASCII without spaces"
        raise mistake(node, path, message, "make one with: openssl rand -hex 16")
    return str(value)


def _timezone(node: yaml.Node, path: str) -> str:
    """Read the name of a time zone that the system knows."""
    value = plain(node, path, "the name of a time zone")
    try:
        if value != "UTC":  # which needs no database
            ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "an IANA name such as Europe/Berlin, or UTC; are they all unknown: apt install tzdata"
        raise mistake(node, path, f"is no time zone that this system knows: {shown(value)}", hint)
    return value


def _listen(node: yaml.Node, path: str) -> ApiListen:
    """Read where a service listens."""
    reads: dict[str, Read[object]] = {"address": address, "port": port, "unix": socket_path}
    found = entry(node, path, reads, "address and port, or unix", {})
    unix = found.get("unix")
    if unix is not None and len(found) > 1:
        raise mistake(node, path, "has unix and also address or port", "keep one of the two")
    if unix is None and "port" not in found:
        raise mistake(node, path, "has neither port nor unix", "write {address: 127.0.0.1, port: 8070} or {unix: PATH}")
    return ApiListen(**found)  # type: ignore[arg-type]


def _snapshot(node: yaml.Node, path: str) -> str | None:
    """Read whether there is a snapshot, and perhaps its name."""
    if isinstance(node, yaml.ScalarNode) and has_tag(node, "bool"):
        return "queue.json" if boolean(node, path) else None
    value = file_path("the name of a snapshot")(node, path)
    if value.startswith("/") or any(part in ("", ".", "..") for part in value.split("/")):
        message = f"must be a name, or a path below the folder of snapshots, not {shown(value)}"
        raise mistake(node, path, message, "such as queue.json, or true for that one")
    return value


def _section(node: yaml.Node, path: str, reads: Reads, make: Callable[..., T], needed: tuple[str, ...] = ()) -> T:
    """
    Read a small mapping into a part of the model.

    @param reads: by key, the field that it goes to, and what it may be.
    @param needed: keys that have to be there.
    """
    found = entry(node, path, {key: read for key, (_, read) in reads.items()}, ", ".join(reads), {})
    missing = [key for key in needed if key not in found]
    if missing:
        raise Mistake(*(Wrong(line_of(node), path, f"has no {key}", f"add `{key}:` and its value") for key in missing))
    return make(**{reads[key][0]: value for key, value in found.items()})


def _line(node: yaml.Node, key: str) -> int:
    """The line of a key of a mapping."""
    found = pairs(mapping(node, "", ""), "")[0]
    return next((pair.line for pair in found if pair.key == key), line_of(node))


def _check_reach(node: yaml.Node, path: str, settings: TqsSettings | ZapqSettings, why: str, remedy: str) -> None:
    """
    Refuse a listener that other machines reach though nobody is asked for a token there.

    @raise Mistake: if it is one.
    """
    listen = settings.listen
    if listen is None or listen.unix is not None or settings.insecure or ip_address(listen.address).is_loopback:
        return
    message = f"is {listen.address}, where other machines reach it, and {why}: whoever does could take every message"
    raise Mistake(Wrong(_line(node, "listen"), f"{path}.listen", message, remedy))


_TQS: Reads = {
    "api_token": ("api_token", or_none(_token)),
    "max_body": ("body_chars_max", size(1, BODY_CHARS_MAX)),
    "listen": ("listen", _listen),
    "insecure": ("insecure", boolean),
}

_ZAPQ: Reads = {
    "max_bytes": ("bytes_max", size(1)),
    "max_msgs": ("messages_max", whole(1, 1_000_000_000)),
    "data": ("data", file_path("a folder")),
    "persist_on_stop": ("persist_on_stop", _snapshot),
    "load_on_start": ("load_on_start", _snapshot),
    "listen": ("listen", _listen),
    "insecure": ("insecure", boolean),
}


def _tqs(node: yaml.Node, path: str) -> TqsSettings:
    """Read C{apis.tqs}."""
    if is_null(node):
        return TqsSettings()
    settings = _section(node, path, _TQS, TqsSettings)
    if settings.api_token is None:
        remedy = "set api_token, or listen on 127.0.0.1; insecure: true permits it all the same"
        _check_reach(node, path, settings, "there is no api_token", remedy)
    return settings


def _zapq(node: yaml.Node, path: str) -> ZapqSettings:
    """Read C{apis.zapq}."""
    if is_null(node):
        return ZapqSettings()
    settings = _section(node, path, _ZAPQ, ZapqSettings)
    remedy = "listen on 127.0.0.1, or use the worker's route; insecure: true permits it all the same"
    _check_reach(node, path, settings, "this service knows no tokens", remedy)
    return settings


_APIS: dict[str, Read[object]] = {"tqs": _tqs, "zapq": _zapq}

_LATER = {"codeq": "use tqs meanwhile"}
"""Services of the contract that this version has not."""


def apis(node: yaml.Node, path: str) -> ApiSettings:
    """Read which services there are: their names, or a section for each."""
    if isinstance(node, yaml.SequenceNode):
        names = each(choice(*_APIS), "names of services", len(_APIS), 1)(node, path)
        for name in names:
            if names.count(name) > 1:
                raise mistake(node, path, f"names {name} twice", "name it once")
        return ApiSettings(
            tqs=TqsSettings() if "tqs" in names else None, zapq=ZapqSettings() if "zapq" in names else None
        )
    return ApiSettings(**entry(node, path, _APIS, ", ".join(_APIS), _LATER))  # type: ignore[arg-type]


_DELIVERY: Reads = {
    "queue": ("queue", queue_name),
    "to": ("to", url_path),
    "concurrency": ("concurrency", whole(1, CONCURRENCY_MAX)),
    "timeout_seconds": ("timeout_s", seconds(0.1)),
    "max_attempts": ("attempts_max", whole(1, ATTEMPTS_MAX)),
    "backoff_seconds": ("backoff_s", seconds(0)),
    "backoff_max_seconds": ("backoff_max_s", seconds(0, YEAR_S)),
    "retention_seconds": ("retention_s", seconds(0, YEAR_S)),
}


def delivery(node: yaml.Node, path: str) -> DeliverySettings:
    """Read one item of C{deliver}. A longest pause that is not given gives way to a first one that is."""
    settings = _section(node, path, _DELIVERY, DeliverySettings, ("queue", "to"))
    if settings.backoff_s > settings.backoff_max_s:
        said = any(pair.key == "backoff_max_seconds" for pair in pairs(mapping(node, path, ""), path)[0])
        if said:
            message = f"contradicts: the first pause of {settings.backoff_s:g} s is longer than the longest"
            hint = "lower backoff_seconds or raise backoff_max_seconds"
            raise Mistake(Wrong(_line(node, "backoff_max_seconds"), f"{path}.backoff_max_seconds", message, hint))
        settings = evolve(settings, backoff_max_s=settings.backoff_s)
    return settings


_SCHEDULE: Reads = {
    "name": ("name", _schedule_name),
    "cron": ("cron", _cron),
    "timezone": ("timezone", _timezone),
    "queue": ("queue", queue_name),
    "payload": ("payload", payload),
    "priority": ("priority", whole(0, 100, remedy="smaller is first")),
    "paused": ("paused", boolean),
}


def _make_schedule(payload: Payload = ("", "text/plain"), **others: object) -> ScheduleSettings:
    return ScheduleSettings(payload=payload[0], payload_type=payload[1], **others)  # type: ignore[arg-type]


def schedule(node: yaml.Node, path: str) -> ScheduleSettings:
    """Read one item of C{schedules}."""
    return _section(node, path, _SCHEDULE, _make_schedule, ("name", "cron", "queue"))


_ASYNC: Reads = {
    "concurrency": ("concurrency", whole(1, CONCURRENCY_MAX)),
    "timeout_seconds": ("timeout_s", seconds(0.1)),
    "max_attempts": ("attempts_max", whole(1, ATTEMPTS_MAX)),
    "retention_seconds": ("retention_s", seconds(0, YEAR_S)),
    "max_body": ("body_bytes_max", size(0, STORED_BODY_BYTES_MAX)),
}


def deferred(node: yaml.Node, path: str) -> bool | AsyncSettings:
    """Read C{async}: of a queue, how it serves such requests; of any other worker, whether it may have some."""
    if isinstance(node, yaml.MappingNode):
        return _section(node, path, _ASYNC, AsyncSettings)
    return boolean(node, path)


SETTINGS = (
    Key("apis", apis),
    Key("store.type", choice("sqlite", "memory"), "store.type"),
    Key("store.directory", file_path("a folder")),
    Key("store.durability", choice("disk", "process"), "store.durability"),
    Key("store.max_bytes", size(), "store.bytes_max"),
    Key("store.max_messages", whole(0, 1_000_000_000_000, remedy="0 is no limit"), "store.messages_max"),
    Key("deliver", each(delivery, "{queue, to}", DELIVERIES_MAX)),
    Key("schedules", each(schedule, "{name, cron, queue}", SCHEDULES_MAX)),
)
"""Keys that mean something to a queue alone."""

ASYNC = Key("async", deferred)
"""A key that means one thing to a queue and another to all others."""

QUEUE_SECTIONS = ("apis", "store", "deliver", "schedules")
"""First parts of L{SETTINGS}' paths."""
