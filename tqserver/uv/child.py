"""
What the processes that the supervisor starts of our own have in common: fronts and queues, seen from inside.

The reactor is chosen before anything imports it; so these are functions that a C{__main__} calls in this order.
"""

from __future__ import annotations

import gc
import resource
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

GARBAGE_OBJECTS = 20_000
"""So many objects more than before are a reason to look for cycles among them."""


def choose_reactor() -> None:
    """The one on uvloop; where uvloop is not installed, the one that Twisted chooses."""
    from . import install

    try:
        install()
    except ImportError:
        pass


def _line(event: LogEvent) -> str:
    """An event as the supervisor takes it down, which adds the time."""
    return eventAsText(event, includeTimestamp=False, includeSystem=False) + "\n"


def log_to_stderr() -> None:
    """Write what an operator should know to stderr, a line each, without the time: the supervisor adds that."""
    observer = FilteringLogObserver(
        FileLogObserver(sys.stderr, _line), [LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def raise_descriptors() -> int | None:
    """
    Have as many file descriptors as we may. The soft limit is low on most systems for the sake of programs that use
    select(2).

    @return: how many; L{None} for no limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return None if hard == resource.RLIM_INFINITY else hard


def rarely_look_for_garbage() -> None:
    """
    Requests and connections leave no cycles behind, and everything that was imported stays: to look through all of it
    with every few dozen new clients would be for nothing, and would have the others wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 10, 10)
