"""What a real server does when instances misbehave, when it is asked for too much, and when it runs out of things."""

from __future__ import annotations

import os
import re
import resource
import select
import socket
import struct
import threading
import time
from pathlib import Path

from bench.project import free_port
from bench.wire import Connection, Lost
from tests.functional.running import WORKER_YAML, Running, RunningCase
from tests.functional.streams import Stream, memory_bytes

FRAIL = r'''
"""A worker that tells who it is and what it was told, and breaks everything while a file says so."""
import os, re, signal, socket, threading, time

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
notes, me = os.environ["NOTES"], os.environ["WORKER_INSTANCE"]

def note(what):
    with open(os.path.join(notes, what + "-" + me), "ab", 0) as file:
        file.write(b"x")

def serve(connection):
    rest = b""
    while True:
        while b"\r\n\r\n" not in rest:
            data = connection.recv(65536)
            if not data:
                return
            rest += data
        head, _, rest = rest.partition(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        length = int((re.findall(rb"(?i)content-length: *(\d+)", head) or [b"0"])[0])
        while len(rest) < length:
            data = connection.recv(65536)
            if not data:
                return
            rest += data
        rest = rest[length:]
        if path != "/health":
            note("asked")
            if os.path.exists(os.path.join(notes, "bad-" + me)) or os.path.exists(os.path.join(notes, "bad")):
                return
        body = me.encode()
        if path.startswith("/slow/"):
            time.sleep(float(path[6:]))
        elif path == "/head":
            body = head
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

def run(connection):
    try:
        serve(connection)
    except OSError:
        pass
    finally:
        connection.close()

listener = socket.create_server(("127.0.0.1", int(os.environ["WORKER_PORT"])), backlog=512)
while True:
    threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()
'''


class FrailCase(RunningCase):
    """A server with the frail worker."""

    def frail(self, *lines: str, instances: int = 1, fronts: int = 1, server: str = "", listen: str = "") -> Running:
        """
        Start it.

        @param lines: of worker.yaml.
        @param server: of the section C{server:}.
        @param listen: of C{server.listen}, beside the usual listener.
        """
        running = self.made(running=Running(server), lines=lines, instances=instances, fronts=fronts)
        if listen:
            usual = f"  host: 127.0.0.1\n  port: {running.port}\n"
            running.edit(
                "etc/server.yaml",
                usual,
                f"  listen:\n  - {{address: 127.0.0.1, port: {running.port}}}\n  - {listen}\n",
            )
        running.start()
        self.when("all serve", lambda: len(running.instances()) == instances and self.well(running), running)
        return running

    def made(self, running: Running, lines: tuple[str, ...], instances: int, fronts: int) -> Running:
        """The files of a project."""
        self.addCleanup(running.end)
        self.notes = running.directory / "notes"
        self.notes.mkdir()
        count = f"scaling: {{min_workers: {instances}, max_workers: {instances}}}"
        environment = f"environment: {{NOTES: {self.notes}}}"
        yaml = WORKER_YAML + "".join(f"{line}\n" for line in (count, environment, *lines))
        running.write("workers/app/config/worker.yaml", yaml)
        running.write("workers/app/app.py", FRAIL)
        running.edit("etc/server.yaml", "fronts: 2", f"fronts: {fronts}")
        return running

    def well(self, running: Running) -> bool:
        """Whether all instances are healthy, and it serves."""
        healthy = all(instance["state"] == "healthy" for instance in running.instances())
        return healthy and running.get("/who").status == 200

    def asked(self, instance: str) -> int:
        """How often an instance was asked."""
        path = self.notes / f"asked-{instance}"
        return path.stat().st_size if path.exists() else 0

    def metric(self, running: Running, name: str) -> float:
        """A number of the worker, as Prometheus is told."""
        text = running.get("/metrics").body.decode()
        found = re.search(rf'^{name}{{worker="app"}} (\S+)$', text, re.MULTILINE)
        assert found is not None, (name, text)
        return float(found.group(1))


