"""How large files are sent."""

from __future__ import annotations

import os

from tests.front.fakes import FakeExchange, request_head
from tests.front.static_case import StaticTestCase, open_below
from tqserver.front.static_send import CHUNK_BYTES


class StreamingTests(StaticTestCase):
    """Large files and slow clients."""

    def setUp(self) -> None:
        super().setUp()
        self.data = bytes(range(256)) * (CHUNK_BYTES * 4 // 256) + b"the end"
        self.path = self.put("big.bin", self.data)

    def test_chunk_by_chunk(self) -> None:
        """A large file is sent one chunk a turn, so that others are served in between."""
        exchange = self.get(b"/big.bin")
        seen: list[int] = []

        def somebody_else() -> None:
            seen.append(len(exchange.writes))
            if not exchange.over:
                self.clock.callLater(0, somebody_else)

        somebody_else()
        self.clock.advance(0)
        self.assertEqual(seen, [1, 2, 3, 4, 5])
        self.assertEqual([len(data) for data in exchange.writes], [CHUNK_BYTES] * 4 + [7])
        self.assertTrue(exchange.finished)
        self.assertEqual(exchange.body, self.data)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_client(self) -> None:
        """Nothing is read while the client does not read."""
        exchange = self.get(b"/big.bin")
        exchange.client_pauses()
        self.clock.advance(0)
        self.clock.advance(10)
        self.assertEqual(len(exchange.writes), 1)
        exchange.client_resumes()
        exchange.client_pauses()
        self.clock.advance(10)
        self.assertEqual(len(exchange.writes), 1)
        exchange.client_resumes()
        self.clock.pump([0] * 10)
        self.assertEqual((exchange.body, exchange.finished), (self.data, True))

    def test_paused_from_the_beginning(self) -> None:
        """A client that is behind already gets no more than a chunk."""
        head = request_head(b"GET", b"/big.bin")
        exchange = FakeExchange(head, write_paused=True)
        found = self.find(b"/big.bin")
        assert found is not None
        self.files.serve(exchange, found)
        self.clock.pump([0] * 10)
        self.assertEqual(len(exchange.writes), 1)
        exchange.client_leaves()

    def test_client_leaves(self) -> None:
        """A client that leaves leaves nothing behind."""
        exchange = self.get(b"/big.bin")
        self.assertEqual(open_below(self.base), [str(self.path)])
        exchange.client_leaves()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(open_below(self.base), [])

    def test_range_in_the_middle(self) -> None:
        """A large part is streamed as well, and ends where it should."""
        first, last = 1000, CHUNK_BYTES * 3 + 5
        exchange = self.get(b"/big.bin", (b"range", b"bytes=%d-%d" % (first, last)))
        self.clock.pump([0] * 10)
        self.assertEqual((exchange.body, exchange.finished), (self.data[first : last + 1], True))

    def test_shrinks(self) -> None:
        """When a file becomes shorter while it is sent, the client can tell that something is missing."""
        exchange = self.get(b"/big.bin")
        os.truncate(self.path, CHUNK_BYTES + 10)
        self.clock.pump([0] * 10)
        self.assertTrue(exchange.aborted)
        self.assertFalse(exchange.finished)

    def test_grows(self) -> None:
        """When a file becomes longer, what was promised is sent."""
        exchange = self.get(b"/big.bin")
        with self.path.open("ab") as file:
            file.write(b"more")
        self.clock.pump([0] * 10)
        self.assertEqual((exchange.body, exchange.finished), (self.data, True))

    def test_replaced(self) -> None:
        """When a file is replaced as editors do it, the client gets the old one whole."""
        exchange = self.get(b"/big.bin")
        self.put("new", b"new").rename(self.path)
        self.clock.pump([0] * 10)
        self.assertEqual((exchange.body, exchange.finished), (self.data, True))


class KernelTests(StaticTestCase):
    """Large files that the kernel sends."""

    def setUp(self) -> None:
        super().setUp()
        self.data = bytes(range(256)) * (CHUNK_BYTES * 4 // 256) + b"the end"
        self.path = self.put("big.bin", self.data)

    def begin(self, *fields: tuple[bytes, bytes]) -> FakeExchange:
        """Ask for the file over a connection that the kernel can send on."""
        exchange = FakeExchange(request_head(b"GET", b"/big.bin", fields))
        exchange.kernel_sends = True
        found = self.find(b"/big.bin")
        assert found is not None
        self.files.serve(exchange, found)
        return exchange

    def test_whole(self) -> None:
        """The kernel sends all of it, and nothing is read or written by us."""
        exchange = self.begin()
        self.assertEqual(exchange.events, ["respond", "send_file"])
        self.assertEqual(exchange.writes, [])
        exchange.kernel_goes_on(1000)
        exchange.kernel_goes_on()
        self.assertEqual((exchange.body, exchange.finished), (self.data, True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_part(self) -> None:
        """A long part is sent likewise; a short one is read with the head."""
        exchange = self.begin((b"range", b"bytes=1000-%d" % (CHUNK_BYTES + 2000)))
        exchange.kernel_goes_on()
        self.assertEqual((exchange.body, exchange.finished), (self.data[1000 : CHUNK_BYTES + 2001], True))
        exchange = self.begin((b"range", b"bytes=1000-1999"))
        self.assertEqual((exchange.body, exchange.finished), (self.data[1000:2000], True))
        self.assertNotIn("send_file", exchange.events)

    def test_parts(self) -> None:
        """Long parts by the kernel, short ones and what is between them by us, in order."""
        last = len(self.data) - 1
        exchange = self.begin((b"range", b"bytes=0-9,1000-%d,%d-" % (CHUNK_BYTES + 2000, last - 1)))
        kind = exchange.header(b"content-type")
        assert kind is not None and exchange.response is not None
        mark = kind.partition(b"boundary=")[2]
        while not exchange.over:
            if exchange.kernel_file is not None:
                exchange.kernel_goes_on(50_000)
            else:
                self.clock.advance(0)
        self.assertIn("send_file", exchange.events)
        self.assertEqual(exchange.response.content_length, len(exchange.body))
        parts = exchange.body.split(b"--" + mark)
        self.assertEqual(
            [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:-1]],
            [self.data[0:10], self.data[1000 : CHUNK_BYTES + 2001], self.data[last - 1 :]],
        )

    def test_shrinks(self) -> None:
        """When the file becomes shorter, the client can tell that something is missing."""
        exchange = self.begin()
        exchange.kernel_goes_on(1000)
        os.truncate(self.path, 1000)
        exchange.kernel_goes_on()
        self.assertEqual((exchange.aborted, exchange.finished), (True, False))

    def test_client_leaves(self) -> None:
        """A client that leaves leaves nothing behind."""
        exchange = self.begin()
        exchange.kernel_goes_on(1000)
        exchange.client_leaves()
        self.assertEqual(open_below(self.base), [])

    def test_slow_client(self) -> None:
        """While the kernel sends, the client's pace is the kernel's affair; after that it is ours."""
        exchange = self.begin((b"range", b"bytes=0-%d,%d-" % (CHUNK_BYTES, len(self.data) - 3)))
        self.clock.advance(0)
        self.assertIsNotNone(exchange.kernel_file)
        exchange.client_pauses()
        exchange.client_resumes()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        exchange.client_pauses()
        exchange.kernel_goes_on()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(exchange.over)
        exchange.client_resumes()
        self.clock.advance(0)
        self.assertTrue(exchange.finished)
