"""
A WebSocket client on a raw socket, which sends and shows frame by frame, also what no proper client would; and a worker
that echoes, made with an implementation of the protocol that is not ours.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct

from bench.wire import Lost
from tests.functional.running import LIMIT_S, Running
from tests.functional.streams import Stream

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""

WORKER_YAML = """
path: /
type: python
health:
  type: tcp
"""

WORKER = r'''
"""
A worker for tests of upgrades: it does what its path says.

    /echo           a WebSocket that echoes messages; "close CODE" has it close
    /lines          another protocol, "lines": echoes lines, and after the end of its input says so and ends
    /flood          "lines" that sends so many bytes as the path says
    /refuse/STATUS  an ordinary response to a request for an upgrade
    /other          101 with a protocol that nobody has offered
    /asked          what it was asked: the head of the request
    /hang           a WebSocket that does not answer, not even a close frame
    /pid            its process id
"""
import asyncio, os, signal

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection, BytesMessage, CloseConnection, Ping, Request, TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError


async def websocket(reader, writer, head, answers):
    connection = WSConnection(ConnectionType.SERVER)
    connection.receive_data(head)
    while True:
        try:
            for event in connection.events():
                if isinstance(event, Request):
                    protocols = event.subprotocols
                    accept = AcceptConnection(subprotocol=protocols[0] if protocols else None)
                    writer.write(connection.send(accept))
                elif not answers:
                    pass
                elif isinstance(event, (TextMessage, BytesMessage)):
                    if isinstance(event, TextMessage) and event.data.startswith("close "):
                        writer.write(connection.send(CloseConnection(int(event.data.split()[1]), "as you wish")))
                    elif isinstance(event, TextMessage):
                        writer.write(connection.send(TextMessage(event.data, message_finished=event.message_finished)))
                    else:
                        data = bytes(event.data)
                        writer.write(connection.send(BytesMessage(data, message_finished=event.message_finished)))
                elif isinstance(event, Ping):
                    writer.write(connection.send(event.response()))
                elif isinstance(event, CloseConnection):
                    print("closed with", event.code, flush=True)
                    try:
                        writer.write(connection.send(event.response()))
                    except LocalProtocolError:
                        # It was we who began.
                        pass
                    return
        except RemoteProtocolError as error:
            if error.event_hint is not None:
                writer.write(connection.send(error.event_hint))
            print("broken", error, flush=True)
            return
        await writer.drain()
        data = await reader.read(262144)
        if not data:
            print("gone", flush=True)
            return
        connection.receive_data(data)


async def lines(reader, writer):
    while line := await reader.readline():
        writer.write(b"you said " + line)
        await writer.drain()
    writer.write(b"that was all\n")
    await writer.drain()


async def flood(writer, count):
    while count > 0:
        piece = b"x" * min(count, 65536)
        writer.write(piece)
        count -= len(piece)
        await writer.drain()


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
            what, *more = path.strip("/").split("/")
            switch = b"HTTP/1.1 101 Now\r\nconnection: upgrade\r\nupgrade: lines\r\nX-Kept: yes\r\n\r\n"
            body = b"ok"
            if what in ("echo", "hang") and b"\r\nupgrade: websocket" in head.lower():
                await websocket(reader, writer, head, what == "echo")
                return
            if what == "lines" and b"\r\nupgrade:" in head.lower():
                # The first words go out with the head.
                writer.write(switch + b"welcome\n")
                await lines(reader, writer)
                return
            if what == "flood":
                writer.write(switch)
                await flood(writer, int(more[0]))
                return
            if what == "other":
                writer.write(switch.replace(b"lines", b"other"))
                await writer.drain()
                await reader.read()
                return
            if what == "asked":
                body = head
            elif what == "pid":
                body = b"%d" % os.getpid()
            status = int(more[0]) if what == "refuse" else 200
            extra = b"Connection: upgrade\r\nUpgrade: websocket\r\n" if status == 426 else b""
            writer.write(b"HTTP/1.1 %d Plain\r\n%bContent-Length: %d\r\n\r\n" % (status, extra, len(body)) + body)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.sleep(float(os.environ.get("SLOW_START", "0")))
    if path := os.environ.get("WORKER_SOCKET"):
        await asyncio.start_unix_server(serve, path, backlog=1024)
    else:
        await asyncio.start_server(serve, "127.0.0.1", int(os.environ["WORKER_PORT"]), backlog=1024)
    await stop.wait()

asyncio.run(main())
'''


def worker(yaml: str = WORKER_YAML) -> dict[str, str]:
    """The files of the worker above."""
    return {"config/worker.yaml": yaml, "app.py": WORKER}


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    mask: bytes | None = b"\x01\x02\x03\x04",
    reserved: int = 0,
) -> bytes:
    """
    One frame as it is on the wire (RFC 6455 section 5.2).

    @param mask: of what a client sends; L{None} for none.
    """
    first = (0x80 if final else 0) | reserved << 4 | opcode
    size = len(payload)
    masked = 0x80 if mask is not None else 0
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + payload
    return head + mask + masking(payload, mask)


def masking(payload: bytes, mask: bytes) -> bytes:
    """A payload masked, or unmasked (section 5.3)."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class WebSocket(Stream):
    """
    One WebSocket.

    @ivar fields: header fields of the answer to the handshake, by lower-case names.
    """

    def __init__(
        self,
        running: Running,
        path: str = "/echo",
        *,
        ahead: bytes = b"",
        headers: str = "",
        receive_buffer_bytes: int = 0,
        wait: bool = True,
        timeout_s: float = LIMIT_S,
    ) -> None:
        """
        Connect and shake hands.

        @param ahead: is sent behind the handshake, without waiting for its answer.
        @param wait: for the answer; else L{shake} is the caller's to call.
        """
        super().__init__(running, receive_buffer_bytes, timeout_s=timeout_s)
        self._key = base64.b64encode(os.urandom(16))
        self.fields: dict[str, str] = {}
        self.send(
            (
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {self._key.decode()}\r\n{headers}\r\n"
            ).encode()
            + ahead
        )
        if wait:
            self.shake()

    def shake(self) -> None:
        """Read the answer to the handshake, which has to be right (section 4.1)."""
        status, self.fields = self.head()
        if status != 101:
            raise Lost("refused", f"{status} {self.fields}")
        accept = base64.b64encode(hashlib.sha1(self._key + _GUID).digest()).decode()
        assert self.fields["sec-websocket-accept"] == accept, self.fields
        assert self.fields["upgrade"].lower() == "websocket", self.fields
        assert self.fields["connection"].lower() == "upgrade", self.fields

    def frame(self) -> tuple[int, bytes, bool]:
        """
        The next frame.

        @return: opcode, payload, whether it is the last of its message.
        """
        first, second = self.exactly(2)
        assert not second & 0x80, "a server's frames are not masked"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.exactly(8))
        return first & 0x0F, self.exactly(size), bool(first & 0x80)

    def message(self) -> bytes:
        """The next message, whole; control frames within it are left out."""
        pieces = []
        while True:
            opcode, payload, final = self.frame()
            if opcode >= CLOSE:
                assert opcode != CLOSE, payload
                continue
            pieces.append(payload)
            if final:
                return b"".join(pieces)

    def closing(self) -> int:
        """The status of the close frame that comes next, perhaps after other frames."""
        while True:
            opcode, payload, _ = self.frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")

    def echoes(self, text: bytes = b"hello") -> bool:
        """Whether a message comes back."""
        self.send(frame(TEXT, text))
        return self.message() == text
