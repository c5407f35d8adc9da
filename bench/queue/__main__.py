"""C{python -m bench.queue}: measure, print the tables, and write them where they are wanted."""

from __future__ import annotations

import argparse
import datetime
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.program import begin
from bench.project import CHECKOUT, Unmet
from bench.proxy.machine import (
    allow_open_files,
    build_go,
    describe,
    divide,
    find,
    my_cores,
    need,
    says_version,
)
from bench.proxy.rows import Figures, Outcome, all_met, judge
from bench.proxy.stage import Plan
from bench.proxy.table import with_table
from bench.queue.load import Clients
from bench.queue.many import MESSAGES
from bench.queue.phases import Bench, Ground
from bench.queue.rows import ROWS
from bench.queue.table import BEGIN, END, as_rst, as_text, cycles, notes, promises

HERE = Path(__file__).parent
NEEDED = ("go", "taskset")
ROW_NEEDS = {"enqueue": ("wrk",), "dequeue": ("wrk",), "delivery": ("wrk",)}
PEER_PROGRAMS = ("beanstalkd", "redis-server")
"""Without them a run is worth something all the same."""
CYCLE_ROWS = ("batch", "single", "one")

SECONDS = 4.0
ROUNDS = 5
QUICK_SECONDS = 1.0
QUICK_ROUNDS = 2
QUICK_MESSAGES = 50_000


def _options(argv: list[str] | None) -> argparse.Namespace:
    known = [row.key for row in ROWS]
    keys = ", ".join(known)
    parser = argparse.ArgumentParser(prog="bench.queue", description="What queues do, beside beanstalkd and Redis.")
    parser.add_argument("--rows", default="", metavar="A,B", help=f"only these of {keys}")
    parser.add_argument("--seconds", type=float, help=f"of load in each round ({SECONDS:g})")
    parser.add_argument("--rounds", type=int, help=f"in which all take turns ({ROUNDS})")
    parser.add_argument("--messages", type=int, help=f"of the rows with many ({MESSAGES:,})")
    parser.add_argument("--quick", action="store_true", help="two rounds of a second: does it work at all?")
    parser.add_argument("--folder", type=Path, help="where everybody's data is: on the disk that is meant")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the tables as reStructuredText")
    parser.add_argument("--write-readme", action="store_true", help="put the tables into README.rst")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a promise is not kept")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="whose server is measured (this one)")
    parser.add_argument("--quiet", action="store_true", help="no line for each round")
    options = parser.parse_args(argv)
    options.keys = [key for key in options.rows.split(",") if key] or known
    if unknown := set(options.keys) - set(known):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {keys}")
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.messages = options.messages or (QUICK_MESSAGES if options.quick else MESSAGES)
    return options


def _find_peers(say: Callable[[str], None]) -> None:
    """Install the peers, if they can be; go on without them otherwise."""
    try:
        need(PEER_PROGRAMS, say)
    except Unmet as unmet:
        print(f"bench.queue: {unmet}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """
    Measure.

    @return: the exit status.
    """
    options = _options(argv)
    say = begin(options.quiet)
    need([*NEEDED, *(program for key in options.keys for program in ROW_NEEDS.get(key, ()))], say)
    _find_peers(say)
    allow_open_files()
    cores = divide(my_cores())
    measured: dict[str, dict[str, Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="tqserver-bench-queue-", dir=options.folder) as folder:
        programs = Path(folder) / "programs"
        programs.mkdir()
        build_go(HERE.parent / "proxy/backend", programs)
        plan = Plan(
            seconds=options.seconds,
            rounds=options.rounds,
            cores=cores,
            programs=programs,
            checkout=options.checkout.resolve(),
            say=say,
        )
        ground = Ground(plan, Path(folder), Clients(cores.load, build_go(HERE / "load", programs)))
        measured.update(Bench(ground, options.keys, options.messages).run())
    rows = {row.key: row for row in ROWS}
    outcomes: list[Outcome] = [judge(rows[key], measured[key]) for key in rows if key in measured]
    tables = [promises(outcomes)]
    if whole := [(rows[key].title, measured[key]) for key in CYCLE_ROWS if key in measured]:
        tables.append(cycles(whole))
    machine = _machine(describe(cores, datetime.date.today()))
    print(as_text(tables, machine, notes(outcomes)), end="")
    if options.rst is not None:
        options.rst.write_text(as_rst(tables, machine, notes(outcomes)))
    if options.write_readme:
        readme = CHECKOUT / "README.rst"
        text = as_rst(tables, machine, notes(outcomes))
        readme.write_text(with_table(readme.read_text(), text, BEGIN, END))
    return 1 if options.strict and not all_met(outcomes) else 0


def _machine(lines: list[str]) -> list[str]:
    """What C{bench.proxy} says of the machine, with the programs that are measured here."""
    peers = [f"SQLite {sqlite3.sqlite_version}"]
    peers += [f"{program} {says_version(find(program), '-v')}" for program in PEER_PROGRAMS if find(program)]
    return [
        lines[0],
        f"{lines[1]}, {', '.join(peers)}",
        lines[2].replace("proxy", "servers").replace(" and worker", ""),
    ]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unmet as unmet:
        sys.exit(f"bench.queue: {unmet}")
