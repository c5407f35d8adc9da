"""USR2: the fronts are replaced one by one, and no client is the worse for it, whatever it is doing."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections import Counter

from bench.wire import Connection, Lost
from tests.functional.running import APP, WORKER_YAML, Running, RunningCase
from tests.functional.streams import MIB, Stream
from tests.functional.test_lifecycle import Clients
from tqserver.front.service import IDLE_LEAVE_S

PATTERN = b"tqserver"

SENDER = APP.replace(
    '        elif what == "slow":',
    """        elif what == "send":
            self.send_response(200)
            self.send_header("Content-Length", argument)
            self.end_headers()
            rest, block = int(argument), b"tqserver" * 8192
            while rest:
                rest -= self.wfile.write(block[:rest])
            return
        elif what == "hold":
            while not os.path.exists("data/go"):
                time.sleep(0.02)
        elif what == "slow":""",
)
"""A worker that also sends as much as it is asked for, and answers when it may."""

LARGE_BYTES = 24 * MIB


class ReplacingCase(RunningCase):
    """A server whose fronts are replaced."""

    def sending(self, listen: str = "") -> Running:
        """
        Start it.

        @param listen: C{server.listen}, where C{PORT} is the port.
        """
        running = Running("", {"app": {"config/worker.yaml": WORKER_YAML, "app.py": SENDER}})
        self.addCleanup(running.end)
        if listen:
            running.edit(
                "etc/server.yaml",
                f"  host: 127.0.0.1\n  port: {running.port}\n",
                f"  listen: {listen.replace('PORT', str(running.port))}\n",
            )
        running.start()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        return running

    def states(self, running: Running) -> Counter[str]:
        """How many fronts are in which state."""
        fronts: list[dict[str, str]] = running.status()["fronts"]  # type: ignore[assignment]
        return Counter(front["state"] for front in fronts)

    def replace(self, running: Running) -> set[int]:
        """
        Replace all fronts.

        @return: those that were there before, which leave now or have left.
        """
        old = set(running.fronts())
        running.signal("USR2")
        self.when(
            "successors work", lambda: self.states(running)["running"] == 2 and not self.staying(running) & old, running
        )
        return old

    def staying(self, running: Running) -> set[int]:
        """The fronts that do not leave."""
        fronts: list[dict[str, object]] = running.status()["fronts"]  # type: ignore[assignment]
        return {int(str(front["pid"])) for front in fronts if front["state"] != "leaving"}

    def settled(self, running: Running, old: set[int]) -> None:
        """Wait until there are only new fronts, one for each slot."""
        self.when(
            "there are two fronts, and both are new",
            lambda: self.states(running) == {"running": 2} and not old & set(running.fronts()),
            running,
        )
        self.assertNotIn("Traceback", running.output())


class KeptTests(ReplacingCase):
    """Kept connections."""

    def test_told_with_the_last_answer(self) -> None:
        """
        A client that goes on asking is told C{Connection: close} with one answer, and only then is its connection
        closed; it finds the next front at the first try.
        """
        running = self.sending()
        waiting = [Stream(running) for _ in range(12)]
        for stream in waiting:
            self.addCleanup(stream.close)
        self.assertEqual({self.told_to_leave(stream) for stream in waiting}, {False})
        old = set(running.fronts())
        running.signal("USR2")
        asked = dict.fromkeys(waiting, time.monotonic())
        ended = 0
        while asked:
            for stream, at in list(asked.items()):
                silent_s = time.monotonic() - at
                try:
                    last = self.told_to_leave(stream)
                except Lost:
                    # This test was held up, and meanwhile the client was idle.
                    self.assertGreater(silent_s, IDLE_LEAVE_S)
                    ended += 1
                    last = True
                else:
                    asked[stream] = time.monotonic()
                if last:
                    self.assertTrue(stream.at_end())
                    del asked[stream]
                    with Stream(running) as another:
                        self.told_to_leave(another)
        self.assertLess(ended, 12)
        self.settled(running, old)

    def told_to_leave(self, stream: Stream) -> bool:
        """Ask, and see whether the answer is the last on this connection."""
        stream.request("GET", "/version")
        status, fields = stream.head()
        self.assertEqual((status, stream.body(fields)), (200, b"1"))
        self.assertIn(fields.get("connection"), (None, "close"))
        return "connection" in fields

    def test_answer_under_way(self) -> None:
        """A request that is being answered when its front is told to leave is answered, and that is its last."""
        running = self.sending()
        streams = [Stream(running) for _ in range(8)]
        for stream in streams:
            self.addCleanup(stream.close)
            stream.request("GET", "/hold")
        self.when(
            "all are at work", lambda: sum(int(str(each["in_flight"])) for each in running.instances()) == 8, running
        )
        old = self.replace(running)
        self.assertGreater(self.states(running)["leaving"], 0)
        running.write("workers/app/data/go", "")
        for stream in streams:
            status, fields = stream.head()
            self.assertEqual((status, fields.get("connection"), stream.body(fields)), (200, "close", b"ok"))
            self.assertTrue(stream.at_end())
        self.settled(running, old)

    def test_idle(self) -> None:
        """
        A client that does nothing is not closed in a hurry, and when it is then in order: its next request is answered
        or, if it crosses with the end, meets that end and no reset, so that it knows that nobody has read it.
        """
        running = self.sending()
        there = [socket.create_connection(("127.0.0.1", running.port), timeout=20) for _ in range(100)]
        for connection in there:
            self.addCleanup(connection.close)
            self.assertEqual(self.ask_blindly(connection), "answered")
        old = set(running.fronts())
        running.signal("USR2")
        outcomes: Counter[str] = Counter()
        while there:
            # Each asks about once a second: all the while some fall due to be closed, one after the other.
            connection = there.pop(0)
            outcome = self.ask_blindly(connection)
            outcomes[outcome] += 1
            if outcome == "answered":
                there.append(connection)
            select.select([], [], [], 0.01)
        self.assertLessEqual(set(outcomes), {"answered", "told to leave", "ended"}, outcomes)
        self.assertGreater(outcomes["ended"], 10, outcomes)
        self.settled(running, old)

    def ask_blindly(self, connection: socket.socket) -> str:
        """Ask, as a client does that has not looked whether its connection is still there."""
        try:
            connection.sendall(b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n")
            got = b""
            while not got.endswith(b"\r\n\r\n1"):
                data = connection.recv(4096)
                if not data:
                    return "cut" if got else "ended"
                got += data
        except OSError as error:
            return f"reset: {error}"
        if not got.startswith(b"HTTP/1.1 200 "):
            return f"other: {got!r}"
        return "told to leave" if b"Connection: close\r\n" in got else "answered"


class DownloadTests(ReplacingCase):
    """What takes long."""

    def downloading(self, running: Running, address: str = "") -> Stream:
        """Begin a download, and take a piece of it."""
        stream = Stream(running, receive_buffer_bytes=64 * 1024, address=address)
        self.addCleanup(stream.close)
        stream.request("GET", f"/send/{LARGE_BYTES}")
        status, fields = stream.head()
        self.assertEqual((status, fields["content-length"]), (200, str(LARGE_BYTES)))
        self.assertEqual(stream.exactly(MIB), PATTERN * (MIB // len(PATTERN)))
        return stream

    def finish(self, stream: Stream) -> None:
        """Take the rest, which has to be whole."""
        for _ in range(LARGE_BYTES // MIB - 1):
            self.assertEqual(stream.exactly(MIB), PATTERN * (MIB // len(PATTERN)))

    def test_goes_on(self) -> None:
        """
        A download goes on while its front is replaced, twice, and is whole; its front stays for it and leaves as soon
        as it has ended. By then the connection was promised to be kept, and the next request is answered too.
        """
        running = self.sending()
        stream = self.downloading(running)
        first = self.replace(running)
        second = self.replace(running)
        self.when("the idle ones have left", lambda: self.states(running) == {"leaving": 1, "running": 2}, running)
        self.assertTrue(first & set(running.fronts()))
        self.finish(stream)
        stream.request("GET", "/version")
        status, fields = stream.head()
        self.assertEqual((status, fields.get("connection"), stream.body(fields)), (200, "close", b"1"))
        self.settled(running, first | second)

    def test_unix(self) -> None:
        """So it is over a UNIX socket, which all fronts share and which stays where it is."""
        running = self.sending("[{address: 127.0.0.1, port: PORT}, {unix: var/http.sock}]")
        path = str(running.directory / "var/http.sock")
        stream = self.downloading(running, path)
        kept = Connection(path, timeout_s=20)
        self.addCleanup(kept.close)
        self.assertEqual(kept.ask("GET", "/version").body, b"1")
        old = self.replace(running)
        for _ in range(3):
            self.assertEqual(kept.ask("GET", "/version").body, b"1")
        self.assertEqual(kept.opened, 2)
        self.finish(stream)
        stream.close()
        self.settled(running, old)

    def test_cut_at_the_limit(self) -> None:
        """A download that takes longer than C{stop_timeout_seconds} is cut, and the log says so."""
        running = self.sending()
        running.edit("etc/server.yaml", "  fronts: 2\n", "  fronts: 2\n  stop_timeout_seconds: 1\n")
        self.when("it is read", lambda: running.output().count("workers are configured") == 2, running)
        stream = self.downloading(running)
        old = self.replace(running)
        self.settled(running, old)
        self.assertRaises((Lost, OSError), self.finish, stream)
        self.assertIn("cut 1 connections at its limit", running.output())


class LoadTests(ReplacingCase):
    """Under load, and in bad company."""

    def test_twice_quickly(self) -> None:
        """Asked for several times in a moment, all fronts are replaced, and nothing is lost."""
        running = self.sending()
        old = set(running.fronts())
        clients = Clients(running)
        for _ in range(3):
            running.signal("USR2")
            select.select([], [], [], 0.02)
        self.settled(running, old)
        self.when("it is quiet", lambda: running.output().count("replacing the fronts") >= 2, running)
        self.settled(running, old)
        clients.end()
        self.assertEqual(clients.lost, [])
        self.assertEqual(set(clients.statuses), {"200 b'1'"})

    def test_during_saves(self) -> None:
        """Fronts and workers are replaced at the same time, over and over, and nothing is lost."""
        running = self.sending()
        clients = Clients(running)
        for version in range(2, 6):
            old = set(running.fronts())
            running.signal("USR2")
            running.edit("workers/app/app.py", f'VERSION = b"{version - 1}"', f'VERSION = b"{version}"')
            body = str(version).encode()
            self.when("the new version answers", lambda body=body: running.get("/version").body == body, running)  # type: ignore[misc]
            self.when("the fronts are new", lambda old=old: not old & self.staying(running), running)  # type: ignore[misc]
        clients.end()
        self.assertEqual(clients.lost, [])
        self.settled(running, old)

    def test_one_is_killed_meanwhile(self) -> None:
        """
        A front that is killed while fronts are replaced, an old or a new one, takes its connections with it and nothing
        else: in the end there are two fronts again, and new ones are accepted all the while.
        """
        running = self.sending()
        for victim in ("running", "starting"):
            clients = Clients(running, count=4)
            running.signal("USR2")
            killed = self.kill_one(running, victim)
            for _ in range(20):
                self.assertEqual(running.get("/version").status, 200)
            self.settled(running, {killed})
            clients.end()
            self.assertEqual([lost for lost in clients.lost if lost.startswith("refused")], [])
            self.assertLessEqual(len(clients.lost), 4, "more were lost than the killed one had")

    def kill_one(self, running: Running, state: str) -> int:
        """Kill a front that is in a state while another is replaced."""
        found: list[int] = []

        def seen() -> bool:
            fronts: list[dict[str, object]] = running.status()["fronts"]  # type: ignore[assignment]
            found[:] = [int(str(front["pid"])) for front in fronts if front["state"] == state]
            return len(fronts) > 2 and bool(found)

        self.when(f"one is {state} while another is replaced", seen, running)
        os.kill(found[0], signal.SIGKILL)
        return found[0]

    def test_hung(self) -> None:
        """Fronts that hang can be replaced: who waits in their sockets is served by their successors."""
        running = self.sending()
        old = running.fronts()
        for pid in old:
            os.kill(pid, signal.SIGSTOP)
        self.addCleanup(lambda: [os.kill(pid, signal.SIGKILL) for pid in old if os.path.exists(f"/proc/{pid}")])
        answers: list[int] = []
        threads = [threading.Thread(target=lambda: answers.append(running.get("/version").status)) for _ in range(8)]
        for thread in threads:
            thread.start()
        running.signal("USR2")
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [200] * 8)
        for pid in old:
            os.kill(pid, signal.SIGCONT)
        self.settled(running, set(old))


class BalanceTests(ReplacingCase):
    """How connections are spread over the fronts."""

    def test_shares(self) -> None:
        """Of 64 kept connections no front has less than a quarter, before and after all fronts were replaced."""
        running = self.sending()
        for _ in range(2):
            connections = [running.connection() for _ in range(64)]
            for connection in connections:
                self.addCleanup(connection.close)
                self.assertEqual(connection.ask("GET", "/version").status, 200)

            def shares() -> list[int]:
                fronts: list[dict[str, object]] = running.status()["fronts"]  # type: ignore[assignment]
                return [int(str(front["connections"])) for front in fronts if front["state"] == "running"]

            self.when("they are counted", lambda: sum(shares()) == 64, running)
            self.assertGreaterEqual(min(shares()), 16, shares())
            for connection in connections:
                connection.close()
            self.settled(running, self.replace(running))
