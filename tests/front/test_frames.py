"""Where the frames of a WebSocket end, however they come."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.websockets import CLOSE, PING, TEXT, frame
from tqserver.front.frames import Frames, close_frame

SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65535, 65536, 70_000]))

FRAMES = st.lists(
    st.builds(
        lambda opcode, size, final, mask, reserved: frame(
            opcode, b"\x88" * size, final=final, mask=mask, reserved=reserved
        ),
        st.integers(0, 7).filter(lambda opcode: opcode != CLOSE),
        SIZES,
        st.booleans(),
        st.sampled_from([None, b"\x00\x00\x00\x00", b"\x88\x02\x03\xff"]),
        st.integers(0, 7),
    ),
    min_size=1,
    max_size=6,
)


class FramesTests(SynchronousTestCase):
    """Boundaries."""

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(FRAMES, st.data())
    def test_boundaries(self, frames: list[bytes], data: st.DataObject) -> None:
        """
        Wherever the reads end, it is known whether a frame ends there too, and if not, how much is missing of it.
        """
        stream, boundaries = b"", {0}
        for each in frames:
            stream += each
            boundaries.add(len(stream))
        passed = Frames()
        at = 0
        while at < len(stream):
            size = data.draw(st.one_of(st.integers(1, 20), st.integers(1, len(stream) - at)))
            passed.follow(stream[at : at + size])
            at = min(at + size, len(stream))
            self.assertEqual(passed.between, at in boundaries)
            self.assertFalse(passed.closed or passed.lost)
        finished = Frames()
        at = data.draw(st.integers(0, len(stream)))
        finished.follow(stream[:at])
        end = min(boundary for boundary in boundaries if boundary >= at)
        while not finished.between:
            size = data.draw(st.integers(1, 100_000))
            at += finished.rest(stream[at : at + size])
        self.assertEqual(at, end)
        self.assertEqual(finished.rest(stream[at:]), 0)

    def test_byte_by_byte(self) -> None:
        """It makes no difference if every byte comes alone."""
        stream = frame(TEXT, b"hello") + frame(PING) + frame(TEXT, b"x" * 70_000, mask=None)
        frames = Frames()
        ends = []
        for at in range(len(stream)):
            frames.follow(stream[at : at + 1])
            if frames.between:
                ends.append(at + 1)
        self.assertEqual(ends, [11, 17, len(stream)])

    def test_close_frames(self) -> None:
        """A close frame is noticed, in either direction and also when it comes in pieces."""
        for stream in (close_frame(1001), close_frame(1001, b"", b"abcd"), frame(CLOSE), close_frame(1000, b"x" * 200)):
            for size in (1, 3, len(stream)):
                frames = Frames()
                frames.follow(frame(TEXT, b"\x88\x88"))
                self.assertFalse(frames.closed)
                for at in range(0, len(stream), size):
                    frames.follow(stream[at : at + size])
                self.assertTrue(frames.closed and frames.between)

    def test_what_close_frames_say(self) -> None:
        """They are as RFC 6455 section 5.5.1 has them, and never longer than a control frame may be."""
        self.assertEqual(close_frame(1001), b"\x88\x02\x03\xe9")
        self.assertEqual(close_frame(1001, b"bye"), b"\x88\x05\x03\xe9bye")
        self.assertEqual(close_frame(1001, b"", b"\x01\x02\x03\x04"), b"\x88\x82\x01\x02\x03\x04\x02\xeb")
        self.assertEqual(len(close_frame(1001, b"x" * 200)), 2 + 125)

    def test_impossible_length(self) -> None:
        """After a length that cannot be, nobody can tell where a frame ends (RFC 6455 section 5.2)."""
        frames = Frames()
        for byte in b"\x82\x7f\x80" + b"\0" * 7:
            self.assertFalse(frames.lost)
            frames.follow(bytes([byte]))
        self.assertTrue(frames.lost)
        self.assertFalse(frames.between)
        frames.follow(b"whatever")
        self.assertEqual(frames.rest(close_frame(1001)), 4)
        self.assertFalse(frames.closed or frames.between)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
    def test_anything(self, pieces: list[bytes]) -> None:
        """Whatever passes, following it has no end but that of the bytes, and raises nothing."""
        whole, parts = Frames(), Frames()
        whole.follow(b"".join(pieces))
        for piece in pieces:
            parts.follow(piece)
        self.assertEqual((whole.between, whole.closed, whole.lost), (parts.between, parts.closed, parts.lost))
