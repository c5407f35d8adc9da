"""The last lines of a log file."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.logs import tail
from tqserver.logs.tail import last_lines

lines = st.lists(st.text(alphabet="abé ", min_size=1, max_size=40), max_size=60)


class TailTests(SynchronousTestCase):
    """Reading from the end."""

    def setUp(self) -> None:
        self.path = self.mktemp()

    def write(self, *text: str) -> None:
        """Have a file with these lines."""
        with open(self.path, "w") as file:
            file.write("".join(f"{line}\n" for line in text))

    @given(lines, st.integers(0, 70), st.integers(1, 50))
    def test_any_file(self, text: list[str], count: int, block: int) -> None:
        """Whatever the lines and however they lie across what is read at once, they are those at the end."""
        self.patch(tail, "BLOCK_BYTES", block)
        self.write(*text)
        self.assertEqual(last_lines(self.path, count), text[len(text) - min(count, len(text)) :] if count else [])

    def test_text(self) -> None:
        """Only lines with a text in them are counted."""
        self.write("one", "two", "three", "four")
        self.assertEqual(last_lines(self.path, 1, containing="o"), ["four"])
        self.assertEqual(last_lines(self.path, 9, containing="o"), ["one", "two", "four"])

    def test_since(self) -> None:
        """Lines before a moment end the search; those that follow an older one, such as a traceback's, belong to it."""
        self.write("2026-11-25T10:00:00.000Z old", "    more", "2026-11-25T11:00:00.000Z new", "    more of it")
        found = last_lines(self.path, 9, since="2026-11-25T10:30:00.000Z")
        self.assertEqual(found, ["    more", "2026-11-25T11:00:00.000Z new", "    more of it"][-len(found) :])
        self.assertIn("2026-11-25T11:00:00.000Z new", found)
        self.assertNotIn("2026-11-25T10:00:00.000Z old", found)

    def test_no_file(self) -> None:
        """A file that is not there has no lines; one that is a link is not followed."""
        self.assertEqual(last_lines(self.path, 5), [])
        os.symlink("/etc/passwd", self.path)
        self.assertRaises(OSError, last_lines, self.path, 5)

    def test_long_line(self) -> None:
        """Of a line without an end no more is told than a limit."""
        self.write("x" * 1_000_000, "short")
        found = last_lines(self.path, 2)
        self.assertEqual(found[-1], "short")
        self.assertLessEqual(len(found[0]), tail.LINE_CHARACTERS_MAX)
