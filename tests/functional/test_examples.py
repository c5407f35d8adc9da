"""The example workers do what they show, behind a real server."""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from urllib.parse import quote

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.project import Project, missing_tools, number, worker_instances
from bench.wire import Connection, Response
from tests.functional.running import LIMIT_S

POST = "/blog/posts/saving-is-enough"
BOUNDARY = "----example"


def png() -> bytes:
    """A red square of eight pixels a side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\xc0\x20\x20" * 8) * 8)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def form(fields: dict[str, str], picture: bytes = b"") -> bytes:
    """A form as browsers send it."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if picture:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="x.php"\r\n\r\n'
        parts.append(head.encode() + picture + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


class ExampleTests(SynchronousTestCase):
    """
    A server with one of the examples, for each test.

    @cvar kind: of L{bench.project.KINDS}; empty in this class, which has no tests of its own.
    @cvar others: workers that are there besides.
    """

    kind = ""
    others: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start the server and connect."""
        missing = missing_tools((self.kind,))
        if missing and not os.environ.get("CI"):
            raise SkipTest(f"needs {missing[self.kind]}")
        said: list[str] = []
        self.project = project = Project((self.kind,), fronts=1, say=said.append, others=self.others)
        project.__enter__()
        self.addCleanup(project.__exit__, None, None, None)
        self.connection = Connection(("127.0.0.1", project.port), timeout_s=20)
        self.addCleanup(self.connection.close)

    def get(self, path: str, headers: str = "") -> Response:
        """GET something."""
        return self.connection.ask("GET", path, headers=headers)

    def send_json(self, method: str, path: str, value: object, media_type: str = "application/json") -> Response:
        """Send something in JSON."""
        return self.connection.ask(method, path, json.dumps(value).encode(), f"Content-Type: {media_type}\r\n")


class IndexTests(ExampleTests):
    """Go: a page, and streaming."""

    kind = "go"

    def test_index_page(self) -> None:
        """The start page shows what its process was told, and its style sheet comes from public/."""
        page = self.get("/")
        self.assertEqual((page.status, page.headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertRegex(page.body.decode(), r"<code>WORKER_NAME</code></td><td><code>index</code>")
        self.assertRegex(page.body.decode(), r"<dt>Mode</dt><dd>development</dd>")
        self.assertTrue(self.get("/style.css").headers["content-type"].startswith("text/css"))

    def test_index_streams(self) -> None:
        """Bodies of any size go in and out, with a length and in chunks."""
        body = os.urandom(1_000_000)
        for headers in ("", "Transfer-Encoding: chunked\r\n"):
            self.assertEqual(self.connection.ask("POST", "/echo", body, headers).body, body)
            self.assertEqual(self.connection.ask("POST", "/echo-length", body, headers).body, b"1000000\n")
        self.assertEqual(len(self.get("/download?bytes=3000001").body), 3_000_001)
        self.assertEqual(self.get("/download?bytes=-1").status, 400)


class APITests(ExampleTests):
    """TypeScript: a JSON API."""

    kind = "bun"

    def test_api_items(self) -> None:
        """An item is made, listed, read, replaced and deleted; links have the prefix."""
        made = self.send_json("POST", "/api/items", {"name": " apple ", "quantity": 3})
        self.assertEqual(made.status, 201)
        item = json.loads(made.body)
        path = made.headers["location"]
        self.assertEqual((item["name"], path), ("apple", f"/api/items/{item['id']}"))
        self.assertEqual(json.loads(self.get(path).body), item)
        listed = json.loads(self.get(f"/api/items?limit=1&after={item['id'] - 1}").body)
        self.assertEqual(listed, {"items": [item]})
        put = self.send_json("PUT", path, {"name": "pear"})
        self.assertEqual((put.status, json.loads(put.body)["quantity"]), (200, 0))
        self.assertEqual(self.connection.ask("DELETE", path).status, 204)
        self.assertEqual(self.get(path).status, 404)

    def test_api_mistakes(self) -> None:
        """Every mistake is a problem with its own status; all mistakes of an item are named at once."""
        answers = {
            400: self.connection.ask("POST", "/api/items", b"{", "Content-Type: application/json\r\n"),
            404: self.get("/api/nothing"),
            405: self.connection.ask("PATCH", "/api/items", b"{}"),
            415: self.send_json("POST", "/api/items", {"name": "x"}, "text/plain"),
            422: self.send_json("POST", "/api/items", {"name": "", "quantity": -1, "colour": "red"}),
        }
        for status, answer in answers.items():
            self.assertEqual((answer.status, answer.headers["content-type"]), (status, "application/problem+json"))
        self.assertEqual(answers[405].headers["allow"], "GET, HEAD, POST")
        fields = {error["field"] for error in json.loads(answers[422].body)["errors"]}
        self.assertEqual(fields, {"name", "quantity", "colour"})


class BlogForm:
    """Somebody who comments."""

    connection: Connection

    def comment(self, fields: dict[str, str], picture: bytes = b"") -> Response:
        """Load a post, fill in its form and send it."""
        page = self.connection.ask("GET", POST)
        cookie = page.headers["set-cookie"].partition(";")[0]
        token = re.search(r'name="token" value="([0-9a-f]{32})"', page.body.decode())
        assert token is not None
        headers = f"Cookie: {cookie}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        return self.connection.ask("POST", f"{POST}/comments", form({"token": token[1], **fields}, picture), headers)


class BlogTests(BlogForm, ExampleTests):
    """PHP: pages, a form, a cookie, an upload."""

    kind = "php"

    def test_blog_pages(self) -> None:
        """Links have the prefix; what is not there is 404, and what cannot be done 405."""
        self.assertIn(f'<a href="{POST}">', self.get("/blog/").body.decode())
        self.assertEqual(self.get("/blog/nothing").status, 404)
        refused = self.connection.ask("PUT", "/blog/", b"")
        self.assertEqual((refused.status, refused.headers["allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.get("/blog/bench.php").body, b"hello world")
        self.assertEqual(self.get("/blog/health").body, b"ok\n")

    def test_blog_comment(self) -> None:
        """
        A comment is taken, the browser is sent to it, its author is remembered, and nothing in it is HTML. There is no
        queue here, which the page says, and that is all that it means.
        """
        name = '<b>Ann & "Co"</b>'
        sent = self.comment({"author": name, "text": "<script>one</script>\r\ntwo"})
        self.assertEqual(sent.status, 303)
        self.assertRegex(sent.headers["location"], rf"^{POST}\?told=no#comment-[0-9a-f]{{16}}$")
        self.assertIn("HttpOnly; SameSite=Lax", sent.headers["set-cookie"])
        self.assertTrue(sent.headers["set-cookie"].startswith(f"blog_name={quote(name, safe='')};"))
        after = sent.headers["location"].partition("#")[0]
        page = self.get(after, f"Cookie: {sent.headers['set-cookie'].partition(';')[0]}\r\n").body.decode()
        self.assertIn("The queue did not answer", page)
        self.assertIn("&lt;script&gt;one&lt;/script&gt;<br />\ntwo", page)
        self.assertIn('value="&lt;b&gt;Ann &amp; &quot;Co&quot;&lt;/b&gt;"', page)
        self.assertNotIn("<script>", page)

    def test_blog_picture(self) -> None:
        """A picture comes back as it was sent, whatever its name was; what is no picture is refused."""
        sent = self.comment({"author": "Bob", "text": "look"}, png())
        self.assertEqual(sent.status, 303, sent.body)
        path = "/blog/pictures/" + sent.headers["location"].partition("#comment-")[2] + ".png"
        self.assertIn(path, self.get(POST).body.decode())
        picture = self.get(path)
        self.assertEqual((picture.headers["content-type"], picture.body), ("image/png", png()))
        self.assertEqual(self.comment({"author": "Bob", "text": "look"}, b"<?php echo 1;").status, 415)
        self.assertEqual(self.comment({"author": "Bob", "text": "look"}, bytes(6_000_000)).status, 413)

    def test_blog_refusals(self) -> None:
        """A form without its token is refused; one that is not filled in comes back with what was written."""
        headers = "Content-Type: application/x-www-form-urlencoded\r\n"
        forged = self.connection.ask("POST", f"{POST}/comments", b"author=a&text=b", headers)
        self.assertEqual(forged.status, 403)
        empty = self.comment({"author": "", "text": "keep me"})
        self.assertEqual(empty.status, 422)
        self.assertIn("keep me</textarea>", empty.body.decode())


class JobTests(BlogForm, ExampleTests):
    """A comment becomes a job, and the job a letter."""

    kind = "php"
    others = ("queue", "mailer")

    def when_mailed(self, text: str) -> str:
        """Wait until there is a letter, and return the outbox."""
        self.project.when(f"there is a letter with {text!r}", lambda: text in self.outbox(), LIMIT_S)
        return self.outbox()

    def outbox(self) -> str:
        """What was sent so far."""
        answer = self.get("/mailer/")
        return answer.body.decode() if answer.status == 200 else ""

    def mailer(self, task: str, job: bytes) -> int:
        """Bring a job to the mailer itself, as a front does that it comes from the queue."""
        workers = {str(worker["name"]): worker for worker in self.project.status_workers()}
        (instance,) = worker_instances(workers["mailer"])
        connection = Connection(("127.0.0.1", number(instance["port"])), timeout_s=20)
        self.addCleanup(connection.close)
        return connection.ask("POST", "/jobs", job, f"X-Task-Id: {task}\r\n").status

    def test_comment_is_mailed(self) -> None:
        """Who comments is told that a mail goes out, and it does, whatever was written."""
        self.project.when("the queue answers", lambda: self.get("/queue/tqs/queues").status == 200, LIMIT_S)
        sent = self.comment({"author": "Ann\u00e9", "text": "first line\nBcc: everybody"})
        self.assertIn("?told=yes#comment-", sent.headers["location"])
        page = self.get(sent.headers["location"].partition("#")[0]).body.decode()
        self.assertIn("the job is in the queue", page)
        self.assertIn("Subject: A comment on Saving is enough", self.when_mailed("Bcc: everybody"))
        statistics = json.loads(self.get("/queue/tqs/statistics").body)
        self.assertEqual(set(statistics), {"emails"})

    def test_client_is_no_queue(self) -> None:
        """A client from outside cannot give the mailer a job, even if it says that it is the queue."""
        self.when_mailed("0 sent")
        job = json.dumps({"to": "a@example.org", "subject": "b", "text": "c"}).encode()
        answer = self.connection.ask("POST", "/mailer/jobs", job, "X-Task-Id: 1\r\n")
        self.assertEqual(answer.status, 400, answer.body)

    def test_job_twice(self) -> None:
        """A job that comes again is answered as before, and one letter is enough."""
        self.when_mailed("0 sent")
        job = json.dumps({"to": "a@example.org", "subject": "b", "text": "only once"}).encode()
        self.assertEqual([self.mailer("7", job), self.mailer("7", job)], [200, 200])
        self.assertIn("1 sent", self.outbox())

    def test_job_is_no_mail(self) -> None:
        """What can never be sent has failed for good, and is not tried again."""
        self.when_mailed("0 sent")
        forged = {"to": "a@example.org", "subject": "b\nBcc: c@example.org", "text": "d"}
        for job in (b"{", b"[]", b'{"to": 1}', json.dumps(forged).encode()):
            self.assertEqual(self.mailer("8", job), 422, job)


class HelloTests(ExampleTests):
    """Python: the smallest worker."""

    kind = "python"

    def test_hello(self) -> None:
        """The smallest worker greets, and answers a POST with what was sent."""
        self.assertEqual(self.get("/hello").status, 200)
        self.assertEqual(self.connection.ask("POST", "/hello", b"x" * 100_000).body, b"x" * 100_000)
