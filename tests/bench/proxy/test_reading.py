"""Tests for L{bench.proxy.reading}: what the kernel and the load generators say."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.proxy.reading import (
    TICKS_PER_S,
    CpuClock,
    LoadResult,
    Unreadable,
    cpu_between,
    parse_ab,
    parse_pace,
    parse_private_kib,
    parse_schedstat,
    parse_stat_ticks,
    parse_wrk,
    read_cpu,
    read_private_kib,
    wrong_size,
)

WRK = """\
Running 2s test @ http://127.0.0.1:8480/bench
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.20ms  200.00us   9.00ms   90.00%
  53123 requests in 2.00s, 6.50MB read
Requests/sec:  26561.50
Transfer/sec:      3.25MB

result {"requests": 53123, "bytes": 6799744, "us": 2000100, "connect": 0, "read": 0, "write": 0, "status": 0, \
"timeout": 0, "p50_us": 1190, "p99_us": 2400}
"""

AB = """\
This is ApacheBench, Version 2.3 <$Revision: 1903618 $>
Server Software:
Server Hostname:        127.0.0.1
Document Length:        11 bytes

Concurrency Level:      16
Time taken for tests:   1.500 seconds
Complete requests:      6000
Failed requests:        0
Total transferred:      900000 bytes
HTML transferred:       66000 bytes
Requests per second:    4000.00 [#/sec] (mean)
Time per request:       4.000 [ms] (mean)

Percentage of the requests served within a certain time (ms)
  50%      4
  66%      4
  99%      7
 100%     12 (longest request)
"""

SMAPS = """\
55e0c0000000-7ffc8b5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               41000 kB
Pss:               36000 kB
Shared_Clean:       6000 kB
Private_Clean:      1000 kB
Private_Dirty:     34000 kB
Private_Hugetlb:       0 kB
Swap:                 24 kB
SwapPss:              24 kB
"""


class WrkTests(SynchronousTestCase):
    """wrk, with the script that makes it say its counts in full."""

    def test_good(self) -> None:
        """Requests, bytes, seconds and latencies are taken as they are."""
        self.assertEqual(parse_wrk(WRK), LoadResult(53123, 6799744, 2.0001, 1.19, 2.4))

    def test_trouble(self) -> None:
        """A wrong status, a timeout or a connection that was refused spoils the whole."""
        for name, words in (("status", "not 2xx or 3xx"), ("timeout", "timeouts"), ("connect", "refused")):
            result = parse_wrk(WRK.replace(f'"{name}": 0', f'"{name}": 3'))
            self.assertIn(f"3 {words}", result.trouble.replace("responses that were ", "").replace("connections ", ""))

    def test_nothing_was_answered(self) -> None:
        """No request at all is no good result."""
        self.assertEqual(parse_wrk(WRK.replace("53123,", "0,")).trouble, "no request was answered")

    def test_no_result(self) -> None:
        """A wrk that could not connect says nothing that could be taken for a result."""
        with self.assertRaises(Unreadable):
            parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


class AbTests(SynchronousTestCase):
    """ApacheBench."""

    def test_good(self) -> None:
        """Its percentiles are whole milliseconds; the rest is exact."""
        self.assertEqual(parse_ab(AB), LoadResult(6000, 900000, 1.5, 4.0, 7.0))

    def test_trouble(self) -> None:
        """Failed requests and wrong statuses are told."""
        failed = AB.replace("Failed requests:        0", "Failed requests:        12")
        refused = AB.replace("Total transferred", "Non-2xx responses:      7\nTotal transferred")
        self.assertEqual(parse_ab(failed).trouble, "12 failed requests")
        self.assertEqual(parse_ab(refused).trouble, "7 responses that were not 2xx")

    def test_no_result(self) -> None:
        """An ab that gave up has no result."""
        with self.assertRaises(Unreadable):
            parse_ab("apr_socket_recv: Connection refused (111)\n")


class PaceTests(SynchronousTestCase):
    """Our own generator."""

    said = {"answered": 100, "bytes": 9000, "seconds": 1.0, "p50_us": 250.0, "p99_us": 900.0, "trouble": ""}

    def test_good(self) -> None:
        """A line of JSON, in microseconds."""
        self.assertEqual(parse_pace(json.dumps(self.said) + "\n"), LoadResult(100, 9000, 1.0, 0.25, 0.9))

    def test_trouble(self) -> None:
        """What it says was wrong is wrong."""
        self.assertEqual(parse_pace(json.dumps({**self.said, "trouble": "late"})).trouble, "late")

    def test_no_result(self) -> None:
        """Nothing, half a line, and another program's output are no result."""
        for text in ("", '{"answered": 1', "[]", "{}", "1\n"):
            with self.assertRaises(Unreadable):
                parse_pace(text)


class SizeTests(SynchronousTestCase):
    """Whole responses have as many bytes as they must have."""

    def test_whole(self) -> None:
        """Bodies with heads, and a part of a response on each connection at the end."""
        self.assertEqual(wrong_size(LoadResult(10, 10 * 1200, 1.0, 0, 0), 1024, 2), "")
        self.assertEqual(wrong_size(LoadResult(10, 12 * 1200, 1.0, 0, 0), 1024, 2), "")

    def test_short(self) -> None:
        """Bodies that were cut cannot hide."""
        self.assertIn("cannot be", wrong_size(LoadResult(10, 10 * 1000, 1.0, 0, 0), 1024, 2))

    def test_long(self) -> None:
        """Nor can an error page that is larger than the file."""
        self.assertIn("cannot be", wrong_size(LoadResult(10, 10 * 9000, 1.0, 0, 0), 1024, 2))


class CpuTests(SynchronousTestCase):
    """CPU time."""

    def test_schedstat(self) -> None:
        """The time on a CPU, and the time of waiting for one."""
        self.assertEqual(parse_schedstat("5226001 11 9\n"), (5226001, 11))

    def test_stat(self) -> None:
        """A program may have spaces and parentheses in its name."""
        fields = " ".join(str(number) for number in range(4, 52))
        self.assertEqual(parse_stat_ticks(f"17 (a) b (c) S {fields}\n"), 14 + 15)

    def test_between(self) -> None:
        """What tasks had before does not count; a task that began meanwhile does, whole."""
        before = CpuClock({(1, 1): 1_000_000, (1, 2): 5_000_000}, 0)
        after = CpuClock({(1, 1): 3_000_000, (1, 2): 5_000_000, (1, 3): 500_000}, 0)
        self.assertAlmostEqual(cpu_between(before, after), 0.0025)

    def test_a_task_has_ended(self) -> None:
        """Its time is not lost: clock ticks have it."""
        before = CpuClock({(1, 1): 0, (1, 2): 0}, 10)
        after = CpuClock({(1, 1): 1_000}, 10 + TICKS_PER_S)
        self.assertAlmostEqual(cpu_between(before, after), 1.0)

    def test_without_schedstat(self) -> None:
        """A kernel that does not count nanoseconds counts ticks."""
        self.assertAlmostEqual(cpu_between(CpuClock(None, 0), CpuClock(None, TICKS_PER_S // 2)), 0.5, places=1)

    def test_this_process(self) -> None:
        """Work shows in the real files."""
        before = read_cpu([os.getpid()])
        while cpu_between(before, after := read_cpu([os.getpid()])) <= 0.0:
            sum(range(100_000))
        self.assertGreaterEqual(after.ticks, before.ticks)


class MemoryTests(SynchronousTestCase):
    """Memory."""

    def test_private(self) -> None:
        """What is shared with others is not counted, what was swapped out is."""
        self.assertEqual(parse_private_kib(SMAPS), 35024)

    def test_other_file(self) -> None:
        """Another file is not taken for nothing."""
        with self.assertRaises(Unreadable):
            parse_private_kib("Rss: 4 kB\n")

    def test_this_process(self) -> None:
        """A large object shows in the real file."""
        if not Path("/proc/self/smaps_rollup").exists():
            self.skipTest("this kernel has no smaps_rollup")
        before = read_private_kib([os.getpid()])
        held = b"x" * (64 << 20)
        self.assertGreater(read_private_kib([os.getpid()]) - before, 60 << 10)
        self.assertEqual(len(held), 64 << 20)
