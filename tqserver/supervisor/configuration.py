"""
The configuration in force: read again on demand, and replaced only by one that can be used.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from ..config.diff import carry_over, restart_keys
from ..config.model import Project
from ..errors import ConfigFault, Problem
from ..plane.status import ConfigStatus

_log = Logger("tqserver.supervisor")


class Configuration:
    """
    What the server goes by.

    @ivar project: the configuration in force.
    """

    def __init__(self, project: Project, load: Callable[[], Project], wall_clock: Callable[[], float]) -> None:
        """
        @param project: the one to begin with.
        @param load: reads it again; raises L{ConfigFault}.
        @param wall_clock: gives seconds since the epoch.
        """
        self.project = project
        self._load = load
        self._wall_clock = wall_clock
        self._started_with = project.server
        self._applied_at = wall_clock()
        self._problems: tuple[Problem, ...] = ()
        self._restart: tuple[str, ...] = ()

    def read(self) -> bool | None:
        """
        Read it again. If it cannot be used nothing changes, and L{status} says why.

        @return: whether it has changed; L{None} if it cannot be used.
        """
        try:
            project = carry_over(self.project, self._load())
        except ConfigFault as fault:
            self._problems = fault.problems
            _log.error("the configuration stays as it was: {fault}", fault=fault)
            return None
        self._problems = ()
        if project == self.project:
            return False
        self.project = project
        self._applied_at = self._wall_clock()
        self._restart = restart_keys(self._started_with, project.server)
        if self._restart:
            _log.warn("these keys need a restart of the server: {keys}", keys=", ".join(self._restart))
        return True

    def status(self) -> ConfigStatus:
        """What outsiders see of it."""
        return ConfigStatus(
            state="broken" if self._problems else "ok",
            problems=tuple(str(problem) for problem in self._problems),
            applied_at=self._applied_at,
            restart=self._restart,
        )
