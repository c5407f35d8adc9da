"""Where requests go: to which worker, by which route, and where a file may lie that they mean."""

from __future__ import annotations

from collections.abc import Mapping

from ..http1.head import RequestHead
from ..plane.messages import Route
from .routes import Match, RouteTable
from .static_catalogue import Catalogue
from .static_places import Places
from .worker import Worker

PATHS_REMEMBERED_MAX = 4096
"""Paths whose destination is known; when there are more, all are forgotten and it begins anew."""

PATH_BYTES_REMEMBERED_MAX = 256

Destination = tuple[Match | None, Worker | None, Places]
"""The route of a request, its worker, and where a file may lie that it means."""


class Destinations:
    """
    Knows them.

    @ivar known: those that were found before, by path, as long as the host does not matter.
    """

    def __init__(self, workers: Mapping[str, Worker], catalogue: Catalogue) -> None:
        """
        @param workers: by name; looked up anew for each path.
        """
        self.known: dict[bytes, Destination] = {}
        self._workers = workers
        self._catalogue = catalogue
        self._table = RouteTable(())

    def update(self, routes: tuple[Route, ...]) -> None:
        """Go by these routes from now on. What is known is of the old ones, workers and files."""
        self._table = RouteTable(routes)
        self.known.clear()

    def find(self, head: RequestHead) -> Destination:
        """Where a request goes; remembered, as most paths are asked for again."""
        match = self._table.match(head.host, head.path)
        worker = self._workers.get(match.worker) if match is not None else None
        places = self._catalogue.server
        if worker is not None and match is not None:
            places = worker.places.get(match.prefix, places)
        destination = match, worker, places
        if len(head.path) <= PATH_BYTES_REMEMBERED_MAX and not self._table.by_host:
            if len(self.known) >= PATHS_REMEMBERED_MAX:
                self.known.clear()
            self.known[head.path] = destination
        return destination
