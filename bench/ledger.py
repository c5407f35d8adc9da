"""
The ledger: does a change lose a request? C{python -m bench.ledger}.

A server on a copy of the example project is kept busy by clients in another process, which account for every request
they send. Meanwhile sources are saved, configurations changed, instances added, taken away and killed, and fronts
replaced and killed. The account must balance with nothing lost; the exit status is 1 if it does not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import TracebackType

from bench.actions import SMALL, Actions, Round
from bench.clients import Account, LostRequest, Order
from bench.excuses import excused_by_fronts, excused_by_worker
from bench.project import CHECKOUT, KINDS, STOP_S, Project, Unmet, missing_tools

QUIET_S = 0.5
"""Of load alone, before the first action and after the last."""


@dataclass
class Report:
    """
    What came of a round.

    @ivar took_s: by action, the seconds of each time that it was done.
    @ivar lost: what should have been answered and was not.
    @ivar excused: POSTs that the kill of a worker took with it (L{excused_by_worker}).
    @ivar cut_off: what was on connections of a front that was killed (L{excused_by_fronts}).
    @ivar stop_code: the server's exit status.
    @ivar left: processes of workers that outlived it.
    """

    account: Account = field(default_factory=Account)
    took_s: dict[str, list[float]] = field(default_factory=dict)
    lost: list[LostRequest] = field(default_factory=list)
    excused: list[LostRequest] = field(default_factory=list)
    cut_off: list[LostRequest] = field(default_factory=list)
    lost_count: int = 0
    load_s: float = 0.0
    stop_code: int = 0
    stop_s: float = 0.0
    left: tuple[int, ...] = ()

    @property
    def good(self) -> bool:
        """Nothing was lost, the account balances, and the server stopped as it should."""
        return self.lost_count == 0 and self.balanced and self.stop_code == 0 and not self.left

    @property
    def balanced(self) -> bool:
        """Every request that was sent is accounted for, and there were some."""
        account = self.account
        ends = sum(account.answered.values()) + sum(account.broken.values())
        return account.sent > 0 and account.sent == ends == sum(account.by_call.values())


class Load:
    """The clients' process. As a context: entering starts it; leaving ends it whatever happened."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Load:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.clients"],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell(json.dumps(asdict(self._order)))
        self._expect("running")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def hold(self, kind: str) -> None:
        """Return when nothing is under way to this kind of worker, and send nothing more until L{release}."""
        self._tell(f"hold {kind}")
        self._expect(f"held {kind}")

    def release(self, kind: str) -> None:
        """Send again."""
        self._tell(f"release {kind}")

    def account(self) -> Account:
        """Let every request end, and give the account."""
        self._tell("stop")
        return Account.from_json(self._line())

    def _tell(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        # The clients have a limit of their own for everything that they wait for, so this ends.
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Unmet("the clients' process has ended")
        return line.strip()

    def _expect(self, wanted: str) -> None:
        if (line := self._line()) != wanted:
            raise Unmet(f"the clients said {line!r} instead of {wanted!r}")


def run(round: Round, say: Callable[[str], None] = print) -> Report:
    """
    Do a round.

    @raise Unmet: the server did not do what it had to, such as serving a new version in time.
    """
    report = Report()
    with Project(round.kinds, fronts=round.fronts, say=say) as project:
        say(f"The server is at http://127.0.0.1:{project.port}, its project in {project.directory}")
        order = Order("127.0.0.1", project.port, round.clients, round.kinds, round.rate, round.seed)
        with Load(order) as load:
            began = time.monotonic()
            actions = Actions(project, load, round)
            time.sleep(QUIET_S)
            problem: Unmet | None = None
            try:
                for action in actions.all():
                    action()
                time.sleep(QUIET_S)
            except Unmet as error:
                problem = error  # what was lost until here is worth knowing all the same
            report.account = load.account()
            report.load_s = time.monotonic() - began
        report.took_s = actions.took_s
        _judge(report, actions)
        if problem is None:
            try:
                report.stop_code, report.stop_s, report.left = project.stop()
            except subprocess.TimeoutExpired:
                problem = Unmet(f"the server did not stop within {STOP_S:.0f} s")
        if problem is not None:
            say(table(report))
            raise problem
        if not report.good:
            say(f"The server's last lines:\n{project.last_output()}")
    return report


def _judge(report: Report, actions: Actions) -> None:
    for lost in report.account.lost:
        (report.excused if excused_by_worker(lost, actions.kills) else report.lost).append(lost)
    report.cut_off = excused_by_fronts(report.lost, actions.front_kills)
    report.lost = [lost for lost in report.lost if lost not in report.cut_off]
    report.lost_count = report.account.lost_count - len(report.excused) - len(report.cut_off)


def table(report: Report) -> str:
    """The report for a person."""
    account = report.account
    lines = [
        f"requests          {account.sent} in {report.load_s:.1f} s over {account.connections} connections",
        *(f"  status {status}      {count}" for status, count in account.answered.items()),
        *(f"  {how:<15} {count}" for how, count in account.broken.items()),
        f"slowest           {account.slowest_s * 1000:.0f} ms",
        f"lost              {report.lost_count}",
        f"POSTs lost to a kill -9 of a worker (allowed)      {len(report.excused)}",
        f"requests lost to a kill -9 of a front (allowed)    {len(report.cut_off)}",
        f"stop              exit {report.stop_code} after {report.stop_s * 1000:.0f} ms",
        f"left over         {report.left or 'no process'}",
        "",
        f"{'action':<24}{'times':>6}{'median ms':>12}{'longest ms':>12}",
    ]
    for name, took_s in sorted(report.took_s.items()):
        median, longest = statistics.median(took_s) * 1000, max(took_s) * 1000
        lines.append(f"{name:<24}{len(took_s):>6}{median:>12.0f}{longest:>12.0f}")
    if not report.balanced:
        lines.append("THE ACCOUNT DOES NOT BALANCE")
    lines += [f"LOST {lost.how}: {lost.method} {lost.path}: {lost.detail}" for lost in report.lost[:20]]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and do a round; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ledger", description="Account for every request under change."
    )
    parser.add_argument("--small", action="store_true", help="a short round, as the tests do")
    counts = ("go_saves", "bun_saves", "php_saves", "python_saves", "config_changes", "hang_ups", "scalings", "kills")
    for name in (*counts, "replacements", "front_kills", "clients", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    parser.add_argument("--rate", type=float, metavar="N", help="requests per second of all clients; 0: no limit")
    parser.add_argument("--fronts", help="number of front processes, or auto")
    parser.add_argument("--kinds", help="comma-separated, of " + ",".join(KINDS))
    values = vars(parser.parse_args(arguments))
    chosen = SMALL if values.pop("small") else Round()
    changes = {name: value for name, value in values.items() if value is not None}
    if "kinds" in changes:
        changes["kinds"] = tuple(changes["kinds"].split(","))
        if unknown := set(changes["kinds"]) - set(KINDS):
            parser.error(f"unknown kinds: {', '.join(sorted(unknown))}")
    round = Round(**{**asdict(chosen), **changes})
    if missing := missing_tools(round.kinds):
        parser.error("needs " + ", ".join(f"{tool} for {kind}" for kind, tool in missing.items()))
    try:
        report = run(round)
    except Unmet as problem:
        print(problem, file=sys.stderr)
        return 1
    print(table(report))
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
