"""
Where the time of the front goes, sampled under the load of proxied requests: C{python -m bench.proxy --profile
SECONDS}.

Twice: by perf, which sees the kernel and the libraries, and by a timer in the front itself, which sees Python's
functions. (From Python 3.12 on perf sees these as well.)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.project import STOP_S, Unmet
from bench.proxy.candidates import HELLO
from bench.proxy.machine import COMMAND_S, need
from bench.proxy.phases import kept
from bench.proxy.rows import OURS
from bench.proxy.stage import WARM_S, Plan, stage

HERE = Path(__file__).parent
SAMPLES_PER_S = 1999
"""Of perf; not a divisor of anything periodic."""
LINES_MAX = 40
PERCENT_MIN = 0.1


@dataclass(frozen=True)
class Share:
    """So much of the samples was in there."""

    percent: float
    where: str


def parse_report(text: str) -> list[Share]:
    """The lines of C{perf report --stdio}. Pure."""
    found = re.findall(r"^\s*(\d+\.\d+)%\s+(\S.*?)\s*$", text, re.MULTILINE)
    return [Share(float(percent), re.sub(r"\s{2,}-.*|(?<=\S)\s{2,}", " ", where).strip()) for percent, where in found]


def shares(counts: Mapping[str, int], total: int) -> list[Share]:
    """Counts as shares, the largest first. Pure."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Share(100 * count / total, name) for name, count in ordered if total]


def block(title: str, found: Sequence[Share], most: int = LINES_MAX) -> str:
    """Shares as text. Pure."""
    return "\n".join([title, *(f"  {share.percent:5.1f} %  {share.where}" for share in found[:most])]) + "\n"


def profile(plan: Plan, path: str) -> str:
    """
    Sample both ways, and tell.

    @param path: what is asked for; it is answered with L{HELLO}.
    """
    return f"{_natively(plan, path)}\n{_in_python(plan, path)}"


def _loaded(plan: Plan, path: str, argv: Sequence[str] = ()) -> str:
    """
    Put the load on a front of ours.

    @param argv: what watches it; C{PIDS} in it are the front's processes.
    @return: what came out, in words.
    """
    with ExitStack() as stack:
        front = stack.enter_context(stage(plan, (OURS,))).candidates[OURS]
        plan.load.keep_alive(front.port, path, WARM_S)
        watching = None
        if argv:
            pids = ",".join(map(str, front.pids))
            watching = subprocess.Popen(
                [word.replace("PIDS", pids) for word in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            stack.callback(watching.kill)
        figures, trouble = kept(plan.load, plan.seconds, path, HELLO)(front)
        if watching is not None:
            output, _ = watching.communicate(timeout=STOP_S)
            if watching.returncode:
                raise Unmet(f"{argv[0]} ended with {watching.returncode}: {output.decode(errors='replace')[-500:]}")
    told = f"{figures['rps']:,.0f} requests a second, {figures['cpu_us']:.1f} µs of CPU each"
    return f"{told}{' !! ' + trouble if trouble else ''}"


def _natively(plan: Plan, path: str) -> str:
    perf = need(["perf"], plan.say)["perf"]
    data = plan.programs / "perf.data"
    if sys.version_info >= (3, 12):
        os.environ["PYTHONPERFSUPPORT"] = "1"
    told = _loaded(
        plan,
        path,
        [
            *(perf, "record", "-q", "-g", "-F", str(SAMPLES_PER_S), "-p", "PIDS", "-o", str(data)),
            *("--", "sleep", str(plan.seconds)),
        ],
    )
    os.environ.pop("PYTHONPERFSUPPORT", None)

    def report(sort: str) -> list[Share]:
        argv = [
            *(perf, "report", "--stdio", "--no-children", "--call-graph", "none", "-i", str(data), "--sort", sort),
            *("--percent-limit", str(PERCENT_MIN)),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_S)
        found = parse_report(done.stdout)
        if not found:
            raise Unmet(f"perf found nothing: {done.stdout[-300:]}{done.stderr[-300:]}")
        return found

    libraries = block("by program or library", report("dso"))
    functions = block("by function, without what it calls", report("dso,symbol"))
    return f"perf: {told}\n\n{libraries}\n{functions}"


def _in_python(plan: Plan, path: str) -> str:
    """The timer is started by the front's own interpreter, see L{bench.proxy.sampling}."""
    folder = plan.programs
    os.environ["TQSERVER_BENCH_SAMPLES"] = str(folder)
    try:
        told = _loaded(replace(plan, path=(HERE / "sampling",)), path)
    finally:
        del os.environ["TQSERVER_BENCH_SAMPLES"]
    at_work: Counter[str] = Counter()
    under_way: Counter[str] = Counter()
    for file in folder.glob("*.samples"):
        said = json.loads(file.read_text())
        at_work.update(said["at_work"])
        under_way.update(said["under_way"])
    total = sum(at_work.values())
    if not total:
        raise Unmet("the front has written no samples")
    first = block("by function of Python, without what it calls in Python", shares(at_work, total))
    second = block("by function of Python, with what it calls", shares(under_way, total))
    return f"Python: {told}, {total} samples\n\n{first}\n{second}"
