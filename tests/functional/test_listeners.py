"""Where a real server listens, whom it sends where, which files it gives, and what it writes down of it."""

from __future__ import annotations

import datetime
import json
import os
import select
import socket
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest

from bench.project import free_port
from bench.wire import Connection
from tests.functional.running import APP, Running, RunningCase
from tests.functional.streams import Stream
from tqserver.front.admission import clients_room

NAMED = APP.replace('VERSION = b"1"', 'VERSION = os.environ["WORKER_NAME"].encode()')
"""A worker whose version is its name."""


def named(name: str, yaml: str) -> dict[str, dict[str, str]]:
    """A worker that tells its name."""
    return {name: {"config/worker.yaml": f"{yaml}\ntype: python\n", "app.py": NAMED}}


SETTLED_S = 2.5
"""When nobody was answered for so long, nobody will be. The kernel repeats a SYN that the worker's short backlog did
not take after one second."""


FILES = 150
"""That a server of which that is said may open."""


class FewDescriptors(Running):
    """A server that may open few files."""

    def command(self, *arguments: str) -> list[str]:
        """With a limit that no process below it can raise."""
        return ["prlimit", f"--nofile={FILES}:{FILES}", *super().command(*arguments)]


class ListenerTests(RunningCase):
    """Several places to listen."""

    def listening(self, listen: str) -> Running:
        """
        A server that listens as it is told.

        @param listen: C{server.listen}; C{PORT} and C{PORT2} are replaced by free ports.
        """
        running = Running()
        self.addCleanup(running.end)
        listen = listen.replace("PORT2", str(free_port())).replace("PORT", str(running.port))
        running.edit("etc/server.yaml", f"  host: 127.0.0.1\n  port: {running.port}\n", f"  listen: {listen}\n")
        running.start()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        return running

    def test_tcp_and_unix(self) -> None:
        """Two ports and a UNIX socket serve the same, with all fronts; the socket's path is gone after the stop."""
        running = self.listening(
            "[{address: 127.0.0.1, port: PORT}, {address: 127.0.0.1, port: PORT2}, {unix: var/http.sock}]"
        )
        text = (running.directory / "etc/server.yaml").read_text()
        other = int(text.split("port: ")[2].split("}")[0])
        path = running.directory / "var/http.sock"
        for address in (("127.0.0.1", running.port), ("127.0.0.1", other), str(path)):
            connections = [Connection(address, timeout_s=20) for _ in range(8)]
            for connection in connections:
                for _ in range(2):
                    self.assertEqual(connection.ask("GET", "/version").body, b"1", address)
                self.assertEqual(connection.ask("POST", "/echo", b"x" * 100_000).status, 200, address)
            for connection in connections:
                self.assertEqual(connection.opened, 1)
                connection.close()
        running.signal("TERM")
        assert running.process is not None
        self.assertEqual(running.process.wait(20), 0)
        self.assertFalse(path.exists())

    def test_replaced_fronts(self) -> None:
        """When fronts are replaced the UNIX socket stays where it is, and serves all the while."""
        running = self.listening("[{address: 127.0.0.1, port: PORT}, {unix: var/http.sock}]")
        path = str(running.directory / "var/http.sock")
        for _ in range(2):
            old = set(running.fronts())
            running.signal("USR2")

            def new(old: set[int] = old) -> bool:
                connection = Connection(path, timeout_s=20)
                self.assertEqual(connection.ask("GET", "/version").body, b"1")
                connection.close()
                return len(running.fronts()) == 2 and not old & set(running.fronts())

            self.when("all fronts are new", new, running)
        self.assertNotIn("Traceback", running.output())

    def test_stale_socket(self) -> None:
        """A UNIX socket that a killed server has left behind does not keep the next one from listening."""
        running = self.listening("[{address: 127.0.0.1, port: PORT}, {unix: var/http.sock}]")
        pids = running.processes()
        running.signal("KILL")
        assert running.process is not None
        running.process.wait()
        self.gone(pids, running, 5.0)
        path = str(running.directory / "var/http.sock")
        self.assertTrue(os.path.exists(path))
        running.start()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        self.assertEqual(Connection(path, timeout_s=20).ask("GET", "/version").status, 200)

    def test_ipv6(self) -> None:
        """IPv6 addresses are listened on, next to IPv4 ones of the same port."""
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            raise SkipTest(f"there is no IPv6 here: {error}") from error
        running = self.listening("[{address: 127.0.0.1, port: PORT}, {address: '::1', port: PORT}]")
        for address in (("127.0.0.1", running.port), ("::1", running.port)):
            connection = Connection(address, timeout_s=20)
            self.assertEqual(connection.ask("GET", "/version").body, b"1")
            connection.close()

    def answered(self, stream: Stream, within_s: float) -> bool:
        """Whether an answer comes in time."""
        stream.socket.settimeout(within_s)
        try:
            status, fields = stream.head()
        except TimeoutError:
            return False
        finally:
            stream.socket.settimeout(20)
        self.assertEqual(status, 200)
        stream.body(fields)
        return True

    def crowd(self, running: Running, clients: int) -> tuple[list[Stream], list[Stream]]:
        """
        Clients that ask and stay.

        @return: those that were answered, and those that were not.
        """
        streams = [Stream(running) for _ in range(clients)]
        for stream in streams:
            self.addCleanup(stream.close)
            stream.request("GET", "/version")
        inside: list[Stream] = []
        last = time.monotonic()
        while time.monotonic() - last < SETTLED_S:
            outside = [stream for stream in streams if stream not in inside]
            ready, _, _ = select.select([stream.socket for stream in outside], [], [], 0.1)
            for stream in outside:
                if stream.socket in ready and self.answered(stream, 1.0):
                    inside.append(stream)
                    last = time.monotonic()
        return inside, [stream for stream in streams if stream not in inside]

    def test_too_many_clients(self) -> None:
        """Beyond the limit of connections clients wait, none is sent away, and all are served as others leave."""
        running = self.serve("max_connections: 3\n")
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        inside, outside = self.crowd(running, 20)
        self.assertLessEqual(len(inside), 6, "two fronts, three clients each")
        self.assertGreaterEqual(len(inside), 3)
        self.leave(inside, outside)

    def leave(self, inside: list[Stream], outside: list[Stream]) -> None:
        """Have those that were served leave until all others were served."""
        end = time.monotonic() + 20
        while outside:
            self.assertLess(time.monotonic(), end, f"{len(outside)} are never served")
            for stream in inside:
                stream.close()
            inside = [stream for stream in outside if self.answered(stream, 0.05)]
            outside = [stream for stream in outside if stream not in inside]

    def test_few_descriptors(self) -> None:
        """Where the system allows few open files, clients wait for those, too, and none is sent away."""
        running = FewDescriptors()
        # All of them come at once.
        running.edit("workers/app/app.py", "server = ", "ThreadingHTTPServer.request_queue_size = 200\nserver = ")
        self.addCleanup(running.end)
        running.edit("etc/server.yaml", "fronts: 2", "fronts: 1")
        running.start()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        inside, outside = self.crowd(running, 120)
        # A client that has just left may still be counted.
        self.assertIn(clients_room(len(inside), 0, 10_000, FILES), (0, 1, 2))
        self.served(inside)
        self.leave(inside, outside)

    def served(self, inside: list[Stream]) -> None:
        """See that clients that were silent are served when they all ask at once, for what takes a while."""
        for stream in inside:
            stream.request("GET", "/slow/0.3")
        waiting = {stream.socket: stream for stream in inside}
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [], 20)
            self.assertTrue(ready, f"{len(waiting)} are never answered")
            for one in ready:
                self.assertTrue(self.answered(waiting.pop(one), 20))