class OutlierTests(FrailCase):
    """Instances that break what they are given, though they say that they are well."""

    def test_left_alone_and_tried_again(self) -> None:
        """
        An instance that breaks everything is soon left alone, and no client notices: its GETs go elsewhere. When it is
        mended it gets its share again.
        """
        running = self.frail("outlier: {failures: 3, eject_seconds: 0.5, max_eject_seconds: 1}", instances=2)
        bad, good = (str(instance["id"]) for instance in running.instances())
        (self.notes / f"bad-{bad}").touch()
        connection = running.connection()
        before = self.asked(bad)
        for _ in range(300):
            response = connection.ask("GET", "/who")
            self.assertEqual((response.status, response.body.decode()), (200, good))
        self.assertLess(self.asked(bad) - before, 20, "it is asked before it is found out, and then to try it")
        self.when("the status tells", lambda: self.ejected(running) == {bad: 1, good: 0}, running)
        self.assertEqual(self.metric(running, "tqserver_worker_ejected"), 1)
        self.assertGreaterEqual(self.metric(running, "tqserver_worker_ejections_total"), 1)
        self.assertGreaterEqual(self.metric(running, "tqserver_worker_retries_total"), 3)
        (self.notes / f"bad-{bad}").unlink()
        self.when("it is asked again", lambda: connection.ask("GET", "/who").body.decode() == bad, running)
        answers = {connection.ask("GET", "/who").body.decode() for _ in range(10)}
        self.assertEqual(answers, {bad, good})
        self.when("the status tells", lambda: self.ejected(running) == {bad: 0, good: 0}, running)

    def ejected(self, running: Running) -> dict[str, int]:
        """How many fronts leave each instance alone."""
        return {str(instance["id"]): int(str(instance["ejected"])) for instance in running.instances()}

    def test_all_bad(self) -> None:
        """When all instances break everything none of them is given up: as soon as one is mended it serves."""
        running = self.frail("outlier: {failures: 3, eject_seconds: 60}", "retry: {attempts: 1}", instances=2)
        (self.notes / "bad").touch()
        connection = running.connection()
        for _ in range(40):
            self.assertEqual(connection.ask("GET", "/who").status, 502)
        (self.notes / "bad").unlink()
        self.assertEqual(connection.ask("GET", "/who").status, 200)
        self.when("one is left alone", lambda: sum(self.ejected(running).values()) == 1, running)


class RetryTests(FrailCase):
    """A worker that breaks everything."""

    def test_budget(self) -> None:
        """What is sent again to a worker that breaks everything is a share of what it is asked for, no more."""
        running = self.frail("retry: {budget_percent: 10, min_per_second: 1}")
        (instance,) = running.instances()
        name = str(instance["id"])
        (self.notes / "bad").touch()
        before = self.asked(name)
        connection = running.connection()
        statuses = [connection.ask("GET", "/who").status for _ in range(200)]
        self.assertEqual(set(statuses), {502})
        sent = self.asked(name) - before
        # A tenth of all, and of the second ones what may be saved up in ten seconds, and those of a kept connection.
        self.assertGreater(sent, 205)
        self.assertLess(sent, 240)
        self.when("the metrics tell", lambda: self.metric(running, "tqserver_worker_unretried_total") > 100, running)
        (self.notes / "bad").unlink()
        self.assertEqual(connection.ask("GET", "/who").status, 200)


