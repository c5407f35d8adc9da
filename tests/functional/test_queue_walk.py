"""The walk through the queue services in C{docs/queues.rst}: what stands there is what happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.project import CHECKOUT, free_port

from .running import LIMIT_S

DOCUMENT = CHECKOUT / "docs/queues.rst"

PROMPT = "    $ "
MARK = "=== next ==="

VARIABLE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "DATE"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
)
"""What is different each time."""

WAIT = f"for _ in $(seq {int(LIMIT_S * 50)}); do curl -so /dev/null http://127.0.0.1:PORT/ && break; sleep 0.02; done\n"
"""A person would take a moment to type on; the script waits until the server answers."""


def steps(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a document, and what they print."""
    command: str | None = None
    printed: list[str] = []
    for line in text.splitlines():
        if line.startswith(PROMPT) or not line.startswith("    "):
            if command is not None:
                yield command, printed
            command = line[len(PROMPT) :] if line.startswith(PROMPT) else None
            printed = []
        elif command is not None:
            printed.append(line[4:])
    if command is not None:
        yield command, printed


def usual(line: str, port: str) -> str:
    """A line without what is different each time."""
    for pattern, name in VARIABLE:
        line = pattern.sub(name, line)
    return line.replace(port, "8080")


class WalkTests(SynchronousTestCase):
    """Somebody types what stands in the document."""

    def walk(self, title: str) -> None:
        """Type all commands of a section, and compare what they print with what stands there."""
        if shutil.which("curl") is None:
            raise SkipTest("there is no curl")
        section = DOCUMENT.read_text().split(f"{title}\n---")[1]
        section = re.split(r"\n.+\n-{4,}\n", section)[0]
        walk = list(steps(section))
        self.assertGreater(len(walk), 10)
        port = str(free_port())
        script = ["exec 2>&1\n"]
        for command, _ in walk:
            script.append(f"echo '{MARK}'\n{command}\n".replace("8080", port))
            if "-m tqserver.queue" in command:
                script.append(WAIT.replace("PORT", port))
        script.append("kill $SERVER 2> /dev/null; wait\n")
        folder = Path(tempfile.mkdtemp(prefix="tqserver-walk-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        (folder / "bin").mkdir()
        (folder / "bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (folder / "bin/python").chmod(0o755)
        (folder / "walk").write_text("".join(script))
        environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT)}
        ran = subprocess.run(
            ["bash", "walk"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S * 6,
            check=False,
        )
        printed = [part.splitlines()[1:] for part in f"\n{ran.stdout}".split(f"\n{MARK}")[1:]]
        happened = [
            (command, [usual(line, port) for line in lines if " Killed " not in line])
            for (command, _), lines in zip(walk, printed, strict=True)
        ]
        stands = [(command, [usual(line, port) for line in lines]) for command, lines in walk]
        for each, expected in zip(happened, stands, strict=True):
            self.assertEqual(each, expected, ran.stdout)

    def test_tqs(self) -> None:
        """TQS."""
        self.walk("A walk through TQS")

    def test_zapq(self) -> None:
        """ZapQ."""
        self.walk("A walk through ZapQ")
