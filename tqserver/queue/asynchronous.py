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

from ..errors import ClientFault, ServerFault
from ..http1.exchange import ServerExchange
from ..http1.head import Headers, ResponseHead
from ..plane.task_fields import TASK_ASYNC
from .api.answer import RETRY_AFTER_S, Answer, json_answer, json_error
from .api.call import Call
from .api.frame import Api
from .api.routes import Route, Row
from .model import LIVE, NewTask, State, Task
from .own import OWN, REQUESTS
from .requests import StoredAnswer, answer_of, plain_fields, preferences, stored
from .store import Created, IStore, Refusal

WAIT_S_MAX = 60
"""The longest that somebody waits for an answer, in seconds."""

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

    @ivar api: answers who asks for one, by its id.
    @ivar waiters: who waits for the end of a task, by its id.
    """

    def __init__(self, store: IStore, reactor: Any, rules: Rules, cancel: Callable[[str], None]) -> None:
        """
        @param cancel: told of a task that was removed.
        """
        self._store = store
        self._reactor = reactor
        self._rules = rules
        self._cancel = cancel
        self._hushed = False
        self._waiting = 0
        self._put_route = Route(self._put, rules.body_bytes_max)
        self.api = Api("async", [Row("GET HEAD", "/*", self._get), Row("DELETE", "/*", self._delete)], json_error)
        self.waiters: dict[str, dict[Deferred[None], None]] = {}

    # A request to be stored.

    def take(self, exchange: ServerExchange) -> None:
        """Store a request that has L{TASK_ASYNC}."""
        self.api.serve(exchange, self._put_route)

    def _put(self, call: Call) -> Deferred[Answer]:
        head, rules = call.exchange.head, self._rules
        new = NewTask(
            queue=REQUESTS,
            payload=call.body,
            head=stored(head),
            keep_ms=rules.keep_ms,
            attempts_max=rules.attempts_max,
        )
        place = (head.get(TASK_ASYNC) or b"").rstrip(b"/")
        wait_s = _wait_s(head.get_all(b"prefer"))
        return self._store.create([new], define=True).addCallback(self._stored, place, wait_s)

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

    def _get(self, call: Call) -> Deferred[Answer]:
        (id,) = call.arguments
        wait_s = _wait_s(call.exchange.head.get_all(b"prefer"))
        if not wait_s:
            return self._look(id)
        return self._find(id).addCallback(self._when_read, wait_s).addCallback(lambda _: self._look(id))

    def _delete(self, call: Call) -> Deferred[Answer]:
        return self._find(call.arguments[0]).addCallback(self._remove)

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


def _wait_s(prefer: list[bytes]) -> float:
    """How long a client wants to wait for an answer, in seconds; 0 if it does not."""
    said = preferences(prefer).get(b"wait", b"") if prefer else b""
    if not said.isdigit():
        return 0
    return WAIT_S_MAX if len(said) > 2 else min(int(said), WAIT_S_MAX)


def _unknown() -> ClientFault:
    return ClientFault("There is no such request, or its answer is not kept any more.", status=404)


class _State(msgspec.Struct, omit_defaults=True, gc=False):
    """What a client is told of its request; moments in milliseconds since 1970."""

    id: str
    state: str
    attempts: int
    created: int
    updated: int
    next_attempt: int | msgspec.UnsetType = msgspec.UNSET
    error: str = ""


def _not_yet(task: Task, headers: Headers | None = None) -> Answer:
    """The answer as long as there is none."""
    state = _State(task.id, SENT_AS_STATE[task.state], task.attempts, task.created, task.updated, error=task.error)
    if task.state is State.DELAYED:
        state.next_attempt = task.ready
    fields = [(b"Cache-Control", b"no-store"), (b"Retry-After", b"%d" % RETRY_AFTER_S)]
    return json_answer(state, 202, fields + (headers or []))


def _answer(task: Task, headers: Headers | None = None) -> Answer:
    """What became of a request."""
    if task.state in LIVE:
        return _not_yet(task, headers)
    answer: StoredAnswer | None = answer_of(task)
    if answer is None or answer.cut:
        return json_answer({"error": f"The request has failed: {task.error}", "attempts": task.attempts}, 502)
    return ResponseHead(answer.status, answer.reason, plain_fields(answer)), task.result or b""
