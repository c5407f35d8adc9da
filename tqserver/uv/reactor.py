"""
The reactor.

It is Twisted's asyncio reactor on a uvloop loop, but for three things: connected streams are uvloop's, a timed call
costs no more than a place in a heap, and the deaths of children are noticed although uvloop claims the descriptor that
signals are written to (signal.set_wakeup_fd).
"""

from __future__ import annotations

import signal
import socket
from asyncio import AbstractEventLoop, TimerHandle, set_event_loop
from collections.abc import Callable
from math import ceil, inf
from typing import Any, cast
from weakref import WeakSet

from twisted.internet import process
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import DelayedCall, ReactorBase
from twisted.internet.error import UnsupportedAddressFamily
from twisted.internet.interfaces import IDelayedCall, IProtocol, ITransport
from twisted.internet.main import installReactor
from twisted.internet.protocol import ClientFactory, Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..turns import Turns
from .ports import TCPConnector, TCPPort, UNIXConnector, UNIXPort, adopt
from .streams import UNIXStream
from .transport import Stream

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

_log = Logger()

TIMER_S_MAX = 2147483.0
"""Longer sleeps are cut in pieces of this: as many milliseconds as fit a C int."""


def _new_loop() -> AbstractEventLoop:
    """
    @raise ImportError: if uvloop is not installed.
    """
    if uvloop is None:
        raise ImportError("The uv reactor needs uvloop, which is not installed: pip install uvloop", name="uvloop")
    return uvloop.new_event_loop()


