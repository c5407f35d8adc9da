"""
TQS, the tiny queue service: JSON over HTTP, messages with visibility timeouts.

Its messages are tasks of the tenant L{LOCAL} that are not kept when they are done, vanish when their retention is over,
and become visible again at once when their lease ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred

from ... import __version__
from ...errors import ClientFault, ServerFault
from ..model import LOCAL, NewTask, QueueName, Task
from ..store import Clock, Created, Finish, Held, IStore, Outcome, Refusal
from ..waiting import Waiting
from . import tqs_answers as answers
from . import tqs_fields as fields
from .answer import NOTHING, Answer, json_answer, json_error, plain_answer
from .call import Call
from .frame import Api
from .routes import Row
from .together import Soon, Together
from .token import Token

BODY_BYTES_MAX = 16 * 1024 * 1024
"""Of a request: a hundred of the largest usual messages, with every character escaped, are a third of it."""

SMALL_BYTES_MAX = 1024 * 1024
"""Of a request with a name or some leases: far more than they are, so that who sends too much hears what is wrong."""

BODY_CHARS_MAX = 4096
"""Of a message's body, unless more is allowed."""

QUEUES_MAX = 10_000
"""Queues that clients may make."""

_OPEN = frozenset([b"/", b"/version"])
"""Paths that anybody may see."""

_FORMATS = ("", "json", "telegraf")


class _Wanted(NamedTuple):
    """What requests for messages have in common; see L{Want<tqserver.queue.api.tqs_fields.Want>}."""

    queue: QueueName
    lease_s: int
    take: bool


HOME = "TQS, a tiny queue service: /queues, /statistics, /version\n"


