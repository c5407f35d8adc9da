"""The measurements that need load: for each what is asked for, of whom, and in which way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from bench.proxy.candidates import HELLO, LARGE_BYTES, SMALL_BYTES, Candidate, ours
from bench.proxy.idle import HTTP, WEBSOCKET, Idle
from bench.proxy.load import CONNECTIONS, NEW_AT_ONCE, Load
from bench.proxy.reading import LoadResult, wrong_size
from bench.proxy.rows import CORES_FOR_TWO_FRONTS, FRONTS, GO, NGINX, ONE_FRONT, OURS, Figures
from bench.proxy.stage import (
    BESIDE,
    EVERYBODY,
    GO_KEEPING,
    WARM_S,
    Measure,
    Plan,
    Stage,
    in_turns,
    probe,
    stage,
    under,
)

Found = dict[str, Figures]
"""By the candidates' names."""

PATH = "/bench"
PHP_PATH = "/php/hello.php"
"""Where the workers answer with L{HELLO}."""

HALF = 0.5
"""Of the most requests per second: the load at which latency is measured."""


def kept(load: Load, seconds: float, path: str, body: bytes, connections: int = CONNECTIONS) -> Measure:
    """Requests on kept connections, as many as there can be."""

    def measure(candidate: Candidate) -> tuple[dict[str, float], str]:
        figures, result = under(candidate, lambda: load.keep_alive(candidate.port, path, seconds, connections))
        return figures, _wrong(candidate, result, path, body, connections)

    return measure


def _wrong(candidate: Candidate, result: LoadResult, path: str, body: bytes, connections: int) -> str:
    return result.trouble or wrong_size(result, len(body), connections) or probe(candidate, path, body)


@dataclass
class Bench:
    """
    Measures row by row, what several rows share only once.

    @ivar keys: the rows that are wanted.
    """

    plan: Plan
    keys: Sequence[str]
    _stack: ExitStack = field(default_factory=ExitStack)
    _stage: Stage | None = None
    _done: dict[str, Found] = field(default_factory=dict)

    def run(self) -> Iterator[tuple[str, Found]]:
        """Measure; each row's figures as soon as they are there."""
        with self._stack:
            for key in PHASES:
                if key in self.keys:
                    yield key, self._find(key)

    def _find(self, key: str) -> Found:
        phase = PHASES[key]
        if phase.__name__ not in self._done:
            self._done[phase.__name__] = phase(self)
        return self._done[phase.__name__]

    @property
    def stage(self) -> Stage:
        """The candidates that all loads have in common."""
        if self._stage is None:
            self._stage = self._stack.enter_context(stage(self.plan))
        return self._stage

    def _kept(self, what: str, names: Sequence[str], path: str, body: bytes) -> Found:
        plan, candidates = self.plan, self.stage.only(names)
        for candidate in candidates:
            plan.load.keep_alive(candidate.port, path, WARM_S)
        return in_turns(plan, what, candidates, kept(plan.load, plan.seconds, path, body))

    def proxied(self) -> Found:
        """What a proxied request costs, and how many there can be."""
        return self._kept("proxied", EVERYBODY, PATH, HELLO)

    def half_load(self) -> Found:
        """How long requests take at a rate that is half of what we can do."""
        plan = self.plan
        most = self._find("rps")[OURS].median("rps")
        if not most:
            return {OURS: Figures(missing="it is not known how many requests can be served")}
        rate = round(most * HALF)

        def measure(candidate: Candidate) -> tuple[dict[str, float], str]:
            figures, result = under(
                candidate, lambda: plan.load.constant_rate(candidate.port, PATH, plan.seconds, rate, len(HELLO))
            )
            return figures, result.trouble

        return in_turns(plan, f"{rate} requests a second", self.stage.only((OURS, BESIDE, NGINX)), measure)

    def fastcgi(self) -> Found:
        """What a request costs the front that goes to php-fpm."""
        return self._kept("FastCGI", (OURS, BESIDE, NGINX), PHP_PATH, HELLO)

    def static_small(self) -> Found:
        """What a small static file costs."""
        body = (self.stage.server.files / "small.txt").read_bytes()
        assert len(body) == SMALL_BYTES
        return self._kept("static, 1 KiB", (OURS, BESIDE, NGINX), "/files/small.txt", body)

    def static_large(self) -> Found:
        """How fast large static files go out."""
        path = "/files/large.bin"
        body = (self.stage.server.files / "large.bin").read_bytes()
        assert len(body) == LARGE_BYTES
        candidates = self.stage.only((OURS, BESIDE, NGINX))
        for candidate in candidates:
            if trouble := probe(candidate, path, body):
                return {candidate.name: Figures(trouble=[trouble])}

        def measure(candidate: Candidate) -> tuple[dict[str, float], str]:
            figures, result = under(
                candidate, lambda: self.plan.load.keep_alive(candidate.port, path, self.plan.seconds)
            )
            return figures, result.trouble or wrong_size(result, LARGE_BYTES, CONNECTIONS)

        return in_turns(self.plan, "static, 10 MiB", candidates, measure)

    def new_connections(self) -> Found:
        """How many requests there can be on connections of their own."""
        plan = self.plan

        def measure(candidate: Candidate) -> tuple[dict[str, float], str]:
            figures, result = under(candidate, lambda: plan.load.new_connections(candidate.port, PATH, plan.seconds))
            return figures, _wrong(candidate, result, "/bench", HELLO, NEW_AT_ONCE)

        return in_turns(plan, "new connections", self.stage.only((OURS, BESIDE, NGINX, GO, GO_KEEPING)), measure)

    def idle(self) -> Found:
        """What an idle connection keeps in memory."""
        return self._held(HTTP)

    def websockets(self) -> Found:
        """What an idle WebSocket keeps in memory."""
        return self._held(WEBSOCKET)

    def _held(self, idle: Idle) -> Found:
        """Once, on fresh processes: what was allocated before and is free again would hide what is taken now."""
        plan = replace(self.plan, rounds=1, php=False)
        with stage(plan, (OURS, BESIDE, NGINX, GO)) as fresh:
            return idle.of(plan, list(fresh.candidates.values()))

    def fronts(self) -> Found:
        """One front and two, on all cores."""
        plan = self.plan
        cores = plan.cores.proxy | plan.cores.load
        load = Load(cores, plan.programs, threads=1 if len(cores) < CORES_FOR_TWO_FRONTS else 2)
        with ours(plan.programs, plan.checkout) as one, ours(plan.programs, plan.checkout, fronts=2) as two:
            candidates = [
                Candidate(OURS, two.port, two.front_pids),
                Candidate(ONE_FRONT, one.port, one.front_pids),
            ]
            for candidate in candidates:
                load.keep_alive(candidate.port, "/bench", WARM_S, 2 * CONNECTIONS)
            return in_turns(plan, "fronts", candidates, kept(load, plan.seconds, "/bench", HELLO, 2 * CONNECTIONS))


PHASES: Mapping[str, Callable[[Bench], Found]] = {
    "cpu": Bench.proxied,
    "rps": Bench.proxied,
    "p99": Bench.half_load,
    "fastcgi": Bench.fastcgi,
    "static": Bench.static_small,
    "large": Bench.static_large,
    "connections": Bench.new_connections,
    "idle": Bench.idle,
    "websockets": Bench.websockets,
    FRONTS: Bench.fronts,
}
"""Where a row's figures come from."""
