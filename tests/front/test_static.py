"""How requests for files are answered."""

from __future__ import annotations

import errno
import os
from email.utils import formatdate

from tests.front.fakes import FakeExchange, request_head
from tests.front.static_case import MODIFIED, MODIFIED_S, StaticTestCase
from tqserver.errors import ClientFault, ScarceFault
from tqserver.plane.messages import HTTPSettings, Route, Routing, StaticSettings, WorkerRouting


class ServeTests(StaticTestCase):
    """How a file is sent."""

    def test_whole(self) -> None:
        """A file comes whole, with what a browser wants to know about it."""
        self.put("a.css", b"body{}")
        exchange = self.get(b"/a.css")
        self.assertEqual((exchange.status, exchange.body, exchange.finished), (200, b"body{}", True))
        self.assertEqual(exchange.response.content_length, 6)
        self.assertEqual(exchange.header(b"content-type"), b"text/css; charset=utf-8")
        self.assertEqual(exchange.header(b"last-modified"), MODIFIED)
        self.assertEqual(exchange.header(b"accept-ranges"), b"bytes")
        self.assertEqual(exchange.header(b"cache-control"), b"no-cache")
        self.assertEqual(exchange.header(b"x-content-type-options"), b"nosniff")
        self.assertRegex(exchange.header(b"etag"), rb'\A"[0-9a-f-]+"\Z')
        self.assertIsNone(exchange.header(b"vary"))

    def test_head(self) -> None:
        """HEAD tells the same without the file."""
        self.put("a.css", b"body{}")
        exchange = self.get(b"/a.css", method=b"HEAD")
        self.assertEqual((exchange.status, exchange.body, exchange.finished), (200, b"", True))
        self.assertEqual(exchange.response.content_length, 6)
        self.assertEqual(exchange.response.headers, self.get(b"/a.css").response.headers)

    def test_empty(self) -> None:
        """An empty file is a file, and no part can be asked of it."""
        self.put("a.txt", b"")
        for fields in ((), ((b"range", b"bytes=0-"),)):
            exchange = self.get(b"/a.txt", *fields)
            self.assertEqual((exchange.status, exchange.body, exchange.finished), (200, b"", True))

    def test_gone(self) -> None:
        """A file that vanishes between being found and being sent is not found."""
        path = self.put("a.txt")
        found = self.find(b"/a.txt")
        assert found is not None
        path.unlink()
        exchange = FakeExchange()
        fault = self.assertRaises(ClientFault, self.files.serve, exchange, found)
        self.assertEqual((fault.status, exchange.events), (404, []))

    def test_no_descriptors(self) -> None:
        """A file that cannot be opened for want of descriptors is there all the same: 503, not 404."""
        self.put("a.txt")
        found = self.find(b"/a.txt")
        assert found is not None

        def no_descriptor(*arguments: object, **others: object) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "open", no_descriptor)
        fault = self.assertRaises(ScarceFault, self.files.serve, FakeExchange(), found)
        self.assertEqual(fault.status, 503)

    def test_replaced_by_a_link(self) -> None:
        """A file that becomes a link out between being found and being sent is not followed."""
        (self.base / "secret.txt").write_text("secret")
        path = self.put("a.txt")
        found = self.find(b"/a.txt")
        assert found is not None
        path.unlink()
        path.symlink_to("../secret.txt")
        self.assertRaises(ClientFault, self.files.serve, FakeExchange(), found)

    def test_directory_without_slash(self) -> None:
        """A directory's index is served under the directory's address, so that its relative links work."""
        self.put("sub/index.html", b"index")
        exchange = self.get(b"/blog/sub?x=1", below=b"/sub")
        self.assertEqual((exchange.status, exchange.header(b"location")), (308, b"./sub/?x=1"))
        exchange = self.get(b"/blog/sub/", below=b"/sub/")
        self.assertEqual((exchange.status, exchange.body), (200, b"index"))
        self.assertEqual(exchange.header(b"content-type"), b"text/html; charset=utf-8")

    def test_redirect_stays_here(self) -> None:
        """No folder's name can send a client elsewhere."""
        self.put("javascript:alert(1)/index.html")
        location = self.get(b"/javascript:alert(1)").header(b"location")
        self.assertEqual(location, b"./javascript:alert(1)/")

    def test_etag_changes(self) -> None:
        """Whatever changes in a file changes its tag."""
        self.put("a.txt", b"one")
        tags = {self.get(b"/a.txt").header(b"etag")}
        self.put("a.txt", b"two", MODIFIED_S + 0.5)
        tags.add(self.get(b"/a.txt").header(b"etag"))
        self.put("a.txt", b"three", MODIFIED_S + 0.5)
        tags.add(self.get(b"/a.txt").header(b"etag"))
        self.put("b.txt", b"three", MODIFIED_S + 0.5).rename(self.root / "a.txt")
        tags.add(self.get(b"/a.txt").header(b"etag"))
        self.assertEqual(len(tags), 4)


