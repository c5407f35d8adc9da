"""Tests of L{tqserver.build.command}."""

from __future__ import annotations

import os

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tqserver.build.command import CommandBuilder, NothingBuilder
from tqserver.build.model import BuildFault
from tqserver.build.recipe import IBuilder, Recipe

from .making import Workshop


class CommandTests(SynchronousTestCase):
    """How workers of any other language are built."""

    def setUp(self) -> None:
        """A worker that is built by make."""
        self.shop = Workshop(self.mktemp())
        self.worker = self.shop.worker("command", build=("make", "{name}"), run=("bin/server", "{port}"))
        self.shop.write("workers/w/main.c", "1", at=1e9)
        self.builder = CommandBuilder()

    def recipe(self, previous_key: str = "") -> Recipe:
        """What is to be done now."""
        return self.builder.recipe(self.shop.job(self.builder, self.worker, previous_key))

    def test_interface(self) -> None:
        """They do what builders do."""
        verifyObject(IBuilder, self.builder)
        verifyObject(IBuilder, NothingBuilder())

    def test_built_and_run(self) -> None:
        """The commands of the configuration are run in the worker's folder."""
        recipe = self.recipe()
        (step,) = recipe.steps
        self.assertEqual((step.argv, step.directory), (("make", "w"), self.worker.directory))
        self.assertEqual(step.environment["WORKER_NAME"], "w")
        self.assertEqual(recipe.argv, ("bin/server", "{port}"))

    def test_nothing_to_build(self) -> None:
        """A worker without a build command is run as it is; a change is a new version all the same."""
        self.worker = evolve(self.worker, build=())
        first = self.recipe()
        self.assertEqual(first.steps, ())
        self.shop.write("workers/w/main.c", "2")
        self.assertNotEqual(self.recipe().key, first.key)

    def test_built_once(self) -> None:
        """The same sources are not built twice, unless what was built has gone."""
        first = self.recipe()
        path = self.shop.write("workers/w/bin/server", at=1.0)
        self.assertEqual(self.recipe(first.key).steps, ())
        os.unlink(path)
        self.assertEqual(len(self.recipe(first.key).steps), 1)

    def test_newer_output(self) -> None:
        """A host that got the program with the sources need not be able to build it."""
        self.shop.write("workers/w/bin/server", at=2e9)
        self.assertEqual(self.recipe().steps, ())
        self.shop.write("workers/w/bin/server", at=1e8)
        self.assertEqual(len(self.recipe().steps), 1)

    def test_the_program_is_a_source(self) -> None:
        """A script that is a source itself says nothing about whether the build was done."""
        self.worker = evolve(self.worker, run=("./server.sh",))
        self.shop.write("workers/w/server.sh", at=2e9)
        self.assertEqual(len(self.recipe().steps), 1)

    def test_output_is_no_source(self) -> None:
        """What the build writes does not make another version."""
        first = self.recipe()
        for path in ("target/x", "dist/y", "bin/server"):
            self.shop.write(f"workers/w/{path}")
        self.assertEqual(self.recipe().key, first.key)

    def test_not_said_how_to_run(self) -> None:
        """A worker that does not say how it is run is a fault."""
        self.worker = evolve(self.worker, run=())
        self.assertIn("set run", self.assertRaises(BuildFault, self.recipe).remedy)

    def test_static(self) -> None:
        """Static files need neither build nor process."""
        builder = NothingBuilder()
        recipe = builder.recipe(self.shop.job(builder, self.shop.worker("static", "s")))
        self.assertEqual((recipe.argv, recipe.steps), ((), ()))
