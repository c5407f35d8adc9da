"""
A server, one for many tests, with a worker behind it that takes down whatever reaches it.

The worker reads with L{tests.functional.strict_reader}, keeps a note of every request, of every piece of one and of
everything that is none, and answers with what it has read.
"""

from __future__ import annotations

import atexit
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.functional import strict_reader
from tests.functional.running import WORKER_YAML, Running, RunningCase

PATIENCE_S = 30.0
"""How long the server may take to say something; generous, for machines that do other things besides."""

PATIENT_YAML = """
health: {interval_seconds: 30, timeout_ms: 20000, failures: 10}
outlier: {failures: 0}
"""
"""A worker is not replaced because the machine is busy, nor left alone because it answers what it is told to."""

WORKER = r'''
"""Takes down what comes, and answers with it."""
import asyncio, json, os
from strict_reader import Refused, read_one

notes = []

def described(request):
    return {"method": request.method, "target": request.target, "host": request.host, "headers": request.headers,
        "chunked": request.chunked, "body": request.body.hex(), "head": request.head.hex()}

async def serve(reader, writer):
    data, at = b"", 0
    try:
        while True:
            try:
                found = read_one(data, at)
            except Refused as refused:
                notes.append({"refused": str(refused), "bytes": data[at:].hex()})
                return
            if found is not None:
                request, at = found
                if request.target == "/health":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                note = described(request)
                notes.append(note)
                answer = json.dumps(note).encode()
                if request.target.startswith("/answer"):
                    # With the very bytes that were sent.
                    writer.write(request.body)
                    if request.target == "/answer-and-close":
                        return
                    continue
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
                if request.method != "HEAD":
                    writer.write(answer)
                continue
            more = await reader.read(65536)
            if not more:
                if data[at:]:
                    notes.append({"piece": data[at:].hex()})
                return
            data, at = data[at:] + more, 0
    except OSError as error:
        if data[at:]:
            notes.append({"piece": data[at:].hex()})
    finally:
        writer.close()

async def tell(reader, writer):
    for _ in range(8):
        await asyncio.sleep(0)  # Whatever has reached us by now is read.
    writer.write(json.dumps(notes).encode())
    notes.clear()
    writer.close()

async def main():
    await asyncio.start_unix_server(tell, os.environ["NOTES"])
    await (await asyncio.start_server(serve, "127.0.0.1", int(os.environ["WORKER_PORT"]))).serve_forever()

asyncio.run(main())
'''

Note = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One whole answer of the server's; interim answers that came before it by their status."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: tuple[int, ...] = ()

    @property
    def note(self) -> Note:
        """What the worker says that it has read."""
        note: Note = json.loads(self.body)
        return note


class Ended(Exception):
    """The server has said all it will say on this connection."""


class Client:
    """A connection on which any bytes may be sent."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *reason: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send some bytes; the server may have closed before it has read them all."""
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def _more(self) -> None:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Ended(self._data)
        self._data += data

    def _until(self, end: bytes) -> bytes:
        while end not in self._data:
            self._more()
        found, _, self._data = self._data.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            self._more()
        found, self._data = self._data[:size], self._data[size:]
        return found

    def reply(self, method: str = "GET") -> Reply:
        """
        The next answer, to this method.

        @raise Ended: there is none.
        """
        interim: list[int] = []
        while True:
            line, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            match = re.fullmatch(r"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~\x80-\xff]*", line)
            assert match is not None, line
            status = int(match[1])
            headers = dict(strict_reader.read_fields(lines))
            if status >= 200:
                break
            interim.append(status)
        if status >= 400 and headers.get("connection") == "close":
            # Perhaps to a HEAD, perhaps to something that nobody can tell from one.
            body = self.rest()
            assert len(body) in (0, int(headers["content-length"])), body
        elif method == "HEAD" or status in (204, 304):
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            assert "content-length" not in headers
            body = b""
            while size := int(self._until(b"\r\n"), 16):
                body += self._exactly(size)
                assert self._exactly(2) == b"\r\n"
            assert self._exactly(2) == b"\r\n"
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        else:
            body = self.rest()
        return Reply(status, headers, body, tuple(interim))

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            while True:
                self._more()
        except Ended:
            data, self._data = self._data, b""
            return data


class StrictCase(RunningCase):
    """Tests that share a server of one front, and its worker."""

    server = "max_body_bytes: 100000"
    """Lines of the C{server:} section."""

    _shared: tuple[object, Running] | None = None
    """The server that is running, and how it was set up."""

    @classmethod
    def workers(cls) -> Mapping[str, Mapping[str, str]]:
        """Files by worker, by path below its folder."""
        return {
            "app": {
                "config/worker.yaml": WORKER_YAML + PATIENT_YAML,
                "app.py": WORKER,
                "strict_reader.py": Path(strict_reader.__file__).read_text(),
            }
        }

    def setUp(self) -> None:
        self.running = self._share()
        self.seen()

    def _share(self) -> Running:
        setting = (self.server, self.workers())
        if StrictCase._shared is not None:
            shared, running = StrictCase._shared
            if shared == setting and running.process is not None and running.process.poll() is None:
                return running
            StrictCase._shared = None
            running.end()
        running = Running(*setting)
        atexit.register(running.end)
        running.edit("etc/server.yaml", "fronts: 2", "fronts: 1")
        with (running.directory / "workers/app/config/worker.yaml").open("a") as file:
            file.write(f"environment: {{NOTES: {running.directory / 'notes.sock'}}}\n")
        self.prepare(running)
        running.start()
        self.when("the worker answers", lambda: running.get("/").status == 200, running)
        StrictCase._shared = (setting, running)
        return running

    def prepare(self, running: Running) -> None:
        """Before the server starts."""

    def client(self) -> Client:
        """A new connection."""
        return Client(("127.0.0.1", self.running.port))

    def seen(self) -> list[Note]:
        """
        What has reached the worker since the last look. The front reads what came to it in order, so that all of it has
        been decided on when it has answered something that was asked later.
        """
        with self.client() as client:
            client.send(b"GET /barrier HTTP/1.1\r\nHost: barrier\r\nConnection: close\r\n\r\n")
            self.assertEqual(client.reply().status, 200)
        with socket.socket(socket.AF_UNIX) as notes:
            notes.settimeout(PATIENCE_S)
            notes.connect(str(self.running.directory / "notes.sock"))
            text = b""
            while data := notes.recv(1 << 20):
                text += data
        found: list[Note] = json.loads(text)
        return [note for note in found if note.get("target") != "/barrier"]
