"""Our value for every published figure, computed from the inputs printed beside it: one function per kind of row.

The figures are in tests/vectors/published_key_rates.json; `python -m benchmarks.key_rates` prints the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postproc.finite_key import lim2014, one_decoy, rusca2018
from postproc.finite_key.entropy import binary_entropy
from postproc.finite_key.proof import Source
from postproc.records import BlockCounts
from tests.postproc.finite_key.paper_links import GysLink, LimLink, Optimum, lim_best

VECTORS = Path(__file__).parents[2] / "vectors" / "published_key_rates.json"
CORRECTION_F = 1.16


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure: ours against the published one, with the relative tolerance agreed for it."""

    id: str
    what: str
    published: float
    ours: float
    tolerance: float

    @property
    def deviation(self) -> float:
        """Relative."""
        return self.ours / self.published - 1

    @property
    def cells(self) -> str:
        """Published and ours as the table of docs/security-analysis.md shows them."""
        places = {"secret bits": 0, "reach km": 2}.get(self.what, 3)
        return f"| {self.published:.{places}f} | {self.ours:.{places}f} |"

    @property
    def is_reproduced(self) -> bool:
        return abs(self.deviation) <= self.tolerance


def rows() -> dict[str, dict[str, Any]]:
    """The published figures by id."""
    return {row["id"]: row for row in json.loads(VECTORS.read_text(encoding="utf-8"))["rows"]}


def exact_vector(row: dict[str, Any]) -> list[Comparison]:
    given = row["inputs"]
    counts = BlockCounts(tuple(given["nK"]), tuple(given["nT"]), tuple(given["mK"]), tuple(given["mT"]))
    source = Source(tuple(given["mu"]), tuple(given["p"]), given["eps_sec"], given["eps_cor"])
    ours = rusca2018.evaluate(counts, source, given["leak"], 0).observed_length_bits
    return [Comparison(row["id"], "secret bits", row["expected"]["l"], ours, 0.0)]


def gys(row: dict[str, Any]) -> list[Comparison]:
    i = row["inputs"]
    link = GysLink(i["alpha"], i["eta_bob"], i["Y0"], i["e_d"], i["f"], i["q"])
    reach = link.reach_km(i["mu"], i.get("nu"))
    return [Comparison(row["id"], "reach km", row["expected"]["max_km"], reach, row["tolerance"])]


def lim_link(given: dict[str, Any]) -> LimLink:
    return LimLink(given["eta_bob"], given["pdc"], given["pap"], given["emis"], given["alpha"], given["f_ec"])


def lim_ratio(row: dict[str, Any]) -> list[Comparison]:
    large, small = (
        lim_best(lim_link(row["inputs"]), row["inputs"]["L"], n, lim2014.evaluate_legacy).rate for n in (1e9, 1e7)
    )
    expected = row["expected"]["ratio_R_1e9_over_1e7"]
    return [Comparison(row["id"], "R(1e9)/R(1e7) at 100 km", expected, large / small, row["tolerance"])]


def lim_reach(row: dict[str, Any]) -> list[Comparison]:
    link, block = lim_link(row["inputs"]), row["inputs"]["nX"]
    found = reach(lambda km, start: lim_best(link, km, block, lim2014.evaluate_legacy, start=start))
    return [Comparison(row["id"], "reach km", row["expected"]["max_km"], found, row["tolerance"])]


def reach(best_at: Callable[[float, tuple[float, ...]], Optimum]) -> float:
    """The longest distance with key, to half a km, each search started where the one before ended."""
    km, step = 10.0, 32.0
    here = best_at(km, (0.61, 0.154, 0.081, 0.5, 0.65))
    if here.length_bits <= 0:
        return 0.0
    while step >= 0.5:
        there = best_at(km + step, here.point)
        if there.length_bits > 0:
            km, here = km + step, there
        else:
            step /= 2
    return km


def boaron(row: dict[str, Any]) -> list[Comparison]:
    """From the row's own intensities, detections, QBER and phase error: the fraction of key, and the rate that follows
    with the row's duration. The share of the signal class is not published: the one with most key per second."""
    i, e = row["inputs"], row["expected"]
    n, seconds = i["nZ"], i["block_time_h"] * 3600
    mu = (i["mu1"], i["mu2"])
    best = max((_boaron_fraction(row, mu, percent / 100) for percent in range(20, 96)), key=lambda pair: pair[0])[1]
    return [
        Comparison(row["id"], "l/nZ", e["SKR_bps"] * seconds / n, best, row["tolerance"]),
        Comparison(row["id"], "bit/s", e["SKR_bps"], best * n / seconds, 0.5),
    ]


def boaron_detections_from_loss() -> dict[str, float]:
    """Detections per second over the published ones, from the loss alone, with the receiver that fits the first row."""
    ratios: dict[str, float] = {}
    for name, row in rows().items():
        if name.startswith("boaron2018"):
            i = row["inputs"]
            mu = (i["mu1"], i["mu2"])
            p_1 = max((_boaron_fraction(row, mu, percent / 100)[0], percent / 100) for percent in range(20, 96))[1]
            light = i["clock_Hz"] * 10 ** (-i["att_dB"] / 10) * (p_1 * mu[0] + (1 - p_1) * mu[1])
            ratios[name] = light / (i["nZ"] / (i["block_time_h"] * 3600))
    first = ratios["boaron2018-251.7"]
    return {name: ratio / first for name, ratio in ratios.items()}


def _boaron_fraction(row: dict[str, Any], mu: tuple[float, float], p_1: float) -> tuple[float, float]:
    """(key per pulse in arbitrary units, key per detection)."""
    i, e = row["inputs"], row["expected"]
    qber, phase = e["QBER_Z_pct"] / 100, e["phi_Z_pct"] / 100
    shares = (p_1 * mu[0], (1 - p_1) * mu[1])
    n = tuple(round(i["nZ"] * share / sum(shares)) for share in shares)
    source = Source(mu, (p_1, 1 - p_1), i["eps_sec"], i["eps_cor"])
    eps = i["eps_sec"] / rusca2018.EPS_TERMS
    single = one_decoy.bounds(n, tuple(round(qber * k) for k in n), source, eps).single_photon_lower
    vacuum = one_decoy.vacuum_lower(n, source, eps)
    leak = CORRECTION_F * sum(n) * binary_entropy(qber)
    fraction = (vacuum + single * (1 - binary_entropy(phase)) - leak - rusca2018.fixed_cost_bits(source, 0)) / sum(n)
    return fraction * sum(shares), fraction


def comparisons(row: dict[str, Any]) -> list[Comparison]:
    """What we get for a row; empty where the paper's abstract alone is known and nothing can be computed."""
    kinds: dict[str, Callable[[dict[str, Any]], list[Comparison]]] = {
        "formalqkd-rusca-1": exact_vector,
        "ma2005-gys-vacuum+weak": gys,
        "ma2005-gys-infinite": gys,
        "lim2014-ratio-100km": lim_ratio,
        "lim2014-1e4-maxL": lim_reach,
    }
    if row["id"].startswith("boaron2018"):
        return boaron(row)
    return kinds[row["id"]](row) if row["id"] in kinds else []
