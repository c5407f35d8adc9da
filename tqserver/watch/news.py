"""The changes of one tree on their way to whoever asked for them: a L{Debounce} with a timer."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .debounce import Debounce
from .interfaces import Report, Tree

log = Logger()


class News:
    """Gathers the changed paths of one tree and calls back when it is time."""

    def __init__(self, clock: IReactorTime, tree: Tree, callback: Report, debounce_s: float) -> None:
        """
        @param debounce_s: see L{Debounce}.
        """
        self._clock = clock
        self._tree = tree
        self._callback = callback
        self._debounce = Debounce(tree.directory, debounce_s)
        self._timer: IDelayedCall | None = None

    def changed(self, path: str) -> None:
        """Something changed; the callback runs in a later turn."""
        self._debounce.changed(path, self._clock.seconds())
        # A later due time needs no new timer: the old one finds out and sleeps on.
        self._arm(sooner=True)

    def close(self) -> None:
        """Never call back again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, sooner: bool = False) -> None:
        """Have the timer run when the debounce is due, if it does not run before anyway."""
        due = self._debounce.due
        if due is None:
            return
        if self._timer is not None:
            if not sooner or self._timer.getTime() <= due:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._ring)

    def _ring(self) -> None:
        """The timer has run out."""
        self._timer = None
        # The reactor may wake a hair early by its clock's resolution; the debounce then has nothing yet.
        paths = self._debounce.take(self._clock.seconds())
        self._arm()
        if not paths:
            return
        try:
            self._callback(paths)
        except Exception:
            log.failure("Changes in {directory} could not be dealt with", directory=self._tree.directory)
