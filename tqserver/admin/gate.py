"""
Who may see and steer the server through the fronts, where everybody may ask. Pure.

There is no token yet: it is for clients on the machine itself, in development. Such a client may still be a browser
that another site's page has got hold of, so that it is looked at where a request comes from (cross-site requests), and
which name it was sent to (DNS rebinding).
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import frozen

MARK = "x-tq"
"""
A header that only our own page sends: a browser asks first before another site's page may send it, and is not answered.
"""

SAFE_METHODS = frozenset(["GET", "HEAD"])


@frozen(kw_only=True)
class Asker:
    """
    What a request says of itself; fields that are absent are empty.

    @ivar forwarded_for: C{X-Forwarded-For}, as the front wrote it.
    @ivar site: C{Sec-Fetch-Site}.
    @ivar mark: the header L{MARK}.
    """

    method: str
    host: str
    forwarded_for: str
    origin: str = ""
    site: str = ""
    mark: str = ""


def refusal(asker: Asker) -> str:
    """Why a request is refused, for who sent it; empty if it is not."""
    clients = [part.strip() for part in asker.forwarded_for.split(",")]
    if not all(_is_loopback(client) for client in clients):
        return "this page is for clients on the machine itself"
    if not is_local_name(asker.host):
        return "this page answers only as localhost or 127.0.0.1"
    if asker.site not in ("", "same-origin", "none"):
        return "another site's page has no business here"
    if asker.method not in SAFE_METHODS:
        if asker.mark != "1":
            return "a request that changes something carries the header X-TQ: 1"
        if asker.origin and urlsplit(asker.origin).netloc.lower() != asker.host.lower():
            return "another site's page has no business here"
    return ""


def is_local_name(host: str) -> bool:
    """
    Whether a C{Host} names the machine itself, in a way that nobody else can have pointed at it.

    @param host: perhaps with a port.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
