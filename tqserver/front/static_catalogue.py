"""
All places of files of a routing, and which of them are for which requests.

A new routing comes with every instance that comes or goes, and mostly changes nothing here: what is the same as before
stays, with all that has been learned of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from ..plane.messages import Routing, StaticSettings, WorkerRouting
from .static_path import Rules
from .static_places import Place, Places
from .static_roots import MakeNotifier, Roots

CACHE_CONTROL = b"no-cache"
"""Of files that no rule is for: kept by clients, but only used when we say that it is still the same."""

_PlaceKey = tuple[str, StaticSettings]
_PlacesKey = tuple[bytes, Place | None, Place | None, bytes | None]


class Catalogue:
    """
    The places of a routing.

    @ivar server: for requests that are for no worker.
    """

    def __init__(
        self, make_notifier: MakeNotifier | None, now_ns: Callable[[], int], forget: Callable[[Place], None]
    ) -> None:
        """
        @param forget: is told of places that are no more.
        """
        self._roots = Roots(make_notifier, now_ns)
        self._forget = forget
        self._known: dict[_PlaceKey, Place] = {}
        self._private: dict[str, Place] = {}
        self._together: dict[_PlacesKey, Places] = {}
        self._of_workers: dict[str, dict[str, Places]] = {}
        self.server = self._places({}, b"", None, None, None)

    def update(self, routing: Routing) -> None:
        """Take over a routing."""
        known, self._known = self._known, {}
        together, self._together = self._together, {}
        self._roots.retry()
        shared = self._place(known, routing.http.public, routing.http.static)
        self.server = self._places(together, b"", None, shared, None)
        workers = {worker.name: worker for worker in routing.workers}
        self._of_workers = {name: {} for name in workers}
        for route in routing.routes:
            worker = workers.get(route.worker)
            if worker is not None:
                own = self._place(known, worker.public, worker.static)
                prefix = route.prefix.rstrip("/").encode()
                fallback = b"/" + os.fsencode(worker.static.fallback) if own and worker.static.fallback else None
                places = self._places(together, prefix, own, shared, fallback)
                self._of_workers[worker.name][route.prefix] = places
        for places in together.values():
            places.close()
        for place in known.values():
            self._forget(place)
            if place.root is not None:
                self._roots.close(place.root)
        for folder in self._private.keys() - set(_private_folders(routing.workers)):
            self._forget(self._private.pop(folder))

    def of_worker(self, worker: str) -> Mapping[str, Places]:
        """
        Where the files for the requests of a worker may lie, by the prefixes of its routes, until the next L{update}.

        @param worker: its name.
        """
        return self._of_workers.get(worker, {})

    def private(self, folder: str) -> Place:
        """The place of files that only a worker may name. It lasts as long as one does in the routing."""
        place = self._private.get(folder)
        if place is None:
            rules = Rules((), CACHE_CONTROL)
            place = self._private[folder] = Place(os.fsencode(folder), None, (), rules, sources=True)
        return place

    def _place(self, known: dict[_PlaceKey, Place], public: str, settings: StaticSettings) -> Place | None:
        """
        The place of a folder.

        @param known: those of before that are not used again yet.
        """
        if not public:
            return None
        key = (public, settings)
        place = self._known.get(key) or known.pop(key, None)
        if place is None:
            rules = Rules(settings.cache_control, CACHE_CONTROL)
            indexes = tuple(map(os.fsencode, settings.index))
            place = Place(os.fsencode(public), self._roots.open(public), indexes, rules, sources=False)
        self._known[key] = place
        return place

    def _places(
        self,
        known: dict[_PlacesKey, Places],
        prefix: bytes,
        own: Place | None,
        shared: Place | None,
        fallback: bytes | None,
    ) -> Places:
        """Places together, likewise."""
        key = (prefix, own, shared, fallback)
        places = self._together.get(key) or known.pop(key, None) or Places(*key)
        self._together[key] = places
        return places


def _private_folders(workers: tuple[WorkerRouting, ...]) -> Iterator[str]:
    """The folders of files that only workers may name."""
    for worker in workers:
        for _, folder in worker.x_accel_redirect:
            yield folder
        yield from worker.x_sendfile
