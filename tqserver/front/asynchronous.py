"""
Requests that are answered later (C{Prefer: respond-async}, RFC 7240 section 4.1): they are handed to the queue as they
come, body and all, as if it were the worker they are for. One field more says so, and where clients reach the queue.
The queue stores them, and sends them here again when their turn has come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..http1.head import RequestHead
from ..plane.messages import Routing
from ..plane.task_fields import TASK_ASYNC
from .forwarded import Forwarding
from .routes import Match
from .worker import Passage, Worker

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')

_RESPOND_ASYNC = re.compile(rb"(?i)(?:^|,)[ \t]*respond-async[ \t]*(?:[,;]|$)")


def prefers_later(head: RequestHead) -> bool:
    """Whether a client would rather be answered later."""
    for name, value in head.headers:
        if name == b"prefer" and _RESPOND_ASYNC.search(_QUOTED.sub(b"", value)):
            return not head.upgrade
    return False


class Asynchronous:
    """
    What a routing says of such requests.

    @ivar workers: those that may get some.
    """

    def __init__(self, routing: Routing) -> None:
        queue = routing.queue
        prefixes = [route.prefix for route in routing.routes if route.worker == queue]
        self._queue = queue if prefixes else ""
        # Clients ask where any host leads to the queue, if there is such a route.
        anywhere = [route.prefix for route in routing.routes if route.worker == queue and not route.host]
        self._prefix = (anywhere or prefixes or [""])[0]
        self._routes = frozenset((route.worker, route.prefix) for route in routing.routes if route.asynchronous)
        self.workers = frozenset(worker for worker, _ in self._routes if self._queue and worker != queue)

    def keep(
        self, passage: Passage, workers: Mapping[str, Worker], forwarding: Forwarding, peer: str, scheme: bytes
    ) -> bool:
        """
        Have a request go to the queue, if it is one of those: its path as it is, and all that is told of its client.

        @return: whether it goes there.
        """
        exchange, match = passage.exchange, passage.match
        head = exchange.head
        if match is None or (match.worker, match.prefix) not in self._routes or not prefers_later(head):
            return False
        queue = workers.get(self._queue)
        if queue is not None:
            passage.worker = queue
            passage.match = Match(self._queue, self._prefix, 0, b"/")
            place = exchange.mount + self._prefix.rstrip("/").encode("utf-8") or b"/"
            # The prefix is told to the worker, when it is asked.
            lines = forwarding.lines(head, peer, scheme, exchange.mount, exchange.request_id)
            passage.lines = [b"%b: %b\r\n" % (TASK_ASYNC, place), *lines]
        return queue is not None
