"""The ledger of queues as a test, and the order of things that it relies on: to the disk, then to the client."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.queue_ledger import SMALL, run, table
from bench.queue_places import Alone, ask

TRACED_S = 20.0
"""Longest until a tracer has attached, or has written what it saw."""


class QueueLedgerTests(SynchronousTestCase):
    """Small rounds; C{python -m bench.queue_ledger} does more."""

    timeout = 300

    def account(self, name: str) -> None:
        """Do a round; the account has to balance."""
        report = run(SMALL, name)
        self.assertTrue(report.good, table(report))
        self.assertGreater(len(report.account.stored), 100, "too few messages to prove anything")

    def test_killed_queue(self) -> None:
        """The queue is killed again and again: what it confirmed is there, and what was done stays done."""
        self.account("kills")

    def test_full_disk(self) -> None:
        """The disk is full: what is refused is not stored, what was stored is not lost, and it goes on by itself."""
        self.account("disk")

    def test_killed_workers(self) -> None:
        """Workers and the queue are killed during deliveries: every task is done, and none again without need."""
        self.account("workers")


class SyncedTests(SynchronousTestCase):
    """What the kernel is asked for, and when (strace(1))."""

    def trace(self, durability: str) -> list[str]:
        """Put a message and take it; return the system calls in between."""
        strace = shutil.which("strace")
        if strace is None:
            raise SkipTest("needs strace")
        folder = Path(tempfile.mkdtemp(prefix="tqserver-trace-"))
        self.addCleanup(shutil.rmtree, folder)
        with Alone(durability=durability) as place:
            ask(place.port, "POST", "/queues", {"name": "traced"})
            calls = "trace=read,recvfrom,write,writev,sendto,sendmsg,fsync,fdatasync"
            argv = [strace, "-f", "-y", "-s", "64", "-e", calls, "-o", str(folder / "calls"), "-p", str(place.pid)]
            tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
            try:
                self.attached(tracer, place.pid)
                self.assertEqual(ask(place.port, "POST", "/queues/traced", {"messages": [{"body": "x"}]})[0], 200)
                self.assertEqual(ask(place.port, "GET", "/queues/traced?message_count=1")[0], 200)
            finally:
                tracer.terminate()
                tracer.wait()
                assert tracer.stderr is not None
                tracer.stderr.close()
            return (folder / "calls").read_text(errors="replace").splitlines()

    def attached(self, tracer: subprocess.Popen[str], pid: int) -> None:
        """Wait until all threads are traced (proc(5), C{TracerPid})."""
        end = time.monotonic() + TRACED_S
        while True:
            tasks = [task / "status" for task in Path(f"/proc/{pid}/task").iterdir()]
            if all(f"\nTracerPid:\t{tracer.pid}\n" in status.read_text() for status in tasks):
                return
            if tracer.poll() is not None:
                assert tracer.stderr is not None
                said = tracer.stderr.read()
                if "ptrace" not in said:
                    self.fail(said)
                raise SkipTest("this user may not trace")
            self.assertLess(time.monotonic(), end, "not attached in time")
            time.sleep(0.01)

    def order(self, calls: list[str], request: str) -> list[str]:
        """From a request's arrival to its answer: "synced" for each time that the file was, "answered" at the end."""
        found: list[str] = []
        begun = False
        for call in calls:
            if f'"{request}' in call:
                begun = True
            elif begun and re.search(r"\bf(data)?sync\(\d+<[^>]*queues\.db-wal>\)|f(data)?sync resumed", call):
                found.append("synced")
            elif begun and '"HTTP/1.1 200' in call:
                return [*found, "answered"]
        raise self.failureException(f"{request} was not seen: {calls}")

    def test_disk(self) -> None:
        """A put and a lease are synced to the disk before they are answered."""
        calls = self.trace("disk")
        for request in ("POST /queues/traced", "GET /queues/traced"):
            order = self.order(calls, request)
            self.assertEqual(order[-2:], ["synced", "answered"], calls)

    def test_process(self) -> None:
        """With C{durability: process} nobody waits for the disk."""
        calls = self.trace("process")
        self.assertEqual(self.order(calls, "POST /queues/traced"), ["answered"], calls)
