"""What the kernel and the load generators say, as numbers. Pure, but for the few functions that read C{/proc}."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

WRK_SCRIPT = """\
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\nresult {"requests": %d, "bytes": %d, "us": %d, "connect": %d, "read": %d, "write": %d, '
    .. '"status": %d, "timeout": %d, "p50_us": %d, "p99_us": %d}\\n',
    summary.requests, summary.bytes, summary.duration, errors.connect, errors.read, errors.write, errors.status,
    errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""
"""Makes wrk say its counts in full; it runs once, at the end."""


class Unreadable(Exception):
    """A program did not say what it should have."""


@dataclass(frozen=True)
class LoadResult:
    """
    What a load generator has counted.

    @ivar trouble: what was wrong, in words; empty if nothing was.
    """

    requests: int
    received_bytes: int
    seconds: float
    p50_ms: float
    p99_ms: float
    trouble: str = ""


def parse_wrk(text: str) -> LoadResult:
    """
    The result that L{WRK_SCRIPT} made wrk print.

    @raise Unreadable: it is not there.
    """
    found = re.search(r"^result (\{.*\})$", text, re.MULTILINE)
    if found is None:
        raise Unreadable(f"wrk gave no result: {text[-500:]!r}")
    said = json.loads(found.group(1))
    troubles = [
        f"{said[name]} {what}"
        for name, what in (
            ("status", "responses that were not 2xx or 3xx"),
            ("connect", "connections refused"),
            ("read", "read errors"),
            ("write", "write errors"),
            ("timeout", "timeouts"),
        )
        if said[name]
    ]
    return LoadResult(
        requests=said["requests"],
        received_bytes=said["bytes"],
        seconds=said["us"] / 1e6,
        p50_ms=said["p50_us"] / 1e3,
        p99_ms=said["p99_us"] / 1e3,
        trouble=", ".join(troubles) or ("" if said["requests"] else "no request was answered"),
    )


def parse_ab(text: str) -> LoadResult:
    """
    What C{ab} prints at its end.

    @raise Unreadable: it ended before.
    """

    def number(label: str, default: float | None = None) -> float:
        found = re.search(rf"^\s*{re.escape(label)}:?\s+([\d.]+)", text, re.MULTILINE)
        if found is not None:
            return float(found.group(1))
        if default is None:
            raise Unreadable(f"ab did not say {label!r}: {text[-500:]!r}")
        return default

    requests = int(number("Complete requests"))
    failed = int(number("Failed requests"))
    refused = int(number("Non-2xx responses", 0))
    troubles = [f"{failed} failed requests"] if failed else []
    troubles += [f"{refused} responses that were not 2xx"] if refused else []
    return LoadResult(
        requests=requests,
        received_bytes=int(number("Total transferred")),
        seconds=number("Time taken for tests"),
        p50_ms=number("50%", 0.0),
        p99_ms=number("99%", 0.0),
        trouble=", ".join(troubles) or ("" if requests else "no request was answered"),
    )


def parse_pace(text: str) -> LoadResult:
    """
    The result of the generator of a constant rate (C{pace/main.go}), a line of JSON.

    @raise Unreadable: it is not there.
    """
    try:
        said = json.loads(text.strip().splitlines()[-1])
        return LoadResult(
            requests=said["answered"],
            received_bytes=said["bytes"],
            seconds=said["seconds"],
            p50_ms=said["p50_us"] / 1e3,
            p99_ms=said["p99_us"] / 1e3,
            trouble=said["trouble"],
        )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"pace gave no result ({error}): {text[-500:]!r}") from error


def wrong_size(result: LoadResult, body_bytes: int, connections: int, head_bytes_max: int = 2048) -> str:
    """
    Whether so many bytes can be so many whole responses; what is wrong, if something is.

    At the end each connection may have received a part of a response that was not counted.
    """
    least = result.requests * body_bytes
    most = (result.requests + connections) * (body_bytes + head_bytes_max)
    if least <= result.received_bytes <= most:
        return ""
    return f"{result.requests} responses of {body_bytes} bytes cannot be {result.received_bytes} bytes"


# CPU time.


def parse_schedstat(text: str) -> tuple[int, int]:
    """Nanoseconds on a CPU, and those that it could have run and waited for one: C{/proc/PID/task/TID/schedstat}."""
    running, waiting, _ = text.split()
    return int(running), int(waiting)


def parse_stat_ticks(text: str) -> int:
    """utime + stime of C{/proc/PID/stat}, in clock ticks, ended threads included (proc(5), fields 14 and 15)."""
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@dataclass(frozen=True)
class CpuClock:
    """
    How much CPU time some processes had taken at a moment.

    @ivar tasks_ns: nanoseconds by task; L{None} if the kernel does not count them.
    @ivar ticks: clock ticks of all.
    @ivar waited_ns: how long all have waited for a CPU.
    """

    tasks_ns: dict[tuple[int, int], int] | None
    ticks: int
    waited_ns: int = 0


def cpu_between(before: CpuClock, after: CpuClock) -> float:
    """
    Seconds of CPU time between two moments.

    The tasks' own counts are exact to the nanosecond, but those of a task that has ended are lost; then, and without
    them, clock ticks have to do.
    """
    ticks_s = (after.ticks - before.ticks) / TICKS_PER_S
    if before.tasks_ns is None or after.tasks_ns is None or before.tasks_ns.keys() - after.tasks_ns.keys():
        return ticks_s
    return sum(ns - before.tasks_ns.get(task, 0) for task, ns in after.tasks_ns.items()) / 1e9


def read_cpu(pids: Iterable[int]) -> CpuClock:
    """The CPU time that these processes have taken so far."""
    tasks: dict[tuple[int, int], int] = {}
    ticks = waited = 0
    for pid in pids:
        ticks += parse_stat_ticks(Path(f"/proc/{pid}/stat").read_text())
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                tasks[pid, int(task.name)], waiting = parse_schedstat((task / "schedstat").read_text())
            except OSError:
                continue  # it has just ended, or the kernel has no such file
            waited += waiting
    return CpuClock(tasks if any(tasks.values()) else None, ticks, waited)


# Memory.


def parse_private_kib(text: str) -> int:
    """What a process alone has in memory, in KiB: of C{/proc/PID/smaps_rollup}."""
    found = re.findall(r"^(?:Private_Clean|Private_Dirty|Private_Hugetlb|Swap):\s+(\d+) kB$", text, re.MULTILINE)
    if len(found) < 2:
        raise Unreadable(f"no smaps_rollup: {text[:200]!r}")
    return sum(map(int, found))


def read_private_kib(pids: Iterable[int]) -> int:
    """What these processes have in memory for themselves, in KiB."""
    return sum(parse_private_kib(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids)
