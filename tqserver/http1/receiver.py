"""Who takes a worker's response, as L{tqserver.http1.client} knows it."""

from __future__ import annotations

from typing import Protocol as Shape

from ..errors import UpstreamFault
from .head import ResponseHead


class Receiver(Shape):
    """Takes a response."""

    def response_interim(self, head: ResponseHead) -> None:
        """An interim response (1xx)."""

    def response_head(self, head: ResponseHead, first: bytes) -> None:
        """
        The head of the final response.

        @param first: what of the body has come with it.
        """

    def response_data(self, data: bytes) -> None:
        """Some of the response's body."""

    def response_end(self) -> None:
        """The response is whole. The connection may have another user now, or be gone."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """All of the response at once: head, body and end."""

    def response_switched(self, head: ResponseHead, protocol: bytes, ahead: bytes) -> None:
        """
        The worker has switched to another protocol, one that it was offered. L{HTTPClientConnection.hand_over} has to
        follow: the connection is of no other use.

        @param ahead: what it has said in it already.
        """

    def response_late(self) -> None:
        """The connection's deadline has passed."""

    def response_failed(self, fault: UpstreamFault, untouched: bool) -> None:
        """
        The response will never be whole.

        @param untouched: not a single byte of an answer had come.
        """
