"""The part of a connection to a worker that lets it switch to another protocol (RFC 9110 section 7.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ITransport

from ..errors import UpstreamFault
from .handover import Taker, give
from .head import Headers, ResponseHead
from .outbox import Outbox
from .receiver import Receiver
from .sweep import NEVER
from .upgrade import choice

_UPGRADE_REQUIRED = 426

TELL_UPGRADES = (101, _UPGRADE_REQUIRED)
"""Statuses that say what is switched to, or should be (RFC 9110 sections 15.2.2 and 15.5.22)."""


class Switching:
    """
    What is there for few connections is of the class until then.

    @ivar offered: other protocols that the worker may switch to in answer to the request: the value of C{Upgrade}.
    """

    transport: ITransport | None
    on_lost: Callable[[Any], None]
    _outbox: Outbox
    _parser: Any
    _paused: bool
    _receiver: Receiver | None
    deadline: float
    reusable: bool

    offered = b""
    _upgrades: tuple[bytes, ...] = ()
    """Values of C{Upgrade}, where they mean something."""
    _named: frozenset[bytes] = frozenset()
    """What C{Connection} named, if there was one in the last answer that had one."""
    _chosen = b""
    _switched: ResponseHead | None = None

    def hand_over(self, taker: Taker) -> None:
        """Give the connection to who speaks the other protocol."""
        transport = self.transport
        assert transport is not None
        self._outbox.flush()
        transport.unregisterProducer()  # type: ignore[attr-defined]
        self.on_lost(self)
        # The parser refers to us and we to it.
        del self._parser
        give(transport, taker, self._paused, b"")

    def _choose(self, head: ResponseHead, has_body: bool) -> UpstreamFault | None:
        """
        The worker switches, to something that it was offered or not.

        @param head: of its 101.
        @param has_body: it says that the 101 has a body, which it cannot.
        @return: what is wrong with it.
        """
        self._chosen = choice(self.offered, self._upgrades, self._named)
        if not self._chosen or has_body:
            return UpstreamFault("The worker switched to a protocol that it was not offered.")
        self._switched = head
        return None

    def _switch(self, head: ResponseHead, ahead: bytes) -> None:
        """
        The worker has switched.

        @param ahead: what has come behind its 101.
        """
        receiver, self._receiver = self._receiver, None
        self.deadline = NEVER
        self.reusable = False
        if receiver is not None:
            receiver.response_switched(head, self._chosen, ahead)

    def _told_upgrades(self) -> Headers:
        """What a client that has to upgrade is told of it."""
        if not self._upgrades or self._parser.get_status_code() != _UPGRADE_REQUIRED:
            return []
        upgrades, self._upgrades = self._upgrades, ()
        return [*((b"Upgrade", value) for value in upgrades), (b"Connection", b"Upgrade")]
