"""The rules of the house that no other tool looks after."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

import tqserver

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(tqserver.__file__)))

LINES_MAX = 500
"""Of a module. More than 400 is a reason to look for the second idea in it; more than this is one to find it."""

MAY_IMPORT_THE_REACTOR = re.compile(r"tqserver/(?:tap|ctl|(?:.*/)?__main__)\.py")

FORBIDDEN = re.compile(r"(?:^|_)(?:manager|handler|processor|engine|component|helper|util|common|misc)s?(?:_|$)")

WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def modules() -> Iterator[tuple[str, str, ast.Module]]:
    """All of our modules: path from the root, text, syntax tree."""
    for directory, _, names in sorted(os.walk(os.path.join(ROOT, "tqserver"))):
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                yield os.path.relpath(path, ROOT), text, ast.parse(text, path)


def imports_reactor(node: ast.AST) -> bool:
    """Whether a statement imports Twisted's global reactor."""
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and (
            (node.module == "twisted.internet" and any(name.name == "reactor" for name in node.names))
            or node.module == "twisted.internet.reactor"
        )
    return isinstance(node, ast.Import) and any(name.name == "twisted.internet.reactor" for name in node.names)


class HouseTests(SynchronousTestCase):
    """All modules."""

    def test_reactor_is_an_argument(self) -> None:
        """Only the tap and the mains import the global reactor."""
        guilty = [
            path
            for path, _, tree in modules()
            if not MAY_IMPORT_THE_REACTOR.fullmatch(path) and any(map(imports_reactor, ast.walk(tree)))
        ]
        self.assertEqual(guilty, [])

    def test_the_look_finds_it(self) -> None:
        """Every way to import the reactor is seen."""
        for statement in (
            "from twisted.internet import reactor",
            "from twisted.internet import defer, reactor as r",
            "import twisted.internet.reactor",
        ):
            self.assertTrue(any(map(imports_reactor, ast.walk(ast.parse(f"def f():\n    {statement}")))), statement)
        self.assertFalse(any(map(imports_reactor, ast.walk(ast.parse("from twisted.internet import defer")))))

    def test_modules_say_what_they_are(self) -> None:
        """Every module has a docstring, and only one: a second is a text that nobody reads."""
        for path, _, tree in modules():
            self.assertTrue(ast.get_docstring(tree), path)
            second = tree.body[1] if len(tree.body) > 1 else None
            twice = isinstance(second, ast.Expr) and isinstance(second.value, ast.Constant)
            self.assertFalse(twice, f"{path} has two docstrings")

    def test_names(self) -> None:
        """No module, class or function has a name that says nothing."""
        for path, _, tree in modules():
            names = [os.path.splitext(part)[0] for part in path.split(os.sep)]
            names += [
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            ]
            for name in names:
                self.assertIsNone(FORBIDDEN.search(WORDS.sub("_", name).lower()), f"{path}: {name}")

    def test_sizes(self) -> None:
        """A module is small enough to be read."""
        large = [(path, text.count("\n")) for path, text, _ in modules() if text.count("\n") > LINES_MAX]
        self.assertEqual(large, [])

    def test_plugin(self) -> None:
        """The plugin folder is no package of ours, and what the plugin names is there."""
        folder = os.path.join(ROOT, "twisted", "plugins")
        self.assertFalse(os.path.exists(os.path.join(folder, "__init__.py")))
        self.assertFalse(os.path.exists(os.path.join(ROOT, "twisted", "__init__.py")))
        namespace: dict[str, object] = {}
        with open(os.path.join(folder, "tqserver_plugin.py"), encoding="utf-8") as file:
            exec(compile(file.read(), file.name, "exec"), namespace)
        maker = namespace["serviceMaker"]
        module = import_module(maker.module)  # type: ignore[attr-defined]
        self.assertTrue(callable(module.makeService))
        self.assertTrue(callable(module.Options))
