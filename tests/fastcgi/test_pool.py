"""Tests of L{tqserver.fastcgi.pool} and L{tqserver.fastcgi.client}."""

from __future__ import annotations

import errno

from msgspec import structs
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.fastcgi.fakes import FakeFPM, Wire
from tqserver.errors import Fault, ScarceFault, ServerFault, Unreachable, UpstreamFault
from tqserver.fastcgi.client import CLOSE_S, FastCGIConnection
from tqserver.fastcgi.pool import AGE_S, IDLE_S, FastCGIPool
from tqserver.fastcgi.records import RecordType, encode, end_request, stdin, stdin_end
from tqserver.fastcgi.usual import encode_pairs, opening
from tqserver.http1.outbox import Outbox
from tqserver.http1.sweep import Sweep
from tqserver.plane.messages import Endpoint

PAIRS = [(b"SCRIPT_NAME", b"/x.php")]

ENDPOINT = Endpoint(id="blog.1.1", path="/s", concurrency_max=2)


class Receiver:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def output(self, data: bytes) -> None:
        self.events.append(data)

    def error_output(self, data: bytes) -> None:
        self.events.append(("error", data))

    def ended(self, data: bytes) -> None:
        if data:
            self.events.append(data)
        self.events.append("ended")

    def lost(self, fault: Fault, untouched: bool) -> None:
        self.events.append((type(fault), fault.status, untouched))

    def late(self) -> None:
        self.events.append("late")

    def pause_sending(self) -> None:
        self.events.append("pause")

    def resume_sending(self) -> None:
        self.events.append("resume")


class Taking:
    """Somebody who wants a connection, and what became of it."""

    def __init__(self) -> None:
        self.connection: FastCGIConnection | None = None
        self.fault: Fault | None = None

    def connected(self, connection: FastCGIConnection) -> None:
        """It is there."""
        assert self.pending
        self.connection = connection

    def refused(self, fault: Fault) -> None:
        """It will never be."""
        assert self.pending
        self.fault = fault

    @property
    def pending(self) -> bool:
        """Nothing was said yet."""
        return self.connection is None and self.fault is None


class PoolCase(SynchronousTestCase):
    """A pool of two connections, and what it connects to."""

    def setUp(self) -> None:
        self.reactor = self.make_reactor()
        self.fpm = FakeFPM(self.reactor)
        self.sweep = Sweep(self.reactor)
        self.pool = FastCGIPool(self.reactor, self.sweep, Outbox(), ENDPOINT)

    def make_reactor(self) -> MemoryReactorClock:
        """One that knows nothing but Twisted's own ways to connect."""
        return MemoryReactorClock()

    def take(self, fresh: bool = False, first: bool = False) -> Taking:
        """Ask for a connection."""
        taking = Taking()
        connection = self.pool.take_now(fresh)
        if connection is not None:
            taking.connected(connection)
        else:
            self.pool.take(taking, fresh=fresh, waiting_max=2, timeout_s=10.0, first=first)
        return taking

    def begin(self, taking: Taking, body: bytes = b"", whole: bool = True) -> Receiver:
        """Begin a request on what was taken."""
        receiver = Receiver()
        assert taking.connection is not None
        request = opening([encode_pairs(PAIRS)], whole and not body)
        if body:
            request += stdin(1, body)
            if whole:
                request += stdin_end(1)
        taking.connection.begin(receiver, request, whole)
        return receiver

    def tearDown(self) -> None:
        """Nothing is looked after for ever."""
        self.pool.close()
        for wire in self.fpm.wires:
            wire.lose()
        while self.fpm.pending:
            self.fpm.refuse()
        self.reactor.advance(0)
        self.assertEqual(self.sweep._watched, set())
        self.assertEqual((self.pool.open, self.pool.waiting), (0, 0))


