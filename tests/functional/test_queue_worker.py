"""A worker of type queue: a process of the server's own, supervised and routed like any other."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.project import CHECKOUT, free_port
from bench.wire import Connection, Lost, Response
from tests.functional.running import LIMIT_S, Running, RunningCase

QUEUE_YAML = """
path: /queue
type: queue
apis: [tqs]
"""

ECHO = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = str(self.headers).lower().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer(("127.0.0.1", int(os.environ["WORKER_PORT"])), Echo).serve_forever()
"""

BODY = {"GET": None, "POST": b"x" * 1000}

KILLED_UNTIL_BACK_S = 5.0
"""It is back within a second where nothing else runs; a loaded machine gets more."""


class Asking(threading.Thread):
    """
    A client that asks again and again, each time over a connection of its own.

    @ivar answers: status of each answer, or what went wrong; and how long it took.
    """

    def __init__(self, running: Running, path: str, method: str) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[object, float]] = []
        self._running = running
        self._path = path
        self._method = method
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                what: object = self._running.ask(self._method, self._path, BODY[self._method]).status
            except Exception as error:
                what = repr(error)
            self.answers.append((what, time.monotonic() - began))

    def end(self) -> None:
        """Ask no more."""
        self._over.set()
        self.join(LIMIT_S)


class QueueWorkerCase(RunningCase):
    """A server with a queue."""

    def serve_queue(self, yaml: str = QUEUE_YAML, server: str = "", **others: dict[str, str]) -> Running:
        """Start a server, and wait until its queue is well."""
        running = self.serve(server, {"queue": {"config/worker.yaml": yaml}, **others})
        self.when_well(running)
        return running

    def when_well(self, running: Running) -> None:
        """Wait until the queue serves."""
        self.when("the queue is well", lambda: running.worker("queue")["state"] == "healthy", running)

    def pid(self, running: Running) -> int:
        """The process id of the queue; 0 while there is none. There are never two."""
        instances = running.instances("queue")
        self.assertLessEqual(len(instances), 1)
        return int(str(instances[0]["pid"])) if instances else 0

    def asking(
        self, running: Running, count: int = 4, path: str = "/queue/health", method: str = "GET"
    ) -> list[Asking]:
        """Clients that ask all the time, and have had an answer each."""
        clients = [Asking(running, path, method) for _ in range(count)]
        for client in clients:
            client.start()
            self.addCleanup(client.end)
        self.when("clients are served", lambda: all(client.answers for client in clients), running)
        return clients

    def answers(self, clients: list[Asking]) -> set[object]:
        """All that clients got; they ask no more."""
        for client in clients:
            client.end()
        return {what for client in clients for what, _ in client.answers}


class LifeTests(QueueWorkerCase):
    """From its start to its end."""

    def test_starts_and_ends(self) -> None:
        """I write three lines of configuration: a queue runs, answers under its prefix, and ends with the server."""
        running = self.serve_queue()
        self.assertEqual(running.get("/queue/health").status, 200)
        self.assertEqual(running.get("/queue/elsewhere").status, 404)
        pid = self.pid(running)
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        self.assertIn(b"tqserver.queue", command)
        everybody = running.processes()
        self.assertIn(pid, everybody)
        running.signal("TERM")
        assert running.process is not None
        self.assertEqual(running.process.wait(LIMIT_S), 0)
        self.gone(everybody, running, LIMIT_S)
        self.assertFalse((running.directory / "var/run/.front/front.sock").exists())

    def test_secrets(self) -> None:
        """My token is seen neither in the command line nor in the environment of the process, nor in a file."""
        token = "s3cr3t-0f-7he-queue"
        running = self.serve_queue(f"path: /queue\ntype: queue\napis: {{tqs: {{api_token: {token}}}}}\n")
        pid = self.pid(running)
        for name in ("cmdline", "environ"):
            self.assertNotIn(token.encode(), Path(f"/proc/{pid}/{name}").read_bytes())
        written = [path for path in running.directory.rglob("*") if path.is_file() and "worker.yaml" not in path.name]
        for path in written:
            self.assertNotIn(token.encode(), path.read_bytes(), path)

    def test_modules_in_its_folder(self) -> None:
        """A file of mine beside the configuration that is called like a module of Python does no harm."""
        running = self.serve("", {"queue": {"config/worker.yaml": QUEUE_YAML, "json.py": "raise SystemExit(9)\n"}})
        self.when_well(running)


