"""
The seam of the data plane: one request and its response, with streaming and backpressure, whoever carries it.

Whoever carries exchanges (our HTTP/1.1 connection, a C{twisted.web} request) provides L{IExchange}. Whoever takes care
of one (a forwarder, a static file) reads the request body as an L{IBodySink} and writes the response as an
C{IPushProducer}, which the exchange pauses while the client is slow.

The life of an exchange, always in this order:

    1. it is given to L{Site.serve<tqserver.front.site.Site.serve>} when the request's head has been read;
    2. C{receive(sink)} starts the body (and answers C{Expect: 100-continue}); nothing of the body is read before, but
       for what came with the head and is kept, so that memory does not grow while a request waits;
    3. C{answer} with a response that is whole; or C{respond}, then any number of C{write}, then C{finish}; or C{abort},
       after which the client can tell that the response is not whole; or C{upgrade}, then C{finish} when the other
       protocol has ended;
    4. C{when_over} callbacks run, once, however it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import Attribute, Interface

from ..errors import Fault
from ..http1.handover import Taker
from ..http1.head import Headers, RequestHead, ResponseHead


class IBodySink(Interface):
    """Takes a request's body."""

    def body_data(data: bytes) -> None:
        """Some of the body, as it was on the wire without transfer codings. Never empty."""

    def body_end() -> None:
        """The body is whole."""

    def body_failed(fault: Fault) -> None:
        """
        The body will never be whole: it was malformed, too long or too slow. The exchange has not been answered
        for it; whoever takes care of it answers with this fault if it still can.
        """


class IExchange(Interface):
    """One request and its response."""

    head: RequestHead = Attribute("The request's head.")
    request_id: str = Attribute("The request's id; set by the site before anybody else sees the exchange.")
    mount: bytes = Attribute("Where the whole site is mounted in another one, such as C{/app}; else empty.")
    response_headers: Headers = Attribute("Headers that are added to the final response, whoever makes it.")
    client_host: str = Attribute("The address of the peer, without port; empty for a UNIX socket.")
    client_port: int = Attribute("The port of the peer, or 0.")
    server_host: str = Attribute("Our own address of the connection, or empty for a UNIX socket.")
    server_port: int = Attribute("Our own port, or 0.")
    secure: bool = Attribute("Whether the client's connection is encrypted.")
    started: float = Attribute("When it was our turn to serve it, by the reactor's monotonic clock, in seconds.")
    status: int = Attribute("The status that was answered, or 0 if none was yet.")
    sent_bytes: int = Attribute("Bytes of response body written so far.")
    over: bool = Attribute("Whether the exchange has ended, well or not.")
    body_fault: Fault | None = Attribute(
        "Why the request's body will never be whole, if that is known: nobody need be asked for an answer."
    )
    replayable: bool = Attribute(
        "Whether C{receive} can tell the body from its beginning: nothing was answered, and little or nothing was told."
    )

    def receive(sink: object) -> None:
        """
        Start the request's body: C{sink} (an L{IBodySink}) gets what there is, at once if it is here already, and then
        the rest. May be called again, with another sink, while the exchange is C{replayable}: the body is then told
        again from its beginning.
        """

    def pause_body() -> None:
        """Read no more of the body until L{resume_body}."""

    def resume_body() -> None:
        """Read on."""

    def answer(head: ResponseHead, body: bytes) -> None:
        """
        The whole final response, in one write.

        @param body: all of it, or what a GET would have had if the request is a HEAD. It is what counts, where the head
            says another length.
        """

    def respond(head: ResponseHead, producer: IPushProducer | None, first: bytes = b"") -> None:
        """
        Begin the final response. The exchange decides the framing and adds its own hop-by-hop fields.

        @param first: some of the body, if there is some already: it goes out with the head, in one write.
        @param producer: is paused while the client is slow, and resumed; never asked to stop: L{when_over} tells.
        """

    def upgrade(head: ResponseHead, protocol: bytes, taker: Taker) -> bool:
        """
        Switch to another protocol: answer with 101, and give the client's connection to who speaks it. Nothing is
        written by the exchange after that; it is finished by who has taken the connection, when that is over. From
        the request's head no more is kept than the access log wants.

        @param head: of the worker's 101.
        @param protocol: what is switched to, one of those in C{head.upgrade}.
        @param taker: gets the connection, and what the client has sent ahead, before this returns.
        @return: whether it was done; if not, nothing was, and the exchange wants another answer. A request whose
            C{head.upgrade} is empty cannot be switched.
        """

    def inform(head: ResponseHead) -> None:
        """Send an interim response (1xx but 101) if the client can take one."""

    def write(data: bytes) -> None:
        """Some of the response's body. Ignored when the exchange is over. A HEAD's body is dropped."""

    def send_file(fd: int, at: int, length: int, ended: Callable[[bool], None]) -> bool:
        """
        Have the kernel send some of the response's body from a file, at the client's pace. Nothing may be written until
        it has ended.

        @param fd: the file's descriptor. It stays the caller's, who keeps it open until then or until L{when_over}.
        @param at: where in the file it begins.
        @param length: bytes, at least one.
        @param ended: called when all was sent, or with false when no more can be; perhaps before this returns.
        @return: false if that cannot be done here: the caller reads and writes, then.
        """

    def finish() -> None:
        """The response is whole. If the request's body is not, the connection is closed rather than read to its end."""

    def abort() -> None:
        """End the exchange so that the client can tell that something is missing: the connection is reset."""

    def when_over(callback: Callable[[], None]) -> None:
        """Have C{callback} run once when the exchange has ended; at once if it has."""


class AccessLogging(Protocol):
    """Where exchanges are recorded when they are over."""

    def log(self, exchange: IExchange, worker: str, endpoint: str, upstream_s: float) -> None:
        """Record one."""
