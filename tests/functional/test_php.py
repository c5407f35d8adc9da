"""A PHP worker behind a real server: its pool is replaced and mended without loss, its sources are nobody's to read."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from bench.project import alive
from bench.wire import Lost
from tests.functional.running import APP, Running, RunningCase
from tests.functional.streams import Stream, needs
from tests.functional.test_lifecycle import Clients

YAML = """
path: /blog
type: php
php:
  settings: {memory_limit: 64M}
  pool: {manager: static, max_workers: 4}
"""

INDEX = """<?php // SOURCE
if ($_SERVER['REQUEST_METHOD'] === 'POST') { echo file_get_contents('php://input'); return; }
echo 'front ', $_SERVER['REQUEST_URI'];
"""

PAGES = {
    "config/worker.yaml": YAML,
    "public/index.php": INDEX,
    "public/limit.php": "<?php echo ini_get('memory_limit');",
    "public/pid.php": "<?php echo getmypid(), ' ', posix_getppid();",
    "public/page.php": "<?php echo 'one';",
    "public/slow.php": "<?php file_put_contents($_GET['tell'], 'x'); usleep(1500000);"
    " echo ini_get('memory_limit'), ' ', posix_getppid();",
    "public/nap.php": "<?php usleep(100000); echo getmypid();",
    "public/cache.php": "<?php echo json_encode(function_exists('opcache_get_status')"
    " ? opcache_get_status(false)['opcache_enabled'] : null);",
    "public/complain.php": "<?php error_log('a complaint of ' . $_SERVER['HTTP_X_REQUEST_ID']);"
    " echo $_SERVER['HTTP_X_REQUEST_ID'];",
    "public/info.php": "<?php // SOURCE\necho 'info ', $_SERVER['PATH_INFO'] ?? '';",
    "public/style.css": "body {}",
    "public/old.php.bak": "<?php // SOURCE",
    "public/old.php~": "<?php // SOURCE",
    "public/old.phtml": "<?php // SOURCE",
    "public/.hidden.php": "<?php // SOURCE\necho 'SECRET';",
    "public/.env": "SECRET",
    "secret.php": "<?php // SOURCE\necho 'SECRET';",
    "secret.txt": "SECRET",
}


class PHPCase(RunningCase):
    """A server with one PHP worker."""

    def blog(self, yaml: str = YAML, server: str = "") -> Running:
        """Start it and wait until PHP answers."""
        needs("php")
        running = self.serve(server, {"blog": {**PAGES, "config/worker.yaml": yaml}})
        self.when("PHP answers", lambda: running.get("/blog/page.php").body == b"one", running)
        return running

    def master(self, running: Running) -> int:
        """The process id of the php-fpm that answers now."""
        return int(running.get("/blog/pid.php").body.split()[1])

    def socket(self, running: Running) -> object:
        """Where the only instance listens."""
        (instance,) = running.instances("blog")
        return instance["socket"]


class PoolTests(PHPCase):
    """The pool and its life."""

    def test_settings_change(self) -> None:
        """
        A changed setting gets a second php-fpm on another socket, under load and without a loss; the first one
        finishes what it has begun and then ends by itself.
        """
        running = self.blog()
        master, socket = self.master(running), self.socket(running)
        clients = Clients(running, count=2, path="/blog/limit.php", post_path="/blog/echo")
        self.addCleanup(clients.end)
        told = running.directory / "told"
        slow: list[bytes] = []
        thread = threading.Thread(target=lambda: slow.append(running.get(f"/blog/slow.php?tell={told}").body))
        thread.start()
        self.when("the slow request has begun", told.exists, running)
        running.edit("workers/blog/config/worker.yaml", "64M", "96M")
        self.when("the new setting holds", lambda: running.get("/blog/limit.php").body == b"96M", running)
        self.assertEqual(slow, [], "the old one is still at it")
        self.assertTrue(alive(master))
        thread.join()
        self.assertEqual(slow, [b"64M %d" % master])
        self.gone([master], running, 5.0)
        clients.end()
        self.assertEqual(clients.lost, [])
        self.assertEqual(set(clients.statuses), {"200 b'64M'", "200 b'96M'"})
        self.assertNotEqual(self.socket(running), socket)
        self.assertNotEqual(self.master(running), master)
        self.assertFalse(os.path.exists(str(socket)))

    def test_saved_page(self) -> None:
        """A saved page is seen by the next request, and no process is replaced for it; with opcache, too."""
        running = self.blog()
        master = self.master(running)
        self.assertIn(running.get("/blog/cache.php").body, (b"true", b"null"))
        for number in range(5):
            page = running.directory / "workers/blog/public/page.php"
            if number % 2:
                page.write_text(f"<?php echo '{number}';")
            else:
                beside = page.with_suffix(".new")
                beside.write_text(f"<?php echo '{number}';")
                beside.rename(page)
            self.assertEqual(running.get("/blog/page.php").body, b"%d" % number)
        running.write("workers/later/app.py", APP)
        running.write("workers/later/config/worker.yaml", "path: /later\n")
        self.when("later news came", lambda: running.get("/later/version").status == 200, running)
        self.assertEqual(self.master(running), master)
        blog = running.worker("blog")
        self.assertEqual((blog["state"], blog["generation"]), ("healthy", 1))

    def test_production(self) -> None:
        """In production a page is read once; HUP after a change gets a second php-fpm, and loses nothing."""
        needs("php")
        running = Running(workers={"blog": PAGES})
        self.addCleanup(running.end)
        running.edit("etc/server.yaml", "server:", "mode: production\nserver:")
        running.start()
        self.when("PHP answers", lambda: running.get("/blog/page.php").body == b"one", running)
        master = self.master(running)
        running.signal("HUP")
        clients = Clients(running, path="/blog/limit.php", post_path="/blog/")
        running.write("workers/blog/public/page.php", "<?php echo 'two';")
        running.signal("HUP")
        self.when("another php-fpm answers", lambda: self.master(running) != master, running)
        self.assertEqual(running.get("/blog/page.php").body, b"two")
        clients.end()
        self.assertEqual(clients.lost, [])

    def test_more_requests_than_children(self) -> None:
        """Ten requests at once to a pool of two children: all are served, by those two."""
        running = self.blog(YAML.replace("max_workers: 4", "max_workers: 2"))
        answers: list[tuple[int, bytes]] = []

        def ask() -> None:
            response = running.get("/blog/nap.php")
            answers.append((response.status, response.body))

        threads = [threading.Thread(target=ask) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([status for status, _ in answers], [200] * 10)
        self.assertLessEqual(len({body for _, body in answers}), 2)

    def test_killed_master(self) -> None:
        """When php-fpm is killed its children go with it, it is started again, and requests wait for that."""
        running = self.blog()
        master = self.master(running)
        pids = running.processes()
        os.kill(master, signal.SIGKILL)
        statuses: set[int] = set()

        def another_answers() -> bool:
            # A child of the killed one may have lived long enough to answer once more.
            response = running.get("/blog/pid.php")
            statuses.add(response.status)
            return response.status == 200 and int(response.body.split()[1]) != master

        self.when("another php-fpm answers", another_answers, running)
        self.assertEqual(statuses, {200})
        fpm = [pid for pid in pids if pid not in (running.pid, *running.fronts())]
        self.assertGreater(len(fpm), 4)
        self.gone(fpm, running, 5.0)

    def test_complaints(self) -> None:
        """What PHP writes to its error log is in the worker's log, with the id of the request."""
        running = self.blog()
        request_id = running.get("/blog/complain.php").body.decode()
        self.assertTrue(request_id)

        def lines() -> list[str]:
            (log,) = Path(running.directory / "logs").glob("worker_blog_*.log")
            said = [line for line in log.read_text().splitlines() if "a complaint of" in line]
            # php-fpm says it a second time on its own standard error, where the id is only in the text.
            return [line for line in said if line.count(request_id) == 2]

        self.when("it is logged with the id", lines, running)
        self.assertEqual(len(lines()), 1)


