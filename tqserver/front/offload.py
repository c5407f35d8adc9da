"""
Files that a worker names instead of sending them itself: C{X-Accel-Redirect} and C{X-Sendfile}.

A worker that may do so has its exchanges wrapped. If its response names a file, the response's body is thrown away and
the file is sent in its place, with what the response says besides: so the worker decides who gets what, and we carry
it.

C{X-Accel-Redirect} is a path of a URL, encoded like one, below a prefix that stands for a folder. C{X-Sendfile} is the
absolute path of a file, as it is, in one of some folders. Both are taken at their word: a name with C{..} in it, or
with anything else that could mean two things, is refused, and so are names with a leading dot. Symbolic links are
followed as far as they stay in the folder.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger

from ..errors import ClientFault, Fault, UpstreamFault
from ..http1.handover import Taker
from ..http1.head import Headers, ResponseHead, has_body
from ..plane.messages import WorkerRouting
from .exchange import IExchange
from .static import StaticFiles
from .static_catalogue import CACHE_CONTROL
from .static_conditions import asked
from .static_files import StaticFile, Variant
from .static_path import decoded
from .static_places import Place

DISCARDED_BYTES_MAX = 1024 * 1024
"""Of a response that names a file: its body is nobody's, and who sends a long one is mistaken."""

SHOWN_BYTES_MAX = 200
"""Of a refused name, in the log."""

_ACCEL = b"x-accel-redirect"
_SENDFILE = b"x-sendfile"

_OF_THE_BODY = frozenset(
    [
        b"accept-ranges",
        b"content-digest",
        b"content-encoding",
        b"content-md5",
        b"content-range",
        b"digest",
        b"etag",
        b"last-modified",
        b"repr-digest",
        b"trailer",
        _SENDFILE,
    ]
)
"""What a response says of the body that it came with, which frameworks add by themselves."""

_log = Logger()


def offload_of(worker: WorkerRouting, files: StaticFiles) -> Offload | None:
    """What a worker may have sent for it; L{None} if nothing, as is the rule."""
    return Offload(worker, files) if worker.x_accel_redirect or worker.x_sendfile else None


class Offload:
    """What one worker may have sent for it."""

    def __init__(self, worker: WorkerRouting, files: StaticFiles) -> None:
        self._worker = worker.name
        self._files = files
        self._prefixes = [
            (os.fsencode(prefix.rstrip("/")), files.catalogue.private(folder))
            for prefix, folder in sorted(worker.x_accel_redirect, key=lambda entry: -len(entry[0]))
        ]
        self._folders = [
            files.catalogue.private(folder) for folder in sorted(worker.x_sendfile, key=lambda name: -len(name))
        ]

    def wrap(self, exchange: IExchange, fail: Callable[[Fault], None]) -> IExchange:
        """
        The exchange as the forwarder shall see it.

        @param fail: answers with a fault.
        """
        return cast(IExchange, OffloadedExchange(exchange, self, fail))

    def names_file(self, head: ResponseHead) -> bool:
        """Whether a response names a file that is to be sent in its place."""
        if not has_body(head.status, b"GET"):
            return False
        for name, _ in head.headers:
            lowered = name.lower()
            if (lowered == _ACCEL and self._prefixes) or (lowered == _SENDFILE and self._folders):
                return True
        return False

    def send(self, exchange: IExchange, head: ResponseHead) -> None:
        """
        Answer with the file that a response names.

        @raise Fault: there is no such file, or the worker may not name it.
        """
        place, name = self._place(head)
        file = self._files.named(place, name)
        if file is None:
            raise ClientFault(
                "There is nothing at this address.", "the worker named a file that is not there", status=404
            )
        conditional = head.status == 200 and exchange.head.method in (b"GET", b"HEAD")
        fields = asked(exchange.head.headers) if conditional else None
        self._files.send(exchange, file, _dressed(file, head), fields)

    def _place(self, head: ResponseHead) -> tuple[Place, bytes]:
        """
        Where the file is that a response names.

        @raise UpstreamFault: the worker may not name it.
        """
        for field, used, find in (
            (_ACCEL, bool(self._prefixes), self._redirected),
            (_SENDFILE, bool(self._folders), self._pathname),
        ):
            values = [value for name, value in head.headers if name.lower() == field]
            if not values or not used:
                continue
            found = find(values[0]) if len(values) == 1 else None
            if found is not None:
                return found
            _log.warn(
                "Worker {worker} may not have this file sent: {field}: {value!r}",
                worker=self._worker,
                field=field.decode(),
                value=b", ".join(values)[:SHOWN_BYTES_MAX],
            )
            break
        raise UpstreamFault("The service gave an answer that cannot be used.", "it named a file that it may not name")

    def _redirected(self, value: bytes) -> tuple[Place, bytes] | None:
        """Understand C{X-Accel-Redirect}; a query means nothing to a file."""
        path = decoded(value.partition(b"?")[0])
        if path is None:
            return None
        for prefix, place in self._prefixes:
            if path.startswith(prefix + b"/"):
                return place, path[len(prefix) :]
        return None

    def _pathname(self, value: bytes) -> tuple[Place, bytes] | None:
        """Understand C{X-Sendfile}. Which folder is meant may be said with or without symbolic links."""
        for resolve in (bytes, os.path.realpath):
            for place in self._folders:
                folder = resolve(place.base)
                if value.startswith(folder + b"/"):
                    # It is no URL: a percent sign is one.
                    name = decoded(value[len(folder) :].replace(b"%", b"%25"))
                    return None if name is None else (place, name)
        return None


