"""What building a worker gives: a build, or a fault; and what is known of both afterwards. Pure."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

FaultKind = Literal["missing-tool", "failed", "timeout", "superseded"]
StateName = Literal["idle", "queued", "building", "ok", "failed"]


@frozen
class Build:
    """
    A worker that can be run.

    @ivar worker: the worker's name.
    @ivar fingerprint: names this build; another one means that instances have to be replaced. Made of
        everything that an instance is made of but C{worker.yaml}: sources, the settings that builds depend
        on, and files that instances read when they start.
    @ivar argv: how an instance is run; may hold C{{port}}, C{{socket}} and C{{name}}. For C{php}: the
        php-fpm binary alone. Empty for types without processes of their own.
    @ivar directory: absolute working directory of an instance.
    @ivar environment: what this type of worker needs besides the environment of the contract, sorted.
    @ivar artefact: absolute path of what was built, or empty if there is no such file.
    @ivar seconds: how long it took, without waiting for a place among the builds at once.
    @ivar output: last lines of the tools that ran.
    @ivar at: when it was finished, in seconds since the epoch.
    @ivar reused: whether no tool had to run.
    @ivar key: names the artefact; the same for builds that differ only in files that instances read at start.
    """

    worker: str
    fingerprint: str
    argv: tuple[str, ...]
    directory: str
    environment: tuple[tuple[str, str], ...] = ()
    artefact: str = ""
    seconds: float = 0.0
    output: tuple[str, ...] = ()
    at: float = 0.0
    reused: bool = False
    key: str = ""


class BuildFault(Exception):
    """
    A worker that could not be built.

    @ivar reason: one sentence.
    @ivar output: last lines of the tool that failed.
    @ivar remedy: what an operator could do; empty if there is nothing to say.
    @ivar kind: C{superseded} is no failure of the worker: a newer build took its place, or nobody wants it
        any more.
    """

    def __init__(
        self,
        reason: str,
        output: tuple[str, ...] = (),
        remedy: str = "",
        kind: FaultKind = "failed",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.output = output
        self.remedy = remedy
        self.kind = kind

    @property
    def told(self) -> str:
        """What to say of the worker; its name goes before."""
        return self.reason if self.kind == "missing-tool" else f"could not be built: {self.reason}"

    def __repr__(self) -> str:
        return f"<BuildFault {self.kind}: {self.reason}>"


@frozen
class BuildState:
    """
    The latest build of one worker, for status.

    @ivar seconds: how long it took; so far, while it runs.
    @ivar output: last lines of the tools; of the latest build that ended.
    @ivar at: when it ended, in seconds since the epoch; 0: never yet.
    @ivar fingerprint: of the latest good build; empty: none yet.
    @ivar path: its artefact.
    @ivar reason: why the latest build failed; empty if it did not.
    @ivar remedy: what would help.
    """

    state: StateName = "idle"
    seconds: float = 0.0
    output: tuple[str, ...] = ()
    at: float = 0.0
    fingerprint: str = ""
    path: str = ""
    reason: str = ""
    remedy: str = ""


@frozen
class Sources:
    """
    A worker's files at one moment.

    @ivar source: fingerprint of what is built.
    @ivar settings: fingerprint of what instances read when they start.
    @ivar names: paths of the sources, from the worker's folder, in an order that is always the same.
    @ivar newest_s: the latest modification of a source, in seconds since the epoch; 0 if there is none.
    @ivar exact: false if there was too much to read, and sizes and times were taken for the rest.
    """

    source: str
    settings: str
    names: tuple[str, ...]
    newest_s: float
    exact: bool = True
