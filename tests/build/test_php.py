"""Tests of L{tqserver.build.php}."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tqserver.build import php
from tqserver.build.model import BuildFault
from tqserver.build.php import PHPBuilder, find_php_fpm
from tqserver.build.recipe import IBuilder, Recipe

from .making import Workshop


class PHPTests(SynchronousTestCase):
    """Which php-fpm is run."""

    def setUp(self) -> None:
        """A worker, and no php-fpm at all."""
        self.shop = Workshop(self.mktemp())
        self.worker = self.shop.worker("php")
        self.builder = PHPBuilder()
        self.patch(php, "FOLDERS", (f"{self.shop.project}/sbin",))

    def recipe(self) -> Recipe:
        """What is to be done now."""
        return self.builder.recipe(self.shop.job(self.builder, self.worker))

    def test_interface(self) -> None:
        """It does what a builder does."""
        verifyObject(IBuilder, self.builder)

    def test_newest(self) -> None:
        """The newest php-fpm is taken: 8.10 is newer than 8.4, and any version than one that does not say."""
        for name, folder in (
            ("php-fpm", ""),
            ("php-fpm74", "sbin"),
            ("php-fpm8.2", "sbin"),
            ("php-fpm8.4", ""),
            ("php-fpm8.10", "sbin"),
        ):
            path = self.shop.program(name, folder)
            self.assertEqual(find_php_fpm(self.shop.tools()), path)

    def test_missing(self) -> None:
        """Without php-fpm, the way to get it is told."""
        fault = self.assertRaises(BuildFault, self.recipe)
        self.assertEqual(fault.kind, "missing-tool")
        self.assertIn("apt install php-fpm", fault.remedy)

    def test_configured(self) -> None:
        """A binary of the configuration is taken, by name or path; one that is not there is a fault."""
        self.shop.program("php-fpm8.4", "sbin")
        old = self.shop.program("php-fpm8.2", "sbin")
        for binary in ("php-fpm8.2", old):
            self.worker = evolve(self.worker, php=evolve(self.worker.php, binary=binary))
            self.assertEqual(self.recipe().argv, (old,))
        self.worker = evolve(self.worker, php=evolve(self.worker.php, binary="php-fpm5.6"))
        self.assertIn("php-fpm5.6 is not there", self.assertRaises(BuildFault, self.recipe).reason)

    def test_sources_do_not_count(self) -> None:
        """Saving a page changes no process; another php-fpm does."""
        self.shop.program("php-fpm8.2")
        first = self.recipe()
        self.shop.write("workers/w/public/index.php")
        self.shop.write("workers/w/src/a.php")
        self.assertEqual(self.recipe().key, first.key)
        self.assertEqual(first.steps, ())
        self.shop.program("php-fpm8.4")
        self.assertNotEqual(self.recipe().key, first.key)

    def test_document_root(self) -> None:
        """A document root that is not there is told before php-fpm is started."""
        self.shop.program("php-fpm8.2")
        self.worker = evolve(self.worker, php=evolve(self.worker.php, document_root="/nowhere"))
        self.assertIn("/nowhere does not exist", self.assertRaises(BuildFault, self.recipe).reason)
