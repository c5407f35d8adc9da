"""The measurements: for each a load, whom it is put on, and which figures come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.proxy.candidates import HELLO, SMALL_BYTES, Candidate, Server, go_proxy, nginx, ours
from bench.proxy.load import CONNECTIONS, Load
from bench.proxy.machine import Cores, pin
from bench.proxy.reading import LoadResult, cpu_between, read_cpu, wrong_size
from bench.proxy.rows import GO, NGINX, OURS, Figures
from bench.wire import Connection, Lost

GO_KEEPING = "Go proxy, 64 kept"
GO_ALL_CORES = "Go proxy, all cores"
WARM_S = 1.0
"""Of load on each before the first round: upstream connections are made, and Python's interpreter has specialised."""


@dataclass(frozen=True)
class Plan:
    """
    How long and how often.

    @ivar seconds: of load, in each round.
    @ivar rounds: in which all take turns.
    """

    seconds: float
    rounds: int
    cores: Cores
    programs: Path
    checkout: Path
    say: Callable[[str], None]

    @property
    def load(self) -> Load:
        return Load(self.cores.load, self.programs)


@dataclass(frozen=True)
class Stage:
    """The candidates, running."""

    plan: Plan
    server: Server
    candidates: Mapping[str, Candidate]

    def only(self, *names: str) -> list[Candidate]:
        """Some of the candidates, as far as they are there."""
        return [self.candidates[name] for name in names if name in self.candidates]


def set_up(stack: ExitStack, plan: Plan, names: Sequence[str]) -> Stage:
    """Start candidates, each on the cores that it may have, until the stack unwinds."""
    server = stack.enter_context(ours(plan.programs, 1, plan.checkout))
    candidates = {OURS: Candidate(OURS, server.port, server.front_pids)}
    if NGINX in names:
        candidates[NGINX] = stack.enter_context(nginx(server))
    many = len(plan.cores.proxy)
    for name, kept, procs in ((GO, 0, many), (GO_KEEPING, 64, many), (GO_ALL_CORES, 0, 0)):
        if name in names:
            candidates[name] = stack.enter_context(go_proxy(server, plan.programs, name, kept, procs))
    if plan.cores.pinned:
        pin(server.other_pids, plan.cores.load)
        for name, candidate in candidates.items():
            if name != GO_ALL_CORES:
                pin(candidate.pids, plan.cores.proxy)
    return Stage(plan, server, candidates)


Round = Callable[[Stage, Candidate], tuple[dict[str, float], str]]
"""Measures one candidate once: figures, and what was wrong."""


def in_turns(stage: Stage, what: str, names: Sequence[str], measure: Round) -> dict[str, Figures]:
    """Measure candidates in turns, round by round."""
    found = {candidate.name: Figures() for candidate in stage.only(*names)}
    for number in range(stage.plan.rounds):
        for candidate in stage.only(*names):
            figures, trouble = measure(stage, candidate)
            found[candidate.name].add(figures, trouble)
            told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            stage.plan.say(f"{what}, round {number + 1}, {candidate.name}: {told}{' !! ' + trouble if trouble else ''}")
    return found


def probe(candidate: Candidate, path: str, body: bytes | int) -> str:
    """Whether a path is answered with 200 and this body (or as many bytes); what is wrong, if something is."""
    connection = Connection(("127.0.0.1", candidate.port))
    try:
        response = connection.ask("GET", path)
    except Lost as lost:
        return str(lost)
    finally:
        connection.close()
    right = response.body == body if isinstance(body, bytes) else len(response.body) == body
    if response.status != 200 or not right:
        return f"GET {path} is answered with {response.status} and {len(response.body)} bytes"
    return ""


def per_request(candidate: Candidate, load: Callable[[], LoadResult]) -> tuple[dict[str, float], LoadResult]:
    """Put load on a candidate, and count what each request took of the candidate's CPU time."""
    before = read_cpu(candidate.pids)
    result = load()
    used_s = cpu_between(before, read_cpu(candidate.pids))
    requests = max(1, result.requests)
    return {
        "cpu_us": used_s / requests * 1e6,
        "rps": result.requests / result.seconds,
        "bytes_per_s": result.received_bytes / result.seconds,
    }, result


def keep_alive(path: str, body: bytes | int, connections: int = CONNECTIONS) -> Round:
    """Requests on kept connections, as many as there can be."""
    body_bytes = len(body) if isinstance(body, bytes) else body

    def measure(stage: Stage, candidate: Candidate) -> tuple[dict[str, float], str]:
        figures, result = per_request(
            candidate,
            lambda: stage.plan.load.keep_alive(candidate.port, path, stage.plan.seconds, connections),
        )
        wrong = result.trouble or wrong_size(result, body_bytes, connections) or probe(candidate, path, body)
        return figures, wrong

    return measure


def warm(stage: Stage, names: Sequence[str], path: str) -> None:
    """Let each have served."""
    for candidate in stage.only(*names):
        stage.plan.load.keep_alive(candidate.port, path, WARM_S)


@dataclass
class Measured:
    """What was measured so far, by phase."""

    phases: dict[str, dict[str, Figures]] = field(default_factory=dict)


PROXIES = (OURS, NGINX, GO, GO_KEEPING, GO_ALL_CORES)


def proxied(stage: Stage) -> dict[str, Figures]:
    """What a proxied request costs, and how many there can be."""
    warm(stage, PROXIES, "/bench")
    return in_turns(stage, "proxied", PROXIES, keep_alive("/bench", HELLO))


def static_small(stage: Stage) -> dict[str, Figures]:
    """What a small static file costs."""
    names = (OURS, NGINX)
    warm(stage, names, "/files/small.txt")
    return in_turns(stage, "static, 1 KiB", names, keep_alive("/files/small.txt", SMALL_BYTES))


PHASES: dict[str, Callable[[Stage], dict[str, Figures]]] = {"cpu": proxied, "rps": proxied, "static": static_small}
"""The phase that a row's figures come from."""


def run(plan: Plan, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, Figures]]]:
    """Measure what these rows need; one phase may serve several."""
    with ExitStack() as stack:
        stage = set_up(stack, plan, PROXIES)
        done: dict[str, dict[str, Figures]] = {}
        for key in keys:
            phase = PHASES[key]
            if phase.__name__ not in done:
                done[phase.__name__] = phase(stage)
            yield key, done[phase.__name__]
