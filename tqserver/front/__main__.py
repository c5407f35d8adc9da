"""
A front as a process: C{python -m tqserver.front --control FD --listen FD … --listen-proxied FD …}, started by the
supervisor.

The file descriptors are inherited. Nobody starts this by hand.
"""

from __future__ import annotations

import argparse
import gc
import resource
import signal
import sys

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)


def _line(event: LogEvent) -> str:
    """An event as the supervisor takes it down, which adds the time."""
    return eventAsText(event, includeTimestamp=False, includeSystem=False) + "\n"


def _choose_reactor() -> None:
    """The one on uvloop; where uvloop is not installed, the one that Twisted chooses."""
    from ..uv import install

    try:
        install()
    except ImportError:
        pass


GARBAGE_OBJECTS = 20_000
"""So many objects more than before are a reason to look for cycles among them."""


def _rarely_look_for_garbage() -> None:
    """
    Requests and connections leave no cycles behind, and everything that was imported stays: to look through all of it
    with every few dozen new clients would be for nothing, and would have the others wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 10, 10)


def main(arguments: list[str]) -> None:
    """Run until the supervisor says otherwise or is gone."""
    parser = argparse.ArgumentParser(prog="python -m tqserver.front")
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the pipe to the supervisor")
    parser.add_argument("--listen", type=int, action="append", default=[], help="listening file descriptor")
    parser.add_argument(
        "--listen-proxied",
        type=int,
        action="append",
        default=[],
        help="likewise, of a socket where each connection begins with a PROXY protocol header",
    )
    options = parser.parse_args(arguments)

    _choose_reactor()
    from twisted.internet import reactor

    from .service import FrontService

    observer = FilteringLogObserver(
        FileLogObserver(sys.stderr, _line), [LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # The soft limit is low on most systems for the sake of programs that use select(2).
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def finished() -> None:
        # In a later turn, so that what was just said is written.
        reactor.callLater(0, reactor.stop)

    service = FrontService(reactor, finished, None if hard == resource.RLIM_INFINITY else hard)  # type: ignore[arg-type]
    reactor.callWhenRunning(service.start, options.control, options.listen, options.listen_proxied)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # The supervisor gets the signals, and says over the pipe what is to be done.
        signal.signal(name, signal.SIG_IGN)
    _rarely_look_for_garbage()
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]


if __name__ == "__main__":
    main(sys.argv[1:])
