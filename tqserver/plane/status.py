"""What outsiders see: a tree of frozen values, and the same as JSON. Pure."""

from __future__ import annotations

import math
from typing import cast

import msgspec
from attrs import asdict, frozen

from .messages import LATENCY_BOUNDS_S


@frozen(kw_only=True)
class ExitStatus:
    """The last death in a slot: how, when (wall clock seconds), and the last lines of output."""

    reason: str
    at: float
    output: tuple[str, ...] = ()


@frozen(kw_only=True)
class InstanceStatus:
    """
    One instance, or the slot that waits to be filled.

    @ivar pid: 0 while there is no process.
    @ivar port: 0 for a UNIX socket, whose path is C{socket}.
    @ivar started_at: wall clock seconds; 0 while there is no process.
    @ivar last_health_check: wall clock seconds; 0 before the first.
    @ivar health: what was wrong at that check, or empty.
    @ivar memory: resident bytes of the whole process group, 0 if unknown.
    @ivar ejected: how many fronts give it no requests for a while because too many went wrong.
    @ivar restarts: deaths that were followed by a new instance in the same place.
    """

    id: str
    pid: int
    port: int
    socket: str
    generation: int
    started_at: float
    state: str
    last_health_check: float
    health: str
    in_flight: int
    served: int
    ejected: int
    memory: int
    restarts: int
    last_exit: ExitStatus | None


@frozen(kw_only=True)
class BuildStatus:
    """
    The latest build, good or not.

    @ivar state: C{none}, C{building}, C{ok} or C{failed}.
    @ivar seconds: what it took; 0 while it runs.
    @ivar output: its lines.
    @ivar at: when it ended, wall clock seconds.
    @ivar path: of the artefact, or empty.
    """

    state: str = "none"
    seconds: float = 0.0
    output: tuple[str, ...] = ()
    at: float = 0.0
    path: str = ""
    fingerprint: str = ""
    reason: str = ""
    remedy: str = ""


@frozen(kw_only=True)
class WorkerStatus:
    """
    One worker.

    @ivar state: C{building}, C{starting}, C{healthy}, C{unhealthy}, C{stopping}, C{held}, C{failed}, C{disabled},
        C{stopped}, C{idle} (no instance is wanted now), C{static} or C{broken} (its configuration).
    @ivar reason: why, if there is something to say; with C{remedy}.
    @ivar serving: serial number of the generation that requests are given to; 0 if none is.
    @ivar wanted: instances that should be there.
    @ivar deaths: instances that died by themselves since the server started.
    @ivar watched: the folder that is watched for changes, or empty.
    @ivar p50_s: half of the exchanges were quicker, in seconds; 0 before the first.
    """

    name: str
    type: str
    route: str
    state: str
    reason: str = ""
    remedy: str = ""
    generation: int = 0
    serving: int = 0
    wanted: int = 0
    instances: tuple[InstanceStatus, ...] = ()
    build: BuildStatus = BuildStatus()
    watched: str = ""
    waiting: int = 0
    requests: int = 0
    deaths: int = 0
    errors: int = 0
    p50_s: float = 0.0
    p99_s: float = 0.0


@frozen(kw_only=True)
class FrontStatus:
    """
    One front as it is now; C{version} is the routing that it works by.

    @ivar upgraded: connections that speak another protocol than HTTP by now; they are in flight as well.
    """

    pid: int
    state: str
    version: int = 0
    connections: int = 0
    in_flight: int = 0
    upgraded: int = 0


@frozen(kw_only=True)
class ConfigStatus:
    """
    The configuration.

    @ivar state: C{ok}, or C{broken} when the files on disk cannot be used and an older configuration is in force.
    @ivar problems: one line each.
    @ivar applied_at: when the one in force was applied, wall clock seconds.
    @ivar restart: keys that differ on disk and need a restart of the server.
    """

    state: str
    problems: tuple[str, ...]
    applied_at: float
    restart: tuple[str, ...]


@frozen(kw_only=True)
class ServerStatus:
    """Everything."""

    version: str
    mode: str
    pid: int
    uptime_s: float
    stopping: bool
    routing_version: int
    config: ConfigStatus
    fronts: tuple[FrontStatus, ...]
    workers: tuple[WorkerStatus, ...]


def to_json(status: ServerStatus) -> dict[str, object]:
    """The tree as plain values that any JSON encoder takes."""
    return cast("dict[str, object]", msgspec.to_builtins(asdict(status)))


def quantile_s(counts: tuple[int, ...], share: float) -> float:
    """
    An upper bound of a quantile from the latency histogram.

    @param counts: as in L{WorkerLoad<tqserver.plane.messages.WorkerLoad>}.
    @param share: 0.5 for the median.
    @return: seconds; the largest bound for what lies beyond it, and 0 when nothing was counted.
    """
    rank = math.ceil(sum(counts) * share)
    if not rank:
        return 0.0
    seen = 0
    for index, counted in enumerate(counts):
        seen += counted
        if seen >= rank:
            return float(LATENCY_BOUNDS_S[min(index, len(LATENCY_BOUNDS_S) - 1)])
    return float(LATENCY_BOUNDS_S[-1])