class ConditionalTests(StaticTestCase):
    """Clients that have the file already (RFC 9110 section 13)."""

    def setUp(self) -> None:
        super().setUp()
        self.put("a.txt", b"hello")
        tag = self.get(b"/a.txt").header(b"etag")
        assert tag is not None
        self.tag = tag
        self.later = formatdate(MODIFIED_S + 60, usegmt=True).encode()
        self.earlier = formatdate(MODIFIED_S - 60, usegmt=True).encode()

    def status(self, *fields: tuple[bytes, bytes]) -> int:
        """What a GET with these fields is answered."""
        exchange = self.get(b"/a.txt", *fields)
        self.assertTrue(exchange.finished)
        self.assertEqual(exchange.body, b"hello" if exchange.status == 200 else b"")
        return exchange.status

    def test_if_none_match(self) -> None:
        """Who has it gets 304, weakly compared, in a list or by a star; who has another gets the file."""
        for value, status in [
            (self.tag, 304),
            (b"W/" + self.tag, 304),
            (b'"x", ' + self.tag, 304),
            (b"*", 304),
            (b'"x"', 200),
            (self.tag.strip(b'"'), 200),
            (b"", 200),
        ]:
            self.assertEqual(self.status((b"if-none-match", value)), status, value)
        self.assertEqual(self.status((b"if-none-match", b'"x"'), (b"if-none-match", self.tag)), 304)

    def test_not_modified_tells_the_tag(self) -> None:
        """A 304 carries what a cache must refresh, and no body."""
        exchange = self.get(b"/a.txt", (b"if-none-match", self.tag))
        self.assertEqual(exchange.header(b"etag"), self.tag)
        self.assertEqual(exchange.header(b"cache-control"), b"no-cache")
        self.assertIsNone(exchange.response.content_length)

    def test_if_modified_since(self) -> None:
        """A date does as well, unless there is a tag; nonsense is ignored."""
        for value, status in [
            (MODIFIED, 304),
            (self.later, 304),
            (self.earlier, 200),
            (b"yesterday", 200),
            (b"\xff", 200),
            (b"Mon, 99 Foo 2020 00:00:00 GMT", 200),
        ]:
            self.assertEqual(self.status((b"if-modified-since", value)), status, value)
        self.assertEqual(self.status((b"if-modified-since", MODIFIED), (b"if-none-match", b'"x"')), 200)

    def test_preconditions(self) -> None:
        """Who insists on a version that is no more gets 412; weak tags never match strongly."""
        for fields, status in [
            ([(b"if-match", self.tag)], 200),
            ([(b"if-match", b"*")], 200),
            ([(b"if-match", b'"x"')], 412),
            ([(b"if-match", b"W/" + self.tag)], 412),
            ([(b"if-unmodified-since", MODIFIED)], 200),
            ([(b"if-unmodified-since", self.earlier)], 412),
            ([(b"if-match", self.tag), (b"if-unmodified-since", self.earlier)], 200),
            ([(b"if-match", self.tag), (b"if-none-match", self.tag)], 304),
        ]:
            self.assertEqual(self.status(*fields), status, fields)


