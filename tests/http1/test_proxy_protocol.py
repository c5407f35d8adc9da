"""Whose connection it is: headers of the PROXY protocol."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.http1.proxy_protocol import (
    NOTHING,
    SIGNATURE,
    V1_BYTES_MAX,
    V2_BYTES_MAX,
    HeaderReader,
    Name,
    ProxyFault,
    Told,
    crc32c,
    parse_binary,
    parse_line,
)

LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
TOLD = Told(source=Name("192.0.2.7", 56324), destination=Name("198.51.100.1", 443))

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(0, 65535)


def binary(body: bytes = b"", *, command: int = 0x21, family: int = 0x11) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def inet(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    """The addresses of a header of version 2."""
    return (
        ip_address(source).packed + ip_address(destination).packed + struct.pack("!HH", source_port, destination_port)
    )


def record(kind: int, value: bytes) -> bytes:
    """A record of type, length and value."""
    return struct.pack("!BH", kind, len(value)) + value


def checked(header: bytes) -> bytes:
    """A header with a checksum added."""
    length = struct.unpack_from("!H", header, 14)[0] + 7
    whole = header[:14] + struct.pack("!H", length) + header[16:] + record(3, b"\0\0\0\0")
    return whole[:-4] + struct.pack("!I", crc32c(whole))


FOUR = inet("192.0.2.7", "198.51.100.1", 56324, 443)
SIX = inet("2001:db8::7", "2001:db8::1", 56324, 443)


class ReadCase(SynchronousTestCase):
    """Reading."""

    def read(self, data: bytes) -> tuple[Told | None, bytes]:
        """What a header says, and what comes after it."""
        reader = HeaderReader()
        return reader.feed(data), reader.rest

    def refused(self, data: bytes) -> str:
        """Why it is refused."""
        return str(self.assertRaises(ProxyFault, HeaderReader().feed, data))


class LineTests(ReadCase):
    """Version 1 (section 2.1)."""

    def test_addresses(self) -> None:
        """Addresses and ports of both families are told; what comes after the line is not touched."""
        self.assertEqual(self.read(LINE + b"GET / HTTP/1.1\r\n"), (TOLD, b"GET / HTTP/1.1\r\n"))
        told, _ = self.read(b"PROXY TCP6 2001:DB8::7 ::1 0 65535\r\n")
        self.assertEqual(told, Told(source=Name("2001:db8::7", 0), destination=Name("::1", 65535)))

    def test_unknown(self) -> None:
        """Who says UNKNOWN tells nothing, whatever follows."""
        for line in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 what ever 1\r\n"):
            self.assertEqual(self.read(line + b"x"), (NOTHING, b"x"))

    def test_longest(self) -> None:
        """The longest possible line is taken; one byte more is too much, with or without an end."""
        ones = b"ffff:f" * 6 + b"fff"
        longest = b"PROXY UNKNOWN " + ones + b" " + ones + b" 65535 65535\r\n"
        self.assertLessEqual(len(longest), V1_BYTES_MAX)
        padded = longest[:-2].ljust(V1_BYTES_MAX - 2, b"x") + b"\r\n"
        self.assertEqual(self.read(padded), (NOTHING, b""))
        self.assertIn("longer than", self.refused(padded[:-2] + b"x\r\n"))
        self.assertIn("longer than", self.refused(padded[:-2] + b"xxxxxx"))

    def test_malformed(self) -> None:
        """Whatever is not exactly as it should be is refused: no two readers may understand it differently."""
        for line in (
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
            b"PROXY TCP4 192.0.2.7  198.51.100.1 56324 443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
            b"PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n",
            b"PROXY TCP4 192.0.2 198.51.100.1 56324 443\r\n",
            b"PROXY TCP4 ::1 ::1 56324 443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 0443 443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
            b"PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
            b"PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n",
            b"PROXY TCP6 ::1::1 ::1 56324 443\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n",
            b"PROXY UNKNOWNX\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\r\n",
            b"PROXY TCP4\t192.0.2.7 198.51.100.1 56324 443\r\n",
            b"proxy TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        ):
            self.assertTrue(self.refused(line), line)


class BinaryTests(ReadCase):
    """Version 2 (section 2.2)."""

    def test_addresses(self) -> None:
        """Addresses and ports of both families are told; what comes after the header is not touched."""
        self.assertEqual(self.read(binary(FOUR) + b"GET"), (TOLD, b"GET"))
        self.assertEqual(
            self.read(binary(SIX, family=0x21)),
            (Told(source=Name("2001:db8::7", 56324), destination=Name("2001:db8::1", 443)), b""),
        )

    def test_nobody(self) -> None:
        """A connection of the proxy's own, one that came over a UNIX socket, and one of no family tell nobody."""
        for header in (
            binary(command=0x20, family=0),
            binary(FOUR, command=0x20),
            binary(b"what ever", command=0x20, family=0xFF),
            binary(b"\0" * 216, family=0x31),
            binary(family=0x00),
            binary(record(4, b"noop"), family=0x00),
        ):
            self.assertEqual(self.read(header + b"x"), (NOTHING, b"x"), header)

    def test_records(self) -> None:
        """Records are skipped, known or not."""
        records = record(1, b"h2") + record(2, b"example.org") + record(4, b"") + record(0xEE, b"x" * 300)
        self.assertEqual(self.read(binary(FOUR + records) + b"x"), (TOLD, b"x"))

    def test_secure(self) -> None:
        """A record may say that the client's own connection was encrypted."""
        for client, secure in ((1, True), (5, True), (4, False), (0, False)):
            told, _ = self.read(binary(FOUR + record(0x20, bytes([client]) + b"\0\0\0\0" + record(0x21, b"TLSv1.3"))))
            assert told is not None
            self.assertEqual((told.secure, told.source), (secure, TOLD.source))

    def test_checksum(self) -> None:
        """A checksum is checked if there is one."""
        good = checked(binary(FOUR + record(4, b"abc")))
        self.assertEqual(self.read(good), (TOLD, b""))
        for at in (16, 20, 30, len(good) - 1):
            bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
            self.assertTrue(self.refused(bad), at)
        self.assertIn("4 bytes", self.refused(binary(FOUR + record(3, b"12345"))))

    def test_checksum_algorithm(self) -> None:
        """The usual examples."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(b"\0" * 32), 0x8A9136AA)

    def test_malformed(self) -> None:
        """Unknown versions, commands and families, cut addresses and records are refused."""
        for header, why in (
            (binary(FOUR, command=0x11), "version 1"),
            (binary(FOUR, command=0x22), "command 2"),
            (binary(FOUR, family=0x41), "family 4"),
            (binary(FOUR, family=0x13), "transport 3"),
            (binary(FOUR[:-1]), "addresses are cut short"),
            (binary(FOUR, family=0x21), "addresses are cut short"),
            (binary(FOUR + b"\1"), "a record is cut short"),
            (binary(FOUR + b"\1\0\5abcd"), "a record is cut short"),
        ):
            self.assertIn(why, self.refused(header))

    def test_too_long(self) -> None:
        """A header that says that it is too long is refused before it has come."""
        fits = V2_BYTES_MAX - 16
        told, _ = self.read(binary(FOUR + record(4, b"x" * (fits - len(FOUR) - 3))))
        self.assertEqual(told, TOLD)
        self.assertIn("at most", self.refused(SIGNATURE + struct.pack("!BBH", 0x21, 0x11, fits + 1)))


class OtherTests(ReadCase):
    """Something else."""

    def test_no_header(self) -> None:
        """Whoever speaks something else is found out with the first byte that differs."""
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"P\0",
            b"PROXYTCP4",
            b"\r\n\r\nG",
            b"\x16\x03\x01",
            SIGNATURE[:-1] + b"x",
        ):
            self.assertIn("does not begin", self.refused(data))

    def test_not_yet(self) -> None:
        """What may become a header is waited for."""
        for header in (LINE, binary(FOUR)):
            for end in range(len(header)):
                self.assertIsNone(HeaderReader().feed(header[:end]), end)


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, Told]:
    """A valid header and what it says."""
    version = draw(st.sampled_from([4, 6]))
    source, destination = draw(st.ip_addresses(v=version)), draw(st.ip_addresses(v=version))  # type: ignore[arg-type]
    ports = draw(PORTS), draw(PORTS)
    told = Told(source=Name(str(source), ports[0]), destination=Name(str(destination), ports[1]))
    if draw(st.booleans()):
        return b"PROXY TCP%d %s %s %d %d\r\n" % (version, str(source).encode(), str(destination).encode(), *ports), told
    records = draw(st.lists(st.tuples(st.integers(0x40, 0xFF), st.binary(max_size=40)), max_size=4))
    body = inet(str(source), str(destination), *ports) + b"".join(record(*each) for each in records)
    header = binary(body, family=0x11 if version == 4 else 0x21)
    return checked(header) if draw(st.booleans()) else header, told


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Data cut at some places."""
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class PropertyTests(SynchronousTestCase):
    """Headers of any kind, in any pieces."""

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(headers(), st.binary(max_size=40), st.lists(st.integers(0, 400), max_size=12))
    def test_any_pieces(self, header: tuple[bytes, Told], after: bytes, cuts: list[int]) -> None:
        """A header says the same in whatever pieces it comes, and not a byte after it is lost."""
        data, told = header
        for pieces in (in_pieces(data + after, cuts), [bytes([byte]) for byte in data + after]):
            reader = HeaderReader()
            said, rest = None, b""
            for piece in pieces:
                if said is None:
                    said = reader.feed(piece)
                    rest = reader.rest
                else:
                    rest += piece
            self.assertEqual((said, rest), (told, after))

    @settings(max_examples=500, derandomize=True, deadline=None)
    @given(st.one_of(st.binary(max_size=300), headers().map(lambda header: header[0])), st.data())
    @example(b"PROXY UNKNOWN\r\n", None)
    def test_garbage(self, data: bytes, draw: st.DataObject | None) -> None:
        """Whatever comes, and however it was bent, it is told, refused or waited for, and in any pieces the same."""
        if draw is not None and data:
            for _ in range(draw.draw(st.integers(0, 3))):
                at = draw.draw(st.integers(0, len(data) - 1))
                data = data[:at] + draw.draw(st.binary(max_size=3)) + data[at + 1 :]
                if not data:
                    break
        outcomes = []
        for pieces in ([data], [bytes([byte]) for byte in data]):
            reader, outcome = HeaderReader(), None
            try:
                for piece in pieces:
                    outcome = reader.feed(piece)
                    if outcome is not None:
                        break
            except ProxyFault:
                outcome = "refused"
            outcomes.append(outcome)
        self.assertEqual(outcomes[0], outcomes[1])

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(st.binary(max_size=120), st.binary(max_size=300))
    def test_parsers(self, line: bytes, body: bytes) -> None:
        """The parsers themselves do not stumble over anything."""
        for parse, data in ((parse_line, b"PROXY " + line), (parse_binary, binary(body, family=0x21))):
            try:
                told = parse(data)
            except ProxyFault:
                continue
            for name in (told.source, told.destination):
                if name is not None:
                    self.assertIsInstance(ip_address(name.host), (IPv4Address, IPv6Address))
