"""Projects on disk for the tests of the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tqserver.config.load import load_server, load_worker
from tqserver.config.model import Project, ServerConfig, WorkerConfig
from tqserver.errors import ConfigFault, Problem


def write_tree(base: str, files: Mapping[str, str | bytes]) -> str:
    """
    Write files, and the folders that they need.

    @param base: folder to write them in.
    @param files: contents by relative path; a path that ends in C{/} is a folder.
    @return: C{base} made absolute.
    """
    base = os.path.abspath(base)
    for name, content in files.items():
        path = os.path.join(base, name)
        if name.endswith("/"):
            os.makedirs(path, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(content if isinstance(content, bytes) else content.encode())
    return base


def server_in(
    base: str, text: str | bytes = "", mode: str | None = None, environ: Mapping[str, str] = {}
) -> ServerConfig:
    """Load C{etc/server.yaml} with this content, on a machine of 4 cores."""
    base = write_tree(base, {"etc/server.yaml": text})
    return load_server(os.path.join(base, "etc/server.yaml"), mode, environ, 4)


def worker_in(
    base: str, text: str | bytes, files: Mapping[str, str | bytes] = {}, server: ServerConfig | None = None
) -> WorkerConfig:
    """Load a worker C{api} with this C{worker.yaml}, which has these files in its folder."""
    tree: dict[str, str | bytes] = {f"workers/api/{name}": content for name, content in files.items()}
    base = write_tree(base, {**tree, "workers/api/config/worker.yaml": text})
    return load_worker(os.path.join(base, "workers/api"), server or server_in(base))


def said(fault: ConfigFault) -> list[tuple[int, str]]:
    """Line and path of each problem, in order."""
    return [(problem.line, problem.path) for problem in fault.problems]


def only(fault: ConfigFault) -> Problem:
    """The one problem of a fault."""
    assert len(fault.problems) == 1, str(fault)
    return fault.problems[0]


def only_problem_of(project: Project) -> Problem:
    """The one problem of the one worker that is broken."""
    assert len(project.broken) == 1, project.broken
    (problem,) = project.broken[0].problems
    return problem
