"""
Requests that are answered later (C{Prefer: respond-async}, RFC 7240 section 4.1).

A front hands such a request over as it came, with one field more that nobody else can send. It is stored as a task, and
its client told where to ask. Then it is delivered like any task, through a front, to the worker that it was for; and
the worker's answer is had where the client was told to ask, by whoever knows that address.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..errors import ClientFault, Fault, ServerFault
from ..http1.exchange import ServerExchange
from ..http1.head import Headers, ResponseHead
from .model import LIVE, NewTask, State, Task
from .own import OWN, REQUESTS
from .requests import StoredAnswer, answer_of, plain_fields, preferences, stored
from .store import Clock, Created, IStore, Refusal

MARKER = b"x-task-async"
"""The field by which a front says that a request is to be stored. Its value is where clients reach this queue."""

WAIT_S_MAX = 60
"""The longest that somebody waits for an answer, in seconds."""

RETRY_AFTER_S = 1
"""When to ask again, in seconds."""

HELD_BYTES_MAX = 256 * 1024 * 1024
"""Of all bodies that are being gathered."""

WAITERS_MAX = 10_000
"""Clients that may wait for answers at once."""

SENT_AS_STATE = {
    State.DELAYED: "waiting",
    State.READY: "waiting",
    State.LEASED: "running",
    State.DONE: "done",
    State.FAILED: "failed",
    State.DEAD: "dead",
}

_METHODS = b"GET, HEAD, DELETE"

_log = Logger()

Answer = tuple[ResponseHead, bytes]


class Rules(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    How requests are stored.

    @ivar body_bytes_max: of a request.
    @ivar keep_ms: so long answers are kept.
    @ivar attempts_max: so often one is tried.
    """

    body_bytes_max: int = 1024 * 1024
    keep_ms: int = 86_400_000
    attempts_max: int = 5


