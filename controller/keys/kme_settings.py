"""What a KME is told by the node's configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from controller.errors import ConfigurationError
from controller.keys.key_shelf import MAX_KEY_BITS

SAE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


@dataclass(frozen=True)
class KmeSettings:
    """One key management entity. `port` 0 takes a free one. `saes` are the consumers of this site, `peer_saes` of the
    other one.

    Sizes are in bits, multiples of 8 up to 4096; `max_keys_per_request` counts keys.
    """

    kme_id: str
    peer_kme_id: str
    host: str
    port: int
    certificate: Path
    private_key: Path
    client_ca: Path
    saes: tuple[str, ...]
    peer_saes: tuple[str, ...]
    key_size_bits: int = 256
    min_key_size_bits: int = 64
    max_key_size_bits: int = MAX_KEY_BITS
    max_keys_per_request: int = 128
    max_key_count: int = 1 << 25
    max_slave_saes: int = 8

    def __post_init__(self) -> None:
        sizes = (8, self.min_key_size_bits, self.key_size_bits, self.max_key_size_bits, MAX_KEY_BITS)
        if list(sizes) != sorted(sizes) or any(size % 8 for size in sizes):
            raise ConfigurationError(
                f"kme key sizes {sizes[1:4]} bits (least, usual, most) must be ascending multiples of 8, "
                f"at most {MAX_KEY_BITS}"
            )
        if not 1 <= self.max_keys_per_request <= 1024:
            raise ConfigurationError(f"kme max_keys_per_request {self.max_keys_per_request} is outside 1..1024")
        for sae in (*self.saes, *self.peer_saes):
            if not SAE_ID.fullmatch(sae):
                raise ConfigurationError(f"SAE id {sae!r} must be 1 to 64 letters, digits or . _ : -")
        if common := set(self.saes) & set(self.peer_saes):
            raise ConfigurationError(f"SAE ids at both sites: {', '.join(sorted(common))}")
