"""A document of the supervisor's own."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site


class Document(Resource):
    """Something that is made for each request."""

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


def quiet_site(root: IResource) -> Site:
    """A site that says nothing of itself in the log, nor of mistakes to who asked."""
    site = Site(root)
    site.noisy = False
    site.displayTracebacks = False
    return site
