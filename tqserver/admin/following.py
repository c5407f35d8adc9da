"""Tells everybody who follows what happens, for as long as somebody does."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ..plane.status import ServerStatus
from .events import differences, load
from .interfaces import IControl

LOAD_S = 0.5
"""Numbers that change with each request are told at most so often."""

Tell = Callable[[str, object], None]


class Following:
    """All who follow one server."""

    def __init__(self, clock: IReactorTime, control: IControl) -> None:
        self._clock = clock
        self._control = control
        self._followers: list[Tell] = []
        self._last: ServerStatus | None = None
        self._load: dict[str, object] = {}
        self._load_at = float("-inf")
        self._leave: list[Callable[[], None]] = []

    def join(self, tell: Tell) -> Callable[[], None]:
        """
        Have events told from now on.

        @return: ends it; may be called more than once.
        """
        if not self._followers:
            self._last = self._control.status()
            self._load = load(self._last)
            self._leave = [self._control.on_status(self._status), self._control.on_news(self._news)]
        self._followers.append(tell)

        def leave() -> None:
            if tell in self._followers:
                self._followers.remove(tell)
                if not self._followers:
                    for each in self._leave:
                        each()

        return leave

    def _status(self, status: ServerStatus) -> None:
        last, self._last = self._last, status
        if last is not None:
            for name, data in differences(last, status):
                self._tell(name, data)
        now = self._clock.seconds()
        if now - self._load_at >= LOAD_S:
            told = load(status)
            if told != self._load:
                self._load, self._load_at = told, now
                self._tell("load", told)

    def _news(self, worker: str, kind: str, paths: tuple[str, ...]) -> None:
        self._tell("file", {"worker": worker, "kind": kind, "paths": list(paths)})

    def _tell(self, name: str, data: object) -> None:
        for follower in tuple(self._followers):
            follower(name, data)
