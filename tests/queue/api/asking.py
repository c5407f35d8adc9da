"""A client of a service, without a connection: what it asks, and what it hears."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from zope.interface import classImplements

from tests.front.fakes import FakeExchange, request_head
from tqserver.front.exchange import IBodySink
from tqserver.queue.api import Api, Call

classImplements(Call, IBodySink)  # It cannot say so itself: queues know nothing of fronts.


def ask(
    api: Api,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> FakeExchange:
    """Send a request, with all of its body; C{None} for no body at all."""
    head = request_head(
        method.encode(), target.encode("latin-1"), headers, content_length=0 if body is None else len(body)
    )
    exchange = FakeExchange(head, body=body or b"")
    api(exchange, head.path)  # type: ignore[arg-type]
    return exchange


def heard(exchange: FakeExchange) -> Any:
    """The JSON of an answer."""
    assert exchange.finished, "there is no answer"
    assert exchange.header(b"content-type") == b"application/json", exchange.response
    return json.loads(exchange.body)
