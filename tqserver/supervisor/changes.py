"""The steps between what runs and what should: frozen values that can be printed and compared. Pure."""

from __future__ import annotations

from attrs import frozen


@frozen
class Generation:
    """
    One (configuration, build) of a worker, and how often it was asked to begin anew.

    @ivar worker: name of the worker.
    @ivar serial: counts the worker's generations from 1; names instances, and orders generations.
    @ivar process_key: of all in the configuration that a process is made from
        (L{tqserver.config.diff.process_key}).
    @ivar fingerprint: of the build.
    @ivar restart: counts restarts by command, and by files that a process reads when it starts.
    """

    worker: str
    serial: int
    process_key: str
    fingerprint: str
    restart: int = 0

    @property
    def identity(self) -> tuple[str, str, int]:
        """What two generations have in common that need no second process."""
        return (self.process_key, self.fingerprint, self.restart)

    def __str__(self) -> str:
        return f"{self.worker}.{self.serial}"


@frozen
class StartBuild:
    """Build a worker. C{source} numbers the reasons to; a later one supersedes."""

    worker: str
    source: int


@frozen
class SetCount:
    """From now on a worker should have so many instances."""

    worker: str
    count: int


@frozen
class StartSlot:
    """Start one more instance of a generation, in a slot of its own."""

    generation: Generation


@frozen
class RetireSlot:
    """Take a slot's instance out of routing, let it finish what it has, and stop it."""

    slot: str
    reason: str


@frozen
class StopSlot:
    """Stop a slot that is retiring without waiting any longer for what it has."""

    slot: str
    reason: str


Change = StartBuild | SetCount | StartSlot | RetireSlot | StopSlot
