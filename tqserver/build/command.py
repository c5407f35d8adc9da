"""
C{type: command}: what C{build} says is run in the worker's folder, then instances are what C{run} says.

And the types that have nothing to build at all: C{static} and C{queue}.
"""

from __future__ import annotations

import os

from zope.interface import implementer

from ..config.model import ServerConfig, WorkerConfig
from ..watch.kinds import Kind, classify
from .model import BuildFault
from .recipe import IBuilder, Job, Recipe, Step


@implementer(IBuilder)
class CommandBuilder:
    """Builds by a command of the configuration."""

    def beyond(self, worker: WorkerConfig, server: ServerConfig) -> tuple[str, ...]:
        """Nothing is known of files elsewhere."""
        return ()

    def recipe(self, job: Job) -> Recipe:
        """Run the command, unless it was run for these sources or its output is newer than they are."""
        worker = job.worker
        if not worker.run:
            raise BuildFault("it is not said how to run it", remedy=f"set run in {worker.file}, a list of arguments")
        key = job.key(*worker.build, "", *worker.run)
        return Recipe(
            key=key,
            argv=worker.run,
            directory=worker.directory,
            steps=self._steps(job) if self._is_needed(job, key) else (),
        )

    def explain(self, output: tuple[str, ...]) -> str:
        """Nothing is known of the command."""
        return ""

    def _is_needed(self, job: Job, key: str) -> bool:
        """Whether the command has to run."""
        if not job.worker.build:
            return False
        output = _output(job.worker)
        if job.previous_key:
            return key != job.previous_key or (bool(output) and not os.path.exists(output))
        if not output:
            return True
        try:
            return os.stat(output).st_mtime < job.sources.newest_s
        except FileNotFoundError:
            return True

    def _steps(self, job: Job) -> tuple[Step, ...]:
        """The command."""
        worker = job.worker
        environment = dict(job.environment)
        environment.update(worker.process.environment)
        environment["WORKER_NAME"] = worker.name
        environment["WORKER_MODE"] = job.server.mode
        argv = tuple(argument.replace("{name}", worker.name) for argument in worker.build)
        return (Step(title=os.path.basename(argv[0]), argv=argv, directory=worker.directory, environment=environment),)


def _output(worker: WorkerConfig) -> str:
    """
    What the build makes, if that can be told: the program that is run, if it is in the worker's folder and
    is not a source itself. Empty if it cannot.
    """
    program = worker.run[0].replace("{name}", worker.name)
    if "/" not in program:
        return ""
    path = os.path.normpath(os.path.join(worker.directory, program))
    relative = os.path.relpath(path, worker.directory)
    return "" if relative.startswith("..") or classify(worker, relative) is Kind.SOURCE else path


@implementer(IBuilder)
class NothingBuilder:
    """Builds nothing."""

    def beyond(self, worker: WorkerConfig, server: ServerConfig) -> tuple[str, ...]:
        """Nothing is built."""
        return ()

    def recipe(self, job: Job) -> Recipe:
        """There is nothing to do and no process of the worker's own."""
        return Recipe(key=job.key(), argv=(), directory=job.worker.directory)

    def explain(self, output: tuple[str, ...]) -> str:
        """No tool runs."""
        return ""
