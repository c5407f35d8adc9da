"""
The forwarder that speaks FastCGI: an exchange goes to a php-fpm pool.

L{FastCGIForwarder} keeps the connections and finds the scripts; a L{FastCGIAttempt} carries one exchange through.
"""

from __future__ import annotations

from ..errors import Fault, ServerFault
from ..fastcgi.disk import DiskFiles
from ..fastcgi.finder import ScriptFinder
from ..fastcgi.pool import FastCGIPool
from ..fastcgi.scripts import Files, MissingSlash
from ..http1.connecting import IConnecting
from ..http1.head import ResponseHead
from ..http1.outbox import Outbox
from ..http1.sweep import Sweep
from ..plane.messages import Endpoint, WorkerRouting
from .exchange import IExchange
from .fastcgi_attempt import FastCGIAttempt
from .fastcgi_request import Said
from .forward_http import Done


class FastCGIForwarder:
    """Takes exchanges to php-fpm pools."""

    def __init__(
        self,
        reactor: IConnecting,
        sweep: Sweep,
        said: Said,
        spool_directory: str | None = None,
        files: Files | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """
        @param sweep: looks after the timeouts.
        @param said: see L{Said}.
        @param spool_directory: where request bodies of unknown length are kept; L{None} for the system's
            choice.
        @param files: looks for scripts.
        @param outbox: where what is written waits for the end of the turn.
        """
        self.sweep = sweep
        self.said = said
        self.spool_directory = spool_directory
        self._reactor = reactor
        self._outbox = outbox or Outbox()
        self._files = DiskFiles() if files is None else files
        self._pools: dict[str, FastCGIPool] = {}
        self._finders: dict[tuple[str, str], ScriptFinder] = {}
        """By the worker's name and the prefix of the route."""

    def attempt(
        self,
        exchange: IExchange,
        worker: WorkerRouting,
        endpoint: Endpoint,
        prefix: str,
        told: list[bytes],
        done: Done,
    ) -> FastCGIAttempt | None:
        """
        Prepare an attempt to have C{exchange} answered by C{endpoint}.

        @param prefix: the mount prefix of the route, such as C{/blog}, or C{/}.
        @param told: the variables that tell of the client, and the header fields.
        @param done: called exactly once, perhaps before this returns.
        @return: what is to be started next; L{None} if it is done already.
        """
        try:
            finder = self._finders.get((worker.name, prefix))
            if finder is None or finder.target is not worker.fastcgi:
                finder = self._new_finder(worker, prefix)
            found = finder.find(exchange.head.path, self.sweep.now)
        except Fault as fault:
            done(fault, False)
            return None
        if isinstance(found, MissingSlash):
            _add_slash(exchange)
            done(None, False)
            return None
        pool = self._pools.get(endpoint.id)
        if pool is None or pool.endpoint is not endpoint:
            pool = self.pool(endpoint)
        return FastCGIAttempt(self, pool, exchange, worker, [*told, found.variables], done)

    def _new_finder(self, worker: WorkerRouting, prefix: str) -> ScriptFinder:
        if worker.fastcgi is None:
            raise ServerFault("The application is not complete.", "no FastCGI target", status=500)
        mount = prefix.rstrip("/").encode() if worker.strip_prefix else b""
        finder = self._finders[worker.name, prefix] = ScriptFinder(worker.fastcgi, mount, self._files)
        return finder

    def pool(self, endpoint: Endpoint) -> FastCGIPool:
        """The connections to an endpoint, by its present limits."""
        pool = self._pools.get(endpoint.id)
        if pool is None:
            pool = self._pools[endpoint.id] = FastCGIPool(self._reactor, self.sweep, self._outbox, endpoint)
        pool.endpoint = endpoint
        return pool

    def release(self, endpoint_id: str) -> None:
        """
        An endpoint has left the routing: its connections close, now or with the exchanges that use them.
        """
        pool = self._pools.pop(endpoint_id, None)
        if pool is not None:
            pool.close()
            # Its worker may have gone with it; who has not is found again.
            self._finders.clear()

    def close(self) -> None:
        """Release all."""
        for endpoint_id in list(self._pools):
            self.release(endpoint_id)


def _add_slash(exchange: IExchange) -> None:
    """
    Redirect to the same path with a slash. Slashes in front are made one, lest C{//host} become a link to a
    host.
    """
    head = exchange.head
    location = b"/" + head.path.strip(b"/") + b"/"
    if head.query is not None:
        location += b"?" + head.query
    status, reason = (301, b"Moved Permanently") if head.method in (b"GET", b"HEAD") else (308, b"Permanent Redirect")
    exchange.answer(ResponseHead(status, reason, [(b"Location", location)], 0), b"")
