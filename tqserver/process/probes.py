"""
Asking an instance whether it is well, over the very address that requests will take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import treq.client
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from ..config.model import HealthConfig
from .interfaces import IProbe, ProbeFault
from .spec import Address

BODY_BYTES_MAX = 64 * 1024
"""
What is read of a health page, in bytes; nobody reads it, but an answer cut at its head would be logged as an
error.
"""

USER_AGENT = b"tqserver-health"


class IProbeReactor(IReactorTCP, IReactorUNIX, IReactorTime):
    """A reactor that connects to either kind of address, and knows the time."""


def endpoint_of(address: Address, reactor: IProbeReactor, timeout_s: float) -> IStreamClientEndpoint:
    """The endpoint of an address; no name is looked up."""
    if address.path:
        return UNIXClientEndpoint(reactor, address.path, timeout=timeout_s)
    family = TCP6ClientEndpoint if ":" in address.host else TCP4ClientEndpoint
    return family(reactor, address.host, address.port, timeout=timeout_s)


def make_probe(
    health: HealthConfig,
    address: Address,
    reactor: IProbeReactor,
    ping: Callable[[], Deferred[None]] | None = None,
) -> IProbe | None:
    """
    The probe that a worker's configuration asks for.

    @param ping: asks over FastCGI; see L{FastCGIProbe}.
    @return: L{None} for C{notify} and C{none}, which are not asked.
    @raise ValueError: C{ping} is missing.
    """
    if health.type == "http":
        return HTTPProbe(address, health.path, health.timeout_s, reactor)
    if health.type == "tcp":
        return ConnectProbe(address, health.timeout_s, reactor)
    if health.type == "fastcgi":
        if ping is None:
            raise ValueError("a FastCGI probe needs a ping")
        return FastCGIProbe(ping, health.timeout_s, reactor)
    return None


def _in_time(question: Deferred[None], timeout_s: float, clock: IReactorTime) -> Deferred[None]:
    """
    Bound a question in time, and say whatever went wrong as a L{ProbeFault}, but for the caller's own change of
    mind.
    """

    def fail(failure: Failure) -> None:
        if failure.check(ProbeFault):
            failure.raiseException()
        if failure.check(ConnectError):
            raise ProbeFault(f"no connection: {failure.getErrorMessage()}")
        raise ProbeFault(f"no valid answer: {failure.getErrorMessage()}")

    def late(result: object, timeout: float) -> None:
        raise ProbeFault(f"no answer within {round(timeout * 1000)} ms")

    def cancel(answer: Deferred[None]) -> None:
        # First: what the question says to its own end is no answer.
        answer.errback(Failure(CancelledError()))
        question.cancel()

    def tell(result: Failure | None) -> None:
        if not answer.called:
            answer.callback(result)

    answer: Deferred[None] = Deferred(cancel)
    question.addErrback(fail).addTimeout(timeout_s, clock, late).addBoth(tell)
    return answer


@implementer(IAgentEndpointFactory)
class _OneAddress:
    """Leads an agent to one address, whatever the URI says."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        """The endpoint."""
        return self._endpoint


class _Discard(Protocol):
    """Reads a body to its end, or to its limit, and keeps nothing."""

    def __init__(self) -> None:
        self.over: Deferred[None] = Deferred(self._cancel)
        self._bytes = 0

    def dataReceived(self, data: bytes) -> None:
        """Some of it."""
        self._bytes += len(data)
        if self._bytes > BODY_BYTES_MAX and self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """All of it, or an end that was not its own."""
        if self.over.called:
            return
        if self._bytes > BODY_BYTES_MAX or reason.check(ResponseDone, PotentialDataLoss):
            self.over.callback(None)
        else:
            self.over.errback(reason)

    def _cancel(self, over: Deferred[None]) -> None:
        """Nobody waits any more."""
        if self.transport is not None:
            self.transport.loseConnection()


@implementer(IProbe)
class HTTPProbe:
    """
    Gets a page. Any status from 200 to 299 is well; a redirect is not followed, and is not.

    Each question has a connection of its own, so that a kept one that the instance just closed is never its
    fault.
    """

    def __init__(self, address: Address, path: str, timeout_s: float, reactor: IProbeReactor) -> None:
        """
        @param path: what to get; begins with a slash.
        @param timeout_s: longest from the question to the end of the answer, in seconds.
        """
        self._address = address
        self._path = path
        self._timeout_s = timeout_s
        self._reactor = reactor

    def check(self) -> Deferred[None]:
        """Ask once; see L{IProbe}."""
        agent = Agent.usingEndpointFactory(
            self._reactor,
            _OneAddress(endpoint_of(self._address, self._reactor, self._timeout_s)),
            HTTPConnectionPool(self._reactor, persistent=False),
        )
        # A client of its own each time: treq keeps cookies, and an instance's health must not depend on them.
        client = treq.client.HTTPClient(agent)
        host = "localhost" if self._address.path else str(self._address)
        asked = cast(
            "Deferred[IResponse]",
            client.get(
                f"http://{host}{self._path}",
                headers=Headers({b"User-Agent": [USER_AGENT], b"Accept": [b"*/*"]}),
                allow_redirects=False,
                unbuffered=True,
                # Not given one, treq would import the global reactor; it asks for more here than it uses.
                reactor=self._reactor,  # type: ignore[arg-type]
            ),
        )
        return _in_time(asked.addCallback(self._judge), self._timeout_s, self._reactor)

    def _judge(self, response: IResponse) -> Deferred[None]:
        """The head of the answer is here."""
        code = cast(int, response.code)
        body = _Discard()
        response.deliverBody(body)

        def decide(result: None) -> None:
            if not 200 <= code <= 299:
                raise ProbeFault(f"GET {self._path} was answered with {code}")

        return body.over.addCallback(decide)


class _Greeting(Protocol):
    """Connects, and leaves."""

    def connectionMade(self) -> None:
        """It is there."""


@implementer(IProbe)
class ConnectProbe:
    """Connects over TCP or to a UNIX socket, and leaves. Whoever accepts is well."""

    def __init__(self, address: Address, timeout_s: float, reactor: IProbeReactor) -> None:
        """
        @param timeout_s: longest for the connection, in seconds.
        """
        self._address = address
        self._timeout_s = timeout_s
        self._reactor = reactor

    def check(self) -> Deferred[None]:
        """Ask once; see L{IProbe}."""
        endpoint = endpoint_of(self._address, self._reactor, self._timeout_s)
        asked = cast("Deferred[Protocol]", endpoint.connect(Factory.forProtocol(_Greeting)))
        return _in_time(asked.addCallback(self._leave), self._timeout_s, self._reactor)

    def _leave(self, protocol: Protocol) -> None:
        """Somebody accepted; see who."""
        transport = cast(ITCPTransport, protocol.transport)
        here: IAddress = transport.getHost()
        there: IAddress = transport.getPeer()
        transport.loseConnection()
        # A connection to a port nobody listens on, but which the kernel happened to choose for our own end,
        # meets itself (simultaneous open, RFC 9293 section 3.5).
        if not self._address.path and here == there:
            raise ProbeFault("no connection: nobody listens")


@implementer(IProbe)
class FastCGIProbe:
    """Asks php-fpm over its own protocol. The question itself is somebody else's, who speaks it."""

    def __init__(self, ping: Callable[[], Deferred[None]], timeout_s: float, clock: IReactorTime) -> None:
        """
        @param ping: asks once; its L{Deferred} fails when the answer is none, and can be cancelled.
        @param timeout_s: longest until its answer, in seconds.
        """
        self._ping = ping
        self._timeout_s = timeout_s
        self._clock = clock

    def check(self) -> Deferred[None]:
        """Ask once; see L{IProbe}."""
        return _in_time(self._ping(), self._timeout_s, self._clock)
