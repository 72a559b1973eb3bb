"""Every proof that exists here, by name. Which of them a node may use for key is decided by `key_proof`."""

from __future__ import annotations

from postproc.errors import InputOutOfRange
from postproc.finite_key import bbm92, lim2014, one_decoy_variable, rusca2018, wiesemann2026
from postproc.finite_key.proof import LengthMode, Proof

PROOFS: dict[str, Proof] = {
    proof.name: proof
    for proof in (
        wiesemann2026.DESCRIPTION,
        one_decoy_variable.DESCRIPTION,
        lim2014.DESCRIPTION,
        bbm92.DESCRIPTION,
        bbm92.EXACT,
        lim2014.LEGACY,
        rusca2018.DESCRIPTION,
    )
}

DEFAULTS = {1: bbm92.DESCRIPTION, 2: wiesemann2026.DESCRIPTION, 3: lim2014.DESCRIPTION}
"""By number of intensities; 1 is an entangled source."""

PLANNED = wiesemann2026.DESCRIPTION
"""The proof in which `planning` fixes lengths and thresholds."""


def named(name: str) -> Proof:
    """The proof with this id and version. Raises InputOutOfRange for an unknown one."""
    try:
        return PROOFS[name]
    except KeyError:
        raise InputOutOfRange(f"unknown proof {name!r}; known: {', '.join(sorted(PROOFS))}") from None


def key_proof(name: str) -> Proof:
    """The proof with this name if a node may distil key with it.

    Raises InputOutOfRange for legacy analyses, for variable length (the nodes run fixed-length blocks), and for proofs
    other than the one the thresholds of a block are planned with: judging by another would void both.
    """
    proof = named(name)
    if not proof.is_for_key:
        raise InputOutOfRange(f"proof {name!r} is kept for reproducing papers only; for key: {PLANNED.name}")
    if proof.mode is not LengthMode.FIXED:
        raise InputOutOfRange(f"proof {name!r} is for variable length; blocks are of fixed length: {PLANNED.name}")
    if proof is not PLANNED:
        raise InputOutOfRange(
            f"proof {name!r} is for {proof.intensities} intensities; blocks are planned with {PLANNED.name}"
        )
    return proof
