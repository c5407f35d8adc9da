"""Tests of L{tqserver.watch.walk}."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tqserver.watch.ignore import Ignore
from tqserver.watch.walk import Walk


class WalkTests(SynchronousTestCase):
    """Which files a walk meets."""

    def setUp(self) -> None:
        """A project with one worker."""
        self.base = os.path.abspath(self.mktemp())
        self.top = f"{self.base}/workers/w"
        os.makedirs(self.top)

    def write(self, path: str, text: str = "x") -> None:
        """Write a file below the base."""
        full = os.path.join(self.base, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(text)

    def met(self, relative: str = "", *patterns: str) -> list[str]:
        """What is met, folders with a slash."""
        walk = Walk(self.top, Ignore(patterns))
        return [found.relative + "/" * found.folder for found in walk.below(relative)]

    def test_folders_come_before_what_is_in_them(self) -> None:
        """Whoever watches folders can do it before they are listed."""
        self.write("workers/w/b/c/d")
        self.write("workers/w/a")
        self.assertEqual(self.met(), ["/", "a", "b/", "b/c/", "b/c/d"])

    def test_listed_after_it_was_yielded(self) -> None:
        """A file that appears while its folder is in the caller's hands is met."""
        os.mkdir(f"{self.top}/sub")
        met = []
        for found in Walk(self.top, Ignore()).below():
            met.append(found.relative)
            if found.relative == "sub":
                self.write("workers/w/sub/late")
        self.assertIn("sub/late", met)

    def test_ignored_folders_are_not_entered(self) -> None:
        """An ignored folder is not even met, and nothing in it."""
        self.write("workers/w/data/x")
        self.write("workers/w/src/a.log")
        self.assertEqual(self.met("", "data/", "*.log"), ["/", "src/"])

    def test_a_link_out_is_followed(self) -> None:
        """A folder of another place, linked into the worker, belongs to it."""
        self.write("shared/a.go")
        os.symlink(f"{self.base}/shared", f"{self.top}/lib")
        self.assertEqual(self.met(), ["/", "lib/", "lib/a.go"])

    def test_a_target_is_met_once(self) -> None:
        """Two links to one folder, or a link within it to itself, do not multiply it."""
        self.write("shared/a.go")
        os.symlink(f"{self.base}/shared", f"{self.base}/shared/again")
        os.symlink(f"{self.base}/shared", f"{self.top}/lib")
        os.symlink(f"{self.base}/shared", f"{self.top}/lib2")
        self.assertEqual([path for path in self.met() if path.endswith("a.go")], ["lib/a.go"])

    def test_loops_end(self) -> None:
        """Links to the worker's folder, to one around it and to one within it are not walked through."""
        self.write("workers/w/src/a.go")
        for number, target in enumerate((self.top, self.base, "/", f"{self.top}/src")):
            os.symlink(target, f"{self.top}/link{number}")
        self.assertEqual(self.met(), ["/", "link0", "link1", "link2", "link3", "src/", "src/a.go"])
        self.assertEqual(self.met("link1"), [])

    def test_broken_link(self) -> None:
        """A link that leads nowhere is met, because it counts that it is there."""
        os.symlink("/nowhere/at/all", f"{self.top}/a")
        self.assertEqual(self.met(), ["/", "a"])

    def test_missing(self) -> None:
        """A tree that is not there yields nothing and says so."""
        walk = Walk(self.top + "/gone", Ignore())
        self.assertEqual(list(walk.below()), [])
        self.assertEqual(len(walk.failed), 1)
