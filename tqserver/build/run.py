"""One tool that runs: started, listened to, and ended with all of its group when it takes too long."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from ..process.interfaces import Exit, IProcessObserver, IRunningProcess, ISpawner, Stream
from ..process.spec import ProcessSpec, SpawnFault
from .model import BuildFault
from .recipe import Step
from .tail import Tail

KILL_S = 1.0
"""
From the first signal to C{KILL}, in seconds: a compiler removes its temporary files in some milliseconds.
"""


class _State(Enum):
    """Where a L{ToolRun} is."""

    RUNNING = auto()
    LATE = auto()
    """It took too long and was signalled."""
    UNWANTED = auto()
    """Nobody waits for it any more, and it was signalled."""
    GONE = auto()


@implementer(IProcessObserver)
class ToolRun:
    """One run of one tool."""

    def __init__(self, clock: IReactorTime, step: Step, tail: Tail) -> None:
        """
        @param tail: is given all output.
        """
        self._clock = clock
        self._step = step
        self._tail = tail
        self._state = _State.RUNNING
        self._ended: Deferred[None] = Deferred()
        self._process: IRunningProcess | None = None
        self._timer: IDelayedCall | None = None

    def start(self, spawner: ISpawner, timeout_s: float) -> Deferred[None]:
        """
        Start it.

        @return: fires when the tool has ended well, and fails with L{BuildFault} when it did not end well,
            could not be started or took longer than C{timeout_s}; in any case only once nothing of it runs
            any more.
        """
        step = self._step
        spec = ProcessSpec(
            argv=step.argv, directory=step.directory, environment=tuple(sorted(step.environment.items()))
        )
        try:
            self._process = spawner.spawn(spec, self)
        except SpawnFault as fault:
            self._state = _State.GONE
            self._ended.errback(BuildFault(fault.reason, remedy=fault.remedy, kind="missing-tool"))
            return self._ended
        self._timer = self._clock.callLater(timeout_s, self._late, timeout_s)
        return self._ended

    def end(self) -> None:
        """Nobody wants the result any more: signal the group, and soon kill it."""
        if self._state is _State.RUNNING:
            self._state = _State.UNWANTED
            self._signal()

    def output(self, stream: Stream, lines: Sequence[bytes]) -> None:
        """See L{IProcessObserver}."""
        self._tail.add(lines)

    def notified(self) -> None:
        """See L{IProcessObserver}; tools have no such descriptor."""

    def exited(self, exit: Exit) -> None:
        """See L{IProcessObserver}."""
        state, self._state = self._state, _State.GONE
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if state is _State.LATE:
            self._ended.errback(
                BuildFault(
                    f"{self._step.title} took too long",
                    self._tail.lines(),
                    "see what it waits for, or raise workers.build_timeout_seconds",
                    "timeout",
                )
            )
        elif exit.code == 0:
            self._ended.callback(None)
        else:
            self._ended.errback(BuildFault(f"{self._step.title} failed with {exit.describe()}", self._tail.lines()))

    def _late(self, timeout_s: float) -> None:
        """The time is up."""
        self._state = _State.LATE
        self._tail.add([f"(ended after {timeout_s:g} s)".encode()])
        self._signal()

    def _signal(self) -> None:
        """Ask the group to end, and make it."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._process is not None:
            self._process.signal_group(self._step.stop_signal)
            self._timer = self._clock.callLater(KILL_S, self._process.signal_group, "KILL")
