"""Tests of L{tqserver.build.bun}: what is decided, without Bun."""

from __future__ import annotations

import json
import os

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tqserver.build.bun import BunBuilder, find_bun
from tqserver.build.model import BuildFault
from tqserver.build.recipe import IBuilder, Recipe
from tqserver.config.model import BunConfig

from .making import Workshop


class BunTests(SynchronousTestCase):
    """How Bun workers are built."""

    def setUp(self) -> None:
        """A worker of one file, and a Bun that is never run."""
        self.shop = Workshop(self.mktemp())
        self.worker = self.shop.worker("bun")
        self.shop.write("workers/w/index.ts", "1")
        self.bun = self.shop.program("bun")
        self.builder = BunBuilder()

    def recipe(self, previous_key: str = "") -> Recipe:
        """What is to be done now."""
        return self.builder.recipe(self.shop.job(self.builder, self.worker, previous_key))

    def package(self, **content: object) -> None:
        """Write C{package.json}."""
        self.shop.write("workers/w/package.json", json.dumps(content))

    def titles(self, recipe: Recipe) -> list[str]:
        """What is run."""
        return [step.title for step in recipe.steps]

    def test_interface(self) -> None:
        """It does what a builder does."""
        verifyObject(IBuilder, self.builder)

    def test_run_directly(self) -> None:
        """An instance is Bun itself, in the worker's folder, told the mode."""
        recipe = self.recipe()
        self.assertEqual(recipe.argv, (self.bun, "index.ts"))
        self.assertEqual(recipe.directory, self.worker.directory)
        self.assertEqual(recipe.environment, (("NODE_ENV", "development"),))

    def test_without_dependencies(self) -> None:
        """A worker without dependencies installs nothing; only the syntax is looked at."""
        self.assertEqual(self.titles(self.recipe()), ["bun build"])
        self.package(name="w", scripts={"start": "x"})
        self.assertEqual(self.titles(self.recipe()), ["bun build"])

    def test_installed_once(self) -> None:
        """Dependencies are installed when they change, and not for each saved source."""
        self.package(dependencies={"left-pad": "1"})
        recipe = self.recipe()
        self.assertEqual(self.titles(recipe), ["bun install", "bun build"])
        # bun writes the lock while it installs; that must not ask for another installation.
        self.shop.write("workers/w/bun.lock", "lock")
        recipe.finish()
        self.assertEqual(self.titles(self.recipe()), ["bun build"])
        self.shop.write("workers/w/index.ts", "2")
        self.assertEqual(self.titles(self.recipe()), ["bun build"])
        self.package(dependencies={"left-pad": "2"})
        self.assertEqual(self.titles(self.recipe()), ["bun install", "bun build"])

    def test_changed_lock(self) -> None:
        """Another lock is another set of dependencies."""
        self.package(dependencies={"left-pad": "1"})
        self.recipe().finish()
        self.shop.write("workers/w/bun.lock", "other")
        self.assertIn("bun install", self.titles(self.recipe()))

    def test_removed_modules(self) -> None:
        """When node_modules was removed, it is installed again."""
        self.package(dependencies={"left-pad": "1"})
        recipe = self.recipe()
        recipe.finish()
        os.rename(f"{self.worker.directory}/node_modules", f"{self.shop.project}/away")
        self.assertIn("bun install", self.titles(self.recipe(recipe.key)))

    def test_production(self) -> None:
        """In production exactly what the lock says is installed, without what only developers need."""
        self.shop.mode = "production"
        self.package(devDependencies={"x": "1"})
        self.assertNotIn("bun install", self.titles(self.recipe()))
        self.package(dependencies={"x": "1"})
        self.assertEqual(self.recipe().steps[0].argv[-1], "--production")
        self.shop.write("workers/w/bun.lock", "lock")
        self.assertEqual(self.recipe().steps[0].argv[-2:], ("--production", "--frozen-lockfile"))

    def test_nothing_new(self) -> None:
        """When nothing changed since the last build, nothing is run."""
        recipe = self.recipe()
        self.assertEqual(self.recipe(recipe.key).steps, ())

    def test_plugins(self) -> None:
        """With a bunfig.toml, which may name plugins, the syntax is left to Bun itself."""
        self.shop.write("workers/w/bunfig.toml", "")
        self.assertEqual(self.recipe().steps, ())

    def test_faults(self) -> None:
        """What is missing or broken is told with what would help."""
        self.worker = evolve(self.worker, bun=BunConfig(entrypoint="main.ts"))
        fault = self.assertRaises(BuildFault, self.recipe)
        self.assertIn("main.ts does not exist", fault.reason)
        self.assertIn("bun.entrypoint", fault.remedy)
        self.worker = evolve(self.worker, bun=BunConfig())
        self.shop.write("workers/w/package.json", "{")
        self.assertIn("not valid JSON", self.assertRaises(BuildFault, self.recipe).reason)
        self.shop.write("workers/w/package.json", "[]")
        self.assertIn("not an object", self.assertRaises(BuildFault, self.recipe).reason)
        os.unlink(self.bun)
        fault = self.assertRaises(BuildFault, self.recipe)
        self.assertEqual(fault.kind, "missing-tool")
        self.assertIn("npm install -g bun", fault.remedy)

    def test_found_behind_a_script(self) -> None:
        """Where npm put a script of Node in front of Bun, Bun itself is run, so that signals reach it."""
        os.unlink(self.bun)
        script = self.shop.program("bun.js", "lib/node_modules/bun/bin", b"#!/usr/bin/env node")
        os.symlink(script, self.bun)
        self.assertEqual(find_bun(self.shop.tools(), self.worker.directory), self.bun)
        for folder in (
            "lib/node_modules/@oven/bun-linux-x64/bin",
            "lib/node_modules/bun/node_modules/@oven/bun-linux-x64/bin",
        ):
            native = self.shop.program("bun", folder)
            self.assertEqual(find_bun(self.shop.tools(), self.worker.directory), native)

    def test_other_places(self) -> None:
        """Bun of the user, of the worker and of the project is found."""
        os.unlink(self.bun)
        for folder in ("node_modules/.bin", "workers/w/node_modules/.bin", "home/.bun/bin"):
            path = self.shop.program("bun", folder)
            self.assertEqual(find_bun(self.shop.tools(), self.worker.directory), path)
