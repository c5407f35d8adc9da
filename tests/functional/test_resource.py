"""Tests of the reverse-proxy resource on real sockets: treq in front, C{twisted.web} behind, HTTP/1.1 and
HTTP/2."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.http import H2_ENABLED
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.server import Site as WebSite
from zope.interface import implementer

from tqserver.front.resource import ReverseProxy

if H2_ENABLED:
    import h2.connection
    import h2.events

LARGE = 8 * 1024 * 1024
"""More than all the buffers between two ends of a connection on this machine hold."""

Step = Coroutine[Deferred[Any], Any, None]


def asynchronous(test: Callable[..., Step]) -> Callable[..., Deferred[None]]:
    """Run a coroutine as a test."""

    @wraps(test)
    def run(case: TestCase) -> Deferred[None]:
        return Deferred.fromCoroutine(test(case))

    return run


async def until(condition: Callable[[], bool]) -> None:
    """Let the reactor work until something is so; trial's timeout ends it if it never is."""
    while not condition():
        await deferLater(reactor, 0.005)


@implementer(IPushProducer)
class Pouring:
    """Writes a lot as fast as it may."""

    def __init__(self, request: Request, size: int) -> None:
        self.request = request
        self.remaining = size
        self.written = 0
        self.paused = False
        self.gone = False
        request.notifyFinish().addErrback(lambda reason: setattr(self, "gone", True))
        request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while self.remaining and not self.paused and not self.gone:
            data = b"x" * min(65536, self.remaining)
            self.remaining -= len(data)
            self.written += len(data)
            self.request.write(data)
        if not self.remaining and not self.gone:
            self.gone = True
            self.request.unregisterProducer()
            self.request.finish()

    def pauseProducing(self) -> None:
        self.paused = True

    def stopProducing(self) -> None:
        self.gone = True


class Worker(Resource):
    """The server behind the proxy; what it does is in the last segment of the path."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.pouring: list[Pouring] = []
        self.gone = 0

    def render(self, request: Request) -> bytes | int:
        act = request.path.rpartition(b"/")[2]
        if act == b"pour":
            self.pouring.append(Pouring(request, LARGE))
            return NOT_DONE_YET
        if act == b"break":
            request.write(b"some of it")
            reactor.callLater(0.05, request.transport.abortConnection)
            return NOT_DONE_YET
        if act == b"wait":
            request.notifyFinish().addErrback(self._left)
            return NOT_DONE_YET
        if act == b"cookies":
            request.addCookie("a", "1")
            request.addCookie("b", "2")
            request.setResponseCode(201, b"Made")
            return b"made"
        fields = {name.decode().lower(): [value.decode() for value in values] for name, values in _fields(request)}
        body = request.content.read()
        request.setHeader("content-type", "application/json")
        told = {
            "method": request.method.decode(),
            "uri": request.uri.decode(),
            "fields": fields,
            "body_bytes": len(body),
            "body_sum": sum(body),
        }
        return json.dumps(told).encode()

    def _left(self, reason: Failure) -> None:
        self.gone += 1


def _fields(request: Request) -> list[tuple[bytes, list[bytes]]]:
    return list(request.requestHeaders.getAllRawHeaders())


class ProxyTestCase(TestCase):
    """A worker on one port, and somebody's site with a proxy to it on another."""

    timeout = 20

    def setUp(self) -> None:
        self.worker = Worker()
        worker_port = self.listen(WebSite(self.worker))
        self.proxy = ReverseProxy.to(reactor, f"http://127.0.0.1:{worker_port}/app")
        self.addCleanup(self.proxy.close)
        root = Resource()
        apps = Resource()
        root.putChild(b"apps", apps)
        apps.putChild(b"one", self.proxy)
        self.port = self.listen(self.web_factory(WebSite(root, parsePOSTFormSubmission=False)))
        self.url = f"http://127.0.0.1:{self.port}/apps/one"
        pool = HTTPConnectionPool(reactor)
        self.addCleanup(pool.closeCachedConnections)
        self.agent = Agent(reactor, pool=pool)

    def web_factory(self, site: WebSite) -> ServerFactory[Any]:
        """What listens in front."""
        return site

    def listen(self, factory: ServerFactory[Any]) -> int:
        """Listen until the test ends; the port."""
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def get(self, path: str, **more: Any) -> tuple[Any, bytes]:
        """Ask by treq."""
        response = await treq.get(self.url + path, agent=self.agent, **more)
        return response, await response.content()


