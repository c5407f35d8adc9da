"""The measurements: for each row what is asked for, of whom, and in which way."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.project import CHECKOUT, Unmet
from bench.proxy.candidates import HELLO, Candidate
from bench.proxy.machine import COMMAND_S, find, run_on_cores
from bench.proxy.reading import cpu_between, read_cpu, wrong_size
from bench.proxy.rows import OURS, Figures
from bench.proxy.stage import WARM_S, Plan, Stage, stage, under
from bench.queue.load import Clients, Confirmed
from bench.queue.rows import (
    BATCH,
    BEANSTALK,
    BEANSTALK_FSYNC,
    CLIENTS,
    CPU_US,
    FRONT,
    P50_MS,
    P99_MS,
    PEERS,
    PER_S,
    RAW,
    REDIS_ALWAYS,
    REDIS_EVERYSEC,
    ZAPQ_CLIENTS,
)
from bench.queue.servers import Server, beanstalk, define, ours, redis, zapq_metrics

Found = dict[str, Figures]
"""By the candidates' names."""

BATCH_CLIENTS = 8
"""That put, get and delete in batches."""
POLLS_PER_S = 20
"""About as many polls are answered one after the other in a second, with the pauses between them."""

PROXIED = "/bench"


@dataclass
class Ground:
    """
    Where it happens, and what runs there.

    @ivar folder: of everybody's data, on one disk.
    @ivar clients: the load.
    """

    plan: Plan
    folder: Path
    clients: Clients
    _stack: ExitStack = field(default_factory=ExitStack)
    _cycling: dict[str, Server] | None = None
    _proxy: Stage | None = None

    @property
    def cycling(self) -> dict[str, Server]:
        """Everybody who is measured in whole cycles, as far as they are installed."""
        if self._cycling is None:
            cores, enter = self.plan.cores.proxy, self._stack.enter_context
            disk = ("--durability", "disk", "--store", "sqlite")
            servers = [enter(ours("tqs", OURS, self.plan.checkout, self.folder / "tqs", cores, *disk))]
            define(servers[0])
            if find("beanstalkd"):
                servers.append(enter(beanstalk(BEANSTALK_FSYNC, self.folder / "beanstalkd-fsync", cores, fsync=True)))
                servers.append(enter(beanstalk(BEANSTALK, self.folder / "beanstalkd", cores, fsync=False)))
            if find("redis-server"):
                servers.append(enter(redis(REDIS_ALWAYS, self.folder / "redis-always", cores, fsync="always")))
                servers.append(enter(redis(REDIS_EVERYSEC, self.folder / "redis-everysec", cores, fsync="everysec")))
            self._cycling = {server.name: server for server in servers}
        return self._cycling

    @property
    def proxy(self) -> Stage:
        """A front, with the worker that C{bench.proxy} measures it with."""
        if self._proxy is None:
            self._proxy = self._stack.enter_context(stage(self.plan, (OURS,)))
        return self._proxy

    def close(self) -> None:
        """End what runs."""
        self._stack.close()


Act = Callable[[], tuple[dict[str, float], str]]
"""Measures one candidate once: figures, and what was wrong."""


def in_turns(plan: Plan, what: str, acts: Mapping[str, Act]) -> Found:
    """Measure candidates in turns, round by round."""
    found = {name: Figures() for name in acts}
    for number in range(plan.rounds):
        for name, act in acts.items():
            try:
                figures, trouble = act()
            except (Unmet, OSError) as error:
                figures, trouble = {}, str(error)
            found[name].add(figures, trouble)
            told = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
            plan.say(f"{what}, round {number + 1}, {name}: {told}{' !! ' + trouble if trouble else ''}")
    return found


def counted(server: Server, work: Callable[[], Confirmed]) -> tuple[dict[str, float], Confirmed, str]:
    """
    Let clients work, count what they took of a server's CPU time, and ask the server what it has.

    @return: CPU seconds and latencies, what was confirmed, and what was wrong.
    """
    before = read_cpu(server.pids)
    confirmed = work()
    used_s = cpu_between(before, read_cpu(server.pids))
    server.expected += confirmed.puts - (confirmed.gets if server.protocol == "zapq" else confirmed.dones)
    figures = {"cpu_s": used_s, P50_MS: confirmed.p50_ms, P99_MS: confirmed.p99_ms}
    return figures, confirmed, confirmed.trouble or server.wrong()


def cycling(ground: Ground, server: Server, clients: int, batch: int, *options: str) -> Act:
    """Whole cycles."""

    def act() -> tuple[dict[str, float], str]:
        figures, confirmed, trouble = counted(
            server,
            lambda: ground.clients.run(
                server.protocol, server.port, *options, clients=clients, batch=batch, seconds=ground.plan.seconds
            ),
        )
        if not confirmed.dones:
            return {}, trouble or "nothing was done"
        figures[CPU_US] = figures.pop("cpu_s") / confirmed.dones * 1e6
        return {PER_S: confirmed.dones / confirmed.seconds, **figures}, trouble

    return act


def raw(ground: Ground) -> Act:
    """The ceiling."""

    def act() -> tuple[dict[str, float], str]:
        folder = ground.folder / "raw"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        argv = [sys.executable, "-m", "bench.queue.raw", str(folder), str(ground.plan.seconds)]
        said = json.loads(run_on_cores(ground.plan.cores.proxy, argv, COMMAND_S, CHECKOUT))
        return {PER_S: said["done"] / said["seconds"], CPU_US: said["cpu_s"] / said["done"] * 1e6}, said["trouble"]

    return act


