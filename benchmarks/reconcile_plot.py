"""The plot of f against QBER: `./run python -m benchmarks.reconcile_plot MEASURED.json OUT.png`.

MEASURED.json: the last line of benchmarks.reconcile --json, or several of them as a JSON list. Figures of others come
from their runs on another machine (f does not depend on it), at the sizes given in the legend.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.reconcile import finite_length_bound
from postproc.reconciliation.ensembles import designs

PEERS = {
    "cascade-cpp yanetal, n = $2^{20}$, 358-515 messages": [(0.01, 1.051), (0.02, 1.056), (0.03, 1.057), (0.05, 1.067)],
    "LDPC4QKD (C++), n = 819 200": [(0.0185, 1.128), (0.0275, 1.101), (0.0475, 1.088)],
}
OURS = {
    ("efficient", 1_000_000): ("efficient, n = $10^6$", "C0", "o-"),
    ("fast", 1_000_000): ("fast, n = $10^6$", "C1", "s-"),
    ("efficient", 100_000): ("efficient, n = $10^5$", "C2", "^-"),
    ("cascade", 1_000_000): ("Cascade of this software, one direction, n = $10^6$", "C3", "v-"),
}


def draw(rows: list[dict], out: Path) -> None:
    """Write the plot."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.6))
    for (profile, n), (label, colour, style) in OURS.items():
        points = sorted((r["qber"], r["f"]) for r in rows if r["profile"] == profile and r["n"] == n)
        if points:
            axes.plot(*zip(*points, strict=True), style, color=colour, label=label, markersize=4)
    for (label, points), marker in zip(PEERS.items(), "xd", strict=True):
        axes.plot(*zip(*points, strict=True), marker + ":", color="0.45", label=label, markersize=5)
    qbers = np.geomspace(0.005, 0.11, 60)
    for n, style in ((1_000_000, "k-"), (100_000, "k--")):
        bound = [finite_length_bound(n, float(q), 1e-2) for q in qbers]
        axes.plot(qbers, bound, style, linewidth=0.8, label=f"any code, n = $10^{len(str(n)) - 1}$, QBER known")
    thresholds = [(d.qber, d.threshold_f) for d in designs()]
    axes.plot(*zip(*thresholds, strict=True), "k+", label="thresholds of the designs, n to infinity")
    axes.set(xscale="log", xlabel="QBER", ylabel="disclosed bits / n h(QBER)", ylim=(1.0, 1.2))
    axes.set_xticks([0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.11], ["0.5 %", "1 %", "2 %", "3 %", "5 %", "8 %", "11 %"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper right")
    figure.tight_layout()
    figure.savefig(out, dpi=90)


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    data = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    parts = data if isinstance(data, list) else [data]
    draw([row for part in parts for row in part["rows"]], Path(sys.argv[2]))


if __name__ == "__main__":
    main()
