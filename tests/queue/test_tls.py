"""Tests of L{tqserver.queue.tls}."""

from __future__ import annotations

from pathlib import Path

from OpenSSL import crypto
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ServerFault
from tqserver.queue.tls import tls_around


class TLSTests(SynchronousTestCase):
    """A certificate and its key."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        for name in ("a", "b"):
            key = crypto.PKey()
            key.generate_key(crypto.TYPE_RSA, 2048)
            cert = crypto.X509()
            cert.get_subject().CN = name
            cert.set_serial_number(1)
            cert.gmtime_adj_notBefore(0)
            cert.gmtime_adj_notAfter(1000)
            cert.set_pubkey(key)
            cert.sign(key, "sha256")
            self.write(f"{name}.cert", crypto.dump_certificate(crypto.FILETYPE_PEM, cert))
            self.write(f"{name}.key", crypto.dump_privatekey(crypto.FILETYPE_PEM, key))
        self.write("empty", b"")
        self.write("chain", b"".join((self.folder / f"{name}.cert").read_bytes() for name in ("a", "b")))

    def write(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)

    def around(self, cert: str, key: str) -> object:
        return tls_around(str(self.folder / cert), str(self.folder / key))(Factory())

    def test_good(self) -> None:
        """A certificate, or several in a chain, and the key of the first."""
        for cert in ("a.cert", "chain"):
            self.assertIsInstance(self.around(cert, "a.key"), TLSMemoryBIOFactory)

    def test_bad(self) -> None:
        """Files that are not there, hold something else, or do not belong together, are named."""
        for cert, key in (
            ("nothing", "a.key"),
            ("a.cert", "nothing"),
            ("a.cert", "b.key"),
            ("a.key", "a.cert"),
            ("empty", "a.key"),
            ("a.cert", "empty"),
        ):
            fault = self.assertRaises(ServerFault, self.around, cert, key)
            self.assertIn(cert, fault.reason)
            self.assertIn(key, fault.reason)
            self.assertFalse(fault.reason.endswith(": "), fault.reason)
