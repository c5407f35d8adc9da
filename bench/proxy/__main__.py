"""C{python -m bench.proxy}: measure, print the table, and write it where it is wanted."""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

from bench.program import begin
from bench.project import CHECKOUT, Unmet
from bench.proxy.machine import allow_open_files, build_go, describe, divide, my_cores, need
from bench.proxy.phases import PATH, PHP_PATH, Bench
from bench.proxy.profile import profile
from bench.proxy.rows import Outcome, all_met, all_rows, judge
from bench.proxy.stage import Plan
from bench.proxy.table import as_rst, as_text, with_table

HERE = Path(__file__).parent
GO_PROGRAMS = ("backend", "goproxy", "pace")
NEEDED = ("go", "nginx", "wrk", "taskset")
ROW_NEEDS = {"fastcgi": ("php-fpm",), "connections": ("ab",)}

SECONDS = 4.0
ROUNDS = 5
QUICK_SECONDS = 1.0
QUICK_ROUNDS = 2


def _options(argv: list[str] | None) -> argparse.Namespace:
    known = [row.key for row in all_rows(len(my_cores()))]
    keys = ", ".join(known)
    parser = argparse.ArgumentParser(prog="bench.proxy", description="What a request costs, beside nginx and Go.")
    parser.add_argument("--rows", default="", metavar="A,B", help=f"only these of {keys}")
    parser.add_argument("--seconds", type=float, help=f"of load in each round ({SECONDS:g})")
    parser.add_argument("--rounds", type=int, help=f"in which all take turns ({ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="two rounds of a second: does it work at all?")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="write the table as reStructuredText")
    parser.add_argument("--write-readme", action="store_true", help="put the table into README.rst")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a promise is not kept")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="whose server is measured (this one)")
    parser.add_argument("--beside", type=Path, metavar="DIR", help="another checkout, whose server takes turns as well")
    parser.add_argument(
        "--profile",
        type=float,
        metavar="SECONDS",
        help="only sample where the front's time goes; with --rows fastcgi, on the way to PHP",
    )
    parser.add_argument("--quiet", action="store_true", help="no line for each round")
    options = parser.parse_args(argv)
    options.keys = [key for key in options.rows.split(",") if key] or ([] if options.profile else known)
    if unknown := set(options.keys) - set(known):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {keys}")
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    if options.profile:
        options.seconds = options.profile
    return options


def main(argv: list[str] | None = None) -> int:
    """
    Measure.

    @return: the exit status.
    """
    options = _options(argv)
    say = begin(options.quiet)
    need([*NEEDED, *(program for key in options.keys for program in ROW_NEEDS.get(key, ()))], say)
    allow_open_files()
    cores = divide(my_cores())
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="tqserver-bench-go-") as folder:
        programs = Path(folder)
        for name in GO_PROGRAMS:
            build_go(HERE / name, programs)
        plan = Plan(
            seconds=options.seconds,
            rounds=options.rounds,
            cores=cores,
            programs=programs,
            checkout=options.checkout.resolve(),
            say=say,
            beside=options.beside and options.beside.resolve(),
            php="fastcgi" in options.keys,
        )
        if options.profile:
            print(profile(plan, PHP_PATH if plan.php else PATH), end="")
            return 0
        rows = {row.key: row for row in all_rows(len(my_cores()))}
        for key, figures in Bench(plan, options.keys).run():
            outcomes.append(judge(rows[key], figures))
    machine = describe(cores, datetime.date.today())
    print(as_text(outcomes, machine), end="")
    if options.rst is not None:
        options.rst.write_text(as_rst(outcomes, machine))
    if options.write_readme:
        readme = CHECKOUT / "README.rst"
        readme.write_text(with_table(readme.read_text(), as_rst(outcomes, machine)))
    return 1 if options.strict and not all_met(outcomes) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unmet as unmet:
        sys.exit(f"bench.proxy: {unmet}")
