"""Tests of L{tqserver.units}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.units import SIZE_BYTES_MAX, duration_s, go_memory_limit, size_bytes, size_text


class SizeTests(SynchronousTestCase):
    """Sizes as people write them."""

    def test_units(self) -> None:
        """A prefix is a power of 1024 in every spelling and case, with or without a space."""
        for text, size in (
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("16KiB", 16384),
            ("16k", 16384),
            ("16 KB", 16384),
            ("256M", 256 * 1024**2),
            (" 256mib ", 256 * 1024**2),
            ("1.5G", 3 * 512 * 1024**2),
            ("2T", 2 * 1024**4),
            ("0.5", 0),
        ):
            self.assertEqual(size_bytes(text), size, text)

    def test_refused(self) -> None:
        """What is no size is refused, and what no machine has."""
        for text in (
            "",
            "M",
            "-1",
            "1e3",
            "1,5G",
            "12 apples",
            "1..5",
            "5P",
            "0x10",
            "\uff11",
            "1" * 21,
            "9999999T",
            "nan",
        ):
            self.assertRaises(ValueError, size_bytes, text)

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.integers(0, SIZE_BYTES_MAX))
    def test_writing_loses_nothing(self, size: int) -> None:
        """A size that was written is read as the same."""
        self.assertEqual(size_bytes(size_text(size)), size)

    def test_fraction_is_exact(self) -> None:
        """A fraction of a large unit is not rounded as a floating point number would be."""
        self.assertEqual(size_bytes("4194303.999999999T"), 4194304 * 1024**4 - 1024**4 // 10**9 - 1)

    def test_written_shortly(self) -> None:
        """A size is written with the largest unit that divides it."""
        self.assertEqual(
            [size_text(size) for size in (0, 1, 1024, 1536, 256 * 1024**2)], ["0B", "1B", "1KiB", "1536B", "256MiB"]
        )


class GoMemoryLimitTests(SynchronousTestCase):
    """Go ends a program at start for a GOMEMLIMIT that it does not understand."""

    def test_translated(self) -> None:
        """Every size that we take becomes one that Go takes: whole numbers, and binary units only."""
        for text, limit in (
            ("", ""),
            ("off", "off"),
            ("OFF", "off"),
            ("512MiB", "512MiB"),
            ("256M", "256MiB"),
            ("1.5G", "1536MiB"),
            ("1000000", "1000000B"),
        ):
            self.assertEqual(go_memory_limit(text), limit, text)

    def test_refused(self) -> None:
        """What is no size is refused here, not by Go."""
        for text in ("lots", "-1", "12Q"):
            self.assertRaises(ValueError, go_memory_limit, text)


class DurationTests(SynchronousTestCase):
    """Durations of keys that say no unit."""

    def test_units(self) -> None:
        """A number is seconds; a unit may follow."""
        for text, seconds in (("60", 60), ("60s", 60), ("500ms", 0.5), ("1.5 m", 90), ("2H", 7200), ("1d", 86400)):
            self.assertAlmostEqual(duration_s(text), seconds, msg=text)

    def test_refused(self) -> None:
        """What is no duration is refused."""
        for text in ("", "s", "-1s", "1w", "1m30s", "inf", "nan", "1" * 16):
            self.assertRaises(ValueError, duration_s, text)
