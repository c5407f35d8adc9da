"""Tests of static files: what is found, and how it is sent."""

from __future__ import annotations

import errno
import os
from email.utils import formatdate
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange, request_head
from tqserver.errors import ClientFault, ScarceFault
from tqserver.front.content_type import content_type
from tqserver.front.static import CHUNK_BYTES, StaticFiles

MODIFIED_S = 1_700_000_000
MODIFIED = formatdate(MODIFIED_S, usegmt=True).encode()


def open_below(folder: Path) -> list[str]:
    """The files below a folder that this process has open."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue  # The one that listed them.
    return [link for link in links if link.startswith(f"{folder}/")]


class StaticTestCase(SynchronousTestCase):
    """A directory of files and what serves them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.files = StaticFiles(self.clock)
        self.base = Path(self.mktemp()).absolute()
        self.root = self.base / "public"
        self.root.mkdir(parents=True)

    def tearDown(self) -> None:
        self.assertEqual(open_below(self.base), [], "a file was left open")

    def put(self, name: str, data: bytes = b"hello", modified_s: float = MODIFIED_S) -> Path:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (modified_s, modified_s))
        return path

    def found(self, path: bytes) -> bool:
        """Whether a path means a file."""
        return self.files.find(str(self.root), path) is not None

    def get(
        self, path: bytes, *fields: tuple[bytes, bytes], method: bytes = b"GET", below: bytes = b""
    ) -> FakeExchange:
        """
        Ask for a file.

        @param below: the path after the prefix, if the route has one.
        """
        exchange = FakeExchange(request_head(method, path, fields))
        found = self.files.find(str(self.root), below or path.partition(b"?")[0])
        assert found is not None, path
        self.files.serve(exchange, found)
        return exchange


