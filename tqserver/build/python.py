"""
C{type: python}: a virtual environment of the worker's own if it has requirements, a look at the syntax,
then the script; or, for C{module:attribute}, L{tqserver.build.python_app}, which serves an ASGI or WSGI
application.

Virtual environments cannot be moved, so that each is made in its final place, C{.venv/KEY}, and is whole
only once a stamp is in it. An instance of an older generation keeps the one it was started with.
"""

from __future__ import annotations

import os
import re
import sys

from zope.interface import implementer

from ..config.model import ServerConfig, WorkerConfig
from . import artefacts
from .fingerprint import digest_of
from .model import BuildFault
from .recipe import IBuilder, Job, Recipe, Step

STAMP = ".tqserver-complete"
"""A file in a virtual environment in which everything was installed."""

RUNNER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "python_app.py")

CHECK = (
    "import sys, tokenize\n"
    "path = sys.argv[1]\n"
    "with tokenize.open(path) as file:\n"
    "    text = file.read()\n"
    "try:\n"
    "    compile(text, path, 'exec', dont_inherit=True)\n"
    "except (SyntaxError, ValueError) as error:\n"
    "    import traceback\n"
    "    sys.exit(''.join(traceback.format_exception_only(error)).strip())\n"
)
"""Compiles a file without keeping the result."""

NESTED_MAX = 50
"""Requirements files that name each other."""

FILE_BYTES_MAX = 1024 * 1024
"""A requirements file with hashes for everything is some hundred kilobytes."""

_NESTED = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)


