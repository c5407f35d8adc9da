"""Tests of L{tqserver.queue.api.snapshot}."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ClientFault, ServerFault
from tqserver.queue.api.snapshot import MESSAGE_BYTES_MAX, PIECE_BYTES, parse, read, write

messages = st.lists(st.binary(max_size=50), max_size=10)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def parsed(data: bytes, size: int = 1000) -> list[bytes]:
    return list(parse(pieces(data, size)))


class SnapshotTests(SynchronousTestCase):
    """Snapshots."""

    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.data.mkdir(parents=True)

    def test_written(self) -> None:
        """It is a JSON array of base64, oldest first, as others write and read it."""
        write(str(self.data), "a", [b"one", b"", b"\xff\0"])
        self.assertEqual(json.loads((self.data / "a").read_bytes()), ["b25l", "", "/wA="])
        write(str(self.data), "a", [])
        self.assertEqual(json.loads((self.data / "a").read_bytes()), [])

    def test_large(self) -> None:
        """Messages of every size up to the largest come back as they were."""
        many = [bytes([n % 256]) * size for n, size in enumerate([0, 1, 2, 3, PIECE_BYTES, MESSAGE_BYTES_MAX] * 3)]
        write(str(self.data), "a", iter(many))
        self.assertEqual(list(read(str(self.data), "a")), many)

    @given(messages, st.integers(1, 40))
    def test_there_and_back(self, many: list[bytes], size: int) -> None:
        """Whatever others write in JSON is read, however it is cut into pieces."""
        texts = [b64encode(each).decode() for each in many]
        for data in (
            json.dumps(texts),
            json.dumps(texts, indent=3) + "\r\n\t ",
            json.dumps(texts).replace("/", "\\/").replace("=", "\\u003d"),
        ):
            self.assertEqual(parsed(data.encode(), size), many)

    def test_empty(self) -> None:
        """An empty queue may be written in two ways."""
        self.assertEqual((parsed(b" [ ] "), parsed(b"null\n"), parsed(b'["", null]')), ([], [], [b"", b""]))

    def test_bad(self) -> None:
        """What is no snapshot is told apart, wherever it goes wrong."""
        for data in (
            b"",
            b" ",
            b"{}",
            b"[",
            b"]",
            b'["YQ=="',
            b'["YQ=="]]',
            b'["YQ=="] x',
            b'["YQ=="],',
            b'["YQ==",]',
            b'[,"YQ=="]',
            b'["YQ==" "YQ=="]',
            b'["YQ"]',
            b'["Y!Q="]',
            b'["YQ==\n"]',
            b"[1]",
            b"[[]]",
            b'["YQ==',
            b'["\\x"]',
            b'["\xff"]',
            b"\xff\xfe[]",
            b"nullnull",
            b'"YQ=="',
            b"[true]",
        ):
            for size in (1, 1000):
                fault = self.assertRaises(ServerFault, parsed, data, size)
                self.assertEqual(fault.status, 500)

    def test_too_large(self) -> None:
        """A message that could not have been put is not loaded either, and is not gathered for ever."""
        larger = b64encode(b"x" * (MESSAGE_BYTES_MAX + 1))
        for data in (b'["' + larger + b'"]', b'["' + b"A" * 10_000_000, b"[" + b" " * 9_999_999):
            self.assertRaises(ServerFault, parsed, data, PIECE_BYTES)

    @given(st.binary(max_size=60))
    def test_anything(self, data: bytes) -> None:
        """Whatever a file holds, it is a snapshot or it is not."""
        try:
            parsed(data, 7)
        except ServerFault:
            pass

    def test_names(self) -> None:
        """Only files below the folder are read and written."""
        self.assertRaises(ClientFault, write, str(self.data), "../a", [])
        self.assertRaises(ClientFault, lambda: list(read(str(self.data), "../a")))
        self.assertRaises(ServerFault, write, str(self.data / "nowhere"), "a", [])
