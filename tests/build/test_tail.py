"""Tests of L{tqserver.build.tail}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.build.tail import LINE_CHARACTERS_MAX, Tail, clean


class TailTests(SynchronousTestCase):
    """What is kept of a tool's output."""

    def test_the_last_lines(self) -> None:
        """Of very many lines the last are kept."""
        tail = Tail(lines_max=3)
        tail.add(b"%d" % number for number in range(10))
        self.assertEqual(tail.lines(), ("7", "8", "9"))

    def test_colours_and_progress_are_taken_out(self) -> None:
        """What is shown on a page or a terminal holds no codes, and of a progress bar the last state."""
        self.assertEqual(clean(b"\x1b[1;31merror\x1b[0m: x\x1b]0;title\x07"), "error: x")
        self.assertEqual(clean(b"10%\r50%\r100%"), "100%")
        self.assertEqual(clean(b"windows line\r"), "windows line")
        self.assertEqual(clean(b"a\x00b\x07c\td"), "abc\td")
        self.assertEqual(clean(b"\xff"), "\ufffd")

    def test_long_lines(self) -> None:
        """The beginning of a line of a megabyte is enough."""
        self.assertEqual(len(clean(b"x" * 1_000_000)), LINE_CHARACTERS_MAX)

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.lists(st.binary(max_size=50), max_size=40), st.integers(1, 300))
    def test_bounded(self, lines: list[bytes], bytes_max: int) -> None:
        """Whatever a tool writes: it is bounded, without control characters, and the end of what was said."""
        tail = Tail(lines_max=10, bytes_max=bytes_max)
        tail.add(lines)
        kept = tail.lines()
        self.assertLessEqual(sum(len(line.encode()) + 1 for line in kept), bytes_max)
        self.assertLessEqual(len(kept), 10)
        self.assertEqual(kept, tuple(clean(line) for line in lines)[len(lines) - len(kept) :])
        self.assertFalse(any(ord(character) < 32 and character != "\t" for line in kept for character in line))
