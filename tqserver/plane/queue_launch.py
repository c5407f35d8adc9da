"""
What the supervisor tells the process of a queue when it starts it.

It is written to a file without a name (memfd_create(2)), whose descriptor the process inherits: tokens are in it, which
must be seen neither in a command line nor in an environment, and nothing is left on a disk. The listening sockets of
the services are inherited, too. They are the supervisor's and stay open there, so that whoever connects while the
process is restarted or replaced waits in the kernel instead of being refused.
"""

from __future__ import annotations

import os

import msgspec

from ..config.queue_model import ApiName, QueueSettings

FIRST_FD = 4
"""The first descriptor that is inherited; 3 may be the one of C{health.type: notify}."""

BYTES_MAX = 64 * 1024 * 1024
"""Of what is told: more than two hundred of the largest payloads, which aliases can make of a small file."""


class ApiListener(msgspec.Struct, frozen=True, kw_only=True):
    """
    A listening socket of one service, where that is at the root.

    @ivar fd: its number in the process of the queue.
    """

    api: ApiName
    fd: int


class QueueLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """
    All that a queue is told, besides the environment of every worker.

    @ivar settings: what its C{worker.yaml} says.
    @ivar listeners: what is inherited.
    @ivar front: path of the fronts' private UNIX socket: whoever connects there is believed to be of the server, and
        may send C{X-Task-*} and C{X-Forwarded-*}. Empty if there are no fronts.
    """

    settings: QueueSettings = QueueSettings()
    listeners: tuple[ApiListener, ...] = ()
    front: str = ""


def write_launch(launch: QueueLaunch) -> int:
    """
    Write it down for a process that is about to be started.

    @return: a descriptor that it may inherit; the caller closes it.
    @raise OSError: there are no descriptors left.
    """
    fd = os.memfd_create("tqserver-queue", os.MFD_CLOEXEC)
    try:
        os.write(fd, msgspec.json.encode(launch))
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_launch(fd: int) -> QueueLaunch:
    """
    Read what L{write_launch} wrote.

    @param fd: the inherited descriptor; it is closed.
    @raise ValueError: it is none of these.
    """
    with open(fd, "rb") as file:
        data = file.read(BYTES_MAX)
    try:
        return msgspec.json.decode(data, type=QueueLaunch)
    except msgspec.MsgspecError as error:
        raise ValueError(f"descriptor {fd} tells no queue what to do: {error}")
