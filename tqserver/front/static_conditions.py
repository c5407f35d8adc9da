"""
What a request says of the representation it wants: conditions (RFC 9110 section 13), codings (section 12.5.3), and
whether a person is looking for a page. Pure.
"""

from __future__ import annotations

import re
from datetime import timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

from ..http1.head import Headers

CODINGS = ((b"br", b".br"), (b"zstd", b".zst"), (b"gzip", b".gz"))
"""Codings that a file may lie compressed in, the best first, and how such a file's name ends."""

ACCEPT_BYTES_KEPT_MAX = 200
"""A longer C{Accept-Encoding} is understood anew each time: browsers send far shorter ones."""

ACCEPTS_KEPT_MAX = 256
"""There are a few dozen of these fields in the world."""

_NONE: frozenset[bytes] = frozenset()

Asked = dict[bytes, list[bytes]]
"""Fields of a request by name, with all their values."""

_FIELDS = frozenset(
    [
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"range",
        b"if-range",
    ]
)

_ETAG = re.compile(rb'(?:W/)?"[!#-~\x80-\xff]*"')
_QUALITY = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_HTML = re.compile(rb"(?:^|,)[ \t]*(?:text/html|application/xhtml\+xml)[ \t]*(?:;([^,]*))?(?:,|$)", re.IGNORECASE)
_REFUSED = re.compile(rb"(?:^|;)[ \t]*q=0(?:\.0{0,3})?[ \t]*(?:;|$)", re.IGNORECASE)


def asked(headers: Headers) -> Asked | None:
    """Conditions and ranges of a request; L{None} if there are none, as is the rule."""
    found: Asked | None = None
    for name, value in headers:
        if name in _FIELDS:
            if found is None:
                found = {}
            found.setdefault(name, []).append(value)
    return found


def accepted(values: list[bytes]) -> frozenset[bytes]:
    """
    Codings of L{CODINGS} that the client takes.

    @param values: of C{Accept-Encoding}.
    """
    if not values:
        return _NONE
    joined = values[0] if len(values) == 1 else b",".join(values)
    return _accepted_kept(joined) if len(joined) <= ACCEPT_BYTES_KEPT_MAX else _accepted(joined)


def _accepted(value: bytes) -> frozenset[bytes]:
    weights: dict[bytes, bool] = {}
    for member in value.split(b","):
        coding, _, parameters = member.partition(b";")
        name, _, quality = parameters.strip(b" \t").partition(b"=")
        wanted = True
        if name.strip(b" \t").lower() == b"q":
            quality = quality.strip(b" \t")
            wanted = bool(_QUALITY.fullmatch(quality)) and float(quality) > 0
        weights[coding.strip(b" \t").lower()] = wanted
    rest = weights.get(b"*", False)
    return frozenset(coding for coding, _ in CODINGS if weights.get(coding, rest))


_accepted_kept = lru_cache(ACCEPTS_KEPT_MAX)(_accepted)


def date_s(value: bytes) -> int | None:
    """Seconds since the epoch, or L{None} for what is no date."""
    try:
        date = parsedate_to_datetime(value.decode("ascii"))
        if date.tzinfo is None:
            # asctime's form has no zone, and means GMT (RFC 9110 section 5.6.7).
            date = date.replace(tzinfo=timezone.utc)
        return int(date.timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _matches(values: list[bytes], etag: bytes, weak: bool) -> bool:
    """Whether a list of entity tags has ours. By the strong comparison, a weak tag matches nothing."""
    joined = b",".join(values).strip(b" \t")
    if joined == b"*":
        return True
    tags = _ETAG.findall(joined)
    return etag in tags or (weak and b"W/" + etag in tags)


def precondition(fields: Asked, etag: bytes, modified_s: int) -> int:
    """304, 412, or 0 to go on; in the order of RFC 9110 section 13.2.2."""
    if_match = fields.get(b"if-match")
    if if_match is not None:
        if not _matches(if_match, etag, weak=False):
            return 412
    elif b"if-unmodified-since" in fields:
        unmodified_since_s = date_s(fields[b"if-unmodified-since"][0])
        if unmodified_since_s is not None and modified_s > unmodified_since_s:
            return 412
    if_none_match = fields.get(b"if-none-match")
    if if_none_match is not None:
        return 304 if _matches(if_none_match, etag, weak=True) else 0
    if b"if-modified-since" in fields:
        modified_since_s = date_s(fields[b"if-modified-since"][0])
        if modified_since_s is not None and modified_s <= modified_since_s:
            return 304
    return 0


def range_holds(fields: Asked, etag: bytes, modified_s: int, now_s: float) -> bool:
    """
    Whether the part that is asked for is a part of what the client has (C{If-Range}, section 13.1.5).

    A date is a strong validator only for a file that cannot change twice within its second any more (section 8.8.2.2).
    """
    values = fields.get(b"if-range")
    if values is None:
        return True
    value = values[0]
    if value.startswith((b'"', b"W/")):
        return value == etag
    return date_s(value) == modified_s and now_s - modified_s > 1


def is_navigation(headers: Headers) -> bool:
    """
    Whether a person is looking for a page, as opposed to a script or a page that loads what it needs: C{text/html} is
    accepted by name, and the browser, if it says what for, says a page.
    """
    html = False
    for name, value in headers:
        if name == b"accept" and not html:
            match = _HTML.search(value)
            html = match is not None and not (match[1] and _REFUSED.search(match[1]))
        elif name == b"sec-fetch-mode" and value != b"navigate":
            return False
    return html
