"""Deliveries, asynchronous requests and schedules, with real processes from the client to the worker and back."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter

from bench.wire import Response
from tests.functional.running import Running, RunningCase
from tests.functional.streams import Stream

QUEUE_YAML = """
path: /queue
type: queue
apis: [tqs]
deliver:
  - {queue: jobs, to: /mailer/jobs, concurrency: 8, timeout_seconds: 20, max_attempts: 3, backoff_seconds: 0.05}
"""

MAILER_YAML = """
path: /mailer
type: python
async: true
restart: {max_deaths: 1000, backoff_initial_ms: 10}
"""

MAILER = '''
"""Takes jobs, and writes down each that begins and each that ends."""
import json, os, signal, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ledger = os.open("../../ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

class Mailer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, json.dumps([self.command, self.path, list(self.headers.items())]).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        job = json.loads(body or b"{}")
        told = [self.headers.get("X-Task-Id"), self.headers.get("X-Task-Attempt"), VERSION]
        os.write(ledger, (json.dumps(["begin", *told, job]) + "\\n").encode())
        time.sleep(job.get("seconds", 0))
        status = job.get("status", 200)
        os.write(ledger, (json.dumps(["end", *told, job]) + "\\n").encode())
        self.answer(status, json.dumps([self.command, self.path, list(self.headers.items()), job]).encode())

    do_PUT = do_POST

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Mailer", "yes")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

VERSION = 1
server = Server(("127.0.0.1", int(os.environ["WORKER_PORT"])), Mailer)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
os._exit(0)
'''


class DeliveryCase(RunningCase):
    """A server with a queue and a worker that takes its tasks."""

    def serve_queue(self, yaml: str = QUEUE_YAML) -> Running:
        """Start a server; all is well."""
        running = self.serve(
            "",
            {
                "queue": {"config/worker.yaml": yaml},
                "mailer": {"config/worker.yaml": MAILER_YAML, "app.py": MAILER},
            },
        )
        for name in ("queue", "mailer"):
            self.when(f"{name} is well", lambda name=name: running.worker(name)["state"] == "healthy", running)
        return running

    def put(self, running: Running, *jobs: object) -> None:
        """Put jobs."""
        body = json.dumps({"messages": [{"body": json.dumps(job)} for job in jobs]}).encode()
        answer = running.ask("POST", "/queue/tqs/queues/jobs", body)
        self.assertEqual(answer.status, 200, answer.body)

    def ledger(self, running: Running, what: str = "end") -> list[tuple[str, str, int, dict[str, object]]]:
        """What the worker has written down: task, try, version of the worker, job."""
        path = running.directory / "ledger"
        lines = path.read_text().splitlines() if path.exists() else []
        return [tuple(line[1:]) for line in map(json.loads, lines) if line[0] == what]

    def told(self, running: Running) -> dict[str, object]:
        """What the queue tells of itself."""
        found: dict[str, object] = json.loads(running.get("/queue/status").body)
        return found

    def counts(self, running: Running, name: str = "jobs") -> dict[str, int]:
        """How many tasks of a queue are in each state."""
        [queue] = [each for each in self.told(running)["queues"] if each["name"] == name]  # type: ignore[attr-defined]
        return {state: queue[state] for state in ("delayed", "ready", "leased", "done", "failed", "dead")}

    def when_over(self, running: Running, count: int) -> dict[str, int]:
        """Wait until so many tasks have ended, and none has not."""

        def over() -> bool:
            counts = self.counts(running)
            return counts["done"] + counts["failed"] + counts["dead"] == count

        self.when(f"{count} tasks have ended", over, running, 60)
        return self.counts(running)


class DeliveryTests(DeliveryCase):
    """Tasks that are delivered."""

    def test_delivered(self) -> None:
        """I put jobs in a queue: my worker gets each once, and I see what became of them."""
        running = self.serve_queue()
        self.put(running, *[{"n": n} for n in range(100)], {"status": 422}, {"status": 500})
        counts = self.when_over(running, 102)
        self.assertEqual((counts["done"], counts["failed"], counts["dead"]), (100, 1, 1))
        tries = Counter(task for task, _, _, _ in self.ledger(running))
        self.assertEqual(sorted(Counter(tries.values()).items()), [(1, 101), (3, 1)])
        [delivery] = [each for each in self.told(running)["deliveries"] if each["queue"] == "jobs"]  # type: ignore[attr-defined]
        self.assertEqual(
            [delivery[name] for name in ("to", "in_flight", "delivered", "failed", "dead", "retried", "lost")],
            ["/mailer/jobs", 0, 100, 1, 1, 2, 0],
        )

    def test_reload(self) -> None:
        """I save my worker in the middle of its jobs, again and again: none is lost, and none comes twice."""
        running = self.serve_queue()
        put = 0

        def works(version: int) -> bool:
            nonlocal put
            self.put(running, {"n": put})  # There is always something for it to do.
            put += 1
            return any(job[2] == version for job in self.ledger(running))

        for version in range(2, 5):
            self.put(running, *[{"n": n, "seconds": 0.02} for n in range(put, put + 100)])
            self.when("it is at work", lambda n=put: len(self.ledger(running, "begin")) > n, running)
            put += 100
            running.edit("workers/mailer/app.py", f"VERSION = {version - 1}", f"VERSION = {version}")
            self.when("the new one works", lambda version=version: works(version), running)
        counts = self.when_over(running, put)
        self.assertEqual(counts["done"], put)
        tries = Counter(task for task, _, _, _ in self.ledger(running, "begin"))
        self.assertEqual((len(tries), set(tries.values())), (put, {1}))

    def test_workers_killed(self) -> None:
        """My worker is killed again and again in the middle of its jobs: every job ends, and none is lost."""
        running = self.serve_queue(QUEUE_YAML.replace("max_attempts: 3", "max_attempts: 100"))
        self.put(running, *[{"n": n, "seconds": 0.02} for n in range(300)])
        killed = 0
        for ended in range(30, 240, 40):
            self.when("some are done", lambda n=ended: len(self.ledger(running)) >= n, running)
            for instance in running.instances("mailer"):
                if instance.get("pid"):
                    os.kill(int(str(instance["pid"])), signal.SIGKILL)
                    killed += 1
        counts = self.when_over(running, 300)
        self.assertEqual(counts["done"], 300)
        done = Counter(task for task, _, _, _ in self.ledger(running))
        self.assertEqual(len(done), 300)
        # What was repeated was in the worker's hands when it was killed.
        self.assertLessEqual(len(self.ledger(running, "begin")) - 300, 8 * killed)

    def test_queue_killed(self) -> None:
        """The queue is killed in the middle: it is back, and goes on at once where it was."""
        running = self.serve_queue()
        self.put(running, *[{"n": n, "seconds": 0.05} for n in range(200)])
        for ended in (20, 80, 140):
            self.when("some are done", lambda n=ended: len(self.ledger(running)) >= n, running)
            (instance,) = running.instances("queue")
            os.kill(int(str(instance["pid"])), signal.SIGKILL)
        counts = self.when_over(running, 200)
        self.assertEqual(counts["done"], 200)
        tries = Counter(task for task, _, _, _ in self.ledger(running))
        self.assertEqual(len(tries), 200)
        self.assertLessEqual(sum(tries.values()) - 200, 3 * 8 + 3 * 32)

    def test_queue_reloaded(self) -> None:
        """I change the queue's configuration in the middle: what is in hand ends first, so that nothing comes twice."""
        running = self.serve_queue()
        self.put(running, *[{"n": n, "seconds": 0.05} for n in range(200)])
        self.when("some are done", lambda: len(self.ledger(running)) >= 20, running)
        running.edit("workers/queue/config/worker.yaml", "concurrency: 8", "concurrency: 16")
        counts = self.when_over(running, 200)
        self.assertEqual(counts["done"], 200)
        tries = Counter(task for task, _, _, _ in self.ledger(running, "begin"))
        self.assertEqual((len(tries), set(tries.values())), (200, {1}))

    def test_fronts_replaced(self) -> None:
        """The fronts are replaced in the middle, twice: what is in hand ends, and nothing is lost or comes twice."""
        running = self.serve_queue()
        self.put(running, *[{"n": n, "seconds": 0.05} for n in range(300)])
        for ended in (20, 150):
            self.when("some are done", lambda n=ended: len(self.ledger(running)) >= n, running)
            before = set(running.fronts())
            running.signal("USR2")
            self.when("others are there", lambda old=before: not old & set(running.fronts()), running)
        counts = self.when_over(running, 300)
        self.assertEqual(counts["done"], 300)
        tries = Counter(task for task, _, _, _ in self.ledger(running, "begin"))
        self.assertEqual((len(tries), set(tries.values())), (300, {1}))

    def test_fronts_killed(self) -> None:
        """The fronts are killed in the middle: what was in hand comes again, and nothing is lost."""
        running = self.serve_queue()
        self.put(running, *[{"n": n, "seconds": 0.05} for n in range(200)])
        for ended in (20, 100):
            self.when("some are done", lambda n=ended: len(self.ledger(running)) >= n, running)
            for pid in running.fronts():
                os.kill(pid, signal.SIGKILL)
        counts = self.when_over(running, 200)
        self.assertEqual(counts["done"], 200)
        tries = Counter(task for task, _, _, _ in self.ledger(running))
        self.assertEqual(len(tries), 200)
        self.assertLessEqual(sum(tries.values()) - 200, 2 * 8)

    def test_outsiders(self) -> None:
        """Nobody can pretend that a request is a task, or have one stored that nobody may."""
        running = self.serve_queue()
        answer = running.ask("GET", "/mailer/x", headers="X-Task-Id: 1\r\nX-Task-Async: /\r\nX-Task-Attempt: 1\r\n")
        self.assertNotIn("x-task", answer.body.decode().lower())
        answer = running.ask("POST", "/queue/async", b"{}", "X-Task-Async: /queue\r\n")
        self.assertEqual(answer.status, 404)