class Asynchronous:
    """
    Takes such requests, and tells what became of them.

    @ivar waiters: who waits for the end of a task, by its id.
    @ivar held_bytes: of bodies that are being gathered.
    """

    def __init__(
        self,
        store: IStore,
        reactor: Any,
        clock: Clock,
        rules: Rules,
        cancel: Callable[[str], None],
    ) -> None:
        """
        @param cancel: told of a task that was removed.
        """
        self._store = store
        self._reactor = reactor
        self._clock = clock
        self._rules = rules
        self._cancel = cancel
        self._hushed = False
        self._waiting = 0
        self.held_bytes = 0
        self.waiters: dict[str, dict[Deferred[None], None]] = {}

    # A request to be stored.

    def take(self, exchange: ServerExchange) -> None:
        """Store a request that has the L{MARKER}."""
        head = exchange.head
        length = head.content_length
        if length is not None and length > self._rules.body_bytes_max:
            raise _too_large(self._rules.body_bytes_max)
        if length == 0:
            self._put(exchange, b"")
        else:
            body = _Body(self, exchange, self._rules.body_bytes_max, self._put)
            exchange.when_over(body.forget)
            exchange.receive(body)

    def _put(self, exchange: ServerExchange, body: bytes) -> None:
        head = exchange.head
        rules = self._rules
        new = NewTask(
            queue=REQUESTS,
            payload=body,
            head=stored(head),
            keep_ms=rules.keep_ms,
            attempts_max=rules.attempts_max,
        )
        place = (head.get(MARKER) or b"").rstrip(b"/")
        wait_s = _wait_s(head.get_all(b"prefer"))
        self._run(exchange, self._store.create([new], define=True).addCallback(self._stored, place, wait_s))

    def _stored(self, created: list[Created | Refusal], place: bytes, wait_s: float) -> Answer | Deferred[Answer]:
        [made] = created
        if isinstance(made, Refusal):
            raise ServerFault("The request cannot be stored now.", made.value, status=503, retry_after_s=1)
        task = made.task
        headers = [(b"Location", b"%b/async/%b" % (place, task.id.encode("ascii")))]
        headers.append((b"Preference-Applied", b"respond-async"))
        if not wait_s:
            return _not_yet(task, headers)
        # It may be that quick: then there is no need to come again (RFC 7240 section 4.3).
        return self._when_ended(task, wait_s).addCallback(lambda _: self._look(task.id, headers))

    # Asking for it.

    def __call__(self, exchange: ServerExchange, path: bytes) -> None:
        """
        Answer who asks what became of a request.

        @param path: its id, after a slash.
        """
        head = exchange.head
        id = path[1:].decode("ascii", "replace")
        if not id or "/" in id:
            raise _unknown()
        if head.method == b"DELETE":
            self._run(exchange, self._find(id).addCallback(self._remove))
        elif head.method in (b"GET", b"HEAD"):
            wait_s = _wait_s(head.get_all(b"prefer"))
            if wait_s:
                found = self._find(id).addCallback(self._when_read, wait_s)
                self._run(exchange, found.addCallback(lambda _: self._look(id)))
            else:
                self._run(exchange, self._look(id))
        else:
            exchange.response_headers = [*exchange.response_headers, (b"Allow", _METHODS)]
            raise ClientFault("That cannot be done here.", status=405)

    def _find(self, id: str) -> Deferred[Task]:
        """
        A request that was stored.

        @raise ClientFault: (by the Deferred) there is none, or no more.
        """

        def found(tasks: list[Task | None]) -> Task:
            [task] = tasks
            if task is None or task.queue != REQUESTS:
                raise _unknown()
            return task

        return self._store.get(OWN, [id]).addCallback(found)

    def _look(self, id: str, headers: Headers | None = None) -> Deferred[Answer]:
        return self._find(id).addCallback(_answer, headers)

    def _remove(self, task: Task) -> Deferred[Answer]:
        def removed(outcomes: object) -> Answer:
            self._cancel(task.id)
            self._wake(task.id)
            return ResponseHead(204, b"", []), b""

        return self._store.remove(OWN, [task.id]).addCallback(removed)

    # Waiting.

    def _when_ended(self, task: Task, wait_s: float) -> Deferred[Any]:
        """Fires when a task has ended, or when the time is over. To cancel it is to leave."""
        ended: Deferred[None] = Deferred()
        if self._hushed or task.state not in LIVE or self._waiting >= WAITERS_MAX:
            ended.callback(None)
            return ended
        self._waiting += 1
        waiters = self.waiters.setdefault(task.id, {})
        waiters[ended] = None
        call = self._reactor.callLater(wait_s, self._leave, task.id, ended)

        def over(result: object) -> object:
            self._waiting -= 1
            if call.active():
                call.cancel()
            waiters.pop(ended, None)
            if not waiters and self.waiters.get(task.id) is waiters:
                del self.waiters[task.id]
            return result

        return ended.addBoth(over)

    def _when_read(self, task: Task, wait_s: float) -> Deferred[Any]:
        """The same, for a task that may have ended while it was read, when nobody was told of yet."""
        ended = self._when_ended(task, wait_s)
        if not ended.called:
            self._find(task.id).addCallbacks(self.ended, lambda _: self._wake(task.id))
        return ended

    def _leave(self, id: str, ended: Deferred[None]) -> None:
        ended.callback(None)

    def ended(self, task: Task) -> None:
        """A task has changed; see L{Deliveries<tqserver.queue.deliveries.Deliveries>}."""
        if self.waiters and task.queue == REQUESTS and task.state not in LIVE:
            self._wake(task.id)

    def _wake(self, id: str) -> None:
        for ended in list(self.waiters.get(id, ())):
            ended.callback(None)

    def hush(self) -> None:
        """Nobody waits from now on: those that do are told what there is."""
        self._hushed = True
        for id in list(self.waiters):
            self._wake(id)

    # Answers.

    def _run(self, exchange: ServerExchange, answer: Deferred[Answer]) -> None:
        answer.addCallbacks(_answered, _failed, (exchange,), errbackArgs=(exchange,))
        if not answer.called or answer.paused:
            exchange.when_over(answer.cancel)


