"""
The interface of stores, and the values that it speaks in.

Every operation takes a batch and is one step: all of it has happened, in this order, or none has. A store may do
several steps at once as long as each looks as if it were alone. Its Deferreds fire when the step is as durable as the
store promises to be, and fail with L{StoreFault} if it cannot be done: then nothing of it has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from ..errors import ServerFault
from .model import Counts, NewTask, Policy, Queue, QueueName, State, Task

CLAIM_MAX = 1000
"""Tasks of one claim."""

SWEEP_MAX = 1000
"""Tasks of one sweep."""

PAGE_MAX = 1000
"""Tasks of one page of a list."""

PURGE_MAX = 1000
"""Tasks of one purge."""


class StoreFault(ServerFault):
    """
    A store cannot do its work now (503): its disk is full or read-only, its file is locked or corrupt. The reason says
    which; what was asked has not happened.
    """


class FullFault(StoreFault):
    """A store holds as much as it may."""


class Refusal(Enum):
    """Why an operation was not done to one of its tasks; the others are not touched by that."""

    UNKNOWN = "there is no such task"
    NOT_OWNER = "somebody else has the lease"
    NOT_LEASED = "nobody has a lease"
    LEASE_LOST = "the lease has ended, or belongs to somebody else by now"
    WRONG_STATE = "the task is in another state"
    EXISTS = "there is a task with that id"
    NO_QUEUE = "there is no such queue"


class Held(msgspec.Struct, frozen=True, gc=False):
    """
    A task that the caller believes to have leased. What is empty is not asked.

    @ivar tenant: whose task it is.
    @ivar id: of the task; or it is found by the lease.
    @ivar lease: the token.
    @ivar owner: who has the lease.
    @ivar queue: the name of its queue.
    """

    tenant: str
    id: str = ""
    lease: str = ""
    owner: str = ""
    queue: str = ""


class Finish(msgspec.Struct, frozen=True, gc=False):
    """
    A leased task has ended.

    @ivar state: L{State.DONE}, L{State.FAILED}, or L{State.DEAD} if its worker counts the tries by rules of its own.
    @ivar keep_ms: how long it is kept, in place of what was said when it was put; L{None} leaves that.
    """

    held: Held
    state: State = State.DONE
    result: bytes | None = None
    result_head: bytes = b""
    error: str = ""
    keep_ms: int | None = None


class Release(msgspec.Struct, frozen=True, gc=False):
    """
    A leased task is given back.

    @ivar counted: whether that was a try. A task that was tried as often as it may be is dead.
    @ivar delay_ms: when it may be leased again; L{None} leaves that to the queue's backoff (not counted: at once).
    @ivar error: why.
    """

    held: Held
    counted: bool = True
    delay_ms: int | None = None
    error: str = ""


class Extend(msgspec.Struct, frozen=True, gc=False):
    """
    A leased task goes on.

    @ivar until: when the lease ends now; 0 leaves it.
    @ivar progress: how far it is; L{None} leaves it.
    """

    held: Held
    until: int = 0
    progress: bytes | None = None


class Created(msgspec.Struct, frozen=True, gc=False):
    """
    @ivar task: as it was put, or the one that had the same key.
    @ivar replay: whether it is the latter.
    """

    task: Task
    replay: bool = False


class Claim(msgspec.Struct, frozen=True, gc=False):
    """
    Lease some ready tasks: by priority, then by age, as if all the queues were one.

    @ivar queues: of one tenant.
    @ivar limit: how many at most, up to L{CLAIM_MAX}.
    @ivar until: when the leases end.
    @ivar take: do not lease them but have them done in the same step.
    """

    queues: tuple[QueueName, ...]
    limit: int
    until: int
    owner: str = ""
    take: bool = False


class Page(msgspec.Struct, frozen=True, gc=False):
    """
    Some tasks, oldest first.

    @ivar cursor: where the next page begins; 0 if there is none.
    """

    tasks: tuple[Task, ...]
    cursor: int = 0


class Swept(msgspec.Struct, frozen=True, gc=False):
    """
    What was overdue.

    @ivar ready: how many became ready, for whatever reason.
    @ivar expired: those whose lease ran out, as they were.
    @ivar removed: how many are gone.
    @ivar more: whether there is more to sweep.
    """

    ready: int = 0
    expired: tuple[Task, ...] = ()
    removed: int = 0
    more: bool = False


class Changed(Protocol):
    """Is told after steps: which queues have got ready tasks, or have been dropped."""

    def __call__(self, ready: frozenset[QueueName]) -> None: ...


Outcome = Task | Refusal
"""
The task as it is now, or was when it was removed; or why nothing was done.
"""


class IStore(Interface):
    """Where tasks are. All of it is called in the reactor's thread."""

    queues: Mapping[QueueName, Queue] = Attribute("""The queues there are, as of the last step; not to be changed.""")

    due: int = Attribute("""The next moment at which something is overdue, 0 for never; as of the last step.""")

    fault: StoreFault | None = Attribute("""Why the last step could not be done; L{None} if it was done.""")

    def observe(changed: Changed) -> None:
        """
        Have C{changed} called after each step that made tasks ready, dropped a queue, or moved C{due}. There may be
        several.
        """

    def open() -> Deferred[None]:
        """
        Begin. Nothing else is called before.

        @raise StoreFault: (by the Deferred) if it cannot.
        """

    def close() -> Deferred[None]:
        """Finish what was asked for and let go of everything. Nothing else is called after."""

    def counts(queue: QueueName) -> Counts:
        """How many tasks a queue has, as of the last step. All zero for a queue that there is not."""

    def define(queue: QueueName, policy: Policy | None = None) -> Deferred[bool]:
        """
        Make a queue, or give one that there is another policy (L{None} leaves it).

        @return: whether it is new.
        """

    def drop(queue: QueueName) -> Deferred[bool]:
        """
        Remove a queue and all its tasks.

        @return: whether there was one.
        """

    def create(tasks: Sequence[NewTask], *, define: bool = False) -> Deferred[list[Created | Refusal]]:
        """
        Put tasks. If one of their queues does not exist, it is made if C{define}, else the task is refused
        (L{Refusal.NO_QUEUE}); so is one whose id is taken (L{Refusal.EXISTS}).

        @raise FullFault: there is no room for all of them; none is put.
        """

    def claim(claim: Claim) -> Deferred[list[Task]]:
        """
        Lease ready tasks.

        @return: them, leased (if C{take}: as they were when they were ready); perhaps fewer than asked for, or none.
            Queues that are paused or that there are not have none.
        """

    def finish(finishes: Sequence[Finish]) -> Deferred[list[Outcome]]:
        """End leased tasks."""

    def release(releases: Sequence[Release]) -> Deferred[list[Outcome]]:
        """Give leased tasks back."""

    def extend(extends: Sequence[Extend]) -> Deferred[list[Outcome]]:
        """Prolong leases."""

    def get(tenant: str, ids: Sequence[str]) -> Deferred[list[Task | None]]:
        """Look at tasks."""

    def page(queue: QueueName, state: State, limit: int, cursor: int = 0) -> Deferred[Page]:
        """Look at a queue's tasks in one state, by age."""

    def requeue(tenant: str, ids: Sequence[str]) -> Deferred[list[Outcome]]:
        """Have tasks that are dead or failed tried again, as if they were new."""

    def remove(tenant: str, ids: Sequence[str]) -> Deferred[list[Outcome]]:
        """Remove tasks, in whatever state."""

    def purge(queue: QueueName, states: frozenset[State], before: int, limit: int) -> Deferred[int]:
        """
        Remove a queue's tasks in some states that have not changed since a moment, oldest first.

        @param before: 0 for all.
        @param limit: how many at most, up to L{PURGE_MAX}: who wants more asks again.
        @return: how many; fewer than that means that there are no more.
        """

    def sweep() -> Deferred[Swept]:
        """Do what is overdue, up to L{SWEEP_MAX} tasks, the longest overdue first."""


Clock = Callable[[], int]
"""Tells the time in milliseconds since 1970."""
