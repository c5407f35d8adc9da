"""Who is let in to the dashboard."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.admin.gate import Asker, is_local_name, refusal

US = Asker(method="GET", host="localhost:8080", forwarded_for="127.0.0.1")
OURS = evolve(US, method="POST", mark="1", origin="http://localhost:8080", site="same-origin")


class GateTests(SynchronousTestCase):
    """Requests as the fronts pass them on."""

    def test_own_page(self) -> None:
        """Our own page, and a person with curl, are let in by every name of the machine."""
        for host in ("localhost", "localhost:8080", "127.0.0.1:8080", "127.8.0.1", "[::1]:8080", "app.localhost:80"):
            for client in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
                self.assertEqual(refusal(evolve(US, host=host, forwarded_for=client)), "", (host, client))
        self.assertEqual(refusal(OURS), "")
        self.assertEqual(refusal(evolve(OURS, origin="", site="")), "")

    def test_other_machines(self) -> None:
        """Other machines are refused, also through a proxy on this one, and so is who does not say where from."""
        for client in ("192.0.2.1", "10.0.0.1", "192.0.2.1, 127.0.0.1", "127.0.0.1, 192.0.2.1", "", "unknown", "::"):
            self.assertTrue(refusal(evolve(US, forwarded_for=client)), client)

    def test_rebinding(self) -> None:
        """A name that somebody else may have pointed at this machine is refused."""
        for host in ("evil.example", "localhost.evil.example", "192.0.2.1", "0.0.0.0", "", "127.0.0.1.nip.io", "[::1"):
            self.assertTrue(refusal(evolve(US, host=host)), host)

    def test_other_sites(self) -> None:
        """Pages of other sites, those of other ports of this machine included, neither see nor change anything."""
        for site in ("cross-site", "same-site", "odd"):
            self.assertTrue(refusal(evolve(US, site=site)), site)
        self.assertTrue(refusal(evolve(OURS, mark="")))
        self.assertTrue(refusal(evolve(OURS, origin="http://localhost:9999")))
        self.assertTrue(refusal(evolve(OURS, origin="null")))
        self.assertTrue(refusal(evolve(OURS, method="DELETE", mark="")))

    @given(st.text(max_size=40))
    def test_any_host(self, host: str) -> None:
        """Whatever is sent as a host is judged and breaks nothing."""
        is_local_name(host)
