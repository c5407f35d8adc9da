"""Files that a worker names instead of sending them: through the site, from the worker's answer to the client's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, globalLogPublisher

from tests.front.fakes import FakeExchange, request_head
from tests.front.static_case import open_below
from tests.front.test_site import SiteCase, endpoint
from tqserver.front.offload import DISCARDED_BYTES_MAX

SECRET = b"secret"


class OffloadCase(SiteCase):
    """A worker that may name files of two folders."""

    def setUp(self) -> None:
        super().setUp()
        self.base = Path(self.mktemp()).absolute()
        self.folder = self.base / "files"
        (self.folder / "sub").mkdir(parents=True)
        (self.folder / "a b.pdf").write_bytes(b"0123456789")
        (self.folder / "sub" / "100%.txt").write_bytes(b"percent")
        (self.folder / "script.php").write_bytes(b"<?php")
        (self.folder / ".hidden").write_bytes(SECRET)
        (self.base / "secret.txt").write_bytes(SECRET)
        (self.base / "files-too").mkdir()
        (self.base / "files-too" / "a.txt").write_bytes(SECRET)
        (self.folder / "out.txt").symlink_to("../secret.txt")
        (self.folder / "in.txt").symlink_to("sub/100%.txt")
        self.warnings: list[LogEvent] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.allow()

    def observe(self, event: LogEvent) -> None:
        """Keep what is logged."""
        if event["log_namespace"] == "tqserver.front.offload":
            self.warnings.append(event)

    def tearDown(self) -> None:
        self.assertEqual(open_below(self.base), [], "a file was left open")

    def allow(self, **options: Any) -> None:
        """Publish what the worker may."""
        usual = {"x_accel_redirect": (("/protected", str(self.folder)),), "x_sendfile": (str(self.folder),)}
        self.route(endpoint(1), **{**usual, **options})

    def answered(
        self,
        *lines: bytes,
        body: bytes = b"ignored",
        status: bytes = b"200 OK",
        method: bytes = b"GET",
        fields: tuple[tuple[bytes, bytes], ...] = (),
    ) -> FakeExchange:
        """What a client gets if the worker's answer has these lines."""
        exchange = FakeExchange(request_head(method, b"/api/x", fields))
        self.site.serve(exchange)
        wire = self.connect() if self.opening else self.wires[-1]
        length = b"Content-Length: %d" % len(body)
        sent = b"" if method == b"HEAD" else body
        self.reply(wire, b"\r\n".join([b"HTTP/1.1 " + status, length, *lines, b"", sent]))
        return exchange

    def accel(self, path: bytes, *lines: bytes, **options: Any) -> FakeExchange:
        """What a client gets if the worker redirects to a path."""
        return self.answered(b"X-Accel-Redirect: " + path, *lines, **options)

    def sendfile(self, path: bytes, *lines: bytes, **options: Any) -> FakeExchange:
        """What a client gets if the worker names a file."""
        return self.answered(b"X-Sendfile: " + path, *lines, **options)

    @property
    def wire(self) -> StringTransport:
        """The connection to the worker."""
        return self.wires[-1]


