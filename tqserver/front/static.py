"""
Static files: which file a request means, if any, and how it is sent.

L{StaticFiles.find} is asked for every request that may be one for a file, most of which are not; so it
decides on the path's text first and then with a single C{stat(2)}. L{StaticFiles.serve} answers conditional
and range requests and streams the rest. Files are read on the reactor's thread, 64 KiB a turn: the page
cache answers faster than a thread.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import unquote_to_bytes

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from ..errors import ClientFault, ScarceFault, ServerFault
from ..http1.connecting import is_scarce
from ..http1.head import Headers, RequestHead, ResponseHead
from .content_type import content_type, is_compressed
from .exchange import IExchange

CHUNK_BYTES = 64 * 1024
"""Read and written at once: what a transport buffers before it asks us to pause."""

PATH_BYTES_MAX = 4096
"""PATH_MAX (limits.h): nothing longer can be opened."""

STALE_S = 1
"""A compressed sibling may be older than its original by this (one tool wrote both); more, and it is of
another one."""

INDEX = b"index.html"

_ABSENT = frozenset([errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES])
"""Errors that mean that there is no such file for us."""

_SOURCE = re.compile(
    rb"\.(?:php[3-8s]?|pht|phtml|phar)"
    rb"(?:[~_ -][^/.]*)?(?:\.(?:bak|old|orig|save|sw[a-p]|tmp|dist|gz|br|[0-9]+)~?)*\.?(?:/|$)",
    re.IGNORECASE,
)
"""Names of PHP sources, and of what editors and tools leave beside them."""

_RANGE = re.compile(rb"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_ETAG = re.compile(rb'(?:W/)?"[!#-~\x80-\xff]*"')
_QUALITY = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")

_ENCODINGS = ((b"br", b".br"), (b"gzip", b".gz"))
"""Codings that a file may lie compressed in, the best first, and how such a file's name ends."""


@frozen
class Found:
    """
    A file that a request means.

    @ivar file: absolute path, free of symbolic links when it was found.
    @ivar name: path as it was asked for, which decides the content type.
    @ivar directory: it was found as the index of a directory.
    """

    file: bytes
    name: bytes
    directory: bool = False


@frozen
class _Variant:
    """An open file with what is told about it; an encoding if it is a compressed sibling."""

    fd: int
    size: int
    etag: bytes
    modified_s: int
    encoding: bytes
    varies: bool


class StaticFiles:
    """Finds files below a root, and sends them."""

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def find(self, root: str, path: bytes) -> Found | None:
        """
        The file that a path means below a root.

        Nothing outside the root is ever found: no C{..}, no symbolic link that leads out. Nor are names
        with a leading dot, PHP sources, or anything but regular files. The path is percent-decoded once.

        @param root: absolute directory.
        @param path: the request's path below the root, as the client sent it, without its query.
        @return: L{None} when there is nothing to serve; the request is somebody else's then.
        """
        name = _decoded(path)
        if name is None:
            return None
        base = os.fsencode(root)
        if not os.access(base + name, os.R_OK):
            # What most requests end with; stat(2) would cost an exception.
            return None
        try:
            found = self._resolve(base, name)
        except OSError as error:
            if error.errno not in _ABSENT:
                self._log.warn("Cannot look for {name!r} in {root}: {error}", name=name, root=root, error=error)
            return None
        return found

    def _resolve(self, base: bytes, name: bytes) -> Found | None:
        wanted = base + name
        status = os.stat(wanted)
        directory = stat.S_ISDIR(status.st_mode)
        if directory:
            wanted = wanted.rstrip(b"/") + b"/" + INDEX
            name = INDEX
            status = os.stat(wanted)
        elif name.endswith(b"/"):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        file = os.path.realpath(wanted)
        inside = os.path.realpath(base).rstrip(b"/") + b"/"
        if not file.startswith(inside) or _SOURCE.search(file, len(inside) - 1):
            return None
        return Found(file, name, directory)

    def serve(self, exchange: IExchange, found: Found) -> None:
        """
        Answer with a file: whole, in part, or that it has not changed.

        @raise Fault: it cannot be answered with the file; nothing has been answered yet.
        """
        head = exchange.head
        if head.method not in (b"GET", b"HEAD"):
            exchange.respond(ResponseHead(405, b"Method Not Allowed", [(b"Allow", b"GET, HEAD")], 0), None)
            exchange.finish()
            return
        if found.directory and not head.path.endswith(b"/"):
            _redirect(exchange)
            return
        variant = _open(found, _accepted(head))
        try:
            self._answer(exchange, found, variant)
        except BaseException:
            os.close(variant.fd)
            raise

    def _answer(self, exchange: IExchange, found: Found, variant: _Variant) -> None:
        head = exchange.head
        headers: Headers = [
            (b"ETag", variant.etag),
            (b"Last-Modified", formatdate(variant.modified_s, usegmt=True).encode("ascii")),
            (b"Cache-Control", b"no-cache"),
        ]
        if variant.varies:
            headers.append((b"Vary", b"Accept-Encoding"))
        status = _precondition(head, variant)
        if status:
            os.close(variant.fd)
            length = None if status == 304 else 0
            exchange.respond(ResponseHead(status, _REASONS[status], headers, length), None)
            exchange.finish()
            return
        headers += [
            (b"Content-Type", content_type(found.name)),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Accept-Ranges", b"bytes"),
        ]
        if variant.encoding:
            headers.append((b"Content-Encoding", variant.encoding))
        first, length, status = 0, variant.size, 200
        if head.method == b"GET":
            wanted = _range(head, variant)
            if wanted is not None:
                first, length = wanted
                status = 206 if length else 416
        if status == 416:
            os.close(variant.fd)
            headers = [(b"Content-Range", b"bytes */%d" % variant.size), (b"Accept-Ranges", b"bytes")]
            exchange.respond(ResponseHead(416, _REASONS[416], headers, 0), None)
            exchange.finish()
            return
        if status == 206:
            headers.append((b"Content-Range", b"bytes %d-%d/%d" % (first, first + length - 1, variant.size)))
        response = ResponseHead(status, _REASONS[status], headers, length)
        if head.method == b"HEAD" or not length:
            os.close(variant.fd)
            exchange.respond(response, None)
            exchange.finish()
            return
        _Sending(self._reactor, exchange, variant.fd, first, length).begin(response)


