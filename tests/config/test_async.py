"""Requests that are answered later need somebody who keeps them."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.load import load_project
from tqserver.config.model import Project

from .trees import only_problem_of, write_tree

ASYNC = "path: /api\ntype: command\nrun: [x]\nasync: true\n"
PLAIN = "path: /plain\ntype: command\nrun: [x]\n"
QUEUE = "path: /queue\ntype: queue\napis: [tqs]\n"


class KeeperTests(SynchronousTestCase):
    """A project with and without a queue."""

    def load(self, **workers: str) -> Project:
        """Load a project."""
        files = {f"workers/{name}/config/worker.yaml": text for name, text in workers.items()}
        base = write_tree(self.mktemp(), {"etc/server.yaml": "", **files})
        return load_project(os.path.join(base, "etc/server.yaml"))

    def test_queue(self) -> None:
        """With a queue all is well, also if that is switched off at the moment, or broken: then all is answered at
        once."""
        for queue in (QUEUE, QUEUE + "enabled: false\n", QUEUE + "nonsense: 1\n"):
            project = self.load(api=ASYNC, queue=queue)
            self.assertIn("api", [worker.name for worker in project.workers])

    def test_no_queue(self) -> None:
        """Without one I am told, with file and line; other workers are not touched by that."""
        project = self.load(api=ASYNC, plain=PLAIN)
        self.assertEqual([worker.name for worker in project.workers], ["plain"])
        problem = only_problem_of(project)
        self.assertTrue(problem.file.endswith("workers/api/config/worker.yaml"))
        self.assertEqual((problem.line, problem.path), (4, "async"))
        self.assertIn("type: queue", problem.hint)

    def test_route(self) -> None:
        """Also if a single route says so."""
        text = "type: command\nrun: [x]\nroutes:\n- {path: /a}\n- {path: /b, async: true}\n"
        problem = only_problem_of(self.load(api=text))
        self.assertEqual((problem.line, problem.path), (5, "async"))

    def test_not_asked_for(self) -> None:
        """Who does not want it needs no queue."""
        self.assertEqual(len(self.load(api=PLAIN + "async: false\n").workers), 1)
