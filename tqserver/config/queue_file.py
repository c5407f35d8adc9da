"""
How what a file says of a queue becomes L{QueueSettings}. Pure.
"""

from __future__ import annotations

import posixpath

from attrs import evolve

from .nodes import Wrong
from .places import lines_of_items
from .queue_keys import ASYNC, QUEUE_SECTIONS, SETTINGS
from .queue_model import (
    MEMORY_BYTES_MAX,
    MEMORY_MESSAGES_MAX,
    ApiListen,
    ApiSettings,
    AsyncSettings,
    QueueSettings,
    StoreSettings,
    TqsSettings,
)
from .server_file import absolute
from .shape import Found, Shape

DIRECTORY = "data"
"""Where a queue keeps its tasks, from its own folder: beside its configuration, where people look first."""

SNAPSHOTS = "zapq"
"""
Where snapshots of ZapQ are, from there. It is a folder of their own: whoever may write snapshots may choose their
names, and must not choose that of the tasks' file.
"""

QUEUE = Shape(SETTINGS)
"""
The file of a queue that runs alone. It has no fronts, which deliveries and asynchronous requests would need.
"""

ALONE_NEEDS = "it needs the fronts of a server"


def is_of_queue(path: str) -> bool:
    """Whether a key, by its documented path, means something to a queue alone."""
    return path.partition(".")[0] in QUEUE_SECTIONS


def build_queue(found: Found, directory: str, alone: bool = False) -> QueueSettings:
    """
    Make the settings of a queue of what its file holds.

    @param found: what was read; problems are added to it.
    @param directory: absolute, where relative paths start.
    @param alone: whether it runs without a server.
    """
    _check_async(found)
    if alone and "deliver" in found:
        found.wrong("deliver", f"is of no use to a queue that runs alone: {ALONE_NEEDS}", "make it a worker")
    store = _store(found, directory)
    settings = QueueSettings(
        apis=_apis(found, directory, store),
        store=store,
        deliver=found.get("deliver", tuple) or (),
        schedules=found.get("schedules", tuple) or (),
        deferred=found.get(ASYNC.path, AsyncSettings) or AsyncSettings(),
    )
    _check_names(found, "deliver", [delivery.queue for delivery in settings.deliver], "queue")
    _check_names(found, "schedules", [schedule.name for schedule in settings.schedules], "name")
    return settings


def _check_async(found: Found) -> None:
    """A queue says how it serves asynchronous requests, not whether it may get some."""
    said = found.values.get(ASYNC.path)
    if said is not None and isinstance(said.value, bool):
        del found.values[ASYNC.path]
        message = f"cannot be {str(said.value).lower()} for a queue, which keeps those of other workers"
        hint = "write async: {concurrency: 8}, or remove it; `async: true` belongs to the workers that are asked"
        found.wrongs.append(Wrong(said.line, said.path, message, hint))


def _store(found: Found, directory: str) -> StoreSettings:
    store = found.fill(
        StoreSettings,
        "store",
        directory=absolute(directory, found.get("store.directory", str) or DIRECTORY),
    )
    if store.type == "memory":
        for path in ("store.max_bytes", "store.max_messages"):
            found.check(
                found.get(path, int) != 0,
                (path, "store.type"),
                "cannot be 0, which is no limit, for a store in memory",
                "write a limit, or remove it",
            )
        found.check(
            "store.durability" not in found,
            ("store.durability", "store.type"),
            "is of no use to a store in memory, which nothing survives",
            "remove it, or write store.type: sqlite",
        )
        store = evolve(
            store,
            bytes_max=store.bytes_max or MEMORY_BYTES_MAX,
            messages_max=store.messages_max or MEMORY_MESSAGES_MAX,
        )
    return store


def _apis(found: Found, directory: str, store: StoreSettings) -> ApiSettings:
    """The services, with their paths resolved; TQS if nothing is said."""
    apis = found.get("apis", ApiSettings)
    if apis is None:
        return ApiSettings(tqs=TqsSettings())
    tqs, zapq = apis.tqs, apis.zapq
    if tqs is not None:
        tqs = evolve(tqs, listen=_listen(tqs.listen, directory))
    if zapq is not None:
        data = absolute(directory, zapq.data) if zapq.data else f"{store.directory}/{SNAPSHOTS}"
        zapq = evolve(zapq, data=data, listen=_listen(zapq.listen, directory))
        found.check(
            store.type == "memory" or posixpath.commonpath([data, store.directory]) != data,
            ("apis",),
            f"has its snapshots in {data}, where the tasks of the store are: a snapshot could replace their file",
            "remove apis.zapq.data, or write another folder",
        )
    resolved = ApiSettings(tqs=tqs, zapq=zapq)
    _check_listeners(found, resolved)
    return resolved


def _listen(listen: ApiListen | None, directory: str) -> ApiListen | None:
    if listen is None or listen.unix is None:
        return listen
    return evolve(listen, unix=absolute(directory, listen.unix))


def _check_listeners(found: Found, apis: ApiSettings) -> None:
    """Two services cannot listen at the same place."""
    both = [listen for _, listen in apis.listeners]
    same = len(both) == 2 and both[0] == both[1] and (both[0].unix is not None or both[0].port != 0)
    found.check(not same, ("apis",), "has two services that listen at the same place", "give each a port of its own")


def _check_names(found: Found, path: str, names: list[str], key: str) -> None:
    """Each item of a list has a name that no other has."""
    if len(set(names)) == len(names):
        return
    lines = lines_of_items(found.values[path].node)
    for index, name in enumerate(names):
        first = names.index(name)
        if first < index:
            message = f"has the same {key} {name} as the one on line {lines[first]}"
            found.wrongs.append(Wrong(lines[index], f"{path}[{index}]", message, "remove or rename one of the two"))
