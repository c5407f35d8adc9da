"""Tests of workers below a C{twisted.web} resource, on a fake wire."""

from __future__ import annotations

import io
from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site as WebSite
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tqserver.errors import Fault
from tqserver.front.exchange import IBodySink, IExchange
from tqserver.front.resource import ReverseProxy, WorkerResource
from tqserver.front.web_request import CHUNK_BYTES, RequestExchange
from tqserver.http1.head import Headers, ResponseHead


class FakeSite:
    """Keeps the exchanges that it is given."""

    def __init__(self) -> None:
        self.exchanges: list[RequestExchange] = []

    def serve(self, exchange: IExchange) -> None:
        """Keep it."""
        self.exchanges.append(cast(RequestExchange, exchange))


@implementer(IBodySink)
class Sink:
    """Keeps a body."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ends = 0
        self.faults: list[Fault] = []

    def body_data(self, data: bytes) -> None:
        """Keep it."""
        self.pieces.append(data)

    def body_end(self) -> None:
        """Count it."""
        self.ends += 1

    def body_failed(self, fault: Fault) -> None:
        """Keep it."""
        self.faults.append(fault)


@implementer(IPushProducer)
class Producer:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class Wire(StringTransport):
    """A client's connection."""

    def __init__(self) -> None:
        self.aborting = False
        super().__init__(
            hostAddress=IPv4Address("TCP", "192.0.2.1", 8080), peerAddress=IPv4Address("TCP", "192.0.2.7", 4711)
        )

    def abortConnection(self) -> None:
        self.aborting = True
        super().abortConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """As a TCP transport has it."""