OUTSIDE = (
    "/blog/../secret.php",
    "/blog/%2e%2e/secret.php",
    "/blog/%2E%2e/secret.txt",
    "/blog/.%2e/secret.php",
    "/blog/..%2fsecret.php",
    "/blog/..%2Fsecret.txt",
    "/blog/%2e%2e%2fsecret.php",
    "/blog/%252e%252e/secret.php",
    "/blog/..%5csecret.php",
    "/blog/..\\secret.php",
    "/blog/x/../../secret.php",
    "/blog/info.php/../../secret.php",
    "/blog/info.php/%2e%2e/%2e%2e/secret.php",
    "/blog/info.php/..%2f..%2fsecret.php",
    "/blog/link.php",
    "/blog/link.txt",
    "/blog/LINK.PHP",
    "/blog/out/secret.php",
    "/blog/out/secret.txt",
    "/blog/out/config/worker.yaml",
    "/blog/%6fut/secret.php",
    "/blog//secret.php",
    "//blog/../secret.php",
    "/../secret.php",
    "/%2e%2e/workers/blog/secret.php",
    "/workers/blog/secret.php",
    "/blog/secret.php%00.css",
    "/blog/index.php%00.css",
    "/blog/info.php%00",
    "/blog/style.css/info.php",
    "/blog/info.php%20",
    "/blog/info.php.",
    "/blog/info.php%0a",
    "/blog/info%2ephp",
    "/blog/%69nfo.php",
    "/blog/INFO.PHP",
    "/blog/info.PHP",
    "/blog/info.php/",
    "/blog/info.php/style.css",
    "/blog/info.php;.css",
    "/blog/info.php?.css",
    "/blog/.hidden.php",
    "/blog/%2ehidden.php",
    "/blog/.env",
    "/blog/old.php.bak",
    "/blog/old.php~",
    "/blog/old.phtml",
    "/blog/index.php",
    "/index.php",
    "/info.php",
    "/top.php",
    "/blog/top.php",
    "/blog/config/worker.yaml",
    "/blog/../config/worker.yaml",
)
"""Ways to ask for what is not to be had, and for scripts whose source is not to be had."""


