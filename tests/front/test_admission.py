"""Who is sent away, and when to come again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ScarceFault, ServerFault, UpstreamFault
from tqserver.front.admission import ABSENT_S, BUSY_S, absent, line_full, retry_after_s, too_busy, worker_too_busy


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
