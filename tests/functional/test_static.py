"""Files over a real front: found as soon as they are there, changed as soon as they are, sent at the client's pace."""

from __future__ import annotations

import os
import shutil
import threading
import time
import zlib
from pathlib import Path

from bench.wire import Connection, Lost, Response
from tests.functional.running import APP, Running, RunningCase
from tests.functional.streams import MIB, Stream, memory_bytes, needs

NAMING_APP = APP.replace(
    """        self.send_response(status)
""",
    """        self.send_response(status)
        if what == "accel":
            self.send_header("X-Accel-Redirect", "/protected/" + argument)
            self.send_header("Content-Type", "application/x-mine")
            self.send_header("Set-Cookie", "seen=yes")
        elif what == "sendfile":
            self.send_header("X-Sendfile", os.path.join(os.getcwd(), "files", argument))
""",
)
"""The worker of other tests, that can also name files."""

NAMING_YAML = """
path: /app
type: python
x_accel_redirect: [{prefix: /protected, directory: files}]
x_sendfile: [files]
static: {cache_control: [{match: "*.js", value: "max-age=60"}]}
"""

STATIC_YAML = """
path: /
type: static
static:
  fallback: index.html
  index: [index.html, index.htm]
  cache_control: [{match: "/assets/**", value: "public, max-age=31536000, immutable"}]
"""

PHP_YAML = """
path: /php
type: php
x_accel_redirect: [{prefix: /protected, directory: files}]
"""

PHP_SOURCE = """<?php
header('X-Accel-Redirect: /protected/' . $_GET['name']);
header('Content-Type: application/x-php-says');
if (isset($_GET['length'])) { header('Content-Length: ' . $_GET['length']); exit; }
echo 'never seen';
"""

WORKERS = {
    "site": {
        "config/worker.yaml": STATIC_YAML,
        "public/index.html": "<h1>page</h1>",
        "public/a.txt": "hello",
        "public/assets/app.js": "app",
        "public/assets/app.js.gz": "gzipped",
    },
    "app": {"config/worker.yaml": NAMING_YAML, "app.py": NAMING_APP, "files/a.txt": "named"},
}

HTML = "Accept: text/html\r\n"


class FilesCase(RunningCase):
    """A server with a static worker and one that names files."""

    def setUp(self) -> None:
        self.running = self.serve("public: shared\n", WORKERS)
        self.site = self.running.directory / "workers/site/public"
        self.when("the worker answers", lambda: self.running.get("/app/version").status == 200, self.running)
        # One for each front.
        self.connections = [self.running.connection() for _ in range(6)]
        for connection in self.connections:
            self.addCleanup(connection.close)

    def everywhere(self, path: str, headers: str = "") -> list[Response]:
        """What all fronts answer, over connections that are kept."""
        return [connection.ask("GET", path, headers=headers) for connection in self.connections]

    def all_say(self, path: str, status: int, body: bytes | None = None, headers: str = "") -> None:
        """Check that all fronts answer this."""
        for response in self.everywhere(path, headers):
            self.assertEqual(response.status, status, (path, response))
            if body is not None:
                self.assertEqual(response.body, body, path)


