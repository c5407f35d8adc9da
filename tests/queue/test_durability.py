"""What an answer of the SQLite store promises, seen in the system calls; and its threads."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

import tqserver
from tqserver.queue.model import LOCAL, NewTask, QueueName
from tqserver.queue.sqlite import SqliteStore
from tqserver.queue.store import Claim, Finish, Held, StoreFault

JOBS = QueueName(LOCAL, "jobs")

VANISHED_S = 30.0
"""Longest until what is left of a queue that was dropped is gone; generous, for machines that do other things."""


class SystemCallTests(TestCase):
    """A process that puts tasks, watched by strace."""

    def calls(self, durability: str) -> str:
        """Its system calls, of those that matter."""
        strace = shutil.which("strace")
        if strace is None:
            raise SkipTest("there is no strace")
        trace = os.path.abspath(self.mktemp())
        root = os.path.dirname(os.path.dirname(tqserver.__file__))
        command = [strace, "-f", "-y", "-o", trace, "-e", "trace=write,pwrite64,fsync,fdatasync"]
        command += [sys.executable, "-m", "tests.queue.durable", self.mktemp(), durability]
        result = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "PYTHONPATH": root})
        if b"ptrace" in result.stderr:
            raise SkipTest("this user may not trace")
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        with open(trace) as file:
            return file.read()

    def between(self, calls: str) -> list[str]:
        """What was done between each question and its answer."""
        return re.findall(r'"asked \d.*?"answered \d', calls, re.DOTALL)

    def test_disk(self) -> None:
        """With C{disk} the log is written and synced before each answer."""
        between = self.between(self.calls("disk"))
        self.assertEqual(len(between), 3)
        for calls in between:
            self.assertRegex(
                calls, r"(?s)pwrite64\(\d+<[^>]*queues\.db-wal>.*(fdatasync|fsync)\(\d+<[^>]*queues\.db-wal>"
            )

    def test_process(self) -> None:
        """With C{process} it is written before each answer, and nobody waits for the disk."""
        between = self.between(self.calls("process"))
        self.assertEqual(len(between), 3)
        for calls in between:
            self.assertIn("queues.db-wal", calls)
            self.assertNotIn("sync(", calls)


class ThreadTests(TestCase):
    """The store as it runs in the service."""

    def setUp(self) -> Deferred[None]:
        self.directory = self.mktemp()
        return self.begin()

    def begin(self) -> Deferred[None]:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.store = SqliteStore(self.directory, reactor, lambda: 1000)
        return self.store.open()

    def tearDown(self) -> Deferred[None]:
        return self.store.close()

    @inlineCallbacks
    def test_many_at_once(self) -> Generator[Deferred[Any], Any, None]:
        """Many clients at once share commits; each has its own answer, in the reactor's thread."""
        yield self.store.define(JOBS)
        threads: set[int] = set()
        before = self.store.stats.commits

        @inlineCallbacks
        def client(name: int) -> Generator[Deferred[Any], Any, None]:
            for number in range(20):
                payload = b"%d %d" % (name, number)
                (created,) = yield self.store.create([NewTask(queue=JOBS, payload=payload)])
                threads.add(threading.get_ident())
                assert created.task.payload == payload

        yield gatherResults([client(name) for name in range(64)])
        self.assertEqual(threads, {threading.get_ident()})
        self.assertEqual(self.store.counts(JOBS).ready, 64 * 20)
        self.assertLess(self.store.stats.commits - before, 64 * 20 / 4)
        self.assertEqual(self.store.writing.waiting, 0)

    @inlineCallbacks
    def test_no_task_twice(self) -> Generator[Deferred[Any], Any, None]:
        """Of many that claim at once each has other tasks, and all have all."""
        yield self.store.create([NewTask(queue=JOBS, payload=b"%d" % n) for n in range(500)], define=True)
        claims = yield gatherResults([self.store.claim(Claim((JOBS,), 7, 2000)) for _ in range(100)])
        tasks = [task for claim in claims for task in claim]
        self.assertEqual(len({task.id for task in tasks}), 500)
        outcomes = yield self.store.finish([Finish(Held(LOCAL, lease=task.lease)) for task in tasks])
        self.assertEqual([outcome.id for outcome in outcomes], [task.id for task in tasks])

    @inlineCallbacks
    def test_reading_what_was_written(self) -> Generator[Deferred[Any], Any, None]:
        """Whoever has heard that a task is there finds it."""
        for _ in range(50):
            (created,) = yield self.store.create([NewTask(queue=JOBS, payload=b"x")], define=True)
            found = yield self.store.get(LOCAL, [created.task.id])
            self.assertEqual(found, [created.task])

    @inlineCallbacks
    def test_closed_in_the_middle(self) -> Generator[Deferred[Any], Any, None]:
        """What was asked for before the end is done, and answered."""
        answers = gatherResults(
            [self.store.create([NewTask(queue=JOBS, payload=b"x")], define=True) for _ in range(500)]
        )
        yield self.store.close()
        yield answers
        self.assertEqual([thread.name for thread in threading.enumerate() if thread.name.startswith("queue ")], [])
        yield self.assertFailure(self.store.sweep(), StoreFault)
        yield self.begin()
        self.assertEqual(self.store.counts(JOBS).ready, 500)

    @inlineCallbacks
    def test_large_queue_dropped(self) -> Generator[Deferred[Any], Any, None]:
        """A large queue that is dropped vanishes from the file by itself, while nobody asks for anything."""
        for _ in range(5):
            yield self.store.create([NewTask(queue=JOBS, payload=b"x")] * 1000, define=True)
        yield self.store.drop(JOBS)
        db = sqlite3.connect(self.store.path)
        self.addCleanup(db.close)
        end = time.monotonic() + VANISHED_S
        while db.execute("SELECT count(*) FROM task").fetchone() != (0,):
            self.assertLess(time.monotonic(), end, "it is still there")
            yield deferLater(self.reactor, 0.01)
        self.assertEqual(self.store.queues, {})
