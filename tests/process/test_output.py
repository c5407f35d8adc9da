"""Output in bounded lines, and floods."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.process import output
from tqserver.process.output import CONTINUED, LINE_BYTES_MAX, LineSplitter, Tail, Throttle

deterministic = settings(derandomize=True, deadline=None, max_examples=100)


def split(*pieces: bytes) -> list[bytes]:
    """What a splitter makes of pieces."""
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines + splitter.end()


class Lines(SynchronousTestCase):
    """Bytes become lines."""

    def test_line_ends(self) -> None:
        """Lines end with a newline, with or without a carriage return; the last one may have none."""
        self.assertEqual(split(b"a\nb\r\n\n", b"c", b"d"), [b"a", b"b", b"", b"cd"])

    def test_at_once(self) -> None:
        """A line is told as soon as it ends, and not twice."""
        splitter = LineSplitter()
        self.assertEqual(splitter.feed(b"a\nb"), [b"a"])
        self.assertEqual(splitter.end(), [b"b"])
        self.assertEqual(splitter.end(), [])

    def test_too_long(self) -> None:
        """A line of the greatest length is whole, a longer one comes in marked pieces."""
        self.assertEqual(split(b"x" * LINE_BYTES_MAX + b"\n"), [b"x" * LINE_BYTES_MAX])
        self.assertEqual(split(b"x" * (2 * LINE_BYTES_MAX + 1)), [b"x" * LINE_BYTES_MAX + CONTINUED] * 2 + [b"x"])

    def test_memory_is_bounded(self) -> None:
        """An endless line is not collected."""
        splitter = LineSplitter()
        for _ in range(100):
            splitter.feed(b"x" * LINE_BYTES_MAX)
        self.assertLessEqual(len(splitter.end()[0]), LINE_BYTES_MAX)

    @deterministic
    @given(st.lists(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"long"]), max_size=8).map(b"".join)))
    def test_cut_anywhere(self, pieces: list[bytes]) -> None:
        """However the bytes come, the lines are the same, and nothing but line ends is lost."""
        maximum, output.LINE_BYTES_MAX = output.LINE_BYTES_MAX, 5
        try:
            whole = b"".join(pieces)
            expected = split(whole)
            self.assertEqual(split(*pieces), expected)
            self.assertEqual(split(*(whole[i : i + 1] for i in range(len(whole)))), expected)
            self.assertEqual(
                b"".join(line.removesuffix(CONTINUED) for line in expected).replace(b"\r", b""),
                whole.replace(b"\n", b"").replace(b"\r", b""),
            )
            self.assertTrue(all(len(line.removesuffix(CONTINUED)) <= 5 for line in expected))
        finally:
            output.LINE_BYTES_MAX = maximum


class Tails(SynchronousTestCase):
    """The last words of a process."""

    def test_last_lines(self) -> None:
        """The last lines are kept, no more, each cut, and harmless for my terminal."""
        tail = Tail()
        tail.extend([b"%d" % number for number in range(1000)])
        tail.extend([b"\x1b[31mred\xff", b"x" * 5000])
        lines = tail.lines()
        self.assertEqual(len(lines), output.TAIL_LINES_MAX)
        self.assertEqual(lines[-3:], ("999", "\\x1b[31mred\\xff", "x" * output.TAIL_LINE_BYTES_MAX))


class Throttles(SynchronousTestCase):
    """A flood is paused."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.reading = True
        self.throttle = Throttle(self.clock, self.pause, self.resume)

    def pause(self) -> None:
        self.assertTrue(self.reading, "paused twice")
        self.reading = False

    def resume(self) -> None:
        self.assertFalse(self.reading, "resumed twice")
        self.reading = True

    def test_quiet(self) -> None:
        """Whoever says little is never paused."""
        for _ in range(1000):
            self.throttle.spend(1000, 10)
            self.clock.advance(0.01)
        self.assertTrue(self.reading)

    def test_flood(self) -> None:
        """Whoever says too much waits a window for each full measure."""
        self.throttle.spend(2 * output.WINDOW_COST_MAX, 0)
        self.assertFalse(self.reading)
        self.throttle.spend(1, 0)
        self.clock.advance(output.WINDOW_S * 1.5)
        self.assertFalse(self.reading)
        self.clock.advance(output.WINDOW_S)
        self.assertTrue(self.reading)
        self.assertFalse(self.throttle.paused)

    def test_lines_cost(self) -> None:
        """Many short lines are a flood, too."""
        self.throttle.spend(4096, output.WINDOW_COST_MAX // output.LINE_COST)
        self.assertFalse(self.reading)

    @deterministic
    @given(st.lists(st.tuples(st.integers(1, 65536), st.integers(0, 4096), st.floats(0, 0.1)), max_size=30))
    def test_rate(self, reads: list[tuple[int, int, float]]) -> None:
        """Over any time, what is read is bounded by that time, one measure and one read."""
        clock = Clock()
        paused = [False]
        throttle = Throttle(clock, lambda: paused.__setitem__(0, True), lambda: paused.__setitem__(0, False))
        total = largest = 0
        for size, lines, pause_s in reads:
            clock.advance(pause_s)
            if not paused[0]:
                throttle.spend(size, lines)
                cost = size + lines * output.LINE_COST
                total, largest = total + cost, max(largest, cost)
        allowed = clock.seconds() / output.WINDOW_S * output.WINDOW_COST_MAX
        self.assertLessEqual(total, allowed + output.WINDOW_COST_MAX + largest + 1)
        clock.advance(100)
        self.assertFalse(paused[0], "paused for ever")

    def test_end(self) -> None:
        """At the end everything that is left may be read."""
        self.throttle.spend(10**9, 0)
        self.throttle.end()
        self.assertTrue(self.reading)
        self.throttle.spend(10**9, 0)
        self.assertTrue(self.reading)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_clock_set_back(self) -> None:
        """A clock that is set back neither forgives nor blames."""
        self.throttle.spend(output.WINDOW_COST_MAX // 2, 0)
        self.clock.rightNow -= 1000
        self.throttle.spend(1, 0)
        self.assertTrue(self.reading)
        self.throttle.spend(output.WINDOW_COST_MAX // 2, 0)
        self.assertFalse(self.reading)
