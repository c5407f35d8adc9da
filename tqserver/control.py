"""The server as an operator has it in hand: what the admin API asks, answered by the parts that know."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from .admin.interfaces import IControl, Validation
from .config.model import Project
from .errors import ConfigFault
from .plane.status import ConfigStatus, ServerStatus
from .supervisor.service import Supervisor


@implementer(IControl)
class Control:
    """See L{IControl}."""

    def __init__(
        self,
        reactor: IReactorFromThreads,
        supervisor: Supervisor,
        load: Callable[[], Project],
        replace_fronts: Callable[[], object],
    ) -> None:
        """
        @param load: reads the configuration; raises L{ConfigFault}. Called on a thread.
        """
        self._reactor = reactor
        self._supervisor = supervisor
        self._load = load
        self._replace_fronts = replace_fronts

    def status(self) -> ServerStatus:
        return self._supervisor.status()

    def on_status(self, told: Callable[[ServerStatus], None]) -> Callable[[], None]:
        return self._supervisor.audience.on_status(told)

    def on_news(self, told: Callable[[str, str, tuple[str, ...]], None]) -> Callable[[], None]:
        return self._supervisor.audience.on_news(lambda news: told(news.worker, news.kind.value, news.paths))

    def command(self, worker: str, command: str) -> None:
        commands = self._supervisor.commands
        {
            "build": commands.build,
            "restart": commands.restart,
            "start": commands.start,
            "stop": commands.stop,
            "release": commands.release,
        }[command](worker)

    def scale(self, worker: str, instances: int | None) -> None:
        self._supervisor.commands.scale(worker, instances)

    def reload(self) -> ConfigStatus:
        self._supervisor.reload()
        return self._supervisor.configuration.status()

    def validate(self) -> Deferred[Validation]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._validate)  # type: ignore[attr-defined]

    def _validate(self) -> Validation:
        try:
            project = self._load()
        except ConfigFault as fault:
            return Validation(tuple(str(problem) for problem in fault.problems), 0)
        problems = [str(problem) for broken in project.broken for problem in broken.problems]
        return Validation(tuple(problems), len(project.workers))

    def configuration(self) -> Project:
        return self._supervisor.project

    def replace_fronts(self) -> None:
        self._replace_fronts()
