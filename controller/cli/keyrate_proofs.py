"""`qkd keyrate proofs`: what every proof claims, and which of them a node may distil key with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from controller.cli.options import Json, print_json

if TYPE_CHECKING:
    from postproc.finite_key.proof import Proof


def proofs(as_json: Json = False) -> None:
    """Every finite-key proof: source, length mode, division of epsilon, clips, assumptions."""
    from postproc.finite_key.proofs import PLANNED, PROOFS

    known = list(PROOFS.values())
    if as_json:
        print_json({"proofs": [_as_dict(proof) for proof in known], "node": PLANNED.name})
        return
    for proof in known:
        typer.echo(_text(proof, is_the_nodes=proof is PLANNED))


def _as_dict(proof: Proof) -> dict[str, Any]:
    return {
        "name": proof.name,
        "source": proof.source,
        "mode": proof.mode.value,
        "is_for_key": proof.is_for_key,
        "intensities": proof.intensities,
        "epsilon_shares": [{"what": what, "shares": shares} for what, shares in proof.epsilon_shares],
        "clips": proof.clips,
        "assumptions": proof.assumptions,
    }


def _text(proof: Proof, *, is_the_nodes: bool) -> str:
    use = (
        "nodes distil key with it" if is_the_nodes else "for key" if proof.is_for_key else "for reproducing papers only"
    )
    lines = [f"{proof.name}  ({proof.mode.value}, {use})", f"  {proof.source}", "  shares of eps_sec:"]
    lines += [f"    {shares:>2}  {what}" for what, shares in proof.epsilon_shares]
    lines += ["  clips:", *(f"    - {text}" for text in proof.clips)]
    lines += ["  assumptions:", *(f"    - {text}" for text in proof.assumptions), ""]
    return "\n".join(lines)
