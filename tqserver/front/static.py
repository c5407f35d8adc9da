"""
Static files: which file a request means, if any, and how it is answered with it.

Most requests mean none, which the names of what lies in the folders tell without a system call
(L{tqserver.front.static_names}). The small files are kept in memory, and looked at each time with an lstat(2) for the
file and each folder on its way (L{tqserver.front.static_files}); the large ones are sent by the kernel where it can
(L{tqserver.front.static_send}).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..errors import ClientFault, Fault, ScarceFault, ServerFault
from ..http1.connecting import is_scarce
from ..http1.head import ResponseHead
from ..plane.messages import Routing
from .exchange import IExchange
from .static_cache import FILE_BYTES_MAX, FileCache
from .static_catalogue import Catalogue
from .static_conditions import Asked, accepted, asked, is_navigation
from .static_files import Content, StaticFile, Variant, stamp_of
from .static_find import NOT_OURS, Finder, open_regular
from .static_path import public_name
from .static_places import Place, Places
from .static_ranges import Span
from .static_response import Pieces, response_for
from .static_roots import MakeNotifier
from .static_send import CHUNK_BYTES, Sending, read_pieces

ALLOW = (b"Allow", b"GET, HEAD")
"""What can be done with files."""


class StaticFiles:
    """
    Finds files and answers with them.

    @ivar catalogue: where the files are. It is given every routing.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        *,
        make_notifier: MakeNotifier | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """
        @param make_notifier: makes who tells of changes in folders; without, they are asked each time.
        @param now_ns: the time of the file system's stamps.
        """
        self._reactor = reactor
        self._now_ns = now_ns
        self._finder = Finder(now_ns)
        self._cache = FileCache()
        self.catalogue = Catalogue(make_notifier, now_ns, self._cache.forget)

    def close(self) -> None:
        """Serve nothing any more, and watch nothing."""
        self.catalogue.update(Routing(version=0))

    # One request.

    def answer(self, exchange: IExchange, places: Places, matched_bytes: int) -> bool:
        """
        Answer a GET or HEAD with a file if it means one. Worth asking if C{places.may_hold}.

        @param matched_bytes: how much of the path is the route's prefix.
        @return: whether it was answered.
        @raise Fault: it means a file and cannot be answered with it; nothing has been answered yet.
        """
        head = exchange.head
        for place, below in places.candidates(head.path, matched_bytes):
            file = self.find(place, below)
            if file is not None:
                self.serve(exchange, file)
                return True
        if places.fallback is not None and places.own is not None and is_navigation(head.headers):
            file = self.find(places.own, places.fallback)
            if file is not None:
                # Who does not accept HTML gets something else at this address. Nor is this the file's own, so there is
                # nowhere to redirect to.
                exchange.response_headers = [*exchange.response_headers, (b"Vary", b"Accept")]
                self._serve(exchange, file)
                return True
        return False

    def find(self, place: Place, path: bytes) -> StaticFile | None:
        """
        The file that a path means.

        Nothing outside the place is ever found: no C{..}, no symbolic link that leads out. Nor are names with a leading
        dot, PHP sources, or anything but regular files. The path is percent-decoded once.

        @param path: as the client sent it, without its query.
        @return: L{None} when there is nothing to serve; the request is somebody else's then.
        """
        if b"%" not in path:
            # Then it is the name of what is kept, if anything with this name is.
            file = place.files.get(path)
            if file is not None:
                if file.is_fresh():
                    file.used = True
                    return file
                self._cache.drop(file)
            if not place.may_begin(path):
                return None
        name = public_name(path)
        return None if name is None else self.named(place, name)

    def named(self, place: Place, name: bytes) -> StaticFile | None:
        """
        The file with a name that is known to be harmless.

        @param name: see L{tqserver.front.static_path}.
        """
        file = place.files.get(name)
        if file is not None:
            if file.is_fresh():
                file.used = True
                return file
            self._cache.drop(file)
        try:
            file = self._finder.find(place, name)
        except OSError as error:
            self._log.warn("Cannot look for {name!r} in {root!r}: {error}", name=name, root=place.base, error=error)
            return None
        if file is not None and file.certain:
            self._cache.keep(file)
        return file

    def serve(self, exchange: IExchange, file: StaticFile) -> None:
        """
        Answer a GET or HEAD with a file: whole, in part, or that it has not changed.

        @raise Fault: it cannot be answered with the file; nothing has been answered yet.
        """
        if file.directory and not exchange.head.path.endswith(b"/"):
            _redirect(exchange)
            return
        self._serve(exchange, file)

    def _serve(self, exchange: IExchange, file: StaticFile) -> None:
        head = exchange.head
        fields = asked(head.headers)
        variant = file.plain
        if file.coded:
            codings = accepted(head.get_all(b"accept-encoding"))
            variant = file.variant(codings)
            if variant is not file.plain and file.kept and not variant.content.is_fresh():
                # The folder has the same entries, but this one has another content.
                self._cache.drop(file)
                again = self.named(file.place, file.key)
                if again is None:
                    raise _nothing("it was there a moment ago")
                file, variant = again, again.variant(codings)
        body = variant.content.body
        if fields is None and body and head.method == b"GET":
            # What nearly all requests are.
            exchange.answer(variant.head, body)
        else:
            self.send(exchange, file, variant, fields)

    def send(self, exchange: IExchange, file: StaticFile, variant: Variant, fields: Asked | None) -> None:
        """
        Answer with one representation of a file.

        @param fields: conditions and ranges; L{None} to send the whole in any case.
        @raise Fault: see L{serve}.
        """
        response, pieces = self._response(exchange, variant, fields)
        body = variant.content.body
        if pieces is None:
            exchange.answer(response, b"")
        elif body is not None:
            exchange.answer(response, _cut(body, pieces))
        else:
            self._send_from_disk(exchange, file, variant, fields)

    def _response(
        self, exchange: IExchange, variant: Variant, fields: Asked | None
    ) -> tuple[ResponseHead, Pieces | None]:
        return response_for(exchange.head.method, fields, variant, self._now_ns, _boundary)

    def _send_from_disk(self, exchange: IExchange, file: StaticFile, variant: Variant, fields: Asked | None) -> None:
        """Open the file, see whether it is still the one that was found, and send it."""
        fd, status = _open(variant.content.file)
        whole: bytes | None = None
        try:
            content = variant.content
            if stamp_of(status) != content.stamp:
                # Another file has come in its place. It is as good, if what is said of it is said of this one.
                variant = self._finder.renewed(variant, status)
            elif file.kept and content.size <= FILE_BYTES_MAX:
                whole = _content(fd, content)
                if whole is not None:
                    self._cache.fill(file, content, whole)
            response, pieces = self._response(exchange, variant, fields)
            if pieces is None:
                whole = b""
            elif whole is not None:
                whole = _cut(whole, pieces)
            else:
                pieces = pieces or (Span(0, variant.content.size),)
                length = response.content_length or 0
                if length <= CHUNK_BYTES:
                    whole = read_pieces(fd, pieces)
                    if len(whole) != length:
                        raise ServerFault("The file is just changing.", retry_after_s=1)
        except OSError as error:
            os.close(fd)
            raise _unreadable(error)
        except BaseException:
            os.close(fd)
            raise
        if whole is not None:
            os.close(fd)
            exchange.answer(response, whole)
        else:
            assert pieces
            Sending(self._reactor, exchange, fd, pieces).begin(response)


