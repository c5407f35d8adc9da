"""Cookies: what a client sent, and what it is told to keep (RFC 6265). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..http1.head import RequestHead


def cookie_values(head: RequestHead, name: bytes) -> Iterator[bytes]:
    """
    The values of all cookies of this name, in the order in which they were sent: of the same name there is one for each
    path that it was set for, the longest path first (RFC 6265 section 5.4).

    @param name: as it was set: upper and lower case differ.
    """
    for field, cookies in head.headers:
        if field == b"cookie":
            for cookie in cookies.split(b";"):
                key, _, value = cookie.partition(b"=")
                if key.strip() == name:
                    yield value.strip()


def cookie_path(prefix: bytes) -> bytes:
    """
    The C{Path} of a cookie for all that is below a prefix. A semicolon, which a path may hold, ends the attribute:
    the cookie is for the folder above then.

    @param prefix: begins with a slash.
    """
    path, semicolon, _ = prefix.partition(b";")
    if semicolon:
        path = path.rpartition(b"/")[0]
    return path or b"/"


def set_cookie(name: bytes, value: bytes, path: bytes, secure: bool, age_max_s: int) -> tuple[bytes, bytes]:
    """
    A header field that sets a cookie which scripts cannot read and other sites cannot have sent along.

    @param path: as L{cookie_path} makes it.
    @param secure: only for encrypted connections.
    @param age_max_s: how long the client shall keep it, in seconds; 0: until its session ends.
    """
    text = name + b"=" + value + b"; Path=" + path
    if age_max_s:
        text += b"; Max-Age=%d" % age_max_s
    text += b"; HttpOnly; SameSite=Lax"
    if secure:
        text += b"; Secure"
    return b"Set-Cookie", text