class LogTests(RunningCase):
    """The access log and the names of logs."""

    def test_once_each(self) -> None:
        """With several fronts each request has one line, whole, in the log of the day."""
        running = self.serve("access_log_format: json\nmax_body_bytes: 1000\n")
        self.when("it serves", lambda: running.get("/version").status == 200, running)

        def ask(client: int) -> None:
            for turn in range(5):
                with_connection = running.connection()
                for number in range(10):
                    with_connection.ask("GET", f"/version?{client}-{turn}-{number}")
                with_connection.close()

        threads = [threading.Thread(target=ask, args=(client,)) for client in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        running.ask("POST", "/large", b"x" * 1001)
        with Stream(running) as stream:
            stream.send(b"what is this?\r\n\r\n")
            self.assertEqual(stream.head()[0], 400)
        today = datetime.date.today().isoformat()
        log = running.directory / f"logs/access_{today}.log"

        def lines() -> list[dict[str, object]]:
            return [json.loads(line) for line in log.read_text().splitlines()]

        def wanted() -> bool:
            statuses = [line["status"] for line in lines()]
            return sum("-" in str(line["target"]) for line in lines()) >= 401 and 413 in statuses and 400 in statuses

        self.when("all are logged", wanted, running)
        targets = sorted(str(line["target"]) for line in lines() if "?" in str(line["target"]))
        self.assertEqual(
            targets, sorted(f"/version?{c}-{t}-{n}" for c in range(8) for t in range(5) for n in range(10))
        )
        self.assertEqual(len({line["request_id"] for line in lines() if line["request_id"]}), len(lines()) - 1)
        (large,) = (line for line in lines() if line["status"] == 413)
        self.assertEqual((large["method"], large["target"]), ("POST", "/large"))
        self.assertTrue((running.directory / f"logs/server_{today}.log").exists())
        self.assertEqual(len(list(Path(running.directory / "logs").glob("access*"))), 1)


class OrderTests(RunningCase):
    """Who answers."""

    def test_files(self) -> None:
        """First the worker's files, then the server's, then the worker; only reading is for files."""
        running = self.serve(workers={**named("shop", "path: /shop")})
        self.when("it serves", lambda: running.get("/shop/version").status == 200, running)
        for name, text in {
            "workers/shop/public/both.txt": "the worker's",
            "workers/shop/public/shop/deep.txt": "the worker's, by its whole path",
            "public/shop/both.txt": "the server's",
            "public/shop/server.txt": "the server's",
            "public/shop/version": "a file instead of the worker",
            "public/top.txt": "the server's",
            "public/.secret": "no",
            "public/index.html": "home",
        }.items():
            running.write(name, text)
        for path, status, body in (
            ("/shop/both.txt", 200, b"the worker's"),
            ("/shop/deep.txt", 200, b"the worker's, by its whole path"),
            ("/shop/server.txt", 200, b"the server's"),
            ("/shop/version", 200, b"a file instead of the worker"),
            ("/top.txt", 200, b"the server's"),
            ("/", 200, b"home"),
            ("/shop/pid", 200, b""),
            ("/.secret", 404, b""),
            ("/nothing", 404, b""),
            ("/shopping", 404, b""),
        ):
            response = running.get(path)
            self.assertEqual(response.status, status, path)
            if body:
                self.assertEqual(response.body, body, path)
        self.assertEqual(running.ask("POST", "/shop/both.txt", b"posted").body, b"posted")

        def known() -> bool:
            # The tag of a file that was written a moment ago is for that moment only.
            etag = running.get("/top.txt").headers["etag"]
            return running.ask("GET", "/top.txt", headers=f"If-None-Match: {etag}\r\n").status == 304

        self.when("the file has a lasting tag", known, running)
        part = running.ask("GET", "/top.txt", headers="Range: bytes=4-9\r\n")
        self.assertEqual((part.status, part.body), (206, b"server"))

    def test_hosts(self) -> None:
        """Routes of a host are looked at before those of all hosts; the longest prefix wins among either."""
        running = self.serve(
            workers={
                **named("all", "path: /"),
                **named("long", "path: /a/b"),
                **named("host", "routes: [{host: a.test, path: /}]"),
                **named("both", "routes: [{host: a.test, path: /x}, {path: /y}]"),
            }
        )
        expected = {
            ("b.test", "/version"): b"all",
            ("b.test", "/a/b/version"): b"long",
            ("a.test", "/version"): b"host",
            ("A.TEST:8080", "/version"): b"host",
            ("a.test.", "/version"): b"host",
            ("a.test", "/x/version"): b"both",
            ("b.test", "/y/version"): b"both",
            ("x.a.test", "/version"): b"all",
        }
        for (host, path), name in expected.items():
            self.when(f"{host}{path} serves", lambda host=host, path=path: self.ask(running, host, path), running)  # type: ignore[misc]
            self.assertEqual(self.ask(running, host, path), name, f"{host}{path}")

    def ask(self, running: Running, host: str, path: str) -> bytes:
        """GET something of a host."""
        with Stream(running) as stream:
            stream.request("GET", path, host=host)
            status, fields = stream.head()
            body = stream.body(fields)
        return body if status == 200 else b""
