"""Tests of L{tqserver.watch.kinds}."""

from __future__ import annotations

from typing import get_args

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import RouteConfig, WorkerConfig, WorkerType
from tqserver.config.queue_model import ApiSettings, QueueSettings, StoreSettings, ZapqSettings
from tqserver.watch.ignore import Ignore
from tqserver.watch.kinds import Kind, classify, foremost, source_patterns


def make(type: WorkerType, public: bool = True) -> WorkerConfig:
    """A worker of this type in C{/p/workers/w}."""
    directory = "/p/workers/w"
    return WorkerConfig(
        name="w",
        directory=directory,
        file=f"{directory}/config/worker.yaml",
        routes=(RouteConfig(prefix="/w"),),
        type=type,
        public=f"{directory}/public" if public else None,
    )


class ClassifyTests(SynchronousTestCase):
    """What a saved file asks for."""

    def expect(self, type: WorkerType, **kinds: str) -> None:
        """Check paths, given as one string with spaces for each kind."""
        for kind, paths in kinds.items():
            for path in paths.split():
                self.assertIs(classify(make(type), path), Kind(kind), f"{type}: {path}")

    def test_go(self) -> None:
        """A Go worker is built for its sources and whatever they may embed, not for tests and output."""
        self.expect(
            "go",
            source="main.go go.mod go.sum src/main.go assets/x.txt",
            settings="views/index.html config/extra.json",
            config="config/worker.yaml",
            public="public/site.css public/a/b.js public",
            nothing="bin/w src/main_test.go var/x",
        )

    def test_bun_and_python(self) -> None:
        """For Bun and Python every other file is source."""
        for type in ("bun", "python"):
            self.expect(
                type,
                source="index.ts app.py src/a.ts package.json requirements.txt templates/x.html .env",
                settings="views/index.html config/extra.json",
                public="public/x.php public/a.css",
                nothing="node_modules/a/b.js .venv/x/bin/python src/__pycache__/a.pyc bin/x",
            )

    def test_php(self) -> None:
        """Saving a page touches no process; configuration does."""
        self.expect(
            "php",
            page="public/index.php src/Post.php views/list.php vendor/autoload.php public/a/b.php",
            public="public/site.css",
            settings="config/php.ini",
            config="config/worker.yaml config",
            nothing="var/x",
        )

    def test_command(self) -> None:
        """What a build puts into the customary folders does not ask for the next build."""
        self.expect("command", source="main.rs src/x", nothing="target/debug/x dist/a bin/w build/x out/x")

    def test_static_and_queue(self) -> None:
        """Workers without sources have nothing to build."""
        self.expect("static", public="public/a.html", nothing="README main.go", config="config/worker.yaml")
        self.expect("queue", nothing="x", settings="config/tokens")

    def test_data_of_a_queue(self) -> None:
        """What a queue writes is not even looked at, wherever its folders are; its configuration is."""
        told = QueueSettings(
            apis=ApiSettings(zapq=ZapqSettings(data="/p/workers/w/snap[1]")),
            store=StoreSettings(directory="/p/workers/w/kept/tasks"),
        )
        ignore = Ignore(source_patterns(evolve(make("queue"), queue=told)))
        for path in ("kept/tasks/queue.sqlite-wal", "snap[1]/a.json", "data/x"):
            self.assertTrue(ignore.ignores(path), path)
        for path in ("config/worker.yaml", "kept/x", "snap1/x", "public/a.css"):
            self.assertFalse(ignore.ignores(path), path)
        for elsewhere in ("/var/lib/queue", "/p/workers/w", "/p/workers/w2"):
            told = QueueSettings(store=StoreSettings(directory=elsewhere))
            ignore = Ignore(source_patterns(evolve(make("queue"), queue=told)))
            self.assertFalse(ignore.ignores("config/worker.yaml"), elsewhere)

    def test_the_folder_itself(self) -> None:
        """When anything may have changed, the configuration is looked at, and with it everything."""
        self.assertIs(classify(make("go"), "."), Kind.CONFIG)
        self.assertIs(classify(make("go"), ""), Kind.CONFIG)

    def test_a_new_public_folder(self) -> None:
        """A worker that gets its first static files is configured anew, so that the fronts look there."""
        self.assertIs(classify(make("go", public=False), "public"), Kind.CONFIG)
        self.assertIs(classify(make("go", public=False), "public/a.css"), Kind.PUBLIC)

    def test_a_public_folder_elsewhere(self) -> None:
        """The configured folder of static files counts, not one that is only called like the default."""
        worker = WorkerConfig(
            name="w",
            directory="/p/workers/w",
            file="/p/workers/w/config/worker.yaml",
            routes=(RouteConfig(prefix="/w"),),
            type="bun",
            public="/p/workers/w/web/static",
        )
        self.assertIs(classify(worker, "web/static/a.css"), Kind.PUBLIC)
        self.assertIs(classify(worker, "web/index.ts"), Kind.SOURCE)
        self.assertIs(classify(worker, "public/index.ts"), Kind.SOURCE)

    def test_foremost(self) -> None:
        """Of many changes the one that asks for most decides."""
        self.assertIs(foremost([Kind.PUBLIC, Kind.SOURCE, Kind.PAGE]), Kind.SOURCE)
        self.assertIs(foremost([Kind.SETTINGS, Kind.CONFIG, Kind.SOURCE]), Kind.CONFIG)
        self.assertIs(foremost([]), Kind.NOTHING)

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        st.sampled_from(get_args(WorkerType)),
        st.lists(
            st.sampled_from(["bin", "var", "dist", "src", "public", "views", "config", "a.go", "node_modules"]),
            min_size=1,
            max_size=4,
        ),
    )
    def test_what_is_not_watched_means_nothing(self, type: WorkerType, names: list[str]) -> None:
        """
        The watcher's and the builds' idea of build output agree with ours: what they leave out is nothing.
        """
        worker, path = make(type), "/".join([*names, "x"])
        if Ignore(source_patterns(worker)).ignores(path):
            self.assertIn(classify(worker, path), (Kind.NOTHING, Kind.PUBLIC, Kind.SETTINGS, Kind.PAGE))
        if classify(worker, path) is Kind.SOURCE:
            self.assertFalse(Ignore(source_patterns(worker)).ignores(path))
