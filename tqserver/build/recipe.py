"""How a worker is built: what builders are asked, and what they answer."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen
from zope.interface import Interface

from ..config.model import ServerConfig, WorkerConfig
from .fingerprint import digest_of
from .model import Sources
from .tools import Tools


@frozen
class Job:
    """
    One worker to be built.

    @ivar sources: its files now.
    @ivar environment: the environment of tools; a builder may add to it by L{Step.environment}.
    @ivar previous_key: key of the latest good build since the server started; empty if there is none.
    @ivar in_use: artefacts that instances run from, and which must be kept.
    @ivar began_s: when the sources were looked at, in seconds since the epoch.
    """

    worker: WorkerConfig
    server: ServerConfig
    sources: Sources
    tools: Tools
    environment: dict[str, str]
    previous_key: str = ""
    in_use: frozenset[str] = frozenset()
    began_s: float = 0.0

    def key(self, *parts: str) -> str:
        """A key made of the type, the mode, the sources and these further parts."""
        return digest_of(self.worker.type, self.server.mode, self.sources.source, *parts)


@frozen(kw_only=True)
class Step:
    """
    One tool that runs.

    @ivar title: what it is called when it fails.
    @ivar environment: its whole environment.
    @ivar stop_signal: what ends it before C{KILL} does, without C{SIG}.
    """

    title: str
    argv: tuple[str, ...]
    directory: str
    environment: dict[str, str] = field(factory=dict)
    stop_signal: str = "TERM"


@frozen(kw_only=True)
class Recipe:
    """
    What is to be done, and what comes out.

    @ivar key: names what comes out; see L{Build.key<tqserver.build.model.Build>}.
    @ivar steps: tools to run, one after the other; none if it is all there already.
    @ivar finish: what is to be done after all of them did well. Blocks; may raise C{OSError} or
        L{BuildFault<tqserver.build.model.BuildFault>}.
    """

    key: str
    argv: tuple[str, ...]
    directory: str
    environment: tuple[tuple[str, str], ...] = ()
    artefact: str = ""
    steps: tuple[Step, ...] = ()
    finish: Callable[[], None] | None = None


class IBuilder(Interface):
    """
    Knows one type of worker. All methods block and are called in threads, for one worker by one at a time.
    """

    def beyond(worker: WorkerConfig, server: ServerConfig) -> tuple[str, ...]:
        """Absolute paths of files outside the worker's folder that it is built from as well."""

    def recipe(job: Job) -> Recipe:
        """
        Decide what is to be done.

        @raise BuildFault: nothing can be: a tool or a file is missing.
        @raise OSError: likewise.
        """

    def explain(output: tuple[str, ...]) -> str:
        """What would mend a failure with this output, or empty."""