def _dressed(file: StaticFile, head: ResponseHead) -> Variant:
    """The file with what the worker says besides."""
    plain = file.plain
    validators: Headers = []
    others: Headers = []
    kind = plain.kind
    names = set()
    for name, value in head.headers:
        lowered = name.lower()
        if lowered in _OF_THE_BODY or lowered.startswith(b"x-accel-"):
            continue
        names.add(lowered)
        if lowered == b"content-type":
            kind = value
        # What a 304 says again (RFC 9110 section 15.4.5): all but what describes a body.
        (others if lowered.startswith(b"content-") else validators).append((name, value))
    if b"content-type" not in names:
        others.append((b"Content-Type", kind))
    if b"cache-control" not in names:
        validators.append((b"Cache-Control", CACHE_CONTROL))
    if b"x-content-type-options" not in names:
        others.append((b"X-Content-Type-Options", b"nosniff"))
    others.append((b"Accept-Ranges", b"bytes"))
    return Variant(plain.content, b"", plain.etag, plain.modified_s, kind, validators, others, head.status, head.reason)


class _State(enum.Enum):
    """What has become of a response."""

    OPEN = enum.auto()
    """There is none yet."""
    PASSED_ON = enum.auto()
    """It is the worker's own."""
    DISCARDING = enum.auto()
    """It names a file; the rest of it is awaited."""
    SETTLED = enum.auto()
    """It was answered, with a file or a fault, or the worker has broken off."""


class OffloadedExchange:
    """
    An exchange whose response may name a file. All that is not about the response is the exchange's own affair.

    The file is sent when the worker's response is whole, so that the connection to the worker can be kept.
    """

    def __init__(self, exchange: IExchange, offload: Offload, fail: Callable[[Fault], None]) -> None:
        self._exchange = exchange
        self._offload = offload
        self._fail = fail
        self._state = _State.OPEN
        self._head: ResponseHead | None = None
        self._discarded_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def names_file(self, head: ResponseHead) -> bool:
        """Whether a response names a file, so that its own body is nobody's."""
        return self._offload.names_file(head)

    def _takes(self, head: ResponseHead) -> bool:
        """Whether a response names a file."""
        if self._offload.names_file(head):
            self._state = _State.DISCARDING
            self._head = head
            return True
        self._state = _State.PASSED_ON
        return False

    def answer(self, head: ResponseHead, body: bytes) -> None:
        """See L{IExchange.answer}."""
        if self._takes(head):
            self.finish()
        else:
            self._exchange.answer(head, body)

    def respond(self, head: ResponseHead, producer: IPushProducer | None, first: bytes = b"") -> None:
        """See L{IExchange.respond}."""
        if self._takes(head):
            self.write(first)
        else:
            self._exchange.respond(head, producer, first)

    def upgrade(self, head: ResponseHead, protocol: bytes, taker: Taker) -> bool:
        """See L{IExchange.upgrade}. There is no file in what is not HTTP: its end is the exchange's own."""
        if not self._exchange.upgrade(head, protocol, taker):
            return False
        self._state = _State.PASSED_ON
        return True

    @property
    def sent_bytes(self) -> int:
        """See L{IExchange.sent_bytes}. Who speaks the other protocol counts them."""
        return self._exchange.sent_bytes

    @sent_bytes.setter
    def sent_bytes(self, count: int) -> None:
        self._exchange.sent_bytes = count

    def write(self, data: bytes) -> None:
        """See L{IExchange.write}."""
        if self._state is _State.PASSED_ON:
            self._exchange.write(data)
        elif self._state is _State.DISCARDING:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > DISCARDED_BYTES_MAX:
                self._state = _State.SETTLED
                detail = f"it named a file, and sent more than {DISCARDED_BYTES_MAX} bytes itself"
                self._fail(UpstreamFault("The service gave an answer that cannot be used.", detail))

    def finish(self) -> None:
        """See L{IExchange.finish}."""
        if self._state is _State.PASSED_ON:
            self._exchange.finish()
        elif self._state is _State.DISCARDING:
            self._state = _State.SETTLED
            assert self._head is not None
            if self._exchange.over:
                return
            try:
                self._offload.send(self._exchange, self._head)
            except Fault as fault:
                self._fail(fault)

    def abort(self) -> None:
        """See L{IExchange.abort}. As long as nothing was answered, whoever aborts says why to somebody who answers."""
        if self._state is _State.PASSED_ON:
            self._exchange.abort()
        else:
            self._state = _State.SETTLED