def _open(path: bytes) -> tuple[int, os.stat_result]:
    """
    Open a file that was found.

    @raise Fault: it is not there any more, or cannot be opened.
    """
    try:
        return open_regular(path)
    except OSError as error:
        if error.errno in NOT_OURS:
            raise _nothing(str(error))
        raise _unreadable(error)


def _unreadable(error: OSError) -> Fault:
    if is_scarce(error):
        return ScarceFault("The server is busy.", str(error))
    return ServerFault("The file cannot be read.", str(error), status=500)


def _content(fd: int, content: Content) -> bytes | None:
    """All of a small file, or L{None} if it is just changing, or cannot be read."""
    try:
        body = os.pread(fd, content.size + 1, 0)
    except OSError:
        return None
    return body if len(body) == content.size and stamp_of(os.fstat(fd)) == content.stamp else None


def _cut(body: bytes, pieces: Pieces) -> bytes:
    """The pieces of a file that is in memory."""
    if not pieces:
        return body
    return b"".join(body[piece.at : piece.end] if isinstance(piece, Span) else piece for piece in pieces)


def _boundary() -> bytes:
    """Nobody can have put it into a file."""
    return os.urandom(12).hex().encode("ascii")


def _nothing(detail: str) -> ClientFault:
    return ClientFault("There is nothing at this address.", detail, status=404)


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
