"""
Workers in somebody else's house: a C{twisted.web} resource behind which everything is as behind our own
server.

L{WorkerResource} gives the requests that reach it to a L{Site<tqserver.front.site.Site>}, with backpressure
on the response; the request's body is what C{twisted.web} has spooled. L{ReverseProxy} is the same for
fixed addresses, in the place of C{twisted.web.proxy.ReverseProxyResource}.

It may be mounted at any depth: what follows the mount is the path that is routed, and what leads to it is
the exchange's C{mount}. C{Upgrade} is not served here, for C{twisted.web} keeps the connection to itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Protocol, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from ..errors import ClientFault, Fault
from ..http1.head import Headers, RequestHead
from ..http1.strict import request_head
from ..plane.messages import Endpoint, HTTPSettings, Route, Routing, WorkerRouting
from .exchange import IExchange
from .forward_http import IReactor
from .pages import error_response
from .site import Site
from .web_request import RequestExchange, WebRequest, set_headers

_OURS = frozenset([b"content-length", b"expect", b"keep-alive", b"te", b"transfer-encoding", b"upgrade"])
"""Request header fields that C{twisted.web} has dealt with: the body's framing, and what it does not do."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_SEGMENT_SAFE = "!$&'()*+,;=:@~"
"""What stands for itself in a path segment (RFC 3986 section 3.3)."""


class Serves(Protocol):
    """What is wanted of a L{Site<tqserver.front.site.Site>}."""

    def serve(self, exchange: IExchange) -> None:
        """Take care of a request."""