class AsynchronousTests(DeliveryCase):
    """Requests that are answered later."""

    def later(self, running: Running, method: str, path: str, job: object, headers: str = "") -> str:
        """Send a request to be answered later; where to ask."""
        body = json.dumps(job).encode() if job is not None else None
        answer = running.ask(method, path, body, f"Prefer: respond-async\r\n{headers}")
        self.assertEqual(answer.status, 202, answer.body)
        self.assertEqual(answer.headers["preference-applied"], "respond-async")
        self.assertRegex(answer.headers["location"], r"^/queue/async/[0-9a-f-]{36}$")
        return answer.headers["location"]

    def answer(self, running: Running, place: str, headers: str = "Prefer: wait=20\r\n") -> Response:
        """Ask for an answer."""
        return running.ask("GET", place, headers=headers)

    def test_answered_later(self) -> None:
        """My request is answered at once with where to ask; there I have the worker's own answer when it is ready."""
        running = self.serve_queue()
        place = self.later(
            running, "PUT", "/mailer/letters/1?x=%20y", {"status": 201, "seconds": 0.3}, "Cookie: a=b\r\nX-Mine: 7\r\n"
        )
        answer = self.answer(running, place, "")
        self.assertEqual((answer.status, answer.headers["retry-after"]), (202, "1"))
        self.assertIn(json.loads(answer.body)["state"], ("waiting", "running"))
        began = time.monotonic()
        answer = self.answer(running, place)
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual((answer.status, answer.headers["x-mailer"]), (201, "yes"))
        method, path, fields, job = json.loads(answer.body)
        told = {name.lower(): value for name, value in fields}
        self.assertEqual((method, path, job["status"]), ("PUT", "/letters/1?x=%20y", 201))
        self.assertEqual((told["cookie"], told["x-mine"], told["x-task-attempt"]), ("a=b", "7", "1"))
        self.assertEqual(told["x-task-id"], place.rpartition("/")[2])
        self.assertEqual((told["x-forwarded-for"], told["x-forwarded-prefix"]), ("127.0.0.1", "/mailer"))
        self.assertEqual(told["x-real-ip"], "127.0.0.1")
        self.assertNotIn("prefer", told)
        self.assertEqual(told["host"], told["x-forwarded-host"])
        self.assertEqual(self.answer(running, place).status, 201)

    def test_get(self) -> None:
        """A request without a body may be answered later, too."""
        running = self.serve_queue()
        answer = self.answer(running, self.later(running, "GET", "/mailer/list?page=2", None))
        self.assertEqual((answer.status, json.loads(answer.body)[:2]), (200, ["GET", "/list?page=2"]))

    def test_quick(self) -> None:
        """Who would wait a little has the answer itself, if it is that quick."""
        running = self.serve_queue()
        answer = running.ask("POST", "/mailer/x", b"{}", "Prefer: respond-async, wait=20\r\n")
        self.assertEqual((answer.status, answer.headers["x-mailer"]), (200, "yes"))

    def test_refused(self) -> None:
        """What the worker refuses is refused to me; what broke is broken; and a body can be too large."""
        running = self.serve_queue(QUEUE_YAML + "async: {max_attempts: 1, max_body: 1K}\n")
        self.assertEqual(self.answer(running, self.later(running, "POST", "/mailer/x", {"status": 409})).status, 409)
        self.assertEqual(self.answer(running, self.later(running, "POST", "/mailer/x", {"status": 500})).status, 500)
        answer = running.ask("POST", "/mailer/x", b"x" * 1025, "Prefer: respond-async\r\n")
        self.assertEqual(answer.status, 413)

    def test_unknown(self) -> None:
        """What nobody asked for is not found."""
        running = self.serve_queue()
        for place in ("/queue/async/", "/queue/async/x", "/queue/async/00000000-0000-8001-8000-000000000000"):
            self.assertEqual(running.get(place).status, 404, place)

    def test_cancelled(self) -> None:
        """I change my mind: the answer is not there any more, and who waits for it knows at once."""
        running = self.serve_queue()
        place = self.later(running, "POST", "/mailer/x", {"seconds": 2})
        with Stream(running) as waiting:
            waiting.request("GET", place, "Prefer: wait=20\r\n")
            self.assertEqual(running.get(place).status, 202)
            cancelled = time.monotonic()
            self.assertEqual(running.ask("DELETE", place).status, 204)
            self.assertEqual(waiting.head()[0], 404)
            self.assertLess(time.monotonic() - cancelled, 10)
        self.assertEqual(running.get(place).status, 404)

    def test_others_cannot_look(self) -> None:
        """What is stored is not a queue that clients of the services see."""
        running = self.serve_queue()
        self.later(running, "POST", "/mailer/x", {"seconds": 1}, "Authorization: Bearer secret\r\n")
        self.assertEqual(running.get("/queue/tqs/queues/async").status, 404)
        self.assertNotIn(b"async", running.get("/queue/tqs/queues").body)

    def test_without(self) -> None:
        """A worker that does not say async answers at once, whatever a client prefers."""
        running = self.serve_queue()
        running.edit("workers/mailer/config/worker.yaml", "async: true", "async: false")

        def at_once() -> bool:
            return running.ask("POST", "/mailer/x", b"{}", "Prefer: respond-async\r\n").status == 200

        self.when("the configuration is applied", at_once, running)


class ScheduleTests(DeliveryCase):
    """Tasks that are put at certain times."""

    def test_fires(self) -> None:
        """Every second a task is put, delivered, and shown with the next firing."""
        running = self.serve_queue(
            QUEUE_YAML + 'schedules: [{name: tick, cron: "* * * * * *", queue: jobs, payload: {tick: true}}]\n'
        )
        self.when("it has fired", lambda: len(self.ledger(running)) >= 2, running)
        [schedule] = json.loads(running.get("/queue/schedules").body)["schedules"]
        self.assertEqual((schedule["name"], schedule["queue"]), ("tick", "jobs"))
        self.assertGreater(schedule["next"], time.time() * 1000 - 5000)
        self.assertEqual({json.dumps(job) for _, _, _, job in self.ledger(running)}, {'{"tick": true}'})
