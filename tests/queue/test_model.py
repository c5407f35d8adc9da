"""The rules of queues, and ids."""

from __future__ import annotations

import random
import re
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.ids import RANDOM_BITS, SEQ_MAX, make_id, seq_of
from tqserver.queue.model import Backoff, Counts, State

KINDS = ("none", "fixed", "linear", "exponential", "exp_equal_jitter", "exp_full_jitter")


class BackoffTests(SynchronousTestCase):
    """How long a task waits."""

    def waits(self, kind: str, chance: float = 0.5) -> list[int]:
        backoff = Backoff(kind, 100, 1000)  # type: ignore[arg-type]
        return [backoff.delay_ms(attempts, chance) for attempts in range(1, 7)]

    def test_kinds(self) -> None:
        """Each kind grows as its name says, up to the limit."""
        self.assertEqual(self.waits("none"), [0] * 6)
        self.assertEqual(self.waits("fixed"), [100] * 6)
        self.assertEqual(self.waits("linear"), [100, 200, 300, 400, 500, 600])
        self.assertEqual(self.waits("exponential"), [100, 200, 400, 800, 1000, 1000])
        self.assertEqual(self.waits("exp_full_jitter"), [50, 100, 200, 400, 500, 500])
        self.assertEqual(self.waits("exp_equal_jitter"), [75, 150, 300, 600, 750, 750])
        self.assertEqual(self.waits("exp_full_jitter", 0.0), [0] * 6)

    @given(
        kind=st.sampled_from(KINDS),
        base_ms=st.integers(0, 10**12),
        max_ms=st.integers(0, 10**12),
        attempts=st.integers(1, 10**9),
        chance=st.floats(0, 1, exclude_max=True),
    )
    def test_bounds(self, kind: str, base_ms: int, max_ms: int, attempts: int, chance: float) -> None:
        """No wait is negative or longer than the limit, however often a task was tried."""
        delay_ms = Backoff(kind, base_ms, max_ms).delay_ms(attempts, chance)  # type: ignore[arg-type]
        self.assertTrue(0 <= delay_ms <= max_ms)
        self.assertIsInstance(delay_ms, int)


class CountsTests(SynchronousTestCase):
    """How many tasks there are."""

    def test_order(self) -> None:
        """They are in the order of the numbers of the states."""
        counts = Counts(*range(len(State)))
        for state in State:
            self.assertEqual(getattr(counts, state.name.lower()), state.value)
        self.assertEqual(counts.live, 0 + 1 + 2)


class IdTests(SynchronousTestCase):
    """Ids with a number inside."""

    @given(seq=st.integers(0, SEQ_MAX), chance=st.integers(0, (1 << RANDOM_BITS) - 1))
    def test_number(self, seq: int, chance: int) -> None:
        """An id is a UUID of version 8 that gives the number back, and tells others by its random bits."""
        id = make_id(seq, chance)
        uuid = UUID(id)
        self.assertEqual((str(uuid), uuid.version, uuid.variant), (id, 8, "specified in RFC 4122"))
        self.assertEqual(seq_of(id), seq)
        self.assertNotEqual(make_id(seq, chance ^ 1), id)

    def test_order(self) -> None:
        """Later ids are larger as texts, too."""
        bits = random.Random(1)
        ids = [make_id(seq, bits.getrandbits(RANDOM_BITS)) for seq in [0, 1, 2, 0xFFF, 0x1000, 1 << 28, SEQ_MAX]]
        self.assertEqual(ids, sorted(ids))

    @given(text=st.text() | st.from_regex(re.compile(r".{8}-.{4}-8.{3}-.{4}-.{12}"), fullmatch=True))
    def test_anything(self, text: str) -> None:
        """Whatever a client sends as an id has a number or has none; it is no error."""
        self.assertLessEqual(seq_of(text), SEQ_MAX)

    def test_no_id(self) -> None:
        """What is none has no number."""
        good = make_id(5, 7)
        for text in (
            "",
            "x",
            good[:-1],
            good + "0",
            good.replace("-8", "-7", 1),
            good.replace("-", "_"),
            "z" + good[1:],
        ):
            self.assertEqual(seq_of(text), -1, text)