class StickyTests(FrailCase):
    """Clients that come back to the instance that they had."""

    def test_comes_back(self) -> None:
        """
        A client with its cookie has the same instance, whatever front it meets, also after the fronts were replaced;
        after a reload it has another one, without an error.
        """
        running = self.frail("sticky: {cookie: at, max_age_seconds: 60}", instances=3, fronts=2)
        first = running.get("/who")
        cookie, _, attributes = first.headers["set-cookie"].partition("; ")
        self.assertEqual(attributes, "Path=/; Max-Age=60; HttpOnly; SameSite=Lax")
        self.assertNotIn("app", cookie)
        self.comes_back(running, cookie, first.body)
        old = set(running.fronts())
        running.signal("USR2")
        self.when("all fronts are new", lambda: len(running.fronts()) == 2 and not old & set(running.fronts()), running)
        self.comes_back(running, cookie, first.body)
        running.edit("workers/app/app.py", '"""A worker that tells', '"""A new worker that tells')
        ids = {str(instance["id"]) for instance in running.instances()}

        def swapped() -> bool:
            response = running.ask("GET", "/who", headers=f"Cookie: {cookie}\r\n")
            self.assertEqual(response.status, 200)
            return response.body.decode() not in ids

        self.when("they are new", swapped, running)
        self.when("they are all new", lambda: not ids & {str(each["id"]) for each in running.instances()}, running)
        anew = running.ask("GET", "/who", headers=f"Cookie: {cookie}\r\n")
        cookie = anew.headers["set-cookie"].partition("; ")[0]
        self.comes_back(running, cookie, anew.body)

    def comes_back(self, running: Running, cookie: str, instance: bytes) -> None:
        """Check that a client comes back, over connections of its own."""
        others = set()
        for _ in range(12):
            response = running.ask("GET", "/who", headers=f"Cookie: x=y; {cookie}; z=\r\n")
            self.assertEqual((response.status, response.body), (200, instance))
            self.assertNotIn("set-cookie", response.headers)
            others.add(running.get("/who").body)
        self.assertEqual(len(others), 3, "without a cookie a client is given any of them")

    def test_secure(self) -> None:
        """The cookie of a client that came over https, as a trusted proxy says, is for https only."""
        running = self.frail("sticky: {cookie: at}", server="trusted_proxies: [127.0.0.0/8]\n")
        response = running.ask("GET", "/who", headers="X-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /shop\r\n")
        self.assertTrue(response.headers["set-cookie"].endswith("; Path=/shop; HttpOnly; SameSite=Lax; Secure"))


class ProxyProtocolTests(FrailCase):
    """A listener where connections tell whose they are."""

    def proxied(self) -> tuple[Running, int]:
        """The server, and the port of that listener."""
        port = free_port()
        running = self.frail(
            server="trusted_proxies: [127.0.0.1, unix]\naccess_log: access.log\nread_timeout_seconds: 1\n",
            listen=f"{{address: 127.0.0.1, port: {port}, proxy_protocol: true}}\n"
            "  - {unix: var/proxied.sock, proxy_protocol: true}",
            fronts=2,
        )
        return running, port

    def ask(self, port: int, pieces: list[bytes], source: str = "127.0.0.1") -> bytes:
        """What comes back for some bytes; each piece is a segment of its own."""
        with socket.create_connection(("127.0.0.1", port), 20, (source, 0)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                for piece in pieces:
                    client.sendall(piece)
                reply = b""
                while data := client.recv(65536):
                    reply += data
            except ConnectionError:
                return b""
            return reply

    def test_told(self) -> None:
        """Both versions tell the client, in whatever pieces they come; workers and the log are told on."""
        running, port = self.proxied()
        get = b"GET /head HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nConnection: close\r\n\r\n"
        line = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
        six = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "::1")
        binary = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x21, 36) + six + struct.pack("!HH", 5, 80)
        for header, client in ((line, b"192.0.2.7"), (binary, b"2001:db8::7")):
            for pieces in ([header + get], [bytes([byte]) for byte in header + get], [header, get]):
                reply = self.ask(port, pieces)
                self.assertTrue(reply.startswith(b"HTTP/1.1 200 "), (header, reply))
                self.assertIn(b"x-forwarded-for: %b\r\n" % client, reply)
        log = running.directory / "access.log"

        def logged() -> list[int]:
            text = log.read_text()  # Each front writes its lines in batches of its own.
            return [text.count("192.0.2.7 - "), text.count("2001:db8::7 - ")]

        self.when("all six are logged", lambda: logged() == [3, 3], running)
        local = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x20, 0, 0)
        self.assertIn(b"x-forwarded-for: 1.1.1.1, 127.0.0.1\r\n", self.ask(port, [local + get]), "the proxy's own")

    def test_unix(self) -> None:
        """A UNIX socket may be such a listener, too."""
        running, _ = self.proxied()
        with Stream(running, address=str(running.directory / "var/proxied.sock")) as stream:
            stream.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n")
            for _ in range(2):
                stream.request("GET", "/head")
                self.assertIn(b"x-forwarded-for: 192.0.2.7\r\n", stream.body(stream.head()[1]))

    def test_refused(self) -> None:
        """Without a header, with a wrong one, half of one, or from a stranger, nothing is served; others still are."""
        running, port = self.proxied()
        line = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
        get = b"GET /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        self.assertEqual(self.ask(port, [get]), b"")
        self.assertEqual(self.ask(port, [line.replace(b"TCP4", b"TCP5") + get]), b"")
        self.assertEqual(self.ask(port, [line + get], source="127.0.0.2"), b"")
        began = time.monotonic()
        self.assertEqual(self.ask(port, [line[:20]]), b"")
        self.assertLess(time.monotonic() - began, 10.0)
        self.assertTrue(self.ask(port, [line + get]).startswith(b"HTTP/1.1 200 "))
        self.assertEqual(running.get("/who").status, 200)
        self.when("the operator is told", lambda: "does not list it" in running.output(), running)

    def test_replaced_fronts(self) -> None:
        """Fronts that are replaced know the listener for what it is."""
        running, port = self.proxied()
        old = set(running.fronts())
        running.signal("USR2")
        self.when("all fronts are new", lambda: len(running.fronts()) == 2 and not old & set(running.fronts()), running)
        get = b"PROXY TCP4 192.0.2.7 198.51.100.1 5 443\r\nGET /head HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        for _ in range(4):
            self.assertIn(b"x-forwarded-for: 192.0.2.7\r\n", self.ask(port, [get]))


