"""
From saving a file to the first answer of the new version: C{python -m bench.reload}.

The whole is measured at a client. The build is what the server's status says of it, and the worker's own boot is
measured by starting the same program by hand until its C{/health} answers. The rest is ours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from bench.project import CHANGE_S, KINDS, Project, Unmet, free_port, missing_tools, search_path
from bench.wire import Connection, Lost

SETTLE_S = 0.3
"""Between two rounds: the old instance has ended by then, and does not compete with the next build."""
BOOT_LOOK_S = 0.0005
"""Between two looks whether a program that we started answers."""


@dataclass(frozen=True)
class Sample:
    """One round, in seconds."""

    whole_s: float
    build_s: float
    boot_s: float

    @property
    def rest_s(self) -> float:
        """What the server itself took."""
        return self.whole_s - self.build_s - self.boot_s


def boot_command(project: Project, kind: str) -> tuple[str, ...]:
    """How the program is started by hand, in the worker's folder; empty where a save starts no process (PHP)."""
    commands = {
        "go": (str(project.file("workers/index/bin/index")),),
        "bun": ("bun", "index.ts"),
        "python": (sys.executable, "-u", "app.py"),
    }
    return commands.get(kind, ())


def boot_s(project: Project, kind: str) -> float:
    """
    Start the program by hand and wait until it is healthy.

    @return: seconds; 0 where there is nothing to start.
    @raise Unmet: it never answered.
    """
    command = boot_command(project, kind)
    if not command:
        return 0.0
    port = free_port()
    environment = {**os.environ, "WORKER_PORT": str(port), "WORKER_ROUTE": "/", "PATH": search_path()}
    connection = Connection(("127.0.0.1", port))
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=project.file(f"workers/{KINDS[kind].worker}"),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                if connection.ask("GET", "/health").status == 200:
                    return time.monotonic() - began
            except Lost:
                if process.poll() is not None or time.monotonic() - began > CHANGE_S:
                    raise Unmet(f"{' '.join(command)} does not answer") from None
            time.sleep(BOOT_LOOK_S)
    finally:
        connection.close()
        process.terminate()
        process.wait()


def build_s(project: Project, kind: str) -> float:
    """What the latest build took; 0 for what is not built."""
    if kind == "php":
        return 0.0
    build = cast("dict[str, object]", project.worker(kind)["build"])
    seconds = build.get("seconds") or 0.0
    assert isinstance(seconds, (int, float))
    return float(seconds)


def measure(project: Project, kind: str, rounds: int) -> list[Sample]:
    """Save and wait, several times. One round before them fills the caches and does not count."""
    samples: list[Sample] = []
    for index in range(rounds + 1):
        version = project.save_version(kind, rename=index % 2 == 1)
        whole_s = project.when_serves(kind, version)
        built_s = build_s(project, kind)
        time.sleep(SETTLE_S)
        sample = Sample(whole_s, built_s, boot_s(project, kind))
        if index:
            samples.append(sample)
    return samples


def table(samples: dict[str, list[Sample]]) -> str:
    """Medians, for a person."""
    columns: tuple[tuple[str, Callable[[Sample], float]], ...] = (
        ("whole", lambda sample: sample.whole_s),
        ("build", lambda sample: sample.build_s),
        ("boot", lambda sample: sample.boot_s),
        ("ours", lambda sample: sample.rest_s),
    )
    lines = ["medians in ms" + " " * 3 + "".join(f"{name:>9}" for name, _ in columns) + "  longest whole"]
    for kind, taken in samples.items():
        medians = "".join(f"{statistics.median(map(value, taken)) * 1000:>9.1f}" for _, value in columns)
        lines.append(f"{kind:<16}{medians}{max(sample.whole_s for sample in taken) * 1000:>15.1f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and measure; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.reload", description="Time from saving to serving.")
    parser.add_argument("--rounds", type=int, default=10, metavar="N")
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated")
    parser.add_argument("--fronts", default="auto")
    values = parser.parse_args(arguments)
    kinds = tuple(values.kinds.split(","))
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"unknown kinds: {', '.join(sorted(unknown))}")
    if values.rounds < 1:
        parser.error("at least one round")
    if missing := missing_tools(kinds):
        parser.error("needs " + ", ".join(f"{tool} for {kind}" for kind, tool in missing.items()))
    try:
        with Project(kinds, fronts=values.fronts) as project:
            print(table({kind: measure(project, kind, values.rounds) for kind in kinds}))
    except Unmet as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
