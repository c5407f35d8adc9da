"""An operator's desk: the admin API in front of a supervisor on a fake clock, asked over a fake wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.testing import StringTransport
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from tests.supervisor.world import World
from tqserver.admin.api import Api
from tqserver.admin.interfaces import IControl
from tqserver.admin.log_reading import Logs
from tqserver.admin.site import admin_site
from tqserver.control import Control
from tqserver.logs.workers import WorkerLogs


class _Threadless:
    """A reactor whose only thread is the caller's."""

    def __init__(self, world: World) -> None:
        self._world = world

    def getThreadPool(self) -> Any:
        return self

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        call(*arguments)

    def callInThreadWithCallback(self, told: Callable[[bool, object], None], call: Callable[..., object]) -> None:
        try:
            result = call()
        except Exception as error:
            told(False, error)
        else:
            told(True, result)


class Desk:
    """
    The API and a way to ask it.

    @ivar replaced: how often all fronts were to be replaced.
    """

    def __init__(self, world: World, now: Callable[[], float] | None = None) -> None:
        self.world = world
        self.replaced = 0
        self.logs = WorkerLogs()
        control = Control(_Threadless(world), world.supervisor, world.load, self._replace)  # type: ignore[arg-type]
        verifyObject(IControl, control)
        self.control = IControl(control)
        reading = Logs(lambda: world.supervisor.project, self.logs, self._on_thread, now or world.clock.seconds)
        self.api = Api(world.clock, self.control, reading)
        self.site: Site = admin_site(self.api)

    def _replace(self) -> None:
        self.replaced += 1

    def _on_thread(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return maybeDeferred(call, *arguments)

    def wire(self, method: str, path: str, body: bytes = b"") -> StringTransport:
        """Send a request; what is answered is on the wire."""
        wire = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 1))
        channel = self.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        channel.makeConnection(wire)
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        channel.dataReceived(head.encode() + body)
        wire.channel = channel  # type: ignore[attr-defined]
        return wire

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Ask; status and decoded body of an answer that is there at once."""
        return read(self.wire(method, path, body))


def read(wire: StringTransport) -> tuple[int, Any]:
    """Status and decoded body of what was answered."""
    head, _, body = wire.value().partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        body = _joined(body)
    status = int(head.split()[1])
    return status, json.loads(body) if b"json" in head else body.decode()


def events(wire: StringTransport) -> list[tuple[str, Any]]:
    """The events of a stream so far."""
    _, _, body = wire.value().partition(b"\r\n\r\n")
    found = []
    for block in _joined(body).decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def _joined(body: bytes) -> bytes:
    """A body without its chunks."""
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not length:
            break
        whole, body = whole + body[:length], body[length + 2 :]
    return whole
