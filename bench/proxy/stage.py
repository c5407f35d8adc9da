"""The candidates, running side by side, and the way in which they are measured in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.project import Unmet
from bench.proxy.candidates import Candidate, Server, go_proxy, nginx, ours
from bench.proxy.load import Load
from bench.proxy.machine import Cores, children, pin
from bench.proxy.reading import LoadResult, Unreadable, cpu_between, read_cpu
from bench.proxy.rows import GO, NGINX, OURS, Figures
from bench.wire import Connection, Lost

GO_KEEPING = "Go proxy, 64 kept"
GO_ALL_CORES = "Go proxy, all cores"
BESIDE = "tqserver, other checkout"
EVERYBODY = (OURS, BESIDE, NGINX, GO, GO_KEEPING, GO_ALL_CORES)

WARM_S = 1.0
"""Of load on each before the first round: upstream connections are made, and Python's interpreter has specialised."""


@dataclass(frozen=True)
class Plan:
    """
    How it is measured.

    @ivar seconds: of load, in each round.
    @ivar rounds: in which all take turns.
    @ivar programs: the folder of what was built.
    @ivar checkout: whose server is measured.
    @ivar beside: another checkout, whose server is measured as well.
    @ivar php: whether there is a php worker.
    @ivar path: where our server's Python looks for modules besides.
    """

    seconds: float
    rounds: int
    cores: Cores
    programs: Path
    checkout: Path
    say: Callable[[str], None]
    beside: Path | None = None
    php: bool = False
    path: tuple[Path, ...] = ()

    @property
    def load(self) -> Load:
        """On its own cores."""
        return Load(self.cores.load, self.programs)


@dataclass(frozen=True)
class Stage:
    """
    Candidates, running.

    @ivar server: ours.
    """

    plan: Plan
    server: Server
    candidates: Mapping[str, Candidate]

    def only(self, names: Sequence[str]) -> list[Candidate]:
        """Some of the candidates, as far as they are there."""
        return [self.candidates[name] for name in names if name in self.candidates]


@contextmanager
def stage(plan: Plan, names: Sequence[str] = EVERYBODY) -> Iterator[Stage]:
    """Candidates, each on the cores that it may have, for as long as the context lasts."""
    many = len(plan.cores.proxy)
    with ExitStack() as stack:
        server = stack.enter_context(ours(plan.programs, plan.checkout, php=plan.php, path=plan.path))
        found = {OURS: Candidate(OURS, server.port, server.front_pids)}
        behind = [*server.other_pids]
        if BESIDE in names and plan.beside is not None:
            other = stack.enter_context(ours(plan.programs, plan.beside, php=plan.php))
            found[BESIDE] = Candidate(BESIDE, other.port, other.front_pids)
            behind += other.other_pids
        if NGINX in names:
            found[NGINX], more = stack.enter_context(nginx(server))
            behind += more
        for name, kept, procs in ((GO, 0, many), (GO_KEEPING, 64, many), (GO_ALL_CORES, 0, 0)):
            if name in names:
                found[name] = stack.enter_context(go_proxy(server, plan.programs, name, kept, procs))
        if plan.cores.pinned:
            # What is behind first: among a supervisor's children are fronts, which get theirs thereafter.
            pin([*behind, *(child for pid in behind for child in children(pid))], plan.cores.load)
            for name, candidate in found.items():
                pin(candidate.pids, plan.cores.load | plan.cores.proxy if name == GO_ALL_CORES else plan.cores.proxy)
        yield Stage(plan, server, {name: found[name] for name in names if name in found})


Measure = Callable[[Candidate], tuple[dict[str, float], str]]
"""Measures one candidate once: figures, and what was wrong."""


def in_turns(plan: Plan, what: str, candidates: Sequence[Candidate], measure: Measure) -> dict[str, Figures]:
    """Measure candidates in turns, round by round."""
    found = {candidate.name: Figures() for candidate in candidates}
    for number in range(plan.rounds):
        for candidate in candidates:
            try:
                figures, trouble = measure(candidate)
            except (Unmet, Unreadable, OSError) as error:
                figures, trouble = {}, str(error)
            found[candidate.name].add(figures, trouble)
            told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if name != "waited")
            plan.say(f"{what}, round {number + 1}, {candidate.name}: {told}{' !! ' + trouble if trouble else ''}")
    return found


def probe(candidate: Candidate, path: str, body: bytes) -> str:
    """Whether a path is answered with 200 and this body; what is wrong, if something is."""
    connection = Connection(("127.0.0.1", candidate.port))
    try:
        response = connection.ask("GET", path)
    except Lost as lost:
        return str(lost)
    finally:
        connection.close()
    if response.status != 200 or response.body != body:
        return f"GET {path} is answered with {response.status} and {response.body[:100]!r} ({len(response.body)} bytes)"
    return ""


def under(candidate: Candidate, load: Callable[[], LoadResult]) -> tuple[dict[str, float], LoadResult]:
    """Put load on a candidate, and count what it took of the candidate's CPU time."""
    before = read_cpu(candidate.pids)
    result = load()
    after = read_cpu(candidate.pids)
    used_s = cpu_between(before, after)
    return {
        "cpu_us": used_s / max(1, result.requests) * 1e6,
        "rps": result.requests / result.seconds,
        "mib_per_s": result.received_bytes / result.seconds / 2**20,
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "busy": used_s / result.seconds,
        "waited": (after.waited_ns - before.waited_ns) / 1e9 / result.seconds,
    }, result
