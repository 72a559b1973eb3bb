"""A picture of a `TagFileSummary`: rates, inter-arrival times, pulse train. matplotlib is imported only here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from drivers.files.summary import TagFileSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(summary: TagFileSummary, path_png: Path | str, *, title: str = "") -> None:
    """Write a PNG of 1400 x 900 pixels. Raises OSError if it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["rates", "arrivals"], ["train", "train"]])
    _draw_rates(axes["rates"], summary)
    _draw_arrivals(axes["arrivals"], summary)
    _draw_train(axes["train"], summary)
    figure.suptitle(title or f"{summary.clicks} clicks in {summary.duration_s:.6g} s")
    figure.savefig(path_png)


def _draw_rates(axes: Axes, summary: TagFileSummary) -> None:
    names = [str(c.channel) for c in summary.channels]
    axes.bar(names, [c.rate_hz for c in summary.channels])
    axes.set(xlabel="channel", ylabel="rate (1/s)", title="Rate per channel")


def _draw_arrivals(axes: Axes, summary: TagFileSummary) -> None:
    edges_s = [e * 1e-12 for e in summary.inter_arrival_edges_ps[1:]]
    axes.stairs(summary.inter_arrival_counts[1:], edges_s, label="any channel", color="black")
    for channel in summary.channels:
        axes.stairs(channel.inter_arrival_counts[1:], edges_s, label=f"channel {channel.channel}")
    axes.set(
        xscale="log", xlabel="time to the previous click (s)", ylabel="clicks per bin", title="Inter-arrival times"
    )
    axes.legend(fontsize="small")


def _draw_train(axes: Axes, summary: TagFileSummary) -> None:
    period = summary.pulse_period
    if period is None:
        axes.text(0.5, 0.5, "no significant pulse period", ha="center", va="center")
        axes.set_axis_off()
        return
    edges_ns = [k * period.train_bin_ps * 1e-3 for k in range(len(period.train_counts) + 1)]
    axes.stairs(period.train_counts, edges_ns, fill=True)
    axes.set(
        xlabel="difference between clicks of one channel (ns)",
        ylabel="pairs per bin",
        title=f"Pulse period {period.period_ps * 1e-3:.5f} ns ({1e6 / period.period_ps:.4f} MHz), "
        f"vector strength {period.vector_strength:.3f}",
    )
