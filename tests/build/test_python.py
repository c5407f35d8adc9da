"""Tests of L{tqserver.build.python}: what is decided, without running anything."""

from __future__ import annotations

import os
import sys

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tqserver.build.model import BuildFault
from tqserver.build.python import RUNNER, PythonBuilder
from tqserver.build.recipe import IBuilder, Recipe
from tqserver.config.model import PythonConfig

from .making import Workshop


class PythonTests(SynchronousTestCase):
    """How Python workers are built."""

    def setUp(self) -> None:
        """A worker of one script."""
        self.shop = Workshop(self.mktemp())
        self.worker = self.shop.worker("python")
        self.shop.write("workers/w/app.py", "pass")
        self.builder = PythonBuilder()

    def configure(self, **settings: object) -> None:
        """Set something under C{python}."""
        self.worker = evolve(self.worker, python=PythonConfig(**settings))

    def recipe(self, previous_key: str = "") -> Recipe:
        """What is to be done now."""
        return self.builder.recipe(self.shop.job(self.builder, self.worker, previous_key))

    def titles(self, recipe: Recipe) -> list[str]:
        """What is run."""
        return [step.title for step in recipe.steps]

    def complete(self, recipe: Recipe) -> None:
        """Do what the tools would have done."""
        os.makedirs(recipe.artefact)
        recipe.finish()

    def test_interface(self) -> None:
        """It does what a builder does."""
        verifyObject(IBuilder, self.builder)

    def test_script(self) -> None:
        """A script without requirements is run by the server's own interpreter, unbuffered."""
        recipe = self.recipe()
        self.assertEqual(recipe.argv, (sys.executable, "-u", "app.py"))
        self.assertEqual(dict(recipe.environment)["PYTHONUNBUFFERED"], "1")
        self.assertEqual(self.titles(recipe), ["the syntax check"])
        self.assertEqual(self.recipe(recipe.key).steps, ())

    def test_requirements(self) -> None:
        """Requirements get an environment of their own, which is made once and anew when they change."""
        path = self.shop.write("workers/w/requirements.txt", "flask\n")
        self.configure(requirements=path)
        recipe = self.recipe()
        self.assertEqual(self.titles(recipe), ["the syntax check", "python -m venv", "pip install"])
        self.assertTrue(recipe.argv[0].startswith(f"{self.worker.directory}/.venv/"))
        self.complete(recipe)
        self.shop.write("workers/w/app.py", "changed")
        again = self.recipe()
        self.assertEqual(self.titles(again), ["the syntax check"])
        self.assertEqual(again.argv, recipe.argv)
        self.shop.write("workers/w/requirements.txt", "flask\ndjango\n")
        self.assertNotEqual(self.recipe().argv, recipe.argv)

    def test_unfinished_environment(self) -> None:
        """An environment whose installation was interrupted is made again from the start."""
        self.configure(requirements=self.shop.write("workers/w/requirements.txt", "flask\n"))
        recipe = self.recipe()
        os.makedirs(recipe.artefact)
        again = self.recipe()
        self.assertEqual(again.steps[1].argv[1:4], ("-m", "venv", "--clear"))

    def test_nested_requirements(self) -> None:
        """A file that the requirements name counts as well, even if two name each other."""
        self.configure(requirements=self.shop.write("workers/w/requirements.txt", "-r base.txt\n"))
        self.shop.write("workers/w/base.txt", "--constraint=requirements.txt\nflask\n")
        first = self.recipe()
        self.shop.write("workers/w/base.txt", "--constraint=requirements.txt\nflask==1\n")
        self.assertNotEqual(self.recipe().argv[0], first.argv[0])
        os.unlink(f"{self.worker.directory}/base.txt")
        self.assertIn("base.txt cannot be read", self.assertRaises(BuildFault, self.recipe).reason)

    def test_application(self) -> None:
        """An ASGI or WSGI application is served by our runner, in an environment of its own."""
        self.configure(app="app:application")
        recipe = self.recipe()
        self.assertEqual(recipe.argv[1:], ("-u", RUNNER, "app:application"))
        self.assertEqual(self.titles(recipe), ["the syntax check", "python -m venv", "importing app:application"])
        self.assertIn("--install", recipe.steps[-1].argv)
        self.complete(recipe)
        self.assertEqual(self.recipe(recipe.key).steps, ())

    def test_application_with_an_interpreter(self) -> None:
        """With an interpreter of the configuration nothing is installed into it; what is missing is told."""
        python = self.shop.program("python", "workers/w/env/bin")
        self.configure(app="app:application", interpreter="env/bin/python")
        recipe = self.recipe()
        self.assertEqual(recipe.argv[0], python)
        self.assertIn("--check", recipe.steps[-1].argv)
        self.assertEqual(recipe.artefact, "")

    def test_packages(self) -> None:
        """An application may be a package, or be among what is installed."""
        self.configure(app="site.wsgi:application")
        self.assertIn("there is no module site.wsgi", self.assertRaises(BuildFault, self.recipe).reason)
        self.shop.write("workers/w/site/wsgi.py")
        self.assertTrue(self.recipe().steps[0].argv[-1].endswith("site/wsgi.py"))
        requirements = self.shop.write("workers/w/requirements.txt", "other")
        self.configure(app="other:application", requirements=requirements)
        self.assertNotIn("the syntax check", self.titles(self.recipe()))

    def test_faults(self) -> None:
        """What is missing is told with what would help."""
        self.configure(app="main.py")
        fault = self.assertRaises(BuildFault, self.recipe)
        self.assertEqual(fault.reason, "main.py does not exist")
        self.configure(interpreter="python1.5")
        fault = self.assertRaises(BuildFault, self.recipe)
        self.assertEqual(fault.kind, "missing-tool")
        self.assertIn("python.interpreter", fault.remedy)

    def test_remedies(self) -> None:
        """Common failures are explained."""
        self.assertIn("python3-venv", self.builder.explain(("ensurepip is not available",)))
        self.assertIn("requirements.txt", self.builder.explain(("ERROR: No matching distribution",)))
        self.assertEqual(self.builder.explain(("x",)), "")
