"""WebSockets and other upgrades pass through a real server, stay open while they may, and are closed when they must."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextlib import suppress as ignoring

from bench.wire import Lost
from tests.functional.running import LIMIT_S, Running, RunningCase
from tests.functional.streams import MIB, Stream, memory_bytes, needs
from tests.functional.websockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    WORKER_YAML,
    WebSocket,
    frame,
    worker,
)

FRONT_GROWTH_BYTES_MAX = 24 * MIB
"""What a front may need more for slow readers of streams without end."""

MANY = 1000

BUN = """
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.WORKER_PORT),
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("hello")),
  websocket: {
    maxPayloadLength: 64 * 1024 * 1024,
    message: (socket, message) => (message === "bye" ? socket.close(4000, "bye") : socket.send(message)),
  },
});
"""

LINES = "Connection: Upgrade\r\nUpgrade: lines\r\n"


class UpgradeCase(RunningCase):
    """A server with the worker of L{tests.functional.websockets}."""

    def upgrading(self, server: str = "", yaml: str = WORKER_YAML, **others: dict[str, str]) -> Running:
        """Start a server and wait until its worker answers."""
        running = self.serve(server, {"app": worker(yaml), **others})
        self.when("the worker answers", lambda: running.get("/pid").status == 200, running)
        return running

    def upgraded(self, running: Running) -> int:
        """How many upgraded connections the fronts have."""
        return sum(front["upgraded"] for front in running.status()["fronts"])  # type: ignore[attr-defined]

    def ends(self, stream: Stream) -> None:
        """Check that the server closes, in order."""
        self.assertTrue(stream.at_end())

    @contextmanager
    def sockets(self, running: Running, count: int, **options: object) -> Iterator[list[WebSocket]]:
        """Many WebSockets."""
        with ExitStack() as stack:
            made = [stack.enter_context(WebSocket(running, wait=False, **options)) for _ in range(count)]  # type: ignore[arg-type]
            for each in made:
                each.shake()
            yield made


class MessageTests(UpgradeCase):
    """What passes through a WebSocket."""

    def test_messages(self) -> None:
        """
        Everything that a WebSocket can say passes as it is: messages of all sizes, whole and in fragments, control
        frames between the fragments, subprotocols, and both ways to close.
        """
        running = self.upgrading()
        with WebSocket(running, headers="Sec-WebSocket-Protocol: chat, other\r\n") as ws:
            self.assertEqual(ws.fields["sec-websocket-protocol"], "chat")
            for size in (0, 1, 125, 126, 65535, 65536, 16 * MIB):
                data = os.urandom(size)
                ws.send(frame(BINARY, data))
                self.assertTrue(ws.message() == data, size)
            ws.send(frame(TEXT, "grün".encode()[:4], final=False))
            ws.send(frame(PING, b"are you there?"))
            ws.send(frame(CONTINUATION, b"", final=False))
            ws.send(frame(PONG, b"unasked"))
            ws.send(frame(CONTINUATION, "grün".encode()[4:]))
            opcodes, text = [], b""
            while not text.endswith(b"n"):
                opcode, payload, _ = ws.frame()
                opcodes.append(opcode)
                text += payload if opcode in (TEXT, CONTINUATION) else b""
            self.assertEqual(text.decode(), "grün")
            self.assertIn(PONG, opcodes)
            # Frame by frame, byte by byte.
            for byte in frame(TEXT, b"slowly"):
                ws.send(bytes([byte]))
            self.assertEqual(ws.message(), b"slowly")
            ws.send(frame(CLOSE, struct.pack("!H", 4321) + b"enough"))
            self.assertEqual(ws.closing(), 4321)
            self.ends(ws)
        for code in (1000, 3999):
            with WebSocket(running) as ws:
                ws.send(frame(TEXT, b"close %d" % code))
                self.assertEqual(ws.closing(), code)
                ws.send(frame(CLOSE, struct.pack("!H", code)))
                self.ends(ws)
        self.when("nothing is left", lambda: not self.upgraded(running), running)
        self.when("they are logged", lambda: len(self.logged(running)) == 3, running)
        self.assertEqual({status for status, _ in self.logged(running)}, {101})
        self.assertGreater(max(count for _, count in self.logged(running)), 16 * MIB)

    def logged(self, running: Running) -> list[tuple[int, int]]:
        """The status and the bytes of the lines in the access log that are about our WebSockets."""
        (log,) = (running.directory / "logs").glob("access_*")
        lines = [line.split() for line in log.read_text().splitlines() if " /echo " in line]
        return [(int(line[8]), int(line[9])) for line in lines]

    def test_broken_frames(self) -> None:
        """What breaks the rules reaches the worker as it is, whose verdict comes back, and that is the end of it."""
        running = self.upgrading()
        for what, data, codes in (
            ("reserved bits", frame(TEXT, b"x", reserved=5), (1002,)),
            ("an unknown opcode", frame(0x5, b"x"), (1002,)),
            ("no mask", frame(TEXT, b"x", mask=None), (1002,)),
            ("a fragmented ping", frame(PING, b"x", final=False), (1002,)),
            ("a ping of 126 bytes", frame(PING, b"x" * 126), (1002,)),
            ("a continuation of nothing", frame(CONTINUATION, b"x"), (1002,)),
            ("a message within another", frame(TEXT, b"x", final=False) + frame(TEXT, b"y"), (1002,)),
            ("text that is no UTF-8", frame(TEXT, b"\xc3\x28"), (1007,)),
            ("a close frame of one byte", frame(CLOSE, b"x"), (1002,)),
            ("a close code that nobody may send", frame(CLOSE, b"\x03\xed"), (1002,)),
            ("an impossible length", b"\x82\xff" + b"\xff" * 8 + b"1234", (1002, 1009)),
        ):
            with WebSocket(running) as ws:
                ws.send(data)
                self.assertIn(ws.closing(), codes, what)
                self.ends(ws)
        with WebSocket(running) as ws:
            self.assertTrue(ws.echoes())

    def test_sent_ahead(self) -> None:
        """What a client sends behind its handshake, before that is answered, is not lost."""
        running = self.upgrading()
        with WebSocket(running, ahead=frame(TEXT, b"I could not wait")) as ws:
            self.assertEqual(ws.message(), b"I could not wait")

    def test_a_thousand(self) -> None:
        """A thousand at once, each with its own messages, and nothing is left of them when they have gone."""
        running = self.upgrading()
        with self.sockets(running, MANY) as sockets:
            for number, each in enumerate(sockets):
                each.send(frame(TEXT, b"number %d" % number))
            for number, each in enumerate(sockets):
                self.assertEqual(each.message(), b"number %d" % number)
            self.when("they are counted", lambda: self.upgraded(running) == MANY, running)
            (instance,) = running.instances()
            self.assertEqual(instance["in_flight"], MANY)
            self.assertIn(b"tqserver_upgraded_connections %d.0" % MANY, running.get("/metrics").body)
        self.when("they are gone", lambda: not self.upgraded(running), running)
        self.when("none is in flight", lambda: not running.instances()[0]["in_flight"], running)

    def test_slow_readers(self) -> None:
        """
        Clients that do not read stop the worker, not the front: its memory stays as it is, and others are served. When
        they read, everything comes.
        """
        running = self.upgrading(server="write_timeout_seconds: 60")
        before = {pid: memory_bytes(pid)[0] for pid in running.fronts()}
        size, count = 64 * MIB, 20
        with ExitStack() as stack:
            slow = []
            for _ in range(count):
                stream = stack.enter_context(Stream(running, receive_buffer_bytes=4096))
                stream.request("GET", f"/flood/{size}", LINES)
                self.assertEqual(stream.head()[0], 101)
                slow.append(stream)
            with WebSocket(running) as ws:
                for _ in range(100):
                    self.assertTrue(ws.echoes())
            # And those that read nothing back of what they have echoed.
            ws = stack.enter_context(WebSocket(running, receive_buffer_bytes=4096))
            stuck = _send_until_stuck(ws, frame(BINARY, b"x" * 65536))
            self.assertLess(stuck, 64 * MIB)
            for pid, bytes_before in before.items():
                self.assertLess(memory_bytes(pid)[1] - bytes_before, FRONT_GROWTH_BYTES_MAX)
            rest = size - len(slow[0].some())
            while rest:
                rest -= len(slow[0].some())

    def test_reader_that_stopped(self) -> None:
        """A client that takes nothing at all for the time that any client has is cut."""
        running = self.upgrading(server="write_timeout_seconds: 1")
        with Stream(running, receive_buffer_bytes=4096) as stream:
            stream.request("GET", f"/flood/{64 * MIB}", LINES)
            self.assertEqual(stream.head()[0], 101)
            self.when("it is there", lambda: self.upgraded(running) == 1, running)
            self.when("it is cut", lambda: not self.upgraded(running), running)


def _send_until_stuck(ws: WebSocket, data: bytes) -> int:
    """Send until nothing is taken for half a second; tell how much was."""
    sent = 0
    ws.socket.setblocking(False)
    while select.select([], [ws.socket], [], 0.5)[1]:
        try:
            sent += ws.socket.send(data[sent % len(data) :])
        except BlockingIOError:
            continue
    return sent


class OtherProtocolTests(UpgradeCase):
    """Upgrades that are no WebSockets, or none at all."""

    def test_half_close(self) -> None:
        """In another protocol the end of one direction is passed on, and the other direction goes on."""
        running = self.upgrading()
        with Stream(running) as stream:
            stream.request("POST", "/lines", LINES.replace("Upgrade: lines", "Upgrade: h2c, LINES, other/2"))
            stream.send(b"this is ahead\n")
            status, fields = stream.head()
            self.assertEqual((status, fields["upgrade"], fields["x-kept"]), (101, "lines", "yes"))
            self.assertEqual(stream.until(b"\n"), b"welcome")
            self.assertEqual(stream.until(b"\n"), b"you said this is ahead")
            stream.send(b"that is all\n")
            stream.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(stream.until(b"\n"), b"you said that is all")
            self.assertEqual(stream.until(b"\n"), b"that was all")
            self.ends(stream)
        self.when("nothing is left", lambda: not running.instances()[0]["in_flight"], running)

    def test_refused(self) -> None:
        """A worker may refuse: that is an ordinary answer, and the connection goes on with the next request."""
        running = self.upgrading()
        with Stream(running) as stream:
            for status in (403, 426, 200):
                stream.request("GET", f"/refuse/{status}", "Connection: Upgrade\r\nUpgrade: websocket\r\n")
                # It is not known yet what this will be.
                stream.request("GET", "/pid")
                got, fields = stream.head()
                self.assertEqual((got, stream.body(fields)), (status, b"ok"))
                self.assertEqual(fields.get("upgrade"), "websocket" if status == 426 else None)
                got, fields = stream.head()
                self.assertEqual((got, stream.body(fields).isdigit()), (200, True))

    def test_not_asked_for(self) -> None:
        """A worker that switches without being asked, or to something else, is 502, and nothing of it gets through."""
        running = self.upgrading()
        for headers in ("", LINES, "Upgrade: other\r\n", LINES.replace("lines", "h2c")):
            with Stream(running) as stream:
                stream.request("GET", "/other", headers)
                status, fields = stream.head()
                self.assertEqual(status, 502, headers)
                self.assertNotIn(b"101", stream.body(fields))
        self.assertEqual(running.get("/pid").status, 200)

    def test_what_the_worker_is_asked(self) -> None:
        """
        The worker sees an upgrade only where there is one, in our words: not for HTTP/2, not in HTTP/1.0, not with a
        body, not if C{Connection} does not name it. Otherwise the request is answered as if it had not asked.
        """
        running = self.upgrading()
        both = "Connection: keep-alive, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
        for first, headers, asked in (
            ("GET /asked HTTP/1.1", both + "Upgrade: h2c\r\n", None),
            ("GET /asked HTTP/1.1", both + "Upgrade: h2c, websocket\r\nUpgrade: a/1\r\n", "websocket, a/1"),
            ("GET /asked HTTP/1.1", "Upgrade: websocket\r\n", None),
            ("GET /asked HTTP/1.0", both + "Upgrade: websocket\r\n", None),
            ("POST /asked HTTP/1.1", both + "Upgrade: websocket\r\n", None),
            ("POST /asked HTTP/1.1", both + "Upgrade: x\r\nContent-Length: 3\r\n", None),
        ):
            with Stream(running) as stream:
                stream.send(f"{first}\r\nHost: localhost\r\n{headers}\r\n".encode())
                if "Content-Length" in headers:
                    stream.send(b"abc")
                status, fields = stream.head()
                self.assertEqual(status, 200)
                text = stream.body(fields).decode()
                got = [line.split(": ")[1] for line in text.split("\r\n") if line.lower().startswith("upgrade: ")]
                self.assertEqual(got, [asked] if asked else [], (first, headers))
                self.assertNotIn("http2-settings", text.lower())

    def test_idle(self) -> None:
        """What is silent in both directions for its limit is closed, a WebSocket with 1001; what moves is not."""
        running = self.upgrading(yaml=WORKER_YAML + "upgrade:\n  idle_timeout_seconds: 1.5\n")
        with WebSocket(running) as silent, WebSocket(running) as moving, Stream(running) as stream:
            stream.request("GET", "/lines", LINES)
            self.assertEqual(stream.head()[0], 101)
            self.assertEqual(stream.until(b"\n"), b"welcome")
            silent.socket.settimeout(0.1)
            rounds = 0
            while True:
                self.assertTrue(moving.echoes())
                rounds += 1
                self.assertLess(rounds, 200)
                try:
                    code = silent.closing()
                    break
                except TimeoutError:
                    continue
            self.assertEqual(code, 1001)
            self.assertGreater(rounds, 10)
            silent.socket.settimeout(LIMIT_S)
            self.ends(silent)
            # The end of its input has the worker say its last words, for which it is too late.
            self.ends(stream)
            self.assertTrue(moving.echoes())

    def test_unix_socket(self) -> None:
        """It is the same with a worker that listens on a UNIX socket."""
        running = self.upgrading(yaml=WORKER_YAML + "listen: unix\n")
        with WebSocket(running) as ws, Stream(running) as stream:
            data = os.urandom(4 * MIB)
            ws.send(frame(BINARY, data))
            self.assertTrue(ws.message() == data)
            stream.request("GET", "/lines", LINES)
            self.assertEqual(stream.head()[0], 101)
            stream.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(stream.until(b"all\n"), b"welcome\nthat was ")
            self.ends(stream)

    def test_bun(self) -> None:
        """A worker on Bun has its WebSockets, with its own idea of frames, compression and closing."""
        needs("bun")
        running = self.serve(workers={"app": {"config/worker.yaml": "path: /\n", "index.ts": BUN}})
        self.when("it answers", lambda: running.get("/").status == 200, running)
        with WebSocket(running) as ws:
            for size in (0, 125, 70_000, MIB):
                data = os.urandom(size)
                ws.send(frame(BINARY, data))
                self.assertTrue(ws.message() == data, size)
            ws.send(frame(TEXT, b"bye"))
            self.assertEqual(ws.closing(), 4000)
            ws.send(frame(CLOSE, struct.pack("!H", 4000)))
            self.ends(ws)
        self.when("nothing is left", lambda: not running.instances()[0]["in_flight"], running)

    def test_worker_that_is_starting(self) -> None:
        """A WebSocket for a worker that is just starting waits for it, as any request does."""
        running = self.serve(workers={"app": worker(WORKER_YAML + "environment: {SLOW_START: '1.5'}\n")})
        with WebSocket(running) as ws:
            self.assertTrue(ws.echoes())


class EndTests(UpgradeCase):
    """When WebSockets are closed, and when not."""

    def drained(self, running: Running, end: Callable[[], object]) -> None:
        """
        Check that WebSockets in several states are closed as each can be, when C{end} has been called.
        """
        with ExitStack() as stack:
            idle, talking, within, deaf = (
                stack.enter_context(WebSocket(running, path)) for path in ("/echo", "/echo", "/echo", "/hang")
            )
            lines = stack.enter_context(Stream(running))
            lines.request("GET", "/lines", LINES)
            self.assertEqual(lines.head()[0], 101)
            # The worker gets a part of a frame, the rest of which never comes.
            within.send(frame(TEXT, b"unfinished business")[:9])
            self.assertTrue(idle.echoes())
            end()
            began = time.monotonic()
            self.assertTrue(talking.echoes())
            for ws in (idle, talking, within, deaf):
                self.assertEqual(ws.closing(), 1001)
            self.assertGreater(time.monotonic() - began, 0.5)
            for ws in (idle, talking, within, deaf):
                with ignoring(ConnectionError):
                    # On a busy machine we may be late, and those who do not answer are cut.
                    ws.send(frame(CLOSE, struct.pack("!H", 1001)))
                    self.ends(ws)
            self.assertEqual(lines.until(b"\n"), b"welcome")
            with ignoring(ConnectionError):
                self.ends(lines)

    def test_another_worker(self) -> None:
        """A reload of another worker, or a change to the routes, leaves WebSockets open."""
        running = self.upgrading(other={"config/worker.yaml": WORKER_YAML.replace("path: /", "path: /other")})
        other = running.directory / "workers/other"
        running.write("workers/other/app.py", (running.directory / "workers/app/app.py").read_text())
        self.when("the other answers", lambda: running.get("/other/pid").status == 200, running)
        with WebSocket(running, "/echo") as ws:
            self.assertTrue(ws.echoes())
            for round in range(3):
                before = running.get("/other/pid").body
                (other / "app.py").write_text((other / "app.py").read_text() + f"# {round}\n")
                self.when("it was replaced", lambda b=before: running.get("/other/pid").body != b, running)
                self.assertTrue(ws.echoes())
            running.edit("workers/other/config/worker.yaml", "path: /other", "path: /elsewhere")
            self.when("it has moved", lambda: running.get("/elsewhere/pid").status == 200, running)
            self.assertTrue(ws.echoes())
            ws.send(frame(CLOSE, struct.pack("!H", 1000)))
            self.assertEqual(ws.closing(), 1000)
            self.ends(ws)

    def test_reload(self) -> None:
        """
        When a worker is replaced its WebSockets go on until the drain ends, while new ones go to its successor; then
        they are closed with 1001, between two frames.
        """
        running = self.upgrading()
        running.edit("etc/server.yaml", "workers: {", "workers: {drain_timeout_seconds: 3, ")
        self.when("the limit is known", lambda: running.status()["config"]["problems"] == [], running)  # type: ignore[index]
        before = running.get("/pid").body

        def reload() -> None:
            path = running.directory / "workers/app/app.py"
            path.write_text(path.read_text() + "# changed\n")
            self.when("it is replaced", lambda: running.get("/pid").body != before, running)

        self.drained(running, reload)
        with WebSocket(running) as ws:
            self.assertTrue(ws.echoes())
            self.when("the old one has gone", lambda: len(running.instances()) == 1, running)
            self.assertTrue(ws.echoes())

    def test_fronts_are_replaced(self) -> None:
        """When the fronts are replaced, WebSockets on the old ones go on until the limit, and are closed with 1001."""
        running = self.upgrading(server="stop_timeout_seconds: 3")
        old = set(running.fronts())

        def replace() -> None:
            running.signal("USR2")
            self.when("there are new ones", lambda: len(set(running.fronts()) - old) == 2, running)

        self.drained(running, replace)
        self.when("the old ones have gone", lambda: not old & set(running.fronts()), running)

    def test_stop(self) -> None:
        """When the server is stopped, WebSockets are closed with 1001 at the limit of its stop."""
        running = self.upgrading(server="stop_timeout_seconds: 3")
        self.drained(running, lambda: running.signal("TERM"))
        assert running.process is not None
        self.assertEqual(running.process.wait(LIMIT_S), 0)

    def test_worker_dies(self) -> None:
        """When a worker dies, its WebSockets end at once."""
        running = self.upgrading()
        with WebSocket(running) as ws:
            self.assertTrue(ws.echoes())
            os.kill(running.instances()[0]["pid"], 9)  # type: ignore[arg-type]
            self.assertRaises((Lost, ConnectionError), ws.frame)

    def test_client_is_reset(self) -> None:
        """When a client's connection breaks, the worker's is broken too, and nothing is left in flight."""
        running = self.upgrading()
        ws = WebSocket(running)
        self.assertTrue(ws.echoes())
        ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ws.close()
        self.when("nothing is in flight", lambda: not running.instances()[0]["in_flight"], running)
