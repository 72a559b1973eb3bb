"""A throwaway certificate authority for demonstrations and tests: it vouches for nothing and nobody should trust it.

It exists because key delivery needs mutual TLS. Consumers' certificates have nothing to do with the trust between the
nodes.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.keys.sae_identity import SAE_URI

KME_URI = "urn:qkd:kme:"
VALIDITY_DAYS = 30


class ThrowawayCa:
    """Issues certificates for KMEs (servers) and SAEs (clients); its private key lives in memory only."""

    def __init__(self, name: str = "throwaway CA, no trust") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def write_ca(self, directory: Path) -> None:
        """`ca.pem`."""
        _write(directory / "ca.pem", self._certificate.public_bytes(serialization.Encoding.PEM))

    def write_kme(self, directory: Path, name: str, hosts: Iterable[str] = ("localhost", "127.0.0.1")) -> None:
        """`<name>.pem` and `<name>.key` of a server."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(KME_URI + name)]
        names += [_host_name(host) for host in hosts]
        self._write_leaf(directory, name, names, ExtendedKeyUsageOID.SERVER_AUTH)

    def write_sae(self, directory: Path, name: str) -> None:
        """`<name>.pem` and `<name>.key` of a consumer."""
        uri = x509.UniformResourceIdentifier(SAE_URI + name)
        self._write_leaf(directory, name, [uri], ExtendedKeyUsageOID.CLIENT_AUTH)

    def _write_leaf(
        self, directory: Path, name: str, names: list[x509.GeneralName], purpose: x509.ObjectIdentifier
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._builder(subject, key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(issuer_id, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(directory / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _write(directory / f"{name}.key", private)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=VALIDITY_DAYS))
        )


def write_demo_certificates(directory: Path, kmes: Iterable[str], saes: Iterable[str]) -> None:
    """One authority with all its leaves in `directory`, files of mode 0600; existing files are replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = ThrowawayCa()
    authority.write_ca(directory)
    for kme in kmes:
        authority.write_kme(directory, kme)
    for sae in saes:
        authority.write_sae(directory, sae)


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
