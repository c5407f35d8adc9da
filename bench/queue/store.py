"""
The SQLite store beside raw SQLite, in one run: C{python -m bench.queue.store [--rounds N] [--million]}.

A cycle is one task that is put, leased and ended, each in batches of 100, each batch committed before the next begins.
The ceiling is a table of four columns in one thread, with nothing of what a queue needs besides. Each figure is the
median of the rounds; the rounds of all alternate, so that what disturbs one disturbs the others. Ratios are what can
be compared with another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks

from tqserver.queue.model import LOCAL, NewTask, QueueName
from tqserver.queue.sqlite import SqliteStore
from tqserver.queue.store import Claim, Finish, Held, IStore

BATCH = 100
CYCLES = 10_000
CLIENTS = 64
SINGLES = 6_400
PAYLOAD = b"x" * 100
JOBS = QueueName(LOCAL, "jobs")
TICK_S = 0.001

Steps = Generator[Deferred[Any], Any, Any]


def now_ms() -> int:
    return int(time.time() * 1000)


class Meter:
    """Wall and CPU time of what happens inside."""

    def __enter__(self) -> Meter:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *exception: object) -> None:
        self.wall_s, self.cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu


def raw(synchronous: str) -> Meter:
    """The ceiling: the same cycles with nothing but SQLite."""
    directory = tempfile.mkdtemp()
    db = sqlite3.connect(os.path.join(directory, "raw.db"), isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("CREATE TABLE task (seq INTEGER PRIMARY KEY, state INTEGER, lease TEXT, payload BLOB)")
    db.execute("CREATE INDEX ready ON task (seq) WHERE state = 1")
    with Meter() as meter:
        for first in range(0, CYCLES, BATCH):
            db.execute("BEGIN")
            db.executemany("INSERT INTO task VALUES (?, 1, NULL, ?)", [(first + n, PAYLOAD) for n in range(BATCH)])
            db.execute("COMMIT")
            db.execute("BEGIN")
            rows = db.execute("SELECT seq, payload FROM task WHERE state = 1 ORDER BY seq LIMIT ?", (BATCH,)).fetchall()
            db.executemany(
                "UPDATE task SET state = 2, lease = ? WHERE seq = ? AND state = 1", [(f"l{s}", s) for s, _ in rows]
            )
            db.execute("COMMIT")
            db.execute("BEGIN")
            db.executemany(
                "DELETE FROM task WHERE seq = ? AND state = 2 AND lease = ?", [(s, f"l{s}") for s, _ in rows]
            )
            db.execute("COMMIT")
    assert db.execute("SELECT count(*) FROM task").fetchone() == (0,)
    db.close()
    shutil.rmtree(directory)
    return meter


@inlineCallbacks
def cycle(store: IStore, number: int) -> Steps:
    """Put, lease and end so many tasks, one batch after the other."""
    new = [NewTask(queue=JOBS, payload=PAYLOAD) for _ in range(BATCH)]
    for _ in range(0, number, BATCH):
        yield store.create(new)
        tasks = yield store.claim(Claim((JOBS,), BATCH, now_ms() + 60_000))
        outcomes = yield store.finish([Finish(Held(LOCAL, lease=each.lease)) for each in tasks])
        assert len(outcomes) == BATCH


@inlineCallbacks
def ours(reactor: Any, durability: Any, streams: int) -> Steps:
    """The same cycles with the store, from one client or from several at once."""
    directory = tempfile.mkdtemp()
    store = SqliteStore(directory, reactor, now_ms, durability=durability)
    yield store.open()
    yield store.define(JOBS)
    with Meter() as meter:
        yield gatherResults([cycle(store, CYCLES // streams) for _ in range(streams)])
    assert not store.counts(JOBS).live
    yield store.close()
    shutil.rmtree(directory)
    return meter


@inlineCallbacks
def singles(reactor: Any) -> Steps:
    """Clients that put one task at a time, with C{disk}; and how long the reactor was kept from a tick meanwhile."""
    directory = tempfile.mkdtemp()
    store = SqliteStore(directory, reactor, now_ms)
    yield store.open()
    yield store.define(JOBS)
    before = store.stats.commits
    late: list[float] = []

    @inlineCallbacks
    def client() -> Steps:
        for _ in range(SINGLES // CLIENTS):
            yield store.create([NewTask(queue=JOBS, payload=PAYLOAD)])

    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        late.append(now - last - TICK_S)
        last = now

    ticking = task.LoopingCall(tick)
    ticking.clock = reactor
    ticking.start(TICK_S)
    with Meter() as meter:
        yield gatherResults([client() for _ in range(CLIENTS)])
    ticking.stop()
    commits = store.stats.commits - before
    yield store.close()
    shutil.rmtree(directory)
    late.sort()
    return {
        "puts_per_s": round(SINGLES / meter.wall_s),
        "cpu_us": round(meter.cpu_s / SINGLES * 1e6, 1),
        "commits_per_s": round(commits / meter.wall_s),
        "steps_per_commit": round(SINGLES / commits, 1),
        "tick_late_ms_p99": round(late[int(len(late) * 0.99)] * 1000, 2),
    }


@inlineCallbacks
def deep(reactor: Any, rows: int) -> Steps:
    """What a claim costs, how long it takes to open, and the memory, with so many ready tasks."""
    directory = tempfile.mkdtemp()
    store = SqliteStore(directory, reactor, now_ms, durability="process")
    yield store.open()
    new = [NewTask(queue=JOBS, payload=PAYLOAD) for _ in range(1000)]
    for _ in range(rows // 1000):
        yield store.create(new, define=True)
    yield store.close()
    store = SqliteStore(directory, reactor, now_ms, durability="process")
    with Meter() as opening:
        yield store.open()
    assert store.counts(JOBS).ready == rows
    costs: list[float] = []
    for _ in range(500):
        with Meter() as meter:
            tasks = yield store.claim(Claim((JOBS,), 1, now_ms() + 60_000))
        costs.append(meter.wall_s)
        yield store.finish([Finish(Held(LOCAL, lease=each.lease)) for each in tasks])
    memory_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file_bytes = os.path.getsize(store.path)
    yield store.close()
    shutil.rmtree(directory)
    return {
        "rows": rows,
        "claim_us": round(statistics.median(costs) * 1e6, 1),
        "open_s": round(opening.wall_s, 3),
        "memory_mib_peak": memory_kib // 1024,
        "file_mib": file_bytes >> 20,
    }


def figures(meters: list[Meter]) -> dict[str, float]:
    return {
        "cycles_per_s": round(CYCLES / statistics.median(meter.wall_s for meter in meters)),
        "cpu_us": round(statistics.median(meter.cpu_s for meter in meters) / CYCLES * 1e6, 1),
    }


@inlineCallbacks
def main(reactor: Any, rounds: int, million: bool) -> Steps:
    """All of it, as JSON."""
    runs: dict[str, Callable[[], Any]] = {
        "raw FULL": lambda: raw("FULL"),
        "store disk": lambda: ours(reactor, "disk", 1),
        "store disk, 4 streams": lambda: ours(reactor, "disk", 4),
        "raw NORMAL": lambda: raw("NORMAL"),
        "store process": lambda: ours(reactor, "process", 1),
    }
    meters: dict[str, list[Meter]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            meters[name].append((yield run()))
    result: dict[str, Any] = {name: figures(some) for name, some in meters.items()}
    for name, ceiling in (
        ("store disk", "raw FULL"),
        ("store disk, 4 streams", "raw FULL"),
        ("store process", "raw NORMAL"),
    ):
        ratio = result[name]["cycles_per_s"] / result[ceiling]["cycles_per_s"]
        result[name]["of_raw"] = round(ratio, 2)
    result["singles"] = yield singles(reactor)
    small = yield deep(reactor, 1000)
    result["deep"] = [small]
    if million:
        large = yield deep(reactor, 1_000_000)
        result["deep"].append({**large, "claim_ratio": round(large["claim_us"] / small["claim_us"], 2)})
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--million", action="store_true", help="a million tasks, too")
    options = parser.parse_args()
    task.react(main, (options.rounds, options.million))
