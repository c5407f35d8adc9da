"""A uvloop without I/O: its transport and as much of its loop as a stream needs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.address import IPv4Address

from tqserver.turns import Turns
from tqserver.uv.transport import Stream


class FakeTransport:
    """
    uvloop's transport, whose peer takes C{window} bytes and then no more until somebody calls L{drain}.

    @ivar sent: what the peer has got.
    @ivar calls: what else was asked of us.
    """

    def __init__(self, loop: FakeLoop, window: int) -> None:
        self.loop = loop
        self.window = window
        self.sent = b""
        self.waiting = b""
        self.calls: list[str] = []
        self.high, self.low = 64 * 1024, 16
        self.full = False
        self.reading = False
        self.closing = False
        self.lost = False

    def set_protocol(self, protocol: Any) -> None:
        """Look up C{data_received}, once, as uvloop does."""
        self.protocol = protocol
        self.data_received = protocol.data_received

    def write(self, data: bytes) -> None:
        """Take what goes at once, and buffer the rest."""
        if self.lost:
            return
        if "eof" in self.calls:
            raise RuntimeError("write after write_eof")
        self.waiting += data
        self._send()
        self._pause()

    def writelines(self, pieces: Iterable[bytes]) -> None:
        """Write them all."""
        self.write(b"".join(pieces))

    def _send(self) -> None:
        if not self.full:
            self._take()

    def _take(self) -> None:
        now, self.waiting = self.waiting[: self.window], self.waiting[self.window :]
        self.sent += now
        self.window -= len(now)

    def _pause(self) -> None:
        if len(self.waiting) > self.high and not self.full:
            self.full = True
            self.protocol.pause_writing()

    def drain(self, window: int = 1 << 30) -> None:
        """The peer reads."""
        self.window += window
        self._take()
        if self.full and len(self.waiting) <= self.low:
            self.full = False
            self.protocol.resume_writing()
        if self.closing and not self.waiting:
            self._lose(None)

    def get_write_buffer_size(self) -> int:
        """What the peer has not got."""
        return len(self.waiting)

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """When to pause and resume writers."""
        self.high, self.low = high, low
        self._pause()

    def write_eof(self) -> None:
        """Write no more."""
        self.calls.append("eof")

    def pause_reading(self) -> None:
        """Read no more."""
        self.reading = False

    def resume_reading(self) -> None:
        """Read on."""
        self.reading = not self.closing

    def is_reading(self) -> bool:
        """Whether something that came would be read."""
        return self.reading

    def close(self) -> None:
        """Close when everything is written."""
        self.closing, self.reading = True, False
        self.calls.append("close")
        if not self.waiting:
            self._lose(None)

    def abort(self) -> None:
        """Close now."""
        if not self.lost:
            self.calls.append("abort")
        self.closing, self.reading = True, False
        self._lose(None)

    def _lose(self, error: BaseException | None) -> None:
        if not self.lost:
            self.lost = True
            self.loop.call_soon(lambda: self.protocol.connection_lost(error))

    def receive(self, data: bytes) -> None:
        """Something came: an exception of the protocol ends the connection, as with uvloop."""
        assert self.reading, "not read"
        try:
            self.data_received(data)
        except Exception as error:
            self.closing, self.reading = True, False
            self._lose(error)

    def eof(self) -> None:
        """The peer writes no more."""
        self.reading = False
        if not self.protocol.eof_received():
            self.close()


class FakeLoop:
    """
    The loop: what is called soon is called by L{turn}.

    @ivar transport: the last transport that was made.
    """

    def __init__(self, window: int = 1 << 30) -> None:
        self.window = window
        self.soon: list[Callable[[], object]] = []
        self._asyncio = asyncio.new_event_loop()
        self._asyncio.close()

    def call_soon(self, call: Callable[..., object], *args: object) -> object:
        """Call it in the next turn."""
        self.soon.append(lambda: call(*args))
        return object()

    def turn(self) -> None:
        """Do what was to be done soon, and what that wants done soon, until there is nothing left."""
        while self.soon:
            soon, self.soon = self.soon, []
            for call in soon:
                call()

    async def connect_accepted_socket(self, factory: Callable[[], Any], skt: object) -> None:
        """Make a transport, which is connected in the next turn."""
        transport = self.transport = FakeTransport(self, self.window)
        transport.set_protocol(factory())

        def made() -> None:
            transport.protocol.connection_made(transport)
            if not transport.closing:
                transport.reading = True

        self.call_soon(made)
        await asyncio.Future(loop=self._asyncio)


class FakeReactor:
    """What a stream needs of a reactor."""

    def __init__(self, loop: FakeLoop) -> None:
        self.event_loop: Any = loop
        self.streams: set[Any] = set()
        self.turns = Turns(loop.call_soon)


class FakeSocket:
    """A socket with options."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.options: dict[tuple[int, int], object] = {}

    def fileno(self) -> int:
        """A descriptor."""
        return 7

    def setsockopt(self, level: int, name: int, value: object) -> None:
        """Remember an option."""
        self.options[level, name] = value


class FakeStream(Stream):
    """A stream that has names."""

    def getHost(self) -> IPv4Address:
        """Some address."""
        return IPv4Address("TCP", "192.0.2.1", 80)

    getPeer = getHost
