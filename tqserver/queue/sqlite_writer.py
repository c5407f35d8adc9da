"""
Lanes: where a store's steps are done, in the order in which they come, many at a time.

While one batch is written to the disk the next one gathers. So the busier a store is the more steps share a commit,
and the fewer commits there are; nobody waits for company.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from .store import StoreFault

STEPS_MAX = 4096
"""Steps that may wait at once."""

WAITING_BYTES_MAX = 64 << 20
"""What the steps that wait may weigh: the payloads of new tasks, and results."""

BATCH_STEPS_MAX = 256
"""Steps that share a commit: their answers are given in one turn of the reactor."""

BATCH_TASKS_MAX = 2000
"""Tasks of the steps that share a commit, but for a single larger step: it is some 20 ms of work."""

_log = Logger()

_News = TypeVar("_News")

Work = Callable[[], Any]
"""A step: what is done in the lane."""

Answers = list[Any]
"""What the steps of a batch gave, in their order; a L{Failure} for one that could not be done."""


class _Step(Deferred[Any]):
    """
    A step, which is its own answer.

    @ivar tasks: how many tasks it is about.
    @ivar bytes: what it weighs.
    """

    def __init__(self, work: Work, tasks: int, bytes: int) -> None:
        super().__init__()
        self.work = work
        self.tasks = tasks
        self.bytes = bytes


class Lane(Generic[_News]):
    """
    A lane that does each step at once and in the caller's thread: for tests, where nothing may depend on threads.

    @ivar waiting: how many steps wait or are being done.
    """

    def __init__(
        self,
        serve: Callable[[Sequence[Work]], tuple[Answers, _News]],
        told: Callable[[_News], None],
        rest: Callable[[], bool],
    ) -> None:
        """
        @param serve: does a batch, and does not raise; gives the answers, and what has changed.
        @param told: is given what has changed, in the reactor, before the answers are.
        @param rest: does a piece of what is not urgent, and says whether there is more.
        """
        self.waiting = 0
        self._stopping = False
        self._bytes = 0
        self._serve = serve
        self._told = told
        self._rest = rest
        self._gathered: deque[_Step] | None = None

    def start(self) -> None:
        """Begin."""

    def stop(self, finish: Callable[[], None]) -> Deferred[None]:
        """
        Do what was asked for, and then no more.

        @param finish: is called at the end, where the steps are done.
        """
        self._stopping = True
        self.resume()
        finish()
        answer: Deferred[None] = Deferred()
        answer.callback(None)
        return answer

    def submit(self, work: Work, tasks: int = 1, bytes: int = 0) -> Deferred[Any]:
        """
        Have a step done.

        @param tasks: how many tasks it is about.
        @param bytes: what it weighs.
        @return: fires when it is committed.
        """
        if self._stopping:
            return fail(StoreFault("The queues are being closed."))
        if self.waiting >= STEPS_MAX or (self._bytes and self._bytes + bytes > WAITING_BYTES_MAX):
            reason = f"{self.waiting} steps of {self._bytes} bytes wait for the disk"
            return fail(StoreFault("The queues have too much to do.", reason, retry_after_s=1))
        step = _Step(work, tasks, bytes)
        self.waiting += 1
        self._bytes += bytes
        self._enter(step)
        return step

    def pause(self) -> None:
        """Let steps gather, as if a commit took long."""
        if self._gathered is None:
            self._gathered = deque()

    def resume(self) -> None:
        """Do those that have gathered, sharing commits."""
        gathered, self._gathered = self._gathered, None
        while gathered:
            self._do(_batch(gathered))

    def _enter(self, step: _Step) -> None:
        if self._gathered is not None:
            self._gathered.append(step)
        else:
            self._do([step])

    def _do(self, batch: list[_Step]) -> None:
        answers, news = self._serve([step.work for step in batch])
        self._deliver(batch, answers, news)
        while self._rest():
            pass

    def _deliver(self, batch: list[_Step], answers: Answers, news: _News) -> None:
        """Tell what a batch did, in the reactor."""
        self._told(news)
        self._give(batch, answers)

    def _give(self, batch: list[_Step], answers: Answers) -> None:
        self.waiting -= len(batch)
        for step in batch:
            self._bytes -= step.bytes
        for step, answer in zip(batch, answers, strict=True):
            step.callback(answer)  # A Failure makes it fail.


def _batch(gathered: deque[_Step]) -> list[_Step]:
    """The next steps that share a commit."""
    batch = [gathered.popleft()]
    tasks = batch[0].tasks
    while gathered and len(batch) < BATCH_STEPS_MAX and (tasks := tasks + gathered[0].tasks) <= BATCH_TASKS_MAX:
        batch.append(gathered.popleft())
    return batch


class ThreadLane(Lane[_News]):
    """A lane with a thread of its own."""

    def __init__(
        self,
        serve: Callable[[Sequence[Work]], tuple[Answers, _News]],
        told: Callable[[_News], None],
        rest: Callable[[], bool],
        reactor: IReactorFromThreads,
        name: str,
    ) -> None:
        """
        @param name: of the thread.
        """
        super().__init__(serve, told, rest)
        self._reactor = reactor
        self._name = name
        self._entered: SimpleQueue[_Step | None] = SimpleQueue()
        self._finish: Callable[[], None] = _nothing
        self._stopped: Deferred[None] = Deferred()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """See L{Lane.start}."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self, finish: Callable[[], None]) -> Deferred[None]:
        """See L{Lane.stop}."""
        self._stopping = True
        self._finish = finish
        if self._thread is None:
            finish()
            self._stopped.callback(None)
        else:
            self._entered.put(None)
        return self._stopped

    def _enter(self, step: _Step) -> None:
        self._entered.put(step)

    def _run(self) -> None:
        gathered: deque[_Step] = deque()
        last = more = False
        while not last or gathered:
            try:
                if not gathered:
                    step = self._entered.get(block=not more)
                    last = last or step is None
                    if step is not None:
                        gathered.append(step)
                while not last:
                    step = self._entered.get(block=False)
                    last = step is None
                    if step is not None:
                        gathered.append(step)
            except Empty:
                pass
            if gathered:
                batch = _batch(gathered)
                try:
                    answers, news = self._serve([step.work for step in batch])
                except BaseException:
                    self._reactor.callFromThread(self._give, batch, [Failure()] * len(batch))
                else:
                    self._reactor.callFromThread(self._deliver, batch, answers, news)
                    del answers, news
                del batch  # Nothing of it is kept while this thread waits.
            more = not last and self._rest()
        try:
            self._finish()
        except Exception:
            _log.failure("while the store was being closed")
        self._reactor.callFromThread(self._join)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._stopped.callback(None)


def _nothing() -> None:
    """Does nothing."""


def failed(error: Exception) -> Failure:
    """A failure without where it was raised: a traceback holds everybody who had a part in it."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return Failure(error)
