"""What is promised, and whether it is kept: the rows of the table, medians, ratios, verdicts. Pure."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

OURS, NGINX, GO = "tqserver", "nginx", "Go proxy"
ONE_FRONT = "one front"

SPREAD_MAX = 0.2
"""Rounds that are further than this from their median are told of: the machine was not quiet."""

WAITED_MAX = 0.05
"""Of the time; who is alone on a core does not wait for it."""

BUSY_MIN = 0.9
"""Cores that a candidate takes when it is what limits the requests per second."""


class Verdict(enum.Enum):
    """What is said of a row."""

    MET = "met"
    MISSED = "missed"
    INVALID = "invalid"
    NOT_AVAILABLE = "not available"
    NO_ROOM = "no room"
    """Missed, but what it takes of its core says that the load was too small to show it."""


@dataclass(frozen=True)
class Row:
    """
    One promise.

    @ivar key: how it is called on the command line.
    @ivar figure: what is compared, a name in L{Figures.values}.
    @ivar unit: of it, after C{scale}.
    @ivar peer: whom it is compared with; empty: with nobody, C{limit} is then the bound itself.
    @ivar at_most: whether C{limit} is an upper bound.
    """

    key: str
    title: str
    figure: str
    unit: str
    limit: float
    at_most: bool = True
    peer: str = ""
    digits: int = 1

    @property
    def promise(self) -> str:
        """In words, such as C{<= 1.6 x nginx}."""
        sign = "<=" if self.at_most else ">="
        return f"{sign} {self.limit:g} x {self.peer}" if self.peer else f"{sign} {self.limit:g} {self.unit}"

    def kept(self, ratio: float) -> bool:
        """Whether a ratio is what was promised."""
        return ratio <= self.limit if self.at_most else ratio >= self.limit


ROWS = (
    Row("cpu", "CPU per proxied request", "cpu_us", "µs", 1.6, peer=NGINX),
    Row("rps", "proxied requests per second", "rps", "1/s", 3.0, at_most=False, peer=GO, digits=0),
    Row("p99", "p99 at half of our most requests", "p99_ms", "ms", 2.0, peer=NGINX, digits=2),
    Row("fastcgi", "FastCGI, CPU per request", "cpu_us", "µs", 1.8, peer=NGINX),
    Row("static", "static file of 1 KiB, CPU", "cpu_us", "µs", 2.0, peer=NGINX),
    Row(
        "large",
        "static file of 10 MiB, bytes per second",
        "mib_per_s",
        "MiB/s",
        0.5,
        at_most=False,
        peer=NGINX,
        digits=0,
    ),
    Row("connections", "a new connection per request", "rps", "1/s", 2.0, at_most=False, peer=GO, digits=0),
    Row("idle", "10,000 idle connections, memory of each", "kib", "KiB", 6.0),
    Row("websockets", "2,000 idle WebSockets, both sides of each", "kib", "KiB", 20.0),
)
"""Of the promises; L{fronts_row} is one more."""

FRONTS = "fronts"
CORES_FOR_TWO_FRONTS = 4
"""Two for the fronts, two for the worker and the load."""


def fronts_row(cores: int) -> Row:
    """
    What two fronts must be worth. On a small machine the load takes the second core away, so that more requests per
    second cannot be had; then a request must at least not cost more.

    @param cores: of the machine.
    """
    if cores >= CORES_FOR_TWO_FRONTS:
        return Row(FRONTS, "two fronts, requests per second", "rps", "1/s", 1.6, False, ONE_FRONT, digits=0)
    return Row(FRONTS, "two fronts, CPU per request", "cpu_us", "µs", 1.1, peer=ONE_FRONT)


def all_rows(cores: int) -> tuple[Row, ...]:
    """Every row, as it is on this machine."""
    return (*ROWS, fronts_row(cores))


@dataclass
class Figures:
    """
    What was measured of one candidate in one row's phase, a value for each round.

    @ivar trouble: why they do not count.
    @ivar missing: why there are none.
    @ivar remarks: what else has to be known.
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    missing: str = ""
    remarks: list[str] = field(default_factory=list)

    def add(self, round: Mapping[str, float], trouble: str = "") -> None:
        """Note one round."""
        for name, value in round.items():
            self.values.setdefault(name, []).append(value)
        if trouble:
            self.trouble.append(trouble)

    def median(self, name: str) -> float | None:
        """The median over the rounds; L{None} if it was not measured."""
        values = self.values.get(name)
        return statistics.median(values) if values else None

    def spread(self, name: str) -> float | None:
        """The largest distance from the median, as a share of it: how far a round may be trusted."""
        middle = self.median(name)
        if not middle:
            return None
        return max(abs(value - middle) for value in self.values[name]) / middle