class TQS:
    """
    The service.

    @ivar operations: how many messages were put, leased, taken, and how many leases ended well.
    """

    def __init__(
        self,
        store: IStore,
        waiting: Waiting,
        clock: Clock,
        *,
        api_token: str | None = None,
        body_chars_max: int = BODY_CHARS_MAX,
        metrics: Callable[[Call], Answer] | None = None,
        soon: Soon | None = None,
    ) -> None:
        """
        @param api_token: what clients have to know; L{None}: nothing.
        @param body_chars_max: of a message's body.
        @param metrics: what the process has to say about itself, where that is seen here.
        @param soon: has something called at the end of a turn, see L{Together}.
        """
        self.operations = {"put": 0, "leased": 0, "taken": 0, "finished": 0}
        self._store = store
        self._waiting = waiting
        self._clock = clock
        self._body_chars_max = body_chars_max
        self._puts = Together(soon, self._create, self._stored)
        self._gets = Together(soon, self._claim, self._claimed, self._left)
        self._ends = Together(soon, self._end, self._finished)
        rows = [
            Row("GET HEAD", "/", lambda call: plain_answer(HOME)),
            Row("GET HEAD", "/version", self._version),
            Row("GET HEAD", "/queues", self._queues),
            Row("POST", "/queues", self._make, SMALL_BYTES_MAX),
            Row("DELETE", "/queues/*", self._drop),
            Row("POST", "/queues/*", self._put, BODY_BYTES_MAX),
            Row("GET", "/queues/*", self._get),
            Row("DELETE", "/queues/*/leases", self._finish_all, SMALL_BYTES_MAX),
            Row("DELETE", "/queues/*/leases/*", self._finish),
            Row("GET HEAD", "/queues/*/statistics", self._statistics),
            Row("GET HEAD", "/statistics", self._all_statistics),
        ]
        if metrics is not None:
            rows.append(Row("GET HEAD", "/metrics", metrics))
        self.api = Api("tqs", rows, json_error, Token(api_token, _OPEN) if api_token else None)

    def _version(self, call: Call) -> Answer:
        return json_answer({"branch": "", "tag": __version__, "commit": ""})

    # Queues.

    def _queues(self, call: Call) -> Answer:
        return json_answer(answers.queues(queue for queue in self._store.queues.values() if queue.name.tenant == LOCAL))

    def _make(self, call: Call) -> Deferred[Answer]:
        name = fields.queue_name(call.body)
        if name not in self._store.queues and len(self._store.queues) >= QUEUES_MAX:
            raise ServerFault(f"There are {QUEUES_MAX} queues already.")
        return self._store.define(name).addCallback(_made)

    def _drop(self, call: Call) -> Deferred[Answer]:
        return self._store.drop(self._known(call)).addCallback(_dropped)

    def _known(self, call: Call) -> QueueName:
        """
        The queue that a path names.

        @raise ClientFault: there is none.
        """
        name = QueueName(LOCAL, call.arguments[0])
        if name not in self._store.queues:
            raise _unknown_queue()
        return name

    # Messages.

    def _put(self, call: Call) -> Answer | None:
        name = self._known(call)
        tasks = fields.tasks(call.body, name, self._clock(), self._body_chars_max)
        if not tasks:
            return NOTHING
        self._puts.add(call, None, tasks, len(tasks))
        return None

    def _create(self, _: None, tasks: list[NewTask], number: int) -> Deferred[list[Created | Refusal]]:
        return self._store.create(tasks)

    def _stored(self, _: None, created: list[Created | Refusal]) -> Answer:
        if isinstance(created[0], Refusal):
            raise _unknown_queue()  # It was removed meanwhile.
        self.operations["put"] += len(created)
        return NOTHING

    def _get(self, call: Call) -> Deferred[Answer] | None:
        name = self._known(call)
        limit, lease_s, wait_s, take = fields.want(call.exchange.head.query)
        wanted = _Wanted(name, lease_s, take)
        if not wait_s:
            self._gets.add(call, wanted, (), limit)
            return None
        claim = self._waiting.claim((name,), limit=limit, lease_ms=lease_s * 1000, wait_s=wait_s, take=take)
        return claim.addCallback(lambda tasks: self._claimed(wanted, tasks))

    def _claim(self, wanted: _Wanted, _: list[None], limit: int) -> Deferred[list[Task]]:
        name, lease_s, take = wanted
        return self._waiting.claim_now((name,), limit=limit, lease_ms=lease_s * 1000, take=take)

    def _claimed(self, wanted: _Wanted, tasks: list[Task]) -> Answer:
        name, lease_s, take = wanted
        if not tasks and name not in self._store.queues:
            raise _unknown_queue()  # It was removed meanwhile.
        if take:
            self.operations["taken"] += len(tasks)
            return json_answer(answers.taken(tasks))
        self.operations["leased"] += len(tasks)
        return json_answer(answers.leased(tasks, lease_s))

    def _left(self, wanted: _Wanted, tasks: list[Task]) -> None:
        if wanted.take:
            self.operations["taken"] += len(tasks)
        else:
            self._waiting.give_back(tasks)

    def _finish(self, call: Call) -> None:
        name = self._known(call)
        self._ends.add(call, None, (_finish(name, call.arguments[1]),), 1)

    def _end(self, _: None, finishes: list[Finish], number: int) -> Deferred[list[Outcome]]:
        return self._store.finish(finishes)

    def _finished(self, _: None, outcomes: list[Outcome]) -> Answer:
        if isinstance(outcomes[0], Refusal):
            raise ClientFault("There is no such lease, or it has ended.", status=404)
        self.operations["finished"] += 1
        return NOTHING

    def _finish_all(self, call: Call) -> Deferred[Answer]:
        """Ours: a hundred at once, so that whoever gets a hundred need not come a hundred times."""
        name = self._known(call)
        leases = fields.leases(call.body)
        return self._store.finish([_finish(name, lease) for lease in leases]).addCallback(self._finished_all, leases)

    def _finished_all(self, outcomes: list[Outcome], leases: list[str]) -> Answer:
        unknown = [lease for lease, outcome in zip(leases, outcomes, strict=True) if isinstance(outcome, Refusal)]
        deleted = len(leases) - len(unknown)
        self.operations["finished"] += deleted
        return json_answer({"deleted": deleted, "unknown": unknown})

    # Statistics.

    def _statistics(self, call: Call) -> Answer:
        return json_answer(answers.statistics(self._store.counts(self._known(call))))

    def _all_statistics(self, call: Call) -> Answer:
        form = call.query().get("format", "")
        if form not in _FORMATS:
            raise ClientFault("format is neither json nor telegraf.")
        names = [name for name in self._store.queues if name.tenant == LOCAL]
        if form == "telegraf":
            return json_answer([answers.statistics(self._store.counts(name), name.name) for name in names])
        return json_answer({name.name: answers.statistics(self._store.counts(name)) for name in names})


def _unknown_queue() -> ClientFault:
    return ClientFault("There is no such queue.", status=404)


def _made(new: bool) -> Answer:
    if not new:
        raise ClientFault("There is a queue with that name.", status=409)
    return NOTHING


def _dropped(known: bool) -> Answer:
    if not known:
        raise _unknown_queue()
    return NOTHING


def _finish(queue: QueueName, lease: str) -> Finish:
    return Finish(Held(queue.tenant, lease=lease.lower() or "-", queue=queue.name))
