"""
The configuration of a queue as frozen values: what a worker of C{type: queue} says besides what every worker may say,
or all that the file of a queue says that runs alone.

Both the supervisor, which reads it, and the process of the queue, which it is given to, see these values. Everything is
resolved: defaults are filled in, units are those of the field's suffix, paths are absolute.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

MEBIBYTE = 1024 * 1024

ApiName = Literal["tqs", "zapq"]
"""The services that a queue may offer."""


@frozen(kw_only=True)
class ApiListen:
    """A listener of one service: either C{address} and C{port} (0: any that is free), or the path of a UNIX socket."""

    address: str = "127.0.0.1"
    port: int = 0
    unix: str | None = None


@frozen(kw_only=True)
class TqsSettings:
    """
    The service TQS; C{apis.tqs.*}.

    @ivar api_token: what clients have to know; L{None}: nothing.
    @ivar body_chars_max: characters of a message's body.
    @ivar listen: a listener of its own, where the service is at the root; L{None}: there is none.
    @ivar insecure: whether it may listen, without a token, where other machines reach it.
    """

    api_token: str | None = field(default=None, repr=False)
    body_chars_max: int = 4096
    listen: ApiListen | None = None
    insecure: bool = False


@frozen(kw_only=True)
class ZapqSettings:
    """
    The service ZapQ; C{apis.zapq.*}.

    @ivar bytes_max: of all messages together.
    @ivar messages_max: how many there may be.
    @ivar data: absolute directory of snapshots; empty only while a file is read: it then follows C{store.directory}.
    @ivar persist_on_stop: name of the snapshot, below C{data}, that is written at a graceful stop; L{None}: none.
    @ivar load_on_start: name of the one that is loaded at the start, if it is there; L{None}: none.
    @ivar listen: a listener of its own, where the service is at the root; L{None}: there is none.
    @ivar insecure: whether it may listen where other machines reach it; the service knows no tokens.
    """

    bytes_max: int = 256 * MEBIBYTE
    messages_max: int = 50_000
    data: str = ""
    persist_on_stop: str | None = None
    load_on_start: str | None = None
    listen: ApiListen | None = None
    insecure: bool = False


@frozen(kw_only=True)
class ApiSettings:
    """The services; L{None} for one that is not offered."""

    tqs: TqsSettings | None = None
    zapq: ZapqSettings | None = None

    @property
    def listeners(self) -> tuple[tuple[ApiName, ApiListen], ...]:
        """Where services listen by themselves."""
        found: list[tuple[ApiName, ApiListen]] = []
        if self.tqs is not None and self.tqs.listen is not None:
            found.append(("tqs", self.tqs.listen))
        if self.zapq is not None and self.zapq.listen is not None:
            found.append(("zapq", self.zapq.listen))
        return tuple(found)


@frozen(kw_only=True)
class StoreSettings:
    """
    Where tasks are kept; C{store.*}.

    @ivar directory: absolute; used by C{sqlite}.
    @ivar durability: what an answer stands for: C{disk} survives a loss of power, C{process} the death of the process.
    @ivar bytes_max: of all tasks together; 0: no limit.
    @ivar messages_max: how many there may be; 0: no limit.
    """

    type: Literal["sqlite", "memory"] = "sqlite"
    directory: str = "data"
    durability: Literal["disk", "process"] = "disk"
    bytes_max: int = 0
    messages_max: int = 0


MEMORY_BYTES_MAX = 256 * MEBIBYTE
"""The usual C{bytes_max} of a store in memory, which always has a limit."""

MEMORY_MESSAGES_MAX = 1_000_000
"""The usual C{messages_max} of a store in memory."""


@frozen(kw_only=True)
class DeliverySettings:
    """
    Tasks of one queue that are sent to a worker; an item of C{deliver}.

    @ivar to: path of this server, perhaps with a query.
    @ivar concurrency: deliveries at once.
    @ivar timeout_s: longest for one delivery.
    @ivar attempts_max: so often a task is tried before it is dead.
    @ivar backoff_s: pause after the first failure; it doubles.
    @ivar backoff_max_s: the longest.
    @ivar retention_s: how long a finished task is kept.
    """

    queue: str
    to: str
    concurrency: int = 8
    timeout_s: float = 60.0
    attempts_max: int = 5
    backoff_s: float = 5.0
    backoff_max_s: float = 900.0
    retention_s: float = 86_400.0


@frozen(kw_only=True)
class ScheduleSettings:
    """
    Tasks that are put at certain times; an item of C{schedules}.

    @ivar name: one of this name there is in a queue worker.
    @ivar cron: when, as written.
    @ivar timezone: an IANA name: whose clock C{cron} means.
    @ivar queue: where they are put.
    @ivar payload: what they hold: text as it was written, or JSON for every other value.
    @ivar payload_type: which of the two.
    @ivar priority: 0 to 100, smaller first.
    @ivar paused: whether it rests.
    """

    name: str
    cron: str
    queue: str
    timezone: str = "UTC"
    payload: str = ""
    payload_type: Literal["text/plain", "application/json"] = "text/plain"
    priority: int = 50
    paused: bool = False


@frozen(kw_only=True)
class AsyncSettings:
    """
    Requests that are answered later; C{async.*}.

    @ivar concurrency: of them that are served at once.
    @ivar timeout_s: longest for one of them.
    @ivar attempts_max: so often one is tried.
    @ivar retention_s: how long its answer is kept.
    @ivar body_bytes_max: of the request and of the answer, each.
    """

    concurrency: int = 8
    timeout_s: float = 60.0
    attempts_max: int = 5
    retention_s: float = 86_400.0
    body_bytes_max: int = MEBIBYTE


@frozen(kw_only=True)
class QueueSettings:
    """
    All that a queue is told.

    @ivar deferred: how it serves asynchronous requests (C{async} is a word of Python); those defaults if the file says
        nothing.
    """

    apis: ApiSettings = ApiSettings()
    store: StoreSettings = StoreSettings()
    deliver: tuple[DeliverySettings, ...] = ()
    schedules: tuple[ScheduleSettings, ...] = ()
    deferred: AsyncSettings = AsyncSettings()
