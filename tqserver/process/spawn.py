"""
Starting processes, for real: each with a session, a process group and an end of its own.

The leader's end is the end of all: what is left of its group is killed at once, and what left the group but
not the session is killed by the L{guard<tqserver.process.guard>}. A process that left the session on purpose
(a daemon) is let go; it keeps neither us nor its own output waiting.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
import shutil
import signal
import time
from collections.abc import Callable
from typing import cast

from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.process import Process
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .guard import Guard, IProcessReactor
from .interfaces import Exit, IProcessObserver, IRunningProcess, ISpawner, Stream
from .output import LineSplitter, Tail, Throttle
from .spec import PATH_DEFAULT, Identity, ProcessSpec, SpawnFault, Tools, command_line

OUTPUT_AFTER_EXIT_S = 1.0
"""
Longest wait for the end of the output after the end of the process, in seconds: a daemon that it left behind
may hold the pipe for ever.
"""

OUTPUT_AFTER_EXIT_BYTES_MAX = 512 * 1024
"""
What is still read of it, in bytes: more than three full pipes, and no more than a daemon's flood would need.
"""

NOTIFY_FD = 3

_STREAMS: dict[int, Stream] = {1: "stdout", 2: "stderr"}

_PACKAGES = {"setsid": "util-linux", "prlimit": "util-linux", "setpriv": "util-linux", "sh": "dash"}
"""Debian packages of the tools that are not in coreutils."""


def find_tools(path: str | None = None) -> Tools:
    """
    Look up the programs that prepare a process.

    @param path: where to look; L{None} for the server's own C{PATH}.
    @raise SpawnFault: one is not installed.
    """
    found: dict[str, str] = {}
    for name in ("setsid", "env", "sh", "nice", "prlimit", "setpriv"):
        tool = shutil.which(name, path=path)
        if tool is None:
            raise SpawnFault(f"{name} is not installed", f"apt install {_PACKAGES.get(name, 'coreutils')}")
        found[name] = os.path.abspath(tool)
    return Tools(**found)


def signal_number(name: str) -> int:
    """
    The number of a signal.

    @param name: such as C{TERM}.
    @raise ValueError: there is none of this name.
    """
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise ValueError(f"no signal is called {name!r}")


def signal_name(number: int) -> str:
    """The name of a signal without C{SIG}; the number itself for the nameless realtime signals."""
    try:
        return signal.Signals(number).name[3:]
    except ValueError:
        return str(number)


def identity_of(user: str | None, group: str | None) -> Identity | None:
    """
    Who a process is to be.

    @param user: name or number, or L{None}.
    @param group: likewise.
    @return: L{None} if nothing is asked for, or what we are already.
    @raise SpawnFault: there is no such user or group.
    """
    if user is None and group is None:
        return None
    uid: int | None = None
    gid = os.getegid()
    known = False
    if user is not None:
        try:
            entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
            uid, gid, known = entry.pw_uid, entry.pw_gid, True
        except KeyError:
            if not user.isdecimal():
                raise SpawnFault(f"there is no user {user!r}", f"create it (adduser --system {user}) or name another")
            uid = gid = int(user)
    if group is not None:
        try:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise SpawnFault(f"there is no group {group!r}", f"create it (addgroup --system {group}) or name another")
    if uid in (None, os.geteuid()) and gid == os.getegid():
        return None
    return Identity(uid=uid, gid=gid, known=known)


def check_program(spec: ProcessSpec) -> None:
    """
    See whether there is something to run, as the worker itself would look for it.

    @raise SpawnFault: there is not, with the way to mend it. (Without this check setpriv would say so, less
        clearly.)
    """
    if not os.path.isdir(spec.directory):
        raise SpawnFault(f"the directory {spec.directory} does not exist", "create it")
    if not spec.argv or not spec.argv[0]:
        raise SpawnFault("there is no program to run", "name one in run")
    program = spec.argv[0]
    if "/" in program:
        candidates = [os.path.join(spec.directory, program)]
    else:
        path = dict(spec.environment).get("PATH", PATH_DEFAULT)
        candidates = [os.path.join(spec.directory, folder, program) for folder in path.split(":")]
    files = [candidate for candidate in candidates if os.path.isfile(candidate)]
    if not files:
        if "/" in program:
            raise SpawnFault(f"{candidates[0]} does not exist", "build it, or correct the command")
        raise SpawnFault(
            f"{program} is not in the worker's PATH ({path})",
            f"install {program}, or set PATH under environment in worker.yaml",
        )
    if not any(os.access(file, os.X_OK) for file in files):
        raise SpawnFault(f"{files[0]} is not executable", f"chmod +x {files[0]}")


def check_limits(spec: ProcessSpec, privileged: bool) -> None:
    """
    See whether the limits can be set: only root may raise a hard limit (setrlimit(2)).

    @raise SpawnFault: they cannot.
    """
    asked = (
        ("open_files", resource.RLIMIT_NOFILE, spec.limits.open_files),
        ("processes", resource.RLIMIT_NPROC, spec.limits.processes),
        ("address_space", resource.RLIMIT_AS, spec.limits.address_space_bytes),
    )
    for name, which, value in asked:
        hard = resource.getrlimit(which)[1]
        if value is not None and not privileged and hard != resource.RLIM_INFINITY and value > hard:
            raise SpawnFault(
                f"limits.{name} is {value}, but the server itself may have no more than {hard}",
                f"lower limits.{name}, or raise the server's own limit (ulimit; Limit... in a systemd unit)",
            )


@implementer(ISpawner)
class Spawner:
    """Starts processes on a reactor, under a guard."""

    def __init__(
        self,
        reactor: IProcessReactor,
        guard: Guard,
        now: Callable[[], float] = time.time,
        tools: Tools | None = None,
        privileged: bool | None = None,
    ) -> None:
        """
        @param now: the time of day, in seconds since the epoch.
        @param tools: looked up here, once, if they are not given.
        @param privileged: whether we may become other users; L{None}: if we are root.
        @raise SpawnFault: a tool is not installed.
        """
        self._reactor = reactor
        self._guard = guard
        self._now = now
        self._tools = tools if tools is not None else find_tools()
        self._privileged = privileged if privileged is not None else os.geteuid() == 0

    def spawn(self, spec: ProcessSpec, observer: IProcessObserver) -> IRunningProcess:
        """Start a process; see L{ISpawner}."""
        check_program(spec)
        check_limits(spec, self._privileged)
        argv = command_line(spec, self._privileged, self._tools, identity_of(spec.user, spec.group))
        process = RunningProcess(self._reactor, self._guard, observer, self._now)
        try:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            try:
                child_fds: dict[int, int | str] = {0: stdin, 1: "r", 2: "r"}
                if spec.notify:
                    child_fds[NOTIFY_FD] = "r"
                child_fds.update(spec.inherited)
                self._reactor.spawnProcess(process, argv[0], argv, dict(spec.environment), childFDs=child_fds)
            finally:
                os.close(stdin)
        except OSError as error:
            raise SpawnFault(
                f"{spec.argv[0]} cannot be started: {error.strerror}", "see the limits of the server itself"
            )
        except ValueError as error:
            # A NUL in an argument, or a variable whose name no environment can hold.
            raise SpawnFault(f"{spec.argv[0]} cannot be started: {error}", "correct its arguments and environment")
        return process


@implementer(IRunningProcess)
class RunningProcess(ProcessProtocol):
    """A process that was started, as its reactor and as its owner see it."""

    _log = Logger()

    def __init__(
        self, reactor: IProcessReactor, guard: Guard, observer: IProcessObserver, now: Callable[[], float]
    ) -> None:
        self._reactor = reactor
        self._guard = guard
        self._observer = observer
        self._now = now
        self._tail = Tail()
        self._splitters = {fd: LineSplitter() for fd in _STREAMS}
        self._open = {*_STREAMS, NOTIFY_FD}
        self._notified = False
        self._throttle = Throttle(reactor, self._pause, self._resume)
        self._exit: Exit | None = None
        self._bytes_after_exit = 0
        self._cut: IDelayedCall | None = None
        self.pid = 0
        self.alive = True

    def signal_group(self, name: str) -> bool:
        """
        Signal the group; see L{IRunningProcess}.

        For some moments after its start the process has not got its own group yet; then it is alone, and is
        signalled alone. Its id cannot be another's, since nobody else waits for our children.
        """
        number = signal_number(name)
        if not self.alive:
            return False
        try:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            self._log.error("process {pid} may not be signalled: {error}", pid=self.pid, error=error)
        return True

    def last_lines(self) -> tuple[str, ...]:
        """Its last lines; see L{IRunningProcess}."""
        return self._tail.lines()

    def connectionMade(self) -> None:
        """It runs. The guard has to know before anything else happens."""
        self.pid = cast(int, self._process.pid)
        self._open &= self._process.pipes.keys()
        self._guard.add(self.pid)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It wrote something."""
        if childFD == NOTIFY_FD:
            self._throttle.spend(len(data), 0)
            if b"\n" in data and not self._notified:
                self._notified = True
                self._observer.notified()
            return
        lines = self._splitters[childFD].feed(data)
        self._throttle.spend(len(data), len(lines))
        self._tell(childFD, lines)
        if self._exit is not None:
            self._bytes_after_exit += len(data)
            if self._bytes_after_exit > OUTPUT_AFTER_EXIT_BYTES_MAX:
                self._close_pipes()

    def childConnectionLost(self, childFD: int) -> None:
        """It closed a descriptor, or ended."""
        self._open.discard(childFD)
        if childFD in self._splitters:
            self._tell(childFD, self._splitters[childFD].end())

    def processExited(self, reason: Failure) -> None:
        """
        The leader has ended and was waited for.

        Its id may be given out again once the group is empty, but ids go round: between that wait and this
        line, tens of thousands of processes would have to be started.
        """
        self.alive = False
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # Nobody is left, as it should be.
        except PermissionError as error:
            self._log.error("what process {pid} left may not be killed: {error}", pid=self.pid, error=error)
        self._guard.remove(self.pid)
        self._exit = self._read(reason)
        self._throttle.end()
        self._cut = self._reactor.callLater(OUTPUT_AFTER_EXIT_S, self._close_pipes)

    def processEnded(self, reason: Failure) -> None:
        """It has ended, and so has its output."""
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        exit = self._exit if self._exit is not None else self._read(reason)
        # Not now: the reactor may be in the middle of spawnProcess.
        self._reactor.callLater(0, self._observer.exited, exit)

    @property
    def _process(self) -> Process:
        """The reactor's side, with its pipes, which the interface of transports does not tell of."""
        return cast(Process, self.transport)

    def _read(self, reason: Failure) -> Exit:
        """What the reactor says about the end."""
        ended = reason.value
        if isinstance(ended, ProcessTerminated) and ended.signal is not None:
            return Exit(code=None, signal=signal_name(ended.signal), at=self._now())
        code = ended.exitCode if isinstance(ended, ProcessTerminated) else 0
        return Exit(code=code, signal=None, at=self._now())

    def _tell(self, fd: int, lines: list[bytes]) -> None:
        """Hand lines over."""
        if lines:
            self._tail.extend(lines)
            self._observer.output(_STREAMS[fd], lines)

    def _pause(self) -> None:
        """Read no more."""
        for fd in self._open:
            self._process.pipes[fd].pauseProducing()

    def _resume(self) -> None:
        """Read on."""
        for fd in self._open:
            self._process.pipes[fd].resumeProducing()

    def _close_pipes(self) -> None:
        """Somebody else holds the output open: leave it to him."""
        for fd in tuple(self._open):
            self._process.closeChildFD(fd)
