"""Projects and workers for the tests of builds."""

from __future__ import annotations

import os
import stat
from typing import Any

from tqserver.build.fingerprint import Fingerprints
from tqserver.build.recipe import IBuilder, Job
from tqserver.build.tools import Tools
from tqserver.config.model import (
    Mode,
    PHPConfig,
    PoolConfig,
    RouteConfig,
    ServerConfig,
    WorkerConfig,
    WorkerType,
)
from tqserver.watch.ignore import Ignore
from tqserver.watch.kinds import source_patterns

SECOND_NS = 1_000_000_000


class Workshop:
    """
    A project in a folder of its own, with a folder of programs that do nothing.

    @ivar project: the project directory.
    @ivar programs: the only folder on the C{PATH}.
    """

    def __init__(self, base: str, mode: Mode = "development") -> None:
        self.project = os.path.realpath(base)
        self.programs = f"{self.project}/programs"
        self.mode: Mode = mode
        os.makedirs(self.programs)

    def server(self, **pool: Any) -> ServerConfig:
        """The server's configuration."""
        return ServerConfig(
            file=f"{self.project}/etc/server.yaml",
            project=self.project,
            mode=self.mode,
            workers=PoolConfig(directory=f"{self.project}/workers", **pool),
        )

    def worker(self, type: WorkerType, name: str = "w", **settings: Any) -> WorkerConfig:
        """A worker, whose folder is made."""
        directory = f"{self.project}/workers/{name}"
        os.makedirs(f"{directory}/public", exist_ok=True)
        settings.setdefault("php", PHPConfig(document_root=f"{directory}/public"))
        return WorkerConfig(
            name=name,
            directory=directory,
            file=f"{directory}/config/worker.yaml",
            routes=(RouteConfig(prefix=f"/{name}"),),
            type=type,
            **settings,
        )

    def write(self, path: str, content: str | bytes = "x", at: float | None = None) -> str:
        """Write a file below the project; C{at} is its modification time in seconds since the epoch."""
        full = os.path.join(self.project, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        if at is not None:
            os.utime(full, (at, at))
        return full

    def program(self, name: str, folder: str = "", content: bytes = b"\x7fELF") -> str:
        """Make a program."""
        path = self.write(os.path.join(folder or self.programs, name), content)
        os.chmod(path, stat.S_IRWXU)
        return path

    def tools(self) -> Tools:
        """Tools that are looked for in this project only."""
        return Tools(path=self.programs, home=f"{self.project}/home", project=self.project, beside="/nowhere")

    def job(self, builder: IBuilder, worker: WorkerConfig, previous_key: str = "", now: float = 2e9) -> Job:
        """A job as L{Builds} makes it."""
        server = self.server()
        ignore = Ignore((*server.watch.ignore, *source_patterns(worker)))
        prints = Fingerprints(lambda: int(now * SECOND_NS))
        return Job(
            worker=worker,
            server=server,
            sources=prints.take(worker, ignore, builder.beyond(worker, server)),
            tools=self.tools(),
            environment={"PATH": self.programs, "HOME": f"{self.project}/home"},
            previous_key=previous_key,
            began_s=now,
        )
