"""
The ledger of queues: does a kill lose a message, or bring one back? C{python -m bench.queue_ledger}.

Producers and consumers are busy, and account for every message, while the queue's process is killed with C{kill -9}
again and again; while its disk is full; and while workers are killed that tasks are being delivered to. Then everything
has to come to its end. The exit status is 1 if the account does not balance.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.deliveries import Delivery, judge, read_book
from bench.project import CHECKOUT, Unmet
from bench.queue_clients import Account, Clients, Work
from bench.queue_places import Alone, Delivering, ask, when

ROUNDS = ("kills", "disk", "workers")
QUEUE = "ledger"

LIFE_S = (0.05, 0.6)
"""Least and most time from a start to the next kill."""
DRAIN_S = 90.0
"""Longest until all has ended: leases of killed answers have to end first."""
OPEN_MAX = 300
"""Messages that are stored and not done, while the disk is not to become full."""
REFUSALS = 20
"""So often 503 has to be said, until the disk counts as full."""
FULL_S = 60.0
"""Longest until it is, and until it is not any more."""
STORED = 50
"""Messages that have to be stored between two kills at least, so that there is something to lose."""


@dataclass(frozen=True)
class Plan:
    """
    How much is done.

    @ivar kills: of the queue's process.
    @ivar worker_kills: during deliveries; every third is the queue's process.
    """

    kills: int = 20
    worker_kills: int = 20
    durability: str = "disk"
    rounds: tuple[str, ...] = ROUNDS
    seed: int = 1
    checkout: Path = CHECKOUT


SMALL = Plan(kills=5, worker_kills=5)
"""For a test: some seconds."""


@dataclass
class Report:
    """
    What came of a round.

    @ivar back_s: after each kill, the seconds until the queue answered again.
    @ivar problems: what must not be.
    """

    name: str
    account: Account = field(default_factory=Account)
    kills: int = 0
    back_s: list[float] = field(default_factory=list)
    deliveries: int = 0
    repeated: int = 0
    took_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing was lost, nothing came again, and something was done at all."""
        return not self.problems and bool(self.account.stored)


def empty(port: int, prefix: str = "") -> Callable[[], bool]:
    """Whether the queue has nothing any more, as it says itself."""

    def met() -> bool:
        status, body = ask(port, "GET", f"{prefix}/queues/{QUEUE}/statistics")
        return status == 200 and body.replace(b" ", b"") == b'{"visible":0,"delayed":0,"leased":0}'

    return met


def _settle(place: Alone, clients: Clients, report: Report) -> None:
    """Let everything come to its end."""
    clients.stop_producing()
    try:
        when("every message has ended", empty(place.port), DRAIN_S, place.output)
    except Unmet as unmet:
        report.problems.append(str(unmet))
    clients.stop()
    report.account = clients.account
    report.problems += clients.account.problems()


def _grown(clients: Clients, place: Alone) -> None:
    """Wait until some more messages are stored."""
    wanted = clients.stored() + STORED
    when("messages are stored", lambda: clients.stored() >= wanted, DRAIN_S, place.output)


def _killed(place: Alone, report: Report) -> None:
    place.kill()
    began = time.monotonic()
    place.start()
    place.ready()
    report.back_s.append(time.monotonic() - began)
    report.kills += 1


def kills(plan: Plan) -> Report:
    """The queue's process is killed at random moments."""
    report, chance = Report("the queue's process is killed"), random.Random(plan.seed)
    with Alone(plan.checkout, plan.durability) as place:
        ask(place.port, "POST", "/queues", {"name": QUEUE})
        with Clients(Work(place.port, seed=plan.seed)) as clients:
            for _ in range(plan.kills):
                _grown(clients, place)
                time.sleep(chance.uniform(*LIFE_S))  # the moment is the point: any may be the wrong one
                _killed(place, report)
            _settle(place, clients, report)
    return report


def _refused(clients: Clients, place: Alone) -> None:
    """Wait until the disk is so full that puts are refused."""
    wanted = clients.refusals() + REFUSALS
    when("puts are refused", lambda: clients.refusals() >= wanted, FULL_S, place.output)


def _killed_when_full(place: Alone, report: Report) -> None:
    """It may start on a full disk or not, but it must not lose anything."""
    place.kill()
    report.kills += 1
    place.start()
    try:
        place.ready()
        report.remarks.append("it starts on a full disk")
    except Unmet:
        report.remarks.append("it does not start on a full disk")


def full_disk(plan: Plan) -> Report:
    """The disk becomes full, has room again, becomes full again, and then the process is killed."""
    report = Report("the disk is full")
    with Alone(plan.checkout, plan.durability, small=True) as place:
        disk = place.disk
        assert disk is not None
        report.remarks.append("a tmpfs" if disk.mounted else "a limit for the size of files")
        ask(place.port, "POST", "/queues", {"name": QUEUE})
        work = Work(place.port, producers=6, body_bytes=3000, open_max=OPEN_MAX, seed=plan.seed)
        with Clients(work) as clients:
            for killed in (False, True):
                _grown(clients, place)
                disk.fill(place.pid)
                clients.allow(0)
                _refused(clients, place)
                if killed:
                    _killed_when_full(place, report)
                clients.allow(OPEN_MAX)
                disk.free(place.pid)
                if place.ended:
                    place.start()
                    place.ready()
                _grown(clients, place)
            _settle(place, clients, report)
    return report


