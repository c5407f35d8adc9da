"""Processes that do what the test tells them."""

from __future__ import annotations

import signal as signals
from collections.abc import Callable, Collection

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from ..process.interfaces import Exit, IProcessObserver, IRunningProcess, ISpawner, Stream
from ..process.spec import ProcessSpec, SpawnFault

LINES_KEPT = 50
"""As many last lines as a real process keeps."""


@implementer(IRunningProcess)
class FakeProcess:
    """
    One process that never was.

    It ends when the test says L{exit}, and, as a real one, when it is killed; and on any other signal that it
    C{obeys}. C{exited} is told in a later turn of the clock, after which the process is not C{alive} any
    more.

    @ivar spec: what it was started with.
    @ivar signals: names of the signals it was sent, in order.
    @ivar obeys: signals that end it besides C{KILL}; change it at will.
    @ivar exit_told: how C{exited} was told, or L{None} if it was not yet.
    """

    def __init__(
        self,
        pid: int,
        spec: ProcessSpec,
        observer: IProcessObserver,
        clock: IReactorTime,
        obeys: Collection[str] = (),
    ) -> None:
        self.pid = pid
        self.spec = spec
        self.observer = observer
        self.signals: list[str] = []
        self.obeys: set[str] = set(obeys)
        self.alive = True
        self.exit_told: Exit | None = None
        self._clock = clock
        self._lines: list[str] = []

    def signal_group(self, name: str) -> bool:
        """Record a signal; see L{IRunningProcess}."""
        if not hasattr(signals, f"SIG{name}"):
            raise ValueError(f"no signal is called {name!r}")
        if not self.alive:
            return False
        self.signals.append(name)
        if name == "KILL" or name in self.obeys:
            self.exit(signal=name)
        return True

    def last_lines(self) -> tuple[str, ...]:
        """What it said last; see L{IRunningProcess}."""
        return tuple(self._lines[-LINES_KEPT:])

    def exit(self, code: int | None = None, signal: str | None = None) -> None:
        """
        End, with an exit code (0 if nothing is said) or by a signal.

        @raise AssertionError: it has ended already.
        """
        assert self.alive, f"process {self.pid} has ended already"
        self.alive = False
        if code is None and signal is None:
            code = 0
        self._clock.callLater(0, self._tell, Exit(code=code, signal=signal, at=self._clock.seconds()))

    def say(self, text: str, stream: Stream = "stdout") -> None:
        """Write lines on a stream."""
        lines = text.splitlines() or [""]
        self._lines.extend(lines)
        self.observer.output(stream, [line.encode() for line in lines])

    def notify(self) -> None:
        """Write a newline on descriptor 3; it has one only if the spec says so."""
        assert self.spec.notify, "this process has no descriptor 3"
        self.observer.notified()

    def _tell(self, exit: Exit) -> None:
        """Tell the observer that it is over."""
        self.exit_told = exit
        self.observer.exited(exit)


@implementer(ISpawner)
class FakeSpawner:
    """
    Starts L{FakeProcess}es.

    @ivar processes: all that were ever started, in order.
    @ivar obeys: signals that newly started processes end on, besides C{KILL}.
    @ivar on_spawn: called with each new process, if it is set.
    """

    def __init__(self, clock: IReactorTime, obeys: Collection[str] = ()) -> None:
        self.processes: list[FakeProcess] = []
        self.obeys: set[str] = set(obeys)
        self.on_spawn: Callable[[FakeProcess], None] | None = None
        self._clock = clock
        self._faults: list[SpawnFault] = []

    @property
    def running(self) -> list[FakeProcess]:
        """Processes that have not ended, in the order of their start."""
        return [process for process in self.processes if process.alive]

    def fail_next(self, reason: str = "no such program", remedy: str = "install it") -> None:
        """Have the next spawn that has no fault yet fail."""
        self._faults.append(SpawnFault(reason, remedy))

    def spawn(self, spec: ProcessSpec, observer: IProcessObserver) -> FakeProcess:
        """Start a process, or fail if that was asked for; see L{ISpawner}."""
        if self._faults:
            raise self._faults.pop(0)
        process = FakeProcess(1000 + len(self.processes), spec, observer, self._clock, self.obeys)
        self.processes.append(process)
        if self.on_spawn is not None:
            self.on_spawn(process)
        return process
