"""A stream, against a uvloop without I/O."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from .fakes import FakeLoop, FakeReactor, FakeSocket, FakeStream


class Recording(Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.got: list[object] = []

    def dataReceived(self, data: bytes) -> None:
        """Data."""
        self.got.append(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        """The end."""
        self.got.append(reason.type)


@implementer(IHalfCloseableProtocol)
class Half(Recording):
    """Keeps what it is told of the two halves, too."""

    def readConnectionLost(self) -> None:
        """The peer writes no more."""
        self.got.append("read lost")

    def writeConnectionLost(self) -> None:
        """We write no more."""
        self.got.append("write lost")


class Producer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Pause."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """Resume."""
        self.told.append("resume")

    def stopProducing(self) -> None:
        """Stop."""
        self.told.append("stop")


class Puller(Producer):
    """Writes a piece whenever it is asked to, as long as it has some."""

    def __init__(self, stream: FakeStream, pieces: list[bytes]) -> None:
        super().__init__()
        self.stream, self.pieces = stream, pieces

    def resumeProducing(self) -> None:
        """Write a piece."""
        super().resumeProducing()
        if self.pieces:
            self.stream.write(self.pieces.pop(0))
        else:
            self.stream.unregisterProducer()


class StreamTestCase(SynchronousTestCase):
    """Makes streams."""

    def make(self, protocol: Recording | None = None, window: int = 1 << 30) -> tuple[FakeStream, Any]:
        """A stream whose uvloop transport is not there yet, and its protocol."""
        self.loop = FakeLoop(window)
        self.reactor = FakeReactor(self.loop)
        self.skt = FakeSocket()
        protocol = protocol or Recording()
        stream = FakeStream(self.skt, protocol, False, self.reactor)  # type: ignore[arg-type]
        protocol.makeConnection(stream)  # type: ignore[arg-type]
        return stream, protocol

    def connect(self, protocol: Recording | None = None, window: int = 1 << 30) -> tuple[FakeStream, Any]:
        """A stream with its uvloop transport, and its protocol."""
        made = self.make(protocol, window)
        self.loop.turn()
        return made


class EarlyTests(StreamTestCase):
    """What is asked of a stream before uvloop has made its transport is done afterwards."""

    def test_write(self) -> None:
        """What a protocol writes when it is connected is sent, in order."""
        stream, _ = self.make()
        stream.write(b"a")
        stream.writeSequence([b"b", b"c"])
        self.loop.turn()
        stream.write(b"d")
        self.assertEqual(self.loop.transport.sent, b"abcd")

    def test_text(self) -> None:
        """Text is refused, early as later."""
        stream, _ = self.make()
        self.assertRaises(TypeError, stream.write, "text")
        self.assertRaises(TypeError, stream.writeSequence, [b"a", "text"])

    def test_lose(self) -> None:
        """A protocol that says its piece and hangs up gets it across."""
        stream, protocol = self.make()
        stream.write(b"bye")
        stream.loseConnection()
        self.loop.turn()
        self.assertEqual((self.loop.transport.sent, protocol.got), (b"bye", [ConnectionDone]))

    def test_abort(self) -> None:
        """An abort sends nothing, and is told in a later turn."""
        stream, protocol = self.make()
        stream.write(b"never")
        stream.abortConnection()
        self.assertEqual(protocol.got, [])
        self.loop.turn()
        self.assertEqual(protocol.got, [ConnectionAborted])
        self.assertIn((socket.SOL_SOCKET, socket.SO_LINGER), self.skt.options)

    def test_lose_with_producer(self) -> None:
        """A protocol that hung up gets nothing any more, while its producer goes on writing."""
        stream, protocol = self.make()
        stream.registerProducer(Producer(), True)  # type: ignore[arg-type]
        stream.loseConnection()
        self.loop.turn()
        self.loop.transport.receive(b"unheard")
        stream.write(b"last")
        stream.unregisterProducer()
        self.loop.turn()
        self.assertEqual((self.loop.transport.sent, protocol.got), (b"last", [ConnectionDone]))

    def test_pause(self) -> None:
        """A protocol that pauses when it is connected gets nothing before it resumes, and loses nothing."""
        stream, protocol = self.make()
        stream.pauseProducing()
        self.assertFalse(stream.reading)
        self.loop.turn()
        self.loop.transport.receive(b"too soon")
        self.assertEqual(protocol.got, [])
        self.assertFalse(self.loop.transport.reading)
        stream.resumeProducing()
        self.loop.turn()
        self.assertEqual(protocol.got, [b"too soon"])
        self.loop.transport.receive(b"in time")
        self.assertEqual(protocol.got, [b"too soon", b"in time"])

    def test_pause_and_end(self) -> None:
        """The end of the stream waits for the protocol to resume as well."""
        stream, protocol = self.make(Half())
        stream.pauseProducing()
        self.loop.turn()
        self.loop.transport.receive(b"last")
        self.loop.transport.eof()
        self.assertEqual(protocol.got, [])
        stream.resumeProducing()
        self.loop.turn()
        self.assertEqual(protocol.got, [b"last", "read lost"])

    def test_resume_before_connected(self) -> None:
        """Pausing and resuming at once changes nothing."""
        stream, protocol = self.make()
        stream.pauseProducing()
        stream.resumeProducing()
        self.loop.turn()
        self.loop.transport.receive(b"data")
        self.assertEqual(protocol.got, [b"data"])

    def test_producer_paused(self) -> None:
        """A producer that writes much at once is paused at once, and resumed when it is on its way."""
        stream, _ = self.make()
        producer = Producer()
        stream.registerProducer(producer, True)  # type: ignore[arg-type]
        stream.write(b"x" * 70_000)
        self.assertEqual(producer.told, ["pause"])
        self.loop.turn()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_other_protocol(self) -> None:
        """A protocol that has itself replaced when it is connected gets nothing."""
        stream, protocol = self.make()
        other = Recording()
        stream.protocol = other
        self.loop.turn()
        self.loop.transport.receive(b"data")
        self.assertEqual((protocol.got, other.got), ([], [b"data"]))

    def test_other_method(self) -> None:
        """A protocol may still choose its dataReceived when it is connected."""
        _, protocol = self.make()
        got: list[bytes] = []
        protocol.dataReceived = got.append
        self.loop.turn()
        self.loop.transport.receive(b"data")
        self.assertEqual(got, [b"data"])

    def test_reactor_stops(self) -> None:
        """A reactor that stops tells the protocol now, and uvloop when it comes."""
        stream, protocol = self.make()
        stream.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((protocol.got, self.reactor.streams), ([ConnectionLost], set()))
        self.loop.turn()
        self.assertEqual((protocol.got, self.loop.transport.calls), ([ConnectionLost], ["abort"]))

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(
        steps=st.lists(st.one_of(st.binary(max_size=3), st.just("turn"), st.just("drain"), st.lists(st.binary()))),
        window=st.integers(0, 10),
    )
    def test_order(self, steps: list[Any], window: int) -> None:
        """Whatever is written when, it arrives once and in order, before the end."""
        stream, protocol = self.make(window=window)
        expected = b""
        for step in steps:
            if step == "turn":
                self.loop.turn()
            elif step == "drain":
                if not self.loop.soon:
                    self.loop.transport.drain(2)
            elif isinstance(step, bytes):
                stream.write(step)
                expected += step
            else:
                stream.writeSequence(step)
                expected += b"".join(step)
        stream.loseConnection()
        self.loop.turn()
        self.loop.transport.drain()
        self.loop.turn()
        self.assertEqual((self.loop.transport.sent, protocol.got), (expected, [ConnectionDone]))


class ReadingTests(StreamTestCase):
    """What comes in."""

    def test_direct(self) -> None:
        """There is nothing between uvloop and the protocol."""
        stream, protocol = self.connect()
        self.assertEqual(self.loop.transport.data_received, protocol.dataReceived)
        self.assertEqual(stream.write, self.loop.transport.write)

    def test_exchange(self) -> None:
        """A protocol can be exchanged for another one at any time."""
        stream, protocol = self.connect()
        self.loop.transport.receive(b"one")
        other = Recording()
        stream.protocol = other
        self.loop.transport.receive(b"two")
        self.assertEqual((protocol.got, other.got), ([b"one"], [b"two"]))

    def test_end(self) -> None:
        """When the peer hangs up, the connection is done, even if not all is written."""
        stream, protocol = self.connect(window=0)
        stream.write(b"unread")
        self.loop.transport.eof()
        self.loop.turn()
        self.assertEqual(protocol.got, [ConnectionDone])

    def test_half_end(self) -> None:
        """A protocol that knows halves can answer after the peer's last word."""
        stream, protocol = self.connect(Half())
        self.loop.transport.eof()
        stream.resumeProducing()
        self.assertFalse(self.loop.transport.reading)
        stream.write(b"answer")
        stream.loseConnection()
        self.loop.turn()
        self.assertEqual(protocol.got, ["read lost", ConnectionDone])
        self.assertEqual(self.loop.transport.sent, b"answer")

    def test_reset(self) -> None:
        """An error of the kernel's is a lost connection."""
        stream, protocol = self.connect()
        stream.connection_lost(ConnectionResetError(104, "reset"))
        self.assertEqual(protocol.got, [ConnectionLost])

    def test_raises(self) -> None:
        """A protocol that raises is told why it lost the connection."""
        _, protocol = self.connect()
        protocol.dataReceived = lambda data: 1 // 0
        protocol.transport.protocol = protocol
        self.loop.transport.receive(b"data")
        self.loop.turn()
        self.assertEqual(protocol.got, [ZeroDivisionError])

    def test_raises_os_error(self) -> None:
        """A protocol's own OSError is not taken for the kernel's: it is reported."""
        _, protocol = self.connect()

        def read(data: bytes) -> None:
            raise FileNotFoundError("mine")

        protocol.dataReceived = read
        protocol.transport.protocol = protocol
        self.loop.transport.receive(b"data")
        self.loop.turn()
        self.assertEqual(protocol.got, [FileNotFoundError])
        self.assertEqual(len(self.flushLoggedErrors(FileNotFoundError)), 1)

    def test_forgets(self) -> None:
        """A stream that is over does not keep its protocol alive, nor write anywhere."""
        stream, protocol = self.connect()
        stream.loseConnection()
        self.loop.turn()
        self.assertIsNot(stream.protocol, protocol)
        stream.write(b"late")
        stream.loseConnection()
        stream.pauseProducing()
        stream.resumeProducing()
        self.assertEqual((self.loop.transport.sent, vars(stream).get("write")), (b"", None))


