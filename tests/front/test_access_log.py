"""Tests of the access log."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange, request_head
from tqserver.front.access_line import FIELD_BYTES_MAX, Entry, compile_format
from tqserver.front.access_log import BATCH_BYTES_MAX, FLUSH_S, AccessLog

NOON = 1_763_812_800.25  # 2025-11-22 12:00:00.25 UTC

COMBINED = re.compile(
    rb'(\S+) - - \[([^]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\S+) "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"\n'
)
"""How tools read it."""


def ended(
    target: bytes = b"/a?b=c", *fields: tuple[bytes, bytes], status: int = 200, sent_bytes: int = 12, **more: str
) -> FakeExchange:
    """An exchange that is over."""
    exchange = FakeExchange(request_head(b"GET", target, fields), **more)
    exchange.status = status
    exchange.sent_bytes = sent_bytes
    exchange.over = True
    return exchange


def written(format: str, exchange: FakeExchange, worker: str = "shop", endpoint: str = "shop.1.1") -> bytes:
    """The line of an exchange that took 12.5 ms, 10 of them the worker's."""
    entry = Entry(lambda: exchange.started + 0.0125)
    entry.set_second(int(NOON))
    entry.now = NOON
    entry.exchange = exchange
    entry.worker, entry.endpoint = worker, endpoint
    entry.upstream_s = 0.01
    return compile_format(format)(entry)


class ZoneTestCase(SynchronousTestCase):
    """Tests that hold in a zone that is half an hour off."""

    def setUp(self) -> None:
        self.in_zone("Asia/Kolkata")

    def in_zone(self, zone: str) -> None:
        """Live in a time zone until the test ends."""
        before = os.environ.get("TZ")

        def restore() -> None:
            if before is None:
                os.environ.pop("TZ", None)
            else:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(restore)
        os.environ["TZ"] = zone
        time.tzset()


class FormatTests(ZoneTestCase):
    """What a line looks like."""

    def test_combined(self) -> None:
        """The combined format is Apache's to the letter, so that existing tools read it."""
        self.in_zone("XXX-5:30")
        exchange = ended(b"/a?b=c", (b"referer", b"http://x/"), (b"user-agent", b"curl/8"))
        self.assertEqual(
            written("combined", exchange),
            b'192.0.2.7 - - [22/Nov/2025:17:30:00 +0530] "GET /a?b=c HTTP/1.1" 200 12 "http://x/" "curl/8"\n',
        )

    def test_combined_without(self) -> None:
        """What is not there is a dash."""
        line = written("combined", ended(status=304, sent_bytes=0, client_host=""))
        self.assertTrue(line.startswith(b"- - - ["))
        self.assertTrue(line.endswith(b'304 - "-" "-"\n'))

    def test_west(self) -> None:
        """Zones west of Greenwich are written with their sign."""
        self.in_zone("YYY3:30")
        self.assertIn(b"[22/Nov/2025:08:30:00 -0330]", written("combined", ended()))
        self.assertEqual(written("{time}", ended()), b"2025-11-22T08:30:00-03:30\n")

    def test_json(self) -> None:
        """The JSON format is one object a line, with times in UTC."""
        exchange = ended(b"/a", (b"referer", b"http://x/"), (b"user-agent", b"curl/8"))
        line = written("json", exchange)
        self.assertEqual(line.count(b"\n"), 1)
        self.assertEqual(
            json.loads(line),
            {
                "time": "2025-11-22T12:00:00.250Z",
                "client": "192.0.2.7",
                "method": "GET",
                "target": "/a",
                "status": 200,
                "bytes": 12,
                "duration_ms": 12.5,
                "upstream_ms": 10.0,
                "worker": "shop",
                "endpoint": "shop.1.1",
                "request_id": "test-1",
                "referer": "http://x/",
                "user_agent": "curl/8",
                "host": "example.test",
                "proto": "HTTP/1.1",
            },
        )

    def test_template(self) -> None:
        """A template names what it wants; all else is literal, percent signs and doubled braces too."""
        format = '{client} "{method} {target} {protocol}" {status} {bytes} {duration_ms} {upstream_ms} {worker}'
        format += " {endpoint} {request_id} {host} {referer} {user_agent} 100% {{x}}"
        self.assertEqual(
            written(format, ended()),
            b'192.0.2.7 "GET /a?b=c HTTP/1.1" 200 12 12.500 10.000 shop shop.1.1 test-1 example.test - - 100% {x}\n',
        )

    def test_mistakes(self) -> None:
        """A mistake in a template is told when it is read, with what may have been meant."""
        for format, message in [
            ("{clinet}", r"\{clinet\}.*did you mean \{client\}\?"),
            ("{nonsense}", "there are client, time, method"),
            ("{}", "unknown placeholder"),
            ("{status:>5}", "nothing after its name"),
            ("{status!r}", "nothing after its name"),
            ("{status", "."),
            ("a\nb", "one line"),
        ]:
            error = self.assertRaises(ValueError, compile_format, format)
            self.assertRegex(str(error), message, format)

    def test_forgery(self) -> None:
        """Quotes, control characters and bytes that no terminal should see are escaped in every format."""
        evil = b'x" 200 1 "-" "-"\n6.6.6.6 - - [\x1b[31m\xff\x7f\\'
        exchange = ended(b"/\xc3\xa4\x9b", (b"user-agent", evil), (b"referer", evil))
        for format in ("combined", "json", '{client} "{user_agent}" "{referer}" {target}'):
            line = written(format, exchange)
            self.assertEqual(line.count(b"\n"), 1)
            self.assertTrue(all(32 <= byte < 127 for byte in line[:-1]), line)
        match = COMBINED.fullmatch(written("combined", exchange))
        assert match is not None
        self.assertEqual(match.group(3), rb"GET /\xc3\xa4\x9b HTTP/1.1")
        self.assertTrue(match.group(7).startswith(rb"x\" 200 1 \"-\" \"-\"\x0a6.6.6.6 - - [\x1b[31m\xff\x7f\\"))

    def test_long_values(self) -> None:
        """What a client sent is bounded."""
        for format in ("combined", "json", "{target}"):
            line = written(format, ended(b"/" + b'"' * 100_000))
            self.assertLess(len(line), FIELD_BYTES_MAX * 2 + 1000)

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(st.binary(min_size=1, max_size=40), st.binary(max_size=40))
    def test_anything(self, target: bytes, agent: bytes) -> None:
        """Whatever a client sends, a line stays a line that tools can read."""
        exchange = ended(target, (b"user-agent", agent))
        self.assertIsNotNone(COMBINED.fullmatch(written("combined", exchange)))
        line = written("json", exchange)
        self.assertEqual(line.count(b"\n"), 1)
        self.assertEqual(json.loads(line)["status"], 200)


