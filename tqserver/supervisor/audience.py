"""Who wants to know what happens: the status after each turn of the supervisor's loop, and files that changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.logger import Logger

from ..plane.status import ServerStatus
from .discovery import News

Told = Callable[[ServerStatus], None]
Value = TypeVar("Value")

_log = Logger("tqserver.supervisor")


class Audience:
    """
    Tells those who asked. One of them that raises costs a line in the log, and nothing else.

    While nobody wants the status it is not made.
    """

    def __init__(self) -> None:
        self._status: list[Told] = []
        self._news: list[Callable[[News], None]] = []

    def on_status(self, told: Told) -> Callable[[], None]:
        """
        Have the status handed over after each turn of the loop, whether or not it differs from the one before.

        @return: ends it; may be called more than once.
        """
        return _join(self._status, told)

    def on_news(self, told: Callable[[News], None]) -> Callable[[], None]:
        """
        Have each change of files handed over that means something, after it was acted upon.

        @return: ends it; may be called more than once.
        """
        return _join(self._news, told)

    def tell_status(self, make: Callable[[], ServerStatus]) -> None:
        """A turn of the loop has ended."""
        if self._status:
            _tell(self._status, make())

    def tell_news(self, news: News) -> None:
        """Files have changed."""
        _tell(self._news, news)


def _join(listeners: list[Callable[[Value], None]], told: Callable[[Value], None]) -> Callable[[], None]:
    listeners.append(told)

    def leave() -> None:
        if told in listeners:
            listeners.remove(told)

    return leave


def _tell(listeners: list[Callable[[Value], None]], value: Value) -> None:
    for told in tuple(listeners):
        try:
            told(value)
        except Exception:
            _log.failure("somebody could not be told")
