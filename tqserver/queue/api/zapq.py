"""
ZapQ: an in-memory queue of raw bytes, first in, first out.

It has a store in memory of its own. What replaces its content (a snapshot that is loaded, C{/clear}) makes a new store
beside the old one and puts it in the old one's place when it is complete.
"""

from __future__ import annotations

import random
import resource
import threading
from os import listdir
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from ...errors import ClientFault, ServerFault
from ...http1.head import ResponseHead
from ..memory import MemoryStore
from ..model import LOCAL, NewTask, QueueName, Task
from ..store import Claim, Clock, Created, FullFault, Refusal
from . import snapshot
from .answer import Answer, json_answer, plain_answer, plain_error
from .call import Call
from .frame import Api
from .places import parts_of
from .routes import Row
from .trace import Trace

BYTES_MAX = 256 * 1024 * 1024
MESSAGES_MAX = 50_000

LOAD_AT_ONCE = 500
"""Messages of a snapshot that are put in one step, in the thread that reads it."""

SNAPSHOTS_MAX = 8
"""That clients have written or read at once, most of which wait for their turn: the end waits for all of them."""

NAME = QueueName(LOCAL, "zapq")

_log = Logger()

_T = TypeVar("_T")

_ACCEPTED: Answer = (ResponseHead(202, b"", []), b"")
_NONE: Answer = (ResponseHead(204, b"", []), b"")
_DONE = plain_answer("ok\n")
_HEALTHY = plain_answer("ok")
_RAW = ResponseHead(200, b"", [(b"Content-Type", b"application/octet-stream")])