class FileTests(ZoneTestCase):
    """How lines come into the file."""

    def setUp(self) -> None:
        super().setUp()
        self.in_zone("UTC")
        self.clock = Clock()
        self.wall = NOON
        self.folder = Path(self.mktemp()).absolute()
        self.events: list[LogEvent] = []
        self.writes: list[bytes] = []

    def begin(self, name: str = "access.log", format: str = "{target}") -> AccessLog:
        """A log in the test's folder."""
        log = AccessLog(str(self.folder / name), format, self.clock, lambda: self.wall)
        self.addCleanup(log.close)
        return log

    def lines(self, name: str = "access.log") -> list[str]:
        """What is in a file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def observe(self) -> None:
        """Collect what is logged."""
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def logged(self) -> list[str]:
        """The levels and formats of what was logged."""
        return [f"{event['log_level'].name} {event['log_format']}" for event in self.events]

    def count_writes(self) -> None:
        """Have C{writes} hold each write(2)."""
        write = os.write

        def counted(fd: int, data: bytes) -> int:
            self.writes.append(data)
            return write(fd, data)

        self.patch(os, "write", counted)

    def test_soon(self) -> None:
        """A line is in the file soon after, and lines that come together are written together."""
        self.count_writes()
        log = self.begin()
        log.log(ended(b"/1"), "", "", 0)
        log.log(ended(b"/2"), "", "", 0)
        self.assertEqual(self.lines(), [])
        self.clock.advance(FLUSH_S)
        self.assertEqual(self.lines(), ["/1", "/2"])
        self.assertEqual(len(self.writes), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        log.log(ended(b"/3"), "", "", 0)
        self.clock.advance(FLUSH_S)
        self.assertEqual(self.lines(), ["/1", "/2", "/3"])

    def test_many(self) -> None:
        """Many lines do not pile up in memory until it is time."""
        self.count_writes()
        log = self.begin()
        target = b"/" + b"x" * 999
        for _ in range(200):
            log.log(ended(target), "", "", 0)
        self.assertEqual(len(self.writes), 200 * 1001 // BATCH_BYTES_MAX)
        self.assertTrue(all(len(data) < BATCH_BYTES_MAX + 1001 for data in self.writes))
        log.flush()
        self.assertEqual(len(self.lines()), 200)

    def test_duration(self) -> None:
        """The duration is from the request's head to the end, by the reactor's clock."""
        log = self.begin(format="{duration_ms} {worker} {endpoint} {upstream_ms}")
        exchange = ended()
        self.clock.advance(1.5)
        log.log(exchange, "shop", "shop.1.1", 0.25)
        log.flush()
        self.assertEqual(self.lines(), ["1500.000 shop shop.1.1 250.000"])

    def test_two_fronts(self) -> None:
        """Several fronts append to one file without losing each other's lines."""
        first, second = self.begin(), self.begin()
        for number in range(3):
            first.log(ended(b"/first%d" % number), "", "", 0)
            second.log(ended(b"/second%d" % number), "", "", 0)
            first.flush()
            second.flush()
        self.assertEqual(len(self.lines()), 6)

    def test_date_turns(self) -> None:
        """At midnight a new file begins, and what was noted before goes into the old one."""
        log = self.begin("access_{date}.log")
        log.log(ended(b"/today"), "", "", 0)
        self.wall += 12 * 3600
        log.log(ended(b"/tomorrow"), "", "", 0)
        log.flush()
        self.assertEqual(self.lines("access_2025-11-22.log"), ["/today"])
        self.assertEqual(self.lines("access_2025-11-23.log"), ["/tomorrow"])

    def test_time_goes_on(self) -> None:
        """Each line has the second it was made in."""
        log = self.begin(format="{time}")
        for _ in range(3):
            log.log(ended(), "", "", 0)
            self.wall += 0.5
        log.flush()
        seconds = ["2025-11-22T12:00:00+00:00"] * 2 + ["2025-11-22T12:00:01+00:00"]
        self.assertEqual(self.lines(), seconds)

    def test_reopen(self) -> None:
        """After a file was moved away, reopening begins a new one; nothing is lost."""
        log = self.begin()
        log.log(ended(b"/old"), "", "", 0)
        log.flush()
        (self.folder / "access.log").rename(self.folder / "access.log.1")
        log.log(ended(b"/still-old"), "", "", 0)
        log.reopen()
        log.log(ended(b"/new"), "", "", 0)
        log.flush()
        self.assertEqual(self.lines("access.log.1"), ["/old", "/still-old"])
        self.assertEqual(self.lines(), ["/new"])

    def test_close(self) -> None:
        """At the end everything is written, and nothing is left behind."""
        log = self.begin()
        log.log(ended(b"/first"), "", "", 0)
        log.flush()
        fd = log._fd
        self.assertEqual(os.readlink(f"/proc/self/fd/{fd}"), str(self.folder / "access.log"))
        log.log(ended(b"/last"), "", "", 0)
        log.close()
        log.log(ended(b"/too-late"), "", "", 0)
        log.close()
        self.assertEqual(self.lines(), ["/first", "/last"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertRaises(OSError, os.fstat, fd)

    def test_disk_full(self) -> None:
        """A full disk costs lines, never a request; it is told once, and when it is over, how many were
        lost."""
        self.observe()
        log = self.begin()
        full = self.patch(os, "write", self._full)
        for _ in range(3):
            log.log(ended(b"/lost"), "", "", 0)
            self.clock.advance(FLUSH_S)
        self.assertEqual(log.dropped, 3)
        self.assertEqual(len(self.logged()), 1)
        self.assertTrue(self.logged()[0].startswith("error"))
        full.restore()
        log.log(ended(b"/kept"), "", "", 0)
        self.clock.advance(FLUSH_S)
        self.assertEqual(self.lines(), ["/kept"])
        self.assertEqual(len(self.logged()), 2)
        self.assertEqual(self.events[-1]["dropped"], 3)

    def _full(self, fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def test_torn_line(self) -> None:
        """A line that was written in part does not spoil the next one."""
        self.observe()
        log = self.begin()
        write = os.write
        results = iter([5])

        def nearly_full(fd: int, data: bytes) -> int:
            for room in results:
                return write(fd, data[:room])
            return self._full(fd, data)

        full = self.patch(os, "write", nearly_full)
        log.log(ended(b"/cut-short"), "", "", 0)
        log.flush()
        full.restore()
        log.log(ended(b"/whole"), "", "", 0)
        log.flush()
        self.assertEqual(self.lines(), ["/cut-", "/whole"])

    def test_cannot_open(self) -> None:
        """A log that cannot be opened is tried again, and the server goes on meanwhile."""
        self.observe()
        self.folder.write_text("in the way")
        log = self.begin()
        log.log(ended(b"/lost"), "", "", 0)
        self.clock.advance(FLUSH_S)
        self.assertEqual(log.dropped, 1)
        self.folder.unlink()
        log.log(ended(b"/kept"), "", "", 0)
        self.clock.advance(FLUSH_S)
        self.assertEqual(self.lines(), ["/kept"])
