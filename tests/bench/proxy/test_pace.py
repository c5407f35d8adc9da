"""Tests for C{bench/proxy/pace}: latency counts from when a request was due, not from when it could be sent."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.project import CHECKOUT, search_path
from bench.proxy.machine import build_go
from bench.proxy.reading import LoadResult, parse_pace

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LIMIT_S = 30.0


class Answering:
    """A server for one connection, in a thread: C{answer} gives the response to each request, by its number."""

    def __init__(self, answer: Callable[[int], bytes]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            number = 0
            while data := connection.recv(4096):
                for _ in range(data.count(b"\r\n\r\n")):
                    connection.sendall(self._answer(number))
                    number += 1

    def close(self) -> None:
        """Wait until the connection has ended."""
        self._thread.join(LIMIT_S)
        self._listener.close()


class PaceTests(SynchronousTestCase):
    """The generator, built and run."""

    def setUp(self) -> None:
        """Build it; Go keeps what it has built before."""
        if not shutil.which("go", path=search_path()):
            self.skipTest("there is no Go")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        self.program = build_go(CHECKOUT / "bench/proxy/pace", folder)

    def pace(self, answer: Callable[[int], bytes], rate: int, seconds: float) -> LoadResult:
        """What it finds on a server that answers like this."""
        server = Answering(answer)
        self.addCleanup(server.close)
        argv = [str(self.program), "-address", server.address, "-connections", "1", "-body", "2"]
        done = subprocess.run(
            [*argv, "-rate", str(rate), "-seconds", str(seconds)], capture_output=True, text=True, timeout=LIMIT_S
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return parse_pace(done.stdout)

    def test_rate(self) -> None:
        """As many requests as there have to be, in the time that there is, and all of their bytes."""
        result = self.pace(lambda number: GOOD, rate=200, seconds=0.5)
        self.assertEqual((result.requests, result.received_bytes, result.trouble), (100, 100 * len(GOOD), ""))
        self.assertGreater(result.seconds, 0.49)

    def test_a_pause_counts_for_all_that_were_due(self) -> None:
        """A server that stops for 200 ms has made everybody wait who came in the meantime, not only one."""

        def answer(number: int) -> bytes:
            if number == 100:
                time.sleep(0.2)
            return GOOD

        result = self.pace(answer, rate=200, seconds=1.0)
        self.assertEqual(result.trouble, "")
        self.assertGreater(result.p99_ms, 180.0)
        # 150 were recorded and about 40 came due in the pause; with one late answer alone, p99 would be small.
        self.assertLess(result.p50_ms, 100.0)

    def test_wrong_answers(self) -> None:
        """Another status, another length, more bytes than announced and an early end are trouble."""
        for wrong, words in (
            (GOOD.replace(b"200 OK", b"503 No"), "503"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnok", "3 bytes instead of 2"),
            (GOOD + b"!", "too many"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "-1 bytes"),
        ):
            result = self.pace(lambda number, wrong=wrong: wrong, rate=100, seconds=0.1)
            self.assertIn(words, result.trouble)
