"""
The admin socket, where the L{API<tqserver.admin.api>} is to be had by our own user. The metrics are also to be had on a
socket of their own, which the fronts ask.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from .api import Api
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


def admin_site(api: Api) -> Site:
    """The site of the admin socket."""
    return _quiet(api.resource())


def metrics_site(metrics: Callable[[], bytes]) -> Site:
    """A site that has the metrics and nothing else, whatever it is asked for."""
    return _quiet(_Document(CONTENT_TYPE, lambda request: metrics()))


def _quiet(root: IResource) -> Site:
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
