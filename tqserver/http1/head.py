"""
The heads of messages as values, and how they are written. Pure.

Request header names are lower case, as HTTP/2 has them; response header names are spelled as the worker spelled them.
All are bytes: what came from the wire stays as it was.
"""

from __future__ import annotations

from http import HTTPStatus

from attrs import define

Headers = list[tuple[bytes, bytes]]


def fields_bytes(headers: Headers) -> int:
    """Bytes of header fields on the wire, or nearly."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


@define(eq=False)
class RequestHead:
    """
    One request as the client sent it, parsed and found valid.

    @ivar method: upper case token.
    @ivar target: path and query exactly as sent (for an absolute-form target: its path and query).
    @ivar path: C{target} up to the first C{?}, still percent-encoded.
    @ivar query: what follows the first C{?}, or L{None} when there is none.
    @ivar headers: names in lower case, in order, with duplicates; without surrounding whitespace in values. Never
        changed in place.
    @ivar host: the value of C{Host} (or of an absolute-form target), or empty in HTTP/1.0.
    @ivar version: C{(1, 0)} or C{(1, 1)}.
    @ivar content_length: bytes of the body if it was declared, 0 if there is none, L{None} if it is chunked.
    @ivar keep_alive: whether the client's connection may be used again.
    @ivar expect_continue: whether the client waits for C{100 Continue}.
    @ivar upgrade: what the request's C{Upgrade} offers that may be switched to, else empty
        (L{tqserver.http1.upgrade}).
    @ivar fields: what C{headers} and C{host} were read from, if that has come before (L{tqserver.http1.request_seen}),
        else empty. What follows from these may be remembered by it.
    """

    method: bytes
    target: bytes
    path: bytes
    query: bytes | None
    headers: Headers
    host: bytes = b""
    version: tuple[int, int] = (1, 1)
    content_length: int | None = 0
    keep_alive: bool = True
    expect_continue: bool = False
    upgrade: bytes = b""
    fields: bytes = b""

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header (name in lower case), or L{None}."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """All values of a header (name in lower case)."""
        return [value for key, value in self.headers if key == name]


@define(eq=False)
class ResponseHead:
    """
    One response's head.

    @ivar status: 100 to 599.
    @ivar reason: the reason phrase; may be empty.
    @ivar headers: end-to-end fields only, without C{Content-Length}, C{Transfer-Encoding} and C{Connection}, which
        whoever writes the response decides; but a 426 has to say what to upgrade to.
    @ivar content_length: bytes of the body, or L{None} if it is not known in advance. For a response to HEAD and for
        304: what a GET would have had, or L{None}.
    @ivar written: its lines as a client gets them that keeps its connection, but for the empty one, and for the
        C{Content-Length} if that is not known. Empty unless L{write} was called, which is worth it for a head that is
        answered with many times.
    @ivar dated: whether there is a C{Date} among them.
    """

    status: int
    reason: bytes
    headers: Headers
    content_length: int | None = None
    written: bytes = b""
    dated: bool = False

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header (name in lower case), or L{None}."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None

    def write(self) -> None:
        """Set C{written} and C{dated}. There has to be a body."""
        lines = [status_line(self.status, self.reason)]
        lines += [b"%b: %b\r\n" % field for field in self.headers]
        if self.content_length is not None:
            lines.append(b"Content-Length: %d\r\n" % self.content_length)
        self.written = b"".join(lines)
        self.dated = self.get(b"date") is not None


def has_body(status: int, method: bytes) -> bool:
    """Whether a response with this status to this method has a body at all (RFC 9112 section 6.3)."""
    return not (status < 200 or status == 204 or status == 304 or method == b"HEAD")


_REASONS = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


STATUS_LINES = {
    (status, reason): b"HTTP/1.1 %d %s\r\n" % (status, phrase)
    for status, phrase in _REASONS.items()
    for reason in (b"", phrase)
}
"""The first lines of responses, by status and reason, for what is usual."""


def status_line(status: int, reason: bytes) -> bytes:
    """A response's first line, with its line end; without a reason, the usual one."""
    return STATUS_LINES.get((status, reason)) or b"HTTP/1.1 %d %s\r\n" % (status, reason)


def last_response(head: ResponseHead, body: bytes, date: bytes) -> bytes:
    """
    A whole response after which the connection closes, as it is on the wire.

    @param date: a C{Date} field with its line end.
    """
    lines = [status_line(head.status, head.reason)]
    lines.extend(name + b": " + value + b"\r\n" for name, value in head.headers)
    lines.append(date)
    lines.append(b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
    return b"".join(lines) + body