class NamedTests(OffloadCase):
    """Files that may be named."""

    def test_accel(self) -> None:
        """A path of a URL below the prefix is a file of the folder; the worker's own body is not seen."""
        exchange = self.accel(b"/protected/a%20b.pdf?x=y")
        self.assertEqual((exchange.status, exchange.body, exchange.finished), (200, b"0123456789", True))
        self.assertEqual(exchange.header(b"content-type"), b"application/pdf")
        self.assertIsNone(exchange.header(b"x-accel-redirect"))
        self.assertEqual(self.accel(b"/protected/sub/100%25.txt").body, b"percent")

    def test_sendfile(self) -> None:
        """An absolute path is a file, as it is written."""
        exchange = self.sendfile(os.fsencode(self.folder / "a b.pdf"))
        self.assertEqual((exchange.status, exchange.body, exchange.finished), (200, b"0123456789", True))
        self.assertIsNone(exchange.header(b"x-sendfile"))
        self.assertEqual(self.sendfile(os.fsencode(self.folder / "sub/100%.txt")).body, b"percent")

    def test_sendfile_through_a_link(self) -> None:
        """A worker may know its folder by another name than the configuration."""
        link = self.base / "link"
        link.symlink_to("files")
        self.allow(x_sendfile=(str(link),))
        self.assertEqual(self.sendfile(os.fsencode(self.folder / "a b.pdf")).status, 200)
        self.assertEqual(self.sendfile(os.fsencode(link / "a b.pdf")).status, 200)

    def test_links_inside(self) -> None:
        """A symbolic link within the folder is followed."""
        self.assertEqual(self.accel(b"/protected/in.txt").body, b"percent")

    def test_sources(self) -> None:
        """Who names a source wants it sent, as what it is."""
        self.assertEqual(self.accel(b"/protected/script.php").body, b"<?php")

    def test_no_siblings(self) -> None:
        """A compressed file beside it is another file."""
        (self.folder / "a.txt").write_bytes(b"plain")
        (self.folder / "a.txt.gz").write_bytes(b"gzip")
        exchange = self.accel(b"/protected/a.txt", fields=((b"accept-encoding", b"gzip"),))
        self.assertEqual((exchange.body, exchange.header(b"vary")), (b"plain", None))

    def test_longest_prefix(self) -> None:
        """Of two prefixes the longer one counts."""
        self.allow(x_accel_redirect=(("/p", str(self.base / "files-too")), ("/p/sub", str(self.folder / "sub"))))
        self.assertEqual(self.accel(b"/p/sub/100%25.txt").body, b"percent")
        self.assertEqual(self.accel(b"/p/a.txt").body, SECRET)

    def test_root_prefix(self) -> None:
        """The prefix may be the root."""
        self.allow(x_accel_redirect=(("/", str(self.folder)),))
        self.assertEqual(self.accel(b"/sub/100%25.txt").body, b"percent")


class HeadersTests(OffloadCase):
    """What the worker says besides."""

    def test_kept(self) -> None:
        """What the worker says of the file and to the client stays; what it says of its own body does not."""
        exchange = self.accel(
            b"/protected/a%20b.pdf",
            b"Content-Type: application/x-mine",
            b'Content-Disposition: attachment; filename="x.pdf"',
            b"Cache-Control: private",
            b"Set-Cookie: a=b",
            b"Set-Cookie: c=d",
            b"X-Mine: yes",
            b'ETag: W/"empty"',
            b"Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT",
            b"Content-Encoding: gzip",
            b"Accept-Ranges: none",
            b"X-Accel-Buffering: no",
        )
        assert exchange.response is not None
        headers = [(name.lower(), value) for name, value in exchange.response.headers]
        for field in (
            (b"content-type", b"application/x-mine"),
            (b"content-disposition", b'attachment; filename="x.pdf"'),
            (b"cache-control", b"private"),
            (b"set-cookie", b"a=b"),
            (b"set-cookie", b"c=d"),
            (b"x-mine", b"yes"),
            (b"accept-ranges", b"bytes"),
            (b"x-content-type-options", b"nosniff"),
        ):
            self.assertEqual(headers.count(field), 1, field)
        names = [name for name, _ in headers]
        for name in (b"content-encoding", b"x-accel-buffering", b"x-accel-redirect"):
            self.assertNotIn(name, names)
        for name in (b"etag", b"last-modified", b"cache-control", b"content-type"):
            self.assertEqual(names.count(name), 1, name)
        self.assertNotIn(exchange.header(b"etag"), (None, b'W/"empty"'))

    def test_defaults(self) -> None:
        """A worker that says nothing of it has the file revalidated each time, so that it is asked each time."""
        exchange = self.accel(b"/protected/a%20b.pdf")
        self.assertEqual(exchange.header(b"cache-control"), b"no-cache")

    def test_conditional(self) -> None:
        """A client that has the file gets no more than that, and the worker's cookie."""
        tag = self.accel(b"/protected/a%20b.pdf").header(b"etag")
        assert tag is not None
        self.site._static._now_ns = self.site._static._finder._now_ns = lambda: 1 << 62
        tag = self.accel(b"/protected/a%20b.pdf").header(b"etag")
        assert tag is not None
        exchange = self.accel(b"/protected/a%20b.pdf", b"Set-Cookie: a=b", fields=((b"if-none-match", tag),))
        self.assertEqual((exchange.status, exchange.body), (304, b""))
        self.assertEqual(exchange.header(b"set-cookie"), b"a=b")
        self.assertIsNone(exchange.header(b"content-type"))

    def test_parts(self) -> None:
        """A part of the file, and several."""
        exchange = self.accel(b"/protected/a%20b.pdf", fields=((b"range", b"bytes=2-4"),))
        self.assertEqual((exchange.status, exchange.body), (206, b"234"))
        self.assertEqual(exchange.header(b"content-range"), b"bytes 2-4/10")
        (self.folder / "long.bin").write_bytes(b"0123456789" * 1000)
        exchange = self.accel(
            b"/protected/long.bin", b"Content-Type: x/mine", fields=((b"range", b"bytes=0-1,5000-5001"),)
        )
        self.assertEqual(exchange.status, 206)
        self.assertEqual(exchange.body.count(b"Content-Type: x/mine"), 2)

    def test_head(self) -> None:
        """HEAD is told of the file."""
        exchange = self.accel(b"/protected/a%20b.pdf", method=b"HEAD")
        assert exchange.response is not None
        self.assertEqual((exchange.status, exchange.body, exchange.response.content_length), (200, b"", 10))

    def test_other_methods(self) -> None:
        """The answer to a POST may be a file; conditions are not for it."""
        exchange = self.accel(b"/protected/a%20b.pdf", method=b"POST", fields=((b"range", b"bytes=2-4"),))
        self.assertEqual((exchange.status, exchange.body), (200, b"0123456789"))

    def test_status(self) -> None:
        """A worker that answers an error with a file has it sent as an error, whole."""
        exchange = self.accel(b"/protected/a%20b.pdf", status=b"403 No", fields=((b"range", b"bytes=2-4"),))
        self.assertEqual((exchange.status, exchange.body), (403, b"0123456789"))

    def test_no_body(self) -> None:
        """An answer that can have no body has no file either."""
        exchange = self.answered(b"X-Accel-Redirect: /protected/a%20b.pdf", status=b"304 Not Modified", body=b"")
        self.assertEqual((exchange.status, exchange.body), (304, b""))