@implementer(IBuilder)
class PythonBuilder:
    """Builds Python workers."""

    def beyond(self, worker: WorkerConfig, server: ServerConfig) -> tuple[str, ...]:
        """The requirements file, if it is elsewhere."""
        requirements = worker.python.requirements
        if requirements is None or requirements.startswith(worker.directory + "/"):
            return ()
        return (requirements,)

    def recipe(self, job: Job) -> Recipe:
        """Make a virtual environment if one is needed and missing, and look at the syntax."""
        worker = job.worker
        interpreter = self._interpreter(job)
        module, _, attribute = worker.python.app.partition(":")
        source = self._source(worker, module, bool(attribute))
        venv = ""
        if worker.python.requirements is not None or (attribute and worker.python.interpreter is None):
            venv = f"{worker.directory}/.venv/{self._venv_key(worker, interpreter)}"
        python = f"{venv}/bin/python" if venv else interpreter
        key = job.key(worker.python.app, python)
        is_complete = not venv or os.path.exists(f"{venv}/{STAMP}")
        steps = [] if is_complete else self._install(job, interpreter, venv)
        if source and key != job.previous_key:
            steps.insert(0, self._check(job, interpreter, source))
        if attribute and (not is_complete or (not venv and key != job.previous_key)):
            steps.append(self._prepare(job, python, bool(venv)))
        app = (RUNNER, worker.python.app) if attribute else (worker.python.app,)
        return Recipe(
            key=key,
            argv=(python, "-u", *app),
            directory=worker.directory,
            environment=(("PYTHONUNBUFFERED", "1"),),
            artefact=venv,
            steps=tuple(steps),
            finish=lambda: self._finish(job, venv, is_complete),
        )

    def explain(self, output: tuple[str, ...]) -> str:
        """What would mend a failed installation."""
        text = "\n".join(output)
        if "ensurepip" in text:
            return "install venv: apt install python3-venv"
        if "No matching distribution" in text or "Could not find a version" in text:
            return "check the names and versions in requirements.txt, and that the package index can be reached"
        if "No module named 'uvicorn'" in text or "needs uvicorn" in text:
            return "add uvicorn to requirements.txt"
        return ""

    def _interpreter(self, job: Job) -> str:
        """The absolute path of the interpreter."""
        asked = job.worker.python.interpreter
        if asked is None:
            return sys.executable
        if "/" in asked:
            # Not resolved further: that a link leads out of a virtual environment is how those work.
            asked = os.path.normpath(os.path.join(job.worker.directory, asked))
        found = job.tools.find(asked)
        if found is None:
            raise BuildFault(
                f"the interpreter {job.worker.python.interpreter} is not there",
                remedy="correct python.interpreter, or leave it out to use the server's own",
                kind="missing-tool",
            )
        return found

    def _source(self, worker: WorkerConfig, module: str, is_module: bool) -> str:
        """
        The file that is run; empty if it cannot be told.

        @raise BuildFault: it is missing.
        """
        if not is_module:
            path = os.path.join(worker.directory, module)
            if os.path.isfile(path):
                return path
            raise BuildFault(f"{module} does not exist", remedy=f"write {path}, or set python.app")
        base = os.path.join(worker.directory, *module.split("."))
        for path in (f"{base}.py", f"{base}/__init__.py"):
            if os.path.isfile(path):
                return path
        if worker.python.requirements is not None:
            # It may be in one of the packages that are installed.
            return ""
        raise BuildFault(f"there is no module {module}", remedy=f"write {base}.py, or set python.app")

    def _venv_key(self, worker: WorkerConfig, interpreter: str) -> str:
        """Names a virtual environment by all that goes into it."""
        texts = read_requirements(worker.python.requirements) if worker.python.requirements else []
        server = worker.python.app if ":" in worker.python.app else ""
        return digest_of(os.path.realpath(interpreter), server, *texts)

    def _install(self, job: Job, interpreter: str, venv: str) -> list[Step]:
        """Make a virtual environment and fill it."""
        worker = job.worker
        steps = [
            Step(
                title="python -m venv",
                argv=(interpreter, "-m", "venv", "--clear", venv),
                directory=worker.directory,
                environment=job.environment,
            )
        ]
        if worker.python.requirements is not None:
            install = ("install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off")
            steps.append(
                Step(
                    title="pip install",
                    argv=(f"{venv}/bin/python", "-m", "pip", *install, "-r", worker.python.requirements),
                    directory=worker.directory,
                    environment=job.environment,
                )
            )
        return steps

    def _check(self, job: Job, interpreter: str, source: str) -> Step:
        """
        A typing error is told at once, with its line, instead of by a process that dies again and again.
        """
        return Step(
            title="the syntax check",
            argv=(interpreter, "-I", "-S", "-c", CHECK, source),
            directory=job.worker.directory,
            environment=job.environment,
        )

    def _prepare(self, job: Job, python: str, may_install: bool) -> Step:
        """See whether the application can be imported, and that what serves it is there."""
        environment = {
            **job.environment,
            **dict(job.worker.process.environment),
            "WORKER_NAME": job.worker.name,
            "WORKER_MODE": job.server.mode,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return Step(
            title=f"importing {job.worker.python.app}",
            argv=(python, RUNNER, "--install" if may_install else "--check", job.worker.python.app),
            directory=job.worker.directory,
            environment=environment,
        )

    def _finish(self, job: Job, venv: str, was_complete: bool) -> None:
        """Stamp the virtual environment, and remove old ones."""
        if not venv:
            return
        if not was_complete:
            with open(f"{venv}/{STAMP}", "w"):
                pass
        os.utime(venv)
        artefacts.prune(os.path.dirname(venv), {venv, *job.in_use})


def read_requirements(path: str) -> list[bytes]:
    """
    The content of a requirements file and of all that it names, each once.

    @raise BuildFault: one cannot be read.
    """
    texts: list[bytes] = []
    waiting, seen = [path], {path}
    while waiting and len(texts) < NESTED_MAX:
        current = waiting.pop(0)
        try:
            with open(current, "rb") as file:
                text = file.read(FILE_BYTES_MAX)
        except OSError as error:
            raise BuildFault(f"{current} cannot be read: {error.strerror}", remedy="correct python.requirements")
        texts.append(text)
        for name in _NESTED.findall(text.decode("utf-8", "replace")):
            nested = os.path.normpath(os.path.join(os.path.dirname(current), name))
            if nested not in seen and "://" not in name:
                seen.add(nested)
                waiting.append(nested)
    return texts