class FindTests(StaticTestCase):
    """Which file a path means."""

    def test_files(self) -> None:
        """Files are found at any depth, also under names that are not ASCII or not even UTF-8."""
        self.put("a.txt")
        self.put("deep/er/b c.txt")
        (self.root / "deep" / os.fsdecode(b"\xff.txt")).write_bytes(b"")
        self.put("größe.txt")
        for path in (b"/a.txt", b"/%61.txt", b"/deep/er/b%20c.txt", b"/deep/%ff.txt", b"/gr%C3%B6%C3%9Fe.txt"):
            self.assertTrue(self.found(path), path)

    def test_absent(self) -> None:
        """What is not there is somebody else's to answer."""
        self.put("a.txt")
        for path in (b"/b.txt", b"/a.txt/", b"/a.txt/b", b"/", b"", b"/x/y", b"a.txt", b"/" + b"x" * 5000, b"*"):
            self.assertFalse(self.found(path), path)
        self.assertIsNone(self.files.find("/nonexistent/root", b"/a.txt"))

    def test_traversal(self) -> None:
        """Nothing outside the directory is ever served, however the dots and slashes are written."""
        (self.base / "secret.txt").write_text("secret")
        self.put("sub/a.txt")
        for path in (
            b"/../secret.txt",
            b"/%2e%2e/secret.txt",
            b"/%2E./secret.txt",
            b"/sub/../../secret.txt",
            b"/..%2fsecret.txt",
            b"/..%5csecret.txt",
            b"/..\\secret.txt",
            b"//" + str(self.base / "secret.txt").encode(),
            b"/sub/%2e/a.txt",
            b"/sub%2fa.txt",
            b"/sub//a.txt",
            b"/sub/a.txt%00.html",
            b"/%252e%252e/secret.txt",
        ):
            self.assertFalse(self.found(path), path)

    def test_dot_files(self) -> None:
        """Files and folders whose names begin with a dot are never served."""
        self.put(".env")
        self.put(".git/config")
        self.put("sub/.htpasswd")
        for path in (b"/.env", b"/%2eenv", b"/.git/config", b"/sub/.htpasswd"):
            self.assertFalse(self.found(path), path)

    def test_sources(self) -> None:
        """PHP sources are never served as text, nor what an editor left beside them, whatever the case."""
        for name in (
            "index.php",
            "INDEX.PhP",
            "a.phtml",
            "a.phar",
            "a.php3",
            "a.php8",
            "a.phps",
            "a.php~",
            "a.php.bak",
            "a.php.swp",
            "a.php.1",
            "a.php.bak~",
            "a.php.gz",
            "a.php_old",
            "x.php/inner.txt",
        ):
            self.put(name)
            self.assertFalse(self.found(b"/" + name.encode()), name)
        for name in ("php.txt", "about-php.html", "Foo.php.html", "photo.phpx"):
            self.put(name)
            self.assertTrue(self.found(b"/" + name.encode()), name)

    def test_source_pattern_is_quick(self) -> None:
        """A path that is made to be hard to compare costs nothing."""
        self.assertFalse(self.found(b"/x.php" + b".1~_ -" * 600 + b"!"))

    def test_links(self) -> None:
        """A symbolic link within the directory is followed; one that leads out, or to a source, is not."""
        (self.base / "secret.txt").write_text("secret")
        (self.base / "outside").mkdir()
        (self.base / "outside" / "a.txt").write_text("secret")
        (self.base / "public-too").mkdir()
        (self.base / "public-too" / "a.txt").write_text("secret")
        self.put("index.php")
        self.put("real.txt")
        for name, target in [
            ("in.txt", "real.txt"),
            ("out.txt", "../secret.txt"),
            ("out", "../outside"),
            ("beside.txt", "../public-too/a.txt"),
            ("source.txt", "index.php"),
            ("loop", "loop"),
        ]:
            (self.root / name).symlink_to(target)
        self.assertTrue(self.found(b"/in.txt"))
        for path in (b"/out.txt", b"/out/a.txt", b"/beside.txt", b"/source.txt", b"/loop"):
            self.assertFalse(self.found(path), path)

    def test_root_is_a_link(self) -> None:
        """The directory itself may be a link that a deployment turns."""
        self.put("a.txt")
        current = self.base / "current"
        current.symlink_to("public")
        self.assertIsNotNone(self.files.find(str(current), b"/a.txt"))

    def test_only_regular_files(self) -> None:
        """Pipes and devices are not files to serve, and asking for one does not hang."""
        os.mkfifo(self.root / "pipe")
        (self.root / "null").symlink_to("/dev/null")
        self.assertFalse(self.found(b"/pipe"))
        self.assertFalse(self.found(b"/null"))

    def test_directory(self) -> None:
        """A directory means its index, if it has one."""
        self.put("with/index.html")
        self.put("without/a.txt")
        self.assertTrue(self.found(b"/with/"))
        self.assertTrue(self.found(b"/with"))
        self.assertFalse(self.found(b"/without/"))
        self.put("index.html")
        self.assertTrue(self.found(b"/"))

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        st.lists(
            st.sampled_from(
                [b"/", b"..", b".", b"%2e", b"%2f", b"%5c", b"\\", b"%00", b"secret.txt", b"sub", b"a.txt", b"%25"]
            ),
            max_size=8,
        ).map(b"".join)
    )
    def test_jailed(self, path: bytes) -> None:
        """No combination of dots, slashes and escapes leads out, or makes anything fail."""
        if not (self.base / "secret.txt").exists():
            (self.base / "secret.txt").write_text("secret")
            self.put("sub/a.txt")
        found = self.files.find(str(self.root), path)
        if found is not None:
            self.assertEqual(found.file, os.fsencode(self.root / "sub/a.txt"))


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

    def test_other_methods(self) -> None:
        """Files can only be read."""
        self.put("a.txt")
        exchange = self.get(b"/a.txt", method=b"POST")
        self.assertEqual((exchange.status, exchange.header(b"allow")), (405, b"GET, HEAD"))

    def test_gone(self) -> None:
        """A file that vanishes between being found and being sent is not found."""
        path = self.put("a.txt")
        found = self.files.find(str(self.root), b"/a.txt")
        assert found is not None
        path.unlink()
        exchange = FakeExchange()
        fault = self.assertRaises(ClientFault, self.files.serve, exchange, found)
        self.assertEqual((fault.status, exchange.events), (404, []))

    def test_no_descriptors(self) -> None:
        """A file that cannot be opened for want of descriptors is there all the same: 503, not 404."""
        self.put("a.txt")
        found = self.files.find(str(self.root), b"/a.txt")
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
        found = self.files.find(str(self.root), b"/a.txt")
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
        """Several parts, other units and nonsense get the whole file."""
        for value in (
            b"bytes=0-1,3-4",
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
        ]:
            self.assertEqual(self.get(b"/a.bin", part, (b"if-range", value)).status, status, value)


class EncodingTests(StaticTestCase):
    """Files that lie there compressed."""

    def setUp(self) -> None:
        super().setUp()
        self.put("a.js", b"plain")
        self.put("a.js.gz", b"gzipped")
        self.put("a.js.br", b"brotli!")

    def body(self, accepted: bytes | None) -> bytes:
        """What a client that takes this gets."""
        fields = [] if accepted is None else [(b"accept-encoding", accepted)]
        exchange = self.get(b"/a.js", *fields)
        self.assertEqual(exchange.header(b"vary"), b"Accept-Encoding")
        self.assertEqual(exchange.header(b"content-type"), b"text/javascript; charset=utf-8")
        coding = {b"plain": None, b"gzipped": b"gzip", b"brotli!": b"br"}[exchange.body]
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
            (b"br;q=0, *", b"gzipped"),
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
        exchange = self.get(b"/a.js", (b"accept-encoding", b"br, gzip"))
        self.assertEqual((exchange.body, exchange.header(b"vary")), (b"newer", None))

    def test_links_are_no_siblings(self) -> None:
        """A compressed sibling that is a link, which might lead out, is not used."""
        (self.base / "secret").write_bytes(b"secret")
        for suffix in ("gz", "br"):
            (self.root / f"a.js.{suffix}").unlink()
            (self.root / f"a.js.{suffix}").symlink_to("../../secret")
        self.assertEqual(self.get(b"/a.js", (b"accept-encoding", b"br, gzip")).body, b"plain")

    def test_compressed_itself(self) -> None:
        """An archive is sent as what it is."""
        exchange = self.get(b"/a.js.gz", (b"accept-encoding", b"gzip"))
        self.assertEqual(exchange.header(b"content-type"), b"application/gzip")
        self.assertIsNone(exchange.header(b"content-encoding"))


