"""Tests of L{tqserver.build.python_app}; that it serves is tested in tests/functional."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

from tqserver.build import python_app
from tqserver.build.python_app import interface_of, load


async def asgi(scope: object, receive: object, send: object) -> None:
    """An ASGI application."""


def wsgi(environ: object, start_response: object) -> list[bytes]:
    """A WSGI application."""
    return []


class Framework:
    """An application as Starlette and Django have it."""

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        """Serve."""


class Flask:
    """An application as Flask has it."""

    def __call__(self, environ: object, start_response: object) -> list[bytes]:
        """Serve."""
        return []


def wrapped(scope: object, receive: object, send: object, extra: int = 1) -> object:
    """An ASGI application around another."""
    return asgi(scope, receive, send)


class InterfaceTests(SynchronousTestCase):
    """ASGI is told from WSGI."""

    def test_asgi(self) -> None:
        """Coroutine functions, objects with such a call, and functions of three arguments are ASGI."""
        for application in (asgi, Framework(), wrapped):
            self.assertEqual(interface_of(application), "asgi")

    def test_wsgi(self) -> None:
        """Functions and objects of two arguments are WSGI, and so is what does not say."""
        builtin: Callable[..., object] = dict.fromkeys
        for application in (wsgi, Flask(), Flask().__call__, lambda *arguments: [], builtin):
            self.assertEqual(interface_of(application), "wsgi")


class LoadTests(SynchronousTestCase):
    """An application is found by its name."""

    def test_found(self) -> None:
        """Attributes may have dots."""
        self.assertIs(load(f"{__name__}:wsgi"), wsgi)
        self.assertIs(load(f"{__name__}:Flask.__call__"), Flask.__call__)

    def test_not_found(self) -> None:
        """What is not there, or cannot be called, is told in a sentence."""
        error = self.assertRaises(SystemExit, load, f"{__name__}:nothing")
        self.assertIn("has no attribute nothing", str(error))
        error = self.assertRaises(SystemExit, load, f"{__name__}:__name__")
        self.assertIn("cannot be called", str(error))


class PrepareTests(SynchronousTestCase):
    """What serves an application has to be there."""

    def setUp(self) -> None:
        """Nothing is installed, and nothing is really executed."""
        self.executed: list[list[str]] = []
        self.patch(python_app.importlib.util, "find_spec", lambda name: None)
        self.patch(python_app.os, "execv", lambda path, argv: self.executed.append(argv))

    def test_missing(self) -> None:
        """What is missing is named."""
        error = self.assertRaises(SystemExit, python_app.prepare, asgi, False)
        self.assertIn("needs uvicorn", str(error))

    def test_installed(self) -> None:
        """Or it is installed, by the interpreter that will need it."""
        python_app.prepare(wsgi, True)
        (argv,) = self.executed
        self.assertEqual((argv[0], argv[-1]), (sys.executable, "twisted"))

    def test_there(self) -> None:
        """What is there is not installed."""
        self.patch(python_app.importlib.util, "find_spec", lambda name: object())
        python_app.prepare(asgi, True)
        self.assertEqual(self.executed, [])


class ServeASGITests(SynchronousTestCase):
    """Where uvicorn is told to listen."""

    def setUp(self) -> None:
        """A uvicorn that only remembers."""
        self.calls: list[dict[str, object]] = []
        uvicorn = ModuleType("uvicorn")
        uvicorn.run = lambda application, **settings: self.calls.append(settings)  # type: ignore[attr-defined]
        self.patch(sys, "modules", {**sys.modules, "uvicorn": uvicorn})
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WORKER_")}
        self.patch(os, "environ", environment)

    def test_port(self) -> None:
        """On the worker's port, on this machine only."""
        os.environ["WORKER_PORT"] = "9001"
        python_app.serve_asgi(asgi)
        self.assertEqual((self.calls[0]["host"], self.calls[0]["port"]), ("127.0.0.1", 9001))

    def test_socket(self) -> None:
        """Or on its socket."""
        os.environ["WORKER_SOCKET"] = "/run/w.sock"
        python_app.serve_asgi(asgi)
        self.assertEqual(self.calls[0]["uds"], "/run/w.sock")
        self.assertNotIn("port", self.calls[0])