def _report(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what went wrong in a callback of the event loop, as Twisted does: to its log."""
    error = context.get("exception")
    message = str(context.get("message") or "Unhandled error in the event loop")
    if isinstance(error, BaseException):
        _log.failure("{what}", Failure(error), what=message)
    else:
        _log.error("{what}", what=message)


class _ChildSignals:
    """
    Notice that children end.

    Twisted has the interpreter write signals to a descriptor of its own, uvloop replaces that by one of its own when it
    begins to run, and refuses to have its users listen for this one. What is left is a Python signal handler: uvloop
    wakes up for every signal and runs those.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._installed = False

    def install(self) -> None:
        """Begin, with those that ended before."""
        signal.signal(signal.SIGCHLD, lambda number, frame: self._ended())
        signal.siginterrupt(signal.SIGCHLD, False)
        self._installed = True
        process.reapAllProcesses()

    def uninstall(self) -> None:
        """End."""
        if self._installed:
            self._installed = False
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _ended(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(process.reapAllProcesses)


class _Signals:
    """What the reactor base does about signals, and children."""

    def __init__(self, base: Any, children: _ChildSignals) -> None:
        self._base = base
        self._children = children

    def install(self) -> None:
        """The reactor runs."""
        self._base.install()
        self._children.install()

    def uninstall(self) -> None:
        """The reactor has stopped."""
        self._base.uninstall()
        self._children.uninstall()


class UVReactor(AsyncioSelectorReactor):
    """
    A reactor whose connected TCP and UNIX streams are uvloop's.

    @ivar event_loop: uvloop's loop. Code for asyncio may use it while the reactor runs.
    @ivar streams: the connected streams. They live, as Twisted's do, as long as they read or write, or somebody has
        them.
    @ivar turns: of those that have much to write.
    """

    def __init__(self, eventloop: AbstractEventLoop | None = None) -> None:
        """
        @param eventloop: a uvloop loop; by default a new one, which becomes asyncio's event loop of this thread.
        @raise ImportError: if uvloop is not installed.
        """
        if eventloop is None:
            eventloop = _new_loop()
            set_event_loop(eventloop)
        self.event_loop = eventloop
        self.streams: WeakSet[Stream] = WeakSet()
        self.turns = Turns(eventloop.call_soon)
        self._timer: TimerHandle | None = None
        self._timer_due = inf
        eventloop.set_exception_handler(_report)
        super().__init__(eventloop)

    def _signalsFactory(self) -> _Signals:
        # Of the class above the one above us, which would listen for children in its own way.
        return _Signals(ReactorBase._signalsFactory(self), _ChildSignals(self.event_loop))

    # Time. There is one timer of uvloop's, for the earliest call; calls that are cancelled are found to be so then.

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> DelayedCall:
        """See L{twisted.internet.interfaces.IReactorTime.callLater}."""
        call: DelayedCall = ReactorBase.callLater(self, delay, callable, *args, **kw)
        if call.time < self._timer_due:
            self._arm(call.time, delay)
        return call

    def _arm(self, due: float, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        # uvloop rounds to milliseconds; down is too early, and would be for nothing.
        delay_s = ceil(min(delay_s, TIMER_S_MAX) * 1000.0) / 1000.0
        self._timer = self.event_loop.call_later(delay_s, self._onTimer)

    def _onTimer(self) -> None:
        self._timer = None
        self._timer_due = inf
        try:
            self.runUntilCurrent()
        finally:
            self._reschedule()

    def _reschedule(self) -> None:
        delay_s = self.timeout()
        if delay_s is not None:
            due = self._pendingTimedCalls[0].time
            if due < self._timer_due:
                self._arm(due, delay_s)

    def _moveCallLaterSooner(self, delayedCall: IDelayedCall) -> None:
        ReactorBase._moveCallLaterSooner(self, delayedCall)  # type: ignore[arg-type]
        self._reschedule()

    # Streams.

    def listenTCP(self, port: int, factory: Factory, backlog: int = 50, interface: str = "") -> TCPPort:
        """See L{twisted.internet.interfaces.IReactorTCP.listenTCP}."""
        listening = TCPPort(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: Any = None,
    ) -> TCPConnector:
        """See L{twisted.internet.interfaces.IReactorTCP.connectTCP}."""
        connector = TCPConnector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def listenUNIX(
        self, address: str, factory: Factory, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> UNIXPort:
        """See L{twisted.internet.interfaces.IReactorUNIX.listenUNIX}."""
        listening: Any = UNIXPort(address, factory, backlog, mode, self, wantPID)  # type: ignore[arg-type]
        listening.startListening()
        return cast(UNIXPort, listening)

    def connectUNIX(
        self, address: str, factory: ClientFactory[Any], timeout: float = 30, checkPID: bool = False
    ) -> UNIXConnector:
        """See L{twisted.internet.interfaces.IReactorUNIX.connectUNIX}."""
        connector: UNIXConnector = cast(Any, UNIXConnector)(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    def connect_unix_now(self, address: str, protocol: IProtocol) -> UNIXStream:
        """
        Connect to a UNIX socket. The kernel does so at once or not at all, so there is nothing to wait for, and nobody
        to be told: when this returns, the connection is the protocol's.

        @raise OSError: it cannot be (connect(2)); L{BlockingIOError} if as many as may wait to be accepted do.
        """
        skt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            skt.connect(address)
        except BaseException:
            skt.close()
            raise
        stream = UNIXStream(skt, protocol, address, True, self)
        protocol.makeConnection(cast(ITransport, stream))
        return stream

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Factory) -> TCPPort | UNIXPort:
        """See L{twisted.internet.interfaces.IReactorSocket.adoptStreamPort}."""
        self._check_family(addressFamily)
        listening: TCPPort | UNIXPort
        if addressFamily == socket.AF_UNIX:
            listening = cast(Any, UNIXPort)._fromListeningDescriptor(self, fileDescriptor, factory)
        else:
            listening = cast(Any, TCPPort)._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        listening.startListening()
        return listening

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Factory) -> ITransport | None:
        """See L{twisted.internet.interfaces.IReactorSocket.adoptStreamConnection}."""
        self._check_family(addressFamily)
        return adopt(fileDescriptor, addressFamily, factory, self)

    def _check_family(self, family: int) -> None:
        if family not in self._supportedAddressFamilies:
            raise UnsupportedAddressFamily(family)

    def getReaders(self) -> list[Any]:
        """@return: what is read from: descriptors and streams."""
        return [*cast(Any, super()).getReaders(), *(stream for stream in self.streams if stream.reading)]

    def getWriters(self) -> list[Any]:
        """@return: what has something to write: descriptors and streams."""
        return [*cast(Any, super()).getWriters(), *(stream for stream in self.streams if stream.writing)]

    def removeAll(self) -> list[Any]:
        """
        Forget every descriptor.

        @return: what there was: descriptors, and streams that read or have something to write. Others are, to Twisted,
            their owners' affair.
        """
        streams = [stream for stream in self.streams if stream.reading or stream.writing]
        return [*cast(Any, super()).removeAll(), *streams]


def install(eventloop: AbstractEventLoop | None = None) -> None:
    """
    Make a uv reactor I{the} reactor of this process.

    @param eventloop: a uvloop loop, or L{None} for a new one.
    @raise ImportError: if uvloop is not installed.
    """
    installReactor(UVReactor(eventloop))