def _absent(found: Found) -> Found:
    """Say of whom there is none here."""
    for name in PEERS:
        if name not in found:
            program = "beanstalkd" if name in (BEANSTALK, BEANSTALK_FSYNC) else "redis-server"
            found[name] = Figures(missing=f"no {program} here: apt-get install {program}")
    return found


def batches(ground: Ground) -> Found:
    """In batches, beside SQLite alone and everybody else."""
    acts: dict[str, Act] = {RAW: raw(ground)}
    for name, server in ground.cycling.items():
        acts[name] = cycling(ground, server, BATCH_CLIENTS, BATCH)
    return _absent(in_turns(ground.plan, "batches", acts))


def singles(ground: Ground) -> Found:
    """In batches, but each lease is deleted by a request of its own."""
    acts = {RAW: raw(ground), OURS: cycling(ground, ground.cycling[OURS], BATCH_CLIENTS, BATCH, "-single")}
    return in_turns(ground.plan, "batches, single DELETEs", acts)


def one_at_a_time(ground: Ground) -> Found:
    """Many clients with one message each."""
    acts = {name: cycling(ground, server, CLIENTS, 1) for name, server in ground.cycling.items()}
    return _absent(in_turns(ground.plan, "one at a time", acts))


def polls(ground: Ground) -> Found:
    """How long it takes from a put to the answer of a poll that waits."""
    server = ground.cycling[OURS]
    count = max(POLLS_PER_S, round(POLLS_PER_S * ground.plan.seconds))

    def act() -> tuple[dict[str, float], str]:
        figures, _, trouble = counted(
            server, lambda: ground.clients.run("tqs", server.port, "-mode", "poll", "-count", str(count))
        )
        return {P50_MS: figures[P50_MS], P99_MS: figures[P99_MS]}, trouble

    return in_turns(ground.plan, "polls", {OURS: act})


ENQUEUE, DEQUEUE = "enqueue", "dequeue"


def zapq(ground: Ground) -> dict[str, Found]:
    """
    What ZapQ takes of a core for each request, beside a front that proxies one, with as many connections.

    @return: by row.
    """
    plan = ground.plan
    front = ground.proxy.candidates[OURS]
    with ours("zapq", OURS, plan.checkout, ground.folder / "zapq", plan.cores.proxy, *ZAPQ_LIMITS) as server:
        plan.load.keep_alive(front.port, PROXIED, WARM_S, ZAPQ_CLIENTS)
        found = in_turns(
            plan,
            "ZapQ",
            {
                FRONT: _proxied(plan, front),
                ENQUEUE: _zapq(ground, server, "put"),
                DEQUEUE: _zapq(ground, server, "get"),
            },
        )
    return {row: {OURS: found[row], FRONT: found[FRONT]} for row in (ENQUEUE, DEQUEUE)}


ZAPQ_LIMITS = ("--max-msgs", "100000000", "--max-bytes", "8G")
"""A queue is not full before the time is over."""
ZAPQ_DRAIN_S = 300.0
"""What was enqueued is dequeued to the end, long before this."""


def _proxied(plan: Plan, front: Candidate) -> Act:
    def act() -> tuple[dict[str, float], str]:
        figures, result = under(front, lambda: plan.load.keep_alive(front.port, PROXIED, plan.seconds, ZAPQ_CLIENTS))
        return figures, result.trouble or wrong_size(result, len(HELLO), ZAPQ_CLIENTS)

    return act


def _zapq(ground: Ground, server: Server, mode: str) -> Act:
    def act() -> tuple[dict[str, float], str]:
        seconds = ground.plan.seconds if mode == "put" else ZAPQ_DRAIN_S
        before = zapq_metrics(server.port)
        figures, confirmed, trouble = counted(
            server,
            lambda: ground.clients.run("zapq", server.port, "-mode", mode, clients=ZAPQ_CLIENTS, seconds=seconds),
        )
        after = zapq_metrics(server.port)
        key, count = ("enqueues", confirmed.puts) if mode == "put" else ("dequeues_ok", confirmed.gets)
        if not count:
            return {}, trouble or "nothing was done"
        if after[key] - before[key] != count:
            trouble = trouble or f"it counts {after[key] - before[key]} {key}, and {count} were confirmed"
        figures[CPU_US] = figures.pop("cpu_s") / count * 1e6
        return {PER_S: count / confirmed.seconds, **figures}, trouble

    return act


@dataclass
class Bench:
    """
    Measures row by row, what several rows share only once.

    @ivar keys: the rows that are wanted.
    @ivar messages: of the rows with many.
    """

    ground: Ground
    keys: Sequence[str]
    messages: int
    _done: dict[str, Found] = field(default_factory=dict)

    def run(self) -> Iterator[tuple[str, Found]]:
        """Measure; each row's figures as soon as they are there."""
        from bench.queue.delivery import delivery
        from bench.queue.many import many

        single: dict[str, Callable[[Ground], Found]] = {
            "batch": batches,
            "single": singles,
            "one": one_at_a_time,
            "poll": polls,
            "delivery": delivery,
        }
        groups: dict[tuple[str, ...], Callable[[Ground], dict[str, Found]]] = {
            (ENQUEUE, DEQUEUE): zapq,
            ("depth", "restart", "memory"): partial(many, messages=self.messages),
        }
        try:
            for key, phase in single.items():
                if key in self.keys:
                    yield key, phase(self.ground)
            for keys, phases in groups.items():
                if wanted := [key for key in keys if key in self.keys]:
                    found = phases(self.ground)
                    yield from ((key, found[key]) for key in wanted)
        finally:
            self.ground.close()