class ZapQ:
    """
    The service.

    @ivar enqueues: messages that were put.
    @ivar dequeues_ok: messages that were taken.
    @ivar dequeues_empty: how often there was none to take.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        data: str,
        *,
        bytes_max: int = BYTES_MAX,
        messages_max: int = MESSAGES_MAX,
        trace: Trace | None = None,
    ) -> None:
        """
        @param reactor: has threads.
        @param data: directory of snapshots.
        @param bytes_max: of all messages together.
        """
        self.enqueues = self.dequeues_ok = self.dequeues_empty = 0
        self._reactor = reactor
        self._clock = clock
        self._data = data
        self._bytes_max = bytes_max
        self._messages_max = messages_max
        self._started = reactor.seconds()
        self._files = DeferredLock()
        """Snapshots are written and read one after the other."""
        self._snapshots = 0
        self._trace = trace or Trace(reactor)
        self._store = self._new_store()
        self.api = Api(
            "zapq",
            [
                Row("POST", "/enqueue", self._enqueue, snapshot.MESSAGE_BYTES_MAX),
                Row("GET", "/dequeue", self._dequeue),
                Row("POST", "/clear", self._clear),
                Row("POST", "/persist", self._persist),
                Row("POST", "/load", self._load),
                Row("GET HEAD", "/metrics", self._metrics),
                Row("GET HEAD", "/health", lambda call: _HEALTHY),
            ],
            plain_error,
            self._trace.begin,
        )

    def _new_store(self) -> MemoryStore:
        # Nobody sees the ids: they need not be hard to guess.
        bits = random.Random()
        store = MemoryStore(self._clock, tasks_max=self._messages_max, bytes_max=self._bytes_max, bits=bits)
        store.define(NAME)
        return store

    def __len__(self) -> int:
        return len(self._store)

    @property
    def operations(self) -> dict[str, int]:
        """How often it did what."""
        return {"put": self.enqueues, "taken": self.dequeues_ok, "taken_none": self.dequeues_empty}

    # Messages.

    def _enqueue(self, call: Call) -> Deferred[Answer]:
        return self._store.create([NewTask(queue=NAME, payload=call.body)]).addCallbacks(self._enqueued, _refused)

    def _enqueued(self, created: list[Created | Refusal]) -> Answer:
        self.enqueues += 1
        return _ACCEPTED

    def _dequeue(self, call: Call) -> Deferred[Answer]:
        return self._store.claim(_CLAIM).addCallback(self._dequeued)

    def _dequeued(self, tasks: list[Task]) -> Answer:
        if not tasks:
            self.dequeues_empty += 1
            return _NONE
        self.dequeues_ok += 1
        return _RAW, tasks[0].payload

    def _clear(self, call: Call) -> Answer:
        self._store = self._new_store()
        return _DONE

    # Snapshots.

    def _persist(self, call: Call) -> Deferred[Answer]:
        return self.persist(self._file(call)).addCallback(lambda _: _DONE)

    def _load(self, call: Call) -> Deferred[Answer]:
        return self.load(self._file(call)).addCallback(lambda _: _DONE)

    def _file(self, call: Call) -> str:
        """
        The file that a request names.

        @raise Fault: it names none, or there are too many such requests.
        """
        name = call.query().get("file")
        if not name:
            raise ClientFault("There is no file.")
        if self._snapshots >= SNAPSHOTS_MAX:
            raise ServerFault("Too many snapshots are being written and read.", f"{SNAPSHOTS_MAX} at most")
        return name

    def persist(self, name: str) -> Deferred[None]:
        """
        Write what is in the queue when it is this snapshot's turn.

        @raise Fault: (by the Deferred) it cannot be written.
        """

        def write() -> Deferred[None]:
            # Only references: messages are taken and put while their bytes are written.
            tasks = self._store.everything(NAME)
            return self._in_thread(snapshot.write, self._data, name, (task.payload for task in tasks))

        return self._exclusively(write, "wrote", name)

    def load(self, name: str) -> Deferred[None]:
        """
        Replace the content by a snapshot's.

        @raise Fault: (by the Deferred) it cannot be read, or is too large; the content is what it was.
        """

        def read() -> Deferred[None]:
            return self._in_thread(self._filled, name).addCallback(self._replace)

        return self._exclusively(read, "loaded", name)

    def _filled(self, name: str) -> MemoryStore:
        """A store with the messages of a snapshot, made in a thread."""
        store = self._new_store()
        batch: list[NewTask] = []
        for message in snapshot.read(self._data, name):
            batch.append(NewTask(queue=NAME, payload=message))
            if len(batch) == LOAD_AT_ONCE:
                _fill(store, batch)
                batch = []
        _fill(store, batch)
        return store

    def _replace(self, store: MemoryStore) -> None:
        self._store = store

    def _in_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    def _exclusively(self, work: Any, done: str, name: str) -> Deferred[None]:
        """
        Do something with files when nobody else does. Once begun it is brought to an end, whether or not somebody
        waits for it.
        """
        answer: Deferred[None] = Deferred(lambda _: None)

        def ended(result: Any) -> None:
            self._snapshots -= 1
            if not answer.called:
                answer.callback(result)

        def succeeded(result: object) -> None:
            _log.info("{done} snapshot {name!r}: {count} messages", done=done, name=name, count=len(self._store))

        parts_of(name)  # Before it waits, so that who is wrong hears it at once.
        self._snapshots += 1
        self._files.run(work).addCallback(succeeded).addBoth(ended)
        return answer

    def close(self) -> Deferred[None]:
        """Fires when no snapshot is being written or read any more; nothing is logged after that."""
        return self._files.run(self._trace.close)

    # What there is to see.

    def _metrics(self, call: Call) -> Answer:
        return json_answer(
            {
                "uptime_sec": int(self._reactor.seconds() - self._started),
                "enqueues": self.enqueues,
                "dequeues_ok": self.dequeues_ok,
                "dequeues_empty": self.dequeues_empty,
                "queue_length": len(self._store),
                "queue_bytes": self._store.bytes,
                "open_fds": len(listdir("/proc/self/fd")),
                "max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                "goroutines": threading.active_count(),
            }
        )


_CLAIM = Claim((NAME,), 1, 0, take=True)


def _refused(failure: Any) -> Answer:
    failure.trap(FullFault)
    raise ClientFault("queue full", status=429)


def _fill(store: MemoryStore, batch: list[NewTask]) -> None:
    failures: list[Any] = []
    store.create(batch).addErrback(failures.append)
    if failures:
        raise ServerFault("The snapshot is larger than the queue may be.", status=500)