class PoolTests(PoolCase):
    """How connections are shared out."""

    def test_kept(self) -> None:
        """A connection is used again, the freshest first."""
        first, second = self.take(), self.take()
        wires = [self.fpm.accept(), self.fpm.accept()]
        self.begin(first), self.begin(second)
        wires[0].answer(b"A: b\n\n")
        wires[1].answer(b"A: b\n\n")
        self.assertIs(self.take().connection, wires[1].protocol)
        self.assertIs(self.take().connection, wires[0].protocol)
        self.assertEqual(self.pool.open, 2)

    def test_not_kept_long(self) -> None:
        """An unused connection is closed after a moment, because it occupies a child of php-fpm."""
        taken = self.take()
        wire = self.fpm.accept()
        self.begin(taken)
        wire.answer(b"A: b\n\n")
        self.reactor.pump([IDLE_S / 2])
        self.assertFalse(wire.closed)
        self.reactor.pump([0.25] * 3)
        self.assertTrue(wire.closed)
        self.assertEqual(self.pool.open, 0)

    def test_lasting(self) -> None:
        """So many connections as are ours for good are used as long as there is something to do; others are not."""
        self.pool.endpoint = structs.replace(ENDPOINT, lasting_max=1)
        first, second = self.take(), self.take()
        wires = [self.fpm.accept(), self.fpm.accept()]
        for _ in range(4):
            self.begin(first), self.begin(second)
            self.reactor.advance(AGE_S / 5)
            wires[0].answer(b"A: b\n\n")
            wires[1].answer(b"A: b\n\n")
            second, first = self.take(), self.take()
            self.assertEqual((first.connection, second.connection), (wires[0].protocol, wires[1].protocol))
        self.begin(first), self.begin(second)
        self.reactor.advance(AGE_S)
        wires[0].answer(b"A: b\n\n")
        wires[1].answer(b"A: b\n\n")
        self.reactor.advance(0)
        self.assertEqual([wire.closed for wire in wires], [True, False])
        for _ in range(20):
            self.begin(self.take())
            self.reactor.advance(AGE_S / 2)
            wires[1].answer(b"A: b\n\n")
        self.assertFalse(wires[1].closed)
        self.reactor.pump([0.25] * 3)
        self.assertTrue(wires[1].closed, "nobody needs it any more")

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
        self.assertIs(taken[2].connection, wires[1].protocol)
        self.assertTrue(taken[3].pending)
        wires[0].lose()
        self.fpm.accept()
        self.begin(taken[3])

    def test_full_line(self) -> None:
        """A full line is 503 with an advice to come again."""
        taken = [self.take() for _ in range(5)]
        fault = taken[4].fault
        assert isinstance(fault, ServerFault)
        self.assertEqual((fault.status, fault.retry_after_s), (503, 1))
        self.pool.close()
        for each in taken[2:4]:
            self.assertIsInstance(each.fault, Unreachable)

    def test_line_too_slow(self) -> None:
        """Who waits for too long is told 504, and no connection comes after that."""
        taken = [self.take() for _ in range(3)]
        wires = [self.fpm.accept(), self.fpm.accept()]
        self.begin(taken[0])
        self.reactor.pump([0.25] * 45)
        assert taken[2].fault is not None
        self.assertEqual(taken[2].fault.status, 504)
        wires[0].answer(b"A: b\n\n")
        self.assertEqual(self.pool.waiting, 0)

    def test_leave_line(self) -> None:
        """Who leaves the line costs nobody anything."""
        taken = [self.take() for _ in range(4)]
        wire = self.fpm.accept()
        self.begin(taken[0])
        self.pool.leave(taken[2])
        wire.answer(b"A: b\n\n")
        self.begin(taken[3])

    def test_leave_while_connecting(self) -> None:
        """A connection that nobody wants any more goes to the next one."""
        taken = [self.take() for _ in range(3)]
        self.pool.leave(taken[0])
        wire = self.fpm.accept()
        self.assertTrue(taken[0].pending)
        self.assertIs(taken[2].connection, wire.protocol)

    def test_refused(self) -> None:
        """When php-fpm is not there, that is known to be before it saw anything; the next one tries anew."""
        taken = [self.take() for _ in range(3)]
        self.fpm.refuse()
        self.assertIsInstance(taken[0].fault, Unreachable)
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
        self.assertIs(fresh.connection, third.protocol)
        waiting = self.take(fresh=True)
        wires[1].answer(b"A: b\n\n")
        self.assertTrue(waiting.pending)
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
        self.assertIsNotNone(again.connection)
        self.assertTrue(taken[2].pending)

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
        self.assertIsInstance(self.take().fault, Unreachable)


class DirectReactor(MemoryReactorClock):
    """
    A reactor that can connect to a UNIX socket at once.

    @ivar error: what it says instead.
    @ivar fpm: who accepts.
    """

    error: OSError | None = None
    fpm: FakeFPM

    def connect_unix_now(self, path: str, protocol: IProtocol) -> object:
        """See L{tqserver.uv.reactor.UVReactor.connect_unix_now}."""
        if self.error is not None:
            raise self.error
        return self.fpm.connected(protocol)


