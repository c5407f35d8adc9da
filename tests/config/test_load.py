"""Tests of L{tqserver.config.load}: a whole project, of which any file may be broken."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.load import Project, load_project, load_server, load_worker
from tqserver.errors import ConfigFault

from .trees import only, server_in, write_tree


class ProjectTests(SynchronousTestCase):
    """A project with several workers."""

    def setUp(self) -> None:
        self.base = os.path.abspath(self.mktemp())
        write_tree(self.base, {"etc/server.yaml": ""})

    def project(self, **workers: str | bytes) -> Project:
        """Load the project with these worker.yaml files, all of type go."""
        for name, text in workers.items():
            write_tree(self.base, {f"workers/{name}/config/worker.yaml": text, f"workers/{name}/main.go": ""})
        return load_project(f"{self.base}/etc/server.yaml", None, {}, 2)

    def names(self, project: Project) -> tuple[list[str], list[str]]:
        """Names of workers, good and broken."""
        return [worker.name for worker in project.workers], [worker.name for worker in project.broken]

    def test_no_workers(self) -> None:
        """A project without a directory of workers has none; it may come later."""
        self.assertEqual(self.names(self.project()), ([], []))

    def test_workers(self) -> None:
        """Workers are those folders that have a worker.yaml, sorted by name."""
        hidden = "workers/.git/config/worker.yaml"
        write_tree(self.base, {"workers/notes/README": "", "workers/file": "", hidden: "path: /g\n"})
        project = self.project(b="path: /b\n", a="path: /a\n")
        self.assertEqual(self.names(project), (["a", "b"], []))
        self.assertEqual(project.server.http.fronts, 2)

    def test_broken_worker(self) -> None:
        """A broken worker.yaml takes out that worker and no other, and says all that is wrong."""
        project = self.project(a="path: /a\n", b="path: /b?\nnice: 50\n", c="path: /c\n")
        self.assertEqual(self.names(project), (["a", "c"], ["b"]))
        (broken,) = project.broken
        self.assertEqual(broken.directory, f"{self.base}/workers/b")
        self.assertEqual(broken.file, f"{self.base}/workers/b/config/worker.yaml")
        problems = [(problem.file, problem.line) for problem in broken.problems]
        self.assertEqual(problems, [(broken.file, 1), (broken.file, 2)])

    def test_unreadable_worker(self) -> None:
        """
        A worker.yaml that is a folder, a pipe, a dangling link or not text is a broken worker like any other.
        """
        for folder in ("folder/config/worker.yaml", "pipe/config", "link/config"):
            write_tree(self.base, {f"workers/{folder}/": ""})
        os.mkfifo(f"{self.base}/workers/pipe/config/worker.yaml")
        os.symlink("nowhere", f"{self.base}/workers/link/config/worker.yaml")
        descriptors = len(os.listdir("/proc/self/fd"))
        project = self.project(good="path: /\n", latin=b"path: /caf\xe9\n", binary=b"\x7fELF\x00\x01")
        self.assertEqual(self.names(project), (["good"], ["binary", "folder", "latin", "link", "pipe"]))
        self.assertEqual(len(os.listdir("/proc/self/fd")), descriptors)
        for broken in project.broken:
            self.assertEqual([problem.file for problem in broken.problems], [broken.file])

    def test_broken_server(self) -> None:
        """A broken server.yaml is nothing to go on from."""
        write_tree(self.base, {"etc/server.yaml": "server:\n  prot: 80\n  port: x\n"})
        fault = self.assertRaises(ConfigFault, self.project, a="path: /\n")
        self.assertEqual([problem.line for problem in fault.problems], [2, 3])
        shown = f"{self.base}/etc/server.yaml:2: server.prot: is not a known key (did you mean server.port?)"
        self.assertIn(shown, str(fault))

    def test_missing_server(self) -> None:
        """A server.yaml that is not there, or a folder, is told with what to do."""
        for path in (f"{self.base}/none.yaml", self.base, "a\0b"):
            problem = only(self.assertRaises(ConfigFault, load_project, path))
            self.assertEqual(problem.line, 0)
            self.assertIn("--config", problem.hint)

    def test_routes_collide(self) -> None:
        """
        Of two workers with one route the first by name has it; the other is told where the first says so.
        """
        project = self.project(
            a="# A\npath: /x\n", b="path: x/\n", c="routes:\n- {path: /y}\n- {path: /x}\n", d="path: /y\n"
        )
        self.assertEqual(self.names(project), (["a", "d"], ["b", "c"]))
        b, c = project.broken
        self.assertEqual([(problem.line, problem.path) for problem in b.problems], [(1, "path")])
        self.assertEqual([(problem.line, problem.path) for problem in c.problems], [(3, "routes[1]")])
        self.assertIn(f"{self.base}/workers/a/config/worker.yaml:2", b.problems[0].hint)
        self.assertIn("worker a", b.problems[0].message)

    def test_routes_of_hosts(self) -> None:
        """The same prefix on different hosts is no collision."""
        project = self.project(
            a="path: /\n", b="routes: [{host: b.example, path: /}]\n", c="routes: [{host: B.example, path: /}]\n"
        )
        self.assertEqual(self.names(project), (["a", "b"], ["c"]))
        self.assertEqual(project.broken[0].problems[0].path, "routes[0]")

    def test_routes_of_those_who_have_none(self) -> None:
        """A disabled worker, or a broken one, takes no route from others, and is taken none."""
        project = self.project(
            a="path: /\nenabled: false\n",
            b="path: /\nnice: 99\n",
            c="path: /\n",
            d="path: /\nenabled: production\n",
        )
        self.assertEqual(self.names(project), (["a", "c", "d"], ["b"]))
        self.assertEqual([worker.enabled for worker in project.workers], [False, True, False])

    def test_names(self) -> None:
        """
        A folder whose name could not stand in a header or a path is broken, and can be written to a log.
        """
        for name in (b"a b", b"caf\xe9", "ä".encode(), b"-x", b"x" * 65):
            path = os.path.join(os.fsencode(self.base), b"workers", name, b"config")
            os.makedirs(path)
            with open(os.path.join(path, b"worker.yaml"), "wb") as stream:
                stream.write(b"path: /\n")
        project = self.project(good="path: /\n")
        self.assertEqual(len(project.broken), 5)
        self.assertEqual([worker.name for worker in project.workers], ["good"])
        for broken in project.broken:
            str(broken).encode()
            self.assertIn("rename", broken.problems[0].hint)

    def test_directory_that_is_a_file(self) -> None:
        """A workers directory that is a file is told."""
        write_tree(self.base, {"workers": ""})
        problem = only(self.assertRaises(ConfigFault, self.project))
        self.assertEqual(problem.file, f"{self.base}/workers")

    def test_loaded_twice(self) -> None:
        """The same files are the same configuration."""
        first = self.project(a="path: /a\nenvironment: {B: 1, A: 2}\n", b="path: ''\n")
        self.assertEqual(first, self.project())

    def test_one_worker(self) -> None:
        """One worker is loaded like all, also by a relative path or one with a slash at its end."""
        project = self.project(a="path: /a\n")
        server = load_server(f"{self.base}/etc/server.yaml", cores=2)
        folder = f"{self.base}/workers/a"
        for path in (folder, folder + "/", os.path.relpath(folder)):
            self.assertEqual(load_worker(path, server), project.workers[0])
        fault = self.assertRaises(ConfigFault, load_worker, f"{self.base}/workers/none", server_in(self.base))
        self.assertIn("No such file", only(fault).message)
