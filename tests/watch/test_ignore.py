"""Tests of L{tqserver.watch.ignore}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import WatchConfig
from tqserver.watch.ignore import PATTERNS_MAX, Ignore

NAMES = st.text(alphabet="ab.~#*[?", min_size=1, max_size=6)


class IgnoreTests(SynchronousTestCase):
    """What the configured patterns leave out."""

    def setUp(self) -> None:
        """The patterns of the default configuration."""
        self.ignore = Ignore(WatchConfig().ignore)

    def test_sources_count(self) -> None:
        """A source file anywhere is not ignored, and neither is the worker's folder itself."""
        for path in ("main.go", "src/main.go", "a/b/c.ts", "config/worker.yaml", "src/bin/tool.go", ""):
            self.assertFalse(self.ignore.ignores(path), path)

    def test_name_patterns(self) -> None:
        """A pattern without a slash leaves out files of that name in every folder."""
        for path in ("x.log", "src/x.log", "a/main.go~", ".#main.go", "src/.main.go.swp", "src/.main.go.swx"):
            self.assertTrue(self.ignore.ignores(path), path)

    def test_folder_patterns(self) -> None:
        """A pattern that ends in a slash leaves out a folder with all in it, but not a file of that name."""
        self.assertTrue(self.ignore.ignores("data/items.db"))
        self.assertTrue(self.ignore.ignores("src/data/deep/items.db"))
        self.assertTrue(self.ignore.ignores("data", folder=True))
        self.assertFalse(self.ignore.ignores("data", folder=False))
        self.assertFalse(self.ignore.ignores("database/items.db"))

    def test_output_is_always_ignored(self) -> None:
        """Build output never counts, even when the configuration has no patterns at all."""
        ignore = Ignore(())
        for path in ("bin/api", "var/x", ".venv/lib/a.py", "node_modules/a/b.js", "src/__pycache__/a.pyc"):
            self.assertTrue(ignore.ignores(path), path)

    def test_editor_files_are_always_ignored(self) -> None:
        """What an editor writes beside the file that it saves means nothing."""
        ignore = Ignore(())
        for path in (
            "4913",
            "src/4913",
            ".#app.py",
            "#app.py#",
            "app.py~",
            ".app.py.swp",
            "app.py___jb_tmp___",
        ):
            self.assertTrue(ignore.ignores(path), path)

    def test_anchored_patterns(self) -> None:
        """A pattern with a slash in front or inside counts from the worker's folder only."""
        ignore = Ignore(("/cache/", "docs/*.txt"))
        self.assertTrue(ignore.ignores("cache/x"))
        self.assertFalse(ignore.ignores("src/cache/x"))
        self.assertTrue(ignore.ignores("docs/a.txt"))
        self.assertFalse(ignore.ignores("src/docs/a.txt"))

    def test_empty_patterns_match_nothing(self) -> None:
        """An empty pattern, or a lone slash, does not leave out everything."""
        self.assertFalse(Ignore(("", "/", "//")).ignores("main.go"))

    def test_too_many(self) -> None:
        """A list of patterns beyond all reason is refused."""
        self.assertRaises(ValueError, Ignore, [f"p{number}" for number in range(PATTERNS_MAX + 1)])

    def test_equal(self) -> None:
        """Two lists made of the same patterns are the same, so that a reload changes nothing."""
        self.assertEqual(Ignore(("a", "b/")), Ignore(("a", "b/")))
        self.assertNotEqual(Ignore(("a",)), Ignore(("b",)))

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(st.lists(NAMES, max_size=4), st.lists(NAMES, min_size=1, max_size=4))
    def test_what_is_below_an_ignored_folder_is_ignored(self, patterns: list[str], names: list[str]) -> None:
        """Whatever the patterns: nothing below an ignored folder ever counts, and nothing raises."""
        ignore = Ignore(patterns)
        path = "/".join(names)
        if ignore.ignores(path, folder=True):
            self.assertTrue(ignore.ignores(path + "/x/main.go"))
        parents = ["/".join(names[:index]) for index in range(1, len(names))]
        step_by_step = any(ignore.ignores_entry(parent, True) for parent in parents)
        self.assertEqual(ignore.ignores(path), step_by_step or ignore.ignores_entry(path, False))
