"""A million messages: what a get costs among them, and how long a restart takes."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path

from bench.project import Unmet
from bench.proxy.rows import OURS, Figures
from bench.queue.load import Clients
from bench.queue.phases import Act, Found, Ground, counted, in_turns
from bench.queue.rows import CPU_US, FEW, P50_MS, P99_MS
from bench.queue.servers import Server, define, ours, tqs_counts

MESSAGES = 1_000_000
FEW_MESSAGES = 1_000
FILL_BATCH = 1_000
"""Messages of one put."""
FILL_CLIENTS = 4
GETS = 200
"""Of one round, one message each; as many are put after it."""

DISK = ("--durability", "disk", "--store", "sqlite")


def fill(clients: Clients, server: Server, count: int) -> str:
    """Put messages; what was wrong, if something was."""
    define(server)
    batch = min(count, FILL_BATCH)
    options = ("-mode", "put", "-count", str(count))
    return counted(server, lambda: clients.run("tqs", server.port, *options, clients=FILL_CLIENTS, batch=batch))[2]


def gets(ground: Ground, server: Server) -> Act:
    """Get some, one by one, and put as many again."""

    def act() -> tuple[dict[str, float], str]:
        run = ground.clients.run
        figures, confirmed, trouble = counted(
            server, lambda: run("tqs", server.port, "-mode", "get", "-count", str(GETS))
        )
        if confirmed.gets != GETS:
            trouble = trouble or f"{confirmed.gets} of {GETS} were got"
        again = counted(server, lambda: run("tqs", server.port, "-mode", "put", "-count", str(GETS), batch=GETS))[2]
        cpu_us = figures["cpu_s"] / GETS * 1e6
        return {CPU_US: cpu_us, P50_MS: figures[P50_MS], P99_MS: figures[P99_MS]}, trouble or again

    return act


def most_memory_mib(pid: int) -> float:
    """The most that a process has had in memory (C{VmHWM}, with what it shares), in MiB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise Unmet(f"the kernel does not say how much memory {pid} has")
    return int(found.group(1)) / 1024


def many(ground: Ground, messages: int = MESSAGES) -> dict[str, Found]:
    """
    Fill a queue, get from it, kill its server, and start it again.

    @return: by row.
    """
    plan, folder = ground.plan, ground.folder / "many"
    fewer = [] if messages == MESSAGES else [f"with {messages:,} messages instead of {MESSAGES:,}"]
    with ExitStack() as stack:
        server = stack.enter_context(ours("tqs", OURS, plan.checkout, folder, plan.cores.proxy, *DISK))
        few = stack.enter_context(ours("tqs", FEW, plan.checkout, ground.folder / "few", plan.cores.proxy, *DISK))
        began = time.monotonic()
        troubles = list(filter(None, [fill(ground.clients, server, messages), fill(ground.clients, few, FEW_MESSAGES)]))
        plan.say(f"{messages:,} messages were put in {time.monotonic() - began:.1f} s; {troubles or 'all are there'}")
        depth = in_turns(plan, "gets", {FEW: gets(ground, few), OURS: gets(ground, server)})
        told = [f"{name}: p50 of a get {figures.median(P50_MS) or 0:.2f} ms" for name, figures in depth.items()]
        server.started.kill()
        server.started.wait()
        expected = server.expected
    depth[OURS].remarks += [*fewer, *told]
    depth[OURS].trouble += troubles
    restart, memory = Figures(remarks=[*fewer]), Figures(remarks=[*fewer])
    for number in range(plan.rounds):
        began = time.monotonic()
        with ours("tqs", OURS, plan.checkout, folder, plan.cores.proxy, *DISK) as server:
            left = sum(tqs_counts(server.port).values())
            ready_s = time.monotonic() - began
            server.expected = expected
            trouble = "" if left == expected else f"it has {left} messages and should have {expected}"
            trouble = trouble or gets(ground, server)()[1]
            expected = server.expected
            mib = most_memory_mib(server.started.pid)
            server.started.kill()
            server.started.wait()
        plan.say(f"restart, round {number + 1}: {ready_s:.2f} s, {mib:.0f} MiB{' !! ' + trouble if trouble else ''}")
        restart.add({"ready_s": ready_s}, trouble)
        memory.add({"mib": mib}, trouble)
    return {"depth": depth, "restart": {OURS: restart}, "memory": {OURS: memory}}
