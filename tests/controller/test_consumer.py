"""The consumer's own cryptography and settings that must be refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controller.errors import ConfigurationError, PeerFailure, SecurityFailure
from controller.keys.consumer import Consumer, ConsumerKey, client_context, decrypt, encrypt
from controller.keys.sae_identity import sae_of
from controller.keys.throwaway_ca import write_demo_certificates
from tests.controller.kme_pair import settings

KEY = ConsumerKey("7d0c1c0e-0000-8000-8000-000000000000", bytes(range(32)))


def test_key_consumers_and_id_are_bound_to_the_message() -> None:
    message = encrypt(KEY, "m", "s", b"text")
    assert decrypt(KEY, "m", "s", message) == b"text"
    wrong_id = ConsumerKey(KEY.key_id.replace("7", "8"), KEY.material)
    wrong_key = ConsumerKey(KEY.key_id, bytes(32))
    for key, master, slave, data in (
        (KEY, "m", "t", message),
        (KEY, "n", "s", message),
        (wrong_id, "m", "s", message),
        (wrong_key, "m", "s", message),
        (KEY, "m", "s", message[:-1]),
        (KEY, "m", "s", b""),
    ):
        with pytest.raises(SecurityFailure, match="does not decrypt"):
            decrypt(key, master, slave, data)
    assert not KEY.matches(wrong_id)
    assert not KEY.matches(wrong_key)


def test_short_keys_encrypt_nothing_and_keys_do_not_show() -> None:
    with pytest.raises(ConfigurationError, match="64 bits"):
        encrypt(ConsumerKey("id", bytes(8)), "m", "s", b"")
    assert KEY.material.hex() not in repr(KEY)
    assert repr(KEY.material)[2:-1] not in repr(KEY)


def test_an_absent_kme_is_a_peer_failure(tmp_path: Path) -> None:
    write_demo_certificates(tmp_path, [], ["sae"])
    context = client_context(tmp_path / "sae.pem", tmp_path / "sae.key", tmp_path / "ca.pem")
    with Consumer("https://127.0.0.1:1", context) as consumer, pytest.raises(PeerFailure, match=r"127\.0\.0\.1:1"):
        consumer.status("s")
    with pytest.raises(ConfigurationError):
        client_context(tmp_path / "none.pem", tmp_path / "sae.key", tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("names", "sae"),
    [
        ((("URI", "urn:qkd:sae:x-1"),), "x-1"),
        ((("DNS", "x"), ("URI", "urn:other:y"), ("URI", "urn:qkd:sae:x")), "x"),
        ((("URI", "urn:qkd:sae:x"), ("URI", "urn:qkd:sae:y")), None),
        ((("URI", "urn:qkd:node:x"),), None),
        ((("DNS", "urn:qkd:sae:x"),), None),
        ((("URI", "urn:qkd:sae:"),), None),
        ((("URI", "urn:qkd:sae:a/b"),), None),
        ((("URI", "urn:qkd:sae:" + "a" * 65),), None),
        ((), None),
    ],
)
def test_identity_is_one_well_formed_uri(names: tuple[tuple[str, str], ...], sae: str | None) -> None:
    assert sae_of({"subjectAltName": names}) == sae
    assert sae_of(None) is None
    assert sae_of({}) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"key_size_bits": 8192},
        {"min_key_size_bits": 512},
        {"key_size_bits": 100},
        {"max_keys_per_request": 0},
        {"saes": ("a b",)},
        {"peer_saes": ("sae-a1",)},
    ],
)
def test_settings_that_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        replace(settings(tmp_path, "alice"), **changes)
