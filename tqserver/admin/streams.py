"""
Server-sent events (the WHATWG's HTML standard, section 9.2): answers that go on for as long as their reader likes.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web.server import Request
from zope.interface import implementer

HEARTBEAT_S = 15.0
"""A comment so often: who has gone is noticed, and nobody between us takes the silence for an end."""

BEHIND_BYTES_MAX = 4 * 1024 * 1024
"""A reader that is behind by more is cut off: it connects again, and begins with how things are by then."""


@implementer(IPushProducer)
class EventStream:
    """One reader."""

    def __init__(self, clock: IReactorTime, request: Request) -> None:
        """
        Begin to answer.

        @param request: is finished when C{ended} fires, by whoever waits for that.
        """
        self._request = request
        self._behind: list[bytes] = []
        self._behind_bytes = 0
        self._paused = False
        self._over = False
        self._serial = 0
        self._leaving: list[Callable[[], None]] = []
        self.ended: Deferred[None] = Deferred(lambda ended: ended.callback(None))
        """Fires at L{end}; it is cancelled when the reader has gone."""
        request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-accel-buffering", b"no")
        request.notifyFinish().addBoth(self._gone)
        request.registerProducer(self, True)
        self._heartbeat = LoopingCall(self._write, b": still here\n\n")
        self._heartbeat.clock = clock
        self._heartbeat.start(HEARTBEAT_S, now=True)

    def when_over(self, leave: Callable[[], None]) -> None:
        """Have C{leave} called when the reader has gone; at once if it has."""
        if self._over:
            leave()
        else:
            self._leaving.append(leave)

    def send(self, event: str, data: object) -> None:
        """
        Tell an event.

        @param data: anything that JSON can say.
        """
        self._serial += 1
        self._write(b"event: %s\nid: %d\ndata: %s\n\n" % (event.encode(), self._serial, msgspec.json.encode(data)))

    def end(self) -> None:
        """There is nothing more to tell."""
        if not self._over:
            self._request.unregisterProducer()
            self._gone(None)
            self.ended.callback(None)

    def _write(self, data: bytes) -> None:
        if self._over:
            return
        if not self._paused:
            self._request.write(data)
            return
        self._behind.append(data)
        self._behind_bytes += len(data)
        if self._behind_bytes > BEHIND_BYTES_MAX:
            self._gone(None)
            self._request.channel.forceAbortClient()

    def _gone(self, _: object) -> None:
        if self._over:
            return
        self._over = True
        self._heartbeat.stop()
        self._behind.clear()
        leaving, self._leaving = self._leaving, []
        for leave in leaving:
            leave()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        behind, self._behind, self._behind_bytes = self._behind, [], 0
        if behind and not self._over:
            self._request.write(b"".join(behind))

    def stopProducing(self) -> None:
        self._gone(None)
