"""What is written in one turn goes out together, at its end, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.trial.unittest import SynchronousTestCase

from tqserver.http1.outbox import BATCH_BYTES_MAX, Outbox


class Wire:
    """A transport that keeps what it gets, or fails."""

    def __init__(self, broken: bool = False) -> None:
        self.got: list[bytes] = []
        self.broken = broken

    def write(self, data: bytes) -> None:
        if self.broken:
            raise RuntimeError("broken")
        self.got.append(data)

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        self.got.extend(pieces)


class OutboxTests(SynchronousTestCase):
    """An outbox and its turn."""

    def setUp(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.outbox = Outbox(self.soon.append)

    def end_turn(self) -> None:
        """The turn ends."""
        soon, self.soon[:] = list(self.soon), []
        for call in soon:
            call()

    def test_order(self) -> None:
        """What one connection writes stays in order, whole and in pieces, and waits for the end of the turn."""
        wire, other = Wire(), Wire()
        self.outbox.write(wire, b"a")
        self.outbox.write(other, b"x")
        self.outbox.write_sequence(wire, (b"b", b"c"))
        self.assertEqual((wire.got, other.got, len(self.soon)), ([], [], 1))
        self.end_turn()
        self.assertEqual((wire.got, other.got), ([b"a", b"b", b"c"], [b"x"]))
        self.outbox.write(wire, b"d")
        self.end_turn()
        self.assertEqual(wire.got[3:], [b"d"])

    def test_much(self) -> None:
        """Who writes much at once hears at once that the peer is slow."""
        wire = Wire()
        self.outbox.write(wire, b"a")
        self.outbox.write(wire, b"b" * BATCH_BYTES_MAX)
        self.assertEqual(len(wire.got), 2)
        self.end_turn()
        self.assertEqual(len(wire.got), 2)

    def test_before_closing(self) -> None:
        """Who closes has everything handed over first."""
        wire = Wire()
        self.outbox.write(wire, b"bye")
        self.outbox.flush()
        self.assertEqual(wire.got, [b"bye"])

    def test_one_breaks(self) -> None:
        """A transport that fails silences no other."""
        wire = Wire()
        self.outbox.write(Wire(broken=True), b"a")
        self.outbox.write(wire, b"b")
        self.end_turn()
        self.assertEqual(wire.got, [b"b"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_written_while_flushing(self) -> None:
        """What is written because something else was is written in the same turn."""
        wire = Wire()

        class Chain(Wire):
            def write(chain, data: bytes) -> None:
                self.outbox.write(wire, data + b"!")

        self.outbox.write(Chain(), b"a")
        self.end_turn()
        self.end_turn()
        self.assertEqual(wire.got, [b"a!"])

    def test_not_kept(self) -> None:
        """Transports that wait by themselves are written to at once."""
        wire = Wire()
        outbox = Outbox()
        outbox.write(wire, b"a")
        outbox.write_sequence(wire, (b"b",))
        self.assertEqual(wire.got, [b"a", b"b"])