class ReplacementTests(QueueWorkerCase):
    """One process at a time."""

    def test_killed(self) -> None:
        """The queue is killed while clients ask: it is back at once, and they have waited instead of failing."""
        running = self.serve_queue()
        clients = self.asking(running)
        for _ in range(3):
            before = self.pid(running)
            os.kill(before, signal.SIGKILL)
            self.when("the queue is there again", lambda b=before: self.pid(running) not in (0, b), running)  # type: ignore[misc]
            self.when_well(running)
        self.assertEqual(self.answers(clients), {200})
        longest = max(took_s for client in clients for _, took_s in client.answers)
        self.assertLess(longest, KILLED_UNTIL_BACK_S)

    def test_changed_configuration(self) -> None:
        """I change the configuration while clients ask: the old process ends, then the new one starts; none fails."""
        running = self.serve_queue()
        before = self.pid(running)
        clients, writers = self.asking(running), self.asking(running, path="/queue/elsewhere", method="POST")
        for services in ("[tqs, zapq]", "[zapq]", "[tqs]"):
            running.write("workers/queue/config/worker.yaml", QUEUE_YAML.replace("[tqs]", services))
            self.when("there is another process", lambda b=before: self.pid(running) not in (0, b), running)  # type: ignore[misc]
            self.when_well(running)
            before = self.pid(running)
        self.assertEqual((self.answers(clients), self.answers(writers)), ({200}, {404}))
        self.assertEqual(running.worker("queue")["deaths"], 0)

    def test_broken_configuration(self) -> None:
        """I make a mistake in the configuration: the queue stays as it is, and the status says what is wrong."""
        running = self.serve_queue()
        before = self.pid(running)
        running.write("workers/queue/config/worker.yaml", QUEUE_YAML + "store: {durability: forever}\n")
        self.when("the mistake is told", lambda: "durability" in str(running.worker("queue")["reason"]), running)
        self.assertEqual(self.pid(running), before)

    def test_data_is_not_watched(self) -> None:
        """What the queue writes into its folder of data changes nothing."""
        running = self.serve_queue(server="", watched={"config/worker.yaml": "path: /watched\ntype: queue\n"})
        before = self.pid(running)
        for worker in ("queue", "watched"):
            running.write(f"workers/{worker}/data/tasks.sqlite", "x")
        running.edit("workers/watched/config/worker.yaml", "/watched", "/seen")
        self.when("later news came", lambda: running.get("/seen/health").status == 200, running)
        self.assertEqual(self.pid(running), before)
        self.assertEqual(running.worker("queue")["generation"], 1)


class ListenerTests(QueueWorkerCase):
    """Listeners of services."""

    def test_clients_wait(self) -> None:
        """Who connects to a service's own port while the queue is restarted is not refused."""
        port = free_port()
        running = self.serve_queue(
            f"path: /queue\ntype: queue\napis: {{tqs: {{listen: {{port: {port}, address: localhost}}}}}}\n"
        )
        self.assertEqual(self.ask(port).status, 404)
        before = self.pid(running)
        os.kill(before, signal.SIGSTOP)
        waiting = socket.create_connection(("127.0.0.1", port), LIMIT_S)
        self.addCleanup(waiting.close)
        os.kill(before, signal.SIGKILL)
        self.assertEqual(self.ask(port).status, 404)
        self.when("the queue is there again", lambda: self.pid(running) not in (0, before), running)
        running.edit("workers/queue/config/worker.yaml", "type: queue", "type: queue\nenabled: false")
        self.when("nobody listens there any more", lambda: not self.listens(port), running)
        running.edit("workers/queue/config/worker.yaml", "enabled: false", "enabled: true")
        self.when("somebody does again", lambda: self.listens(port), running)

    def listens(self, port: int) -> bool:
        """Whether connections are taken at a port."""
        try:
            socket.create_connection(("127.0.0.1", port), LIMIT_S).close()
        except ConnectionRefusedError:
            return False
        return True

    def ask(self, port: int) -> Response:
        """Ask a service at the root of its own listener."""
        connection = Connection(("127.0.0.1", port), timeout_s=LIMIT_S)
        try:
            return connection.ask("GET", "/somewhere")
        finally:
            connection.close()