class DirectTests(PoolCase):
    """Connections that need no waiting for."""

    def make_reactor(self) -> MemoryReactorClock:
        return DirectReactor()

    def setUp(self) -> None:
        super().setUp()
        assert isinstance(self.reactor, DirectReactor)
        self.direct = self.reactor
        self.direct.fpm = self.fpm

    def test_at_once(self) -> None:
        """A connection is there when it is asked for, and one that was kept goes before a new one."""
        first, second = self.take(), self.take()
        self.assertEqual((len(self.fpm.wires), self.pool.open, self.fpm.pending), (2, 2, 0))
        self.begin(first), self.begin(second)
        self.fpm.wires[0].answer(b"A: b\n\n")
        self.assertIs(self.take().connection, self.fpm.wires[0].protocol)

    def test_line(self) -> None:
        """Nobody overtakes those who wait."""
        taken = [self.take() for _ in range(4)]
        self.begin(taken[0]), self.begin(taken[1])
        self.assertEqual(self.pool.waiting, 2)
        self.fpm.wires[0].lose()
        self.assertIs(taken[2].connection, self.fpm.wires[2].protocol)
        self.fpm.wires[1].answer(b"A: b\n\n")
        self.assertIs(taken[3].connection, self.fpm.wires[1].protocol)

    def test_fresh(self) -> None:
        """An idle connection gives way to one that has to be fresh."""
        first, second = self.take(), self.take()
        self.begin(first), self.begin(second)
        self.fpm.wires[0].answer(b"A: b\n\n")
        fresh = self.take(fresh=True)
        self.assertIs(fresh.connection, self.fpm.wires[2].protocol)
        self.reactor.advance(0)
        self.assertTrue(self.fpm.wires[0].closed)
        waiting = [self.take(fresh=True), self.take(fresh=True)]
        self.begin(fresh)
        self.fpm.wires[1].answer(b"A: b\n\n")
        self.assertIs(waiting[0].connection, self.fpm.wires[3].protocol)
        self.assertTrue(waiting[1].pending)

    def test_nobody_there(self) -> None:
        """That there is nobody is known at once; that we are short of descriptors is not their fault."""
        for number, kind in (
            (errno.ENOENT, Unreachable),
            (errno.ECONNREFUSED, Unreachable),
            (errno.EMFILE, ScarceFault),
        ):
            self.direct.error = OSError(number, "no")
            self.assertRaises(kind, self.pool.take_now, False)
            self.assertEqual(self.pool.open, 0)

    def test_nobody_there_any_more(self) -> None:
        """Those who wait hear of it, too."""
        taken = [self.take() for _ in range(4)]
        self.begin(taken[0])
        self.direct.error = ConnectionRefusedError()
        self.fpm.wires[0].lose()
        self.assertIsInstance(taken[2].fault, Unreachable)
        self.assertIsInstance(taken[3].fault, Unreachable)

    def test_full_backlog(self) -> None:
        """When php-fpm has more to accept than can wait, it is tried again in the usual way."""
        self.direct.error = BlockingIOError()
        taken = self.take()
        self.assertEqual((taken.pending, self.fpm.pending, self.pool.open), (True, 1, 1))
        self.assertIs(taken.connection, None)
        wire = self.fpm.accept()
        self.assertIs(taken.connection, wire.protocol)

    def test_going(self) -> None:
        """To an endpoint that has left no connection is made."""
        self.pool.close()
        self.assertIsInstance(self.take().fault, Unreachable)
        self.assertEqual(self.fpm.wires, [])


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
        """Output and complaints are told as they come; what comes at once is told at once."""
        wire, receiver = self.request()
        wire.answer(b"A: b\n\n", b"bo", end=False, error=b"oh")
        self.assertEqual(receiver.events, [("error", b"oh"), b"A: b\n\nbo"])
        wire.answer(b"dy", end=False)
        wire.answer(b"!")
        self.assertEqual(receiver.events[2:], [b"dy", b"!", "ended"])

    def test_any_pieces(self) -> None:
        """However an answer is cut, it is the same, and the connection is kept."""
        answer = encode(RecordType.STDOUT, 1, b"A: b\n\nbody") + end_request(1)
        for at in range(1, len(answer)):
            self.pool.endpoint = structs.replace(ENDPOINT, lasting_max=2)
            taking = self.take()
            if self.fpm.pending:
                self.fpm.accept()
            receiver = self.begin(taking)
            wire = self.fpm.wires[-1]
            wire.protocol.dataReceived(answer[:at])
            wire.protocol.dataReceived(answer[at:])
            self.assertEqual(receiver.events[-1], "ended")
            self.assertEqual(b"".join(each for each in receiver.events if isinstance(each, bytes)), b"A: b\n\nbody")
        self.assertEqual(len(self.fpm.wires), 1)

    def test_late(self) -> None:
        """A deadline that passes while a request is under way is the receiver's to mind."""
        wire, receiver = self.request()
        connection = wire.protocol
        assert isinstance(connection, FastCGIConnection)
        connection.deadline = self.reactor.seconds() + 1.0
        self.reactor.pump([0.25] * 6)
        self.assertEqual(receiver.events, ["late"])
        self.assertFalse(wire.closed)

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
