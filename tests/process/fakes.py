"""A reactor that starts processes which never were, seen from below: with pipes, and an end in two steps."""

from __future__ import annotations

import os
from collections.abc import Sequence

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from tqserver.process.interfaces import Exit, IProcessObserver


class FakePipe:
    """Our end of a pipe."""

    def __init__(self) -> None:
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


class FakeTransport:
    """A process as the reactor has it."""

    def __init__(self, pid: int, protocol: ProcessProtocol, argv: list[str], fds: dict[int, int | str]) -> None:
        self.pid: int | None = pid
        self.protocol = protocol
        self.argv = argv
        self.pipes = {fd: FakePipe() for fd, target in fds.items() if target == "r"}
        self.signals: list[str] = []
        # What the process would read, for those that are given a descriptor of ours.
        self.inherited = {fd: os.dup(target) for fd, target in fds.items() if isinstance(target, int)}
        self._status: Failure | None = None

    def signalProcess(self, name: str) -> None:
        if self.pid is None:
            raise ProcessExitedAlready()
        self.signals.append(name)

    def say(self, data: bytes, fd: int = 1) -> None:
        self.protocol.childDataReceived(fd, data)

    def closeChildFD(self, fd: int) -> None:
        """Somebody closed a pipe, on either side."""
        del self.pipes[fd]
        self.protocol.childConnectionLost(fd)
        self._perhaps_ended()

    def die(self, code: int = 0, signal: int | None = None) -> None:
        """The process ends; whoever holds its pipes may live on."""
        ended = ProcessTerminated(code or None, signal) if code or signal else ProcessDone(0)
        self.pid = None
        self._status = Failure(ended)
        self.protocol.processExited(self._status)
        self._perhaps_ended()

    def end(self, code: int = 0, signal: int | None = None) -> None:
        """It ends, and all its pipes with it."""
        self.die(code, signal)
        for fd in tuple(self.pipes):
            self.closeChildFD(fd)

    def close(self) -> None:
        """Close what it inherited."""
        for fd in self.inherited.values():
            os.close(fd)
        self.inherited.clear()

    def _perhaps_ended(self) -> None:
        if self._status is not None and not self.pipes:
            self.protocol.processEnded(self._status)


@implementer(IReactorProcess)
class FakeProcessReactor(Clock):
    """
    A clock that starts processes.

    @ivar refusal: what C{spawnProcess} raises, if anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.transports: list[FakeTransport] = []
        self.refusal: Exception | None = None

    def spawnProcess(
        self,
        processProtocol: ProcessProtocol,
        executable: str,
        args: Sequence[str] = (),
        env: dict[str, str] | None = None,
        path: str | None = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: bool = False,
        childFDs: dict[int, int | str] | None = None,
    ) -> FakeTransport:
        if self.refusal is not None:
            raise self.refusal
        assert path is None and uid is None and gid is None, "the reactor would fork"
        transport = FakeTransport(70_000_000 + len(self.transports), processProtocol, list(args), childFDs or {})
        self.transports.append(transport)
        processProtocol.makeConnection(transport)
        return transport


@implementer(IProcessObserver)
class Diary:
    """Writes down all that an observer hears, in order."""

    def __init__(self) -> None:
        self.entries: list[tuple[object, ...]] = []

    def output(self, stream: str, lines: Sequence[bytes]) -> None:
        self.entries.append((stream, *lines))

    def notified(self) -> None:
        self.entries.append(("notified",))

    def exited(self, exit: Exit) -> None:
        self.entries.append(("exited", exit))
