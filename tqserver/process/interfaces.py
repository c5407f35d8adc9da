"""What a process is to those who start it: an interface each for starting, watching and asking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from .spec import ProcessSpec

Stream = Literal["stdout", "stderr"]


@frozen
class Exit:
    """
    How a process ended.

    @ivar code: its exit code, or L{None} if a signal ended it.
    @ivar signal: the name of that signal without C{SIG}, or L{None}.
    @ivar at: when, in seconds since the epoch.
    """

    code: int | None
    signal: str | None
    at: float

    @property
    def well(self) -> bool:
        """Whether it ended by itself with code 0."""
        return self.code == 0

    def describe(self) -> str:
        """For a person: C{exit code 3} or C{killed by SIGKILL}."""
        if self.signal is not None:
            return f"killed by SIG{self.signal}"
        return f"exit code {self.code}"


class IProcessObserver(Interface):
    """Is told what becomes of one process. Its methods do not raise."""

    def output(stream: Stream, lines: Sequence[bytes]) -> None:
        """
        Lines that the process wrote, without line ends; at least one. A line longer than
        L{LINE_BYTES_MAX<tqserver.process.output.LINE_BYTES_MAX>} comes in pieces.
        """

    def notified() -> None:
        """The process wrote a newline on descriptor 3: it is ready. At most once."""

    def exited(exit: Exit) -> None:
        """
        The process has ended, its group has been killed, and all its output has been told. Once for each
        successful spawn, in a later turn of the reactor than the spawn, and the last of all calls.
        """


class IRunningProcess(Interface):
    """A process that was started, and its group, which it leads."""

    pid: int = Attribute("Its process id, which is also that of its group and of its session.")
    alive: bool = Attribute("Whether it has not ended yet; false some time before C{exited} is told.")

    def signal_group(name: str) -> bool:
        """
        Signal the process and all others of its group.

        @param name: such as C{TERM}, without C{SIG}.
        @return: false if the process has ended, and with it the group.
        @raise ValueError: no signal has this name.
        """

    def last_lines() -> tuple[str, ...]:
        """
        Its last lines on stdout and stderr, made harmless for terminals, oldest first; also after its end.
        """


class ISpawner(Interface):
    """Starts processes."""

    def spawn(spec: ProcessSpec, observer: IProcessObserver) -> IRunningProcess:
        """
        Start a process.

        @param observer: an L{IProcessObserver}.
        @raise SpawnFault: it could not be started; the observer hears nothing then.
        """


class ProbeFault(Exception):
    """
    A probe found that an instance is not well.

    @ivar reason: what it met, one sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class IProbe(Interface):
    """Asks one instance whether it is well."""

    def check() -> Deferred[None]:
        """
        Ask once.

        @return: fires with L{None} when it is well, and fails with L{ProbeFault}, and nothing else, when it
            is not or says nothing in time. Cancelling ends the question.
        """