class ResourceTestCase(SynchronousTestCase):
    """A site of somebody else's with our resource in it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.site = FakeSite()
        self.resource = WorkerResource(self.clock, self.site)

    def root(self) -> Resource:
        """What the site serves."""
        return self.resource

    def request(self, raw: bytes, root: IResource | None = None) -> Wire:
        """Send a request on a new connection."""
        web_site = WebSite(root or self.root(), reactor=self.clock)
        self.channel = web_site.buildProtocol(IPv4Address("TCP", "192.0.2.7", 4711))
        wire = Wire()
        self.channel.makeConnection(wire)
        self.channel.dataReceived(raw)
        return wire

    def exchange(self, raw: bytes = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") -> tuple[RequestExchange, Wire]:
        """The exchange of a request, and its wire."""
        wire = self.request(raw)
        return self.site.exchanges[-1], wire

    def answer(self, wire: Wire) -> tuple[bytes, dict[bytes, list[bytes]], bytes]:
        """First line, fields by lower-case name, and body."""
        head, _, body = wire.value().partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields: dict[bytes, list[bytes]] = {}
        for line in lines:
            name, _, value = line.partition(b": ")
            fields.setdefault(name.lower(), []).append(value)
        return first, fields, body


class RequestTests(ResourceTestCase):
    """How a request becomes an exchange."""

    def test_interfaces(self) -> None:
        """It is a resource, and its exchanges are exchanges."""
        exchange, _ = self.exchange()
        verifyObject(IExchange, exchange)
        verifyObject(IPushProducer, exchange)
        verifyObject(IResource, self.resource)

    def test_head(self) -> None:
        """The exchange has what the client sent: method, target as it was, fields in lower case."""
        exchange, _ = self.exchange(
            b"GET /a%2Fb/c%20d?q=%31&r HTTP/1.1\r\nHost: example.test:81\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n"
        )
        head = exchange.head
        self.assertEqual((head.method, head.target), (b"GET", b"/a%2Fb/c%20d?q=%31&r"))
        self.assertEqual((head.path, head.query), (b"/a%2Fb/c%20d", b"q=%31&r"))
        self.assertEqual(head.host, b"example.test:81")
        self.assertEqual(head.get_all(b"x-two"), [b"1", b"2"])
        self.assertEqual((head.content_length, head.version), (0, (1, 1)))
        self.assertEqual((exchange.client_host, exchange.client_port), ("192.0.2.7", 4711))
        self.assertEqual((exchange.server_host, exchange.server_port), ("192.0.2.1", 8080))
        self.assertFalse(exchange.secure)
        self.assertEqual(exchange.mount, b"")

    def test_framing_is_ours(self) -> None:
        """A chunked body has a length by the time we see it; what was said of the connection is forgotten."""
        exchange, _ = self.exchange(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nUpgrade: x\r\n"
            b"Connection: upgrade\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        head = exchange.head
        self.assertEqual((head.content_length, head.upgrade), (3, b""))
        names = [name for name, _ in head.headers]
        self.assertEqual(names.count(b"content-length"), 1)
        for name in (b"transfer-encoding", b"te", b"upgrade"):
            self.assertNotIn(name, names)

    def test_refused(self) -> None:
        """What our own server would refuse is refused here as well."""
        for raw, status in [
            (b"GET / HTTP/1.1\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x01b\r\n\r\n", b"400"),
            (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", b"405"),
        ]:
            wire = self.request(raw)
            first, fields, body = self.answer(wire)
            self.assertIn(status, first, raw)
            self.assertEqual(fields[b"content-type"], [b"application/problem+json"])
            self.assertEqual(fields[b"content-length"], [b"%d" % len(body)])
        self.assertEqual(self.site.exchanges, [])


class MountTests(ResourceTestCase):
    """Where the resource may be mounted."""

    def mounted(self, *names: bytes) -> Resource:
        """A tree with the resource at these names."""
        root = parent = Resource()
        for name in names[:-1]:
            child = Resource()
            parent.putChild(name, child)
            parent = child
        parent.putChild(names[-1], self.resource)
        return root

    def target(self, path: bytes, root: Resource) -> tuple[bytes, bytes]:
        """Mount and target of a request."""
        self.request(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n", root)
        exchange = self.site.exchanges[-1]
        return exchange.mount, exchange.head.target

    def test_depths(self) -> None:
        """At any depth, the path is what follows the mount, as the client wrote it."""
        for path, mount, target in [
            (b"/apps", b"/apps", b"/"),
            (b"/apps/", b"/apps", b"/"),
            (b"/apps/x", b"/apps", b"/x"),
            (b"/apps/x/", b"/apps", b"/x/"),
            (b"/apps//x", b"/apps", b"//x"),
            (b"/apps/a%2Fb/%2e%2e?q=/a/b", b"/apps", b"/a%2Fb/%2e%2e?q=/a/b"),
            (b"/%61pps/x", b"/%61pps", b"/x"),
            (b"/apps?", b"/apps", b"/?"),
        ]:
            self.assertEqual(self.target(path, self.mounted(b"apps")), (mount, target), path)
        self.assertEqual(self.target(b"/a/b/c/d", self.mounted(b"a", b"b", b"c")), (b"/a/b/c", b"/d"))

    def test_root(self) -> None:
        """At the root nothing is taken away."""
        self.assertEqual(self.target(b"/a/b?c", self.resource), (b"", b"/a/b?c"))

    def test_base(self) -> None:
        """A proxy to a path of another server puts that path first."""
        self.resource = WorkerResource(self.clock, self.site, "/app/")
        self.assertEqual(self.target(b"/x/y", self.mounted(b"x")), (b"/x", b"/app/y"))
        self.assertEqual(self.target(b"/x", self.mounted(b"x")), (b"/x", b"/app/"))

    def test_wrapped(self) -> None:
        """It may stand behind a resource that looks up children without asking whether it is a leaf."""

        class Guard(Resource):
            def getChild(guard, path: bytes, request: object) -> IResource:
                return self.resource.getChildWithDefault(path, request)

        self.assertEqual(self.target(b"/a%2Fb/c", Guard()), (b"", b"/a%2Fb/c"))

    def test_rewritten(self) -> None:
        """Where somebody above changed the path, the changed path is served."""

        class Rewriter(Resource):
            def getChild(rewriter, path: bytes, request: object) -> IResource:
                request.postpath[:] = [b"new path", b"x/y"]  # type: ignore[attr-defined]
                return self.resource

        self.assertEqual(self.target(b"/old/a/b", Rewriter()), (b"/old", b"/new%20path/x%2Fy"))


class BodyTests(ResourceTestCase):
    """How a request's body is told."""

    def post(self, body: bytes) -> RequestExchange:
        """The exchange of a POST."""
        raw = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
        return self.exchange(raw + body)[0]

    def test_small(self) -> None:
        """A small body is told at once, and then that it was all."""
        sink = Sink()
        self.post(b"hello").receive(sink)
        self.assertEqual((sink.pieces, sink.ends), ([b"hello"], 1))

    def test_none(self) -> None:
        """A request without a body just ends."""
        sink = Sink()
        self.exchange()[0].receive(sink)
        self.assertEqual((sink.pieces, sink.ends), ([], 1))

    def test_large(self) -> None:
        """A large one comes in pieces, whole, and ends once; whatever its length."""
        for size in (CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES * 3, CHUNK_BYTES * 3 + 1):
            body = bytes(range(251)) * (size // 251 + 1)
            sink = Sink()
            self.post(body[:size]).receive(sink)
            self.clock.advance(0)
            self.assertEqual((b"".join(sink.pieces) == body[:size], sink.ends), (True, 1), size)
            self.assertLessEqual(max(map(len, sink.pieces)), CHUNK_BYTES)

    def test_paused(self) -> None:
        """Nothing is read for a worker that is slow."""
        body = b"x" * (CHUNK_BYTES * 3)
        exchange, sink = self.post(body), Sink()
        exchange.receive(sink)
        exchange.pause_body()
        self.clock.advance(5)
        self.assertEqual((len(sink.pieces), sink.ends), (1, 0))
        exchange.resume_body()
        exchange.resume_body()
        self.clock.advance(0)
        self.assertEqual((len(sink.pieces), sink.ends), (3, 1))
        exchange.pause_body()
        exchange.resume_body()
        self.clock.advance(0)
        self.assertEqual(sink.ends, 1)

    def test_paused_by_the_sink(self) -> None:
        """A worker that pauses at the last piece hears the end when it reads on."""
        exchange = self.post(b"hello")

        class Slow(Sink):
            def body_data(self, data: bytes) -> None:
                super().body_data(data)
                exchange.pause_body()

        sink = Slow()
        exchange.receive(sink)
        self.assertEqual((sink.pieces, sink.ends), ([b"hello"], 0))
        exchange.resume_body()
        self.clock.advance(0)
        self.assertEqual((sink.pieces, sink.ends), ([b"hello"], 1))

    def test_again(self) -> None:
        """When an attempt failed, the next one is told the body from its beginning; after an answer, no
        more."""
        exchange = self.post(b"x" * CHUNK_BYTES * 2)
        first, second = Sink(), Sink()
        exchange.receive(first)
        exchange.pause_body()
        self.assertTrue(exchange.replayable)
        exchange.receive(second)
        self.clock.advance(0)
        self.assertEqual((len(first.pieces), first.ends), (1, 0))
        self.assertEqual((len(second.pieces), second.ends), (2, 1))
        exchange.respond(ResponseHead(200, b"OK", [], 0), None)
        self.assertFalse(exchange.replayable)

    def test_lost(self) -> None:
        """A spooled body that cannot be read is a fault of ours."""
        exchange, sink = self.post(b"hello"), Sink()

        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise OSError("bad disk")

        exchange._request.content = Broken()
        exchange.receive(sink)
        self.assertEqual([fault.status for fault in sink.faults], [500])

    def test_client_leaves(self) -> None:
        """When the client leaves, nothing more is read."""
        exchange, sink = self.post(b"x" * CHUNK_BYTES * 3), Sink()
        exchange.receive(sink)
        self.channel.connectionLost(Failure(ConnectionLost()))
        self.clock.advance(0)
        self.assertEqual((len(sink.pieces), sink.ends), (1, 0))
        self.assertTrue(exchange.over)


class ResponseTests(ResourceTestCase):
    """How a response is given."""

    def respond(self, headers: Headers, length: int | None = None, status: int = 200) -> tuple[RequestExchange, Wire]:
        """Begin a response to a GET."""
        exchange, wire = self.exchange()
        exchange.respond(ResponseHead(status, b"", headers, length), None)
        return exchange, wire

    def test_known_length(self) -> None:
        """A response of known length says it."""
        exchange, wire = self.respond([(b"X-A", b"1")], 5)
        exchange.write(b"he")
        exchange.write(b"llo")
        exchange.finish()
        first, fields, body = self.answer(wire)
        self.assertEqual((first, body), (b"HTTP/1.1 200 OK", b"hello"))
        self.assertEqual(fields[b"content-length"], [b"5"])
        self.assertEqual(fields[b"x-a"], [b"1"])
        self.assertNotIn(b"content-type", fields)
        self.assertEqual((exchange.status, exchange.sent_bytes, exchange.over), (200, 5, True))

    def test_unknown_length(self) -> None:
        """One of unknown length is chunked, and its head goes out at once, as event streams need it."""
        exchange, wire = self.respond([(b"Content-Type", b"text/event-stream")])
        self.assertIn(b"text/event-stream", wire.value())
        exchange.write(b"hello")
        exchange.finish()
        _, fields, body = self.answer(wire)
        self.assertEqual(fields[b"transfer-encoding"], [b"chunked"])
        self.assertEqual(body, b"5\r\nhello\r\n0\r\n\r\n")

    def test_fields(self) -> None:
        """The worker's fields replace those of the house, several cookies stay several, and added fields
        are there."""
        exchange, wire = self.exchange()
        exchange._request.cookies.append(b"session=1")
        exchange.response_headers = [(b"X-Added", b"yes")]
        fields = [(b"Server", b"worker"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"Vary", b"A")]
        exchange.respond(ResponseHead(201, b"Made", [*fields, (b"vary", b"B"), (b"Date", b"now")], 0), None)
        exchange.finish()
        first, told, _ = self.answer(wire)
        self.assertEqual(first, b"HTTP/1.1 201 Made")
        self.assertEqual(told[b"server"], [b"worker"])
        self.assertEqual(told[b"set-cookie"], [b"session=1", b"a=1", b"b=2"])
        self.assertEqual(told[b"vary"], [b"A", b"B"])
        self.assertEqual(told[b"date"], [b"now"])
        self.assertEqual(told[b"x-added"], [b"yes"])

    def test_head(self) -> None:
        """HEAD has the length and no body."""
        exchange, wire = self.exchange(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange.respond(ResponseHead(200, b"OK", [], 5), None)
        exchange.write(b"hello")
        exchange.finish()
        _, fields, body = self.answer(wire)
        self.assertEqual((fields[b"content-length"], body), ([b"5"], b""))
        self.assertFalse(wire.disconnecting)

    def test_no_content(self) -> None:
        """204 and 304 have no body."""
        for status in (204, 304):
            exchange, wire = self.respond([], None, status)
            exchange.finish()
            _, fields, body = self.answer(wire)
            self.assertEqual(body, b"")
            self.assertNotIn(b"content-length", fields)
            self.assertNotIn(b"transfer-encoding", fields)

    def test_next_request(self) -> None:
        """After a response the connection takes the next request."""
        exchange, wire = self.respond([], 0)
        exchange.finish()
        self.channel.dataReceived(b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual([each.head.target for each in self.site.exchanges], [b"/", b"/next"])
        self.assertFalse(wire.disconnecting)

    def test_too_short(self) -> None:
        """A response that is shorter than it said is cut, so that the client can tell."""
        exchange, wire = self.respond([], 5)
        exchange.write(b"he")
        exchange.finish()
        self.assertTrue(wire.aborting)
        self.assertTrue(exchange.over)

    def test_too_long(self) -> None:
        """One that is longer than it said is cut before the excess."""
        exchange, wire = self.respond([], 2)
        exchange.write(b"hello")
        self.assertTrue(wire.aborting)
        self.assertNotIn(b"hello", wire.value())

    def test_abort(self) -> None:
        """An aborted response has no end."""
        over: list[int] = []
        exchange, wire = self.respond([])
        exchange.when_over(lambda: over.append(1))
        exchange.write(b"hel")
        exchange.abort()
        self.assertTrue(wire.aborting)
        self.assertFalse(wire.value().endswith(b"0\r\n\r\n"))
        self.channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(over, [1])
        exchange.when_over(lambda: over.append(2))
        self.assertEqual(over, [1, 2])

    def test_after_the_end(self) -> None:
        """What is done to an exchange that is over does nothing."""
        exchange, wire = self.exchange()
        self.channel.connectionLost(Failure(ConnectionLost()))
        before = wire.value()
        exchange.respond(ResponseHead(200, b"", [], 5), Producer())
        exchange.write(b"hello")
        exchange.finish()
        exchange.abort()
        sink = Sink()
        exchange.receive(sink)
        self.assertEqual((wire.value(), exchange.status, sink.ends), (before, 0, 0))

    def test_backpressure(self) -> None:
        """A slow client pauses whoever writes the response, and nobody is asked to stop."""
        exchange, _ = self.exchange()
        producer = Producer()
        exchange.respond(ResponseHead(200, b"", [], None), producer)
        self.channel._channel.pauseProducing()
        self.channel._channel.resumeProducing()
        self.assertEqual(producer.calls, ["pause", "resume"])
        exchange.write(b"x")
        exchange.finish()
        self.channel._channel.pauseProducing()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_behind_already(self) -> None:
        """Who begins to write while the client is still busy with the response before is paused from the
        beginning."""
        exchange, _ = self.exchange()
        self.channel._channel.pauseProducing()
        producer = Producer()
        exchange.respond(ResponseHead(200, b"", [], None), producer)
        self.assertEqual(producer.calls, ["pause"])
        self.channel._channel.resumeProducing()
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_never_stopped(self) -> None:
        """When the connection is lost, the end of the exchange is what tells."""
        exchange, _ = self.exchange()
        producer = Producer()
        over: list[int] = []
        exchange.when_over(lambda: over.append(1))
        exchange.respond(ResponseHead(200, b"", [], None), producer)
        self.channel._channel.stopProducing()
        self.channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((producer.calls, over), ([], [1]))

    def test_interim(self) -> None:
        """There are no interim responses here."""
        exchange, wire = self.exchange()
        exchange.inform(ResponseHead(103, b"Early Hints", [(b"Link", b"</a>")]))
        self.assertEqual(wire.value(), b"")


class ReverseProxyTests(SynchronousTestCase):
    """The convenient front door."""

    def test_mistakes(self) -> None:
        """Addresses that cannot be forwarded to are refused when the proxy is made."""
        for urls in [
            (),
            ("https://example.test/",),
            ("ftp://example.test/",),
            ("example.test:80",),
            ("http://",),
            ("http://user:word@example.test/",),
            ("http://example.test/?q",),
            ("http://a.test/one", "http://b.test/two"),
            ("http://a.test:notaport/",),
        ]:
            self.assertRaises(ValueError, ReverseProxy.to, Clock(), *urls)
