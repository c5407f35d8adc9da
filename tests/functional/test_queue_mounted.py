"""The queue services below the route of a worker, and on listeners of their own, with a server around them."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from typing import Any

from bench.project import free_port
from bench.wire import Connection, Response

from .running import LIMIT_S, Running, RunningCase


def queue_yaml(port: int) -> str:
    return f"""
path: /queue
type: queue
apis:
  tqs: {{listen: {{port: {port}}}}}
  zapq: {{max_msgs: 10, persist_on_stop: true, load_on_start: true}}
"""


class MountedTests(RunningCase):
    """A worker of type queue."""

    def setUp(self) -> None:
        self.port = free_port()
        self.running: Running = self.serve(workers={"queue": {"config/worker.yaml": queue_yaml(self.port)}})
        self.ready()

    def ready(self) -> None:
        self.when("it serves", lambda: self.running.get("/queue/health").status == 200, self.running)

    def did(self, method: str, path: str, value: object = None) -> Any:
        response = self.running.ask(method, path, None if value is None else json.dumps(value).encode())
        self.assertEqual(response.status, 200, response)
        return json.loads(response.body)

    def pid(self) -> int:
        """The process of the queue, 0 while there is none."""
        return sum(int(str(instance["pid"])) for instance in self.running.instances("queue"))

    def waiting(self) -> int:
        """How many wait for messages."""
        (count,) = re.findall(rb"^tqserver_queue_waiting (\d+)$", self.running.get("/queue/metrics").body, re.MULTILINE)
        return int(count)

    def direct(self, path: str) -> Response:
        """Ask TQS where it listens by itself."""
        connection = Connection(("127.0.0.1", self.port), timeout_s=LIMIT_S)
        try:
            return connection.ask("GET", path)
        finally:
            connection.close()

    def test_routes(self) -> None:
        """Each service is below its name; TQS also has a listener, where it is at the root."""
        self.did("POST", "/queue/tqs/queues", {"name": "q"})
        self.did("POST", "/queue/tqs/queues/q", {"messages": [{"body": "a"}]})
        self.assertEqual(json.loads(self.direct("/queues").body)["queues"][0]["name"], "q")
        self.assertEqual(json.loads(self.direct("/queues/q?delete=1").body)["messages"][0]["body"], "a")
        self.assertEqual(self.running.ask("POST", "/queue/zapq/enqueue", b"raw").status, 202)
        self.assertEqual(self.running.get("/queue/zapq/dequeue").body, b"raw")
        for path in ("/queue/tqs", "/queue/tqs/"):
            self.assertEqual(self.running.get(path).status, 200)
        for path in ("/queue/nothing", "/queue/tqs/nothing", "/queue/zapq/", "/queue/"):
            self.assertEqual(self.running.get(path).status, 404, path)
        self.assertIn(b'queue="q",state="ready"} 0', self.running.get("/queue/metrics").body)

    def test_long_poll(self) -> None:
        """Who waits through a front has the message when it is put."""
        self.did("POST", "/queue/tqs/queues", {"name": "q"})
        heard: list[Response] = []
        before = self.waiting()  # The queue itself waits for what it is to deliver.
        waiting = threading.Thread(
            target=lambda: heard.append(self.running.get("/queue/tqs/queues/q?wait_time=60")), daemon=True
        )
        waiting.start()
        self.when("it waits", lambda: self.waiting() > before, self.running)
        self.did("POST", "/queue/tqs/queues/q", {"messages": [{"body": "a"}]})
        waiting.join(LIMIT_S)
        self.assertEqual(json.loads(heard[0].body)["messages"][0]["body"], "a")

    def test_killed(self) -> None:
        """A process that was killed is back, with every message that was acknowledged; what is in memory is gone."""
        self.did("POST", "/queue/tqs/queues", {"name": "q"})
        self.did("POST", "/queue/tqs/queues/q", {"messages": [{"body": "a"}, {"body": "b"}]})
        self.running.ask("POST", "/queue/zapq/enqueue", b"raw")
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        self.when("another is there", lambda: self.pid() not in (0, pid), self.running)
        self.ready()
        messages = self.did("GET", "/queue/tqs/queues/q?message_count=10")["messages"]
        self.assertEqual([message["body"] for message in messages], ["a", "b"])
        self.assertEqual(self.running.get("/queue/zapq/dequeue").status, 204)

    def test_replaced(self) -> None:
        """A process that is replaced hands everything on, the messages in memory among it."""
        self.running.ask("POST", "/queue/zapq/enqueue", b"raw")
        pid = self.pid()
        self.running.edit("workers/queue/config/worker.yaml", "max_msgs: 10", "max_msgs: 11")
        self.when("another is there", lambda: self.pid() not in (0, pid), self.running)
        self.ready()
        self.assertEqual(self.running.get("/queue/zapq/dequeue").body, b"raw")
