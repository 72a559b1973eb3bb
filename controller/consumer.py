"""A consumer of keys (SAE): asks a KME over mutual TLS as ETSI GS QKD 014 V1.1.1 says."""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from controller.bundle import SaeFiles
from controller.errors import ConfigurationError, PeerFailure

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, repr=False)
class FetchedKey:
    """One key with its key_ID. Never printed."""

    key_id: str
    key: bytes


class Consumer:
    """One SAE at one KME. Raises PeerFailure with the KME's own words when it refuses."""

    def __init__(self, kme_address: str, files: SaeFiles) -> None:
        try:
            context = ssl.create_default_context(cafile=str(files.ca))
            context.load_cert_chain(files.certificate, files.private_key)
        except OSError as error:
            raise ConfigurationError(
                f"TLS files {files.certificate}, {files.private_key}, {files.ca}: {error}", remedy="qkd trust ca"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._address = kme_address
        self._http = httpx.Client(base_url=f"https://{kme_address}/api/v1/keys/", verify=context, timeout=TIMEOUT_S)

    def status(self, peer_sae: str) -> dict[str, Any]:
        """Get status."""
        return self._ask("GET", f"{peer_sae}/status")

    def fetch(self, peer_sae: str, number: int = 1, size_bits: int | None = None) -> tuple[FetchedKey, ...]:
        """Get key: new keys for us and the consumer at the other node."""
        body: dict[str, Any] = {"number": number} | ({"size": size_bits} if size_bits else {})
        return _keys(self._ask("POST", f"{peer_sae}/enc_keys", body))

    def fetch_by_id(self, peer_sae: str, key_ids: Sequence[str]) -> tuple[FetchedKey, ...]:
        """Get key with key IDs: those that the other consumer got."""
        body = {"key_IDs": [{"key_ID": key_id} for key_id in key_ids]}
        return _keys(self._ask("POST", f"{peer_sae}/dec_keys", body))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, json=body)
            content = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise PeerFailure(f"KME {self._address}: {error}", remedy="is the node running? qkd status") from error
        if answer.status_code != httpx.codes.OK or not isinstance(content, dict):
            words = content.get("message", content) if isinstance(content, dict) else content
            raise PeerFailure(f"KME {self._address} refuses {path}: {answer.status_code} {words}")
        return content


def write_keys(path: Path, keys: Sequence[FetchedKey]) -> None:
    """Write keys to a new file that only its owner can read."""
    content = {"keys": [{"key_ID": k.key_id, "key": base64.b64encode(k.key).decode()} for k in keys]}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", remedy="name a file that does not exist yet") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)


def _keys(content: dict[str, Any]) -> tuple[FetchedKey, ...]:
    try:
        return tuple(
            FetchedKey(str(entry["key_ID"]), base64.b64decode(entry["key"], validate=True)) for entry in content["keys"]
        )
    except (KeyError, TypeError, binascii.Error) as error:
        raise PeerFailure("the KME's answer is no key container") from error
