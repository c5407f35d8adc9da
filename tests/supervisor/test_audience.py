"""Tests for L{tqserver.supervisor.audience}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.plane.status import ServerStatus
from tqserver.supervisor.audience import Audience

from .world import World, worker_config


class AudienceTests(SynchronousTestCase):
    """Who is told what happens."""

    def test_status_of_each_turn(self) -> None:
        """Whoever wants to know hears how a worker comes up, and nothing more after leaving."""
        world = World(worker_config())
        heard: list[ServerStatus] = []
        leave = world.supervisor.audience.on_status(heard.append)
        world.up()
        states = [status.workers[0].state for status in heard]
        self.assertEqual(list(dict.fromkeys(states)), ["building", "starting", "healthy"])
        leave()
        leave()
        before = len(heard)
        world.supervisor.wake()
        world.clock.advance(1)
        self.assertEqual(len(heard), before)

    def test_nobody(self) -> None:
        """While nobody wants the status it is not made."""
        audience = Audience()

        def never() -> ServerStatus:
            raise AssertionError("made for nobody")

        audience.tell_status(never)

    def test_one_that_fails(self) -> None:
        """One who fails keeps nothing from the others."""
        world = World(worker_config())
        heard: list[ServerStatus] = []

        def broken(status: ServerStatus) -> None:
            raise RuntimeError("not today")

        world.supervisor.audience.on_status(broken)
        world.supervisor.audience.on_status(heard.append)
        world.start()
        self.assertTrue(heard)
        self.assertTrue(self.flushLoggedErrors(RuntimeError))
