"""Descriptors in reserve, and who is accepted meanwhile."""

from __future__ import annotations

import errno
import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.front.test_service import FrontCase
from tqserver.front.accepting import RESERVE_PAUSE_S, SCARCE_PAUSE_S, Accepting, Reserve, ScarceSocket


class Opening:
    """Opens things while there is something to open."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self) -> int:
        if not self.left:
            raise OSError(errno.EMFILE, "Too many open files")
        self.left -= 1
        return os.open(os.devnull, os.O_RDONLY)


class ReserveTests(SynchronousTestCase):
    """Descriptors that are open for nothing."""

    def test_filled_and_released(self) -> None:
        """What is missing is taken as it can be had, and all of it is given back at once."""
        opening = Opening(3)
        reserve = Reserve(5, opening)
        self.addCleanup(reserve.release)
        self.assertFalse(reserve.fill())
        opening.left = 10
        self.assertTrue(reserve.fill())
        self.assertEqual(opening.left, 8)
        self.assertTrue(reserve.fill())
        self.assertEqual(opening.left, 8)
        before = len(os.listdir("/proc/self/fd"))
        self.assertTrue(reserve.release())
        self.assertEqual(len(os.listdir("/proc/self/fd")), before - 5)
        self.assertFalse(reserve.release())


class RoomTests(FrontCase):
    """Descriptors for those who are here go before new clients."""

    def setUp(self) -> None:
        super().setUp()
        self.opening = Opening(100)
        self.reserve = Reserve(2, self.opening)
        self.addCleanup(self.reserve.release)
        self.service._accepting.close()
        self.spared = 0
        self.service._accepting = Accepting(self.reactor, self.reserve, self.spare)  # type: ignore[arg-type]
        self.route()
        self.port = self.reactor.listening[0]

    def spare(self) -> None:
        """What is only kept is closed."""
        self.spared += 1

    def test_what_is_kept_goes(self) -> None:
        """When somebody cannot be accepted what is kept for later is closed, and the reserve is not touched."""
        self.port.waiting.error = errno.EMFILE
        self.port.numberAccepts = 1
        self.port.doRead()
        self.assertEqual(self.spared, 1)
        self.assertTrue(self.reserve.release())

    def test_nobody_until_it_is_whole(self) -> None:
        """
        When somebody who is here needed a descriptor nobody is accepted for a moment, and then as soon as the reserve
        is whole again.
        """
        self.assertTrue(self.service._accepting.make_room())
        self.assertFalse(self.service._accepting.make_room(), "there is nothing left in it")
        self.assertFalse(self.port.reading)
        self.opening.left = 1
        self.reactor.pump([SCARCE_PAUSE_S] * int(RESERVE_PAUSE_S / SCARCE_PAUSE_S + 5))
        self.assertEqual((self.port.reading, self.opening.left), (False, 0))
        self.opening.left = 1
        self.reactor.pump([SCARCE_PAUSE_S] * 2)
        self.assertEqual((self.port.reading, self.opening.left), (True, 0))

    def test_not_taken_back_at_once(self) -> None:
        """The reserve is not taken back before whoever needed it has had the time to use it."""
        self.port.waiting.error = errno.EMFILE
        self.port.numberAccepts = 1
        self.port.doRead()
        self.reactor.advance(SCARCE_PAUSE_S / 2)
        self.service._accepting.make_room()
        self.opening.left = 0
        self.reactor.advance(RESERVE_PAUSE_S - 0.01)
        self.opening.left = 10
        self.assertEqual(self.opening.left, 10)
        self.reactor.advance(0.02)
        self.assertEqual(self.opening.left, 8)


class ScarceSocketTests(SynchronousTestCase):
    """Who comes out of a listening socket."""

    def test_detachable(self) -> None:
        """What is accepted is a socket that uvloop detaches instead of closing its descriptor a second time."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        client = socket.create_connection(listening.getsockname())
        self.addCleanup(client.close)
        accepted, name = ScarceSocket(listening, lambda error: None).accept()
        self.addCleanup(accepted.close)
        self.assertIsInstance(accepted, socket.socket)
        self.assertEqual(name, client.getsockname())
        self.assertEqual((type(accepted.family), accepted.family), (int, socket.AF_INET))
        self.assertEqual((type(accepted.type), accepted.type), (int, socket.SOCK_STREAM))
