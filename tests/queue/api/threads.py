"""A reactor whose threads do what they are told when the test lets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure


class Threads(Clock):
    """
    Time, and threads that are one.

    @ivar held: whether what is to be done in a thread waits for L{go}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = False
        self._work: list[Callable[[], None]] = []

    def getThreadPool(self) -> Threads:
        """The pool."""
        return self

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Back in the reactor's thread."""
        function(*arguments)

    def callInThreadWithCallback(
        self, told: Callable[[bool, Any], None], function: Callable[..., Any], *arguments: Any, **more: Any
    ) -> None:
        """Do something in a thread."""

        def work() -> None:
            try:
                result = function(*arguments, **more)
            except BaseException:
                told(False, Failure())
            else:
                told(True, result)

        self._work.append(work)
        if not self.held:
            self.go()

    def go(self) -> None:
        """Let what waits be done."""
        while self._work:
            self._work.pop(0)()