class TakenTests(RunningCase):
    """A port that somebody else has."""

    def test_taken(self) -> None:
        """My queue cannot listen where I said: it is held, and the status says why, and how to find who is there."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        yaml = f"path: /queue\ntype: queue\napis: {{tqs: {{listen: {{port: {port}}}}}}}\nrestart: {{max_deaths: 0}}\n"
        running = self.serve("", {"queue": {"config/worker.yaml": yaml}})
        self.when("it is held", lambda: running.worker("queue")["state"] == "held", running)
        self.assertIn(f"tqs cannot listen on 127.0.0.1 port {port}", str(running.worker("queue")["reason"]))
        self.assertIn("apis.tqs.listen", str(running.worker("queue")["remedy"]))
        self.assertEqual(running.get("/queue/health").status, 503)


class AloneTests(SynchronousTestCase):
    """A queue without a server."""

    def begin(self, yaml: str) -> subprocess.Popen[bytes]:
        """Start one with this file."""
        folder = Path(tempfile.mkdtemp(prefix="tqserver-test-"))
        self.addCleanup(shutil.rmtree, folder)
        file = folder / "queue.yaml"
        file.write_text(yaml)
        process = subprocess.Popen(
            [sys.executable, "-m", "tqserver.queue", "--config", str(file)],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def said(self, yaml: str) -> tuple[int, str]:
        """How one ends that cannot run, and what it says."""
        process = self.begin(yaml)
        output, _ = process.communicate(timeout=LIMIT_S)
        return process.returncode, output.decode()

    def test_serves_and_ends(self) -> None:
        """It serves at the root of its listener, and ends on TERM."""
        port = free_port()
        process = self.begin(f"apis: {{tqs: {{listen: {{port: {port}}}}}}}\n")
        self.assertEqual(self.ask(port).status, 404)
        process.terminate()
        self.assertEqual(process.wait(LIMIT_S), 0)

    def ask(self, port: int) -> Response:
        """Ask as soon as it is there."""
        end = time.monotonic() + LIMIT_S
        while True:
            connection = Connection(("127.0.0.1", port), timeout_s=LIMIT_S)
            try:
                return connection.ask("GET", "/somewhere")
            except Lost:
                self.assertLess(time.monotonic(), end, "it does not listen")
                time.sleep(0.01)
            finally:
                connection.close()

    def test_mistakes(self) -> None:
        """Every mistake in its file is told with its line, and so is a file by which nobody could reach it."""
        code, output = self.said("apis: {tqs: {listen: {address: 0.0.0.0, port: 1}}}\nstore: {type: file}\n")
        self.assertEqual(code, 1)
        self.assertIn("queue.yaml:1: apis.tqs.listen: is 0.0.0.0", output)
        self.assertIn("queue.yaml:2: store.type: ", output)
        code, output = self.said("apis: [tqs]\n")
        self.assertEqual(code, 1)
        self.assertIn("no service has a listen", output)

    def test_taken(self) -> None:
        """A port that somebody else has is told in a line."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        code, output = self.said(f"apis: {{tqs: {{listen: {{port: {taken.getsockname()[1]}}}}}}}\n")
        self.assertEqual((code, output.count("\n")), (1, 1), output)
        self.assertIn("in use", output)


class PrivateSocketTests(QueueWorkerCase):
    """The fronts' private socket."""

    def test_tasks(self) -> None:
        """A worker believes what says that a request is a task: it can come from the server's own processes alone."""
        running = self.serve_queue(
            QUEUE_YAML,
            "",
            echo={"config/worker.yaml": "path: /echo\ntype: python\nhealth: {type: tcp}\n", "app.py": ECHO},
        )
        fields = "X-Task-Id: t1\r\nX-Task-Attempt: 2\r\nX-Forwarded-For: 192.0.2.7\r\nX-Request-ID: mine\r\n"
        self.when("the worker answers", lambda: running.get("/echo").status == 200, running)
        told = running.ask("GET", "/echo", headers=fields).body
        self.assertNotIn(b"x-task", told)
        self.assertNotIn(b"192.0.2.7", told)
        path = running.directory / "var/run/.front/front.sock"
        self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700)
        connection = Connection(str(path), timeout_s=LIMIT_S)
        self.addCleanup(connection.close)
        told = connection.ask("GET", "/echo", headers=fields).body
        for field in (b"x-task-id: t1", b"x-task-attempt: 2", b"x-forwarded-for: 192.0.2.7", b"x-request-id: mine"):
            self.assertIn(field, told)