class FindTests(FilesCase):
    """What is there is served, from the moment when it is."""

    def test_appears_and_goes(self) -> None:
        """A file or folder that appears is served by the next request, and one that goes is not, in every front."""
        for number in range(30):
            name = f"new{number}.txt"
            self.all_say(f"/{name}", 404)
            (self.site / name).write_text(name)
            self.all_say(f"/{name}", 200, name.encode())
            (self.site / name).unlink()
            self.all_say(f"/{name}", 404)
        (self.site / "folder").mkdir()
        (self.site / "folder" / "x").write_text("x")
        self.all_say("/folder/x", 200, b"x")
        (self.site / "folder").rename(self.site / "other")
        self.all_say("/folder/x", 404)
        self.all_say("/other/x", 200, b"x")

    def test_folder_appears(self) -> None:
        """A public folder that nobody had is served when it is made, and not when it is removed, and again."""
        shared = self.running.directory / "shared"
        for _ in range(3):
            self.all_say("/shared.txt", 404)
            shared.mkdir()
            (shared / "shared.txt").write_text("shared")
            self.all_say("/shared.txt", 200, b"shared")
            shutil.rmtree(shared)
        new = self.running.directory / "workers/app/public"
        new.mkdir()
        (new / "b.js").write_text("b")
        self.all_say("/app/b.js", 200, b"b")
        self.assertEqual(self.running.get("/app/b.js").headers["cache-control"], "max-age=60")
        self.all_say("/app/version", 200, b"1")

    def test_link_is_turned(self) -> None:
        """A deployment turns a link: the new files are served, the old ones are not."""
        releases = self.running.directory / "releases"
        for release in ("1", "2"):
            (releases / release).mkdir(parents=True)
            (releases / release / f"only{release}.txt").write_text(release)
            (releases / release / "both.txt").write_text(release)
        shared = self.running.directory / "shared"
        shared.symlink_to("releases/1")
        self.all_say("/only1.txt", 200, b"1")
        self.all_say("/only2.txt", 404)
        (self.running.directory / "turned").symlink_to("releases/2")
        (self.running.directory / "turned").rename(shared)
        self.all_say("/only1.txt", 404)
        self.all_say("/only2.txt", 200, b"2")
        self.all_say("/both.txt", 200, b"2")

    def test_changes(self) -> None:
        """Whatever is done to a file, the next response of every front shows it."""
        path = self.site / "a.txt"
        old = self.running.directory / "old.txt"

        def settle() -> None:
            """A file has to be some time old before it is kept in memory."""
            self.when("it is old", lambda: time.time_ns() - os.lstat(path).st_ctime_ns > 100_000_000, self.running)
            for _ in range(2):
                self.everywhere("/a.txt")

        def in_place() -> None:
            status = path.stat()
            path.write_text("HELLO")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

        def over() -> None:
            old.write_text("hello")
            old.rename(path)

        def link_inside() -> None:
            path.unlink()
            path.symlink_to("assets/app.js")

        def link_outside() -> None:
            old.write_text("secret")
            path.unlink()
            path.symlink_to(old)

        def again() -> None:
            path.unlink()
            path.write_text("again")

        for step, status, body in [
            (in_place, 200, b"HELLO"),
            (over, 200, b"hello"),
            (lambda: os.truncate(path, 2), 200, b"he"),
            (link_inside, 200, b"app"),
            (link_outside, 404, None),
            (again, 200, b"again"),
            (path.unlink, 404, None),
        ]:
            settle()
            step()
            self.all_say("/a.txt", status, body)

    def test_folder_is_swapped(self) -> None:
        """Another folder in its place, or a link that leads out: the very next response is right."""
        assets = self.site / "assets"
        new = self.running.directory / "new"
        shutil.copytree(assets, new)
        (new / "app.js").write_text("new")
        for _ in range(2):
            self.all_say("/assets/app.js", 200, b"app")
        assets.rename(self.running.directory / "away")
        new.rename(assets)
        self.all_say("/assets/app.js", 200, b"new")
        shutil.rmtree(assets)
        assets.symlink_to(self.running.directory / "away")
        self.all_say("/assets/app.js", 404)


class AnswerTests(FilesCase):
    """What files are answered with."""

    def test_conditional_and_parts(self) -> None:
        """A client that has the file is told so; one that wants a part, or several, gets them."""
        first = self.running.get("/a.txt")
        self.assertEqual((first.status, first.body, first.headers["cache-control"]), (200, b"hello", "no-cache"))
        tag = first.headers["etag"]
        self.all_say("/a.txt", 304, b"", f"If-None-Match: {tag}\r\n")
        self.all_say("/a.txt", 412, b"", 'If-Match: "x"\r\n')
        self.all_say("/a.txt", 206, b"ell", f"Range: bytes=1-3\r\nIf-Range: {tag}\r\n")
        self.all_say("/a.txt", 416, b"", "Range: bytes=9-\r\n")
        big = os.urandom(300_000)
        (self.site / "big.bin").write_bytes(big)
        response = self.running.ask("GET", "/big.bin", headers="Range: bytes=0-9,1000-200000,-5\r\n")
        self.assertEqual(response.status, 206)
        mark = response.headers["content-type"].partition("boundary=")[2].encode()
        parts = response.body.split(b"--" + mark)
        self.assertEqual(
            [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:-1]],
            [big[:10], big[1000:200_001], big[-5:]],
        )

    def test_settings(self) -> None:
        """Cache-Control, compressed siblings, index and methods are as configured."""
        response = self.running.ask("GET", "/assets/app.js", headers="Accept-Encoding: gzip\r\n")
        self.assertEqual((response.body, response.headers["content-encoding"]), (b"gzipped", "gzip"))
        self.assertEqual(response.headers["cache-control"], "public, max-age=31536000, immutable")
        (self.site / "old").mkdir()
        (self.site / "old" / "index.htm").write_text("old")
        self.all_say("/old/", 200, b"old")
        response = self.running.ask("POST", "/a.txt", b"x")
        self.assertEqual((response.status, response.headers["allow"]), (405, "GET, HEAD"))

    def test_fallback(self) -> None:
        """A person gets the page at any address, a program is told that there is nothing."""
        self.all_say("/users/17", 200, b"<h1>page</h1>", HTML)
        self.all_say("/users/17", 404)
        self.all_say("/a.txt", 200, b"hello", HTML)
        self.all_say("/app/version", 200, b"1", HTML)

    def test_settings_change(self) -> None:
        """A change of the configuration is applied while the server runs."""
        self.running.edit("workers/site/config/worker.yaml", "immutable", "must-revalidate")
        self.when(
            "it is applied",
            lambda: all(
                "must-revalidate" in response.headers["cache-control"] for response in self.everywhere("/assets/app.js")
            ),
            self.running,
        )


