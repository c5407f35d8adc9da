"""
TLS in front of a service that listens by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory

from ..errors import ServerFault

Wrap = Callable[[Any], Any]
"""Puts something around a factory of connections."""


def tls_around(cert: str, key: str) -> Wrap:
    """
    Have a factory speak TLS 1.2 or later.

    @param cert: path of the certificate with its chain, PEM.
    @param key: path of its key, PEM.
    @raise ServerFault: they cannot be used.
    """
    try:
        with open(cert, "rb") as cert_file, open(key, "rb") as key_file:
            options = _options(cert_file.read(), key_file.read())
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate_chain_file(cert)
        context.use_privatekey_file(key)
        context.check_privatekey()
    except (OSError, SSL.Error, crypto.Error, ValueError) as error:
        raise ServerFault(f"{cert} and {key} are no certificate with its key: {_reason(error)}")
    return lambda factory: TLSMemoryBIOFactory(options, False, factory)


def _options(cert: bytes, key: bytes) -> CertificateOptions:
    mark = b"-----BEGIN CERTIFICATE-----"
    chain = [crypto.load_certificate(crypto.FILETYPE_PEM, mark + part) for part in cert.split(mark)[1:]]
    if not chain:
        raise ValueError("there is no certificate in the first")
    return CertificateOptions(
        privateKey=crypto.load_privatekey(crypto.FILETYPE_PEM, key, b""),
        certificate=chain[0],
        extraCertChain=chain[1:],
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=[b"http/1.1"],  # Without, whoever offers some (RFC 7301) is refused.
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    reasons = error.args[0] if error.args else ""
    if isinstance(reasons, list):
        return "; ".join(str(each[-1]) for each in reasons) or "they do not belong together"
    return str(reasons)
