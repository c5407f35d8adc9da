"""
Serves one Python application, for workers of C{type: python} with C{app: module:attribute}.

It is run by its path, with the worker's interpreter and in the worker's folder, where tqserver itself is
not to be found: it may use nothing but the standard library, and what serves the application: uvicorn for
ASGI, Twisted for WSGI.

Usage: C{python_app.py [--check | --install] module:attribute}. With C{--check} the application is imported
and nothing is served; with C{--install} what serves it is installed besides, if it is missing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # This file's own folder comes first on the path of a script. There, other files have the names of common modules.
    sys.path[0] = ""

import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

KEEP_ALIVE_S = 300
"""
Our side closes kept connections last, so that a front never sends a request on one that was just closed.
"""

THREADS_MAX = 40
"""WSGI requests at once."""

Interface = Literal["asgi", "wsgi"]

PACKAGES: dict[Interface, str] = {"asgi": "uvicorn", "wsgi": "twisted"}

Application = Callable[..., Any]
"""What the name leads to: only the application itself knows its types."""


def load(name: str) -> Application:
    """
    Import an application.

    @param name: C{module:attribute}; the attribute may have dots.
    @raise SystemExit: it is not there, or cannot be called; with a sentence. What the import itself raises
        is raised.
    """
    module_name, _, path = name.partition(":")
    value: object = importlib.import_module(module_name)
    for attribute in path.split("."):
        if not hasattr(value, attribute):
            sys.exit(f"{module_name} has no attribute {path}")
        value = getattr(value, attribute)
    if not callable(value):
        sys.exit(f"{name} cannot be called, so that it is neither an ASGI nor a WSGI application")
    return value


def interface_of(application: Application) -> Interface:
    """
    Whether an application is ASGI (a coroutine function of three arguments) or WSGI (a function of two, PEP
    3333).
    """
    call = application if inspect.isroutine(application) else type(application).__call__
    if inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(call):
        return "asgi"
    try:
        parameters = inspect.signature(application).parameters.values()
    except (TypeError, ValueError):
        return "wsgi"
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty]
    return "asgi" if len(needed) == 3 else "wsgi"


def prepare(application: Application, install: bool) -> None:
    """
    See that what serves an application is there, and install it if it is missing and may be.

    @raise SystemExit: it is missing.
    """
    package = PACKAGES[interface_of(application)]
    if importlib.util.find_spec(package) is not None:
        return
    if not install:
        sys.exit(f"needs {package}: {sys.executable} -m pip install {package}")
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "pip", "install", *options, package])


def serve_asgi(application: Application) -> None:
    """Serve by uvicorn until TERM."""
    uvicorn = importlib.import_module("uvicorn")
    socket = os.environ.get("WORKER_SOCKET")
    place = {"uds": socket} if socket else {"host": "127.0.0.1", "port": int(os.environ["WORKER_PORT"])}
    uvicorn.run(
        application,
        **place,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips="*" if socket else "127.0.0.1",
    )


def serve_wsgi(application: Application) -> None:
    """Serve by twisted.web until TERM."""
    from twisted.internet import task

    def main(reactor: Any) -> Deferred[None]:
        from twisted.internet.defer import Deferred
        from twisted.web.server import Site
        from twisted.web.wsgi import WSGIResource

        reactor.suggestThreadPoolSize(THREADS_MAX)
        resource = WSGIResource(reactor, reactor.getThreadPool(), application)
        site = Site(resource, timeout=KEEP_ALIVE_S)
        socket = os.environ.get("WORKER_SOCKET")
        if socket:
            reactor.listenUNIX(socket, site, backlog=1024)
        else:
            reactor.listenTCP(int(os.environ["WORKER_PORT"]), site, backlog=1024, interface="127.0.0.1")
        return Deferred()

    # The reactor of this process, which is not the server's, is brought in and run by react.
    task.react(main)


def main(arguments: list[str]) -> None:
    """What the arguments say."""
    *options, name = arguments
    application = load(name)
    if options:
        prepare(application, options == ["--install"])
    elif interface_of(application) == "asgi":
        serve_asgi(application)
    else:
        serve_wsgi(application)


if __name__ == "__main__":
    main(sys.argv[1:])