class NamedTests(FilesCase):
    """Files that workers name."""

    def test_named(self) -> None:
        """A file is sent in the place of the worker's answer, with what the worker says of it, whole or in part."""
        response = self.running.get("/app/accel/a.txt")
        self.assertEqual((response.status, response.body), (200, b"named"))
        self.assertEqual(response.headers["content-type"], "application/x-mine")
        self.assertEqual(response.headers["set-cookie"], "seen=yes")
        self.assertNotIn("x-accel-redirect", response.headers)
        self.assertEqual(self.running.get("/app/sendfile/a.txt").body, b"named")
        response = self.running.ask("GET", "/app/accel/a.txt", headers="Range: bytes=1-2\r\n")
        self.assertEqual((response.status, response.body), (206, b"am"))
        self.assertEqual(self.running.get("/app/accel/missing.txt").status, 404)

    def test_tricks(self) -> None:
        """What a worker may not name is a fault of the worker, which the log explains and the client does not hear."""
        for path in ("/app/accel/../app.py", "/app/sendfile/../app.py", "/app/accel/.env"):
            response = self.running.get(path)
            self.assertEqual(response.status, 502, path)
            self.assertNotIn(b"import", response.body)
        self.when("it is logged", lambda: "may not have this file sent" in self.running.output(), self.running)

    def test_large(self) -> None:
        """A large file that a worker names arrives whole."""
        data = os.urandom(5 * MIB)
        (self.running.directory / "workers/app/files/big.bin").write_bytes(data)
        self.assertEqual(self.running.get("/app/accel/big.bin").body, data)


class PHPTests(RunningCase):
    """PHP names a file."""

    def test_named(self) -> None:
        """X-Accel-Redirect works over FastCGI as well."""
        needs("php")
        workers = {
            "php": {"config/worker.yaml": PHP_YAML, "public/index.php": PHP_SOURCE, "files/a.txt": "named by php"}
        }
        running = self.serve("", workers)
        self.when("PHP answers", lambda: running.get("/php/?name=a.txt").status == 200, running)
        response = running.get("/php/?name=a.txt")
        self.assertEqual((response.body, response.headers["content-type"]), (b"named by php", "application/x-php-says"))
        response = running.get("/php/?name=a.txt&length=12")
        self.assertEqual((response.status, response.body), (200, b"named by php"), "its length is told, nothing sent")
        self.assertEqual(running.get("/php/?name=missing").status, 404)
        self.assertEqual(running.get("/php/?name=../public/index.php").status, 502)


