"""Tests of L{tqserver.fastcgi.pool} and L{tqserver.fastcgi.client}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.fastcgi.fakes import FakeFPM, Wire
from tqserver.errors import Fault, ServerFault, Unreachable, UpstreamFault
from tqserver.fastcgi.client import AGE_S, CLOSE_S, FastCGIConnection
from tqserver.fastcgi.pool import FastCGIPool
from tqserver.fastcgi.records import RecordType, encode, end_request
from tqserver.http1.sweep import Sweep
from tqserver.plane.messages import Endpoint

PAIRS = [(b"SCRIPT_NAME", b"/x.php")]


class Receiver:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def output(self, data: bytes) -> None:
        self.events.append(data)

    def error_output(self, data: bytes) -> None:
        self.events.append(("error", data))

    def ended(self) -> None:
        self.events.append("ended")

    def lost(self, fault: Fault, untouched: bool) -> None:
        self.events.append((type(fault), fault.status, untouched))

    def pause_sending(self) -> None:
        self.events.append("pause")

    def resume_sending(self) -> None:
        self.events.append("resume")


class PoolCase(SynchronousTestCase):
    """A pool of two connections, and what it connects to."""

    def setUp(self) -> None:
        self.taken: list[Deferred[FastCGIConnection]] = []
        self.reactor = MemoryReactorClock()
        self.fpm = FakeFPM(self.reactor)
        self.sweep = Sweep(self.reactor)
        self.pool = FastCGIPool(self.reactor, self.sweep, Endpoint(id="blog.1.1", path="/s", concurrency_max=2))

    def take(self, fresh: bool = False, first: bool = False) -> Deferred[FastCGIConnection]:
        """Ask for a connection."""
        taken = self.pool.take(fresh=fresh, waiting_max=2, timeout_s=10.0, first=first)
        self.taken.append(taken)
        return taken

    def begin(self, taken: Deferred[FastCGIConnection], body: bytes = b"", whole: bool = True) -> Receiver:
        """Begin a request on what was taken."""
        receiver = Receiver()
        self.successResultOf(taken).begin(receiver, PAIRS, body, whole)
        return receiver

    def tearDown(self) -> None:
        """Nothing is looked after for ever."""
        for taken in self.taken:
            taken.addErrback(lambda failure: failure.trap(Unreachable) and None)
        self.pool.close()
        for wire in self.fpm.wires:
            wire.lose()
        while self.fpm.pending:
            self.fpm.refuse()
        self.assertEqual(self.sweep._watched, set())


class PoolTests(PoolCase):
    """How connections are shared out."""

    def test_kept(self) -> None:
        """A connection is used again, the freshest first."""
        first, second = self.take(), self.take()
        wires = [self.fpm.accept(), self.fpm.accept()]
        self.begin(first), self.begin(second)
        wires[0].answer(b"A: b\n\n")
        wires[1].answer(b"A: b\n\n")
        self.assertIs(self.successResultOf(self.take()), wires[1].protocol)
        self.assertIs(self.successResultOf(self.take()), wires[0].protocol)
        self.assertEqual(self.pool.open, 2)

    def test_not_kept_long(self) -> None:
        """An unused connection is closed after a moment, because it occupies a child of php-fpm."""
        taken = self.take()
        wire = self.fpm.accept()
        self.begin(taken)
        wire.answer(b"A: b\n\n")
        self.reactor.pump([0.25] * 3)
        self.assertTrue(wire.closed)
        self.assertEqual(self.pool.open, 0)

    def test_not_used_for_ever(self) -> None:
        """Under steady load a connection is given up, so that others get a child in their turn."""
        taken = self.take()
        wire = self.fpm.accept()
        receiver = self.begin(taken)
        self.reactor.advance(AGE_S)
        wire.answer(b"A: b\n\n")
        self.reactor.advance(0)
        self.assertEqual(receiver.events, [b"A: b\n\n", "ended"])
        self.assertTrue(wire.closed)

    def test_line(self) -> None:
        """Beyond the limit requests wait in their order, and get the connections of those before them."""
        taken = [self.take() for _ in range(4)]
        wires = [self.fpm.accept(), self.fpm.accept()]
        self.assertEqual((self.fpm.pending, self.pool.waiting), (0, 2))
        self.begin(taken[0]), self.begin(taken[1])
        wires[1].answer(b"A: b\n\n")
        self.assertIs(self.successResultOf(taken[2]), wires[1].protocol)
        self.assertNoResult(taken[3])
        wires[0].lose()
        self.fpm.accept()
        self.begin(taken[3])

    def test_full_line(self) -> None:
        """A full line is 503 with an advice to come again."""
        taken = [self.take() for _ in range(5)]
        fault = self.failureResultOf(taken[4], ServerFault).value
        self.assertEqual((fault.status, fault.retry_after_s), (503, 1))
        self.pool.close()
        for each in taken[2:4]:
            self.failureResultOf(each, Unreachable)

    def test_line_too_slow(self) -> None:
        """Who waits for too long is told 504, and no connection comes after that."""
        taken = [self.take() for _ in range(3)]
        wires = [self.fpm.accept(), self.fpm.accept()]
        self.begin(taken[0])
        self.reactor.pump([0.25] * 45)
        self.assertEqual(self.failureResultOf(taken[2], UpstreamFault).value.status, 504)
        wires[0].answer(b"A: b\n\n")
        self.assertEqual(self.pool.waiting, 0)

    def test_leave_line(self) -> None:
        """Who leaves the line costs nobody anything."""
        taken = [self.take() for _ in range(4)]
        wire = self.fpm.accept()
        self.begin(taken[0])
        taken[2].cancel()
        self.failureResultOf(taken[2], CancelledError)
        wire.answer(b"A: b\n\n")
        self.begin(taken[3])

    def test_leave_while_connecting(self) -> None:
        """A connection that nobody wants any more goes to the next one."""
        taken = [self.take() for _ in range(3)]
        taken[0].cancel()
        self.failureResultOf(taken[0], CancelledError)
        wire = self.fpm.accept()
        self.assertIs(self.successResultOf(taken[2]), wire.protocol)

    def test_refused(self) -> None:
        """When php-fpm is not there, that is known to be before it saw anything; the next one tries anew."""
        taken = [self.take() for _ in range(3)]
        self.fpm.refuse()
        self.failureResultOf(taken[0], Unreachable)
        self.fpm.accept()
        self.begin(taken[1])
        self.fpm.accept()
        self.begin(taken[2])

    def test_fresh(self) -> None:
        """Who needs an unused connection gets one, if need be in the place of a kept one."""
        taken = [self.take(), self.take()]
        wires = [self.fpm.accept(), self.fpm.accept()]
        self.begin(taken[0]), self.begin(taken[1])
        wires[0].answer(b"A: b\n\n")
        fresh = self.take(fresh=True)
        self.assertEqual((self.fpm.pending, self.pool.open), (1, 2))
        third = self.fpm.accept()
        self.assertIs(self.successResultOf(fresh), third.protocol)
        waiting = self.take(fresh=True)
        wires[1].answer(b"A: b\n\n")
        self.assertNoResult(waiting)
        self.fpm.accept()
        self.begin(waiting)

    def test_first(self) -> None:
        """A request that had its turn before goes before the others."""
        taken = [self.take() for _ in range(4)]
        self.fpm.accept()
        self.begin(taken[0])
        again = self.take(fresh=True, first=True)
        self.fpm.wires[0].lose()
        self.fpm.accept()
        self.fpm.accept()
        self.successResultOf(again)
        self.assertNoResult(taken[2])

    def test_drain(self) -> None:
        """When the endpoint goes, idle connections close at once, busy ones with their response; no more are made."""
        taken = [self.take(), self.take()]
        wires = [self.fpm.accept(), self.fpm.accept()]
        receiver = self.begin(taken[0])
        self.begin(taken[1])
        wires[1].answer(b"A: b\n\n")
        self.pool.close()
        self.reactor.advance(0)
        self.assertEqual([wire.closed for wire in wires], [False, True])
        wires[0].answer(b"A: b\n\n")
        self.reactor.advance(0)
        self.assertEqual([wire.closed for wire in wires], [True, True])
        self.assertEqual(receiver.events[-1], "ended")
        self.failureResultOf(self.take(), Unreachable)


class ConnectionTests(PoolCase):
    """One request on one connection."""

    def request(self, body: bytes = b"", whole: bool = True) -> tuple[Wire, Receiver]:
        """Begin one."""
        taken = self.take()
        wire = self.fpm.accept()
        return wire, self.begin(taken, body, whole)

    def test_one_write(self) -> None:
        """Variables and what there is of the body go out in a single write."""
        wire, _ = self.request(b"body")
        self.assertEqual(wire.writes, 1)
        self.assertEqual(wire.request(), (dict(PAIRS), b"body", True))

    def test_streams(self) -> None:
        """Output and complaints are told as they come."""
        wire, receiver = self.request()
        wire.answer(b"A: b\n\n", b"body", error=b"oh")
        self.assertEqual(receiver.events, [("error", b"oh"), b"A: b\n\n", b"body", "ended"])

    def test_body_backpressure(self) -> None:
        """When php-fpm does not read, the sender is paused, and resumed; after the body nobody is."""
        wire, receiver = self.request(b"part", whole=False)
        assert wire.producer is not None
        wire.producer.pauseProducing()
        wire.producer.resumeProducing()
        self.assertEqual(receiver.events, ["pause", "resume"])
        connection = wire.protocol
        assert isinstance(connection, FastCGIConnection)
        connection.send(b"rest")
        connection.end_body()
        self.assertIsNone(wire.producer)
        self.assertEqual(wire.request(), (dict(PAIRS), b"partrest", True))

    def test_answer_before_the_end(self) -> None:
        """A response that comes before the body is whole ends well, but its connection is not used again."""
        wire, receiver = self.request(b"part", whole=False)
        wire.answer(b"A: b\n\n")
        self.reactor.advance(0)
        self.assertEqual(receiver.events, [b"A: b\n\n", "ended"])
        self.assertTrue(wire.closed)
        self.assertIsNone(wire.producer)

    def test_paused_reading_ends(self) -> None:
        """A connection whose reader was slow can be read again by the next one."""
        wire, _ = self.request()
        connection = wire.protocol
        assert isinstance(connection, FastCGIConnection)
        connection.pause_reading()
        self.assertEqual(wire.producerState, "paused")
        wire.answer(b"A: b\n\n")
        self.assertEqual(wire.producerState, "producing")

    def test_lost(self) -> None:
        """A connection that breaks off says whether a single byte had come."""
        for data, untouched in ((b"", True), (b"\x01\x06", True), (encode(RecordType.STDOUT, 1, b"x"), False)):
            wire, receiver = self.request()
            wire.protocol.dataReceived(data)
            wire.lose(clean=False)
            self.assertEqual(receiver.events[-1], (UpstreamFault, 502, untouched))

    def test_garbage(self) -> None:
        """Whatever is no answer to our request is 502, and the connection is closed at once."""
        for data in (
            b"HTTP/1.1 200 OK\r\n\r\n",
            encode(RecordType.STDOUT, 2, b"x"),
            encode(RecordType.STDIN, 1, b"x"),
            encode(RecordType.END_REQUEST, 1, b""),
            end_request(1, 0, 1),
        ):
            wire, receiver = self.request()
            wire.protocol.dataReceived(data)
            self.assertEqual(receiver.events, [(UpstreamFault, 502, False)])
            self.assertTrue(wire.aborted)
            wire.lose()

    def test_more_than_asked(self) -> None:
        """A connection on which more comes than the response is not used again."""
        for extra in (b"\x01", encode(RecordType.STDOUT, 1, b"x")):
            wire, receiver = self.request()
            wire.protocol.dataReceived(end_request(1) + extra)
            self.reactor.advance(0)
            self.assertEqual(receiver.events, ["ended"])
            self.assertTrue(wire.closed)
        wire, _ = self.request()
        wire.answer(b"A: b\n\n")
        wire.answer(b"again")
        self.reactor.advance(0)
        self.assertTrue(wire.closed)

    def test_abandon(self) -> None:
        """A request that nobody wants is aborted and its connection closed; nothing more is told."""
        wire, receiver = self.request()
        wire.records()
        connection = wire.protocol
        assert isinstance(connection, FastCGIConnection)
        connection.abandon()
        self.assertEqual([record.type for record in wire.records()], [RecordType.ABORT_REQUEST])
        self.assertTrue(wire.disconnecting)
        wire.answer(b"A: b\n\n")
        self.assertEqual(receiver.events, [])
        self.assertEqual(self.pool.open, 0)

    def test_abandon_stuck(self) -> None:
        """A connection that cannot be closed gently is closed by force."""
        wire, _ = self.request()
        wire.loseConnection = lambda: None  # type: ignore[method-assign]
        connection = wire.protocol
        assert isinstance(connection, FastCGIConnection)
        connection.abandon()
        self.reactor.pump([0.25] * round(4 * CLOSE_S + 2))
        self.assertTrue(wire.aborted)
        wire, _ = self.request(b"part", whole=False)
        connection = wire.protocol
        assert isinstance(connection, FastCGIConnection)
        connection.abandon()
        self.assertTrue(wire.aborted)
