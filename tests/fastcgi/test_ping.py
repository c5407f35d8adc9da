"""Tests of L{tqserver.fastcgi.ping}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.fastcgi.fakes import FakeFPM
from tqserver.errors import Unreachable, UpstreamFault
from tqserver.fastcgi.ping import PING_PATH, ping
from tqserver.fastcgi.records import end_request


class PingTests(SynchronousTestCase):
    """Whether php-fpm is well."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.fpm = FakeFPM(self.reactor)
        self.answer = ping(self.reactor, "/s", 0.5)

    def tearDown(self) -> None:
        """No timer is left behind."""
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_well(self) -> None:
        """An answer to the pool's own ping is well, and the connection is closed."""
        wire = self.fpm.accept()
        variables, _, whole = wire.request()
        self.assertEqual((variables[b"SCRIPT_NAME"], whole), (PING_PATH.encode(), True))
        wire.answer(b"Status: 200 OK\r\n", b"Content-Type: text/plain\r\n\r\npong")
        self.successResultOf(self.answer)
        self.assertTrue(wire.aborted)

    def test_not_well(self) -> None:
        """Another status is not well, nor is garbage, nor silence, nor a connection that breaks off."""
        wire = self.fpm.accept()
        wire.answer(b"Status: 404 Not Found\r\n\r\nFile not found.")
        self.assertIn("404", self.failureResultOf(self.answer, UpstreamFault).value.detail)
        for data in (b"HTTP/1.1 200 OK\r\n", end_request(1), end_request(1, 0, 1)):
            answer = ping(self.reactor, "/s", 0.5)
            self.fpm.accept().protocol.dataReceived(data)
            self.failureResultOf(answer, UpstreamFault)
        answer = ping(self.reactor, "/s", 0.5)
        self.fpm.accept().lose()
        self.failureResultOf(answer, UpstreamFault)

    def test_silent(self) -> None:
        """Silence is not well."""
        wire = self.fpm.accept()
        self.reactor.advance(0.5)
        self.assertEqual(self.failureResultOf(self.answer, UpstreamFault).value.status, 504)
        self.assertTrue(wire.aborted)

    def test_refused(self) -> None:
        """Nobody there is told as that."""
        self.fpm.refuse()
        self.failureResultOf(self.answer, Unreachable)

    def test_cancelled(self) -> None:
        """Who does not want to know any more closes the connection."""
        wire = self.fpm.accept()
        self.answer.cancel()
        self.failureResultOf(self.answer, CancelledError)
        self.assertTrue(wire.aborted)

    def test_tcp(self) -> None:
        """php-fpm may listen on a port, too."""
        answer = ping(self.reactor, ("127.0.0.1", 9001), 0.5)
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 9001))
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.answer.cancel()
        self.failureResultOf(self.answer, CancelledError)
