"""
C{twistd tqserver}: the command line.

The configuration is read before twistd goes on, so that a mistake in it is told on the terminal, with all the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import ILogObserver
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from . import __version__
from .config.load import load_project
from .config.model import Project
from .errors import ConfigFault
from .logs.files import LogFile
from .logs.server import server_observer

DEFAULT_CONFIG = "etc/server.yaml"


make_observer: Callable[[], ILogObserver] = partial(server_observer, None, False)
"""Makes the observer of twistd's log; the options decide what it is."""


class Options(UsageOptions):
    """The options of the C{tqserver} command."""

    synopsis = "[--config FILE] [--mode development|production] [--quiet] [--check]"
    longdesc = "Serves a folder of workers: builds, runs, routes to and reloads them."
    optParameters = [
        ["config", "c", DEFAULT_CONFIG, "The configuration file."],
        ["mode", "m", None, "development (or dev), production (or prod); else TQSERVER_MODE, else the file's."],
    ]
    optFlags = [
        ["quiet", "q", "Keep logs off stdout and stderr."],
        ["check", None, "Check the configuration and exit: 0, or 1 with every problem."],
    ]

    project: Project
    log_file: LogFile | None = None

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"tqserver {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Read the configuration; see to it that twistd logs as it says."""
        if not os.path.exists(self["config"]):
            raise UsageError(
                f"There is no {self['config']}. Say where it is with --config, or start where {DEFAULT_CONFIG} is."
            )
        try:
            self.project = load_project(self["config"], self["mode"], os.environ, os.cpu_count() or 1)
        except ConfigFault as fault:
            raise SystemExit(f"{fault}\n{_count(len(fault.problems))}")
        if self["check"]:
            self._check()
        path = self.project.server.http.log_file
        self.log_file = LogFile(path) if path else None
        parent: Any = self.parent
        if parent is not None and not any(parent.get(name) for name in ("logfile", "syslog", "logger")):
            quiet = bool(self["quiet"]) or not parent.get("nodaemon", True)
            # twistd imports its observer by name, so that is where it has to be found.
            global make_observer
            make_observer = partial(server_observer, self.log_file, quiet)
            parent["logger"] = f"{__name__}.make_observer"

    def _check(self) -> None:
        problems = [problem for broken in self.project.broken for problem in broken.problems]
        if problems:
            raise SystemExit("\n".join(map(str, problems)) + f"\n{_count(len(problems))}")
        workers = len(self.project.workers)
        print(
            f"{self['config']} is good, and so {'are its' if workers != 1 else 'is its'} {workers} "
            f"{'workers' if workers != 1 else 'worker'}."
        )
        raise SystemExit(0)


def _count(problems: int) -> str:
    return f"{problems} problem{'s' if problems != 1 else ''}"


def makeService(options: Options) -> Any:
    """
    Make the service.

    @return: an L{IService<twisted.application.service.IService>}.
    """
    from twisted.internet import reactor

    from .app import Server

    return Server(reactor, options.project, os.path.abspath(options["config"]), options["mode"], options.log_file)