class WorkerResource(Resource):
    """
    A resource below which a site's routes live.

    C{Site(..., parsePOSTFormSubmission=False)} keeps C{twisted.web} from reading forms into memory before
    we see them.

    @ivar site: takes care of the requests.
    """

    isLeaf = True

    def __init__(self, reactor: IReactorTime, site: Serves, base: str = "") -> None:
        """
        @param site: takes care of the requests.
        @param base: is put before the path that follows the mount.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self.site = site
        self._base = base.rstrip("/").encode("ascii")

    def getChild(self, path: bytes, request: Request) -> IResource:
        """All that is below is ours; put back what was taken, for somebody did not care that we are a
        leaf."""
        web_request = cast(WebRequest, request)
        web_request.postpath.insert(0, web_request.prepath.pop())
        return self

    def render(self, request: Request) -> int | bytes:
        """Give the request to the site."""
        web_request = cast(WebRequest, request)
        mount, target = _split(web_request)
        try:
            head = _head(web_request, self._base + target)
        except Fault as fault:
            return _refused(web_request, fault)
        self.site.serve(RequestExchange(self._reactor, web_request, head, mount))
        return NOT_DONE_YET


class ReverseProxy(WorkerResource):
    """
    A reverse proxy to addresses that do not change: streams both ways, keeps connections, survives slow
    readers.

    Unlike C{ReverseProxyResource} it keeps the client's C{Host}.

    @ivar site: has a single worker, those servers.
    """

    site: Site

    def __init__(self, reactor: IReactorTime, site: Site, base: str = "") -> None:
        """See L{ReverseProxy.to}, which makes the site as well."""
        super().__init__(reactor, site, base)

    def close(self) -> None:
        """Serve no more, and close the connections that are kept; those in use are closed as they fall
        idle."""
        self.site.apply(Routing(version=self.site.routing.version + 1))

    @classmethod
    def to(
        cls,
        reactor: IReactor,
        *urls: str,
        request_timeout_s: float = 60.0,
        waiting_timeout_s: float = 5.0,
        concurrency_max: int = 0,
        trusted_proxies: Iterable[str] = (),
    ) -> ReverseProxy:
        """
        Make a proxy to a server, or to several that serve the same.

        @param urls: C{http://host:port/path} or C{unix:/path/of.sock}; what follows the mount is added to
            the path, which must be the same for all.
        @param request_timeout_s: longest wait for a response's head.
        @param waiting_timeout_s: longest wait for a server that accepts connections and has room. So a
            server may restart meanwhile; 504 after that.
        @param concurrency_max: requests at once to one server; those beyond wait. 0: no limit.
        @param trusted_proxies: networks whose word about the client is taken.
        @raise ValueError: an address makes no sense.
        """
        if not urls:
            raise ValueError("a reverse proxy needs an address")
        parsed = [_endpoint(number, url, concurrency_max) for number, url in enumerate(urls)]
        bases = {base for _, base in parsed}
        if len(bases) > 1:
            raise ValueError(f"the addresses differ in their path: {', '.join(sorted(bases))}")
        site = Site(reactor)
        worker = WorkerRouting(
            name="proxied",
            type="command",
            endpoints=tuple(endpoint for endpoint, _ in parsed),
            strip_prefix=False,
            request_timeout_s=request_timeout_s,
            waiting_timeout_s=waiting_timeout_s,
        )
        site.apply(
            Routing(
                version=1,
                http=HTTPSettings(trusted_proxies=tuple(trusted_proxies)),
                routes=(Route(prefix="/", worker=worker.name),),
                workers=(worker,),
            )
        )
        return cls(reactor, site, bases.pop())


def _endpoint(number: int, url: str, concurrency_max: int) -> tuple[Endpoint, str]:
    """
    An address as an endpoint, and its path.

    @raise ValueError: it is none that we can forward to.
    """
    name = f"proxied.{number}"
    if url.startswith("unix:/"):
        return Endpoint(id=name, path=url.removeprefix("unix:"), concurrency_max=concurrency_max), ""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{url!r} is no address to forward to: http://host:port/path or unix:/path/of.sock")
    endpoint = Endpoint(id=name, host=parts.hostname, port=parts.port or 80, concurrency_max=concurrency_max)
    return endpoint, parts.path.rstrip("/")


def _split(request: WebRequest) -> tuple[bytes, bytes]:
    """
    Where the resource is mounted, and the target below that as the client sent it. C{prepath} and
    C{postpath} are decoded, and what was C{%2F} cannot be told from a slash in them; so the path is cut by
    counting its segments.
    """
    path, mark, query = request.uri.partition(b"?")
    below = request.postpath
    segments = path.split(b"/")
    cut = len(segments) - len(below)
    mount, rest = segments[:cut], segments[cut:]
    if [unquote_to_bytes(segment) for segment in rest] != below:
        # Somebody above us rewrote the path: that is what they want to be served.
        mount = [b"", *map(_quoted, request.prepath)]
        rest = [_quoted(segment) for segment in below]
    return b"/".join(mount), b"/" + b"/".join(rest) + mark + query


def _quoted(segment: bytes) -> bytes:
    return quote_from_bytes(segment, safe=_SEGMENT_SAFE).encode("ascii")


def _head(request: WebRequest, target: bytes) -> RequestHead:
    """
    The request's head, as strictly as our own server takes it.

    @raise Fault: it is not acceptable.
    """
    headers: Headers = []
    for raw_name, values in request.requestHeaders.getAllRawHeaders():
        name = raw_name.lower()
        if not _NAME.fullmatch(name) or any(_CONTROL.search(value) for value in values):
            raise ClientFault("A header of the request is malformed.", "RFC 9110 section 5")
        if name in _OURS:
            continue
        if name == b"cookie":
            # HTTP/2 clients may send one field a cookie; HTTP/1.1 has one for all (RFC 9113 section 8.2.3).
            headers.append((name, b"; ".join(values)))
        else:
            headers.extend((name, value) for value in values)
    length = _content_length(request)
    if length or request.method not in (b"GET", b"HEAD"):
        headers.append((b"content-length", b"%d" % length))
    version = (1, 0) if request.clientproto == b"HTTP/1.0" else (1, 1)
    head = request_head(request.method, target, version, headers, True)
    if request.clientproto == b"HTTP/2":
        head.version = (2, 0)
    return head


def _content_length(request: WebRequest) -> int:
    """Bytes of the body that was spooled."""
    length = request.content.seek(0, os.SEEK_END)
    request.content.seek(0)
    return length


def _refused(request: WebRequest, fault: Fault) -> bytes:
    """Answer what is no proper request."""
    head, body = error_response(None, fault, "", False)
    request.setResponseCode(head.status, head.reason)
    set_headers(request, head.headers)
    return body
