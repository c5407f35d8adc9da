"""
The tasks of one queue, delivered to a worker as requests: as many at once as the configuration says.

A status says what becomes of a task (L{tqserver.queue.verdict}). A worker that does not want a task now has not tried
it; if it says that of itself (429, 503), no other task is sent until the time that it asked for, unless one of those
that it has got is answered otherwise before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..http1.head import ResponseHead
from . import verdict
from .ahead import Ahead
from .call import Call, Step
from .front_line import FrontLine
from .model import Backoff, QueueName, State, Task
from .requests import Manner, Request, kept_answer
from .settling import Settling
from .store import CLAIM_MAX, Clock, Finish, Held, Refusal, Release
from .verdict import Verdict
from .waiting import Waiting

OWNER = "tqserver: delivery"
"""Who has the leases."""

LEASE_MS = 30_000
"""They are extended for as long as a task is in hand. If the process dies, its successor gives them back at once."""

WAIT_S = 3600.0
"""A claim that waits costs nothing; so often it begins anew, in seconds."""

RESULT_BYTES_MAX = 1024 * 1024
"""Of an answer, to be kept."""

FAULT_S = 0.5
"""The first pause, in seconds, after tasks could not be claimed; it doubles."""

FAULT_S_MAX = 15.0

LATER_MS_MIN = 250
"""A worker that does not want a task now has at least so much peace, whatever it says, in milliseconds."""

BACKOFF = Backoff("exp_equal_jitter")
"""The usual one."""

_log = Logger()


@frozen(kw_only=True)
class Rule:
    """
    How a queue is delivered.

    @ivar to: where, for people.
    @ivar timeout_s: longest for one delivery, in seconds.
    @ivar attempts_max: so often a task is tried that does not say itself how often it may be.
    @ivar backoff: the pause after a try that went wrong.
    @ivar keep_ms: so long a task is kept when it has ended, if it does not say itself for how long.
    """

    queue: QueueName
    to: str
    concurrency: int = 8
    timeout_s: float = 60.0
    attempts_max: int = 5
    backoff: Backoff = BACKOFF
    keep_ms: int = 86_400_000
    result_bytes_max: int = RESULT_BYTES_MAX


class Tally(msgspec.Struct, gc=False):
    """
    What became of tasks since the process began.

    @ivar retried: tries that went wrong and are followed by another.
    @ivar postponed: those that a worker did not want yet.
    @ivar unsent: those that nobody could be asked about.
    @ivar lost: those whose lease had ended, or that were removed, when they had been delivered.
    """

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    retried: int = 0
    postponed: int = 0
    unsent: int = 0
    lost: int = 0


class Around(Protocol):
    """What all deliveries have in common; see L{Deliveries<tqserver.queue.deliveries.Deliveries>}."""

    line: FrontLine
    settling: Settling
    hushed: bool

    def took(self, call: Call) -> None:
        """A task is in hand."""

    def soon(self, delivery: Delivery) -> None:
        """Have C{look} called at the end of this turn, after what has ended is on its way into the store."""


class Delivery:
    """
    One queue's deliveries.

    @ivar in_flight: tasks that a worker has, or will have in a moment. While it is quick, more are claimed ahead.
    @ivar resting_until: by the reactor's clock, until when a busy worker is left alone; 0 if it is not.
    """

    def __init__(
        self,
        around: Around,
        rule: Rule,
        manner: Manner,
        waiting: Waiting,
        reactor: IReactorTime,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        """
        @param chance: random numbers from [0, 1).
        """
        self.rule = rule
        self.tally = Tally()
        self.in_flight = 0
        self.resting_until = 0.0
        self._around = around
        self._manner = manner
        self._waiting = waiting
        self._reactor = reactor
        self._clock = clock
        self._chance = chance
        self._queues = (rule.queue,)
        self._claiming = False
        self._claim: Deferred[list[Task]] | None = None
        self._later: IDelayedCall | None = None
        self._fault_s = FAULT_S
        self._spare: deque[Call] = deque()
        """Claimed ahead, so that a worker that is quick need not wait for the store."""
        self._ahead = Ahead(reactor, rule.concurrency)
        self._kept: tuple[ResponseHead | None, bytes] = None, b""
        """The head that was stored last, and as what: most answers of a worker begin alike."""
        self._refusals = 0
        """Answers in a row that said that the worker is busy."""

    # Claims.

    def look(self) -> None:
        """Claim as many as there is room for."""
        around = self._around
        if self._later is not None or around.hushed or around.line.away or around.settling.faulty:
            return
        if self._refusals and self._spare and not self.in_flight:
            # Claimed as the worker said that it is busy; there may be no other task to ask it with.
            self._send(self._spare.popleft())
        if self._claiming:
            return
        if self._refusals:
            # Who was busy is asked with one task whether it still is.
            room = 1 - self.in_flight
        else:
            room, spare = self.rule.concurrency - self.in_flight, len(self._spare)
            ahead = self._ahead.most()
            # Not one by one: what is claimed ahead may be half of that before there is more.
            room = room + ahead - spare if 2 * spare <= ahead else 0
        room = min(room, CLAIM_MAX)
        if room <= 0:
            return
        self._claiming = True
        claim = self._waiting.claim(self._queues, limit=room, lease_ms=LEASE_MS, wait_s=WAIT_S, owner=OWNER)
        claim.addCallbacks(self._claimed, self._not_claimed)
        if self._claiming:
            self._claim = claim

    def hush(self) -> None:
        """Claim no more."""
        claim, self._claim = self._claim, None
        if claim is not None:
            self._claiming = False
            claim.addErrback(lambda _: None)
            claim.cancel()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._let_go()

    def _claimed(self, tasks: list[Task]) -> None:
        self._claiming = False
        self._claim = None
        self._fault_s = FAULT_S
        for task in tasks:
            self._deliver(task)
        self._around.soon(self)

    def _not_claimed(self, failure: Failure) -> None:
        if not self._claiming:
            return
        self._claiming = False
        self._claim = None
        _log.warn("cannot claim tasks of {queue}: {error}", queue=self.rule.queue.name, error=failure.value)
        self._pause(self._fault_s)
        self._fault_s = min(2 * self._fault_s, FAULT_S_MAX)

    def _pause(self, pause_s: float) -> None:
        """Claim nothing for a while."""
        if self._around.hushed:
            return
        if self._later is not None:
            self._later.cancel()
        self._later = self._reactor.callLater(pause_s, self._paused)

    def _paused(self) -> None:
        self._later = None
        self.resting_until = 0.0
        self.look()

    # One task.

    def _deliver(self, task: Task) -> None:
        rule, around = self.rule, self._around
        try:
            request = self._manner.compose(task)
        except ValueError as error:
            call = Call(task, self, around.line, _NO_REQUEST, 0, 0)
            self._end_unsent(call, State.FAILED, str(error))
            return
        call = Call(task, self, around.line, request, rule.timeout_s, rule.result_bytes_max)
        if task.attempts > self._attempts_max(task):
            # Its lease ran out during the last try, or it may be tried less often by now.
            self._end_unsent(call, State.DEAD, task.error or "it was tried often enough")
            return
        around.took(call)
        if self.in_flight < rule.concurrency:
            self._send(call)
        else:
            self._spare.append(call)

    def _send(self, call: Call) -> None:
        self.in_flight += 1
        call.step = Step.SENDING
        self._around.line.start(call)

    def _send_next(self) -> None:
        """There is room for one more."""
        if self._spare and self.in_flight < self.rule.concurrency and not self._refusals:
            self._send(self._spare.popleft())

    def _let_go(self) -> None:
        """Give back what was claimed ahead: its turn does not come soon."""
        spare, self._spare = self._spare, deque()
        for call in spare:
            call.step = Step.ANSWERED
            self._release(call, False, 0, call.task.error)

    def drop(self, call: Call) -> bool:
        """
        Go on with a task no more. What becomes of it is the caller's to say.

        @return: false if it has ended already.
        """
        if call.step is Step.SPARE:
            call.step = Step.ANSWERED
            self._spare.remove(call)
        elif call.cancel():
            self.in_flight -= 1
        else:
            return False
        return True

    def _end_unsent(self, call: Call, state: State, error: str) -> None:
        call.step = Step.ANSWERED
        self._around.took(call)
        self._finish(call, state, error=error)

    def _attempts_max(self, task: Task) -> int:
        return task.attempts_max or self.rule.attempts_max

    # How it ends; see L{Told}.

    def answered(self, call: Call, head: ResponseHead, body: bytes, cut: bool) -> None:
        """See L{Told}."""
        self.in_flight -= 1
        ahead = self._ahead
        ahead.answers += 1
        ahead.quick = call.began == self._around.line.sweep.now
        status = head.status
        said = self._manner.judge(status)
        if said is Verdict.LATER:
            self._postpone(call, head, body)
            return
        if self._refusals:
            self._refusals = 0
            self.resting_until = 0.0
            if self._later is not None:
                self._later.cancel()
                self._later = None
        if cut and self._manner.whole and said is not Verdict.AGAIN:
            self._finish(call, State.FAILED, error=f"the answer is larger than {self.rule.result_bytes_max} bytes")
        elif said is Verdict.DONE:
            self._finish(call, State.DONE, head, body, cut)
        elif said is Verdict.FAILED:
            self._finish(call, State.FAILED, head, body, cut, verdict.reason(status, head.reason, body))
        else:
            self._again(call, verdict.reason(status, head.reason, body), head, body, cut)

    def broken(self, call: Call, reason: str) -> None:
        """See L{Told}."""
        self.in_flight -= 1
        self._ahead.quick = False
        self._again(call, reason)

    def unsent(self, call: Call, reason: str) -> None:
        """See L{Told}."""
        self.in_flight -= 1
        self.tally.unsent += 1
        self._let_go()
        self._release(call, False, 0, reason)

    def give_back(self, call: Call, reason: str) -> None:
        """A call was cancelled: its task is not to blame."""
        self._release(call, False, 0, reason)

    def _postpone(self, call: Call, head: ResponseHead, body: bytes) -> None:
        self.tally.postponed += 1
        backoff = self.rule.backoff
        busy = verdict.is_busy(head.status)
        self._refusals += busy
        delay_ms = verdict.retry_after_ms(head.get(b"retry-after"), self._clock())
        if delay_ms is None:
            delay_ms = backoff.delay_ms(max(self._refusals, 1), self._chance())
        delay_ms = max(min(delay_ms, backoff.max_ms), LATER_MS_MIN)
        if busy and self.resting_until == 0.0:
            self.resting_until = self._reactor.seconds() + delay_ms / 1000
            self._pause(delay_ms / 1000)
            self._let_go()
        self._release(call, False, delay_ms, verdict.reason(head.status, head.reason, body))

    def _again(
        self, call: Call, reason: str, head: ResponseHead | None = None, body: bytes = b"", cut: bool = False
    ) -> None:
        attempts = call.task.attempts
        if attempts >= self._attempts_max(call.task):
            self._finish(call, State.DEAD, head, body, cut, reason)
        else:
            self.tally.retried += 1
            self._release(call, True, self.rule.backoff.delay_ms(attempts, self._chance()), reason)

    def _finish(
        self,
        call: Call,
        state: State,
        head: ResponseHead | None = None,
        body: bytes = b"",
        cut: bool = False,
        error: str = "",
    ) -> None:
        task, tally = call.task, self.tally
        if state is State.DONE:
            tally.delivered += 1
        elif state is State.FAILED:
            tally.failed += 1
        else:
            tally.dead += 1
            _log.warn("task {id} of {queue} is dead: {error}", id=task.id, queue=task.queue.name, error=error)
        kept = self._keep(head, cut) if head is not None else b""
        result = None if head is None or cut else body
        keep_ms = task.keep_ms or self.rule.keep_ms
        self._ended(call, Finish(_held(task), state, result, kept, error, keep_ms))

    def _keep(self, head: ResponseHead, cut: bool) -> bytes:
        """See L{kept_answer}. A connection gives out the same head again for the same bytes, and nobody changes it."""
        if cut:
            return kept_answer(head, True)
        if head is not self._kept[0]:
            self._kept = head, kept_answer(head, False)
        return self._kept[1]

    def _release(self, call: Call, counted: bool, delay_ms: int, reason: str) -> None:
        self._ended(call, Release(_held(call.task), counted, delay_ms, reason))

    def _ended(self, call: Call, end: Finish | Release) -> None:
        self._around.settling.add(call, end)
        self._around.soon(self)
        self._send_next()

    def refused(self, call: Call, why: Refusal) -> None:
        """What became of a task was not stored."""
        self.tally.lost += 1
        task = call.task
        _log.warn("task {id} of {queue}: {why}", id=task.id, queue=task.queue.name, why=why.value)


_NO_REQUEST = Request(b"", [], b"")


def _held(task: Task) -> Held:
    # Found by the lease, which no other has: by ids that clients choose it takes longer.
    return Held(task.queue.tenant, lease=task.lease)
