"""A small consumer (SAE): fetches keys over mutual TLS by ETSI GS QKD 014 and encrypts a message with one.

Both SAE ids and the key_ID enter the derivation of the message key, so a key that reached the wrong pair of consumers
decrypts nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controller.errors import ConfigurationError, PeerFailure, SecurityFailure

_NONCE_BYTES = 12
MIN_MESSAGE_KEY_BITS = 128


class KmeRefused(PeerFailure):
    """The KME answered with an error; `status` is its HTTP status code."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"KME answered {status}: {message or 'no reason given'}")


@dataclass(frozen=True, repr=False, eq=False)
class ConsumerKey:
    """A key in the consumer's hands."""

    key_id: str
    material: bytes

    def matches(self, other: ConsumerKey) -> bool:
        """Whether both consumers hold the same key under the same key_ID; constant-time."""
        return self.key_id == other.key_id and hmac.compare_digest(self.material, other.material)

    def __repr__(self) -> str:
        return f"ConsumerKey({self.key_id}, {8 * len(self.material)} bits)"


def client_context(certificate: Path, private_key: Path, ca: Path) -> ssl.SSLContext:
    """TLS 1.3 with a client certificate. Raises ConfigurationError if a file does not load."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, private_key)
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{certificate}, {private_key} or {ca}: {error}") from error
    return context


class Consumer:
    """One SAE and its KME. `url` is https://HOST:PORT. Use it as a context manager."""

    def __init__(self, url: str, context: ssl.SSLContext, *, timeout_s: float = 15.0) -> None:
        self._client = httpx.Client(base_url=url, verify=context, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def status(self, slave_sae: str) -> dict[str, Any]:
        """Clause 6.1."""
        return self._ask("GET", slave_sae, "status")

    def enc_keys(
        self, slave_sae: str, number: int = 1, size_bits: int = 256, additional_slave_saes: Sequence[str] = ()
    ) -> tuple[ConsumerKey, ...]:
        """New keys shared with the slave SAEs. Raises KmeRefused, PeerFailure."""
        body: dict[str, Any] = {"number": number, "size": size_bits}
        if additional_slave_saes:
            body["additional_slave_SAE_IDs"] = list(additional_slave_saes)
        return _keys(self._ask("POST", slave_sae, "enc_keys", body))

    def dec_keys(self, master_sae: str, key_ids: Sequence[str]) -> tuple[ConsumerKey, ...]:
        """The keys that the master SAE has named. Raises KmeRefused, PeerFailure."""
        body = {"key_IDs": [{"key_ID": key_id} for key_id in key_ids]}
        return _keys(self._ask("POST", master_sae, "dec_keys", body))

    def _ask(self, method: str, sae: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        path = f"/api/v1/keys/{quote(sae, safe='')}/{what}"
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise PeerFailure(
                f"{self._client.base_url}: {error or type(error).__name__}",
                remedy="see with qkd status whether the node runs; give the --port-offset it was started with",
            ) from error
        try:
            answer = response.json() if response.content else {}
        except ValueError as error:
            raise PeerFailure(f"{self._client.base_url}: the answer is not JSON") from error
        if response.status_code != 200:
            raise KmeRefused(response.status_code, str(answer.get("message", "")) if isinstance(answer, dict) else "")
        return answer


def _keys(container: dict[str, Any]) -> tuple[ConsumerKey, ...]:
    try:
        entries = [(str(entry["key_ID"]), base64.b64decode(entry["key"], validate=True)) for entry in container["keys"]]
    except (KeyError, TypeError, binascii.Error):
        raise PeerFailure("the KME's key container is malformed") from None
    return tuple(ConsumerKey(key_id, material) for key_id, material in entries)


def _message_cipher(key: ConsumerKey, master_sae: str, slave_sae: str) -> AESGCM:
    if 8 * len(key.material) < MIN_MESSAGE_KEY_BITS:
        raise ConfigurationError(f"a key of {8 * len(key.material)} bits is too short", remedy="ask for 256 bits")
    parts = [part.encode() for part in ("QKD-MESSAGE/1", key.key_id, master_sae, slave_sae)]
    info = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(key.material))


def encrypt(key: ConsumerKey, master_sae: str, slave_sae: str, plaintext: bytes) -> bytes:
    """AES-256-GCM under a key derived from the delivered one, its key_ID and both SAE ids."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _message_cipher(key, master_sae, slave_sae).encrypt(nonce, plaintext, key.key_id.encode())


def decrypt(key: ConsumerKey, master_sae: str, slave_sae: str, message: bytes) -> bytes:
    """Inverse of `encrypt`. Raises SecurityFailure if key, consumers or message do not belong together."""
    cipher = _message_cipher(key, master_sae, slave_sae)
    try:
        return cipher.decrypt(message[:_NONCE_BYTES], message[_NONCE_BYTES:], key.key_id.encode())
    except (InvalidTag, ValueError) as error:
        raise SecurityFailure(f"the message does not decrypt under key {key.key_id}") from error
