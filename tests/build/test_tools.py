"""Tests of L{tqserver.build.tools}."""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase

from tqserver.build.tools import PATH_DEFAULT, Tools, first_on_path, is_native, tool_environment

from .making import Workshop


class ToolsTests(SynchronousTestCase):
    """Where programs are found."""

    def setUp(self) -> None:
        """A project with a few programs."""
        self.shop = Workshop(self.mktemp())

    def test_order(self) -> None:
        """The search path comes first, then further places, the home directory among them."""
        tools = self.shop.tools()
        self.assertIsNone(tools.find("go", "~/go/bin"))
        in_home = self.shop.program("go", "home/go/bin")
        self.assertEqual(tools.find("go", "~/go/bin"), in_home)
        on_path = self.shop.program("go")
        self.assertEqual(tools.find("go", "~/go/bin"), on_path)

    def test_beside_the_interpreter(self) -> None:
        """A program that pip put beside the server's interpreter is found."""
        path = self.shop.program("go", "venv/bin")
        tools = Tools(path="/nowhere", home="", project="/p", beside=os.path.dirname(path))
        self.assertEqual(tools.find("go"), path)

    def test_not_a_program(self) -> None:
        """A folder, or a file that may not be run, is no program; nor is one in a relative folder."""
        os.makedirs(f"{self.shop.programs}/bun")
        self.shop.write("programs/go")
        self.assertIsNone(self.shop.tools().find("bun"))
        self.assertIsNone(self.shop.tools().find("go"))
        self.shop.program("relative", "sub")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.shop.project)
        self.assertIsNone(Tools(path="sub:", home="", project="/p", beside="/x").find("relative"))

    def test_matching(self) -> None:
        """Programs are found by a pattern of their names."""
        self.shop.program("php-fpm8.2")
        self.shop.program("php-fpm8.2.bak")
        found = self.shop.tools().matching(re.compile(r"php-fpm\d\.\d"), [self.shop.programs, "/nowhere"])
        self.assertEqual(found, [f"{self.shop.programs}/php-fpm8.2"])

    def test_native(self) -> None:
        """Machine code is told from scripts."""
        self.assertTrue(is_native(self.shop.program("a")))
        self.assertFalse(is_native(self.shop.program("b", content=b"#!/usr/bin/env node")))
        self.assertFalse(is_native("/nowhere"))


class EnvironmentTests(SynchronousTestCase):
    """What build tools are told."""

    def test_no_secrets(self) -> None:
        """Build tools get what they need to find caches and the network, not what the server keeps."""
        home = os.path.abspath(self.mktemp())
        os.makedirs(home)
        given = {"HOME": home, "PATH": "/bin", "GOPROXY": "x", "https_proxy": "y", "DATABASE_PASSWORD": "z"}
        environment = tool_environment(given, "/nowhere")
        self.assertEqual(environment.pop("NO_COLOR"), "1")
        self.assertEqual(environment.pop("LANG"), "C.UTF-8")
        self.assertEqual(environment, {"HOME": home, "PATH": "/bin", "GOPROXY": "x", "https_proxy": "y"})

    def test_no_home(self) -> None:
        """A server without a home has its caches below var."""
        var = os.path.abspath(self.mktemp())
        for given in ({}, {"HOME": "/nonexistent"}):
            environment = tool_environment(given, var)
            self.assertTrue(os.path.isdir(environment["HOME"]))
            self.assertTrue(environment["HOME"].startswith(var))
            self.assertEqual(environment["PATH"], PATH_DEFAULT)

    def test_first_on_path(self) -> None:
        """A tool finds its own neighbours before others."""
        environment = {"PATH": "/usr/bin"}
        first_on_path(environment, "/opt/go/bin/go")
        self.assertEqual(environment["PATH"], "/opt/go/bin:/usr/bin")
