"""The files that a link needs before its first start: pre-shared key, store key, certificates for key delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.config import NodeConfig
from controller.errors import ConfigurationError
from controller.keys import envelope
from controller.keys.consumer import Consumer, client_context
from controller.keys.throwaway_ca import ThrowawayCa
from controller.trust.psk import make_bundles, write_bundle


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
    authority = ThrowawayCa()
    written = []
    for node in nodes:
        ca = workspace / node.kme.client_ca
        ca.parent.mkdir(parents=True, exist_ok=True)
        authority.write_ca(ca.parent)
        certificate = workspace / node.kme.certificate
        host = node.kme.listen.rpartition(":")[0].strip("[]")
        authority.write_kme(certificate.parent, certificate.stem, ("localhost", host))
        written += [ca, certificate, certificate.with_suffix(".key")]
        for sae in node.kme.saes:
            files = SaeFiles.of(sae, workspace)
            authority.write_sae(files.certificate.parent, sae)
            written += [files.certificate, files.private_key]
    return list(dict.fromkeys(written))


def open_consumer(node: NodeConfig, sae: str, workspace: Path) -> Consumer:
    """A consumer at this node's KME, with the files that `make_delivery_certificates` wrote."""
    files = SaeFiles.of(sae, workspace)
    return Consumer(f"https://{node.kme.listen}", client_context(files.certificate, files.private_key, files.ca))
