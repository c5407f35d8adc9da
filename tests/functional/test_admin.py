"""A running server, seen and steered over its admin socket."""

from __future__ import annotations

import json
import os
import socket
import stat

from bench.wire import Connection

from .running import LIMIT_S, Running, RunningCase


class AdminTests(RunningCase):
    """One worker in Python, and an operator."""

    def ask(self, running: Running, method: str, path: str, body: bytes | None = None) -> dict[str, object]:
        """Ask the API; what is answered must be good."""
        connection = Connection(str(running.directory / "var/admin.sock"), timeout_s=LIMIT_S)
        try:
            response = connection.ask(method, path, body, "Connection: close\r\n")
        finally:
            connection.close()
        self.assertIn(response.status, (200, 202), response.body)
        told: dict[str, object] = json.loads(response.body)
        return told

    def test_steered(self) -> None:
        """
        A restart that is waited for ends with another process that serves; a stopped worker answers 503, a started one
        200, and it can be scaled; the events tell all of it, and the log what the worker prints.
        """
        running = self.serve()
        self.when("the worker serves", lambda: running.get("/").status == 200, running)
        mode = os.stat(running.directory / "var/admin.sock").st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        follower = Follower(running, "/events")
        self.addCleanup(follower.close)
        logs = Follower(running, "/logs/worker/app?follow=true&grep=word")
        self.addCleanup(logs.close)

        before = running.get("/pid").body
        told = self.ask(running, "POST", "/workers/app/restart?wait=20")
        self.assertIs(told["settled"], True)
        self.assertNotEqual(running.get("/pid").body, before)

        self.assertIs(self.ask(running, "POST", "/workers/app/stop?wait=20")["settled"], True)
        self.assertEqual(running.get("/").status, 503)
        self.assertIs(self.ask(running, "POST", "/workers/app/start?wait=20")["settled"], True)
        self.assertEqual(running.get("/").status, 200)
        self.ask(running, "POST", "/workers/app/scale?wait=20", b'{"instances": 2}')
        self.assertEqual(len(running.instances()), 2)

        running.get("/say/2")
        logs.until('"text"', "word word")
        for state in ("stopping", "stopped", "healthy"):
            follower.until("event: worker", f'"state":"{state}"')

    def test_configuration(self) -> None:
        """A file with a mistake is told by validating, which changes nothing, and by reloading; requests go on."""
        running = self.serve(server="read_timeout_seconds: 5\n")
        self.when("the worker serves", lambda: running.get("/").status == 200, running)
        self.assertEqual(self.ask(running, "POST", "/config/validate")["good"], True)
        running.edit("etc/server.yaml", "read_timeout_seconds: 5", "read_timeout_seconds: never")
        told = self.ask(running, "POST", "/config/validate")
        self.assertEqual(told["good"], False)
        self.assertIn("server.read_timeout_seconds", json.dumps(told["problems"]))
        self.assertEqual(self.ask(running, "POST", "/reload")["good"], False)
        self.assertEqual(running.get("/").status, 200)

    def test_reading_again_and_again(self) -> None:
        """Readers that come and go leave nothing behind: descriptors stay as many as they were."""
        running = self.serve()
        self.when("the worker serves", lambda: running.get("/").status == 200, running)
        descriptors = f"/proc/{running.pid}/fd"
        for _ in range(3):
            followers = [Follower(running, "/events") for _ in range(20)]
            for follower in followers:
                follower.until("event: status")
            for follower in followers:
                follower.close()
        self.when("all have gone", lambda: len(os.listdir(descriptors)) < 60, running)


class Follower:
    """Reads a stream of events."""

    def __init__(self, running: Running, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LIMIT_S)
        self._socket.connect(str(running.directory / "var/admin.sock"))
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self._heard = ""

    def until(self, *texts: str) -> None:
        """Read until all these texts have come, in this order; what is before them is forgotten."""
        for text in texts:
            while text not in self._heard:
                data = self._socket.recv(65536)
                assert data, f"ended before {text!r}: {self._heard[-500:]}"
                self._heard += data.decode()
            self._heard = self._heard.partition(text)[2]

    def close(self) -> None:
        """Read no more."""
        self._socket.close()
