"""C{type: php}: nothing is built; a php-fpm must be there, the newest if there are several."""

from __future__ import annotations

import os
import re

from zope.interface import implementer

from ..config.model import ServerConfig, WorkerConfig
from .model import BuildFault
from .recipe import IBuilder, Job, Recipe
from .tools import Tools

FOLDERS = ("/usr/local/sbin", "/usr/sbin")
"""Where php-fpm is; many users' C{PATH} has no C{sbin}."""

REMEDY = "apt install php-fpm; then send the server HUP, or start it again"

_VERSIONED = re.compile(r"php-fpm(\d+)\.?(\d*)")
"""Debian has C{php-fpm8.2}, Alpine C{php-fpm82}."""


@implementer(IBuilder)
class PHPBuilder:
    """Finds php-fpm."""

    def beyond(self, worker: WorkerConfig, server: ServerConfig) -> tuple[str, ...]:
        """Nothing is built."""
        return ()

    def recipe(self, job: Job) -> Recipe:
        """Find the binary."""
        worker = job.worker
        binary = self._binary(job)
        if not os.path.isdir(worker.php.document_root):
            raise BuildFault(
                f"the document root {worker.php.document_root} does not exist",
                remedy="create it, or set php.document_root",
            )
        # Sources are no part of the key: nothing is made of them.
        return Recipe(key=job.key(binary), argv=(binary,), directory=worker.directory)

    def explain(self, output: tuple[str, ...]) -> str:
        """No tool runs."""
        return ""

    def _binary(self, job: Job) -> str:
        """The php-fpm of this worker."""
        asked = job.worker.php.binary
        if asked is None:
            binary = find_php_fpm(job.tools)
            if binary is None:
                raise BuildFault("needs php-fpm, which is not installed", remedy=REMEDY, kind="missing-tool")
            return binary
        if "/" in asked:
            asked = os.path.join(job.worker.directory, asked)
        binary = job.tools.find(asked, *FOLDERS)
        if binary is None:
            raise BuildFault(
                f"php.binary {job.worker.php.binary} is not there",
                remedy="correct php.binary, or leave it out to have the newest php-fpm",
                kind="missing-tool",
            )
        return binary


def find_php_fpm(tools: Tools) -> str | None:
    """The absolute path of the newest php-fpm, or L{None}."""
    versioned: list[tuple[int, int, str]] = []
    for path in tools.matching(_VERSIONED, tools.folders(*FOLDERS)):
        match = _VERSIONED.fullmatch(os.path.basename(path))
        if match is None:
            continue
        major, minor = match.groups()
        if not minor:
            major, minor = major[:1], major[1:] or "0"
        versioned.append((int(major), int(minor), path))
    if versioned:
        newest = max(version[:2] for version in versioned)
        return next(path for *version, path in versioned if tuple(version) == newest)
    return tools.find("php-fpm", *FOLDERS)
