"""The dashboard in a browser."""

from __future__ import annotations

import os
from http.client import HTTPConnection

from .browser import BrowserCase
from .running import APP, LIMIT_S, WORKER_YAML, Running

STATE = "document.querySelector('article [data-is=state]').textContent"


class DashboardTests(BrowserCase):
    """A worker, its server, and a person who looks at it."""

    def test_steered(self) -> None:
        """
        The page shows the worker; Restart replaces its process while the page is told, a line that it prints arrives in
        the log, a mistake in it is shown with its output, and Stop and Start do what they say.
        """
        browser = self.browse()
        running = self.serve()
        self.when("the worker serves", lambda: running.get("/").status == 200, running)
        page = browser.open(f"http://localhost:{running.port}/_tq/")
        page.wait(f"{STATE} === 'healthy'")
        page.wait("document.getElementById('link').textContent === 'live'")
        before = running.get("/pid").body

        page.evaluate("window.untouched = true")
        page.click("button[data-command=restart]")
        page.wait("document.getElementById('said').textContent.includes('app is healthy')")
        self.assertNotEqual(running.get("/pid").body, before)

        running.get("/say/3")
        page.wait("document.getElementById('records').textContent.includes('word word word')")

        page.click("button[data-command=stop]")
        page.wait(f"{STATE} === 'stopped'")
        self.assertEqual(running.get("/").status, 503)
        page.click("button[data-command=start]")
        page.wait(f"{STATE} === 'healthy'")

        running.write("workers/app/config/worker.yaml", "path: /\ntype: nonsense\n")
        page.wait("document.querySelector('article [data-is=reason]').textContent.includes('type')")
        running.write("workers/app/config/worker.yaml", WORKER_YAML)
        page.wait("document.querySelector('article [data-is=reason]').textContent === ''")
        self.assertIs(page.evaluate("window.untouched"), True)

        folder = os.environ.get("TQSERVER_SCREENSHOTS")
        for width, height, phone in ((1280, 800, False), (390, 844, True)):
            page.viewport(width, height, phone=phone)
            self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)
            for dark in (False, True):
                page.dark(dark)
                if folder:
                    page.screenshot(f"{folder}/dashboard-{width}-{'dark' if dark else 'light'}.png")

    def test_open_page_holds_no_stop(self) -> None:
        """The server stops at once though a dashboard is open."""
        browser = self.browse()
        running = self.serve()
        self.when("the worker serves", lambda: running.get("/").status == 200, running)
        page = browser.open(f"http://localhost:{running.port}/_tq/")
        page.wait("document.getElementById('link').textContent === 'live'")
        assert running.process is not None
        running.signal("TERM")
        self.assertEqual(running.process.wait(LIMIT_S / 2), 0, running.output()[-2000:])

    def test_refused(self) -> None:
        """Whoever gives it another name, or comes from elsewhere, is refused; in production there is none."""
        running = self.serve(workers={"app": {"config/worker.yaml": WORKER_YAML, "app.py": APP}})
        self.when("the worker serves", lambda: running.get("/").status == 200, running)
        client = HTTPConnection("127.0.0.1", running.port, timeout=LIMIT_S)
        self.addCleanup(client.close)
        client.request("GET", "/_tq/", headers={"Host": "evil.example"})
        self.assertEqual(client.getresponse().status, 403)
        self.assertEqual(running.ask("POST", "/_tq/api/workers/app/stop", b"").status, 403)
        self.assertEqual(running.get("/").status, 200)
        production = Running()
        self.addCleanup(production.end)
        production.start("--mode", "production")
        self.when("the worker serves", lambda: production.get("/").status == 200, production)
        self.assertEqual(production.get("/_tq/").body, production.get("/").body)
