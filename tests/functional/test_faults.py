"""What becomes of requests when workers die, misbehave or are too slow, as clients see it through a real server."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from bench.wire import Lost, Response
from tests.functional.running import APP, WORKER_YAML, Running, RunningCase
from tests.functional.streams import Stream

RAW = r'''
"""A worker without any library: its answers are what its path says, byte by byte. Every request is taken down."""
import os, signal, socket, sys, threading, time

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
folder = os.environ["NOTES"]
lock, seen = threading.Lock(), {}

def count(key):
    """How often something was asked, by all instances together."""
    descriptor = os.open(os.path.join(folder, key), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"x")
    size = os.fstat(descriptor).st_size
    os.close(descriptor)
    return size

def answer(body):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

def serve(connection):
    rest, asked = b"", 0
    while True:
        while b"\r\n\r\n" not in rest:
            data = connection.recv(65536)
            if not data:
                return
            rest += data
        head, _, rest = rest.partition(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(rest) < length:
            rest += connection.recv(65536)
        rest = rest[length:]
        asked += 1
        _, what, *more = path.split("/")
        times = count("-".join([method, what, *more])) if what != "health" else 0
        if what == "garbage":
            connection.sendall({"text": b"hello, this is no HTTP\r\n\r\n",
                "status": b"HTTP/1.1 999999 What\r\n\r\n",
                "both": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
                "coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
                "header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200000 + b"\r\n\r\n",
                "nothing": b"",
                "switch": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            }[more[0]])
            return
        elif what == "never":
            time.sleep(60)
        elif what == "slow":
            time.sleep(float(more[0]))
            connection.sendall(answer(b"%d" % os.getpid()))
        elif what == "pid":
            connection.sendall(answer(b"%d" % os.getpid()))
        elif what == "half":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
            time.sleep(60)
        elif what == "break-once" and times == 1:
            return
        elif what == "break":
            return
        elif what == "break-reused" and asked > 1:
            # As a server does that has just decided to close its idle connections: the request is not looked at.
            return
        elif what == "break-half":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
            return
        elif what == "not-modified":
            connection.sendall(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: \"a\"\r\n\r\n")
        elif what == "close-idle":
            connection.sendall(answer(b"ok"))
            if times % 3 == 0:
                return
        else:
            connection.sendall(answer(b"ok"))

def run(connection):
    try:
        serve(connection)
    except OSError:
        pass
    finally:
        connection.close()

listener = socket.create_server(("127.0.0.1", int(os.environ["WORKER_PORT"])), backlog=128)
while True:
    threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()
'''

BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"


class Asking:
    """Some requests in threads, and what became of each, by name."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Response | Lost] = {}
        self._threads: list[threading.Thread] = []

    def ask(self, name: str, ask: Callable[[], Response]) -> None:
        """Ask for something that takes its time."""

        def run() -> None:
            try:
                self.outcomes[name] = ask()
            except Lost as lost:
                self.outcomes[name] = lost

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def ended(self, kind: str) -> int:
        """How many of those whose name begins like this know what became of them."""
        return sum(name.startswith(kind) for name in list(self.outcomes))

    def join(self) -> dict[str, Response | Lost]:
        """Wait for all."""
        for thread in self._threads:
            thread.join()
        return self.outcomes


class FaultCase(RunningCase):
    """A server with the worker that does its worst."""

    def worst(self, *lines: str, server: str = "", mode: str = "", fronts: int = 2) -> Running:
        """
        Start it.

        @param lines: of worker.yaml.
        @param server: of the section C{server:}.
        """
        running = Running(server)
        self.addCleanup(running.end)
        notes = running.directory / "notes"
        notes.mkdir()
        environment = f"environment: {{NOTES: {notes}}}"
        running.write(
            "workers/app/config/worker.yaml", WORKER_YAML + "".join(f"{line}\n" for line in (environment, *lines))
        )
        running.write("workers/app/app.py", RAW)
        running.edit("etc/server.yaml", "fronts: 2", f"fronts: {fronts}")
        if mode:
            running.edit("etc/server.yaml", "server:", f"mode: {mode}\nserver:")
        running.start()
        self.when("it serves", lambda: running.get("/pid").status == 200, running)
        return running

    def asked(self, running: Running, key: str) -> int:
        """How often the worker saw a request: its method and path."""
        path = running.directory / "notes" / key
        return path.stat().st_size if path.exists() else 0