class RefusedTests(OffloadCase):
    """What a worker may not name, and what is not there."""

    def refused(self, exchange: FakeExchange) -> None:
        """The client is told no more than that; the log has it."""
        self.assertEqual((exchange.status, exchange.finished), (502, True))
        self.assertNotIn(SECRET, exchange.body)
        self.assertNotIn(os.fsencode(self.base), exchange.body)
        self.assertEqual(len(self.warnings), 1, exchange.body)
        self.warnings.clear()

    def test_tricks(self) -> None:
        """No spelling leads out of the folder, or to what is hidden."""
        for path in (
            b"/protected/../secret.txt",
            b"/protected/%2e%2e/secret.txt",
            b"/protected/..%2fsecret.txt",
            b"/protected/sub/../../secret.txt",
            b"/protected/.hidden",
            b"/protected//a%20b.pdf",
            b"/protected/a%00",
            b"/protectedness/a%20b.pdf",
            b"/protected",
            b"/files-too/a.txt",
            b"protected/a%20b.pdf",
            b"http://example.org/protected/a%20b.pdf",
            b"@named",
            b"/",
            b"",
        ):
            with self.subTest(path=path):
                self.refused(self.accel(path))
        folder = os.fsencode(self.folder)
        for path in (
            folder + b"/../secret.txt",
            folder + b"-too/a.txt",
            folder + b"/.hidden",
            folder,
            b"/etc/passwd",
            b"files/a b.pdf",
            b"a b.pdf",
            folder + b"/./a b.pdf",
            b"",
        ):
            with self.subTest(path=path):
                self.refused(self.sendfile(path))

    def test_links_out(self) -> None:
        """A symbolic link that leads out of the folder is no file of the folder."""
        for exchange in (self.accel(b"/protected/out.txt"), self.sendfile(os.fsencode(self.folder / "out.txt"))):
            self.assertEqual(exchange.status, 404)
            self.assertNotIn(SECRET, exchange.body)

    def test_twice(self) -> None:
        """Who names two files means none."""
        self.refused(self.accel(b"/protected/a%20b.pdf", b"X-Accel-Redirect: /protected/sub/100%25.txt"))

    def test_missing(self) -> None:
        """A file that is not there is not found; neither is a folder, whatever is in it."""
        (self.folder / "sub" / "index.html").write_bytes(SECRET)
        for path in (b"/protected/x.pdf", b"/protected/sub", b"/protected/sub/", b"/protected/"):
            exchange = self.accel(path)
            self.assertEqual((exchange.status, exchange.finished), (404, True), path)
            self.assertNotIn(os.fsencode(self.base), exchange.body)
        self.assertEqual(self.warnings, [])

    def test_long_body(self) -> None:
        """A worker that names a file and then sends one itself is stopped."""
        exchange = FakeExchange(request_head(b"GET", b"/api/x"))
        self.site.serve(exchange)
        wire = self.connect()
        self.reply(wire, b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /protected/a%20b.pdf\r\n\r\n")
        for _ in range(DISCARDED_BYTES_MAX // 65536):
            self.reply(wire, b"x" * 65536)
            self.assertFalse(exchange.over)
        self.reply(wire, b"x")
        self.assertEqual((exchange.status, exchange.finished), (502, True))
        self.assertTrue(wire.disconnecting or wire.disconnected)  # type: ignore[attr-defined]

    def test_breaks_off(self) -> None:
        """A worker that breaks off has not answered."""
        exchange = FakeExchange(request_head(b"POST", b"/api/x"))
        self.site.serve(exchange)
        wire = self.connect()
        self.reply(wire, b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /protected/a%20b.pdf\r\nContent-Length: 10\r\n\r\nx")
        self.lose(wire)
        self.assertEqual((exchange.status, exchange.finished), (502, True))

    def test_stalls(self) -> None:
        """A worker that names a file and does not come to its end has not answered in time."""
        self.allow(request_timeout_s=5.0)
        exchange = FakeExchange(request_head(b"GET", b"/api/x"))
        self.site.serve(exchange)
        wire = self.connect()
        self.reply(wire, b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /protected/a%20b.pdf\r\nContent-Length: 10\r\n\r\nx")
        self.reactor.pump([0.25] * 19)
        self.assertEqual(exchange.status, 0)
        self.reactor.pump([0.25] * 4)
        self.assertEqual((exchange.status, exchange.finished), (504, True))

    def test_client_leaves(self) -> None:
        """A client that leaves meanwhile gets nothing, and nobody minds."""
        exchange = FakeExchange(request_head(b"GET", b"/api/x"))
        self.site.serve(exchange)
        wire = self.connect()
        self.reply(wire, b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /protected/a%20b.pdf\r\nContent-Length: 10\r\n\r\nx")
        exchange.client_leaves()
        self.assertEqual((exchange.response, self.site.in_flight), (None, 0))


class OtherTests(OffloadCase):
    """What is as always."""

    def test_own_answer(self) -> None:
        """A worker that names no file answers itself, at once or bit by bit, and its connection is kept."""
        exchange = self.answered(b"X-Mine: yes", body=b"mine")
        self.assertEqual((exchange.status, exchange.body, exchange.header(b"x-mine")), (200, b"mine", b"yes"))
        exchange = FakeExchange(request_head(b"GET", b"/api/x"))
        self.site.serve(exchange)
        self.assertEqual(self.opening, 0)
        self.reply(self.wire, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        self.assertEqual(exchange.body, b"ab")
        self.reply(self.wire, b"2\r\ncd\r\n0\r\n\r\n")
        self.assertEqual((exchange.body, exchange.finished), (b"abcd", True))

    def test_connection_is_kept(self) -> None:
        """The connection to the worker is kept, and its answer is counted as one."""
        self.accel(b"/protected/a%20b.pdf")
        self.accel(b"/protected/a%20b.pdf")
        self.assertEqual((len(self.wires), self.opening), (1, 0))
        load = self.site.load()
        self.assertEqual((load.endpoints[0].answered, load.endpoints[0].failed, load.in_flight), (2, 0, 0))
        self.assertEqual(self.logged.lines[-1], (200, "api", "api.1.1"))

    def test_off(self) -> None:
        """Where it is not allowed at all it means nothing, and is passed on."""
        self.route(endpoint(1))
        exchange = self.accel(b"/protected/a%20b.pdf", body=b"mine")
        self.assertEqual((exchange.body, exchange.header(b"x-accel-redirect")), (b"mine", b"/protected/a%20b.pdf"))

    def test_only_one(self) -> None:
        """Who may use one of the two may not use the other."""
        self.allow(x_accel_redirect=())
        exchange = self.accel(b"/protected/a%20b.pdf", body=b"mine")
        self.assertEqual((exchange.body, exchange.header(b"x-accel-redirect")), (b"mine", b"/protected/a%20b.pdf"))
        self.allow(x_sendfile=())
        exchange = self.sendfile(os.fsencode(self.folder / "a b.pdf"), body=b"mine")
        self.assertEqual(exchange.body, b"mine")

    def test_no_longer(self) -> None:
        """What is no longer allowed is no longer sent, and what was kept of it is forgotten."""
        self.site._static._now_ns = self.site._static._finder._now_ns = lambda: 1 << 62
        self.accel(b"/protected/a%20b.pdf")
        self.assertEqual(len(self.site._static._cache), 1)
        self.route(endpoint(1))
        self.assertEqual(len(self.site._static._cache), 0)
