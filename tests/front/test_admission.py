"""Who is sent away, and when to come again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ScarceFault, ServerFault, UpstreamFault
from tqserver.front.admission import (
    ABSENT_S,
    BUSY_S,
    DESCRIPTORS_OURS,
    absent,
    clients_room,
    line_full,
    retry_after_s,
    too_busy,
    worker_too_busy,
)


class RetryAfterTests(SynchronousTestCase):
    """When to come again."""

    def test_spread(self) -> None:
        """Not everybody is told the same time, and nobody one that is out of bounds."""
        fault = ServerFault("x", retry_after_s=5)
        self.assertEqual({retry_after_s(fault, chance / 100) for chance in range(100)}, set(range(5, 11)))
        self.assertEqual(retry_after_s(fault, 0.9999999), 10)
        self.assertEqual(fault.retry_after_s, 5, "the same fault may be told to many")

    def test_every_503(self) -> None:
        """Every 503 says when to come again, and never at once; what will not mend itself says nothing."""
        for fault in (ServerFault("x"), ScarceFault("x"), ServerFault("x", retry_after_s=0)):
            self.assertIn(retry_after_s(fault, 0.0), (1, BUSY_S))
        for other in (ServerFault("x", status=500), UpstreamFault("x"), UpstreamFault("x", status=504)):
            self.assertIsNone(retry_after_s(other, 0.5))

    def test_reasons(self) -> None:
        """Whoever is sent away is told no internals."""
        for fault in (too_busy(), worker_too_busy(), line_full(), absent("api.1.1 died")):
            self.assertEqual(fault.status, 503)
            self.assertNotIn("api", fault.reason)
            self.assertNotIn("max", fault.reason)
        self.assertEqual(absent("x").retry_after_s, ABSENT_S)


class RoomTests(SynchronousTestCase):
    """How many more clients can be accepted."""

    def room(self, clients: int = 0, in_flight: int = 0, clients_max: int = 10_000, files: int | None = 20_000) -> int:
        """The rule."""
        return clients_room(clients, in_flight, clients_max, files)

    def test_silent(self) -> None:
        """Ten thousand silent clients need ten thousand descriptors, not twice as many."""
        self.assertEqual(self.room(), 10_000)
        self.assertEqual(self.room(9_999), 1)
        self.assertEqual(self.room(10_000), 0)
        self.assertEqual(self.room(10_001), -1)

    def test_some_left(self) -> None:
        """Where more clients are allowed than there are descriptors, a quarter is left for what they will ask for."""
        self.assertEqual(self.room(clients_max=100_000, files=DESCRIPTORS_OURS + 1000), 750)
        self.assertEqual(self.room(750, 249, clients_max=100_000, files=DESCRIPTORS_OURS + 1000), 0)

    def test_in_flight(self) -> None:
        """Clients that all ask for something that takes long, or are WebSockets, cost two descriptors each."""
        clients = 0
        while self.room(clients, clients, 100_000, DESCRIPTORS_OURS + 1000) > 0:
            clients += 1
        self.assertEqual(clients, 500)

    def test_no_limit(self) -> None:
        """Where there are descriptors without end only the configured limit counts."""
        self.assertEqual(self.room(5, 1_000_000, 10, None), 5)

    def test_very_few(self) -> None:
        """However few descriptors there are, somebody can be served."""
        for files in (0, 1, DESCRIPTORS_OURS, DESCRIPTORS_OURS + 1, DESCRIPTORS_OURS + 2):
            self.assertEqual(self.room(files=files), 1, files)
            self.assertEqual(self.room(1, 1, files=files), 0, files)
