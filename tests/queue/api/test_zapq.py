"""Tests of L{tqserver.queue.api.zapq}."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange
from tests.queue.api.asking import ask
from tests.queue.api.threads import Threads
from tqserver.queue.api.trace import Trace
from tqserver.queue.api.zapq import SNAPSHOTS_MAX, ZapQ


class ZapQCase(SynchronousTestCase):
    """A queue of raw bytes."""

    def setUp(self) -> None:
        self.reactor = Threads()
        self.data = Path(self.mktemp())
        self.data.mkdir(parents=True)
        self.lines: list[bytes] = []
        self.zapq = ZapQ(
            self.reactor,
            lambda: int(self.reactor.seconds() * 1000) + 1,
            str(self.data),
            bytes_max=400_000,
            messages_max=5,
            trace=Trace(self.reactor, self.lines.append),
        )

    def ask(self, method: str, target: str, body: bytes | None = None) -> FakeExchange:
        return ask(self.zapq.api, method, target, body)

    def status(self, method: str, target: str, body: bytes | None = None) -> int:
        return self.ask(method, target, body).status

    def put(self, *messages: bytes) -> None:
        for message in messages:
            self.assertEqual(self.status("POST", "/enqueue", message), 202)

    def all(self) -> list[bytes]:
        """Take all messages."""
        taken = []
        while (exchange := self.ask("GET", "/dequeue")).status == 200:
            self.assertEqual(exchange.header(b"content-type"), b"application/octet-stream")
            taken.append(exchange.body)
        self.assertEqual((exchange.status, exchange.body), (204, b""))
        return taken


class MessageTests(ZapQCase):
    """Messages."""

    def test_first_in_first_out(self) -> None:
        """Messages come out as they went in, whatever bytes they are, an empty one among them."""
        self.put(b"one", b"", b"\0\xff\n")
        self.assertEqual(self.all(), [b"one", b"", b"\0\xff\n"])

    def test_no_body(self) -> None:
        """A request without a body is an empty message."""
        self.assertEqual(self.status("POST", "/enqueue"), 202)
        self.assertEqual(self.all(), [b""])

    def test_size(self) -> None:
        """A message may be so large, and not a byte more."""
        self.put(b"x" * 131_072)
        self.assertEqual(self.status("POST", "/enqueue", b"x" * 131_073), 413)
        self.assertEqual(len(self.all()), 1)

    def test_full_by_count(self) -> None:
        """A full queue says so; when something was taken there is room."""
        self.put(*[b""] * 5)
        exchange = self.ask("POST", "/enqueue", b"x")
        self.assertEqual((exchange.status, exchange.body), (429, b"queue full\n"))
        self.ask("GET", "/dequeue")
        self.put(b"x")

    def test_full_by_bytes(self) -> None:
        """The bytes of all messages together are bounded, too."""
        self.put(*[b"x" * 131_000] * 3)
        self.assertEqual(self.status("POST", "/enqueue", b"x" * 7001), 429)
        self.put(b"x" * 7000)

    def test_clear(self) -> None:
        """What was cleared is gone."""
        self.put(b"a", b"b")
        self.assertEqual(self.status("POST", "/clear"), 200)
        self.assertEqual(self.all(), [])
        self.put(b"c")
        self.assertEqual(self.all(), [b"c"])

    def test_methods(self) -> None:
        """The wrong method is 405, an unknown path 404, both in plain words."""
        for method, path in (
            ("GET", "/enqueue"),
            ("POST", "/dequeue"),
            ("HEAD", "/dequeue"),
            ("GET", "/clear"),
            ("GET", "/persist"),
            ("PUT", "/load"),
            ("POST", "/metrics"),
            ("POST", "/health"),
        ):
            exchange = self.ask(method, path)
            self.assertEqual(exchange.status, 405)
            self.assertTrue(exchange.header(b"allow"))
        exchange = self.ask("GET", "/")
        self.assertEqual((exchange.status, exchange.header(b"content-type")), (404, b"text/plain; charset=utf-8"))

    def test_health_and_metrics(self) -> None:
        """It tells how it is."""
        self.assertEqual(self.ask("GET", "/health").body, b"ok")
        self.put(b"abc", b"de")
        self.ask("GET", "/dequeue")
        self.ask("GET", "/dequeue")
        self.ask("GET", "/dequeue")
        self.put(b"xyz")
        self.reactor.advance(7.9)
        metrics = json.loads(self.ask("GET", "/metrics").body)
        self.assertEqual({type(value) for value in metrics.values()}, {int})
        for name in ("open_fds", "max_fds", "goroutines"):
            self.assertGreater(metrics.pop(name), 0)
        self.assertEqual(
            metrics,
            {
                "uptime_sec": 7,
                "enqueues": 3,
                "dequeues_ok": 2,
                "dequeues_empty": 1,
                "queue_length": 1,
                "queue_bytes": 3,
            },
        )

    def test_traced(self) -> None:
        """Every request is traced, those that fail as well."""
        for method, path in (("GET", "/health"), ("GET", "/nothing"), ("GET", "/enqueue")):
            exchange = self.ask(method, path)
            self.assertEqual([name for name, _ in exchange.response_headers], [b"X-Trace-Id"])
        self.reactor.advance(1)
        self.assertEqual(b"".join(self.lines).count(b"trace_id="), 3)


class SnapshotTests(ZapQCase):
    """Snapshots."""

    def test_there_and_back(self) -> None:
        """What was written is what is loaded, in place of what there was; the queue goes on meanwhile."""
        self.put(b"a", b"b")
        self.assertEqual(self.status("POST", "/persist?file=s.json"), 200)
        self.assertEqual(json.loads((self.data / "s.json").read_bytes()), ["YQ==", "Yg=="])
        self.assertEqual(self.all(), [b"a", b"b"])
        self.put(b"c")
        self.assertEqual(self.status("POST", "/load?file=s.json"), 200)
        self.assertEqual(self.all(), [b"a", b"b"])

    def test_no_file(self) -> None:
        """Without a file, or with one that is elsewhere, nothing is done."""
        for query in (
            "",
            "?file=",
            "?file=../s",
            "?file=/s",
            "?file=a%2f..%2fs",
            "?file=%00",
            "?file=a&file=b",
            "?x=y",
        ):
            for path in ("/persist", "/load"):
                self.assertEqual(self.status("POST", path + query), 400, path + query)
        self.assertEqual(list(self.data.iterdir()), [])

    def test_bad(self) -> None:
        """A snapshot that is bad in whatever way leaves the queue as it is, and the reason is told."""
        self.put(b"a")
        for text in ("", "[1]", '["YQ=="', json.dumps(["YQ=="] * 6), json.dumps(["QUFB" * 43_690] * 4)):
            (self.data / "s").write_text(text)
            exchange = self.ask("POST", "/load?file=s")
            self.assertEqual((exchange.status, exchange.body[:12]), (500, b"The snapshot"))
        self.assertEqual(self.status("POST", "/load?file=nothing"), 500)
        self.assertEqual(self.all(), [b"a"])

    def test_cannot_write(self) -> None:
        """What cannot be written is told."""
        self.assertEqual(self.status("POST", "/persist?file=nowhere/s"), 500)

    def test_meanwhile(self) -> None:
        """While a snapshot is written messages come and go; it has what there was when it began."""
        self.put(b"a", b"b")
        self.reactor.held = True
        exchange = self.ask("POST", "/persist?file=s")
        self.assertEqual(self.all(), [b"a", b"b"])
        self.put(b"c")
        self.reactor.go()
        self.assertEqual(exchange.status, 200)
        self.assertEqual(json.loads((self.data / "s").read_bytes()), ["YQ==", "Yg=="])

    def test_one_after_the_other(self) -> None:
        """Two at once are done in turn: the second has what there is when it begins."""
        self.put(b"a")
        self.reactor.held = True
        first, second = self.ask("POST", "/persist?file=s"), self.ask("POST", "/persist?file=s")
        third = self.ask("POST", "/load?file=s")
        self.put(b"b")
        self.reactor.go()
        self.assertEqual([each.status for each in (first, second, third)], [200, 200, 200])
        self.assertEqual(self.all(), [b"a", b"b"])

    def test_too_many(self) -> None:
        """Only so many snapshots wait for their turn, whether or not their clients do; then there is room again."""
        self.reactor.held = True
        for _ in range(SNAPSHOTS_MAX):
            self.ask("POST", "/persist?file=s").client_leaves()
        refused = self.ask("POST", "/persist?file=s")
        self.assertEqual((refused.status, refused.header(b"retry-after")), (503, b"1"))
        self.assertEqual(self.status("POST", "/load?file=s"), 503)
        self.reactor.go()
        self.reactor.held = False
        self.assertEqual(self.status("POST", "/persist?file=s"), 200)

    def test_client_leaves(self) -> None:
        """A snapshot that was begun is brought to its end, also if it fails, and the next one has its turn."""
        self.reactor.held = True
        for name in ("s", "nowhere/s"):
            self.ask("POST", f"/persist?file={name}").client_leaves()
        last = self.ask("POST", "/persist?file=t")
        self.reactor.go()
        self.assertEqual((last.status, sorted(path.name for path in self.data.iterdir())), (200, ["s", "t"]))

    def test_close(self) -> None:
        """The end waits for what is being written."""
        self.reactor.held = True
        self.ask("POST", "/persist?file=s")
        closed = self.zapq.close()
        self.assertNoResult(closed)
        self.reactor.go()
        self.successResultOf(closed)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
