"""
How a fault looks to whoever asked: a page for browsers, C{application/problem+json} (RFC 9457) for
programs. Pure.

In production both say no more than the fault's reason, which is written for strangers. In development they
also say what an operator would want to know: which worker, what happened, what would mend it, and the last
output.
"""

from __future__ import annotations

import re
from html import escape

import msgspec

from ..errors import Fault
from ..http1.head import Headers, RequestHead, ResponseHead
from .page_style import PAGE

OUTPUT_CHARS_MAX = 48 * 1024
"""Of a worker's or a compiler's output; the middle is left out of what is longer. The first error and the
last words are what one looks for."""

_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
"""Reason phrases (RFC 9110 section 15, RFC 6585)."""

_ADVICE = {
    404: "Check the address for a mistake.",
    408: "Please try again.",
    413: "Please send less at once.",
    414: "Please use a shorter address.",
    429: "Please wait a moment before you try again.",
    500: "If it happens again, tell whoever runs this site and quote the number below.",
    502: "If it happens again, tell whoever runs this site and quote the number below.",
    503: "Please try again in a moment.",
    504: "Please try again in a moment.",
}
"""What a visitor can do, where there is anything."""

_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
"""Terminal sequences (ECMA-48), control characters but for newline and tab, and what changes the direction of
text (a compiler quotes sources, and sources may be written to mislead)."""

_HTML_ACCEPTED = re.compile(rb"(?:^|,)[ \t]*text/html[ \t]*(?:;([^,]*))?(?:,|$)", re.IGNORECASE)
_NO_WEIGHT = re.compile(rb"(?:^|;)[ \t]*q=0(?:\.0{0,3})?[ \t]*(?:;|$)", re.IGNORECASE)

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""What any worker may be asked."""

_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
"""A page needs nothing but its own style; whatever escaping might ever miss stays harmless."""


def error_response(
    head: RequestHead | None,
    fault: Fault,
    request_id: str,
    development: bool,
    worker: str = "",
    remedy: str = "",
    output: str = "",
    retry_after_s: int | None = None,
) -> tuple[ResponseHead, bytes]:
    """
    The answer that tells of a fault.

    @param head: the request; L{None} if it could not be understood.
    @param request_id: what to quote when asking for help; empty if it has none.
    @param development: tell the internals too.
    @param worker: the worker's name, if one was meant.
    @param remedy: what an operator could do.
    @param output: the last lines that explain it: a compiler's output, a dying worker's last words.
    @param retry_after_s: when to come again, in seconds; L{None}: what the fault says.
    @return: the head, with C{content_length}, and the body.
    """
    retry_after_s = fault.retry_after_s if retry_after_s is None else retry_after_s
    title = _TITLES.get(fault.status, "Error")
    if not development:
        worker = remedy = output = ""
    internals = {
        "worker": clean(worker),
        "cause": clean(fault.detail) if development else "",
        "remedy": clean(remedy),
        "output": shortened(clean(output)),
    }
    if _wants_html(head):
        kind = b"text/html; charset=utf-8"
        body = _page(title, fault, request_id, internals, retry_after_s)
    else:
        kind = b"application/problem+json"
        body = _problem(title, fault, request_id, internals, retry_after_s)
    headers: Headers = [
        (b"Content-Type", kind),
        (b"Cache-Control", b"no-store"),
        (b"Vary", b"Accept"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Security-Policy", _POLICY),
    ]
    if fault.status == 405:
        # RFC 9110 section 15.5.6 asks for it. What our own faults of this kind mean is that only reading is
        # served, or, where there is no request at all, that a method is never served.
        headers.append((b"Allow", b"GET, HEAD" if head is not None else _METHODS))
    if retry_after_s is not None:
        headers.append((b"Retry-After", b"%d" % max(retry_after_s, 0)))
    return ResponseHead(fault.status, title.encode("ascii"), headers, len(body)), body


def clean(text: str) -> str:
    """Text without terminal sequences and control characters; lone surrogates, which cannot be encoded, are
    replaced."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n"))
    return text.encode("utf-8", "replace").decode("utf-8")


def shortened(text: str) -> str:
    """The beginning and the end of a text that is too long, at whole lines where there are any."""
    text = text.strip("\n")
    if len(text) <= OUTPUT_CHARS_MAX:
        return text
    half = OUTPUT_CHARS_MAX // 2
    first, last = text[:half], text[-half:]
    first = first.rpartition("\n")[0] or first
    last = last.partition("\n")[2] or last
    left_out = len(text) - len(first) - len(last)
    return f"{first}\n\n… {left_out} characters left out …\n\n{last}"


def _wants_html(head: RequestHead | None) -> bool:
    """Browsers say that they take C{text/html}; nobody else does so by itself."""
    if head is None:
        return False
    match = _HTML_ACCEPTED.search(b",".join(head.get_all(b"accept")))
    return match is not None and not _NO_WEIGHT.search(match.group(1) or b"")


def _problem(title: str, fault: Fault, request_id: str, internals: dict[str, str], retry_after_s: int | None) -> bytes:
    problem: dict[str, str | int] = {
        "type": "about:blank",
        "title": title,
        "status": fault.status,
        "detail": fault.reason,
    }
    if request_id:
        problem["request_id"] = request_id
    if retry_after_s is not None:
        problem["retry_after"] = retry_after_s
    problem.update((name, text) for name, text in internals.items() if text)
    return msgspec.json.format(msgspec.json.encode(problem), indent=2) + b"\n"


def _page(title: str, fault: Fault, request_id: str, internals: dict[str, str], retry_after_s: int | None) -> bytes:
    shown = [_developers_part(internals)] if any(internals.values()) else [_visitors_part(fault, retry_after_s)]
    if request_id:
        shown.append(f"<footer>Request <code>{escape(request_id)}</code></footer>")
    return PAGE.substitute(
        status=str(fault.status),
        title=escape(title),
        reason=escape(fault.reason),
        more="\n".join(part for part in shown if part),
    ).encode("utf-8")


def _visitors_part(fault: Fault, retry_after_s: int | None) -> str:
    advice = _ADVICE.get(fault.status, "")
    if retry_after_s:
        seconds = "a second" if retry_after_s == 1 else f"{retry_after_s} seconds"
        advice = f"Please try again in {seconds}."
    return f"<p class=advice>{escape(advice)}</p>" if advice else ""


def _developers_part(internals: dict[str, str]) -> str:
    rows = [
        f"<dt>{label}</dt><dd>{escape(internals[name])}</dd>"
        for name, label in (("worker", "Worker"), ("cause", "Cause"))
        if internals[name]
    ]
    parts = [f"<dl>{''.join(rows)}</dl>"] if rows else []
    if internals["remedy"]:
        parts.append(f"<section class=remedy><h2>What to do</h2><p>{escape(internals['remedy'])}</p></section>")
    if internals["output"]:
        # A newline right after <pre> is not shown; the first of the output's own must not be taken for it.
        parts.append(f"<section><h2>Output</h2><pre tabindex=0>\n{escape(internals['output'])}</pre></section>")
    return "\n".join(parts)