class WritingTests(StreamTestCase):
    """What goes out, and at whose pace."""

    def test_streaming(self) -> None:
        """A streaming producer is paused when the peer is slow, told so again whenever it writes, and resumed."""
        stream, _ = self.connect(window=0)
        producer = Producer()
        stream.registerProducer(producer, True)  # type: ignore[arg-type]
        stream.write(b"x" * 64 * 1024)
        self.assertEqual(producer.told, [])
        stream.write(b"x")
        stream.write(b"x")
        stream.writeSequence([b"x"])
        self.assertEqual(producer.told, ["pause"] * 3)
        self.loop.transport.drain()
        self.assertEqual(producer.told, ["pause"] * 3 + ["resume"])
        self.assertEqual(stream.write, self.loop.transport.write)

    def test_two_producers(self) -> None:
        """There is one producer at a time."""
        stream, _ = self.connect()
        stream.registerProducer(Producer(), True)  # type: ignore[arg-type]
        self.assertRaises(RuntimeError, stream.registerProducer, Producer(), True)

    def test_pull(self) -> None:
        """A pull producer is asked for more when the last piece is gone, and not before."""
        stream, _ = self.connect(window=3)
        producer = Puller(stream, [b"aa", b"bb", b"cc"])
        stream.registerProducer(producer, False)  # type: ignore[arg-type]
        self.loop.turn()
        self.assertEqual((self.loop.transport.sent, len(producer.told)), (b"aab", 2))
        self.loop.transport.drain()
        self.loop.turn()
        self.assertEqual((self.loop.transport.sent, len(producer.told)), (b"aabbcc", 4))
        self.assertEqual(stream.write, self.loop.transport.write)

    def test_pull_early(self) -> None:
        """A pull producer may begin before uvloop does."""
        stream, protocol = self.make()
        stream.registerProducer(Puller(stream, [b"aa", b"bb"]), False)  # type: ignore[arg-type]
        stream.loseConnection()
        self.loop.turn()
        self.assertEqual((self.loop.transport.sent, protocol.got), (b"aabb", [ConnectionDone]))

    def test_pull_raises(self) -> None:
        """A pull producer that raises ends the connection, and is reported."""
        stream, protocol = self.connect()
        producer = Puller(stream, [b"a", "text"])  # type: ignore[list-item]
        stream.registerProducer(producer, False)  # type: ignore[arg-type]
        self.loop.turn()
        self.assertEqual(protocol.got, [TypeError])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_lose_waits(self) -> None:
        """The connection is closed when the producer has finished and everything is written."""
        stream, protocol = self.connect(window=1)
        stream.registerProducer(Producer(), True)  # type: ignore[arg-type]
        stream.write(b"ab")
        stream.loseConnection()
        self.loop.turn()
        stream.write(b"cd")
        self.assertEqual(self.loop.transport.calls, [])
        stream.unregisterProducer()
        self.loop.turn()
        self.assertEqual(protocol.got, [])
        self.loop.transport.drain()
        self.loop.turn()
        self.assertEqual((self.loop.transport.sent, protocol.got), (b"abcd", [ConnectionDone]))

    def test_lost_producer(self) -> None:
        """A producer is stopped when the connection is lost, also one that comes too late."""
        stream, _ = self.connect()
        before, after = Producer(), Producer()
        stream.registerProducer(before, True)  # type: ignore[arg-type]
        stream.connection_lost(None)
        stream.registerProducer(after, True)  # type: ignore[arg-type]
        self.assertEqual((before.told, after.told), (["stop"], ["stop"]))

    def test_half_close(self) -> None:
        """The write half is closed when everything is written; the protocol is told, and goes on reading."""
        stream, protocol = self.connect(Half(), window=1)
        stream.write(b"ab")
        stream.loseWriteConnection()
        self.loop.turn()
        self.assertEqual(protocol.got, [])
        self.loop.transport.drain()
        self.loop.turn()
        self.assertEqual((self.loop.transport.calls, protocol.got), (["eof"], ["write lost"]))
        stream.write(b"late")
        self.loop.transport.receive(b"data")
        self.assertEqual((self.loop.transport.sent, protocol.got), (b"ab", ["write lost", b"data"]))

    def test_half_close_waits(self) -> None:
        """Half a close waits for the producer, too."""
        stream, protocol = self.connect(Half())
        stream.registerProducer(Producer(), True)  # type: ignore[arg-type]
        stream.loseWriteConnection()
        stream.write(b"last")
        self.loop.turn()
        self.assertEqual((self.loop.transport.sent, self.loop.transport.calls), (b"last", []))
        stream.unregisterProducer()
        self.loop.turn()
        self.assertEqual((self.loop.transport.calls, protocol.got), (["eof"], ["write lost"]))

    def test_half_close_early(self) -> None:
        """A protocol may close its half when it is connected."""
        stream, protocol = self.make(Half())
        stream.write(b"only")
        stream.loseWriteConnection()
        self.loop.turn()
        self.assertEqual(self.loop.transport.sent, b"only")
        self.assertEqual((self.loop.transport.calls, protocol.got), (["eof"], ["write lost"]))

    def test_abort(self) -> None:
        """An abort throws away what is buffered, and is final."""
        stream, protocol = self.connect(window=0)
        stream.write(b"x")
        stream.abortConnection()
        stream.abortConnection()
        stream.loseConnection()
        stream.write(b"y")
        self.assertEqual(protocol.got, [])
        self.loop.turn()
        self.assertEqual((protocol.got, self.loop.transport.sent), ([ConnectionAborted], b""))
