"""The command line."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from unittest.mock import patch

from twisted.application.app import ServerOptions
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from tqserver import __version__, tap
from tqserver.tap import Options


class TapCase(SynchronousTestCase):
    """A project with one worker of files."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        self.config = self.write("etc/server.yaml", "mode: production\n")
        self.worker = self.write("workers/files/config/worker.yaml", "path: /files\ntype: static\n")
        self.patch(tap, "make_observer", tap.make_observer)
        environment = {key: value for key, value in os.environ.items() if key != "TQSERVER_MODE"}
        mocked = patch.dict(os.environ, environment, clear=True)
        mocked.start()
        self.addCleanup(mocked.stop)

    def write(self, name: str, text: str) -> str:
        """Write a file of the project."""
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def options(self, *arguments: str, parent: ServerOptions | None = None) -> Options:
        """The options of a command line."""
        options = Options()
        options.parent = parent  # type: ignore[assignment]
        options.parseOptions(["--config", self.config, *arguments])
        return options


class ModeTests(TapCase):
    """Which mode holds."""

    def test_precedence(self) -> None:
        """The flag goes before the environment, that before the file, that before development."""
        self.assertEqual(self.options().project.server.mode, "production")
        with patch.dict(os.environ, TQSERVER_MODE="development"):
            self.assertEqual(self.options().project.server.mode, "development")
            self.assertEqual(self.options("--mode", "prod").project.server.mode, "production")
        self.write("etc/server.yaml", "")
        self.assertEqual(self.options().project.server.mode, "development")
        self.assertEqual(self.options("-m", "production").project.server.mode, "production")

    def test_unknown(self) -> None:
        """A mode that there is not is told, and nothing starts."""
        error = self.assertRaises(SystemExit, self.options, "--mode", "staging")
        self.assertIn("staging", str(error))


class CheckTests(TapCase):
    """C{--check} and mistakes."""

    def check(self, *arguments: str) -> tuple[object, str]:
        """Run the check: its exit code and what it printed."""
        printed = io.StringIO()
        with redirect_stdout(printed):
            error = self.assertRaises(SystemExit, self.options, "--check", *arguments)
        return error.code, printed.getvalue()

    def test_good(self) -> None:
        """A good configuration is exit code 0 and one line that says so."""
        code, printed = self.check()
        self.assertEqual(code, 0)
        self.assertIn("is good, and so is its 1 worker.", printed)

    def test_every_problem(self) -> None:
        """Every problem of every worker is told with its file and line; the exit code is 1."""
        self.write("workers/files/config/worker.yaml", "path: /files\ntype: static\nenabeld: true\nlisten: fax\n")
        self.write("workers/other/config/worker.yaml", "type: static\n")
        code, _ = self.check()
        # sys.exit with a text prints it and exits with 1.
        assert isinstance(code, str)
        self.assertIn("worker.yaml:3: ", code)
        self.assertIn("worker.yaml:4: ", code)
        self.assertIn("other", code)
        self.assertTrue(code.endswith("3 problems"), code)

    def test_broken_server_file(self) -> None:
        """A broken server.yaml ends a start as well as a check."""
        self.write("etc/server.yaml", "server:\n  prot: 80\n")
        for arguments in ((), ("--check",)):
            error = self.assertRaises(SystemExit, self.options, *arguments)
            self.assertIn("server.yaml:2: ", str(error))
            self.assertTrue(str(error).endswith("\n1 problem"), str(error))

    def test_broken_worker(self) -> None:
        """A broken worker does not keep the server from starting."""
        self.write("workers/files/config/worker.yaml", "nonsense")
        self.assertEqual(len(self.options().project.broken), 1)

    def test_missing_file(self) -> None:
        """A missing file is said in a sentence that helps."""
        self.config = os.path.join(self.directory, "nowhere.yaml")
        error = self.assertRaises(UsageError, self.options)
        self.assertIn("nowhere.yaml", str(error))
        self.assertIn("--config", str(error))

    def test_version(self) -> None:
        """C{--version} is ours, not Twisted's."""
        printed = io.StringIO()
        with redirect_stdout(printed):
            error = self.assertRaises(SystemExit, self.options, "--version")
        self.assertEqual((error.code, printed.getvalue()), (0, f"tqserver {__version__}\n"))


class LogTests(TapCase):
    """Where twistd's log goes."""

    def parent(self, *arguments: str) -> ServerOptions:
        """The options of twistd itself."""
        parent = ServerOptions()
        for argument in arguments:
            parent[argument] = True
        return parent

    def quiet(self) -> object:
        """Whether the observer that twistd will make keeps off the terminal."""
        return tap.make_observer.args[1]  # type: ignore[attr-defined]

    def test_observer(self) -> None:
        """twistd logs through us: to the terminal unless it is asked to be quiet or is a daemon."""
        for flags, arguments, quiet in (
            (("nodaemon",), (), False),
            (("nodaemon",), ("--quiet",), True),
            ((), (), True),
        ):
            parent = self.parent(*flags)
            parent["nodaemon"] = bool(flags)
            self.options(*arguments, parent=parent)
            self.assertEqual(parent["logger"], "tqserver.tap.make_observer")
            self.assertEqual(self.quiet(), quiet)

    def test_somebody_knows_better(self) -> None:
        """Who names a log to twistd gets that one."""
        parent = self.parent("nodaemon")
        parent["logfile"] = "mine.log"
        self.options(parent=parent)
        self.assertIsNone(parent["logger"])
