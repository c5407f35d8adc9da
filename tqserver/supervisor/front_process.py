"""One front as a process: what is known of it, and how it is started with its sockets and its pipe."""

from __future__ import annotations

import enum
import os
import socket
import sys
from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProcessTransport,
    IReactorProcess,
    IReactorSocket,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..plane.link import Link, OneLink
from ..plane.messages import Load, Upward
from .listening import Listening

_log = Logger()

CONTROL_FD = 3

LINE_BYTES_MAX = 4096
"""Of what a front prints without an end of line."""


class IFrontsReactor(IReactorProcess, IReactorSocket, IReactorTime):
    """What is needed of the reactor."""


class FrontState(enum.Enum):
    """A front's life."""

    STARTING = "starting"
    RUNNING = "running"
    LEAVING = "leaving"
    GONE = "gone"


@define(eq=False)
class Front:
    """
    One front process.

    @ivar holding: endpoints that it was told of and has not drained, and the last version that it was told them by.
    @ivar sent: the version of the last routing that it was sent.
    @ivar applied: the version that it works by.
    @ivar start_call: kills it if it does not start.
    @ivar kill_call: kills it if it does not end.
    @ivar ready: fires when it has applied its first routing, or has ended without.
    @ivar ended: fires when its process has ended.
    """

    slot: int
    started_at: float
    link: Link[Upward] = field(init=False)
    pid: int = 0
    transport: IProcessTransport | None = None
    state: FrontState = FrontState.STARTING
    holding: dict[str, int] = field(factory=dict)
    sent: int = 0
    applied: int = 0
    load: Load | None = None
    start_call: IDelayedCall | None = None
    kill_call: IDelayedCall | None = None
    ready: Deferred[None] = field(factory=Deferred)
    ended: Deferred[None] = field(factory=Deferred)

    @property
    def staying(self) -> bool:
        """Whether it serves its slot, or soon will."""
        return self.state in (FrontState.STARTING, FrontState.RUNNING)

    def cancel_calls(self) -> None:
        """Nobody need be killed."""
        for call in (self.start_call, self.kill_call):
            if call is not None and call.active():
                call.cancel()
        self.start_call = self.kill_call = None


class _FrontProcess(ProcessProtocol):
    """The reactor's view of a front."""

    def __init__(self, front: Front, ended: Callable[[Front, Failure], None]) -> None:
        self._front = front
        self._ended = ended
        self._tail = b""

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        lines = (self._tail + data).split(b"\n")
        self._tail = lines.pop()[-LINE_BYTES_MAX:]
        for line in lines:
            _log.info("front {pid}: {line}", pid=self._front.pid, line=line.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:
        self._ended(self._front, reason)


def start_process(
    reactor: IFrontsReactor,
    front: Front,
    sockets: Sequence[Listening],
    ended: Callable[[Front, Failure], None],
) -> None:
    """
    Start a front's process, connected to its link.

    @param sockets: what it listens on.
    @param ended: is told when the process has ended.
    @raise OSError: there can be no process now.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, OneLink(front.link))
    ours.close()
    child_fds: dict[int, int | str] = {1: "r", 2: "r", CONTROL_FD: theirs.fileno()}
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    child_fds[0] = null
    arguments = []
    for number, listening in enumerate(sockets, CONTROL_FD + 1):
        child_fds[number] = listening.socket.fileno()
        arguments += [_option(listening), str(number)]
    command = [
        *("setsid", "setpriv", "--pdeathsig", "KILL", "--"),
        *(sys.executable, "-m", "tqserver.front", "--control", str(CONTROL_FD), *arguments),
    ]
    try:
        transport = reactor.spawnProcess(
            _FrontProcess(front, ended), command[0], command, _environment(), childFDs=child_fds
        )
    finally:
        theirs.close()
        os.close(null)
    front.transport = transport
    front.pid = transport.pid or 0


def _option(listening: Listening) -> str:
    """How a front is told of a socket."""
    if listening.private:
        return "--listen-private"
    return "--listen-proxied" if listening.proxy_protocol else "--listen"


def _environment() -> dict[str, str]:
    """The server's own, with this very package first to be found."""
    environment = dict(os.environ)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
    return environment
