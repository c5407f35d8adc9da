"""Tests of L{tqserver.watch.kernel}'s parser; the queue itself is tested in tests/functional."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.watch.kernel import Event, parse_events


def encode(event: Event) -> bytes:
    """An event as the kernel writes it: the name padded with NUL to a multiple of 16."""
    name = event.name.encode("utf-8", "surrogateescape")
    padded = name.ljust((len(name) // 16 + 1) * 16, b"\0") if name else b""
    return struct.pack("=iIII", event.wd, event.mask, 0, len(padded)) + padded


EVENTS = st.builds(
    Event,
    st.integers(-1, 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=20),
)


class ParseTests(SynchronousTestCase):
    """What is read from the kernel."""

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.lists(EVENTS, max_size=5))
    def test_every_event_is_read(self, events: list[Event]) -> None:
        """What the kernel wrote is what is read, names of any length included."""
        self.assertEqual(parse_events(b"".join(encode(event) for event in events)), events)

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.lists(EVENTS, min_size=1, max_size=3), st.integers(1, 15))
    def test_a_cut_event_is_left_out(self, events: list[Event], cut: int) -> None:
        """Half an event is no event."""
        data = b"".join(encode(event) for event in events)
        self.assertEqual(parse_events(data[:-cut]), events[:-1])

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.binary(max_size=100))
    def test_garbage_ends(self, data: bytes) -> None:
        """Whatever comes, reading ends and raises nothing."""
        self.assertLessEqual(len(parse_events(data)), len(data) // 16)
