"""Tests of L{tqserver.config.queue_payload}: what a schedule puts is what its author wrote."""

from __future__ import annotations

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.nodes import Mistake, compose
from tqserver.config.queue_payload import Payload, payload

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), max_size=10),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text("abcdefg", min_size=1, max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


def read(text: str) -> Payload:
    """The payload that this YAML is."""
    node = compose(text.encode())
    assert node is not None
    return payload(node, "payload")


class PayloadTests(SynchronousTestCase):
    """Any YAML value."""

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(VALUES)
    def test_round(self, value: object) -> None:
        """What JSON can say comes out as it went in, and text as it is."""
        written, kind = read(json.dumps(value, ensure_ascii=False))
        if isinstance(value, str):
            self.assertEqual((written, kind), (value, "text/plain"))
        else:
            self.assertEqual((json.loads(written), kind), (value, "application/json"))

    def test_words(self) -> None:
        """Words that YAML takes for something else are the words that I wrote."""
        for word in ("yes", "Off", "0x1F", "010", "1_000", "2026-01-05", "12:30:00", ".inf", "some text"):
            self.assertEqual(read(word), (word, "text/plain"))
        self.assertEqual(read("|\n  two\n  lines\n"), ("two\nlines\n", "text/plain"))

    def test_refused(self) -> None:
        """Keys that are no text, or stand twice, and characters that nobody sees."""
        for text in ("{[a]: 1}", "{a: 1, a: 2}", "<<: {a: 1}", '"\\x01"', "[" * 25 + "]" * 25 + "x"):
            with self.assertRaises((Mistake, yaml.YAMLError)):
                read(text)