def _kill_one(project: Delivering, clients: Clients, name: str, chance: random.Random) -> None:
    """Kill a process of a worker at a random moment, after some more messages were stored."""
    wanted = clients.stored() + STORED
    project.when("messages are stored", lambda: clients.stored() >= wanted)
    time.sleep(chance.uniform(*LIFE_S))  # the moment is the point: any may be the wrong one
    project.when(f"there is a {name} to be killed", lambda: project.kill(name, chance))


def workers(plan: Plan) -> Report:
    """Workers and the queue are killed while tasks are delivered through the front."""
    report, chance = Report("workers are killed during deliveries"), random.Random(plan.seed)
    moments: list[float] = []
    project = Delivering((), fronts=1, mode="production", say=report.remarks.append, checkout=plan.checkout)
    with project:
        project.ready()
        work = Work(project.port, project.prefix, consumers=0, open_max=0, producers=1, seed=plan.seed)
        with Clients(work) as clients:
            for number in range(plan.worker_kills):
                _kill_one(project, clients, "queue" if number % 3 == 2 else "sink", chance)
                moments.append(time.monotonic())
            clients.stop_producing()
            try:
                project.when("every task has ended", empty(project.port, project.prefix), DRAIN_S)
            except Unmet as unmet:
                report.problems.append(str(unmet))
        report.account, report.kills = clients.account, len(moments)
        book: list[Delivery] = read_book(project.book.read_text())
    report.deliveries = len(book)
    report.problems += clients.account.strange
    repeated, problems = judge(book, clients.account.stored, clients.account.unsure, moments)
    report.repeated = repeated
    report.problems += problems
    return report


ROUND: dict[str, Callable[[Plan], Report]] = {"kills": kills, "disk": full_disk, "workers": workers}


def run(plan: Plan, name: str) -> Report:
    """
    Do one round.

    @raise Unmet: it could not be done.
    """
    began = time.monotonic()
    report = ROUND[name](plan)
    report.took_s = time.monotonic() - began
    return report


def table(report: Report) -> str:
    """The report for a person."""
    account = report.account
    repeats = sum(count > 1 for count in account.delivered.values())
    lines = [
        f"{report.name}: {report.took_s:.1f} s" + "".join(f"; {remark}" for remark in report.remarks),
        f"  kills                        {report.kills}",
        f"  puts confirmed               {len(account.stored)}",
        f"  puts without an answer       {len(account.unsure)}",
        f"  puts refused                 {len(account.refused)}",
    ]
    if report.deliveries:
        lines.append(f"  deliveries begun             {report.deliveries}")
        lines.append(f"  repeated after a kill        {report.repeated}")
    else:
        lines.append(f"  delivered                    {len(account.delivered)}, {repeats} of them more than once")
        lines.append(f"  ends confirmed               {len(account.done)}")
        lines.append(f"  leases that had ended        {account.leases_lost}")
    if report.back_s:
        median, longest = statistics.median(report.back_s), max(report.back_s)
        lines.append(f"  kill -9 until it answers     median {median:.2f} s, longest {longest:.2f} s")
    lines.append(f"  {'nothing was lost' if report.good else 'NOT GOOD'}")
    return "\n".join([*lines, *(f"  {problem}" for problem in report.problems)])


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and do the rounds; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue_ledger", description="Account for every message.")
    parser.add_argument("--small", action="store_true", help="short rounds, as the tests do")
    parser.add_argument("--kills", type=int, metavar="N", help=f"of the queue's process ({Plan.kills})")
    parser.add_argument("--worker-kills", type=int, metavar="N", help=f"during deliveries ({Plan.worker_kills})")
    parser.add_argument("--durability", choices=["disk", "process"])
    parser.add_argument("--rounds", metavar="A,B", help=f"of {', '.join(ROUNDS)}")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--checkout", type=Path, metavar="DIR", help="whose queue is run (this one)")
    values = vars(parser.parse_args(arguments))
    small = values.pop("small")
    changes = {name: value for name, value in values.items() if value is not None}
    if "rounds" in changes:
        changes["rounds"] = tuple(changes["rounds"].split(","))
        if unknown := set(changes["rounds"]) - set(ROUNDS):
            parser.error(f"unknown rounds: {', '.join(sorted(unknown))}")
    plan = Plan(**{**vars(SMALL if small else Plan()), **changes})
    good = True
    for name in plan.rounds:
        try:
            report = run(plan, name)
        except Unmet as problem:
            print(f"{name}: {problem}", file=sys.stderr)
            good = False
            continue
        print(table(report), flush=True)
        good = good and report.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
