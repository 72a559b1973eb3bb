"""Who a consumer is: the one URI `urn:qkd:sae:<id>` in the subject alternative names of its verified client
certificate.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.keys.kme_settings import SAE_ID

SAE_URI = "urn:qkd:sae:"


def sae_of(peercert: object) -> str | None:
    """SAE id from what `ssl.SSLSocket.getpeercert()` returns; None without exactly one well-formed name."""
    if not isinstance(peercert, Mapping):
        return None
    names = peercert.get("subjectAltName", ())
    found = [value.removeprefix(SAE_URI) for kind, value in names if kind == "URI" and value.startswith(SAE_URI)]
    return found[0] if len(found) == 1 and SAE_ID.fullmatch(found[0]) else None
