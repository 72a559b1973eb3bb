"""Pre-shared keys: imported once, whatever interrupts it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controller.keys import bootstrap
from controller.keys.bootstrap import TlsFiles, import_once
from controller.keys.envelope import make_kek
from controller.keys.errors import StoreExists
from controller.keys.store import NodeStore
from controller.trust.errors import PskRefused
from controller.trust.node_certificate import fingerprint
from controller.trust.psk import make_bundles, write_bundle
from tests.controller.stores import LINK, SMALL


class Site:
    """Alice's directory, with a copy of the bundle file that an attacker or a careless person kept."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.psk, self.store = directory / "alice.psk", directory / "alice.sqlite"
        self.bundles = make_bundles(LINK, "node-a", "node-b", SMALL)
        self.kek = make_kek(directory / "kek")
        write_bundle(self.psk, self.bundles[0])
        self.copy = self.psk.read_bytes()

    def run(self) -> NodeStore:
        return import_once(self.psk, self.store, self.kek, link_id=LINK, node="alice")

    def bring_back(self) -> None:
        self.psk.write_bytes(self.copy)
        self.psk.chmod(0o600)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_import_makes_the_store_and_destroys_the_file(site: Site) -> None:
    with site.run() as store:
        assert not site.psk.exists()
        assert (store.node, store.link_id, store.psk_serial) == ("alice", LINK, site.bundles[0].serial)
        assert store.epoch == 1
        assert bytes(store.burn("round", "ab", 64).data) == site.bundles[1].pool("round", "ab")[:64]
    files = TlsFiles.beside(site.store)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (files.certificate, files.key, files.peer_certificate))
    assert files.peer_certificate.read_bytes() == site.bundles[1].tls_certificate_pem


def test_the_same_serial_is_refused_ever_after(site: Site) -> None:
    with site.run() as store:
        store.burn("round", "ab", 32)
    site.bring_back()
    with pytest.raises(PskRefused, match="imported before"):
        site.run()
    for path in site.directory.glob("alice.sqlite*"):
        if not path.name.endswith(".psk-used"):
            path.unlink()
    with pytest.raises(PskRefused, match="its store is gone"):
        site.run()


def test_another_bundle_does_not_replace_a_store(site: Site) -> None:
    site.run().close()
    write_bundle(site.psk, make_bundles(LINK, "node-a", "node-b", SMALL)[0])
    with pytest.raises(StoreExists):
        site.run()


@pytest.mark.parametrize("step", ["_discard", "_append", "_rename", "_write_tls", "destroy_file"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_anywhere_the_next_start_completes_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    real = getattr(bootstrap, step)

    def killed(*arguments: object) -> None:
        if moment == "after":
            real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, step, killed)
        with pytest.raises(KeyboardInterrupt):
            site.run()
    if site.psk.exists():
        with site.run() as store:
            assert store.levels()["round", "ab"] == SMALL.round_bytes
    else:
        NodeStore.open(site.store, site.kek).close()
    assert not site.psk.exists()
    assert TlsFiles.beside(site.store).key.exists()


def test_damaged_foreign_or_readable_files_are_refused(site: Site) -> None:
    def refused(reason: str) -> None:
        with pytest.raises(PskRefused, match=reason):
            site.run()

    site.psk.write_bytes(site.copy[:-1])
    refused("damaged")
    site.psk.write_bytes(b"hello")
    refused("damaged")
    site.bring_back()
    site.psk.chmod(0o644)
    refused("0644")
    site.psk.unlink()
    refused("No such file")
    write_bundle(site.psk, site.bundles[1])
    refused("is for bob")
    assert not site.store.exists()


def test_bundles_are_two_halves_of_one_secret() -> None:
    alice, bob = make_bundles(LINK, "node-a", "node-b", SMALL)
    assert (alice.serial, alice.pools) == (bob.serial, bob.pools)
    assert alice.peer_certificate_pem == bob.tls_certificate_pem
    assert bob.peer_certificate_pem == alice.tls_certificate_pem
    assert alice.tls_key_pem != bob.tls_key_pem
    assert make_bundles(LINK, "node-a", "node-b", SMALL)[0].pools != alice.pools


def test_node_certificates_are_p256_and_name_their_node() -> None:
    pem = make_bundles(LINK, "node-a", "node-b", SMALL)[0].tls_certificate_pem
    certificate = x509.load_pem_x509_certificate(pem)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:qkd:node:node-a"]
    assert len(bytes.fromhex(fingerprint(pem))) == 32