class _Body:
    """Gathers a request's body; see L{IBodySink<tqserver.front.exchange.IBodySink>}."""

    def __init__(
        self,
        keeper: Asynchronous,
        exchange: ServerExchange,
        bytes_max: int,
        whole: Callable[[ServerExchange, bytes], None],
    ) -> None:
        self._keeper = keeper
        self._exchange = exchange
        self._bytes_max = bytes_max
        self._whole = whole
        self._pieces: list[bytes] | None = []
        self._bytes = 0

    def body_data(self, data: bytes) -> None:
        """Some of it has come."""
        if self._pieces is None:
            return
        self._bytes += len(data)
        self._keeper.held_bytes += len(data)
        if self._bytes > self._bytes_max:
            self.body_failed(_too_large(self._bytes_max))
        elif self._keeper.held_bytes > HELD_BYTES_MAX:
            self.body_failed(ServerFault("Too many requests are being stored.", status=503, retry_after_s=1))
        else:
            self._pieces.append(data)

    def forget(self) -> None:
        """What has come is of no more use."""
        self._pieces = None
        self._keeper.held_bytes -= self._bytes
        self._bytes = 0

    def body_end(self) -> None:
        """All of it has come."""
        pieces = self._pieces
        self.forget()
        if pieces is not None:
            self._whole(self._exchange, b"".join(pieces))

    def body_failed(self, fault: Fault) -> None:
        """The rest will not come, or is not wanted."""
        self.forget()
        _refuse(self._exchange, fault)


def _wait_s(prefer: list[bytes]) -> float:
    """How long a client wants to wait for an answer, in seconds; 0 if it does not."""
    said = preferences(prefer).get(b"wait", b"") if prefer else b""
    if not said.isdigit():
        return 0
    return WAIT_S_MAX if len(said) > 2 else min(int(said), WAIT_S_MAX)


def _unknown() -> ClientFault:
    return ClientFault("There is no such request, or its answer is not kept any more.", status=404)


def _too_large(bytes_max: int) -> ClientFault:
    return ClientFault(f"The body is larger than {bytes_max} bytes.", status=413)


class _State(msgspec.Struct, omit_defaults=True, gc=False):
    """What a client is told of its request; moments in milliseconds since 1970."""

    id: str
    state: str
    attempts: int
    created: int
    updated: int
    next_attempt: int | msgspec.UnsetType = msgspec.UNSET
    error: str = ""


_encode = msgspec.json.Encoder().encode


def _not_yet(task: Task, headers: Headers | None = None) -> Answer:
    """The answer as long as there is none."""
    state = _State(task.id, SENT_AS_STATE[task.state], task.attempts, task.created, task.updated, error=task.error)
    if task.state is State.DELAYED:
        state.next_attempt = task.ready
    fields = [
        (b"Content-Type", b"application/json"),
        (b"Cache-Control", b"no-store"),
        (b"Retry-After", b"%d" % RETRY_AFTER_S),
    ]
    return ResponseHead(202, b"", fields + (headers or [])), _encode(state)


def _answer(task: Task, headers: Headers | None = None) -> Answer:
    """What became of a request."""
    if task.state in LIVE:
        return _not_yet(task, headers)
    answer: StoredAnswer | None = answer_of(task)
    if answer is None or answer.cut:
        body = _encode({"error": f"The request has failed: {task.error}", "attempts": task.attempts})
        return ResponseHead(502, b"", [(b"Content-Type", b"application/json")]), body
    return ResponseHead(answer.status, answer.reason, plain_fields(answer)), task.result or b""


def _answered(answer: Answer, exchange: ServerExchange) -> None:
    exchange.answer(*answer)


def _failed(failure: Failure, exchange: ServerExchange) -> None:
    if exchange.over:
        return
    if isinstance(failure.value, Fault):
        _refuse(exchange, failure.value)
    else:
        _log.failure("an asynchronous request", failure)
        _refuse(exchange, ServerFault("Something went wrong on our side.", status=500))


def _refuse(exchange: ServerExchange, fault: Fault) -> None:
    if exchange.over or exchange.status:
        return
    headers = [(b"Content-Type", b"application/json")]
    if fault.status == 503:
        headers.append((b"Retry-After", b"%d" % (fault.retry_after_s or RETRY_AFTER_S)))
    exchange.answer(ResponseHead(fault.status, b"", headers), _encode({"error": fault.reason}))
