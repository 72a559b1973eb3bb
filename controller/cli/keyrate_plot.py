"""Rate against distance as a figure. Slow library: matplotlib is imported only when something is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import ConfigurationError

if TYPE_CHECKING:
    from postproc.finite_key.reach import ReachPoint

SUFFIXES = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """Refuse a path that no figure can be written to, before anything is computed. Raises ConfigurationError."""
    if path.suffix not in SUFFIXES or not path.parent.is_dir():
        raise ConfigurationError(f"--plot {path}: a file in an existing directory, named {', '.join(SUFFIXES)}")


def draw(points: list[ReachPoint], path: Path) -> None:
    """Planned secret rate, the rate if exactly the expected counts came, and the repeaterless bound, into a file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    distances = [point.distance_km for point in points]
    curves = (
        ("repeaterless bound (PLOB)", "k:", [point.plob_bps for point in points]),
        ("length from the counts", "C0--", [point.row.observed_length_bits / point.block_s for point in points]),
        ("planned length", "C0-", [point.row.secret_rate_bps for point in points]),
    )
    for label, style, rates in curves:
        shown = [(x, y) for x, y in zip(distances, rates, strict=True) if y > 0]
        axes.semilogy([x for x, _ in shown], [y for _, y in shown], style, label=label)
    axes.set_xlabel("fibre (km)")
    axes.set_ylabel("secret bits per second")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, dpi=100)
    except OSError as error:
        raise ConfigurationError(f"--plot {path}: cannot write: {error}") from error
