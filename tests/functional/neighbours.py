"""What others notice of abuse: a client of another route that asks at a steady pace, and the memory of the fronts."""

from __future__ import annotations

import json
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


STARVED_S = 1.0
"""What a request meets depends on what had to wait before it, too: so much of the time before counts."""

STARVED_SHARE = 0.5
"""If its server had no core for more than this share of that time, a request says nothing."""


@dataclass(frozen=True)
class Sample:
    """
    One request of a neighbour.

    @ivar at: when it was due, by C{time.monotonic}.
    @ivar seconds: from then to its answer.
    @ivar waited_s: for how long, in that time, those who serve it and the neighbour itself were ready and had no core
        to run on. On a machine that is busy with other things it can be all of it, and says nothing about the server.
    @ivar starved: that was so in the second before, too.
    """

    at: float
    seconds: float
    waited_s: float
    starved: bool

    @property
    def own_s(self) -> float:
        """The part that is the server's."""
        return max(0.0, self.seconds - self.waited_s)


def run_delay_s(task: str) -> float:
    """How long a process's first thread, or a C{thread-self}, has waited for a core (proc(5), schedstat)."""
    try:
        return int(Path(f"/proc/{task}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def at_percent(seconds: Sequence[float], percent: float) -> float:
    """A percentile, 0 of nothing."""
    ordered = sorted(seconds)
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
        self._noted: list[list[float]] = []
        self._noted_at: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        connection = Connection(self._address, timeout_s=LIMIT_S)
        due = time.monotonic()
        self._look()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            self._look()
            try:
                response = connection.ask("GET", self._path, headers="Connection: close\r\n" if self._fresh else "")
            except Lost as lost:
                self.trouble.append(str(lost))
            else:
                if response.status != 200:
                    self.trouble.append(f"status {response.status}")
            now = self._look()
            before_s = self._waited_s(due - STARVED_S)
            self.samples.append(
                Sample(due, now - due, self._waited_s(due), before_s > STARVED_SHARE * (now - due + STARVED_S))
            )
            due += self._period_s
        connection.close()

    def _look(self) -> float:
        """Note how long everybody has waited for a core so far."""
        now = time.monotonic()
        self._noted_at.append(now)
        self._noted.append([run_delay_s(task) for task in self._tasks])
        return now

    def _waited_s(self, since: float) -> float:
        """How much of that has come since a moment: ours, the worker's, and that of the front that waited longest."""
        before = self._noted[max(0, bisect_right(self._noted_at, since) - 1)]
        ours, worker, *fronts = (now - then for now, then in zip(self._noted[-1], before, strict=True))
        return ours + worker + max(fronts)

    def end(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self._thread.join()

    @property
    def telling(self) -> list[float]:
        """The server's part of those that say something, in seconds."""
        return [sample.own_s for sample in self.samples if not sample.starved]

    def __str__(self) -> str:
        raw, own = [sample.seconds for sample in self.samples], self.telling
        percents = " ".join(f"p{percent:g} {at_percent(raw, percent) * 1000:.0f}" for percent in (50, 99, 100))
        return (
            f"{len(raw)} requests, {percents} ms; {len(own)} not starved, p99 {at_percent(own, 99) * 1000:.0f} ms;"
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

    def grown_kib(self, since: float = 0.0, until: float = float("inf")) -> int:
        """By how much there was more at most, in a time."""
        return max((kib for at, kib in self.seen_kib if since <= at < until), default=0) - self.before_kib


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
