"""Which places are for which requests, and what a new routing changes."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tqserver.front.static_catalogue import Catalogue
from tqserver.front.static_places import Place
from tqserver.plane.messages import HTTPSettings, Route, Routing, StaticSettings, WorkerRouting


class CatalogueTests(SynchronousTestCase):
    """A catalogue of two workers and the server."""

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.forgotten: list[Place] = []
        self.catalogue = Catalogue(None, lambda: 1 << 62, self.forgotten.append)

    def update(self, *workers: WorkerRouting, prefixes: tuple[str, ...] = ("/a", "/b"), public: str = "shared") -> None:
        """A routing in which each worker has all the prefixes, below its name."""
        self.catalogue.update(
            Routing(
                version=1,
                http=HTTPSettings(public=str(self.base / public) if public else ""),
                routes=tuple(
                    Route(prefix=f"/{worker.name}{prefix}", worker=worker.name)
                    for worker in workers
                    for prefix in prefixes
                ),
                workers=workers,
            )
        )

    def worker(self, name: str, **options: object) -> WorkerRouting:
        """A worker with files."""
        return WorkerRouting(name=name, type="static", public=str(self.base / name), **options)  # type: ignore[arg-type]

    def test_shared(self) -> None:
        """The server's folder is one place for all, a worker's one for all its routes."""
        self.update(self.worker("x"), self.worker("y"))
        first, second = self.catalogue.of_worker("x").values()
        other, _ = self.catalogue.of_worker("y").values()
        self.assertIs(first.own, second.own)
        self.assertIsNot(first.own, other.own)
        self.assertEqual(first.candidates(b"/x/a/b", 4)[-1], other.candidates(b"/x/a/b", 4)[-1])
        self.assertEqual(self.catalogue.server.candidates(b"/x", 0)[0][0].base, os.fsencode(self.base / "shared"))

    def test_same_again(self) -> None:
        """A routing that changes nothing here leaves everything as it is."""
        self.update(self.worker("x"), self.worker("y"))
        before = dict(self.catalogue.of_worker("x")), self.catalogue.server
        self.update(self.worker("x", generation=2), self.worker("y"))
        self.assertEqual((dict(self.catalogue.of_worker("x")), self.catalogue.server), before)
        self.assertEqual(self.forgotten, [])
        own = self.catalogue.of_worker("x")["/x/a"].own
        assert own is not None and own.root is not None
        self.assertEqual((own.root.users, len(own.root.listeners)), (1, 2))

    def test_worker_removed(self) -> None:
        """What a worker that is removed had is forgotten, and nothing else."""
        self.update(self.worker("x"), self.worker("y"))
        own = self.catalogue.of_worker("y")["/y/a"].own
        assert own is not None and own.root is not None
        self.update(self.worker("x"))
        self.assertEqual(self.forgotten, [own])
        self.assertEqual((own.root.users, own.root.listeners), (0, set()))
        self.assertEqual(self.catalogue.of_worker("y"), {})

    def test_settings_changed(self) -> None:
        """Other settings make another place of the same folder, which is watched on."""
        self.update(self.worker("x"))
        before = self.catalogue.of_worker("x")["/x/a"].own
        self.update(self.worker("x", static=StaticSettings(index=("home.html",))))
        after = self.catalogue.of_worker("x")["/x/a"].own
        assert before is not None and after is not None and after.root is not None
        self.assertEqual(self.forgotten, [before])
        self.assertIs(after.root, before.root)
        self.assertEqual(after.root.users, 1)

    def test_no_folder(self) -> None:
        """Where there is no folder there is nothing to look at, and no page to fall back to."""
        worker = WorkerRouting(name="x", type="go", static=StaticSettings(fallback="index.html"))
        self.update(worker, public="")
        places = self.catalogue.of_worker("x")["/x/a"]
        self.assertEqual((places.candidates(b"/x/a/b", 4), places.fallback), ([], None))
        self.assertFalse(places.may_hold(b"/x/a/b"))

    def test_private(self) -> None:
        """A private folder is one place, for as long as somebody may name its files."""
        allowed = self.worker("x", x_sendfile=("/files",), x_accel_redirect=(("/p", "/others"),))
        self.update(allowed)
        places = self.catalogue.private("/files"), self.catalogue.private("/others")
        self.update(allowed)
        self.assertIs(self.catalogue.private("/files"), places[0])
        self.update(self.worker("x", x_sendfile=("/files",)))
        self.assertEqual(self.forgotten, [places[1]])
