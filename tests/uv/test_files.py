"""Files that the kernel sends on a uv stream."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone

from tqserver.turns import TURN_BYTES_MAX
from tqserver.uv.files import SLICE_BYTES, STEP_BYTES

from .test_reactor import RunningTestCase
from .test_transport import Producer

MIB = 1024 * 1024


class FileTests(RunningTestCase):
    """A file between other things that are written."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[tuple[int, bool]] = []
        self.got = b""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.peer = ours
        self.peer.setblocking(False)
        self.stream: Any = self.reactor.adoptStreamConnection(theirs.fileno(), socket.AF_UNIX, self.factory)
        theirs.close()

    def file(self, data: bytes) -> int:
        """A file with this content, open for reading."""
        file = tempfile.TemporaryFile()  # noqa: SIM115
        self.addCleanup(file.close)
        file.write(data)
        file.flush()
        return file.fileno()

    def tell(self, sent: int, ended: bool) -> None:
        """What the sender hears."""
        self.told.append((sent, ended))

    @property
    def sent(self) -> int:
        """Bytes that are said to have gone."""
        return sum(sent for sent, _ in self.told)

    @property
    def ended(self) -> bool:
        """Whether the transfer is over."""
        return bool(self.told) and self.told[-1][1]

    def read(self, limit: int = MIB) -> bool:
        """The peer takes something."""
        try:
            self.got += self.peer.recv(limit)
        except BlockingIOError:
            pass
        return True

    def has(self, length: int) -> Callable[[], bool]:
        """A step that reads until so much has come."""
        return lambda: self.read() and len(self.got) >= length

    def begin(self, fd: int, at: int, length: int) -> Callable[[], bool]:
        """A step that begins to send."""
        return lambda: self.stream.send_file(fd, at, length, self.tell) or self.fail("refused")

    def test_in_between(self) -> None:
        """What is written before a piece of a file comes before it, and what is written meanwhile after it."""
        data = os.urandom(3 * MIB)
        fd = self.file(data)

        def write() -> bool:
            self.stream.write(b"<" * 300_000)
            self.stream.send_file(fd, 5, len(data) - 9, self.tell)
            self.stream.write(b">")
            self.stream.writeSequence([b">", b">"])
            return True

        self.until(self.connected, write, self.has(300_000 + len(data) - 9 + 3))
        self.assertEqual(self.got, b"<" * 300_000 + data[5:-4] + b">>>")
        self.assertEqual((self.sent, self.ended), (len(data) - 9, True))
        self.assertEqual([ended for _, ended in self.told[:-1]], [False] * (len(self.told) - 1))

    def connected(self) -> bool:
        """uvloop's transport is there."""
        return self.stream._uv is not None

    def test_not_yet(self) -> None:
        """Before there is a connection to send on, one has to write."""
        self.assertFalse(self.stream.send_file(self.file(b"x"), 0, 1, self.tell))
        self.until(self.connected)

    def test_one_at_a_time(self) -> None:
        """While a file is being sent, another one is refused, and after it is not."""
        fd = self.file(b"x" * 4 * MIB)
        seen: list[bool] = []

        def second() -> bool:
            seen.append(self.stream.send_file(fd, 0, 1, self.tell))
            return True

        self.until(self.connected, self.begin(fd, 0, 4 * MIB), second, self.has(4 * MIB), lambda: self.ended, second)
        self.assertEqual(seen, [False, True])

    def test_slow_peer(self) -> None:
        """A peer that does not read holds up the file, pauses who writes, and costs a page of memory."""
        fd = self.file(b"x" * 8 * MIB)
        producer = Producer()
        self.stream.registerProducer(producer, True)

        def look() -> bool:
            self.assertLessEqual(self.stream._uv.get_write_buffer_size(), STEP_BYTES)
            self.assertTrue(self.stream.writing)
            self.assertEqual(producer.told, ["pause"])
            return True

        # Nothing comes after the pause that could be waited for: it is the point that nothing does.
        self.until(self.connected, self.begin(fd, 0, 8 * MIB), lambda: bool(producer.told), self.after(0.05), look)
        self.assertLess(self.sent, 8 * MIB)
        self.assertFalse(self.ended)

    def test_turns(self) -> None:
        """No turn of the reactor sends more than a slice, so that others get theirs."""
        fd = self.file(b"x" * 4 * MIB)
        self.until(self.connected, self.begin(fd, 0, 4 * MIB), self.has(4 * MIB), lambda: self.ended)
        self.assertLessEqual(max(sent for sent, _ in self.told), SLICE_BYTES + STEP_BYTES)

    def test_many(self) -> None:
        """While others with much to write have their turns a file waits for its own."""
        fd = self.file(b"x" * MIB)
        turns = self.reactor.turns  # type: ignore[attr-defined]
        seen: list[int] = []

        def begin() -> bool:
            turns.passed(TURN_BYTES_MAX)
            self.stream.send_file(fd, 0, MIB, self.tell)
            seen.append(self.sent)
            return True

        self.until(self.connected, begin, self.has(MIB), lambda: self.ended)
        self.assertEqual((seen, self.sent), ([0], MIB))

    def test_given_up_while_it_waits(self) -> None:
        """A file that is not wanted any more when its turn comes is not sent."""
        fd = self.file(b"x" * MIB)
        behind: list[bool] = []

        def begin() -> bool:
            turns = self.reactor.turns  # type: ignore[attr-defined]
            turns.passed(TURN_BYTES_MAX)
            self.stream.send_file(fd, 0, MIB, self.tell)
            turns.wait(lambda: behind.append(True))
            self.stream.cancel_file()
            self.stream.write(b"instead")
            return True

        self.until(self.connected, begin, self.has(7), lambda: bool(behind))
        self.read()
        self.assertEqual((self.got, self.told), (b"instead", []))

    def test_paused_and_resumed(self) -> None:
        """Who writes is resumed when the peer reads on, and afterwards can write as before."""
        data = os.urandom(4 * MIB)
        producer = Producer()
        self.stream.registerProducer(producer, True)

        def look() -> bool:
            self.assertEqual(producer.told[-1], "resume")
            self.assertEqual(self.stream._uv.get_write_buffer_limits(), (16, 64 * 1024))
            self.assertEqual(self.stream.write, self.stream._uv.write)
            return True

        self.until(
            self.connected,
            self.begin(self.file(data), 0, len(data)),
            self.has(len(data)),
            lambda: not self.stream.producerPaused,
            look,
        )
        self.assertEqual(self.got, data)

    def test_file_shrinks(self) -> None:
        """A file that becomes shorter ends before its time."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x" * 4 * MIB)
            file.flush()
            self.until(
                self.connected,
                self.begin(file.fileno(), 0, 4 * MIB),
                lambda: file.truncate(MIB) or True,
                lambda: self.read() and self.ended,
            )
        self.assertLess(self.sent, 4 * MIB)

    def test_peer_leaves(self) -> None:
        """When the peer is gone nothing of the file is touched any more."""
        fd = self.file(b"x" * 8 * MIB)
        self.until(
            self.connected,
            self.begin(fd, 0, 8 * MIB),
            lambda: self.peer.close() or True,
            lambda: self.servers[0].reason,
        )
        self.assertFalse(self.ended and self.sent == 8 * MIB)
        self.assertFalse(self.stream.send_file(fd, 0, 1, self.tell))

    def test_abort(self) -> None:
        """An abort ends it at once; nobody is told but the protocol."""
        fd = self.file(b"x" * 8 * MIB)
        self.until(
            self.connected,
            self.begin(fd, 0, 8 * MIB),
            lambda: self.stream.abortConnection() or True,
            lambda: self.servers[0].reason,
        )
        self.assertEqual(self.servers[0].reason, ConnectionAborted)
        self.assertFalse(self.ended)

    def test_close_waits(self) -> None:
        """Who hangs up while a file is being sent hangs up after it."""
        data = os.urandom(4 * MIB)
        self.until(
            self.connected,
            self.begin(self.file(data), 0, len(data)),
            lambda: self.stream.loseConnection() or True,
            self.has(len(data)),
            lambda: self.servers[0].reason,
        )
        self.assertEqual((self.got, self.servers[0].reason), (data, ConnectionDone))

    def test_cancel(self) -> None:
        """A file that is no longer wanted stops, and what is written afterwards comes next."""
        fd = self.file(b"x" * 8 * MIB)

        def cancel() -> bool:
            self.stream.cancel_file()
            self.stream.write(b"end")
            return True

        self.until(
            self.connected, self.begin(fd, 0, 8 * MIB), cancel, lambda: self.read() and self.got.endswith(b"end")
        )
        self.assertEqual(self.got, b"x" * self.sent + b"end")
        self.assertFalse(self.ended)

    @settings(derandomize=True, deadline=None, max_examples=8)
    @given(
        pieces=st.lists(st.one_of(st.binary(max_size=9), st.integers(1, 400_000)), max_size=6),
        limit=st.integers(1000, 300_000),
    )
    def test_order(self, pieces: list[bytes | int], limit: int) -> None:
        """Whatever is sent and written in whatever order, it arrives in that order."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reactor = self.buildReactor()
        stream: Any = reactor.adoptStreamConnection(theirs.fileno(), socket.AF_UNIX, self.factory)
        theirs.close()
        data = os.urandom(400_000)
        fd = self.file(data)
        left = list(pieces)
        expected, got = b"", b""

        def go_on() -> None:
            nonlocal expected, got
            try:
                got += ours.recv(limit)
            except BlockingIOError:
                pass
            while left and stream._uv is not None:
                if isinstance(left[0], int):
                    if not stream.send_file(fd, 0, left[0], self.tell):
                        break
                    expected += data[: left[0]]
                else:
                    stream.write(left[0])
                    expected += left[0]
                del left[0]
            if left or len(got) < len(expected):
                reactor.callLater(0, go_on)
            else:
                reactor.stop()

        reactor.callWhenRunning(go_on)
        self.runReactor(reactor)
        ours.close()
        self.assertEqual(got, expected)
