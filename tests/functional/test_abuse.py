"""
Clients and workers that do their worst, while somebody else only wants an answer.

The fronts' memory stays within a bound for each abuser and does not creep, and other routes' answers come as before. If
they do not, it is asked whether that was the server's doing: on a machine with other things to do its processes wait
for a core, which is told apart (L{tests.functional.neighbours.own_s}). And all of it takes longer there.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tests.functional.abusers import Crowd
from tests.functional.neighbours import Abusers, Memory, Neighbour, at_percent, run_delay_s
from tests.functional.running import Running, RunningCase

P99_S = 0.050
"""Of another route."""

CLIENT_KIB = 12
"""Of each abuser that neither sends nor takes much: its connection, a part of a head, one to a worker."""

BUFFERING = ("deaf", "sips", "pours", "loads")

BUFFER_KIB = 256
"""Of each for whom something is kept that nobody takes: what a worker sends before it is stopped (C{READ_AHEAD_BYTES},
doubled by the kernel) and what may wait to be written (C{BUFFER_BYTES_HIGH}), or a body likewise, and what is wasted of
that."""

SLACK_KIB = 8 * 1024
"""Of the fronts together: what is loaded when it is needed first, and what the allocator does not give back."""

CREEP_KIB = 4 * 1024
"""What the last third of the time may usually take more than the one before."""

CREEP_SHARE = 0.25
"""Or so much of all that they have grown by: on a slow machine the last of the abusers come late."""

TELLING_MIN = 200
"""Fewer answers have no p99."""

DONE_S_MAX = 60.0
"""Until crowds with a number of attempts have made them, on a machine that has nothing else to do."""

WALL_S_MAX = 150.0
"""Until it is enough, as far as they have come, on a machine that has."""

FILE_BYTES = 64 * 1024 * 1024
"""Of a file that is loaded by many."""

KEPT_RATE, FRESH_RATE = 50.0, 20.0
"""Requests of the neighbours in a second, on a kept connection and on new ones."""

BAD = r'''
"""A worker that does its worst."""
import asyncio, os

BLOCK = b"tqserver" * 8192

async def answer(path, reader, writer):
    if path == b"/large":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            writer.write(BLOCK)
            await writer.drain()
    elif path == b"/trickle":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(1.0)
    elif path in (b"/never", b"/body"):
        await asyncio.sleep(1000)
    elif path == b"/reset":
        writer.transport.abort()
    elif path == b"/garbage":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True
    return False

async def serve(reader, writer):
    try:
        while await answer((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1], reader, writer):
            pass
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["WORKER_PORT"]), backlog=1024)
    await server.serve_forever()

asyncio.run(main())
'''

YAML = """
path: /{name}
type: python
request_timeout_seconds: 2
scaling: {{max_workers: 1}}
restart: {{backoff_initial_ms: 2000}}
"""

SERVER = """
read_timeout_seconds: 3
write_timeout_seconds: 3
idle_timeout_seconds: 4
"""
"""So short that every limit is met again and again, by many at once."""


class AbuseCase(RunningCase):
    """A server with a worker that does its worst and one that does not."""

    def abused(self) -> Running:
        """Start it."""
        names = ("bad", "good")
        running = Running(
            SERVER, {name: {"config/worker.yaml": YAML.format(name=name), "app.py": BAD} for name in names}
        )
        self.addCleanup(running.end)
        running.write("workers/bad/public/large.bin", "tqserver" * (FILE_BYTES // 8))
        # All of it meets one front: there is no doubt whose time a neighbour's answer has taken.
        running.edit("etc/server.yaml", "fronts: 2", "fronts: 1")
        running.start()
        for name in names:
            self.when(f"{name} serves", lambda name=name: running.get(f"/{name}/").status == 200, running)  # type: ignore[misc]
        return running

    def abuse(self, running: Running, crowds: Sequence[Crowd], least_s: float) -> dict[str, Counter[str]]:
        """
        Let the abusers do their worst, for a while and until those that will be done are done, and see that the others
        do not notice.

        @return: what became of the abusers.
        """
        fronts = running.fronts()
        worker = int(str(running.instances("good")[0]["pid"]))
        address = ("127.0.0.1", running.port)
        memory = Memory(fronts)
        neighbours = [
            Neighbour(address, "/good/", rate, fronts, worker, fresh)
            for rate, fresh in ((KEPT_RATE, False), (FRESH_RATE, True))
        ]
        try:
            with Abusers(running.port, crowds) as abusers:
                self.when("they are at work", lambda: abusers.said("running"), running, WALL_S_MAX)
                began = time.monotonic()
                self.last(running, abusers, fronts, crowds, neighbours, least_s)
        finally:
            for neighbour in neighbours:
                neighbour.end()
            memory.end()
        ended = time.monotonic()
        report = abusers.report()
        story = "\n".join([*map(str, neighbours), f"grown by {memory.grown_kib} KiB", str(report)])
        self.assertEqual(running.fronts(), fronts, f"a front has died\n{story}\n{running.output()[-4000:]}")
        self.assertNotIn("Traceback", running.output())
        for neighbour in neighbours:
            self.assertEqual(neighbour.trouble, [], story)
        self.flat(memory, crowds, began, ended, story)
        for neighbour in neighbours:
            self.quick(neighbour, story)
        return report

    def last(
        self,
        running: Running,
        abusers: Abusers,
        fronts: Sequence[int],
        crowds: Sequence[Crowd],
        neighbours: Sequence[Neighbour],
        least_s: float,
    ) -> None:
        """Wait until it has been enough. The time for which abusers or fronts were ready and had no core is none."""
        began, waits = time.monotonic(), [lambda: abusers.waited_s]
        waits += [lambda front=front: run_delay_s(str(front)) for front in fronts]  # type: ignore[misc]
        before = [wait() for wait in waits]
        done = [f"done {crowd.name}" for crowd in crowds if crowd.attempts]

        def enough() -> bool:
            passed = time.monotonic() - began
            counted = passed - max(wait() - then for wait, then in zip(waits, before, strict=True))
            if passed > WALL_S_MAX:
                return True
            if counted < least_s or min(len(neighbour.samples) for neighbour in neighbours) < TELLING_MIN:
                return False
            late = [line for line in done if not abusers.said(line)]
            self.assertFalse(late and counted > DONE_S_MAX, f"not in time: {late}")
            return not late

        self.when("it has lasted", enough, running, WALL_S_MAX * 2)

    def quick(self, neighbour: Neighbour, story: str) -> None:
        """See that a neighbour was answered as quickly as it has to be, as far as that is the server's doing."""
        raw = [sample.seconds for sample in neighbour.samples]
        self.assertLess(min(at_percent(raw, 99), at_percent(neighbour.own, 99)), P99_S, story)

    def all_taken(self, counts: Counter[str], attempts: int) -> None:
        """See that all connections of a crowd were taken, those that it had the time to open at any rate."""
        self.assertGreaterEqual(counts["connected"], counts["opened"] - counts["open"], counts)
        self.assertGreater(counts["connected"], attempts // 10, counts)

    def flat(self, memory: Memory, crowds: Sequence[Crowd], began: float, ended: float, story: str) -> None:
        """See that the fronts kept to their bound, and that it was not only a question of time."""
        bound_kib = SLACK_KIB + sum(
            crowd.count * (BUFFER_KIB if crowd.behaviour in BUFFERING else CLIENT_KIB) for crowd in crowds
        )
        self.assertLess(memory.grown_kib, bound_kib, story)
        third_s = (ended - began) / 3
        early_kib = memory.usual_kib(began + third_s, ended - third_s)
        creep_kib = max(CREEP_KIB, CREEP_SHARE * memory.grown_kib)
        self.assertLess(memory.usual_kib(ended - third_s, ended), early_kib + creep_kib, story)

    def served_all_the_same(self, running: Running) -> None:
        """When they have gone everything is as before."""
        for name in ("bad", "good"):
            self.assertEqual(running.get(f"/{name}/").status, 200)
        self.when(
            "nothing is in hand",
            lambda: not any(front["connections"] or front["in_flight"] for front in running.status()["fronts"]),  # type: ignore[attr-defined]
            running,
        )


LORISES = (
    Crowd("head", "drips head", 500, period_s=0.5),
    Crowd("body", "drips body", 100, "/bad/body", period_s=0.5, rate=100),
    Crowd("mute", "mute", 300),
)

READERS = (
    Crowd("deaf", "deaf", 75, "/bad/large", rate=25),
    Crowd("sips", "sips", 75, "/bad/large", rate=25),
)

ASKERS = (
    Crowd("trickle", "asks", 100, "/bad/trickle", rate=100),
    Crowd("never", "asks", 200, "/bad/never", rate=200),
    Crowd("reset", "asks", 25, "/bad/reset", rate=50),
    Crowd("garbage", "asks", 25, "/bad/garbage", rate=50),
)

POUR = Crowd("pour", "pours", 50, "/bad/body", rate=25)

BACK = Crowd("back", "asks", 600, "/bad/", attempts=600, rate=600)

LOADS = (
    Crowd("answers", "loads", 400, "/bad/large", rate=400),
    Crowd("files", "loads", 400, "/bad/large.bin", rate=400),
)

STORM = Crowd("storm", "hasty", 1000, "/good/", period_s=0.4, attempts=20_000, rate=1600)


class AbuseTests(AbuseCase):
    """All of them, in turn and at once."""

    def test_slow_clients(self) -> None:
        """
        Clients that drip a head or a body, say nothing, or take nothing of a large answer, hundreds of them: each is
        sent away in time, whoever else is served notices nothing, and nothing piles up.
        """
        running = self.abused()
        report = self.abuse(running, [*LORISES, *READERS], least_s=9.0)
        self.assertGreater(report["head"]["408"], 500)
        self.assertGreater(report["mute"]["sent away"], 300)
        for name in ("deaf", "sips"):
            self.assertGreater(report[name]["ECONNRESET"], 30, report)
        self.served_all_the_same(running)

    def test_bad_workers(self) -> None:
        """
        A worker that answers a byte a second, never, with a reset or with garbage, or that reads no bodies, harms only
        who asks for it.
        """
        running = self.abused()
        report = self.abuse(running, [*ASKERS, POUR], least_s=8.0)
        self.assertEqual(report["trickle"]["200"], 100)
        self.assertGreater(report["never"]["504"], 200)
        for name in ("reset", "garbage"):
            self.assertGreater(report[name]["502"], 50)
            self.assertEqual(report[name]["200"], 0)
        self.assertGreater(report["pour"]["504"], 50)
        self.served_all_the_same(running)

    def test_many_downloads(self) -> None:
        """
        Hundreds of large answers and files at once, each as fast as it goes, share what there is; others are served
        in between.
        """
        running = self.abused()
        report = self.abuse(running, LOADS, least_s=6.0)
        for crowd in LOADS:
            self.assertGreaterEqual(report[crowd.name]["200"], crowd.count, report)

    def test_worker_comes_back(self) -> None:
        """When a worker has died and is there again, the hundreds that have waited for it do not make others wait."""
        running = self.abused()
        os.kill(int(str(running.instances("bad")[0]["pid"])), signal.SIGKILL)
        report = self.abuse(running, [BACK], least_s=5.0)["back"]
        self.all_taken(report, BACK.attempts)
        self.assertGreaterEqual(report["200"], report["opened"] - report["open"])
        self.served_all_the_same(running)

    def test_many_connections(self) -> None:
        """Twenty thousand connections are opened and left in a hurry: all are taken, and nothing is left of them."""
        running = self.abused()
        report = self.abuse(running, [STORM], least_s=5.0)["storm"]
        self.all_taken(report, STORM.attempts)
        self.assertGreater(report["400"], report["opened"] // 10, report)
        self.served_all_the_same(running)

    def test_everything_at_once(self) -> None:
        """All of that at the same time, each at its full size."""
        running = self.abused()
        storm = replace(STORM, rate=1000)
        report = self.abuse(running, [*LORISES, *READERS, *ASKERS, POUR, storm], least_s=20.0)
        self.all_taken(report["storm"], storm.attempts)
        for name, what in (("head", "408"), ("mute", "sent away"), ("deaf", "ECONNRESET"), ("sips", "ECONNRESET")):
            self.assertGreater(report[name][what], 0, report)
        self.assertEqual(report["trickle"]["200"], 100, report)
        for name, what in (("never", "504"), ("reset", "502"), ("garbage", "502"), ("pour", "504")):
            self.assertGreater(report[name][what], 0, report)
        self.served_all_the_same(running)
