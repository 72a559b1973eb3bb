"""The tool behind postproc/reconciliation/ensembles.json: degree distributions by density evolution.

    ./run python -m benchmarks.ldpc_design --thresholds [--step 0.15]
    ./run python -m benchmarks.ldpc_design --qber 0.03 --check-degree 36 --target 1.023

--thresholds computes the threshold of every shipped design, and of the distributions interpolated half-way between
them, which is what the codes in between use. The other form designs a distribution: successive linear programs
(Chung, Forney, Richardson, Urbanke 2001) that lower the leakage step by step towards target * h(QBER) while the number
of iterations, linearised around the present distribution, is kept small. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np
from scipy.optimize import linprog

from benchmarks.density_evolution import DensityEvolution, h2, leakage, threshold_f
from postproc.reconciliation.ensembles import Design, designs, edge_fractions

DEGREES = [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 25, 30, 35, 40, 50, 60]
DEGREE_TWO_PER_ROW = 1.45  # more of them than rows cannot all lie in a tree; too many make an error floor
_KEPT_POINTS = 160  # of a trajectory, as constraints


def shipped(design: Design) -> dict[int, float]:
    """Edge fractions of a design."""
    return {d: share / 1e5 for d, share in design.edge_fractions_1e5}


def threshold_rows(step: float) -> list[dict[str, float | str]]:
    """Thresholds of the designs and half-way between."""
    known, rows = designs(), []
    for i, design in enumerate(known):
        f = threshold_f(shipped(design), design.leakage, step)
        rows.append({"kind": "design", "qber": design.qber, "leakage": design.leakage, "threshold_f": round(f, 4)})
        if i + 1 < len(known):
            between = (design.leakage + known[i + 1].leakage) / 2
            f = threshold_f(edge_fractions(10**6, round(between * 10**6)), between, step)
            rows.append({"kind": "interpolated", "leakage": round(between, 5), "threshold_f": round(f, 4)})
    return rows


def start(qber: float, check_degree: float, degrees: list[int]) -> dict[int, float]:
    """A distribution that converges: the shipped one nearest by, mixed with high degrees until it does."""
    near = shipped(min(designs(), key=lambda d: abs(math.log(d.qber / qber))))
    light = {d: near.get(d, 0.0) for d in degrees}
    light[3] += 1 - sum(light.values())
    heavy = {d: {3: 0.12, 9: 0.28, degrees[-1]: 0.6}.get(d, 0.0) for d in degrees}
    evolution = DensityEvolution(qber, degrees[-1])
    for weight in np.linspace(0, 1, 21):
        mixed = {d: (1 - weight) * light[d] + weight * heavy[d] for d in degrees}
        if evolution.run(mixed, check_degree, 400).is_converged:
            return mixed
    raise SystemExit(f"no distribution with check degree {check_degree} converges at QBER {qber}: try a smaller one")


def improve(qber: float, check_degree: float, target_f: float, degrees: list[int], rounds: int) -> dict[int, float]:
    """Successive linear programs; steps that density evolution does not confirm are halved."""
    evolution = DensityEvolution(qber, degrees[-1])
    inverse = 1 / np.array(degrees)
    present = np.array(list(start(qber, check_degree, degrees).values()))
    stability = 0.96 / (2 * math.sqrt(qber * (1 - qber))) / (check_degree - 1)
    most_twos = min(2 * DEGREE_TWO_PER_ROW / check_degree, stability)
    trajectory = evolution.run(dict(zip(degrees, present, strict=True)), check_degree)
    step, reach = 0.03, 0.06
    for _ in range(rounds):
        f = leakage(dict(zip(degrees, present, strict=True)), check_degree) / h2(qber)
        wanted = max(target_f, f * (1 - step))
        candidate = _linear_program(trajectory, present, inverse, reach, most_twos, check_degree * wanted * h2(qber))
        tried = None
        if candidate is not None:
            tried = evolution.run(dict(zip(degrees, candidate, strict=True)), check_degree)
        if tried is None or not tried.is_converged:
            step, reach = step / 2, reach * 0.7
        else:
            present, trajectory, step = candidate, tried, min(1.3 * step, 0.03)
        if reach < 0.002 or step < 4e-4:
            break
    return {d: float(x) for d, x in zip(degrees, present, strict=True) if x > 2e-4}


def _linear_program(trajectory, present, inverse, reach, most_twos, edges_per_bit):
    """The distribution within `reach` with the wanted leakage whose entropy falls fastest along the trajectory."""
    points = np.unique(np.linspace(0, trajectory.entropy.size - 1, _KEPT_POINTS).astype(int))
    entropy = trajectory.entropy[points]
    ratio = trajectory.by_degree[points] / entropy[:, None]
    now = np.clip(ratio @ present, 1e-6, 0.9999)
    covered = np.append(-np.diff(np.log(entropy)), 0)
    cost = (covered / (now * np.log(now) ** 2)) @ ratio
    bounds = [(max(0.0, x - reach), min(1.0, x + reach)) for x in present]
    bounds[0] = (min(bounds[0][0], most_twos), min(bounds[0][1], most_twos))
    solution = linprog(
        cost,
        A_ub=ratio,
        b_ub=now + (1 - now) * 0.45,
        A_eq=[np.ones(present.size), inverse],
        b_eq=[1, 1 / edges_per_bit],
        bounds=bounds,
    )
    return solution.x if solution.success else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thresholds", action="store_true")
    parser.add_argument("--step", type=float, default=0.15, help="grid of the log-likelihood ratios")
    parser.add_argument("--qber", type=float)
    parser.add_argument("--check-degree", type=float)
    parser.add_argument("--target", type=float, default=1.02)
    parser.add_argument("--largest-degree", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    if options.thresholds:
        print(json.dumps({"benchmark": "ldpc_design", "step": options.step, "rows": threshold_rows(options.step)}))
        return
    if options.qber is None or options.check_degree is None:
        parser.error("--thresholds, or --qber and --check-degree")
    degrees = [d for d in DEGREES if d <= options.largest_degree]
    found = improve(options.qber, options.check_degree, options.target, degrees, options.rounds)
    f = leakage(found, options.check_degree) / h2(options.qber)
    shares = {str(d): round(1e5 * x) for d, x in found.items()}
    print(json.dumps({"qber": options.qber, "threshold_f": round(f, 4), "edge_fractions_1e5": shares}))


if __name__ == "__main__":
    main()
