"""The dashboard as the server sends it."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.supervisor.world import World, worker_config
from tqserver.admin.dashboard import dashboard_site, facts

from .desk import Desk

LOCAL = {"Host": "localhost:8080", "X-Forwarded-For": "127.0.0.1"}


class DashboardTests(SynchronousTestCase):
    """One worker, and the page."""

    def setUp(self) -> None:
        self.world = World(worker_config())
        self.world.up()
        self.desk = Desk(self.world)
        self.site = dashboard_site(self.desk.control, self.desk.api)

    def ask(self, method: str, path: str, **headers: str) -> tuple[bytes, bytes]:
        """Head and body of an answer."""
        told = {**LOCAL, "Connection": "close", **{name.replace("_", "-"): text for name, text in headers.items()}}
        wire = StringTransport()
        channel = self.site.buildProtocol(None)
        channel.makeConnection(wire)
        lines = "".join(f"{name}: {text}\r\n" for name, text in told.items())
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
        head, _, body = wire.value().partition(b"\r\n\r\n")
        return head, body

    def test_page(self) -> None:
        """The page is whole without its script, and nothing in it can run but that."""
        head, body = self.ask("GET", "/")
        self.assertTrue(head.startswith(b"HTTP/1.1 200 "))
        self.assertIn(b"script-src 'self'", head)
        self.assertIn(b"frame-ancestors 'none'", head)
        for text in (b'data-worker="api"', b"healthy", b"1 of 1 instances", b'aria-label="Restart api"'):
            self.assertIn(text, body)
        for name in ("dashboard.js", "dashboard.css"):
            self.assertTrue(self.ask("GET", f"/assets/{name}")[0].startswith(b"HTTP/1.1 200 "))

    def test_hostile_words(self) -> None:
        """What a compiler or a worker prints cannot become markup."""
        status = self.world.supervisor.status()
        build = evolve(status.workers[0].build, state="failed", output=("<script>alert(1)</script>", "</pre>"))
        worker = evolve(status.workers[0], name='"><b>', reason="<img src=x>", remedy="$mode ${version}", build=build)
        markup = facts(evolve(status, workers=(worker,)))["workers"]
        for text in ("<script>alert", "</pre>\n</pre>", "<img", '""><b>'):
            self.assertNotIn(text, markup)
        self.assertIn("$mode ${version}", markup)

    def test_refused(self) -> None:
        """Whom the gate refuses gets neither page, nor script, nor API, and no command is obeyed."""
        before = self.world.supervisor.status().workers[0].generation
        for method, path, headers in (
            ("GET", "/", {"Host": "evil.example"}),
            ("GET", "/", {"X_Forwarded_For": "192.0.2.1"}),
            ("GET", "/assets/dashboard.js", {"Host": "evil.example"}),
            ("GET", "/api/status", {"Host": "evil.example"}),
            ("GET", "/api/status", {"Sec_Fetch_Site": "cross-site"}),
            ("POST", "/api/workers/api/restart", {}),
            ("POST", "/api/workers/api/restart", {"X_TQ": "1", "Origin": "http://evil.example"}),
        ):
            with self.subTest(method=method, path=path, headers=headers):
                self.assertTrue(self.ask(method, path, **headers)[0].startswith(b"HTTP/1.1 403 "))
        self.world.settle()
        self.assertEqual(self.world.supervisor.status().workers[0].generation, before)

    def test_steered(self) -> None:
        """Our own page's commands are obeyed."""
        head, _ = self.ask("POST", "/api/workers/api/restart", X_TQ="1", Content_Length="0")
        self.assertTrue(head.startswith(b"HTTP/1.1 202 "), head)

    def test_nothing_else(self) -> None:
        """Other paths are 404."""
        for path in ("/other", "/assets/", "/assets/..%2Fapi.py", "/api/other"):
            self.assertIn(self.ask("GET", path)[0][:12], (b"HTTP/1.1 404",), path)