class LargeTests(RunningCase):
    """Large files and slow clients."""

    def setUp(self) -> None:
        workers = {"site": {"config/worker.yaml": "path: /\ntype: static\n", "public/a.txt": "small"}}
        self.running = self.serve("write_timeout_seconds: 1\n", workers)
        self.data = os.urandom(MIB) * 10
        self.file = self.running.directory / "workers/site/public/big.bin"
        self.file.write_bytes(self.data)
        self.front_bytes_max = 0

    def request(self, stream: Stream) -> None:
        """Ask for the large file."""
        stream.request("GET", "/big.bin")
        self.assertEqual(stream.head()[1]["content-length"], str(len(self.data)))

    def open_files(self) -> list[str]:
        """The large files that fronts have open."""
        found = []
        for pid in self.running.fronts():
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    target = os.readlink(f"/proc/{pid}/fd/{fd}")
                except OSError:
                    continue
                if target.startswith(str(self.file)):
                    found.append(target)
        return found

    def test_many_at_once(self) -> None:
        """Several clients, each with a kept connection, get it whole again and again."""
        checksum = zlib.crc32(self.data)
        trouble: list[object] = []

        def download() -> None:
            connection = self.running.connection()
            try:
                for _ in range(5):
                    response = connection.ask("GET", "/big.bin")
                    if zlib.crc32(response.body) != checksum:
                        trouble.append(len(response.body))
                if connection.opened != 1:
                    trouble.append("not kept")
            except Lost as lost:
                trouble.append(lost)
            finally:
                connection.close()

        threads = [threading.Thread(target=download) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(trouble, [])
        self.assertEqual(self.open_files(), [])

    def test_slow_clients(self) -> None:
        """Clients that read little hold neither the fronts' memory nor other clients, and get it whole in the end."""
        with_stream = [Stream(self.running, receive_buffer_bytes=4096) for _ in range(40)]
        try:
            for stream in with_stream:
                stream.request("GET", "/a.txt")
                self.assertEqual(stream.body(stream.head()[1]), b"small")
            before = sum(memory_bytes(pid)[0] for pid in self.running.fronts())
            for stream in with_stream:
                self.request(stream)
            for _ in range(20):
                for stream in with_stream:
                    stream.some()
            began = time.monotonic()
            self.assertEqual(self.running.get("/a.txt").body, b"small")
            self.assertLess(time.monotonic() - began, 1.0)
            now = sum(memory_bytes(pid)[0] for pid in self.running.fronts())
            self.assertLess(now - before, 10 * MIB)
            self.assertEqual(len(self.open_files()), len(with_stream))
        finally:
            for stream in with_stream:
                stream.close()
        self.when("the files are closed", lambda: not self.open_files(), self.running)

    def test_stuck_client(self) -> None:
        """A client that does not read at all is cut after a while; one that reads a little is not."""
        with (
            Stream(self.running, receive_buffer_bytes=4096) as stuck,
            Stream(self.running, receive_buffer_bytes=4096) as slow,
        ):
            self.request(stuck)
            self.request(slow)
            self.when("one is left", lambda: bool(slow.some()) and len(self.open_files()) == 1, self.running)
            with self.assertRaises((Lost, OSError)):
                stuck.exactly(len(self.data))
            self.assertTrue(slow.some())

    def test_shrinks(self) -> None:
        """When the file becomes shorter meanwhile, the client can tell."""
        with Stream(self.running, receive_buffer_bytes=4096) as stream:
            self.request(stream)
            os.truncate(self.file, 5 * MIB)
            with self.assertRaises((Lost, OSError)):
                stream.exactly(len(self.data))

    def test_pipelined(self) -> None:
        """What is asked for behind a large file comes after it."""
        with Stream(self.running) as stream:
            stream.send(
                b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n"
                b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n"
                b"GET /big.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=7-7000000\r\n\r\n"
                b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            for body in (self.data, b"small", self.data[7:7_000_001], b"small"):
                _, fields = stream.head()
                self.assertEqual(stream.body(fields), body)


class UNIXTests(RunningCase):
    """The same over a UNIX socket."""

    def test_large(self) -> None:
        """A large file arrives whole."""
        running = Running("", {"site": {"config/worker.yaml": "path: /\ntype: static\n"}})
        self.addCleanup(running.end)
        running.edit("etc/server.yaml", f"  host: 127.0.0.1\n  port: {running.port}\n", "  listen: [{unix: var/s}]\n")
        data = os.urandom(4 * MIB)
        path = running.directory / "workers/site/public/big.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        running.start()
        connection = Connection(str(Path(running.directory / "var/s")), timeout_s=20)
        self.addCleanup(connection.close)
        self.when("it serves", lambda: connection.ask("GET", "/big.bin").status == 200, running)
        self.assertEqual(connection.ask("GET", "/big.bin").body, data)
