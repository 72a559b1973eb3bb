"""Recompute the secret length of every block in a run record, from its public integers alone.

    python docs/recompute_length.py RECORD.json [...]

RECORD.json is one block record, a list of them, or an object with a list under "blocks" (`qkd status --json`, the run
file's records as JSON). Standard library only, nothing of this project is imported: it is a second reading of the proof
(docs/security-analysis.md), with 50-digit decimals where the nodes use floats. One line per block; exit code 1 when any
number disagrees. What it cannot check: that the counts were counted honestly, and the assumptions of the proof.
"""

from __future__ import annotations

import json
import sys
from decimal import ROUND_FLOOR, Decimal, getcontext
from typing import Any

getcontext().prec = 50
PROOF = "wiesemann2026/1"
RELATIVE_TOLERANCE = Decimal("1e-9")  # between floats of the nodes and decimals here
LN2 = Decimal(2).ln()
HALF = Decimal("0.5")


def log2(x: Decimal) -> Decimal:
    return x.ln() / LN2


def entropy(x: Decimal) -> Decimal:
    if x >= HALF:
        return Decimal(1)
    return Decimal(0) if x <= 0 else -(x * log2(x) + (1 - x) * log2(1 - x))


def between(low: Decimal, x: Decimal, high: Decimal) -> Decimal:
    return max(low, min(x, high))


def one_basis(n: list[int], m: list[int], mu: list[Decimal], p: list[Decimal], eps: Decimal) -> tuple[Decimal, Decimal]:
    """(single-photon detections at least, errors among them at most), from detections n and errors m per intensity."""
    zero, big_n, big_m = Decimal(0), Decimal(sum(n)), Decimal(sum(m))
    off_n, off_m = ((x / 2 * -eps.ln()).sqrt() for x in (big_n, big_m))
    tau0 = sum((p[k] * (-mu[k]).exp() for k in (0, 1)), zero)
    tau1 = sum((p[k] * (-mu[k]).exp() * mu[k] for k in (0, 1)), zero)
    w = [mu[k].exp() / p[k] for k in (0, 1)]
    errors_up = [w[k] * between(zero, m[k] + off_m, big_m) for k in (0, 1)]
    vacuum = between(zero, min(2 * (tau0 * e + off_n) for e in errors_up), big_n)
    decoy = w[1] * between(zero, n[1] - off_n, big_n)
    signal = w[0] * between(zero, n[0] + off_n, big_n)
    r2 = (mu[1] / mu[0]) ** 2
    singles = mu[0] * tau1 / (mu[1] * (mu[0] - mu[1])) * (decoy - r2 * signal - (1 - r2) * vacuum / tau0)
    wrong = tau1 / (mu[0] - mu[1]) * (errors_up[0] - w[1] * between(zero, m[1] - off_m, big_m))
    return between(zero, singles, big_n), between(zero, wrong, big_m)


def phase_error(in_key: Decimal, in_test: Decimal, wrong: Decimal, eps: Decimal) -> Decimal:
    if in_key <= 0 or in_test <= 0:
        return HALF
    sampling = ((in_key + in_test) / (in_key * in_test) * (in_test + 1) / in_test * -eps.ln()).sqrt()
    return min(HALF, min(HALF, wrong / in_test) + sampling)


def length(in_key: Decimal, phase: Decimal, leak: int, record: dict[str, Any]) -> int:
    """The secret length for these bounds and this leakage, rounded down, 0 if there is none."""
    eps_sec, eps_cor = Decimal(repr(record["eps_sec"])), Decimal(repr(record["eps_cor"]))
    hash_cost = max(Decimal(record["verification_bits"]), log2(2 / eps_cor))
    amplification = 4 * log2(15 / (eps_sec * Decimal(2) ** Decimal("0.25")))
    exact = in_key * (1 - entropy(phase)) - leak - hash_cost - amplification
    return max(0, int(exact.to_integral_value(rounding=ROUND_FLOOR)))


def check(record: dict[str, Any]) -> list[str]:
    """What disagrees in one block record; empty when everything agrees."""
    if record["outcome"] != "key":
        return [] if record["secret_bits"] == 0 else [f"aborted, yet {record['secret_bits']} bits were credited"]
    wrong: list[str] = []

    def expect(what: str, recorded: object, recomputed: object) -> None:
        if recorded != recomputed:
            wrong.append(f"{what}: recorded {recorded}, recomputed {recomputed}")

    def require(what: str, is_true: bool) -> None:
        if not is_true:
            wrong.append(f"not true: {what}")

    expect("proof", record["proof"], PROOF)
    expect("mode", record["mode"], "fixed-length")
    mu = [Decimal(repr(x)) for x in record["mean_photon_numbers"]]
    p = [Decimal(repr(x)) for x in record["intensity_probabilities"]]
    eps = Decimal(repr(record["eps_sec"])) / 15
    in_key, _ = one_basis(record["n_key"], record["m_key"], mu, p, eps)
    in_test, errors = one_basis(record["n_test"], record["m_test"], mu, p, eps)
    phase = phase_error(in_key, in_test, errors, eps)
    expect("single-photon detections", record["single_photon_key"], int(in_key))
    recorded_phase = Decimal(repr(record["phase_error_bound"]))
    require(
        f"phase error bound {recorded_phase} = {phase:.9f}", abs(recorded_phase - phase) <= RELATIVE_TOLERANCE * phase
    )

    parts = {what: bits for what, _, bits in record["leakage"]}
    charged = sum(bits for _, _, bits in record["leakage"])
    leak = charged - record["verification_bits"]
    expect("leakage in all", record["leakage_bits"], charged)
    expect("verification hash", parts.get("verification hash", 0), record["verification_bits"])
    reported = sum(n.bit_length() for n in record["n_key"])  # ceil(log2(n + 1)) for n + 1 possible values
    expect("error counts", parts.get("key-basis error counts", 0), reported)

    threshold = Decimal(repr(record["plan_max_phase_error"]))
    least = Decimal(record["plan_min_single_photon_key"])
    budget = record["plan_leakage_budget_bits"]
    require(f"single-photon detections {int(in_key)} >= threshold {least}", int(in_key) >= least)
    require(f"phase error bound {phase:.6f} <= threshold {threshold}", recorded_phase <= threshold)
    require(f"leakage {leak} <= budget {budget}", leak <= budget)
    expect("sifted bits", record["sifted_bits"], sum(record["n_key"]))
    expect("planned length", record["plan_secret_length_bits"], length(least, threshold, budget, record))
    expect("credited length", record["secret_bits"], length(least, threshold, budget, record))
    expect("length that the counts would give", record["observed_length_bits"], length(in_key, phase, leak, record))
    return wrong


def blocks_in(document: Any) -> list[dict[str, Any]]:
    if isinstance(document, dict):
        document = document.get("blocks", [document])
    return list(document)


def main(paths: list[str]) -> int:
    if not paths:
        print(__doc__)
        return 2
    disagreements = 0
    for path in paths:
        with open(path, encoding="utf-8") as file:
            records = blocks_in(json.load(file))
        for record in records:
            wrong = check(record)
            disagreements += len(wrong)
            verdict = "; ".join(wrong) or "agrees"
            print(f"round {record['round']}: {record['outcome']}, {record['secret_bits']} secret bits: {verdict}")
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
