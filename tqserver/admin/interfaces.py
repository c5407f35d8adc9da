"""What the admin API needs of the server that it shows and steers."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from ..config.model import Project
from ..plane.status import ConfigStatus, ServerStatus


@frozen
class Validation:
    """
    What the files on disk are worth.

    @ivar problems: one line each, those of single workers included.
    @ivar workers: how many can be used.
    """

    problems: tuple[str, ...]
    workers: int


class IControl(Interface):
    """The server, for an operator."""

    def status() -> ServerStatus:
        """Everything as it is now."""

    def on_status(told: Callable[[ServerStatus], None]) -> Callable[[], None]:
        """Have the status handed over whenever something may have changed; what is returned ends that."""

    def on_news(told: Callable[[str, str, tuple[str, ...]], None]) -> Callable[[], None]:
        """Have C{(worker, kind, paths)} of each change of files handed over; what is returned ends that."""

    def command(worker: str, command: str) -> None:
        """
        Ask something of a worker: C{build}, C{restart}, C{start}, C{stop} or C{release}.

        @raise CommandFault: there is no such worker.
        """

    def scale(worker: str, instances: int | None) -> None:
        """
        Have so many instances of a worker; L{None}: as many as its configuration says.

        @raise CommandFault: there is no such worker, or nobody has so many instances.
        """

    def reload() -> ConfigStatus:
        """As HUP does: read all configuration again, rebuild what changed, try again what was given up."""

    def validate() -> Deferred[Validation]:
        """Read all configuration, and apply none of it."""

    def configuration() -> Project:
        """The configuration in force."""

    def replace_fronts() -> None:
        """As USR2 does."""
