"""What others notice of abuse: a client of another route that asks at a steady pace, and the memory of the fronts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.project import CHECKOUT
from bench.proxy.reading import read_private_kib
from bench.wire import Address, Connection, Lost
from tests.functional.abusers import Crowd, as_order
from tests.functional.running import LIMIT_S

MEMORY_PERIOD_S = 0.25

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

CAUGHT_UP_SHARE = 0.25
"""
What was not done for want of a core is done later, with what would be idle: at least so much of a second in each. If
more than that is lost for long, what is left to do only grows, and nothing is said any more.
"""


@dataclass(frozen=True)
class Sample:
    """
    One request of a neighbour.

    @ivar at: when it was due, by C{time.monotonic}.
    @ivar seconds: from then to its answer.
    @ivar own_s: the part that is the server's for sure: L{own_s}.
    """

    at: float
    seconds: float
    own_s: float


def own_s(took_s: float, waited_s: float, owed_s: float, before_s: float, period_s: float) -> float:
    """
    How late an answer would have been if nobody had waited for a core. Pure.

    @param took_s: from when it was asked for to the answer.
    @param waited_s: for how long, in that time, those who serve it and the neighbour itself were ready and had no core
        to run on. On a machine that is busy with other things it can be all of it, and says nothing about the server.
    @param owed_s: for how long that had been so before, as far as it may not have been made good.
    @param before_s: the same of the request before, for whose answer this one waited if it was later than the period.
    """
    return max(0.0, took_s - waited_s - owed_s) + max(0.0, before_s - period_s)


class Owed:
    """Time for which somebody had no core, as far as it may not have been made good."""

    def __init__(self) -> None:
        self._noted: list[float] = []
        self._at: list[float] = []

    def note(self, now: float, waited_s: float) -> None:
        """
        Go on.

        @param waited_s: since the last time.
        """
        owed_s = 0.0
        if self._at:
            owed_s = max(0.0, self._noted[-1] + waited_s - CAUGHT_UP_SHARE * (now - self._at[-1]))
        self._noted.append(owed_s)
        self._at.append(now)

    def before(self, moment: float) -> float:
        """What was owed at the last note that is not later."""
        return self._noted[max(0, bisect_right(self._at, moment) - 1)]


def run_delay_s(task: str) -> float:
    """How long a process's first thread, or a C{thread-self}, has waited for a core (proc(5), schedstat)."""
    try:
        return int(Path(f"/proc/{task}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def stolen_s() -> list[float]:
    """For how long each core was taken from this machine, if it is a virtual one (proc(5), stat)."""
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return [int(line[8]) / TICKS_PER_S for line in lines if line[0].startswith("cpu") and line[0] != "cpu"]


def at_percent(values: Sequence[float], percent: float) -> float:
    """A percentile, 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


class Neighbour:
    """
    Asks for the same at a steady pace, in a thread. A request that is late is due when it was due.

    @ivar trouble: what was not answered as it should be.
    """

    def __init__(
        self, address: Address, path: str, rate: float, fronts: Sequence[int], worker: int, fresh: bool
    ) -> None:
        """
        @param rate: requests in a second.
        @param fronts: processes of which one serves a request.
        @param worker: the process behind it.
        @param fresh: each request has a connection of its own.
        """
        self.samples: list[Sample] = []
        self.trouble: list[str] = []
        self._address, self._path, self._period_s = address, path, 1 / rate
        self._tasks = ["thread-self", str(worker), *map(str, fronts)]
        self._fresh = fresh
        self._noted: list[tuple[list[float], list[float]]] = []
        self._noted_at: list[float] = []
        self._owed = Owed()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        connection = Connection(self._address, timeout_s=LIMIT_S)
        due = time.monotonic()
        self._look()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            asked = self._look()
            try:
                response = connection.ask("GET", self._path, headers="Connection: close\r\n" if self._fresh else "")
            except Lost as lost:
                self.trouble.append(str(lost))
            else:
                if response.status != 200:
                    self.trouble.append(f"status {response.status}")
            now = self._look()
            before_s = self.samples[-1].own_s if self.samples else 0.0
            own = own_s(now - asked, self._waited_s(asked), self._owed.before(asked), before_s, self._period_s)
            self.samples.append(Sample(due, now - due, own))
            due += self._period_s
        connection.close()

    def _look(self) -> float:
        """Note how long everybody has waited for a core so far."""
        now = time.monotonic()
        before = self._noted_at[-1] if self._noted_at else now
        self._noted_at.append(now)
        self._noted.append(([run_delay_s(task) for task in self._tasks], stolen_s()))
        self._owed.note(now, self._waited_s(before))
        return now

    def _waited_s(self, since: float) -> float:
        """
        How much of that has come since a moment: ours, the worker's, that of the front that waited longest, and what
        was taken from the core of which most was.
        """
        (waited_now, stolen_now), (waited_then, stolen_then) = (
            self._noted[-1],
            self._noted[max(0, bisect_right(self._noted_at, since) - 1)],
        )
        ours, worker, *fronts = (now - then for now, then in zip(waited_now, waited_then, strict=True))
        stolen = max((now - then for now, then in zip(stolen_now, stolen_then, strict=False)), default=0.0)
        return ours + worker + max(fronts) + stolen

    def end(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self._thread.join()

    @property
    def own(self) -> list[float]:
        """The server's part of each, in seconds."""
        return [sample.own_s for sample in self.samples]

    def __str__(self) -> str:
        raw = [sample.seconds for sample in self.samples]
        percents = " ".join(f"p{percent:g} {at_percent(raw, percent) * 1000:.0f}" for percent in (50, 99, 100))
        return (
            f"{len(raw)} requests, {percents} ms; the server's part p99 {at_percent(self.own, 99) * 1000:.0f} ms;"
            f" the worst: {sorted(self.samples, key=lambda sample: -sample.own_s)[:5]}"
        )


class Memory:
    """
    Watches what processes have for themselves, in a thread.

    @ivar before_kib: at the beginning.
    @ivar seen_kib: since then, with the times.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = list(pids)
        self.before_kib = read_private_kib(self._pids)
        self.seen_kib: list[tuple[float, int]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopping.wait(MEMORY_PERIOD_S):
            try:
                self.seen_kib.append((time.monotonic(), read_private_kib(self._pids)))
            except OSError:
                return  # One of them has died, which is found out elsewhere.

    def end(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    @property
    def grown_kib(self) -> int:
        """By how much there was more at most."""
        return max((kib for _, kib in self.seen_kib), default=self.before_kib) - self.before_kib

    def usual_kib(self, since: float = 0.0, until: float = float("inf")) -> float:
        """What there was in a time, half of it: many who come and go together make waves."""
        return at_percent([kib for at, kib in self.seen_kib if since <= at < until], 50)


class Abusers:
    """The process of L{tests.functional.abusers}. As a context: it abuses until the end."""

    def __init__(self, port: int, crowds: Sequence[Crowd]) -> None:
        self._order = as_order(port, list(crowds))
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Abusers:
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.functional.abusers"],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(self._order)
        process.stdin.flush()
        self._reader = threading.Thread(target=lambda out=process.stdout: self._lines.extend(map(str.strip, out)))
        self._reader.start()
        return self

    @property
    def waited_s(self) -> float:
        """How long it has been ready and had no core."""
        return run_delay_s(str(self._process.pid)) if self._process is not None else 0.0

    def said(self, line: str) -> bool:
        """Whether it has said this."""
        return line in list(self._lines)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None and self._process.stdin is not None and self._reader is not None
        self._process.stdin.close()
        try:
            self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def report(self) -> dict[str, Counter[str]]:
        """After the end: by crowd, how often what happened."""
        return {name: Counter(counts) for name, counts in json.loads(self._lines[-1]).items()}