class SlowTests(FrailCase):
    """Clients that send slowly."""

    def test_slow_clients(self) -> None:
        """
        A head that is dripped ends at the limit with 408, and so does a body that comes more slowly than it must; one
        that keeps the pace does not. All the while others are served.
        """
        running = self.frail(server="read_timeout_seconds: 2\nmin_read_bytes_per_second: 100\n")
        post = "Content-Length: 100000\r\n"
        with Stream(running) as head, Stream(running) as slow, Stream(running) as fast:
            for stream in (slow, fast):
                stream.request("POST", "/who", post)
            ended: dict[Stream, float] = {}
            began = time.monotonic()
            text = b"GET /who HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 100
            for turn in range(120):
                for stream, piece in ((head, text[turn : turn + 1]), (slow, b"x"), (fast, b"x" * 25)):
                    if stream not in ended:
                        try:
                            stream.send(piece)
                            if select.select([stream.socket], [], [], 0)[0]:
                                ended[stream] = time.monotonic() - began
                                self.assertEqual(stream.head()[0], 408 if stream is not fast else 200)
                        except OSError:
                            ended[stream] = time.monotonic() - began
                if slow in ended and head in ended:
                    break
                self.assertEqual(running.get("/who").status, 200)
                time.sleep(0.1)
            self.assertLess(ended[head], 5.0)
            self.assertGreater(ended[slow], 5.0)


class AdmissionTests(FrailCase):
    """More than can be taken on."""

    def busy(self, running: Running, count: int) -> list[Stream]:
        """Requests that take their time."""
        streams = [Stream(running) for _ in range(count)]
        for stream in streams:
            self.addCleanup(stream.close)
            stream.request("GET", "/slow/2")
        self.when("all are in hand", lambda: self.in_flight(running) == count, running)
        return streams

    def in_flight(self, running: Running) -> int:
        """Requests that the worker's instances have in hand."""
        return sum(int(str(instance["in_flight"])) for instance in running.instances())

    def test_front(self) -> None:
        """Beyond a front's limit there is 503 and when to come again; its health and metrics are told all the same."""
        running = self.frail(server="max_in_flight: 3\nhealth_path: /healthz\n")
        streams = self.busy(running, 3)
        refused = running.get("/who")
        self.assertEqual(refused.status, 503)
        self.assertIn(refused.headers["retry-after"], ("1", "2"))
        self.assertEqual((running.get("/healthz").status, running.get("/metrics").status), (200, 200))
        for stream in streams:
            status, fields = stream.head()
            stream.body(fields)
            self.assertEqual(status, 200)
        self.when("there is room again", lambda: running.get("/who").status == 200, running)

    def test_worker(self) -> None:
        """A worker's own limit is for its requests alone."""
        running = self.frail("max_in_flight: 2")
        yaml = f"path: /other\ntype: python\nenvironment: {{NOTES: {self.notes}}}\n"
        running.write("workers/other/config/worker.yaml", yaml)
        running.write("workers/other/app.py", FRAIL)
        self.when("the other serves", lambda: running.get("/other").status == 200, running)
        self.busy(running, 2)
        refused = running.get("/who")
        self.assertEqual((refused.status, "retry-after" in refused.headers), (503, True))
        self.assertEqual(running.get("/other").status, 200)


