"""Builds with the real tools: go, bun, php-fpm, python, and commands."""

from __future__ import annotations

import json
import os
import socket
import sys
import zipfile
from collections.abc import Callable

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, TestCase
from twisted.web.client import Agent, readBody
from zope.interface import implementer

from tests.build.making import Workshop
from tqserver.build import Build, BuildFault, Builds
from tqserver.build.bun import find_bun
from tqserver.build.go import FOLDERS as GO_FOLDERS
from tqserver.build.php import find_php_fpm
from tqserver.build.tools import Tools
from tqserver.config.model import PythonConfig, WorkerConfig
from tqserver.process.guard import Guard
from tqserver.process.interfaces import Exit, IProcessObserver
from tqserver.process.spawn import Spawner
from tqserver.process.spec import ProcessSpec
from tqserver.process.watchman import read_stat

CI = "CI" in os.environ
STEP_S = 0.02

GO_MAIN = """package main

func main() { println("version %s") }
"""


def need(tool: str | None, name: str) -> str:
    """The tool, or the end of the test: a skip, but on CI, where everything has to be there, a failure."""
    if tool is None:
        if CI:
            raise AssertionError(f"{name} is not installed, and CI must have it")
        raise SkipTest(f"{name} is not installed")
    return tool


class BuildsCase(TestCase):
    """A project of its own, and the builds of a server."""

    timeout = 120
    """Seconds: a first build with Go compiles its runtime."""

    def setUp(self) -> None:
        """An empty project."""
        self.shop = Workshop(self.mktemp())
        self.guard = Guard(reactor)
        self.guard.start()
        self.addCleanup(self.guard.stop)
        self.spawner = Spawner(reactor, self.guard)
        self.server = self.shop.server(build_timeout_s=60.0)
        self.tools = Tools.of(os.environ, self.shop.project)
        self.start_server()

    def start_server(self) -> None:
        """As after a restart: nothing is remembered but what is on disk."""
        self.builds = Builds(reactor, self.spawner, self.server)
        self.addCleanup(self.builds.stop)

    async def fault(self, building: Deferred[Build]) -> BuildFault:
        """The fault that a build ends with."""
        try:
            build = await building
        except BuildFault as fault:
            return fault
        raise AssertionError(f"{build} should have failed")

    async def output(self, build: Build, **environment: str) -> str:
        """What an instance says."""
        out, err, code = await getProcessOutputAndValue(
            build.argv[0],
            build.argv[1:],
            env={"PATH": os.environ["PATH"], **dict(build.environment), **environment},
            path=build.directory,
        )
        self.assertEqual(code, 0, err)
        return (out + err).decode()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, ten seconds at most."""
        for _ in range(500):
            if condition():
                return
            await deferLater(reactor, STEP_S)
        self.fail(f"never: {what}")


class GoBuildTests(BuildsCase):
    """Go."""

    def setUp(self) -> None:
        """A worker of one file."""
        super().setUp()
        need(self.tools.find("go", *GO_FOLDERS), "go")
        self.worker = self.shop.worker("go")

    def save(self, version: str) -> None:
        """Write the source."""
        self.shop.write("workers/w/main.go", GO_MAIN % version)

    async def test_life_of_a_worker(self) -> None:
        """
        A worker is built once; a change is built beside it; a broken change is told with the compiler's
        lines; the old binary still runs; and after a restart of the server nothing has to be built.
        """
        self.save("1")
        first = await self.builds.build(self.worker)
        self.assertEqual((await self.output(first)).strip(), "version 1")
        self.assertTrue((await self.builds.build(self.worker)).reused)
        self.save("2")
        second = await self.builds.build(self.worker)
        self.assertFalse(second.reused)
        self.assertEqual((await self.output(second)).strip(), "version 2")
        self.shop.write("workers/w/main.go", "package main\n\nfunc main() { nothing() }\n")
        fault = await self.fault(self.builds.build(self.worker))
        self.assertEqual(fault.kind, "failed")
        self.assertIn("main.go:3:15: undefined: nothing", "\n".join(fault.output))
        self.assertEqual((await self.output(first)).strip(), "version 1")
        self.save("1")
        self.start_server()
        again = await self.builds.build(self.worker)
        self.assertTrue(again.reused)
        self.assertEqual((again.fingerprint, again.argv), (first.fingerprint, first.argv))
        self.assertTrue(os.path.samefile(first.artefact, f"{self.worker.directory}/bin/w"))

    async def test_module(self) -> None:
        """A worker in a module of the project uses its packages, and embedded files are sources."""
        self.shop.write("go.mod", "module example.org/project\n\ngo 1.21\n")
        self.shop.write("greet/greet.go", 'package greet\n\nconst Word = "hello"\n')
        self.shop.write("workers/w/name.txt", "one")
        self.shop.write(
            "workers/w/main.go",
            'package main\n\nimport (\n\t_ "embed"\n\t"example.org/project/greet"\n)\n\n'
            "//go:embed name.txt\nvar name string\n\nfunc main() { println(greet.Word, name) }\n",
        )
        build = await self.builds.build(self.worker)
        self.assertEqual((await self.output(build)).strip(), "hello one")
        self.shop.write("workers/w/name.txt", "two")
        self.shop.write("greet/greet.go", 'package greet\n\nconst Word = "bye"\n')
        build = await self.builds.build(self.worker)
        self.assertEqual((await self.output(build)).strip(), "bye two")

    async def test_production(self) -> None:
        """A build for production is another one, and names no folders of this machine."""
        self.save("1")
        plain = await self.builds.build(self.worker)
        self.server = evolve(self.server, mode="production")
        self.builds.reconfigure(self.server)
        small = await self.builds.build(self.worker)
        self.assertNotEqual(small.fingerprint, plain.fingerprint)
        folder = self.worker.directory.encode()
        with open(plain.artefact, "rb") as file:
            self.assertIn(folder, file.read())
        with open(small.artefact, "rb") as file:
            self.assertNotIn(folder, file.read())

    async def test_superseded(self) -> None:
        """Of two saves in a row only the second is built."""
        self.save("1")
        first = self.builds.build(self.worker)
        self.save("2")
        second = self.builds.build(self.worker)
        self.assertEqual((await self.fault(first)).kind, "superseded")
        self.assertEqual((await self.output(await second)).strip(), "version 2")

    async def test_missing_dependency(self) -> None:
        """A package that is nowhere is told with what to do about it."""
        self.shop.write("workers/w/main.go", 'package main\n\nimport _ "example.org/none"\n\nfunc main() {}\n')
        fault = await self.fault(self.builds.build(self.worker))
        self.assertIn("go mod tidy", fault.remedy)


class BunBuildTests(BuildsCase):
    """Bun."""

    def setUp(self) -> None:
        """A worker of two files."""
        super().setUp()
        need(find_bun(self.tools, self.shop.project), "bun")
        self.worker = self.shop.worker("bun")
        self.shop.write("workers/w/index.ts", 'import { word } from "./word";\nconsole.log(word);\n')
        self.shop.write("workers/w/word.ts", 'export const word: string = "hello";\n')

    async def test_source_and_typing_error(self) -> None:
        """A worker runs from its sources; an error in any of its files is told before it is started."""
        build = await self.builds.build(self.worker)
        self.assertEqual((await self.output(build)).strip(), "hello")
        self.shop.write("workers/w/word.ts", "export const word: string = ;\n")
        fault = await self.fault(self.builds.build(self.worker))
        self.assertIn("word.ts:1", "\n".join(fault.output))
        self.shop.write("workers/w/word.ts", 'export const word: string = "bye";\n')
        self.assertEqual((await self.output(await self.builds.build(self.worker))).strip(), "bye")

    async def test_dependencies(self) -> None:
        """Dependencies are installed once."""
        self.shop.write("dep/package.json", json.dumps({"name": "dep", "version": "1.0.0", "main": "i.js"}))
        self.shop.write("dep/i.js", 'module.exports.word = "from dep";\n')
        self.shop.write("workers/w/package.json", json.dumps({"dependencies": {"dep": "file:../../dep"}}))
        self.shop.write("workers/w/index.ts", 'import { word } from "dep";\nconsole.log(word);\n')
        build = await self.builds.build(self.worker)
        self.assertIn("installed", "\n".join(build.output))
        self.assertEqual((await self.output(build)).strip(), "from dep")
        self.shop.write("workers/w/index.ts", 'import { word } from "dep";\nconsole.log(word + "!");\n')
        build = await self.builds.build(self.worker)
        self.assertNotIn("installed", "\n".join(build.output))
        self.assertEqual((await self.output(build)).strip(), "from dep!")


class PHPBuildTests(BuildsCase):
    """PHP."""

    async def test_found(self) -> None:
        """The php-fpm of this machine is found, and is one."""
        need(find_php_fpm(self.tools), "php-fpm")
        build = await self.builds.build(self.shop.worker("php"))
        version = await self.output(evolve(build, argv=(*build.argv, "-v")))
        self.assertIn("fpm-fcgi", version)


class PythonBuildTests(BuildsCase):
    """Python."""

    def setUp(self) -> None:
        """A worker of one script."""
        super().setUp()
        self.worker = self.shop.worker("python")

    def configure(self, **settings: object) -> WorkerConfig:
        """The worker with settings under C{python}."""
        return evolve(self.worker, python=PythonConfig(**settings))

    async def test_script(self) -> None:
        """A script runs; an error in it is told with its line, and nothing is written into the folder."""
        self.shop.write("workers/w/app.py", "import sys\nprint('hello', sys.flags.dev_mode)\n")
        build = await self.builds.build(self.worker)
        self.assertEqual((await self.output(build)).strip(), "hello False")
        self.shop.write("workers/w/app.py", "print('hello'\n")
        fault = await self.fault(self.builds.build(self.worker))
        self.assertIn("app.py", "\n".join(fault.output))
        self.assertIn("SyntaxError", "\n".join(fault.output))
        self.assertEqual(sorted(os.listdir(self.worker.directory)), ["app.py", "public"])

    async def test_requirements(self) -> None:
        """Requirements are installed into an environment of the worker's own, once."""
        wheel = f"{self.worker.directory}/greeting-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("greeting.py", "word = 'from a wheel'\n")
            archive.writestr("greeting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
            archive.writestr(
                "greeting-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr("greeting-1.0.dist-info/RECORD", "")
        requirements = self.shop.write("workers/w/requirements.txt", f"./{os.path.basename(wheel)}\n")
        self.shop.write("workers/w/app.py", "import greeting, sys\nprint(greeting.word, sys.prefix)\n")
        worker = self.configure(requirements=requirements)
        build = await self.builds.build(worker)
        said = (await self.output(build)).strip()
        self.assertTrue(said.startswith(f"from a wheel {self.worker.directory}/.venv/"), said)
        self.start_server()
        again = await self.builds.build(worker)
        self.assertEqual(again.argv, build.argv)
        self.assertLess(again.seconds, build.seconds)
        self.shop.write("workers/w/requirements.txt", "./there-is-no-such-wheel-1.0-py3-none-any.whl\n")
        fault = await self.fault(self.builds.build(worker))
        self.assertIn("pip install failed", fault.reason)
        self.assertEqual((await self.output(build)).strip(), said)

    async def test_wsgi(self) -> None:
        """A WSGI application is served over a socket until it is told to end."""
        self.shop.write(
            "workers/w/app.py",
            "def application(environ, start_response):\n"
            "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
            "    return [b'hello from ' + environ['PATH_INFO'].encode()]\n",
        )
        build = await self.builds.build(self.configure(app="app:application", interpreter=sys.executable))
        observer = Observer()
        port = free_port()
        environment = {"PATH": os.environ["PATH"], "WORKER_PORT": str(port), **dict(build.environment)}
        process = self.spawner.spawn(ProcessSpec(build.argv, build.directory, tuple(environment.items())), observer)
        body = await self.get(f"http://127.0.0.1:{port}/x")
        self.assertEqual(body, b"hello from /x")
        process.signal_group("TERM")
        exit = await observer.ended
        self.assertEqual(exit.code, 0)

    async def get(self, url: str) -> bytes:
        """A page, as soon as somebody listens."""
        for _ in range(250):
            try:
                response = await Agent(reactor).request(b"GET", url.encode())
            except ConnectError:
                await deferLater(reactor, STEP_S)
            else:
                return await readBody(response)
        raise AssertionError("nobody listens")

    async def test_import_error(self) -> None:
        """An application that cannot be imported is told as a failed build, with the reason."""
        self.shop.write("workers/w/app.py", "import there_is_no_such_module\n")
        worker = self.configure(app="app:application", interpreter=sys.executable)
        fault = await self.fault(self.builds.build(worker))
        self.assertIn("there_is_no_such_module", "\n".join(fault.output))


@implementer(IProcessObserver)
class Observer:
    """Waits for the end of a process."""

    def __init__(self) -> None:
        self.ended: Deferred[Exit] = Deferred()

    def output(self, stream: str, lines: list[bytes]) -> None:
        """Not looked at."""

    def notified(self) -> None:
        """Not looked at."""

    def exited(self, exit: Exit) -> None:
        """The end."""
        self.ended.callback(exit)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CommandBuildTests(BuildsCase):
    """Commands."""

    async def test_built_and_run(self) -> None:
        """What the build command makes is run."""
        worker = self.shop.worker(
            "command", build=("sh", "-c", "mkdir -p bin && cp main.sh bin/run"), run=("./bin/run",)
        )
        path = self.shop.write("workers/w/main.sh", "#!/bin/sh\necho hello $0\n")
        os.chmod(path, 0o755)
        build = await self.builds.build(worker)
        self.assertEqual(build.argv, ("./bin/run",))
        self.assertTrue(os.path.exists(f"{worker.directory}/bin/run"))

    def read(self, path: str) -> str:
        """A file's text; empty while there is none."""
        if not os.path.exists(path):
            return ""
        with open(path) as file:
            return file.read()

    async def test_superseded_with_all_its_children(self) -> None:
        """A build that is superseded is gone with everything that it started, before the next begins."""
        script = "echo $$ >> pids; (trap '' TERM; echo $BASHPID >> pids; sleep 100) & sleep 100"
        worker = self.shop.worker("command", build=("bash", "-c", script), run=("true",))
        pids = f"{worker.directory}/pids"
        first = self.builds.build(worker)
        failing = Deferred.fromCoroutine(self.fault(first))
        await self.until(lambda: len(self.read(pids).split()) == 2, "both began")
        worker = evolve(worker, build=("true",))
        second = self.builds.build(worker)
        self.assertEqual((await failing).kind, "superseded")
        await second
        for pid in self.read(pids).split():
            entry = read_stat(int(pid))
            self.assertTrue(entry is None or entry.dead, pid)

    async def test_too_long_and_too_loud(self) -> None:
        """A build that neither ends nor is quiet is ended, and of its words the last are kept."""
        self.server = evolve(self.server, workers=evolve(self.server.workers, build_timeout_s=0.5))
        self.builds.reconfigure(self.server)
        worker = self.shop.worker("command", build=("yes", "no"), run=("true",))
        fault = await self.fault(self.builds.build(worker))
        self.assertEqual(fault.kind, "timeout")
        self.assertLessEqual(len(fault.output), 500)
        self.assertIn("no", fault.output)

    async def test_missing_tool(self) -> None:
        """A command that is not there is told as such."""
        worker = self.shop.worker("command", build=("there-is-no-such-command",), run=("true",))
        fault = await self.fault(self.builds.build(worker))
        self.assertEqual(fault.kind, "missing-tool")
        self.assertIn("there-is-no-such-command", fault.reason)

    async def test_many_workers(self) -> None:
        """Builds of many workers share the places, and all end."""
        workers = [self.shop.worker("command", f"w{number}", build=("true",), run=("true",)) for number in range(6)]
        results = await DeferredList([self.builds.build(worker) for worker in workers])
        self.assertEqual([success for success, _ in results], [True] * 6)