_REASONS = {
    200: b"OK",
    206: b"Partial Content",
    304: b"Not Modified",
    412: b"Precondition Failed",
    416: b"Range Not Satisfiable",
}


@implementer(IPushProducer)
class _Sending:
    """
    A file on its way to a client: one chunk a turn while the client keeps up. It owns the file's descriptor.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, exchange: IExchange, fd: int, at: int, length: int) -> None:
        self._reactor = reactor
        self._exchange = exchange
        self._fd = fd
        self._at = at
        self._remaining = length
        self._paused = False
        self._turn: IDelayedCall | None = None

    def begin(self, response: ResponseHead) -> None:
        """
        Answer, and send the first chunk at once.

        @raise ServerFault: the file cannot be read; nothing has been answered, and the descriptor is still
            the caller's to close.
        """
        exchange = self._exchange
        try:
            chunk = os.pread(self._fd, min(CHUNK_BYTES, self._remaining), self._at)
        except OSError as error:
            raise ServerFault("The file cannot be read.", str(error), status=500)
        exchange.when_over(self._over)
        single = len(chunk) == self._remaining
        exchange.respond(response, None if single else self)
        self._send(chunk)

    def _send(self, chunk: bytes) -> None:
        exchange = self._exchange
        if not chunk:
            # The file became shorter: what we promised does not exist any more.
            exchange.abort()
            return
        self._at += len(chunk)
        self._remaining -= len(chunk)
        exchange.write(chunk)
        if not self._remaining:
            exchange.finish()
        else:
            self._schedule()

    def _schedule(self) -> None:
        if not self._paused and self._turn is None and not self._exchange.over:
            self._turn = self._reactor.callLater(0, self._next)

    def _next(self) -> None:
        self._turn = None
        try:
            chunk = os.pread(self._fd, min(CHUNK_BYTES, self._remaining), self._at)
        except OSError as error:
            self._log.warn("A file could not be read to its end: {error}", error=error)
            self._exchange.abort()
            return
        self._send(chunk)

    def _over(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def pauseProducing(self) -> None:
        self._paused = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def resumeProducing(self) -> None:
        self._paused = False
        self._schedule()

    def stopProducing(self) -> None:
        """The exchange tells when it is over."""


def _decoded(path: bytes) -> bytes | None:
    """The path decoded once and found harmless, beginning with a slash; else L{None}."""
    if b"%" in path:
        lower = path.lower()
        if b"%2f" in lower or b"%5c" in lower or b"%00" in lower:
            return None
        path = unquote_to_bytes(path)
    path = path or b"/"
    if not path.startswith(b"/") or len(path) > PATH_BYTES_MAX:
        return None
    # "/." takes care of ".", "..", and names with a leading dot, at any depth.
    if b"/." in path or b"//" in path or b"\0" in path or b"\\" in path or _SOURCE.search(path):
        return None
    return path


def _redirect(exchange: IExchange) -> None:
    """
    Send the client to the directory's own address, from where its relative links lead where they should.
    The location is relative, so that it holds wherever we are mounted, and begins with C{./}, so that no
    name in it can be taken for a scheme or a host.
    """
    head = exchange.head
    location = b"./" + head.path.rpartition(b"/")[2] + b"/"
    if head.query is not None:
        location += b"?" + head.query
    exchange.respond(ResponseHead(308, b"Permanent Redirect", [(b"Location", location)], 0), None)
    exchange.finish()


def _open(found: Found, accepted: list[tuple[bytes, bytes]]) -> _Variant:
    """
    Open what suits the client best.

    @param accepted: codings that it takes, in our order, with the suffixes of their files.
    @raise ClientFault: there is nothing to open any more.
    @raise ScarceFault: there is no descriptor to open it with.
    """
    try:
        fd, status = _open_regular(found.file)
    except OSError as error:
        if is_scarce(error):
            raise ScarceFault("The server is busy.", str(error))
        raise ClientFault("There is nothing at this address.", str(error), status=404)
    if is_compressed(found.name):
        return _variant(fd, status, b"", False)
    varies = False
    for coding, suffix in _ENCODINGS:
        try:
            sibling, sibling_status = _open_regular(found.file + suffix)
        except OSError:
            # That there is none is the rule.
            continue
        if sibling_status.st_mtime < status.st_mtime - STALE_S:
            os.close(sibling)
            continue
        varies = True
        if (coding, suffix) in accepted:
            os.close(fd)
            return _variant(sibling, sibling_status, coding, True)
        os.close(sibling)
    return _variant(fd, status, b"", varies)


def _open_regular(file: bytes) -> tuple[int, os.stat_result]:
    """
    Open a regular file that is no symbolic link, without waiting for anything.

    @raise OSError: there is none.
    """
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise OSError(errno.ENOENT, "not a regular file", file)
    return fd, status


def _variant(fd: int, status: os.stat_result, encoding: bytes, varies: bool) -> _Variant:
    suffix = b"-" + encoding if encoding else b""
    etag = b'"%x-%x-%x%s"' % (status.st_mtime_ns, status.st_size, status.st_ino, suffix)
    return _Variant(fd, status.st_size, etag, int(status.st_mtime), encoding, varies)


def _accepted(head: RequestHead) -> list[tuple[bytes, bytes]]:
    """Codings of L{_ENCODINGS} that the client takes (RFC 9110 section 12.5.3)."""
    values = head.get_all(b"accept-encoding")
    if not values:
        return []
    weights: dict[bytes, bool] = {}
    for member in b",".join(values).split(b","):
        coding, _, parameters = member.partition(b";")
        name, _, quality = parameters.strip(b" \t").partition(b"=")
        wanted = True
        if name.strip(b" \t").lower() == b"q":
            quality = quality.strip(b" \t")
            wanted = bool(_QUALITY.fullmatch(quality)) and float(quality) > 0
        weights[coding.strip(b" \t").lower()] = wanted
    rest = weights.get(b"*", False)
    return [entry for entry in _ENCODINGS if weights.get(entry[0], rest)]


def _date(value: bytes | None) -> int | None:
    """Seconds since the epoch, or L{None} for what is no date."""
    if value is None:
        return None
    try:
        return int(parsedate_to_datetime(value.decode("ascii")).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _matches(values: list[bytes], etag: bytes, weak: bool) -> bool:
    """Whether a list of entity tags has ours. By the strong comparison, a weak tag matches nothing."""
    joined = b",".join(values).strip(b" \t")
    if joined == b"*":
        return True
    tags = _ETAG.findall(joined)
    return etag in tags or (weak and b"W/" + etag in tags)


def _precondition(head: RequestHead, variant: _Variant) -> int:
    """304, 412, or 0 to go on; in the order of RFC 9110 section 13.2.2."""
    if_match = head.get_all(b"if-match")
    if if_match:
        if not _matches(if_match, variant.etag, weak=False):
            return 412
    else:
        unmodified_since_s = _date(head.get(b"if-unmodified-since"))
        if unmodified_since_s is not None and variant.modified_s > unmodified_since_s:
            return 412
    if_none_match = head.get_all(b"if-none-match")
    if if_none_match:
        return 304 if _matches(if_none_match, variant.etag, weak=True) else 0
    modified_since_s = _date(head.get(b"if-modified-since"))
    if modified_since_s is not None and variant.modified_s <= modified_since_s:
        return 304
    return 0


def _range(head: RequestHead, variant: _Variant) -> tuple[int, int] | None:
    """
    The part that is wanted (RFC 9110 section 14.2): one range only; several, or what is malformed, get the
    whole.

    @return: first byte and length, a length of 0 if there is no such part; L{None} for the whole.
    """
    ranges = head.get_all(b"range")
    if len(ranges) != 1 or not variant.size:
        return None
    match = _RANGE.fullmatch(ranges[0])
    if match is None or match.group(1) == match.group(2) == b"":
        return None
    condition = head.get(b"if-range")
    if condition is not None and condition != variant.etag and _date(condition) != variant.modified_s:
        return None
    if not match.group(1):
        length = min(int(match.group(2)), variant.size)
        return variant.size - length, length
    first = int(match.group(1))
    last = int(match.group(2)) if match.group(2) else variant.size - 1
    if match.group(2) and last < first:
        return None
    if first >= variant.size:
        return 0, 0
    return first, min(last, variant.size - 1) - first + 1
