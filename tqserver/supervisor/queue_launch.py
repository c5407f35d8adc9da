"""
What a queue's process is given besides the things of every worker: its settings, the listening sockets of its services,
and the way to the fronts.

The sockets are opened at the first launch and stay open over restarts and replacements, for as long as the worker is to
be there: meanwhile clients wait in them.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from collections.abc import Iterator, Mapping

from attrs import frozen
from twisted.logger import Logger

from ..config.model import WorkerConfig
from ..config.queue_model import ApiListen, ApiName
from ..plane.queue_launch import FIRST_FD, ApiListener, QueueLaunch, write_launch
from .interfaces import LaunchFault
from .listening import BACKLOG, open_unix, remove_unix

_log = Logger("tqserver.supervisor.launch")

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""Where this very package is, so that the process is of the same version."""


@frozen(eq=False)
class _Open:
    """
    One socket that is open.

    @ivar inode: of its path, if it has one, so that we remove no other's.
    """

    listen: ApiListen
    socket: socket.socket
    inode: int = 0

    def close(self) -> None:
        """Nobody is served there any more."""
        self.socket.close()
        if self.listen.unix is not None:
            remove_unix(self.listen.unix, self.inode)


@frozen
class Given:
    """
    What a process is started with.

    @ivar inherited: its number for each descriptor, and ours.
    @ivar written: the descriptor of what it is told, to be closed when it has been started.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    inherited: tuple[tuple[int, int], ...]
    written: int


class QueueLaunches:
    """Prepares the launches of queues, and keeps their sockets."""

    def __init__(self, front: str, privileged: bool) -> None:
        """
        @param front: path of the fronts' private socket.
        @param privileged: whether the server may become another user.
        """
        self._front = front
        self._privileged = privileged
        self._open: dict[str, dict[ApiName, _Open]] = {}

    def prepare(self, config: WorkerConfig, pythonpath: str) -> Given:
        """
        Have everything ready for a process.

        @param pythonpath: where it would look for modules otherwise.
        @raise LaunchFault: a service cannot listen.
        @raise OSError: there are no descriptors left.
        """
        assert config.queue is not None, config.name
        self._let_in(config)
        inherited: list[tuple[int, int]] = []
        told: list[ApiListener] = []
        for number, (api, fd) in enumerate(self._sockets(config), FIRST_FD + 1):
            inherited.append((number, fd))
            told.append(ApiListener(api=api, fd=number))
        written = write_launch(QueueLaunch(settings=config.queue, listeners=tuple(told), front=self._front))
        path = f"{PACKAGE_ROOT}{os.pathsep}{pythonpath}" if pythonpath else PACKAGE_ROOT
        return Given(
            argv=(sys.executable, "-m", "tqserver.queue", "--launch", str(FIRST_FD)),
            # It runs in the worker's folder, and a file there that is called like a module is none.
            environment={"PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            inherited=((FIRST_FD, written), *inherited),
            written=written,
        )

    def _sockets(self, config: WorkerConfig) -> Iterator[tuple[ApiName, int]]:
        """The sockets of a worker's services; those that are open stay, the others are opened or closed."""
        assert config.queue is not None, config.name
        wanted = dict(config.queue.apis.listeners)
        present = self._open.setdefault(config.name, {})
        for api in [api for api, opened in present.items() if wanted.get(api) != opened.listen]:
            present.pop(api).close()
        for api, listen in wanted.items():
            if api not in present:
                present[api] = _listen(api, listen)
            yield api, present[api].socket.fileno()

    def _let_in(self, config: WorkerConfig) -> None:
        """Let the worker's user connect to the fronts; root may in any case."""
        user = config.process.user
        if not (self._privileged and user and self._front):
            return
        try:
            entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
            for path in (self._front, os.path.dirname(self._front)):
                os.chown(path, entry.pw_uid, -1)
        except KeyError:
            pass  # The spawner says so, with a remedy.

    def forget(self, name: str) -> None:
        """A worker is not to be there any more: nobody waits for it."""
        for opened in self._open.pop(name, {}).values():
            opened.close()

    def close(self) -> None:
        """Close everything."""
        for name in list(self._open):
            self.forget(name)


def _listen(api: ApiName, listen: ApiListen) -> _Open:
    """
    Open a socket.

    @raise LaunchFault: it cannot be.
    """
    where = listen.unix if listen.unix is not None else f"{listen.address} port {listen.port}"
    try:
        return _Open(listen, *open_unix(listen.unix)) if listen.unix is not None else _open_tcp(listen)
    except OSError as error:
        remedy = f"see apis.{api}.listen"
        if listen.unix is None and listen.port:
            remedy += f"; who has it: ss -ltnp 'sport = :{listen.port}'"
        raise LaunchFault(f"{api} cannot listen on {where}: {error.strerror or error}", remedy)


def _open_tcp(listen: ApiListen) -> _Open:
    family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if listen.address == "::" else 1)
        opened.bind((listen.address, listen.port))
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return _Open(listen, opened)