@dataclass(frozen=True)
class Outcome:
    """
    A row with what was found.

    @ivar shown: candidate by candidate, medians.
    @ivar ratio: ours to the peer's, or ours alone where there is no peer.
    """

    row: Row
    shown: dict[str, float | None]
    ratio: float | None
    verdict: Verdict
    notes: tuple[str, ...] = ()


def room(name: str, figures: Figures) -> str:
    """What is said of a candidate that was not at its limit when requests per second were counted."""
    busy = figures.median("busy")
    if busy is None or busy >= BUSY_MIN:
        return ""
    return f"{name} took only {busy:.0%} of a core: the load, the worker or other programs were the limit"


def per_cpu_second(row: Row, measured: Mapping[str, Figures]) -> tuple[float, str] | None:
    """
    What requests per second come to if the load had been enough to take a core whole.

    @return: the ratio, and both figures in words; L{None} if ours was at its limit anyway, or it is not known.
    """
    found = [measured[name].median("cpu_us") if name in measured else None for name in (OURS, row.peer)]
    ours, peer = found
    if row.figure != "rps" or not ours or not peer or not room(OURS, measured[OURS]):
        return None
    ratio = peer / ours
    words = f"per second of its own CPU time {OURS} {1e6 / ours:,.0f}, {row.peer} {1e6 / peer:,.0f}, ratio {ratio:.2f}"
    return ratio, words


def crowded(name: str, figures: Figures) -> str:
    """What is said of a candidate with one thread that had to wait for its core."""
    waited = figures.median("waited")
    if name == GO or waited is None or waited <= WAITED_MAX:
        return ""
    return f"{name} waited for its core {waited:.0%} of the time: other programs ran there"


def judge(row: Row, measured: Mapping[str, Figures]) -> Outcome:
    """Compare what was measured with what is promised."""
    shown = {name: figures.median(row.figure) for name, figures in measured.items()}
    notes = [f"{name}: {trouble}" for name, figures in measured.items() for trouble in dict.fromkeys(figures.trouble)]
    notes += dict.fromkeys(remark for figures in measured.values() for remark in figures.remarks)
    judged = [name for name in (OURS, row.peer) if name]
    for name in judged:
        if name in measured and measured[name].missing:
            return Outcome(row, shown, None, Verdict.NOT_AVAILABLE, (*notes, f"{name}: {measured[name].missing}"))
    if row.figure == "rps":
        notes += filter(None, (room(name, measured[name]) for name in judged if name in measured))
    if row.key != FRONTS:  # there nobody is alone on a core
        notes += filter(None, (crowded(name, measured[name]) for name in judged if name in measured))
    for name in judged:
        spread = measured[name].spread(row.figure) if name in measured else None
        if spread is not None and spread > SPREAD_MAX:
            notes.append(f"{name}: rounds are up to {spread:.0%} from the median")
    ours = shown.get(OURS)
    peer = shown.get(row.peer) if row.peer else 1.0
    ratio = ours / peer if ours is not None and peer else None
    if any(name in measured and measured[name].trouble for name in judged):
        return Outcome(row, shown, ratio, Verdict.INVALID, tuple(notes))
    if ratio is None:
        return Outcome(row, shown, None, Verdict.NOT_AVAILABLE, tuple(notes))
    verdict = Verdict.MET if row.kept(ratio) else Verdict.MISSED
    if verdict is Verdict.MISSED and (whole := per_cpu_second(row, measured)) is not None:
        notes.append(whole[1])
        verdict = Verdict.NO_ROOM if row.kept(whole[0]) else Verdict.MISSED
    return Outcome(row, shown, ratio, verdict, tuple(notes))


def all_met(outcomes: Iterable[Outcome]) -> bool:
    """Whether every promise that was looked at is kept."""
    return all(outcome.verdict is Verdict.MET for outcome in outcomes)