class RangeTests(StaticTestCase):
    """Parts of files (RFC 9110 section 14)."""

    def setUp(self) -> None:
        super().setUp()
        self.put("a.bin", b"0123456789")

    def test_parts(self) -> None:
        """A part comes with where it belongs."""
        for value, body, where in [
            (b"bytes=0-0", b"0", b"bytes 0-0/10"),
            (b"bytes=2-4", b"234", b"bytes 2-4/10"),
            (b"bytes=7-", b"789", b"bytes 7-9/10"),
            (b"bytes=-3", b"789", b"bytes 7-9/10"),
            (b"bytes=-99", b"0123456789", b"bytes 0-9/10"),
            (b"bytes=5-99", b"56789", b"bytes 5-9/10"),
            (b"BYTES=1-1", b"1", b"bytes 1-1/10"),
        ]:
            exchange = self.get(b"/a.bin", (b"range", value))
            self.assertEqual((exchange.status, exchange.body), (206, body), value)
            self.assertEqual(exchange.header(b"content-range"), where)
            self.assertTrue(exchange.finished)

    def test_none_such(self) -> None:
        """A part that is not there is 416, with the size."""
        for value in (b"bytes=10-", b"bytes=99-100", b"bytes=-0", b"bytes=999999999999999999-"):
            exchange = self.get(b"/a.bin", (b"range", value))
            self.assertEqual((exchange.status, exchange.header(b"content-range")), (416, b"bytes */10"), value)

    def test_whole_instead(self) -> None:
        """Other units and nonsense get the whole file."""
        for value in (
            b"lines=0-1",
            b"bytes=4-2",
            b"bytes=-",
            b"bytes=a-b",
            b"bytes 0-1",
            b"bytes=" + b"9" * 5000 + b"-",
        ):
            exchange = self.get(b"/a.bin", (b"range", value))
            self.assertEqual((exchange.status, exchange.body), (200, b"0123456789"), value[:20])
        exchange = self.get(b"/a.bin", (b"range", b"bytes=0-1"), (b"range", b"bytes=0-1"))
        self.assertEqual(exchange.status, 200)

    def test_several(self) -> None:
        """Several parts come as one message of several, each with what it is and where it belongs."""
        data = b"".join(b"%07d\n" % number for number in range(1000))
        self.put("long.txt", data)
        for _ in range(2):
            exchange = self.get(b"/long.txt", (b"range", b"bytes=0-7,-8,4000-4015"))
            self.assertEqual((exchange.status, exchange.finished), (206, True))
            kind = exchange.header(b"content-type")
            assert kind is not None
            self.assertTrue(kind.startswith(b"multipart/byteranges; boundary="))
            self.assertIsNone(exchange.header(b"content-range"))
            self.assertEqual(exchange.response.content_length, len(exchange.body))
            first, *parts, last = exchange.body.split(b"--" + kind.partition(b"boundary=")[2])
            self.assertEqual((first, last), (b"", b"--\r\n"))
            for part, at, end in zip(parts, (0, 7992, 4000), (8, 8000, 4016), strict=True):
                head, _, body = part.partition(b"\r\n\r\n")
                self.assertEqual(body, data[at:end] + b"\r\n")
                self.assertEqual(
                    head,
                    b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes %d-%d/8000" % (at, end - 1),
                )

    def test_several_that_are_one(self) -> None:
        """Parts that touch are one, which comes by itself."""
        exchange = self.get(b"/a.bin", (b"range", b"bytes=5-6,2-4"))
        self.assertEqual((exchange.status, exchange.body), (206, b"23456"))
        self.assertEqual(exchange.header(b"content-range"), b"bytes 2-6/10")

    def test_several_none_such(self) -> None:
        """If there is none of several parts, that is said; if there are some, they come."""
        self.assertEqual(self.get(b"/a.bin", (b"range", b"bytes=10-,20-30")).status, 416)
        exchange = self.get(b"/a.bin", (b"range", b"bytes=10-,3-4"))
        self.assertEqual((exchange.status, exchange.body), (206, b"34"))

    def test_hundreds(self) -> None:
        """Who asks for hundreds of parts gets the whole, which costs less."""
        self.put("long.bin", b"x" * 100_000)
        value = b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(0, 100_000, 500))
        exchange = self.get(b"/long.bin", (b"range", value))
        self.assertEqual((exchange.status, exchange.response.content_length), (200, 100_000))
        exchange.client_leaves()

    def test_head(self) -> None:
        """HEAD is told of the whole (section 14.2: ranges are for GET)."""
        exchange = self.get(b"/a.bin", (b"range", b"bytes=0-1"), method=b"HEAD")
        self.assertEqual((exchange.status, exchange.response.content_length), (200, 10))

    def test_if_range(self) -> None:
        """A download goes on only if the file is still the same."""
        tag = self.get(b"/a.bin").header(b"etag")
        assert tag is not None
        part = (b"range", b"bytes=5-")
        for value, status in [
            (tag, 206),
            (MODIFIED, 206),
            (b'"x"', 200),
            (b"W/" + tag, 200),
            (formatdate(MODIFIED_S + 9, usegmt=True).encode(), 200),
            (formatdate(MODIFIED_S - 9, usegmt=True).encode(), 200),
        ]:
            self.assertEqual(self.get(b"/a.bin", part, (b"if-range", value)).status, status, value)


