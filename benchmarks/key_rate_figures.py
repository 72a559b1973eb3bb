"""The figures of docs/security-analysis.md, drawn from the proofs themselves (`python -m benchmarks.key_rates`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from postproc.finite_key import (
    bbm92,
    lim2014,
    one_decoy_interval,
    one_decoy_variable,
    rusca2018,
    sampling,
    wiesemann2026,
)
from postproc.finite_key.concentration import chernoff_interval
from postproc.finite_key.entropy import binary_entropy
from postproc.finite_key.proof import Evaluate, ProofParameters, Source
from postproc.records import BlockCounts, FiniteKeyResult
from tests.postproc.finite_key.paper_links import GysLink, LimLink, Optimum, RuscaLink, lim_best, rusca_best

GYS = GysLink(
    loss_db_km=0.21, bob_efficiency=0.045, background=1.7e-6, misalignment=0.033, correction_f=1.22, sifting=0.5
)


def draw_all(directory: Path) -> list[Path]:
    """Every figure as a small PNG; the paths written."""
    figures: dict[str, Callable[[Axes], None]] = {
        "key-rates-ma2005": _ma_2005,
        "key-rates-lim2014": _lim_2014,
        "key-rates-proofs": _proofs,
        "key-rates-bbm92": _entangled,
        "sampling-failure": _sampling,
        "intensity-uncertainty": _uncertainty,
    }
    paths = []
    for name, draw in figures.items():
        figure = Figure(figsize=(6.0, 3.8), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8)
        paths.append(directory / f"{name}.png")
        figure.savefig(paths[-1], dpi=80)
    return paths


def _plot(axes: Axes, xs: Iterable[float], ys: Iterable[float], style: str, label: str) -> None:
    shown = [(x, y) for x, y in zip(xs, ys, strict=True) if y > 0]
    axes.plot([x for x, _ in shown], [y for _, y in shown], style, label=label)


def _ma_2005(axes: Axes) -> None:
    distances = np.arange(0, 143.5, 0.5)
    _plot(axes, distances, [GYS.rate(0.48, None, km) for km in distances], "k-", "infinitely many decoys, mu = 0.48")
    _plot(axes, distances, [GYS.rate(0.48, 0.05, km) for km in distances], "C0--", "vacuum + weak decoy, nu = 0.05")
    for published in (140.55, 142.05):
        axes.axvline(published, color="C3", linewidth=0.7, label="published reach" if published < 141 else None)
    axes.set(yscale="log", xlabel="fibre (km)", ylabel="secret bits per pulse", title="Ma et al. 2005, asymptotic")


def _lim_2014(axes: Axes) -> None:
    link = LimLink()
    for power in (4, 5, 6, 7, 8, 9):
        start = (0.61, 0.154, 0.081, 0.5, 0.65)
        distances = list(np.arange(5.0, 205.0, 5.0))
        rates = []
        for km in distances:
            best = lim_best(link, km, 10.0**power, lim2014.evaluate_legacy, start=start)
            start = best.point if best.length_bits else start
            rates.append(best.rate)
        _plot(axes, distances, rates, "-", f"$n_X = 10^{power}$")
    axes.plot([135], [1e-8], "kv", label="published reach, $10^4$")
    axes.set(yscale="log", xlabel="fibre (km)", ylabel="secret bits per pulse", title="Lim et al. 2014, figure 1")


def _proofs(axes: Axes) -> None:
    """Rates at 20 dB relative to Rusca 2018, against block length."""
    blocks = [10.0**x for x in np.arange(5.0, 9.01, 0.5)]
    link = RuscaLink()
    curves: tuple[tuple[str, str, Evaluate, int], ...] = (
        ("Rusca 2018 (legacy)", "k:", rusca2018.evaluate, 2),
        ("Wiesemann 2026, default", "C0-", wiesemann2026.evaluate, 2),
        ("one decoy, variable length", "C0--", one_decoy_variable.evaluate, 2),
        ("Lim 2014 (legacy)", "C1:", lim2014.evaluate_legacy, 3),
        ("Lim 2014 with Serfling", "C1-", lim2014.evaluate, 3),
        ("the same, Chernoff bounds", "C2-", _chernoff, 3),
    )
    reference = [rusca_best(link, 20.0, n, rusca2018.evaluate).rate for n in blocks]
    for label, style, evaluate, intensities in curves:
        best: Optimum | None = None
        rates = []
        for n in reversed(blocks):
            best = rusca_best(link, 20.0, n, evaluate, intensities=intensities, start=best and best.point)
            rates.append(best.rate)
        ratios = [rate / base for rate, base in zip(reversed(rates), reference, strict=True)]
        _plot(axes, blocks, ratios, style, label)
    axes.set(xscale="log", xlabel="key-basis detections per block", ylabel="rate / Rusca 2018", title="20 dB, 1e-9")


def _chernoff(
    counts: BlockCounts, params: ProofParameters, leakage_bits: int, verification_bits: int
) -> FiniteKeyResult:
    return lim2014.evaluate_with(
        counts, params, leakage_bits, verification_bits, name="comparison", assumptions=(),
        excess=lambda key, test, _ratio, eps: sampling.serfling_excess(key, test, eps), interval=chernoff_interval,
    )  # fmt: skip


def _entangled(axes: Axes) -> None:
    source = Source((), (), 1e-9, 1e-15)
    sizes = [int(10**x) for x in np.arange(2.7, 7.01, 0.15)]
    for label, style, evaluate in (
        ("exact hypergeometric tail", "C0-", bbm92.evaluate_exact),
        ("Tomamichel-Leverrier 2017", "C1-", bbm92.evaluate),
    ):
        fractions = []
        for n in sizes:
            leak = math.ceil(1.16 * n * binary_entropy(0.02))
            counts = BlockCounts((n,), (n // 2,), (n // 50,), (n // 100,))
            fractions.append(evaluate(counts, source, leak, 0).observed_length_bits / n)
        _plot(axes, sizes, fractions, style, label)
    axes.axhline(1 - 2.16 * binary_entropy(0.02), color="k", linestyle=":", label="without statistics")
    axes.set(xscale="log", xlabel="key bits (half as many test bits)", ylabel="secret bits per key bit",
             title="BBM92, QBER 2 %")  # fmt: skip


def _sampling(axes: Axes) -> None:
    unseen, sampled, eps = 10**6, 10**5, 1e-10
    errors = [0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200]

    def failure(seen: int, excess: float) -> float:
        worst = math.ceil(unseen * (seen / sampled + excess))
        return sampling.hypergeometric_tail(unseen + sampled, seen + worst, sampled, seen) / eps

    def legacy(seen: int) -> float:
        return failure(seen, sampling.fung_ma_chau_excess(unseen, sampled, seen / sampled, eps))

    _plot(axes, errors, [legacy(seen) for seen in errors], "C3o-", "Fung-Ma-Chau (Lim 2014, Rusca 2018)")
    exact = [
        failure(s, (sampling.most_errors_unseen(unseen, sampled, s, eps) + 1) / unseen - s / sampled) for s in errors
    ]
    _plot(axes, errors, exact, "C0s-", "exact tail")
    axes.axhline(1, color="k", linewidth=0.8, label="what is promised")
    axes.set(yscale="log", xlabel="errors seen among $10^5$ test bits", ylabel="failure probability / eps",
             title="Serfling: below 1e-25 everywhere, not shown")  # fmt: skip


def _uncertainty(axes: Axes) -> None:
    widths = np.linspace(0, 0.08, 33)
    for power in (6, 7, 8):
        best = rusca_best(RuscaLink(), 20.0, 10.0**power, wiesemann2026.evaluate)
        mu_1, mu_2, p_1, _ = best.point
        source = Source((mu_1, mu_2), (p_1, 1 - p_1), 1e-9, 1e-15)
        lengths = [
            one_decoy_interval.evaluate(best.counts, one_decoy_interval.around(source, u), best.leakage_bits, 0)
            for u in widths
        ]
        ratios = [found.observed_length_bits / lengths[0].observed_length_bits for found in lengths]
        _plot(axes, 100 * widths, ratios, "-", f"$10^{power}$ key-basis detections")
    axes.set(xlabel="uncertainty of both mean photon numbers (± %)", ylabel="key / key with exact knowledge",
             title="Wiesemann 2026 for sources within intervals, 20 dB")  # fmt: skip
