"""
The admin socket: C{GET /status} is the status tree as JSON, C{GET /health} tells whether the server serves,
C{GET /metrics} are the metrics. The metrics are also to be had on a socket of their own, which the fronts ask.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable

from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from .metrics import CONTENT_TYPE

SOCKET_MODE = 0o600


class _Document(Resource):
    """Something that is computed for each request."""

    isLeaf = True

    def __init__(self, content_type: bytes, render: Callable[[HTTPRequest], bytes]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._content_type = content_type
        self._render = render

    def render_GET(self, request: Request) -> bytes:
        """The document."""
        request.setHeader(b"content-type", self._content_type)
        request.setHeader(b"cache-control", b"no-store")
        return self._render(request)


def admin_site(
    status: Callable[[], dict[str, object]],
    healthy: Callable[[], bool],
    metrics: Callable[[], bytes] | None = None,
) -> Site:
    """
    Make the site.

    @param status: the status tree, of plain JSON values.
    @param healthy: whether every enabled worker serves.
    @param metrics: the metrics as text; L{None} if there are none.
    """

    def health(request: HTTPRequest) -> bytes:
        well = healthy()
        if not well:
            request.setResponseCode(503)
        return b"ok\n" if well else b"not every worker serves: see /status\n"

    root = Resource()
    root.putChild(
        b"status",
        _Document(b"application/json", lambda request: json.dumps(status(), indent=2).encode() + b"\n"),
    )
    root.putChild(b"health", _Document(b"text/plain; charset=utf-8", health))
    if metrics is not None:
        root.putChild(b"metrics", _Document(CONTENT_TYPE, lambda request: metrics()))
    return _quiet(root)


def metrics_site(metrics: Callable[[], bytes]) -> Site:
    """A site that has the metrics and nothing else, whatever it is asked for."""
    return _quiet(_Document(CONTENT_TYPE, lambda request: metrics()))


def _quiet(root: Resource) -> Site:
    site = Site(root)
    site.noisy = False
    site.displayTracebacks = False
    return site


def listen_admin(reactor: IReactorUNIX, path: str, site: Site) -> IListeningPort:
    """
    Open the socket, readable and writable for our own user alone.

    A socket that a killed server left behind is replaced: the project's lock says that nobody else is here.

    @raise OSError: it cannot be opened.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
    before = os.umask(0o177)
    try:
        return reactor.listenUNIX(path, site, mode=SOCKET_MODE)  # type: ignore[arg-type]
    finally:
        os.umask(before)
