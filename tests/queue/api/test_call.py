"""Tests of L{tqserver.queue.api.call}."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ClientFault
from tqserver.queue.api.call import PARAMETERS_MAX, SHOWN_CHARS_MAX, decode, parse_query


class Thing(msgspec.Struct):
    n: int = 0


THING = msgspec.json.Decoder(Thing)


class QueryTests(SynchronousTestCase):
    """Queries."""

    def test_usual(self) -> None:
        """Parameters are had by name, decoded."""
        self.assertEqual(
            parse_query(b"a=1&b=x+y%20z&c&=e&d=%C3%A4"), {"a": "1", "b": "x y z", "c": "", "": "e", "d": "ä"}
        )
        self.assertEqual(parse_query(b"&&a=1&"), {"a": "1"})
        self.assertEqual(parse_query(b"a=b=c"), {"a": "b=c"})

    def test_malformed(self) -> None:
        """What is malformed, or said twice, is refused rather than guessed."""
        for raw in (b"a=%", b"a=%4", b"a=%zz", b"%=1", b"a=%FF", b"a=\xff", b"a=1&a=2", b"a=1&%61=2"):
            self.assertRaises(ClientFault, parse_query, raw)

    def test_many(self) -> None:
        """The number of parameters is bounded."""
        self.assertRaises(ClientFault, parse_query, b"&" * PARAMETERS_MAX)

    @given(st.dictionaries(st.text(), st.text(), max_size=20))
    def test_there_and_back(self, parameters: dict[str, str]) -> None:
        """What a usual client encodes is what is had."""
        try:
            raw = urlencode(parameters).encode()
        except UnicodeEncodeError:
            return
        self.assertEqual(parse_query(raw), parameters)

    @given(st.binary())
    def test_anything(self, raw: bytes) -> None:
        """Whatever comes is read, or is the client's fault."""
        try:
            parse_query(raw)
        except ClientFault:
            pass


class DecodeTests(SynchronousTestCase):
    """Bodies in JSON."""

    def test_good(self) -> None:
        """What is as expected is had; what is more does not matter."""
        self.assertEqual(decode(THING, b'{"n": 5, "more": [1]}').n, 5)

    def test_bad(self) -> None:
        """Everything else is the client's fault, and it is told in short what was wrong."""
        for body in (
            b"",
            b"{",
            b"[]",
            b"nul",
            b'{"n":true}',
            b'{"n":1.5}',
            b'{"n":null}',
            b'{"n":"1"}',
            b'{"n":NaN}',
            b'{"\xff":1}',
            b'{"m":"\xff"}',
            b'{"n":' + b"9" * 9999 + b"}",
            b'{"' + b"x" * 9999 + b'":1',
            b"\xef\xbb\xbf{}",
            '{"n":1}'.encode("utf-16"),
            b'{"m":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        ):
            fault = self.assertRaises(ClientFault, decode, THING, body)
            self.assertEqual(fault.status, 400)
            self.assertLess(len(fault.reason), SHOWN_CHARS_MAX + 100)

    @given(st.binary())
    def test_anything(self, body: bytes) -> None:
        """Whatever comes is read, or is the client's fault."""
        try:
            decode(THING, body)
        except ClientFault:
            pass