class TreqTests(ProxyTestCase):
    """With treq, over HTTP/1.1."""

    @asynchronous
    async def test_get(self) -> None:
        """A request reaches the worker with its path as it was, and with who asked; the answer comes back."""
        response, body = await self.get("/a%2Fb/echo?x=%20y", headers={"X-Mine": "1", "X-Forwarded-For": "6.6.6.6"})
        self.assertEqual(response.code, 200)
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["application/json"])
        told = json.loads(body)
        self.assertEqual((told["method"], told["uri"]), ("GET", "/app/a%2Fb/echo?x=%20y"))
        self.assertEqual(told["fields"]["x-mine"], ["1"])
        self.assertEqual(told["fields"]["x-forwarded-for"], ["127.0.0.1"])
        self.assertEqual(told["fields"]["host"], [f"127.0.0.1:{self.port}"])
        self.assertEqual(told["fields"]["x-forwarded-proto"], ["http"])

    @asynchronous
    async def test_upload(self) -> None:
        """A large body arrives whole, with a length or chunked."""
        body = bytes(range(256)) * (LARGE // 256)
        response = await treq.post(self.url + "/echo", body, agent=self.agent)
        told = json.loads(await response.content())
        self.assertEqual((told["body_bytes"], told["body_sum"]), (LARGE, sum(body)))
        response = await treq.post(self.url + "/echo", Chunks(body), agent=self.agent)
        told = json.loads(await response.content())
        self.assertEqual((told["body_bytes"], told["body_sum"]), (LARGE, sum(body)))

    @asynchronous
    async def test_download(self) -> None:
        """A large response arrives whole."""
        _, body = await self.get("/pour")
        self.assertEqual(len(body), LARGE)

    @asynchronous
    async def test_status_and_cookies(self) -> None:
        """Status and several cookies come through."""
        response, body = await self.get("/cookies")
        self.assertEqual((response.code, response.phrase, body), (201, b"Made", b"made"))
        self.assertEqual(response.headers.getRawHeaders("set-cookie"), ["a=1", "b=2"])

    @asynchronous
    async def test_head(self) -> None:
        """HEAD has the head only, and the connection goes on."""
        response = await treq.head(self.url + "/echo", agent=self.agent)
        self.assertEqual(await response.content(), b"")
        self.assertTrue(response.headers.hasHeader("content-length") or response.length)
        _, body = await self.get("/echo")
        self.assertEqual(json.loads(body)["method"], "GET")

    @asynchronous
    async def test_broken_answer(self) -> None:
        """When the worker breaks in the middle, the client can tell: it is never a short answer that looks
        whole."""
        response = await treq.get(self.url + "/break", agent=self.agent)
        self.assertEqual(response.code, 200)
        failure = await self.assertFailure(response.content(), ResponseFailed)
        self.assertTrue(failure.reasons)

    @asynchronous
    async def test_nobody_there(self) -> None:
        """When nobody listens at the address, the answer is an error page, not a hang; a server may
        restart."""
        port = reactor.listenTCP(0, WebSite(Worker()), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        proxy = ReverseProxy.to(reactor, f"http://127.0.0.1:{number}", waiting_timeout_s=0.2)
        self.addCleanup(proxy.close)
        front = self.listen(WebSite(proxy))
        response = await treq.get(f"http://127.0.0.1:{front}/", agent=self.agent)
        problem = json.loads(await response.content())
        self.assertEqual((response.code, problem["status"]), (504, 504))
        port = reactor.listenTCP(number, WebSite(Worker()), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        await until(lambda: not any("Site." in str(call) for call in reactor.getDelayedCalls()))
        response = await treq.get(f"http://127.0.0.1:{front}/", agent=self.agent)
        self.assertEqual((response.code, len(await response.content()) > 0), (200, True))

    @asynchronous
    async def test_slow_client(self) -> None:
        """A client that does not read stops the worker, so that nothing piles up in between."""
        client = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), Slow())
        client.transport.write(b"GET /apps/one/pour HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: bool(self.worker.pouring) and self.worker.pouring[0].paused)
        before = -1
        while before != self.worker.pouring[0].written:
            before = self.worker.pouring[0].written
            await deferLater(reactor, 0.1)
        self.assertGreater(self.worker.pouring[0].remaining, 0)
        client.transport.resumeProducing()
        await until(lambda: client.received > LARGE)
        client.transport.abortConnection()
        await client.lost

    @asynchronous
    async def test_client_leaves(self) -> None:
        """A client that leaves is told to the worker."""
        client = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), Slow())
        client.transport.write(b"GET /apps/one/wait HTTP/1.1\r\nHost: h\r\n\r\n")
        await deferLater(reactor, 0.05)
        client.transport.abortConnection()
        await client.lost
        await until(lambda: self.worker.gone == 1)


