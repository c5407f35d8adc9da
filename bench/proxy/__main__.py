"""C{python -m bench.proxy}: measure, print the table, and write it where it is wanted."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from bench.project import CHECKOUT, Unmet
from bench.proxy.machine import allow_open_files, build_go, describe, divide, my_cores, need
from bench.proxy.phases import PHASES, Plan, run
from bench.proxy.rows import ROWS, Outcome, all_met, judge
from bench.proxy.table import as_rst, as_text

HERE = Path(__file__).parent
GO_PROGRAMS = ("backend", "goproxy")
NEEDED = ("go", "nginx", "wrk", "ab", "php-fpm", "taskset")

SECONDS = 4.0
ROUNDS = 5


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.proxy", description="What a request costs, beside nginx and Go.")
    keys = ", ".join(row.key for row in ROWS)
    parser.add_argument("--rows", default="", metavar="A,B", help=f"only these of {keys}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="in which all take turns (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="two rounds of a second: does it work at all?")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the table as reStructuredText")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a promise is not kept")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="whose server is measured (this one)")
    parser.add_argument("--quiet", action="store_true", help="no line for each round")
    options = parser.parse_args(argv)
    options.keys = [key for key in options.rows.split(",") if key] or [row.key for row in ROWS]
    if unknown := set(options.keys) - {row.key for row in ROWS}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {keys}")
    if options.quick:
        options.seconds, options.rounds = 1.0, 2
    return options


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(argv: list[str] | None = None) -> int:
    """
    Measure.

    @return: the exit status.
    """
    options = _options(argv)
    signal.signal(signal.SIGTERM, _terminated)

    def say(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr, flush=True)

    need(NEEDED, say)
    allow_open_files()
    cores = divide(my_cores())
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="tqserver-bench-go-") as folder:
        programs = Path(folder)
        for name in GO_PROGRAMS:
            build_go(HERE / name / "main.go", programs)
        plan = Plan(options.seconds, options.rounds, cores, programs, options.checkout.resolve(), say)
        rows = {row.key: row for row in ROWS}
        for key, figures in run(plan, [key for key in PHASES if key in options.keys]):
            outcomes.append(judge(rows[key], figures))
    machine = describe(cores, datetime.date.today())
    print(as_text(outcomes, machine), end="")
    if options.rst is not None:
        options.rst.write_text(as_rst(outcomes, machine))
    return 1 if options.strict and not all_met(outcomes) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unmet as unmet:
        sys.exit(f"bench.proxy: {unmet}")
