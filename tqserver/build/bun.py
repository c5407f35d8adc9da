"""
C{type: bun}: C{bun install} when the dependencies changed, a look at the syntax, then C{bun ENTRYPOINT}.

C{bun ENTRYPOINT} is one process, which gets the signals itself; so is C{bun run ENTRYPOINT}, but that looks
for a script of this name in C{package.json} first. Where C{bun} was installed by npm it may be a script of
Node; the program behind it is run instead.
"""

from __future__ import annotations

import glob
import json
import os

from zope.interface import implementer

from ..config.model import ServerConfig, WorkerConfig
from .fingerprint import digest_of, file_digest
from .model import BuildFault
from .recipe import IBuilder, Job, Recipe, Step
from .tools import Tools, is_native, is_program

REMEDY = "npm install -g bun (or see https://bun.sh); then send the server HUP, or start it again"

STAMP = ".tqserver-installed"
"""A file in C{node_modules/} that names the dependencies which were installed there."""

LOCKS = ("bun.lock", "bun.lockb")

PACKAGE_BYTES_MAX = 1024 * 1024
"""A C{package.json} is some kilobytes."""


@implementer(IBuilder)
class BunBuilder:
    """Builds Bun workers."""

    def beyond(self, worker: WorkerConfig, server: ServerConfig) -> tuple[str, ...]:
        """Nothing: a worker's modules are in its own folder."""
        return ()

    def recipe(self, job: Job) -> Recipe:
        """Install what is missing, and look at the syntax."""
        worker = job.worker
        entrypoint = worker.bun.entrypoint
        if not os.path.isfile(os.path.join(worker.directory, entrypoint)):
            raise BuildFault(
                f"the entrypoint {entrypoint} does not exist",
                remedy=f"write {os.path.join(worker.directory, entrypoint)}, or set bun.entrypoint",
            )
        bun = find_bun(job.tools, worker.directory)
        if bun is None:
            raise BuildFault("needs bun, which is not installed", remedy=REMEDY, kind="missing-tool")
        key = job.key(entrypoint, bun)
        wanted = dependencies(worker.directory, job.server.development)
        steps: list[Step] = []
        if wanted and wanted != _installed(worker.directory):
            steps.append(self._install(job, bun))
        if (steps or key != job.previous_key) and not os.path.exists(f"{worker.directory}/bunfig.toml"):
            # A bunfig.toml may name plugins that understand what the plain bundler would not.
            steps.append(self._check(job, bun))
        mode = "development" if job.server.development else "production"
        environment = {"NODE_ENV": mode, **dict(worker.bun.environment)}
        return Recipe(
            key=key,
            argv=(bun, entrypoint),
            directory=worker.directory,
            environment=tuple(sorted(environment.items())),
            steps=tuple(steps),
            finish=lambda: self._finish(worker.directory, wanted, job.server.development),
        )

    def explain(self, output: tuple[str, ...]) -> str:
        """What would mend a failed installation."""
        text = "\n".join(output)
        if "lockfile had changes" in text or "frozen" in text:
            return "run `bun install` in the worker's folder where you develop, and commit bun.lock"
        if "Could not resolve" in text:
            return "check the path, or add the package to package.json: `bun add NAME`"
        if "ConnectionRefused" in text or "failed to resolve" in text:
            return "the package registry cannot be reached; see proxy settings"
        return ""

    def _install(self, job: Job, bun: str) -> Step:
        """C{bun install}; in production exactly what the lock says."""
        directory = job.worker.directory
        argv = [bun, "install", "--no-progress"]
        if not job.server.development:
            argv.append("--production")
            if any(os.path.isfile(f"{directory}/{lock}") for lock in LOCKS):
                argv.append("--frozen-lockfile")
        return Step(title="bun install", argv=tuple(argv), directory=directory, environment=job.environment)

    def _check(self, job: Job, bun: str) -> Step:
        """
        Bundle into nowhere, in some milliseconds: a typing error in any of the worker's files is told at
        once, with its line, instead of by a process that dies again and again. Packages are left out.
        """
        worker = job.worker
        return Step(
            title="bun build",
            argv=(
                bun,
                "build",
                worker.bun.entrypoint,
                "--target=bun",
                "--packages=external",
                "--outfile=/dev/null",
            ),
            directory=worker.directory,
            environment=job.environment,
        )

    def _finish(self, directory: str, wanted: str, development: bool) -> None:
        """Note what is installed now; bun may have written the lock in doing so."""
        if not wanted:
            return
        os.makedirs(f"{directory}/node_modules", exist_ok=True)
        with open(f"{directory}/node_modules/{STAMP}", "w") as file:
            file.write(dependencies(directory, development))


def find_bun(tools: Tools, directory: str) -> str | None:
    """
    The absolute path of Bun itself, or of a script that starts it if that is all there is; L{None} without.
    """
    bun = tools.find("bun", "~/.bun/bin", f"{directory}/node_modules/.bin", f"{tools.project}/node_modules/.bin")
    if bun is None or is_native(bun):
        return bun
    package = os.path.dirname(os.path.dirname(os.path.realpath(bun)))
    for pattern in (
        f"{package}/bin/bun.exe",
        f"{package}/node_modules/@oven/bun-linux-*/bin/bun",
        f"{os.path.dirname(package)}/@oven/bun-linux-*/bin/bun",
    ):
        for path in sorted(glob.glob(pattern)):
            if is_program(path) and is_native(path):
                return path
    return bun


def dependencies(directory: str, development: bool) -> str:
    """
    A name for what has to be installed; empty if nothing has.

    @raise BuildFault: C{package.json} cannot be understood.
    """
    path = f"{directory}/package.json"
    try:
        with open(path, "rb") as file:
            data = file.read(PACKAGE_BYTES_MAX)
    except FileNotFoundError:
        return ""
    try:
        package = json.loads(data)
    except ValueError as error:
        raise BuildFault(f"package.json is not valid JSON: {error}", remedy=f"mend {path}")
    if not isinstance(package, dict):
        raise BuildFault("package.json is not an object", remedy=f"mend {path}")
    groups = ["dependencies", "optionalDependencies", "peerDependencies", "workspaces"]
    if development:
        groups.append("devDependencies")
    if not any(package.get(group) for group in groups):
        return ""
    locks = [file_digest(f"{directory}/{lock}") for lock in LOCKS if os.path.isfile(f"{directory}/{lock}")]
    return digest_of("development" if development else "production", data, *locks)


def _installed(directory: str) -> str:
    """The name of what was installed last, or empty."""
    try:
        with open(f"{directory}/node_modules/{STAMP}") as file:
            return file.read(100).strip()
    except OSError:
        return ""