def cpu_s(pid: int) -> float:
    """Seconds of CPU time that a process has used (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class NoUvloop(Running):
    """A server where uvloop is not installed: the fronts run on Twisted's own reactor."""

    def environment(self) -> dict[str, str]:
        """With a module in the place of uvloop that cannot be imported."""
        self.write("hidden/uvloop.py", "raise ImportError('hidden')\n")
        environment = super().environment()
        path = f"{self.directory}/hidden{os.pathsep}{environment['PYTHONPATH']}"
        return {**environment, "PYTHONPATH": path}


class DescriptorTests(FrailCase):
    """A front that runs out of file descriptors, though it had thought that there were enough."""

    clients = 150

    def test_uvloop(self) -> None:
        """With uvloop."""
        self.survive(Running(), True)

    def test_epoll(self) -> None:
        """With Twisted's own reactor."""
        self.survive(NoUvloop(), False)

    def survive(self, running: Running, uvloop: bool) -> None:
        """
        Clients beyond what there are descriptors for wait, at no cost in CPU or memory, and none is reset. As others
        leave they are served; when all have gone, it is as before.
        """
        self.made(running, (), 1, 1)
        running.start()
        self.when("it serves", lambda: self.well(running), running)
        (front,) = running.fronts()
        self.assertEqual("/uvloop/" in Path(f"/proc/{front}/maps").read_text(), uvloop)
        before, _ = memory_bytes(front)
        limit = len(os.listdir(f"/proc/{front}/fd")) + 40
        resource.prlimit(front, resource.RLIMIT_NOFILE, (limit, limit))
        streams = [Stream(running) for _ in range(self.clients)]
        for stream in streams:
            self.addCleanup(stream.close)
            stream.request("GET", "/who")
        answered = self.answered(streams, 2.0)
        self.assertTrue(0 < len(answered) < 60, len(answered))
        used = cpu_s(front)
        time.sleep(1.0)
        self.assertLess(cpu_s(front) - used, 0.3, "it spins")
        waiting = set(streams) - answered
        end = time.monotonic() + 30
        while waiting:
            self.assertLess(time.monotonic(), end, f"{len(waiting)} are never served")
            for stream in answered:
                stream.close()
            answered = self.answered(list(waiting), 0.5)
            waiting -= answered
        for stream in answered:
            stream.close()
        self.assertIn("new clients have to wait", running.output())
        self.assertNotIn("Traceback", running.output())
        threads = [threading.Thread(target=self.ask_often, args=(running,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        now, _ = memory_bytes(front)
        self.assertLess(now - before, 16 * 1024 * 1024)
        self.assertEqual(running.fronts(), [front], "it lives")

    def ask_often(self, running: Running) -> None:
        """Some requests over one connection."""
        connection = Connection(("127.0.0.1", running.port), timeout_s=20)
        for _ in range(20):
            assert connection.ask("GET", "/who").status == 200
        connection.close()

    def answered(self, streams: list[Stream], quiet_s: float) -> set[Stream]:
        """Those of some clients that were answered when there has been quiet for so long."""
        answered: set[Stream] = set()
        while True:
            left = [stream for stream in streams if stream not in answered]
            ready, _, _ = select.select([stream.socket for stream in left], [], [], quiet_s)
            if not ready:
                return answered
            for stream in left:
                if stream.socket in ready:
                    try:
                        status, fields = stream.head()
                    except (Lost, OSError) as error:
                        self.fail(f"a client was sent away: {error}")
                    self.assertEqual(status, 200)
                    stream.body(fields)
                    answered.add(stream)