class DeathTests(FaultCase):
    """Instances that are killed while they are at work."""

    def test_killed_busy(self) -> None:
        """
        Of what a killed instance had in hand, GETs without any answer are asked again, a POST is 502 because nobody
        knows how far it went, and half an answer is cut. Who was with another instance notices nothing.
        """
        running = self.worst("scaling: {min_workers: 2, max_workers: 2}")
        self.when("there are two", lambda: len(running.instances()) == 2, running)
        asking = Asking()
        for number in range(4):
            asking.ask(f"get {number}", lambda number=number: running.get(f"/slow/1.{number}1"))  # type: ignore[misc]
            asking.ask(f"post {number}", lambda number=number: running.ask("POST", f"/slow/1.{number}2", b"x"))  # type: ignore[misc]
        for number in range(4):
            asking.ask(f"half {number}", lambda number=number: running.get(f"/half/{number}"))  # type: ignore[misc]
        self.when("all are at work", lambda: len(os.listdir(running.directory / "notes")) == 13, running)
        victim = int(str(running.instances()[0]["pid"]))
        self.when("it is known who has them", lambda: self.in_flight(running) == 12, running)
        held = next(instance["in_flight"] for instance in running.instances() if instance["pid"] == victim)
        self.assertGreater(int(str(held)), 0)
        os.kill(victim, signal.SIGKILL)
        self.when("another is there", lambda: len(self.pids(running) - {victim}) == 2, running)
        self.when("all but the halves have ended", lambda: asking.ended("get") + asking.ended("post") == 8, running)
        for pid in self.pids(running):
            os.kill(pid, signal.SIGKILL)
        outcomes = asking.join()
        failed = 0
        for name, outcome in outcomes.items():
            if name.startswith("get"):
                self.assertEqual(self.status(outcome), 200, name)
            elif name.startswith("post"):
                self.assertIn(self.status(outcome), (200, 502), name)
                failed += self.status(outcome) == 502
            else:
                assert isinstance(outcome, Lost), (name, outcome)
                self.assertIn(outcome.how, ("reset", "cut"), name)
        posts = [key for key in os.listdir(running.directory / "notes") if key.startswith("POST-slow")]
        self.assertEqual([self.asked(running, key) for key in posts], [1] * 4, "no POST was sent twice")
        self.assertLessEqual(failed, int(str(held)), "more failed than the killed one had in hand")

    def status(self, outcome: Response | Lost) -> int:
        """The status of an answer, or 0 for none."""
        return outcome.status if isinstance(outcome, Response) else 0

    def pids(self, running: Running) -> set[int]:
        """The processes of the instances that have one."""
        return {int(str(instance["pid"])) for instance in running.instances()} - {0}

    def in_flight(self, running: Running) -> int:
        """The requests in hand of all instances."""
        return sum(int(str(instance["in_flight"])) for instance in running.instances())