@implementer(IBodyProducer)
class Chunks:
    """A body whose length nobody knows."""

    length = UNKNOWN_LENGTH

    def __init__(self, body: bytes) -> None:
        self.body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Write it all."""
        for at in range(0, len(self.body), 1 << 20):
            consumer.write(self.body[at : at + (1 << 20)])
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def stopProducing(self) -> None:
        """There is nothing to stop."""

    pauseProducing = resumeProducing = stopProducing


class Slow(Protocol):
    """A client that reads only when it is told to."""

    def __init__(self) -> None:
        self.received = 0
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)

    def connectionLost(self, reason: object = None) -> None:
        self.lost.callback(None)


class PriorKnowledge(ProtocolWrapper):
    """A transport whose client has negotiated HTTP/2."""

    negotiatedProtocol = b"h2"

    def abortConnection(self) -> None:
        """As TCP has it."""
        self.transport.abortConnection()


class H2Client(Protocol):
    """A client of HTTP/2 that makes one request."""

    def __init__(self, path: str, read: bool) -> None:
        self.path = path
        self.read = read
        self.unread = 0
        self.h2 = h2.connection.H2Connection()
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = 0
        self.content = b""
        self.over: Deferred[h2.events.Event] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.h2.initiate_connection()
        head = [(":method", "GET"), (":path", self.path), (":scheme", "http"), (":authority", "example.test")]
        self.h2.send_headers(1, [*head, ("cookie", "a=1"), ("cookie", "b=2")], end_stream=True)
        self.send()

    def send(self) -> None:
        """Send what there is."""
        self.transport.write(self.h2.data_to_send())

    def read_on(self) -> None:
        """Take what has come, and whatever comes."""
        self.read = True
        if self.unread:
            self.h2.acknowledge_received_data(self.unread, 1)
            self.unread = 0
            self.send()

    def dataReceived(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
            elif isinstance(event, h2.events.DataReceived):
                self.body += len(event.data)
                self.content = (self.content + event.data)[-100_000:]
                self.unread += event.flow_controlled_length
                if self.read:
                    self.read_on()
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.over.callback(event)
        self.send()

    def connectionLost(self, reason: object = None) -> None:
        self.lost.callback(None)


class H2Tests(ProxyTestCase):
    """Over HTTP/2."""

    if not H2_ENABLED:
        skip = "twisted.web has no HTTP/2 without Twisted[http2]"

    def web_factory(self, site: WebSite) -> ServerFactory[Any]:
        factory = WrappingFactory(site)
        factory.protocol = PriorKnowledge
        return factory

    async def client(self, path: str, read: bool = True) -> H2Client:
        """Make a request."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        client: H2Client = await connectProtocol(endpoint, H2Client(path, read))
        return client

    async def leave(self, client: H2Client) -> None:
        """Close a client's connection."""
        client.transport.abortConnection()
        await client.lost

    @asynchronous
    async def test_get(self) -> None:
        """A request over HTTP/2 reaches the worker, its cookies in one field as HTTP/1.1 has them."""
        client = await self.client("/apps/one/echo?x")
        self.assertIsInstance(await client.over, h2.events.StreamEnded)
        self.assertEqual(dict(client.headers)[b":status"], b"200")
        told = json.loads(client.content)
        self.assertEqual(told["uri"], "/app/echo?x")
        self.assertEqual(told["fields"]["host"], ["example.test"])
        self.assertEqual(told["fields"]["cookie"], ["a=1; b=2"])
        await self.leave(client)

    @asynchronous
    async def test_flow_control(self) -> None:
        """A stream that is not read stops the worker; when it is read, all comes."""
        client = await self.client("/apps/one/pour", read=False)
        await until(lambda: bool(self.worker.pouring) and self.worker.pouring[0].paused)
        await until(lambda: client.body > 0)
        self.assertGreater(self.worker.pouring[0].remaining, 0)
        client.read_on()
        self.assertIsInstance(await client.over, h2.events.StreamEnded)
        self.assertEqual(client.body, LARGE)
        await self.leave(client)

    @asynchronous
    async def test_broken_answer(self) -> None:
        """When the worker breaks in the middle, the stream is reset as an error."""
        client = await self.client("/apps/one/break")
        event = await client.over
        assert isinstance(event, h2.events.StreamReset)
        self.assertNotEqual(event.error_code, 0)
        await self.leave(client)

    @asynchronous
    async def test_client_leaves(self) -> None:
        """A stream that the client gives up is told to the worker."""
        client = await self.client("/apps/one/wait")
        await deferLater(reactor, 0.05)
        client.h2.reset_stream(1)
        client.send()
        await until(lambda: self.worker.gone == 1)
        await self.leave(client)
