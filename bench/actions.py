"""What the ledger does to a server while it is busy."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.excuses import FrontKill, WorkerKill
from bench.project import KINDS, ONE_INSTANCE, Project, number, with_block, worker_pids

SCALED_INSTANCES = 3


@dataclass(frozen=True)
class Round:
    """How much is done; the saves are of each kind."""

    go_saves: int = 20
    bun_saves: int = 20
    php_saves: int = 20
    python_saves: int = 5
    config_changes: int = 10
    hang_ups: int = 5
    scalings: int = 2
    kills: int = 5
    replacements: int = 6
    front_kills: int = 4
    clients: int = 16
    rate: float = 800.0
    kinds: tuple[str, ...] = tuple(KINDS)
    fronts: int | str = 2
    seed: int = 1


SMALL = Round(
    go_saves=3,
    bun_saves=3,
    php_saves=3,
    python_saves=2,
    config_changes=2,
    hang_ups=1,
    scalings=1,
    kills=2,
    replacements=3,
    front_kills=2,
    rate=400.0,
)
"""For a test: some seconds."""


class Holding(Protocol):
    """The load, as far as it can be held back."""

    def hold(self, kind: str) -> None:
        """Return when nothing is under way to this kind of worker, and send nothing more until L{release}."""

    def release(self, kind: str) -> None:
        """Send again."""


class Actions:
    """What is done to the server while it is busy. Each action returns when its effect is there."""

    def __init__(self, project: Project, load: Holding, round: Round) -> None:
        self._project = project
        self._load = load
        self._round = round
        self._turn = 0
        self._instances = dict.fromkeys(round.kinds, 1)
        self._slots = len(project.status_fronts())
        self.took_s: dict[str, list[float]] = {}
        self.kills: list[WorkerKill] = []
        self.front_kills: list[FrontKill] = []

    def all(self) -> list[Callable[[], None]]:
        """Everything that the round asks for, mixed."""
        round = self._round
        chance = random.Random(round.seed)
        saves = {"go": round.go_saves, "bun": round.bun_saves, "php": round.php_saves, "python": round.python_saves}
        singles: list[Callable[[], None]] = []
        for kind in round.kinds:
            singles += [self._saving(kind, rename=index % 2 == 1) for index in range(saves[kind])]
        turns = [round.kinds[index % len(round.kinds)] for index in range(max(round.config_changes, round.kills))]
        singles += [self._changing_config(kind) for kind in turns[: round.config_changes]]
        singles += [self._killing(kind) for kind in turns[: round.kills]]
        singles += [self._hanging_up] * round.hang_ups
        scaled = [kind for kind in round.kinds if kind != "php"]  # php-fpm scales by itself
        if scaled:
            singles += [self._scaling(scaled[index % len(scaled)]) for index in range(round.scalings)]
        replacing = (self._replacing, self._replacing_twice, self._replacing_and_saving)
        singles += [replacing[index % len(replacing)] for index in range(round.replacements)]
        killing = (self._killing_a_front, self._killing_one_of_several)
        singles += [killing[index % len(killing)] for index in range(round.front_kills)]
        chance.shuffle(singles)
        return singles

    def _timed(self, name: str, took_s: float) -> None:
        self.took_s.setdefault(name, []).append(took_s)

    def _saving(self, kind: str, *, rename: bool) -> Callable[[], None]:
        def act() -> None:
            version = self._project.save_version(kind, rename=rename)
            how = "rename" if rename else "write"
            self._timed(f"save {kind} ({how})", self._project.when_serves(kind, version))

        return act

    def _changing_config(self, kind: str) -> Callable[[], None]:
        """A variable in the worker's environment: its process has to be replaced."""

        def act() -> None:
            self._turn += 1
            before = number(self._project.worker(kind)["generation"])
            self._edit_config(kind, f"environment:\n  LEDGER_TURN: turn-{self._turn}\n")
            self._timed(
                f"config {kind}", self._project.when_settled(kind, self._instances[kind], after_generation=before)
            )

        return act

    def _scaling(self, kind: str) -> Callable[[], None]:
        def act() -> None:
            self._edit_config(kind, f"scaling:\n  min_workers: {SCALED_INSTANCES}\n  max_workers: {SCALED_INSTANCES}\n")
            self._timed(f"scale up {kind}", self._project.when_settled(kind, SCALED_INSTANCES))
            self._edit_config(kind, ONE_INSTANCE)
            self._timed(f"scale down {kind}", self._project.when_settled(kind, 1))

        return act

    def _edit_config(self, kind: str, block: str) -> None:
        """Replace a top-level block of the worker's configuration."""
        name = f"workers/{KINDS[kind].worker}/config/worker.yaml"
        text = self._project.file(name).read_text()
        self._project.replace(name, with_block(text, block), rename=self._turn % 2 == 0)

    def _hanging_up(self) -> None:
        """
        Save a source and send HUP at once: the watcher and HUP both want that build, and one of them is enough.
        """
        kind = self._round.kinds[0]
        version = self._project.save_version(kind, rename=True)
        self._project.signal(signal.SIGHUP)
        self._timed("HUP", self._project.when_serves(kind, version))

    def _killing(self, kind: str) -> Callable[[], None]:
        """Kill an instance that has nothing to do but kept connections."""

        def act() -> None:
            self._project.when_settled(kind, self._instances[kind])
            self._load.hold(kind)
            pid = worker_pids(self._project.worker(kind))[0]
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            self._load.release(kind)
            self.kills.append(WorkerKill(kind, killed))
            self._project.when(
                f"another process of {KINDS[kind].worker}",
                lambda: pid not in worker_pids(self._project.worker(kind)),
            )
            self._project.when_settled(kind, self._instances[kind])
            self._timed(f"kill -9 {kind}", time.monotonic() - killed)

        return act

    # The fronts.

    def _replacing(self) -> None:
        """Replace the fronts one by one."""
        old = self._front_pids()
        self._project.signal(signal.SIGUSR2)
        self._timed("USR2", self._when_new(old))

    def _replacing_twice(self) -> None:
        """Ask for it again while it is done: the second round comes after the first."""
        old = self._front_pids()
        self._project.signal(signal.SIGUSR2)
        self._project.when("a successor is there", lambda: bool(set(self._front_pids()) - set(old)))
        between = self._front_pids()
        self._project.signal(signal.SIGUSR2)
        self._timed("USR2 twice", self._when_new([*old, *between]))

    def _replacing_and_saving(self) -> None:
        """Save a source in the same moment: fronts and workers are replaced together."""
        kind = self._round.kinds[-1]
        old = self._front_pids()
        version = self._project.save_version(kind, rename=True)
        self._project.signal(signal.SIGUSR2)
        began = time.monotonic()
        self._project.when_serves(kind, version)
        self._when_new(old)
        self._timed("USR2 and a save", time.monotonic() - began)

    def _killing_a_front(self) -> None:
        """Kill a front at work. What waits to be accepted by it waits for the next."""
        self._when_counted()
        pid = self._kill_one_of(self._front_pids())
        self._timed("kill -9 a front", self._when_new([pid]))

    def _killing_one_of_several(self) -> None:
        """Likewise while the fronts are replaced, one that would have been."""
        self._when_counted()
        old = self._front_pids()
        self._project.signal(signal.SIGUSR2)
        self._project.when("a successor is there", lambda: bool(set(self._front_pids()) - set(old)))
        self._kill_one_of(old)
        self._timed("USR2 and kill -9 a front", self._when_new(old))

    def _when_counted(self) -> None:
        """Wait until it is known how many connections each front has."""

        def met() -> bool:
            return sum(number(front["connections"]) for front in self._project.status_fronts()) >= self._round.clients

        self._project.when("all clients are counted", met)

    def _kill_one_of(self, pids: list[int]) -> int:
        """Kill the one of these fronts that has the most clients."""
        there = [front for front in self._project.status_fronts() if front["pid"] in pids]
        if not there:
            return 0  # All of them have left already.
        victim = max(there, key=lambda front: number(front["connections"]))
        pid = number(victim["pid"])
        self.front_kills.append(FrontKill(time.monotonic(), number(victim["connections"])))
        os.kill(pid, signal.SIGKILL)
        return pid

    def _front_pids(self) -> list[int]:
        return [number(front["pid"]) for front in self._project.status_fronts()]

    def _when_new(self, old: list[int]) -> float:
        """Wait until every slot has a front, and none of these is there any more."""

        def met() -> bool:
            fronts = self._project.status_fronts()
            return [front["state"] for front in fronts] == ["running"] * self._slots and not any(
                front["pid"] in old for front in fronts
            )

        return self._project.when("all fronts are new", met)