class EncodingTests(StaticTestCase):
    """Files that lie there compressed."""

    def setUp(self) -> None:
        super().setUp()
        self.put("a.js", b"plain")
        self.put("a.js.gz", b"gzipped")
        self.put("a.js.br", b"brotli!")
        self.put("a.js.zst", b"zstd")

    def body(self, accepted: bytes | None) -> bytes:
        """What a client that takes this gets."""
        fields = [] if accepted is None else [(b"accept-encoding", accepted)]
        exchange = self.get(b"/a.js", *fields)
        self.assertEqual(exchange.header(b"vary"), b"Accept-Encoding")
        self.assertEqual(exchange.header(b"content-type"), b"text/javascript; charset=utf-8")
        coding = {b"plain": None, b"gzipped": b"gzip", b"brotli!": b"br", b"zstd": b"zstd"}[exchange.body]
        self.assertEqual(exchange.header(b"content-encoding"), coding)
        return exchange.body

    def test_negotiation(self) -> None:
        """The best that the client takes is sent; a weight of zero means that it does not."""
        for accepted, body in [
            (None, b"plain"),
            (b"", b"plain"),
            (b"identity", b"plain"),
            (b"gzip", b"gzipped"),
            (b"gzip, deflate, br", b"brotli!"),
            (b"BR", b"brotli!"),
            (b"br;q=0, gzip", b"gzipped"),
            (b"br; q=0.000, gzip;q=0.1", b"gzipped"),
            (b"*", b"brotli!"),
            (b"*;q=0", b"plain"),
            (b"br;q=0, *", b"zstd"),
            (b"zstd, gzip", b"zstd"),
            (b"br;q=0, zstd;q=0, *", b"gzipped"),
            (b"gzip;q=nonsense", b"plain"),
        ]:
            self.assertEqual(self.body(accepted), body, accepted)

    def test_tags_differ(self) -> None:
        """Each coding has a tag of its own, and answers only to it."""
        plain = self.get(b"/a.js").header(b"etag")
        coded = self.get(b"/a.js", (b"accept-encoding", b"br")).header(b"etag")
        assert plain is not None and coded is not None
        self.assertNotEqual(plain, coded)
        exchange = self.get(b"/a.js", (b"accept-encoding", b"br"), (b"if-none-match", coded))
        self.assertEqual((exchange.status, exchange.header(b"vary")), (304, b"Accept-Encoding"))
        self.assertEqual(self.get(b"/a.js", (b"if-none-match", coded)).status, 200)

    def test_stale(self) -> None:
        """A compressed file that is older than its original is of another one."""
        self.put("a.js", b"newer", MODIFIED_S + 10)
        exchange = self.get(b"/a.js", (b"accept-encoding", b"br, gzip, zstd"))
        self.assertEqual((exchange.body, exchange.header(b"vary")), (b"newer", None))

    def test_links_are_no_siblings(self) -> None:
        """A compressed sibling that is a link, which might lead out, is not used."""
        (self.base / "secret").write_bytes(b"secret")
        for suffix in ("gz", "br", "zst"):
            (self.root / f"a.js.{suffix}").unlink()
            (self.root / f"a.js.{suffix}").symlink_to("../../secret")
        self.assertEqual(self.get(b"/a.js", (b"accept-encoding", b"br, gzip")).body, b"plain")

    def test_compressed_itself(self) -> None:
        """An archive is sent as what it is."""
        exchange = self.get(b"/a.js.gz", (b"accept-encoding", b"gzip"))
        self.assertEqual(exchange.header(b"content-type"), b"application/gzip")
        self.assertIsNone(exchange.header(b"content-encoding"))

    def test_parts(self) -> None:
        """A part is a part of what the client gets, not of the file before it was compressed."""
        exchange = self.get(b"/a.js", (b"accept-encoding", b"gzip"), (b"range", b"bytes=0-2"))
        self.assertEqual((exchange.status, exchange.body, exchange.header(b"content-encoding")), (206, b"gzi", b"gzip"))
        self.assertEqual(exchange.header(b"content-range"), b"bytes 0-2/7")

    def test_several_parts(self) -> None:
        """Several parts of a compressed file would be misread, so it comes whole."""
        self.put("b.js", b"plain")
        self.put("b.js.gz", b"gzipped" * 1000)
        exchange = self.get(b"/b.js", (b"accept-encoding", b"gzip"), (b"range", b"bytes=0-2,5000-5002"))
        self.assertEqual((exchange.status, exchange.header(b"content-encoding")), (200, b"gzip"))
        self.assertEqual(exchange.body, b"gzipped" * 1000)


