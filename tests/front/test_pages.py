"""Tests of what faults look like to those who asked."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import request_head
from tqserver.errors import ClientFault, Fault, ServerFault, UpstreamFault
from tqserver.front.pages import OUTPUT_CHARS_MAX, clean, error_response, shortened
from tqserver.http1.head import RequestHead, ResponseHead

FIREFOX = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
EVIL = "<script>alert('x')</script>&\"'</pre>"


def browser(accept: bytes = FIREFOX) -> RequestHead:
    """A browser's request."""
    return request_head(headers=[(b"accept", accept)])


class Text(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.links: list[str] = []
        self._style = False
        self.feed(page.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._style = tag == "style"
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data


def everything(head: RequestHead | None, development: bool, fault: Fault | None = None) -> tuple[ResponseHead, bytes]:
    """An answer that was given all there is to tell."""
    fault = fault or ServerFault("It is not built.", "exit code 1 in /srv/secret", retry_after_s=5)
    return error_response(
        head, fault, "req-1", development, worker="shopfront", remedy="Install Go.", output="main.go:1: oops"
    )


class NegotiationTests(SynchronousTestCase):
    """Who gets what."""

    def kind(self, head: RequestHead | None) -> bytes | None:
        """The media type of the answer."""
        return error_response(head, ClientFault("No."), "", False)[0].get(b"content-type")

    def test_browsers(self) -> None:
        """Browsers get a page."""
        for accept in (FIREFOX, b"text/html", b"*/*, TEXT/HTML;q=0.5", b"text/html;level=1;q=0.1"):
            self.assertEqual(self.kind(browser(accept)), b"text/html; charset=utf-8", accept)

    def test_programs(self) -> None:
        """Everybody else gets something that a program can read."""
        heads = [browser(accept) for accept in (b"*/*", b"application/json", b"text/html;q=0", b"xtext/html", b"")]
        for head in [*heads, request_head(), None]:
            self.assertEqual(self.kind(head), b"application/problem+json")

    def test_several_fields(self) -> None:
        """Accept may be spread over several fields."""
        head = request_head(headers=[(b"accept", b"application/json"), (b"accept", b"text/html")])
        self.assertEqual(self.kind(head), b"text/html; charset=utf-8")


class HeadTests(SynchronousTestCase):
    """The head of the answer."""

    def test_fields(self) -> None:
        """An error is never cached, and says when to come again."""
        for head in (browser(), None):
            response, body = everything(head, False)
            self.assertEqual((response.status, response.reason), (503, b"Service Unavailable"))
            self.assertEqual(response.content_length, len(body))
            self.assertEqual(response.get(b"cache-control"), b"no-store")
            self.assertEqual(response.get(b"retry-after"), b"5")
            self.assertEqual(response.get(b"vary"), b"Accept")
            self.assertEqual(response.get(b"x-content-type-options"), b"nosniff")
            self.assertIn(b"default-src 'none'", response.get(b"content-security-policy") or b"")

    def test_no_hurry(self) -> None:
        """Where waiting would not help, nobody is told to."""
        self.assertIsNone(error_response(None, ClientFault("No."), "", False)[0].get(b"retry-after"))

    def test_allow(self) -> None:
        """405 says what is allowed (RFC 9110 section 15.5.6)."""
        fault = ClientFault("Not so.", status=405)
        response, _ = error_response(request_head(b"POST"), fault, "", False)
        self.assertEqual(response.get(b"allow"), b"GET, HEAD")
        response, _ = error_response(None, fault, "", False)
        self.assertIn(b"POST", response.get(b"allow") or b"")

    def test_unheard_of_status(self) -> None:
        """A status without a name is answered as well."""
        response, body = error_response(browser(), Fault("Hm.", status=599), "", False)
        self.assertEqual(response.status, 599)
        self.assertIn("Hm.", Text(body).text)


class SecrecyTests(SynchronousTestCase):
    """What strangers are told, and what developers."""

    SECRETS = ("/srv/secret", "exit code", "shopfront", "Install Go", "main.go")

    def test_production(self) -> None:
        """In production nobody learns more than the reason and the number to quote."""
        for head in (browser(), None):
            text = everything(head, False)[1].decode()
            for secret in self.SECRETS:
                self.assertNotIn(secret, text)
            self.assertIn("It is not built.", text)
            self.assertIn("req-1", text)

    def test_development_page(self) -> None:
        """In development the page shows the worker, the cause, the output and what to do."""
        page = Text(everything(browser(), True)[1])
        for secret in self.SECRETS:
            self.assertIn(secret, page.text)
        self.assertIn("pre", page.tags)

    def test_development_problem(self) -> None:
        """In development programs are told as well."""
        problem = json.loads(everything(None, True)[1])
        self.assertEqual(
            problem,
            {
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "It is not built.",
                "request_id": "req-1",
                "retry_after": 5,
                "worker": "shopfront",
                "cause": "exit code 1 in /srv/secret",
                "remedy": "Install Go.",
                "output": "main.go:1: oops",
            },
        )

    def test_production_problem(self) -> None:
        """In production a problem is what RFC 9457 asks for, and the number to quote."""
        problem = json.loads(everything(None, False, UpstreamFault("The worker broke.", "secret"))[1])
        self.assertEqual(
            problem,
            {
                "type": "about:blank",
                "title": "Bad Gateway",
                "status": 502,
                "detail": "The worker broke.",
                "request_id": "req-1",
            },
        )


class EscapingTests(SynchronousTestCase):
    """Pages hold what clients and workers said."""

    def test_markup(self) -> None:
        """Nothing that is shown can become markup."""
        fault = ServerFault(EVIL, EVIL)
        body = error_response(browser(), fault, EVIL, True, worker=EVIL, remedy=EVIL, output=EVIL)[1]
        page = Text(body)
        self.assertNotIn("script", page.tags)
        self.assertEqual(page.tags.count("pre"), 1)
        self.assertEqual(page.text.count(EVIL), 6)

    def test_nothing_from_elsewhere(self) -> None:
        """A page needs nothing that might be down as well."""
        self.assertEqual(Text(everything(browser(), True)[1]).links, [])
        self.assertNotIn(b"url(", everything(browser(), True)[1])

    def test_dollars(self) -> None:
        """Output may look like a template."""
        body = error_response(browser(), ServerFault("$title"), "", True, output="$status ${more} $")[1]
        self.assertIn("$status ${more} $", Text(body).text)

    def test_terminal(self) -> None:
        """The colours of a compiler's output are taken out, and so is what could turn text around."""
        self.assertEqual(
            clean("\x1b[1;31merror\x1b[0m: \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \x9b1mok"), "error: link 1mok"
        )
        self.assertEqual(clean("a\tb\r\nc\0\x08\x7f\u202ed"), "a\tb\ncd")
        self.assertEqual(clean("\ud800"), "?")

    def test_long_output(self) -> None:
        """Of very long output the beginning and the end are shown, and how much is missing."""
        lines = [f"line {number}" for number in range(20_000)]
        short = shortened("\n".join(lines))
        self.assertLess(len(short), OUTPUT_CHARS_MAX + 100)
        shown = short.split("\n")
        self.assertEqual((shown[0], shown[-1]), (lines[0], lines[-1]))
        self.assertIn("characters left out", short)
        whole = [line for line in shown if line.startswith("line ")]
        self.assertTrue(set(whole) <= set(lines))

    def test_one_long_line(self) -> None:
        """So it is for a single line."""
        self.assertLess(len(shortened("x" * OUTPUT_CHARS_MAX * 3)), OUTPUT_CHARS_MAX + 100)

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.text(max_size=60), st.text(max_size=60), st.binary(max_size=20), st.booleans())
    def test_anything(self, reason: str, output: str, accept: bytes, development: bool) -> None:
        """Whatever is told, the answer is whole: encoded, of the length it says, and valid."""
        fault = ServerFault(clean(reason), output)
        for head in (browser(), request_head(headers=[(b"accept", accept)])):
            response, body = error_response(head, fault, "r", development, "w", output, output)
            self.assertEqual(response.content_length, len(body))
            if response.get(b"content-type") == b"application/problem+json":
                self.assertEqual(json.loads(body)["detail"], clean(reason))
            else:
                self.assertEqual(Text(body).tags.count("main"), 1)
