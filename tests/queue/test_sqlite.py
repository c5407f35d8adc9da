"""The store in a SQLite file: what it does besides what every store does."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import tqserver
from tqserver.process.lock import REFRESH_S, ProjectLock
from tqserver.queue import migrations, sqlite_writer
from tqserver.queue.migrations import VERSION, migrate, schema
from tqserver.queue.model import LOCAL, NewTask, Policy, QueueName, State, Task
from tqserver.queue.sqlite import PROBE_S, SqliteStore
from tqserver.queue.sqlite_file import FILE_NAME, LOCK_NAME, WAL_BYTES_KEPT
from tqserver.queue.sqlite_rows import LARGE_BYTES
from tqserver.queue.store import Claim, Finish, FullFault, Held, StoreFault

from .store_contract import JOBS, MAIL, StoreCase, StoreContract


class SqliteCase(StoreCase):
    """A store in a file, all of it in this thread."""

    store: SqliteStore

    def make_store(self, **options: Any) -> SqliteStore:
        self.directory = os.path.abspath(options.pop("directory", "") or self.mktemp())
        return SqliteStore(
            self.directory,
            self.clock,
            self.now,
            durability="process",
            bits=random.Random(7),
            threads=False,
            **options,
        )

    def again(self, **options: Any) -> None:
        """The store is closed, and opened anew."""
        self.of(self.store.close())
        self.store = self.make_store(directory=self.directory, **options)
        self.of(self.store.open())

    def fault(self, answer: Deferred[Any]) -> StoreFault:
        """Something could not be done: 503, with the file named for the operator."""
        fault: StoreFault = self.failureResultOf(answer, StoreFault).value
        self.assertEqual(fault.status, 503)
        self.assertIn(self.directory, fault.detail)
        self.assertNotIn(self.directory, fault.reason)
        assert self.store.fault is not None
        self.assertEqual(self.store.fault.reason, fault.reason)
        self.flushLoggedErrors()
        return fault

    def new(self, payload: bytes = b"x", **fields: Any) -> list[NewTask]:
        return [NewTask(queue=JOBS, payload=payload, **fields)]


class SqliteContractTests(StoreContract, SqliteCase):
    """It does what every store does."""


class RestartTests(SqliteCase):
    """What is found again."""

    def test_all(self) -> None:
        """After a restart everything is as it was: queues, rules, tasks, leases, counts and what is due."""
        policy = Policy(leased_max=5)
        self.of(self.store.define(MAIL, policy))
        tasks = [self.in_state(state) for state in State]
        (large,) = self.put(b"l" * (LARGE_BYTES + 1), queue=MAIL, key="k", key_expires=self.now() + 1000)
        leased = tasks[State.LEASED]
        counts, due, queues = self.store.counts(JOBS), self.store.due, dict(self.store.queues)
        self.again()
        self.assertEqual((self.store.counts(JOBS), self.store.due, self.store.queues), (counts, due, queues))
        self.assertEqual([self.get(task) for task in [*tasks, large]], [*tasks, large])
        self.assertEqual(self.finish(leased).state, State.DONE)
        (replay,) = self.of(self.store.create([NewTask(queue=MAIL, payload=b"", key="k", key_expires=self.now() + 9)]))
        self.assertEqual((replay.replay, replay.task), (True, large))

    def test_numbers_go_on(self) -> None:
        """A task is younger than all that were put before, even if those are gone and the store was restarted."""
        (old,) = self.put(b"a")
        self.of(self.store.remove(LOCAL, [old.id]))
        self.again()
        self.assertGreater(self.put(b"b")[0].seq, old.seq)

    def test_dropped(self) -> None:
        """A large queue is gone at once when it is dropped; what is left of it in the file vanishes after a restart."""
        self.put(*[b"x"] * 2500)
        self.store.writing._rest = lambda: False
        self.of(self.store.drop(JOBS))
        self.assertCounts()
        self.put(b"new", queue=JOBS)
        self.assertCounts(ready=1)
        self.again()
        self.assertCounts(ready=1)
        self.assertEqual(self.payloads(self.page(State.READY).tasks), [b"new"])
        self.put(b"more")
        with sqlite3.connect(self.store.path) as db:
            self.assertEqual(db.execute("SELECT count(*) FROM task").fetchone(), (2,))
            self.assertEqual(db.execute("SELECT count(*) FROM queue").fetchone(), (1,))
        db.close()

    def test_file_mode(self) -> None:
        """Nobody else may read the file, nor what SQLite puts beside it."""
        self.put(b"a")
        for name in os.listdir(self.directory):
            if name.startswith(FILE_NAME):
                self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.directory, name)).st_mode), 0o600, name)

    def test_large_payloads_are_gone_with_their_tasks(self) -> None:
        """Nothing is left of a large payload."""
        self.finish(self.leased(b"x" * 100_000))
        db = sqlite3.connect(self.store.path)
        self.assertEqual(db.execute("SELECT count(*) FROM large").fetchone(), (0,))
        db.close()


class GroupCommitTests(SqliteCase):
    """Steps that share a commit."""

    def test_shared(self) -> None:
        """Steps that come while a commit is under way share the next, and see what those before them did."""
        commits = self.store.stats.commits
        self.store.writing.pause()
        answers = [self.store.create(self.new(b"%d" % n)) for n in range(64)]
        for answer in answers:
            self.assertNoResult(answer)
        self.assertCounts()
        self.store.writing.resume()
        self.assertEqual(len({self.of(answer)[0].task.id for answer in answers}), 64)
        self.assertEqual((self.store.stats.commits - commits, self.store.stats.batch_classes[6]), (1, 1))
        self.assertCounts(ready=64)

    def test_large_steps(self) -> None:
        """A batch is no larger than what is done in a few milliseconds."""
        commits = self.store.stats.commits
        self.store.writing.pause()
        answers = [self.store.create(self.new() * 900) for _ in range(4)]
        self.store.writing.resume()
        self.of(gatherResults(answers))
        self.assertEqual(self.store.stats.commits - commits, 2)

    def test_one_fails(self) -> None:
        """If a step of a batch cannot be done, the others are, and the memory of the store agrees with its file."""
        self.store.writing.pause()
        before = self.store.create(self.new(b"a"))
        bad = self.store.create(self.new(b"b") + self.new(b"c", priority=1 << 70))
        after = self.store.create(self.new(b"d"))
        define = self.store.define(MAIL)
        self.store.writing.resume()
        self.failureResultOf(bad, OverflowError)
        self.of(before), self.of(after)
        self.assertTrue(self.of(define))
        self.assertCounts(ready=2)
        self.assertEqual(self.payloads(self.page(State.READY).tasks), [b"a", b"d"])
        self.again()
        self.assertCounts(ready=2)
        self.assertEqual(self.payloads(self.claim(limit=9)), [b"a", b"d"])

    def test_full_among_others(self) -> None:
        """A store that is full refuses the step that does not fit, and does the others of the batch."""
        self.again(tasks_max=3)
        self.store.writing.pause()
        answers = [self.store.create(self.new() * number) for number in (2, 2, 1)]
        self.store.writing.resume()
        self.failureResultOf(answers.pop(1), FullFault)
        self.of(gatherResults(answers))
        self.assertIsNone(self.store.fault)
        self.assertCounts(ready=3)

    def test_bounded(self) -> None:
        """No more steps wait than may; who comes then is told to come again."""
        self.patch(sqlite_writer, "STEPS_MAX", 2)
        self.store.writing.pause()
        answers = [self.store.create(self.new()) for _ in range(2)]
        fault = self.failureResultOf(self.store.create(self.new()), StoreFault).value
        self.assertEqual((fault.status, fault.retry_after_s), (503, 1))
        self.store.writing.resume()
        self.of(gatherResults(answers))
        self.of(self.store.create(self.new()))

    def test_bounded_bytes(self) -> None:
        """No more waits than there is memory for; one that is larger than that alone is done."""
        self.patch(sqlite_writer, "WAITING_BYTES_MAX", 100)
        self.store.writing.pause()
        answer = self.store.create(self.new(b"x" * 200))
        self.failureResultOf(self.store.create(self.new(b"x")), StoreFault)
        self.store.writing.resume()
        self.of(answer)

    def test_cancelled(self) -> None:
        """Who does not want to hear of a step any more does not disturb it."""
        self.store.writing.pause()
        answer = self.store.create(self.new())
        answer.addErrback(lambda failure: None)
        answer.cancel()
        self.store.writing.resume()
        self.assertCounts(ready=1)

    def test_observers(self) -> None:
        """An observer that fails costs nobody an answer."""

        def broken(ready: frozenset[QueueName]) -> None:
            raise RuntimeError("broken")

        self.store.observe(broken)
        self.put(b"a")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_after_the_end(self) -> None:
        """Who comes after the store was closed is told so."""
        self.of(self.store.close())
        self.failureResultOf(self.store.create(self.new()), StoreFault)
        self.store = self.make_store(directory=self.directory)
        self.of(self.store.open())


class FaultTests(SqliteCase):
    """The disk or the file does not do what it should. Nothing is answered that is not stored, and it passes."""

    def unchanged(self, *tasks: Task) -> None:
        """The store has these tasks and no others, in memory and in the file."""
        self.assertCounts(ready=len(tasks))
        self.assertEqual([task.id for task in self.page(State.READY, 1000).tasks], [task.id for task in tasks])

    def test_full_file(self) -> None:
        """A file that may not grow is full; what fits is still put, and what ends makes room."""
        self.again(file_bytes_max=210_000)
        tasks: list[Task] = []
        while len(tasks) < 10:
            answer = self.store.create(self.new(b"x" * 20_000))
            if isinstance(answer.result, Failure):
                break
            tasks.append(self.of(answer)[0].task)
        self.assertEqual(self.failureResultOf(answer, FullFault).value.reason, "The queue is full.")
        self.unchanged(*tasks)
        small = self.put(b"small")[0]
        self.assertIsNone(self.store.fault)
        self.of(self.store.remove(LOCAL, [tasks.pop(0).id]))
        tasks += [small, *self.put(b"x" * 15_000)]
        self.unchanged(*tasks)

    def test_full_among_others(self) -> None:
        """A step for which there is no room does not keep the others of its batch from being done."""
        self.again(file_bytes_max=200_000)
        self.store.writing.pause()
        answers = [self.store.create(self.new(payload)) for payload in (b"a", b"x" * 400_000, b"b")]
        self.store.writing.resume()
        self.failureResultOf(answers.pop(1), FullFault)
        self.assertCounts(ready=2)
        self.of(gatherResults(answers))

    def test_full_file_drains(self) -> None:
        """Of a file that is full to the brim all can still be leased and ended, and what is leased can expire."""
        for payload in (b"x" * 10, b"x" * 300, b"x" * 5000):
            self.again(file_bytes_max=1_000_000)
            put = batch = 64
            while batch:
                new = [NewTask(queue=JOBS, payload=payload, priority=put % 7, expires=self.now() + 9_000_000)] * batch
                answer = self.store.create(new)
                if isinstance(answer.result, Failure):
                    self.failureResultOf(answer, FullFault)
                    batch //= 2
                else:
                    put += len(self.of(answer))
            for _ in range(5000):  # Workers that take all that they can get, and die.
                answer = self.store.claim(Claim((JOBS,), 100, self.now() + 1000))
                if isinstance(answer.result, Failure):
                    self.failureResultOf(answer, FullFault)
                    break
                if not self.of(answer):
                    break
            self.later(1000)
            while self.of(self.store.sweep()).more:
                pass
            counts = self.store.counts(JOBS)
            self.assertEqual((counts.leased, counts.ready > 100), (0, True))
            while leased := self.claim(limit=100):
                for outcome in self.of(self.store.finish([Finish(Held(LOCAL, lease=task.lease)) for task in leased])):
                    assert isinstance(outcome, Task)
            self.assertCounts()
            self.assertIsNone(self.store.fault)

    def test_lock_cannot_be_refreshed(self) -> None:
        """A disk that was read-only when the lock was to be refreshed has not given the queues to somebody else."""

        def utime(*arguments: object, **more: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        patched = self.patch(os, "utime", utime)
        self.clock.advance(REFRESH_S)
        patched.restore()
        assert self.store.fault is not None
        self.clock.advance(PROBE_S)
        self.assertIsNone(self.store.fault)
        self.put(b"a")
        self.clock.advance(REFRESH_S)
        self.assertIsNone(self.store.fault)

    def test_full_disk(self) -> None:
        """When the disk is full nothing is lost; when there is room again the store works, without being restarted."""
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory]
        if subprocess.run(mount, capture_output=True).returncode:
            raise SkipTest("this user may not mount a small disk")
        self.addCleanup(subprocess.run, ["umount", "-l", directory], check=True)
        self.of(self.store.close())
        self.store = self.make_store(directory=directory)
        self.addCleanup(lambda: self.of(self.store.close()))
        self.of(self.store.open())
        self.of(self.store.define(JOBS))
        ballast = os.path.join(directory, "ballast")
        tasks = self.put(b"a")
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        while True:
            answer = self.store.create(self.new(b"x" * 20_000))
            if self.store.fault is not None:
                break
            tasks.append(self.of(answer)[0].task)
        self.assertEqual(self.fault(answer).reason, "The disk of the queues is full.")
        self.unchanged(*tasks)
        os.unlink(ballast)
        self.clock.advance(PROBE_S)
        self.assertIsNone(self.store.fault)
        tasks += self.put(b"x" * 20_000)
        self.unchanged(*tasks)
        self.of(self.store.close())
        self.store = self.make_store(directory=directory)
        self.of(self.store.open())
        self.unchanged(*tasks)

    def test_write_fails(self) -> None:
        """When the kernel does not write (here: a limit of the process), nothing has happened; then it goes on."""
        tasks = self.put(b"a")
        size = os.stat(self.store.path + "-wal").st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            self.fault(self.store.create(self.new(b"x" * 100_000)))
            self.assertCounts(ready=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.clock.advance(PROBE_S)
        self.assertIsNone(self.store.fault)
        self.unchanged(*tasks)
        self.unchanged(*tasks, *self.put(b"x" * 100_000))

    def test_locked(self) -> None:
        """While another program has the file locked nothing is done, and then all is well."""
        tasks = self.put(b"a")
        other = sqlite3.connect(self.store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        fault = self.fault(self.store.create(self.new()))
        self.assertEqual(fault.reason, "The file of the queues is locked by another program.")
        self.unchanged(*tasks)
        self.store.writing.pause()
        answers = [self.store.create(self.new()) for _ in range(3)]
        faults = self.store.stats.faults
        self.store.writing.resume()
        for answer in answers:
            self.fault(answer)
        self.assertEqual(self.store.stats.faults, faults + 1, "all of a batch wait for it once")
        other.execute("ROLLBACK")
        other.close()
        self.unchanged(*tasks, *self.put(b"b"))
        self.assertIsNone(self.store.fault)

    def test_file_is_gone(self) -> None:
        """Nothing is answered while the file is not there; when it is back, its tasks are."""
        tasks = self.put(b"a")
        away = self.directory + ".away"
        os.rename(self.directory, away)
        self.fault(self.store.create(self.new()))
        self.fault(self.store.create(self.new()))
        self.assertCounts(ready=1)
        os.rename(away, self.directory)
        self.clock.advance(PROBE_S)
        self.assertIsNone(self.store.fault)
        self.unchanged(*tasks, *self.put(b"b"))

    def test_file_is_another(self) -> None:
        """If the file is replaced by another (a backup), nothing is written to the old; the other is taken."""
        self.put(b"a")
        self.page(State.READY)
        shutil.copy(self.store.path, self.store.path + ".backup")
        wal = self.store.path + "-wal"
        shutil.copy(wal, wal + ".backup")
        self.put(b"b")
        for name in (self.store.path, wal):
            os.rename(name + ".backup", name)
        self.assertEqual(self.fault(self.store.create(self.new())).reason, "The file of the queues is another one.")
        self.clock.advance(PROBE_S)
        self.assertIsNone(self.store.fault)
        self.assertCounts(ready=1)
        self.assertEqual(self.payloads(self.page(State.READY).tasks), [b"a"])

    def test_damaged(self) -> None:
        """A file that is none is not touched, and said to be damaged."""
        self.of(self.store.close())
        with open(self.store.path, "wb") as file:
            file.write(b"no database" * 1000)
        self.store = self.make_store(directory=self.directory)
        self.assertEqual(self.fault(self.store.open()).reason, "The file of the queues is damaged.")

    def test_damaged_while_open(self) -> None:
        """If pages of the file turn out to be damaged, who needs them is told, and nobody is given anything wrong."""
        self.put(*[b"x" * 1000] * 500)
        self.again()
        with open(self.store.path, "r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (os.path.getsize(self.store.path) - 4096))
        self.assertEqual(
            self.fault(self.store.claim(Claim((JOBS,), 1000, self.now() + 1000))).reason,
            "The file of the queues is damaged.",
        )
        self.clock.advance(PROBE_S)
        self.assertIsNotNone(self.store.fault)
        self.flushLoggedErrors()

    def test_no_directory(self) -> None:
        """A directory that cannot be made is named."""
        self.of(self.store.close())
        with open(self.directory + ".file", "w"):
            pass
        self.store = self.make_store(directory=self.directory + ".file/data")
        self.fault(self.store.open())

    def test_read_only(self) -> None:
        """A file on a disk that is mounted read-only cannot be opened, and is named; mounted otherwise it can."""
        self.put(b"a")
        self.of(self.store.close())
        mounts = [["mount", "--bind", self.directory, self.directory]]
        mounts.append(["mount", "-o", "remount,ro,bind", self.directory])
        if subprocess.run(mounts[0], capture_output=True).returncode:
            self.store = self.make_store(directory=self.directory)
            raise SkipTest("this user may not mount")
        self.addCleanup(subprocess.run, ["umount", "-l", self.directory], check=True)
        subprocess.run(mounts[1], check=True)
        self.store = self.make_store(directory=self.directory)
        self.fault(self.store.open())
        subprocess.run(["mount", "-o", "remount,rw,bind", self.directory], check=True)
        self.clock.advance(PROBE_S)
        self.assertIsNone(self.store.fault)
        self.assertCounts(ready=1)


class LockTests(SqliteCase):
    """One process has a data directory."""

    def test_second(self) -> None:
        """A second process is told who has the directory, and what to do."""
        code = (
            "import sys; from tqserver.process.lock import ProjectLock; "
            "ProjectLock(sys.argv[1]).take(); print('held', flush=True); sys.stdin.read()"
        )
        self.of(self.store.close())
        root = os.path.dirname(os.path.dirname(tqserver.__file__))
        path = os.path.join(self.directory, LOCK_NAME)
        holder = subprocess.Popen(
            [sys.executable, "-c", code, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert holder.stdin is not None and holder.stdout is not None
        self.addCleanup(holder.stdout.close)
        self.addCleanup(holder.stdin.close)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        self.assertEqual(holder.stdout.readline(), b"held\n")
        self.store = self.make_store(directory=self.directory)
        fault = self.fault(self.store.open())
        self.assertIn(f"process {holder.pid} on ", fault.detail)
        holder.kill()
        holder.wait()
        self.clock.advance(PROBE_S)  # What a dead holder left is taken over.
        self.assertIsNone(self.store.fault)
        self.put(b"a")

    def test_taken_over(self) -> None:
        """A store whose directory another process has taken writes no more."""
        self.put(b"a")
        path = os.path.join(self.directory, LOCK_NAME)
        os.unlink(path)
        other = ProjectLock(path)
        other.take()
        self.clock.advance(15)
        self.assertEqual(self.fault(self.store.create(self.new())).reason, "Another process has taken the queues.")
        self.clock.advance(PROBE_S)
        self.assertIsNotNone(self.store.fault)
        other.release()


class SpaceTests(SqliteCase):
    """What is gone takes no room."""

    def test_finished(self) -> None:
        """The file shrinks when tasks are gone whose time was over, down to what it has in reserve."""
        for _ in range(20):
            self.put(*[b"x" * 500] * 1000, keep_ms=1000)
        while self.claim(limit=1000, take=True):
            pass
        self.of(self.store.define(MAIL))
        self.assertCounts(done=20_000)
        db = sqlite3.connect(self.store.path)
        self.addCleanup(db.close)
        (most,) = db.execute("PRAGMA page_count").fetchone()
        self.later(2000)
        while self.sweep().more:
            pass
        for _ in range(20):
            self.of(self.store.define(MAIL))
        (least,) = db.execute("PRAGMA page_count").fetchone()
        self.assertCounts()
        self.assertLess(least, most // 2, (least, most))

    def test_log(self) -> None:
        """The log beside the file does not grow for ever."""
        for _ in range(300):
            self.put(*[b"x" * 1000] * 100)
            self.claim(limit=100, take=True)
            self.of(self.store.get(LOCAL, ["nothing"]))
        self.assertLess(os.path.getsize(self.store.path + "-wal"), WAL_BYTES_KEPT)


class MigrationTests(SynchronousTestCase):
    """Files of other versions."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.db.close)

    def test_new(self) -> None:
        """A new file is of the present version, and is left alone the next time."""
        self.assertEqual([migrate(self.db, self.path) for _ in range(2)], [0, VERSION])
        self.assertEqual(self.db.execute("PRAGMA integrity_check").fetchone(), ("ok",))

    def test_older(self) -> None:
        """An older file goes through all the steps; a new one has the same in the end."""
        steps = ["CREATE TABLE more (a INTEGER)", "ALTER TABLE more ADD COLUMN b INTEGER"]
        migrate(self.db, self.path, steps[:1])
        self.assertEqual(migrate(self.db, self.path, steps), 2)
        new = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(new.close)
        migrate(new, "", steps)
        tables = "SELECT sql FROM sqlite_schema WHERE name = 'more'"
        self.assertEqual(self.db.execute(tables).fetchall(), new.execute(tables).fetchall())
        self.assertEqual(new.execute("PRAGMA user_version").fetchone(), (3,))

    def test_broken_step(self) -> None:
        """A step that fails leaves the file as it was."""
        migrate(self.db, self.path)
        steps = ["CREATE TABLE more (a INTEGER); nonsense"]
        self.assertRaises(sqlite3.Error, migrate, self.db, self.path, steps)
        self.assertEqual(self.db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'more'").fetchall(), [])
        self.assertEqual(migrate(self.db, self.path), VERSION)

    def test_newer(self) -> None:
        """A file of a newer program is not touched."""
        migrate(self.db, self.path, ["CREATE TABLE more (a INTEGER)"])
        fault = self.assertRaises(StoreFault, migrate, self.db, self.path)
        self.assertIn("use the newer program", fault.detail)

    def test_not_ours(self) -> None:
        """A file of another program is not touched."""
        self.db.execute("CREATE TABLE theirs (a INTEGER)")
        self.assertRaises(StoreFault, migrate, self.db, self.path)

    def test_states(self) -> None:
        """The schema names the states by the numbers that they have."""
        for state in State:
            self.assertIn(f"{state.name} {state.value}", schema())
        self.assertEqual(migrations.VERSION, 1 + len(migrations.STEPS))
