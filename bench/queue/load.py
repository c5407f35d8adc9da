"""The load: our own clients (C{load/*.go}), on the cores that are theirs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.project import Unmet
from bench.proxy.machine import run_on_cores
from bench.queue.rows import BODY_BYTES

SETTLE_S = 180.0
"""Longest that the clients may take beyond the time that they were given."""
COUNT_S = 900.0
"""Longest for a number of messages."""


@dataclass(frozen=True)
class Confirmed:
    """
    What servers have confirmed; counts are of messages.

    @ivar trouble: what was wrong, in words; empty if nothing was.
    """

    puts: int
    gets: int
    dones: int
    seconds: float
    p50_ms: float
    p99_ms: float
    trouble: str


def parse(text: str) -> Confirmed:
    """
    What the clients print at their end. Pure.

    @raise Unmet: they did not.
    """
    try:
        said = json.loads(text.strip().splitlines()[-1])
        return Confirmed(
            puts=said["puts"],
            gets=said["gets"],
            dones=said["dones"],
            seconds=said["seconds"],
            p50_ms=said["p50_us"] / 1e3,
            p99_ms=said["p99_us"] / 1e3,
            trouble=said["trouble"],
        )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise Unmet(f"the clients gave no result ({error}): {text[-500:]!r}") from error


@dataclass(frozen=True)
class Clients:
    """
    Makes load.

    @ivar cores: where it may run.
    @ivar program: that was built.
    """

    cores: frozenset[int]
    program: Path

    def run(
        self, protocol: str, port: int, *options: str, clients: int = 1, batch: int = 1, seconds: float = 0.0
    ) -> Confirmed:
        """
        Have clients work for a time, or until the count is reached that C{options} say.

        @raise Unmet: they did not end.
        """
        argv = [
            *(str(self.program), "-protocol", protocol, "-address", f"127.0.0.1:{port}"),
            *("-clients", str(clients), "-batch", str(batch), "-seconds", str(seconds), "-body", str(BODY_BYTES)),
            *options,
        ]
        return parse(run_on_cores(self.cores, argv, seconds + SETTLE_S if seconds else COUNT_S))
