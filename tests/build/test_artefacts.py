"""Tests of L{tqserver.build.artefacts}."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from tqserver.build import artefacts

from .making import Workshop


class ArtefactsTests(SynchronousTestCase):
    """How builds are kept."""

    def setUp(self) -> None:
        """A project."""
        self.shop = Workshop(self.mktemp())

    def read(self, path: str) -> str:
        """A file's text."""
        with open(os.path.join(self.shop.project, path)) as file:
            return file.read()

    def test_link(self) -> None:
        """A build has two names and takes its room on the disk once; an old file of the name is replaced."""
        source = self.shop.write("a/x", "new")
        target = self.shop.write("b/x", "old")
        for _ in range(2):
            artefacts.link_or_copy(source, target)
            self.assertTrue(os.path.samefile(source, target))
            self.assertEqual(os.listdir(f"{self.shop.project}/b"), ["x"])

    def test_copy_where_links_cannot_be(self) -> None:
        """Between file systems the build is copied, with its permissions."""
        source = self.shop.program("x", content=b"new")

        def refuse(source: str, target: str) -> None:
            raise OSError(errno.EXDEV, "other file system")

        self.patch(os, "link", refuse)
        artefacts.link_or_copy(source, f"{self.shop.project}/y")
        self.assertEqual(self.read("y"), "new")
        self.assertTrue(os.access(f"{self.shop.project}/y", os.X_OK))

    def test_prune(self) -> None:
        """The latest three builds are kept, and those that still run; others are removed."""
        for number in range(6):
            path = self.shop.write(f"builds/k{number}/x")
            os.utime(os.path.dirname(path), (number, number))
        builds = f"{self.shop.project}/builds"
        artefacts.prune(builds, {f"{builds}/k1/x"})
        self.assertEqual(sorted(os.listdir(builds)), ["k1", "k3", "k4", "k5"])

    def test_is_one_of(self) -> None:
        """A file is recognised as a build by what it is, not by its content."""
        source = self.shop.write("builds/k/w", "same")
        other = self.shop.write("other", "same")
        builds = f"{self.shop.project}/builds"
        os.link(source, f"{self.shop.project}/linked")
        self.assertTrue(artefacts.is_one_of(f"{self.shop.project}/linked", builds, "w"))
        self.assertFalse(artefacts.is_one_of(other, builds, "w"))
        self.assertFalse(artefacts.is_one_of(other, "/nowhere", "w"))
