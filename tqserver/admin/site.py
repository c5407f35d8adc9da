"""
The admin socket, where the L{API<tqserver.admin.api>} is to be had by our own user. The metrics are also to be had on a
socket of their own, which the fronts ask.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.web.server import Site

from .api import Api
from .document import Document, quiet_site
from .metrics import CONTENT_TYPE

SOCKET_MODE = 0o600


def admin_site(api: Api) -> Site:
    """The site of the admin socket."""
    return quiet_site(api.resource())


def metrics_site(metrics: Callable[[], bytes]) -> Site:
    """A site that has the metrics and nothing else, whatever it is asked for."""
    return quiet_site(Document(CONTENT_TYPE, lambda request: metrics()))


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
