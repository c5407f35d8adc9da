"""
What a queue holds: tasks, and the rules of each queue. Pure, frozen values.

Moments are whole milliseconds since 1970, UTC; 0 is "never". Wall time it is, as leases outlive the process and the
machine's uptime.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple

import msgspec

NEVER = 0
"""A moment that does not come."""

PRIORITY_USUAL = 50
"""Of 0 to 100, where the smaller is first."""


class State(IntEnum):
    """Where a task is in its life; see L{tqserver.queue.lifecycle}. The numbers are stored: they do not change."""

    DELAYED = 0
    READY = 1
    LEASED = 2
    DONE = 3
    FAILED = 4
    """Its worker said that it cannot be done."""
    DEAD = 5
    """It was tried as often as it may be."""


LIVE = frozenset([State.DELAYED, State.READY, State.LEASED])
FINISHED = frozenset([State.DONE, State.FAILED, State.DEAD])


class QueueName(NamedTuple):
    """
    A queue among those of all tenants.

    @ivar tenant: whose; what knows no tenants uses L{LOCAL}.
    @ivar name: as the tenant calls it.
    """

    tenant: str
    name: str


LOCAL = "local"
"""The tenant of everybody who need not say who they are."""


class Backoff(msgspec.Struct, frozen=True, gc=False):
    """
    How long a task waits until it is tried again.

    @ivar kind: C{none} is at once; C{linear} and C{exponential} grow with each try; of the jittered ones
        C{exp_equal_jitter} takes at least half, C{exp_full_jitter} anything from nothing.
    @ivar base_ms: the first wait.
    @ivar max_ms: no wait is longer.
    """

    kind: Literal["none", "fixed", "linear", "exponential", "exp_equal_jitter", "exp_full_jitter"] = "none"
    base_ms: int = 5_000
    max_ms: int = 900_000

    def delay_ms(self, attempts: int, chance: float) -> int:
        """
        The wait after so many tries.

        @param attempts: at least 1.
        @param chance: a random number from [0, 1).
        """
        if self.kind == "none":
            return 0
        if self.kind == "fixed":
            return min(self.base_ms, self.max_ms)
        if self.kind == "linear":
            return min(self.base_ms * attempts, self.max_ms)
        # 2 ** 60 times anything is more than any limit.
        longest = min(self.base_ms << min(attempts - 1, 60), self.max_ms)
        if self.kind == "exp_equal_jitter":
            return longest // 2 + int(chance * (longest - longest // 2))
        if self.kind == "exp_full_jitter":
            return int(chance * longest)
        return longest


class Policy(msgspec.Struct, frozen=True, gc=False):
    """
    The rules of one queue.

    @ivar backoff: for leases that run out, and for tasks that are given back without a delay.
    @ivar leased_max: how many may be leased at once; 0 is no limit.
    @ivar paused: nothing is leased.
    """

    backoff: Backoff = Backoff()
    leased_max: int = 0
    paused: bool = False


class Queue(msgspec.Struct, frozen=True, gc=False):
    """
    A queue.

    @ivar created: when it was made.
    """

    name: QueueName
    created: int
    policy: Policy = Policy()


class NewTask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    A task to be put.

    @ivar id: 1 to 200 characters, unique for its tenant; empty for one that the store makes.
    @ivar head: what the service wants to have back with it, unread by anybody else (such as a content type, a
        webhook, the head of a stored request).
    @ivar priority: the smaller is first.
    @ivar ready: when it may be leased; L{NEVER} or the past is at once.
    @ivar expires: when it vanishes if it was not leased by then; L{NEVER} for not.
    @ivar keep_ms: how long it is kept when it has ended; 0 is not at all.
    @ivar attempts_max: how often it is leased at most; 0 is no limit.
    @ivar key: of several tasks of one queue with the same key only the first is put; empty for none.
    @ivar key_expires: until when the key is remembered.
    """

    queue: QueueName
    payload: bytes
    id: str = ""
    head: bytes = b""
    priority: int = PRIORITY_USUAL
    ready: int = NEVER
    expires: int = NEVER
    keep_ms: int = 0
    attempts_max: int = 0
    key: str = ""
    key_expires: int = NEVER


class Task(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    A task as a store has it.

    @ivar seq: the store's number for it, larger than those of all tasks that were put before.
    @ivar due: when something will happen to it by itself: it becomes ready, its lease ends, it vanishes; L{NEVER} for
        nothing.
    @ivar attempts: how often it was leased, but for leases that were given back unused.
    @ivar created: when it was put.
    @ivar updated: when its state last changed.
    @ivar ready: when it may be, or might have been, leased.
    @ivar lease: the fencing token of the lease that it has, else empty. No two leases have the same.
    @ivar owner: who has that lease, as they call themselves; or who ended it.
    @ivar result: what its worker made of it.
    @ivar result_head: what belongs to the result, for whoever wrote it.
    @ivar error: why it failed, or why it was given back last.
    @ivar progress: what its worker last said of how far it is.

    The others are those of L{NewTask}.
    """

    seq: int
    id: str
    queue: QueueName
    state: State
    payload: bytes
    head: bytes
    priority: int
    attempts: int
    attempts_max: int
    created: int
    updated: int
    ready: int
    expires: int
    due: int
    keep_ms: int
    lease: str = ""
    owner: str = ""
    result: bytes | None = None
    result_head: bytes = b""
    error: str = ""
    progress: bytes = b""


class Counts(msgspec.Struct, frozen=True, gc=False):
    """How many tasks of a queue are in each state."""

    delayed: int = 0
    ready: int = 0
    leased: int = 0
    done: int = 0
    failed: int = 0
    dead: int = 0

    @property
    def live(self) -> int:
        """Those that have not ended."""
        return self.delayed + self.ready + self.leased