class JailTests(PHPCase):
    """Only what lies in the document root runs, and no source is ever sent."""

    def test_jail(self) -> None:
        """However it is asked for, no script outside public/ runs and no source is shown."""
        running = self.blog()
        blog = running.directory / "workers/blog"
        (blog / "public/link.php").symlink_to("../secret.php")
        (blog / "public/link.txt").symlink_to("../secret.txt")
        (blog / "public/out").symlink_to("..")
        running.write("public/top.php", "<?php // SOURCE\necho 'SECRET';")
        running.write("public/blog/info.php", "<?php // SOURCE\necho 'SECRET';")
        for method in ("GET", "HEAD", "POST"):
            for path in OUTSIDE:
                framing = "Content-Length: 0\r\n" if method == "POST" else ""
                with Stream(running) as stream:
                    stream.request(method, path, framing + "Connection: close\r\n")
                    status, fields = stream.head()
                    body = b"" if method == "HEAD" else stream.body(fields)
                self.assertIn(status, (200, 301, 308, 400, 404, 405), f"{method} {path}")
                for word in (b"SECRET", b"SOURCE", b"<?php", b"type: php"):
                    self.assertNotIn(word, body, f"{method} {path}")
        self.assertEqual(running.get("/blog/info.php/x").body, b"info /x")
        self.assertEqual(running.get("/blog/style.css").body, b"body {}")
        for request in (b"GET /blog/info.php\0 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"):
            with Stream(running) as stream:
                stream.send(request)
                self.assertEqual(stream.head()[0], 400, "a NUL")

    def test_rooted(self) -> None:
        """A PHP worker at / has its sources safe, too, and strange paths go to its front controller."""
        running = self.blog(YAML.replace("path: /blog", "routes: [{path: /}, {path: /blog}]"))
        for path in ("/index.php", "/info.php", "/old.phtml", "/old.php~", "/.env", "/%2e%2e/secret.php", "/link"):
            try:
                response = running.get(path)
            except Lost as lost:
                self.fail(f"{path}: {lost}")
            for word in (b"SECRET", b"SOURCE"):
                self.assertNotIn(word, response.body, path)
        self.assertEqual(running.get("/some/page?q").body, b"front /some/page?q")