class StreamingTests(StaticTestCase):
    """Large files and slow clients."""

    def setUp(self) -> None:
        super().setUp()
        self.data = bytes(range(256)) * (CHUNK_BYTES * 4 // 256) + b"the end"
        self.path = self.put("big.bin", self.data)

    def test_chunk_by_chunk(self) -> None:
        """A large file is sent one chunk a turn, so that others are served in between."""
        exchange = self.get(b"/big.bin")
        seen: list[int] = []

        def somebody_else() -> None:
            seen.append(len(exchange.writes))
            if not exchange.over:
                self.clock.callLater(0, somebody_else)

        somebody_else()
        self.clock.advance(0)
        self.assertEqual(seen, [1, 2, 3, 4, 5])
        self.assertEqual([len(data) for data in exchange.writes], [CHUNK_BYTES] * 4 + [7])
        self.assertTrue(exchange.finished)
        self.assertEqual(exchange.body, self.data)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_client(self) -> None:
        """Nothing is read while the client does not read."""
        exchange = self.get(b"/big.bin")
        exchange.client_pauses()
        self.clock.advance(0)
        self.clock.advance(10)
        self.assertEqual(len(exchange.writes), 1)
        exchange.client_resumes()
        exchange.client_pauses()
        self.clock.advance(10)
        self.assertEqual(len(exchange.writes), 1)
        exchange.client_resumes()
        self.clock.pump([0] * 10)
        self.assertEqual((exchange.body, exchange.finished), (self.data, True))

    def test_paused_from_the_beginning(self) -> None:
        """A client that is behind already gets no more than a chunk."""
        head = request_head(b"GET", b"/big.bin")
        exchange = FakeExchange(head, write_paused=True)
        found = self.files.find(str(self.root), b"/big.bin")
        assert found is not None
        self.files.serve(exchange, found)
        self.clock.pump([0] * 10)
        self.assertEqual(len(exchange.writes), 1)
        exchange.client_leaves()

    def test_client_leaves(self) -> None:
        """A client that leaves leaves nothing behind."""
        exchange = self.get(b"/big.bin")
        self.assertEqual(open_below(self.base), [str(self.path)])
        exchange.client_leaves()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(open_below(self.base), [])

    def test_range_in_the_middle(self) -> None:
        """A large part is streamed as well, and ends where it should."""
        first, last = 1000, CHUNK_BYTES * 3 + 5
        exchange = self.get(b"/big.bin", (b"range", b"bytes=%d-%d" % (first, last)))
        self.clock.pump([0] * 10)
        self.assertEqual((exchange.body, exchange.finished), (self.data[first : last + 1], True))

    def test_shrinks(self) -> None:
        """When a file becomes shorter while it is sent, the client can tell that something is missing."""
        exchange = self.get(b"/big.bin")
        os.truncate(self.path, CHUNK_BYTES + 10)
        self.clock.pump([0] * 10)
        self.assertTrue(exchange.aborted)
        self.assertFalse(exchange.finished)

    def test_grows(self) -> None:
        """When a file becomes longer, what was promised is sent."""
        exchange = self.get(b"/big.bin")
        with self.path.open("ab") as file:
            file.write(b"more")
        self.clock.pump([0] * 10)
        self.assertEqual((exchange.body, exchange.finished), (self.data, True))

    def test_replaced(self) -> None:
        """When a file is replaced as editors do it, the client gets the old one whole."""
        exchange = self.get(b"/big.bin")
        self.put("new", b"new").rename(self.path)
        self.clock.pump([0] * 10)
        self.assertEqual((exchange.body, exchange.finished), (self.data, True))


class ContentTypeTests(SynchronousTestCase):
    """What a file holds."""

    def test_names(self) -> None:
        """The end of the name decides, in any case; text says its charset; what is unknown is just bytes."""
        for name, kind in [
            (b"/a/index.HTML", b"text/html; charset=utf-8"),
            (b"x.mjs", b"text/javascript; charset=utf-8"),
            (b"x.svg", b"image/svg+xml"),
            (b"x.woff2", b"font/woff2"),
            (b"x.tar.gz", b"application/gzip"),
            (b"x.unheard-of", b"application/octet-stream"),
            (b"LICENSE", b"application/octet-stream"),
            (b"/dir.html/file", b"application/octet-stream"),
        ]:
            self.assertEqual(content_type(name), kind, name)
