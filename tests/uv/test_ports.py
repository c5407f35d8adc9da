"""Accepting: what a port of uvloop's does with those who wait, and with what goes wrong."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.trial.unittest import SynchronousTestCase

from tqserver.uv.ports import ACCEPTS_STEP, TCPPort

NAME = ("127.0.0.1", 1)


class Listening:
    """A socket where some wait, or accept(2) fails."""

    def __init__(self, *waiting: int) -> None:
        """@param waiting: 0 for somebody, else an error."""
        self.waiting = list(waiting)

    def accept(self) -> tuple[object, Any]:
        error = self.waiting.pop(0) if self.waiting else errno.EAGAIN
        if error:
            raise OSError(error, os.strerror(error))
        return socket.socket, NAME


class Port(TCPPort):
    """A port that notes who comes."""

    def __init__(self, listening: Listening, limit: int) -> None:
        super().__init__(0, ServerFactory(), reactor=cast(Any, None))
        self.socket = cast(Any, listening)
        self.numberAccepts = limit
        self.came: list[tuple[Any, ...]] = []
        self.raises: Exception | None = None

    def _accepted(self, skt: socket.socket, name: tuple[Any, ...]) -> None:
        self.came.append(name)
        if self.raises is not None:
            raise self.raises


class AcceptTests(SynchronousTestCase):
    """One turn."""

    def test_all_who_wait(self) -> None:
        """All who wait are accepted, and next time no more are expected."""
        port = Port(Listening(0, 0, 0), 100)
        port.doRead()
        self.assertEqual((port.came, port.numberAccepts), ([NAME] * 3, 3))

    def test_more_than_expected(self) -> None:
        """When more wait than are accepted in one go, those wait for the next turn, which takes more."""
        port = Port(Listening(*[0] * 5), 2)
        port.doRead()
        self.assertEqual((len(port.came), port.numberAccepts), (2, 2 + ACCEPTS_STEP))
        port.doRead()
        self.assertEqual((len(port.came), port.numberAccepts), (5, 3))

    def test_nobody(self) -> None:
        """A port that was woken for nobody still expects somebody."""
        port = Port(Listening(), 5)
        port.doRead()
        self.assertEqual((port.came, port.numberAccepts), ([], 1))

    def test_mistake(self) -> None:
        """A protocol that fails as it begins is told of, and the others are accepted in the next turn."""
        port = Port(Listening(0, 0), 5)
        port.raises = ValueError("no")
        port.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        port.raises = None
        port.doRead()
        self.assertEqual(len(port.came), 2)


class MakingTests(SynchronousTestCase):
    """What becomes of one who has come."""

    def test_unwanted(self) -> None:
        """A connection that the factory does not want is closed."""
        told: list[IAddress | None] = []

        class Factory(ServerFactory):
            def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
                told.append(addr)
                return None

        port = TCPPort(0, Factory(), reactor=cast(Any, None))
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        port._accepted(ours, NAME)
        self.assertEqual((told, ours.fileno()), ([IPv4Address("TCP", *NAME)], -1))