class SettingsTests(StaticTestCase):
    """What the configuration says."""

    def test_cache_control(self) -> None:
        """The first rule that matches a file's path decides, also in a 304; without one it is no-cache."""
        self.serving = StaticSettings(
            cache_control=(("/assets/**", "public, max-age=31536000, immutable"), ("*.html", "no-store"))
        )
        for name in ("assets/x/app.js", "assets/a.html", "a.html", "a.js", "sub/index.html"):
            self.put(name)
        for path, value in [
            (b"/assets/x/app.js", b"public, max-age=31536000, immutable"),
            (b"/assets/a.html", b"public, max-age=31536000, immutable"),
            (b"/a.html", b"no-store"),
            (b"/sub/", b"no-store"),
            (b"/a.js", b"no-cache"),
        ]:
            exchange = self.get(path)
            self.assertEqual(exchange.header(b"cache-control"), value, path)
            tag = exchange.header(b"etag")
            assert tag is not None
            again = self.get(path, (b"if-none-match", tag))
            self.assertEqual((again.status, again.header(b"cache-control")), (304, value))

    def test_index(self) -> None:
        """Folders have the index that is configured, the first that is there, or none."""
        self.serving = StaticSettings(index=("home.html", "index.htm"))
        self.put("a/index.htm", b"second")
        self.put("a/home.html", b"first")
        self.put("b/index.htm", b"second")
        self.put("c/index.html", b"not asked for")
        self.assertEqual(self.get(b"/a/").body, b"first")
        self.assertEqual(self.get(b"/b/").body, b"second")
        self.assertIsNone(self.find(b"/c/"))
        self.serving = StaticSettings(index=())
        self.assertIsNone(self.find(b"/a/"))
        self.assertEqual(self.get(b"/a/home.html").body, b"first")


