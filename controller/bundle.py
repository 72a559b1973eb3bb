"""The files that a link needs before its first start: pre-shared key, store key, certificates for key delivery."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.config import NodeConfig
from controller.errors import ConfigurationError
from controller.keys import envelope
from controller.trust.psk import make_bundles, write_bundle

VALID_DAYS = 30


def make_psk(alice: NodeConfig, bob: NodeConfig, workspace: Path) -> tuple[Path, Path]:
    """Both halves of a new pre-shared key, where the node files expect them. Raises ConfigurationError."""
    if alice.link.link_id != bob.link.link_id:
        raise ConfigurationError(f"link.link_id differs: {alice.link.link_id!r} and {bob.link.link_id!r}")
    halves = make_bundles(alice.link.link_id, alice.node.name, bob.node.name)
    paths = (workspace / alice.trust.psk, workspace / bob.trust.psk)
    for path, half in zip(paths, halves, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_bundle(path, half)
        except FileExistsError as error:
            raise ConfigurationError(f"{path} exists", remedy="move it away if it is not in use") from error
    return paths


def make_kek(config: NodeConfig, workspace: Path) -> Path:
    """The key that encrypts this node's store. Raises ConfigurationError rather than overwrite."""
    path = workspace / config.store.kek
    if path.exists():
        raise ConfigurationError(f"{path} exists", remedy="a store cannot be read without its key: keep it")
    path.parent.mkdir(parents=True, exist_ok=True)
    envelope.make_kek(path)
    return path


@dataclass(frozen=True, slots=True)
class SaeFiles:
    """The TLS files of one consumer."""

    certificate: Path
    private_key: Path
    ca: Path

    @classmethod
    def of(cls, sae: str, workspace: Path) -> SaeFiles:
        """Where `make_delivery_certificates` puts them."""
        return cls(workspace / f"trust/{sae}.pem", workspace / f"trust/{sae}.key", workspace / "trust/ca.pem")


def make_delivery_certificates(nodes: Sequence[NodeConfig], workspace: Path) -> list[Path]:
    """Certificates of all KMEs and of their consumers, signed by one authority whose private key is never stored."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("throwaway CA, no claim of trust")
    ca = _builder(ca_name, ca_name, ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    ca_pem = ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    written = []
    for node in nodes:
        host = node.kme.listen.rpartition(":")[0].strip("[]")
        written.append(_write(workspace / node.kme.client_ca, ca_pem, 0o644))
        files = [(node.kme.id, host, workspace / node.kme.certificate, workspace / node.kme.private_key)]
        for sae in node.kme.saes:
            sae_files = SaeFiles.of(sae, workspace)
            files.append((sae, "", sae_files.certificate, sae_files.private_key))
        for identity, server_host, certificate_path, key_path in files:
            certificate, key = _issue(identity, server_host, ca_name, ca_key)
            written += [_write(certificate_path, certificate, 0o644), _write(key_path, key, 0o600)]
    return list(dict.fromkeys(written))


def _issue(identity: str, host: str, ca_name: x509.Name, ca_key: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    """(certificate, key) in PEM of a KME (with a host) or of a consumer (without)."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.SERVER_AUTH if host else ExtendedKeyUsageOID.CLIENT_AUTH
    names: list[x509.GeneralName] = [x509.DNSName(identity)]
    if host:
        names += [_host_name(host), x509.DNSName("localhost")]
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _builder(_name(identity), ca_name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, data: bytes, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path
