"""What an operator can ask of a worker; nothing else about a worker can be changed from outside."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import CommandFault
from .worker import Worker

INSTANCES_MAX = 1000
"""More instances of one worker than this are a slip of the finger."""


class Commands:
    """
    The commands. Each takes effect with the next turn of the supervisor's loop, and raises L{CommandFault} if there is
    no such worker.
    """

    def __init__(self, workers: Mapping[str, Worker]) -> None:
        """
        @param workers: by name; looked up anew for each command.
        """
        self._workers = workers

    def restart(self, name: str) -> None:
        """Replace all instances of a worker."""
        self._find(name).restart()

    def stop(self, name: str) -> None:
        """Have no instances of a worker until it is started."""
        self._find(name).stop()

    def start(self, name: str) -> None:
        """Have instances of a worker again."""
        self._find(name).start()

    def release(self, name: str) -> None:
        """Try again what was given up of a worker: held slots, a failed build."""
        self._find(name).release()

    def build(self, name: str) -> None:
        """Build a worker, and swap if anything changed."""
        self._find(name).ask_build()

    def scale(self, name: str, count: int | None) -> None:
        """Have exactly C{count} instances of a worker; L{None}: as many as its configuration says."""
        if count is not None and not 0 <= count <= INSTANCES_MAX:
            raise CommandFault(f"from 0 to {INSTANCES_MAX} instances, not {count}")
        self._find(name).scale(count)

    def _find(self, name: str) -> Worker:
        """A worker that is there."""
        worker = self._workers.get(name)
        if worker is None or worker.removed:
            raise CommandFault(f"there is no worker {name!r}", unknown=True)
        return worker