HTML = (b"accept", b"text/html,*/*;q=0.8")


class FallbackTests(StaticTestCase):
    """One page for every address of an application that runs in the browser."""

    def setUp(self) -> None:
        super().setUp()
        self.put("index.html", b"page")
        self.put("a.txt", b"file")
        self.route(StaticSettings(fallback="index.html"))

    def route(self, serving: StaticSettings) -> None:
        """A worker with files at C{/app}, besides the server's own."""
        self.files.catalogue.update(
            Routing(
                version=1,
                http=HTTPSettings(public=str(self.base / "shared")),
                routes=(Route(prefix="/app", worker="app"),),
                workers=(WorkerRouting(name="app", type="static", public=str(self.root), static=serving),),
            )
        )

    def ask(self, path: bytes, *fields: tuple[bytes, bytes], method: bytes = b"GET") -> FakeExchange | None:
        """Ask for something below C{/app}."""
        places = self.files.catalogue.of_worker("app")["/app"]
        exchange = FakeExchange(request_head(method, path, fields))
        if places.may_hold(path) and self.files.answer(exchange, places, 4):
            return exchange
        return None

    def body(self, path: bytes, *fields: tuple[bytes, bytes]) -> bytes | None:
        """What is answered, if anything is."""
        exchange = self.ask(path, *fields)
        return None if exchange is None else exchange.body

    def test_navigation(self) -> None:
        """A person who goes to any address gets the page; what is a file is a file."""
        for path in (b"/app/users/17", b"/app/x", b"/app/john.doe", b"/app"):
            self.assertEqual(self.body(path, HTML), b"" if path == b"/app" else b"page", path)
        self.assertEqual(self.body(b"/app/a.txt", HTML), b"file")

    def test_others(self) -> None:
        """Scripts, images and programs are told that there is nothing."""
        self.assertIsNone(self.body(b"/app/users/17", (b"accept", b"*/*")))
        self.assertIsNone(self.body(b"/app/users/17"))
        self.assertIsNone(self.body(b"/app/missing.js", HTML, (b"sec-fetch-mode", b"no-cors")))

    def test_varies(self) -> None:
        """Caches are told that others get something else at this address."""
        exchange = self.ask(b"/app/x", HTML)
        assert exchange is not None
        self.assertIn((b"Vary", b"Accept"), exchange.response_headers)
        exchange = self.ask(b"/app/index.html", HTML)
        assert exchange is not None
        self.assertEqual(exchange.response_headers, [])

    def test_conditional(self) -> None:
        """Who has the page is told so, at whatever address."""
        exchange = self.ask(b"/app/x", HTML)
        assert exchange is not None
        tag = exchange.header(b"etag")
        assert tag is not None
        again = self.ask(b"/app/y", HTML, (b"if-none-match", tag))
        assert again is not None
        self.assertEqual(again.status, 304)
        head = self.ask(b"/app/y", HTML, method=b"HEAD")
        assert head is not None and head.response is not None
        self.assertEqual((head.status, head.body, head.response.content_length), (200, b"", 4))

    def test_server_first(self) -> None:
        """The server's own files go before the page."""
        (self.base / "shared" / "app").mkdir(parents=True)
        (self.base / "shared" / "app" / "x").write_bytes(b"shared")
        self.route(StaticSettings(fallback="index.html"))
        self.assertEqual(self.body(b"/app/x", HTML), b"shared")

    def test_missing(self) -> None:
        """A page that is not there is none."""
        (self.root / "index.html").unlink()
        self.assertIsNone(self.body(b"/app/x", HTML))

    def test_off(self) -> None:
        """Without the setting there is nothing of the kind."""
        self.route(StaticSettings())
        self.assertIsNone(self.body(b"/app/x", HTML))
