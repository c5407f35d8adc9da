"""
No process outlives the server, not even if the server is killed.

Children are tied to the server's life twice: the kernel kills each direct child as its parent dies
(PR_SET_PDEATHSIG), and the L{watchman<tqserver.process.watchman>}, a process of its own, ends all that they
had started. It notices the server's death by the end of a pipe of which only the server holds the other end;
that descriptor is close-on-exec, so that no worker ever has it.
"""

from __future__ import annotations

import os
import sys

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..backoff import backoff_s
from . import watchman
from .output import LineSplitter

STOP_S = 2.0
"""Longest from telling the watchman to go to killing it, in seconds."""

RESTART_INITIAL_S = 0.1
RESTART_MAX_S = 10.0
"""
Pauses before a dead watchman is replaced, in seconds: short, as nobody guards meanwhile, but no busy loop.
"""

STABLE_S = 60.0
"""A watchman that lived this long, in seconds, died of something else than the ones before it."""


class IProcessReactor(IReactorProcess, IReactorTime):
    """A reactor that starts processes and knows the time."""


class Guard:
    """
    Keeps the watchman, and tells it whom to watch.

    Nothing here raises: without a watchman the server still works, and that is logged until there is one
    again.
    """

    _log = Logger()

    def __init__(self, reactor: IProcessReactor, python: str = sys.executable) -> None:
        """
        @param python: absolute path of the interpreter for the watchman.
        """
        self._reactor = reactor
        self._python = python
        self._leaders: set[int] = set()
        self._pipe: int | None = None
        self._transport: IProcessTransport | None = None
        self._failures = 0
        self._started = 0.0
        self._restart: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the watchman, or L{None} while there is none."""
        return self._transport.pid if self._transport is not None else None

    def start(self) -> None:
        """Start the watchman."""
        self._restart = None
        self._started = self._reactor.seconds()
        source, sink = os.pipe()  # Both close-on-exec (PEP 446); spawnProcess hands over the first nevertheless.
        os.set_blocking(sink, False)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        argv = [self._python, "-I", "-S", os.path.abspath(watchman.__file__)]
        try:
            self._transport = self._reactor.spawnProcess(
                _Watchman(self), argv[0], argv, {}, childFDs={0: source, 1: nothing, 2: "r"}
            )
        except OSError as error:
            os.close(sink)
            self._log.error("the process guard cannot be started: {error}", error=error)
            self._start_later()
            return
        finally:
            os.close(source)
            os.close(nothing)
        self._pipe = sink
        for pid in sorted(self._leaders):
            self._say(f"+{pid}\n")

    def add(self, pid: int) -> None:
        """Watch the session that this process leads, or is about to."""
        self._leaders.add(pid)
        self._say(f"+{pid}\n")

    def remove(self, pid: int) -> None:
        """The process has ended and was waited for: kill what is left of its session."""
        self._leaders.discard(pid)
        self._say(f"-{pid}\n")

    def stop(self) -> Deferred[None]:
        """
        Send the watchman home. Whoever is still watched lives on.

        @return: fires when it has ended.
        """
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self._transport is None:
            return succeed(None)
        self._say("bye\n")
        self._hang_up()
        self._stopped = Deferred()
        kill = self._reactor.callLater(STOP_S, self._kill)

        def gone(result: None) -> None:
            if kill.active():
                kill.cancel()

        return self._stopped.addCallback(gone)

    def _say(self, line: str) -> None:
        """Write at once, not in a later turn of the reactor, which there may never be."""
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, line.encode())  # No more than PIPE_BUF, thus whole or not at all (pipe(7)).
        except BrokenPipeError:
            pass  # It has died; its successor will be told everything.
        except BlockingIOError:
            self._log.error("the process guard does not listen, and is replaced")
            self._kill()

    def _kill(self) -> None:
        """
        End a watchman that does not end, or does not listen. Only then close the pipe, whose end would tell
        it that the server is gone.
        """
        if self._transport is not None:
            try:
                self._transport.signalProcess("KILL")
            except ProcessExitedAlready:
                pass  # What was wanted; C{processEnded} is about to come.
        self._hang_up()

    def _hang_up(self) -> None:
        """Close our end of the pipe."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _start_later(self) -> None:
        """Have another watchman soon."""
        self._failures += 1
        pause_s = backoff_s(self._failures, RESTART_INITIAL_S, RESTART_MAX_S, 0.5)
        self._restart = self._reactor.callLater(pause_s, self.start)

    def _ended(self, reason: Failure) -> None:
        """The watchman is gone."""
        self._transport = None
        self._hang_up()
        if self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)
            return
        self._log.error("the process guard ended: {reason}", reason=reason.getErrorMessage())
        if self._reactor.seconds() - self._started >= STABLE_S:
            self._failures = 0
        self._start_later()


class _Watchman(ProcessProtocol):
    """The watchman as the reactor sees it. What it says on stderr is an error of its own."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._lines = LineSplitter()

    def errReceived(self, data: bytes) -> None:
        """It says something."""
        for line in self._lines.feed(data):
            self._guard._log.error("process guard: {line}", line=line.decode("utf-8", "backslashreplace"))

    def processEnded(self, reason: Failure) -> None:
        """It is gone."""
        self._guard._ended(reason)