class RetryTests(FaultCase):
    """Connections that break, and who is asked again."""

    def test_rules(self) -> None:
        """
        A request whose connection broke without a byte of an answer is asked again if it can be repeated, and never
        else; a beginning of an answer is not repeated by anybody; and there is an end of trying.
        """
        running = self.worst()
        for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
            self.assertEqual(running.ask(method, "/break-once").status, 200, method)
            self.assertEqual(self.asked(running, f"{method}-break-once"), 2, method)
        self.assertEqual(running.ask("PUT", "/break-once", b"body").status, 200)
        for method in ("POST", "PATCH"):
            self.assertEqual(running.ask(method, "/break-once", b"body").status, 502, method)
            self.assertEqual(self.asked(running, f"{method}-break-once"), 1, method)
        self.assertEqual(running.get("/break").status, 502)
        # Three tries; that on a kept connection, if there was one, says nothing about the worker and is none of them.
        self.assertIn(self.asked(running, "GET-break"), (3, 4))
        self.assertEqual(running.get("/break-half").status, 502)
        self.assertEqual(self.asked(running, "GET-break-half"), 1)

    def test_large_put(self) -> None:
        """A body that was not kept cannot be sent again: such a request is 502, and asked once."""
        running = self.worst()
        self.assertEqual(running.ask("PUT", "/break-once", b"x" * 1_000_000).status, 502)
        self.assertEqual(self.asked(running, "PUT-break-once"), 1)

    def test_refused(self) -> None:
        """While nobody listens everybody waits, POST too, since nothing was sent; then all are served."""
        running = self.worst("restart: {backoff_initial_ms: 500}")
        pid = int(running.get("/pid").body)
        port = int(str(running.instances()[0]["port"]))
        os.kill(pid, signal.SIGKILL)

        def refused() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) != 0

        # What a dying process has accepted, or its kernel for it, was sent something.
        self.when("nobody listens", refused, running)
        asking = Asking()
        for number in range(5):
            asking.ask(f"get {number}", lambda: running.get("/pid"))
            asking.ask(f"post {number}", lambda: running.ask("POST", "/pid", b"x" * 100_000))
        for name, outcome in asking.join().items():
            assert isinstance(outcome, Response), (name, outcome)
            self.assertEqual(outcome.status, 200, name)
            self.assertNotEqual(int(outcome.body), pid)

    def test_kept_connections(self) -> None:
        """A worker that closes kept connections whenever it likes costs no GET."""
        running = self.worst()
        statuses: list[int] = []
        for path in ("/close-idle", "/break-reused"):
            threads = [
                threading.Thread(target=lambda path=path: statuses.extend(self.repeat(running, path, 50)))  # type: ignore[misc]
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(statuses, [200] * 400)

    def repeat(self, running: Running, path: str, times: int) -> list[int]:
        """Ask for the same over and over on one connection."""
        connection = running.connection()
        try:
            return [connection.ask("GET", path).status for _ in range(times)]
        finally:
            connection.close()


class AnswerTests(FaultCase):
    """Answers that are none, come too late, or not at all."""

    def test_garbage(self) -> None:
        """What is not HTTP, or could be understood in two ways, is 502 and goes no further."""
        running = self.worst()
        for kind in ("text", "status", "both", "lengths", "coding", "header", "nothing", "switch"):
            response = running.ask("POST", f"/garbage/{kind}", b"")
            self.assertEqual(response.status, 502, kind)
            self.assertNotIn(b"abcd", response.body, kind)
        self.assertEqual(running.get("/pid").status, 200)
        self.assertEqual(running.worker()["state"], "healthy")

    def test_not_modified(self) -> None:
        """A 304 may tell the length of what it does not send; the connection stays in step."""
        running = self.worst()
        with Stream(running) as stream:
            for _ in range(3):
                stream.request("GET", "/not-modified")
                status, fields = stream.head()
                self.assertEqual((status, fields["content-length"]), (304, "500"))
                stream.request("GET", "/pid")
                self.assertTrue(stream.body(stream.head()[1]).isdigit())

    def test_never(self) -> None:
        """A worker that does not answer in time is 504, and is not asked twice; others go on."""
        running = self.worst("request_timeout_seconds: 0.5")
        for method in ("GET", "POST"):
            began = time.monotonic()
            self.assertEqual(running.ask(method, "/never", b"" if method == "POST" else None).status, 504)
            self.assertLess(time.monotonic() - began, 5.0)
            self.assertEqual(self.asked(running, f"{method}-never"), 1)
        self.assertEqual(running.get("/pid").status, 200)

    def test_queue_limits(self) -> None:
        """Who finds the waiting line full is sent away with 503 and when to come again; who waits too long gets 504."""
        running = self.worst(
            "scaling: {min_workers: 1, max_workers: 1, max_concurrency: 1}",
            "queue: {max_requests: 2, timeout_seconds: 0.5}",
            fronts=1,
        )
        asking = Asking()
        asking.ask("first", lambda: running.get("/slow/2.0"))
        self.when("it is at work", lambda: self.asked(running, "GET-slow-2.0"), running)
        for number in range(2):
            asking.ask(f"second {number}", lambda: running.get("/pid"))
        self.when("two wait", lambda: running.worker()["waiting"] == 2, running)
        response = running.get("/pid")
        self.assertEqual(response.status, 503)
        self.assertGreaterEqual(int(response.headers["retry-after"]), 1)
        outcomes = {name: getattr(outcome, "status", 0) for name, outcome in asking.join().items()}
        self.assertEqual(outcomes, {"first": 200, "second 0": 504, "second 1": 504})
        self.assertEqual(running.get("/pid").status, 200)


class PageTests(FaultCase):
    """What people and programs are told."""

    def test_kinds(self) -> None:
        """Browsers get a page, programs a problem in JSON, both with the id of the request; HEAD gets neither."""
        running = self.worst()
        page = running.ask("GET", "/break-half", headers=BROWSER)
        self.assertEqual((page.status, page.headers["content-type"]), (502, "text/html; charset=utf-8"))
        self.assertIn(b"<!doctype html", page.body.lower())
        problem = running.ask("GET", "/break-half", headers="Accept: application/json\r\n")
        self.assertEqual(problem.headers["content-type"], "application/problem+json")
        told = json.loads(problem.body)
        self.assertEqual((told["status"], told["worker"]), (502, "app"))
        self.assertTrue(told["request_id"])
        self.assertEqual(running.ask("HEAD", "/break-half").body, b"")

    def test_production(self) -> None:
        """In production nobody is told paths, addresses, names or output of workers."""
        running = self.worst("request_timeout_seconds: 0.3", server="max_body_bytes: 1000\n", mode="production")
        port = str(running.instances()[0]["port"])
        running.write("workers/broken/config/worker.yaml", "path: /broken\ntype: python\n")
        running.write("workers/broken/app.py", "import sys; sys.exit('the password is secret')")
        running.signal("HUP")
        self.when("it is known", lambda: running.worker("broken")["state"] in ("held", "failed"), running)
        answers = [
            running.ask(method, path, body, headers)
            for headers in ("", BROWSER)
            for method, path, body in (
                ("GET", "/garbage/text", None),
                ("GET", "/break", None),
                ("GET", "/never", None),
                ("POST", "/pid", b"x" * 1001),
                ("GET", "/broken", None),
            )
        ]
        self.assertEqual([answer.status for answer in answers], [502, 502, 504, 413, 503] * 2)
        for answer in answers:
            shown = (str(answer.headers) + answer.body.decode()).lower()
            for word in (port, "127.0.0.1", str(running.directory), "secret", "app.py", "httptools", "twisted"):
                self.assertNotIn(word, shown)
            self.assertNotIn("x-tqserver-worker-name", answer.headers)


class BodyLimitTests(RunningCase):
    """The limit of bodies."""

    def test_limit(self) -> None:
        """A body of the limit's size passes, a byte more does not, however its length is told."""
        running = self.serve("max_body_bytes: 1000\n", {"app": {"config/worker.yaml": WORKER_YAML, "app.py": APP}})
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        self.assertEqual(running.ask("POST", "/echo", b"x" * 1000).status, 200)
        self.assertEqual(running.ask("POST", "/echo", b"x" * 1001).status, 413)
        chunked = "Transfer-Encoding: chunked\r\n"
        self.assertEqual(running.ask("POST", "/echo", b"x" * 1001, chunked).status, 413)
        self.assertEqual(running.ask("GET", "/version", b"x" * 1001).status, 413)
