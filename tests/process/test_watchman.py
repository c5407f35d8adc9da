"""Whom the watchman would end."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.process.watchman import Entry, members, parse_stat, read_stat


def stat(pid: int, name: str, state: str = "S", group: int = 1, session: int = 1, started: int = 5) -> str:
    """A line as the kernel writes it."""
    fields = [state, "1", str(group), str(session), *["0"] * 15, str(started), *["0"] * 30]
    return f"{pid} ({name}) " + " ".join(fields) + "\n"


class Stats(SynchronousTestCase):
    """The process table is read."""

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.text(max_size=16), st.sampled_from("RSDZTX"))
    def test_any_name(self, name: str, state: str) -> None:
        """A process may call itself what it likes, and is read right."""
        self.assertEqual(parse_stat(stat(7, name, state, 8, 9, 10)), Entry(7, state in "ZX", 8, 9, 10))

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.text(max_size=60))
    def test_garbage(self, text: str) -> None:
        """What is not such a line is none, and no error."""
        self.assertIsNone(parse_stat(text))

    def test_real(self) -> None:
        """This very process is found, one that cannot be is not."""
        entry = read_stat(os.getpid())
        assert entry is not None
        self.assertEqual((entry.pid, entry.group, entry.session), (os.getpid(), os.getpgrp(), os.getsid(0)))
        self.assertIsNone(read_stat(999_999_999))


class Members(SynchronousTestCase):
    """Who belongs to a leader."""

    def test_session_and_group(self) -> None:
        """The leader, its group, and all of its session belong to it; nobody else, and nobody who is dead."""
        table = [
            Entry(10, False, 10, 10, 5),
            Entry(11, False, 10, 10, 6),
            Entry(12, False, 12, 10, 7),
            Entry(13, True, 10, 10, 8),
            Entry(20, False, 20, 20, 9),
        ]
        self.assertEqual(members(table, {10: 5}), [10, 11, 12])

    def test_leader_gone(self) -> None:
        """What an ended leader left belongs to it still."""
        self.assertEqual(members([Entry(12, False, 10, 10, 7)], {10: 5}), [12])

    def test_not_yet_leader(self) -> None:
        """A process that has not got its session yet is found by its own number."""
        self.assertEqual(members([Entry(10, False, 1, 1, 5)], {10: 5}), [10])

    def test_number_given_out_again(self) -> None:
        """Somebody who was started later and got a dead leader's number is left alone."""
        self.assertEqual(members([Entry(10, False, 10, 10, 99), Entry(11, False, 10, 10, 100)], {10: 5}), [])

    def test_unknown_start(self) -> None:
        """A leader that had ended before the watchman could look has its leftovers ended all the same."""
        self.assertEqual(members([Entry(12, False, 10, 10, 7)], {10: None}), [12])
